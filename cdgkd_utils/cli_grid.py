"""The command ``grid``: plan, run, status and collect of the runs that a configuration asks for."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .config import home, shown


def add_grid(commands: argparse._SubParsersAction) -> None:
    """Add the command and its actions to the parser of the package."""
    grid = commands.add_parser(
        "grid",
        help="plan, run and collect every run of a configuration, here or on a cluster",
        description="Runs of a configuration (configs/*.yaml); everything lies under CDGKD_HOME (default build/).",
    )
    actions = grid.add_subparsers(dest="action", required=True, metavar="action")
    for name, (function, text) in {
        "plan": (_status, "count the cells that are asked for, and those whose runs are stored"),
        "run": (_run, "make the runs that are missing or damaged"),
        "status": (_status, "say what is done and what is missing"),
        "collect": (_collect, "write scores, both tables and claims from stored runs"),
    }.items():
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.add_argument("config", type=Path, metavar="CONFIG.yaml")
        if name == "run":
            where = "a running scheduler: tcp://host:8786 or the path of its scheduler file"
            action.add_argument("--on", default="", metavar="SCHEDULER", help=where)
            action.add_argument("--jobs", type=int, help="processes on this machine (default: one per core)")
        if name == "collect":
            action.add_argument("--partial", action="store_true", help="accept runs that are missing")
        action.set_defaults(run=function)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _run(args: argparse.Namespace) -> int:
    from .experiments.grid import plan, read_config, run

    started, planned = time.monotonic(), plan(read_config(args.config))
    outcomes = run(planned, on=args.on, n_jobs=args.jobs)
    failed, n_left = [one for one in outcomes if one.error], len(planned.missing())
    _say(
        f"{len(outcomes) - len(failed)} runs made in {time.monotonic() - started:.0f} s; "
        f"{len(planned.runs) - n_left} of {len(planned.runs)} stored in {shown(home() / 'runs')}"
    )
    for outcome in [one for one in failed if not one.blocked_by][:10]:
        n_waiting = sum(one.blocked_by == outcome.name for one in failed)
        _say(f"failed: {outcome.name}: {outcome.error}" + (f" ({n_waiting} runs wait for it)" if n_waiting else ""))
    return 1 if n_left else 0


def _status(args: argparse.Namespace) -> None:
    from .experiments.grid import plan, read_config, status

    planned = plan(read_config(args.config))
    _say(status(planned).to_string())
    _say(f"{len(planned.runs) - len(planned.missing())} of {len(planned.runs)} runs are stored")


def _collect(args: argparse.Namespace) -> int:
    from .collecting import write_tables
    from .experiments.grid import plan, read_config

    planned = plan(read_config(args.config))
    for path in write_tables(planned, home() / "tables" / args.config.stem, partial=args.partial):
        _say(f"{shown(path)} written")
    return 0
