"""The command ``grid``: plan, run, status, collect, retry and gc of the runs that configurations ask for."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .config import home, shown

if TYPE_CHECKING:
    from .experiments.plan import Plan, PlannedRun

N_LISTED = 5  # things of a kind that `gc` names before it asks


def add_grid(commands: argparse._SubParsersAction) -> None:
    """Add the command and its actions to the parser of the package."""
    grid = commands.add_parser(
        "grid",
        help="plan, run and collect every run of a configuration, here or on a cluster",
        description="Runs of a configuration (configs/*.yaml); everything lies under CDGKD_HOME (default build/).",
    )
    actions = grid.add_subparsers(dest="action", required=True, metavar="action")
    for name, (function, text) in {
        "plan": (_plan, "count the runs, those stored, and the time and disk that are left"),
        "run": (_run, "make the runs that are missing"),
        "status": (_status, "say what is done, what is missing and what failed"),
        "collect": (_collect, "write scores, both tables and claims from stored runs"),
        "retry": (_retry, "set damaged runs aside and make again what failed"),
        "gc": (_gc, "delete runs, checkpoints and windows that none of the given configurations needs"),
    }.items():
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        several = {"nargs": "+"} if name == "gc" else {}
        action.add_argument("config", type=Path, metavar="CONFIG.yaml", **several)
        if name in ("run", "retry"):
            where = "a running scheduler: tcp://host:8786 or the path of its scheduler file"
            action.add_argument("--on", default="", metavar="SCHEDULER", help=where)
            action.add_argument("--jobs", type=int, help="processes on this machine (default: one per core)")
        if name == "collect":
            action.add_argument("--partial", action="store_true", help="accept runs that are missing")
        if name == "gc":
            action.add_argument("--yes", action="store_true", help="do not ask")
        action.set_defaults(run=function)


def _read(path: Path) -> Plan:
    from .experiments.configs import read_config
    from .experiments.plan import plan_config

    return plan_config(read_config(path))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _plan(args: argparse.Namespace) -> None:
    from .experiments.cluster import n_cores
    from .experiments.cost import measured_cost
    from .experiments.failures import failures
    from .experiments.plan import STAGES

    plan = _read(args.config)
    cost, missing = measured_cost(plan), plan.missing()
    left, failed = {run.name for run in missing}, failures()
    _say(f"{'stage':<16}{'runs':>8}{'stored':>8}{'failed':>8}{'to do':>8}{'core-time':>11}{'disk':>10}")
    for stage in (*STAGES, "all"):
        mine = [run for run in plan.runs.values() if stage in (run.stage, "all")]
        todo = [run for run in mine if run.name in left]
        seconds, size, unknown = cost.of(todo)
        counts = (len(mine), len(mine) - len(todo), sum(run.name in failed for run in todo), len(todo))
        estimates = (_duration(seconds), _size(size)) if unknown < len(todo) or not todo else ("?", "?")
        _say(f"{stage:<16}" + "".join(f"{n:>8}" for n in counts) + f"{estimates[0]:>11}{estimates[1]:>10}")
    seconds, _, unknown = cost.of(missing)
    known = f"about {_duration(seconds / n_cores())} on {n_cores()} processes"
    rest = f"; {unknown} runs are of kinds that nobody timed yet" if unknown else ""
    _say(f"{known if unknown < len(missing) or not missing else 'time unknown'}{rest}")
    if missing:
        free = shutil.disk_usage(next(folder for folder in (home(), *home().parents) if folder.is_dir())).free
        _say(f"free disk: {_size(free)}")


def _run(args: argparse.Namespace) -> int:
    from .experiments.failures import failures

    plan = _read(args.config)
    missing, failed = plan.missing(), failures()
    runs, blocked = _without(missing, failed)
    if blocked:
        _say(f"{blocked} runs are left out: they failed before, or wait for one that did ('grid retry' tries again)")
    return _make(args, plan, runs)


def _without(missing: list[PlannedRun], failed: dict[str, str]) -> tuple[list[PlannedRun], int]:
    """Runs neither failed nor waiting for a failed one, and how many others there are."""
    out = set()
    for run in missing:  # guides come first
        if run.name in failed or out.intersection(run.guides):
            out.add(run.name)
    return [run for run in missing if run.name not in out], len(out)


def _make(args: argparse.Namespace, plan: Plan, runs: list[PlannedRun]) -> int:
    from .experiments.grid import run_missing

    started = time.monotonic()
    outcomes = run_missing(runs, on=args.on, n_jobs=args.jobs, keep_windows=plan.keep_windows)
    failed = [outcome for outcome in outcomes if outcome.error]
    n_left = len(plan.missing())
    _say(
        f"{len(outcomes) - len(failed)} runs made in {_duration(time.monotonic() - started)}; "
        f"{len(plan.runs) - n_left} of {len(plan.runs)} stored in {shown(home() / 'runs')}"
    )
    for outcome in [one for one in failed if not one.blocked_by][:10]:
        n_waiting = sum(one.blocked_by == outcome.name for one in failed)
        _say(f"failed: {outcome.name}: {outcome.error}" + (f" ({n_waiting} runs wait for it)" if n_waiting else ""))
    return 1 if n_left else 0


def _status(args: argparse.Namespace) -> None:
    from .experiments.failures import failures
    from .experiments.plan import stored_names

    plan, stored = _read(args.config), stored_names()
    groups: dict[tuple[str, str], list[bool]] = {}
    for cell in plan.cells:
        done = all(name in stored for name in cell.runs)
        groups.setdefault((f"{cell.params.dataset} {cell.params.world}", cell.recipe), []).append(done)
    for (data, recipe), done in groups.items():
        _say(f"{data:<30}{recipe:<20}{sum(done):>6} / {len(done)}")
    _say(f"{len(stored & set(plan.runs))} of {len(plan.runs)} runs are stored")
    for name, error in failures().items():
        if name in plan.runs and name not in stored:
            _say(f"failed: {name}: {error}")


def _collect(args: argparse.Namespace) -> int:
    from .collecting import write_tables

    plan = _read(args.config)
    for path in write_tables(plan, home() / "tables" / args.config.stem, partial=args.partial):
        _say(f"{shown(path)} written")
    return 0


def _retry(args: argparse.Namespace) -> int:
    from .experiments.failures import failures, forget_failure
    from .experiments.plan import stored_names
    from .experiments.records import RunError, check_run

    plan, stored = _read(args.config), stored_names()
    for name in set(failures()) & set(plan.runs):
        forget_failure(name)
    for name, run in plan.runs.items():
        if name in stored:
            try:
                check_run(run.folder, run.key)
            except RunError as error:
                aside = _move_aside(run.folder)
                _say(f"{error}: moved to {aside.name}")
    return _make(args, plan, plan.missing())


def _move_aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    return folder.rename(aside)


def _gc(args: argparse.Namespace) -> int:
    from .experiments.failures import failures, forget_failure
    from .experiments.litter import find_litter, remove, size_of

    plans = [_read(path) for path in args.config]
    litter = find_litter(plans)
    notes = [name for name in failures() if not any(name in plan.runs for plan in plans)]
    found = [path for paths in litter.values() for path in paths]
    if not found and not notes:
        _say("nothing to delete: everything is needed, or too young to be given up")
        return 0
    _say(f"not needed by {', '.join(path.name for path in args.config)}:")
    for kind, paths in litter.items():
        sizes = {path: size_of(path) for path in paths}
        _say(f"{len(paths)} {kind} ({_size(sum(sizes.values()))})")
        for path in sorted(paths, key=sizes.get, reverse=True)[:N_LISTED]:
            _say(f"    {path.name:<50}{_size(sizes[path]):>10}")
        if len(paths) > N_LISTED:
            _say(f"    and {len(paths) - N_LISTED} smaller ones")
    _say(f"{len(notes)} notes on failures")
    if not args.yes:
        sys.stdout.write("delete them? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            _say("nothing deleted")
            return 1
    for path in found:
        remove(path)
    for name in notes:
        forget_failure(name)
    _say(f"{len(found)} deleted")
    return 0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"
