"""The command line: ``python -m cdgkd_utils COMMAND``; heavy modules are imported by the command that needs them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from .config import CHOICES, WORLD_HELP, Params, home, shown

HELP = {"data_root": "folder of the files, where --dataset reads some", "target": "shown in 01 to 04; tables have both"}
HELP |= {"world": WORLD_HELP, "extractor": "visual features: hog or timm:MODEL", "crop": "described part of a frame"}
HELP |= {"family": "networks", "protocol": "what a fold holds out", "allow_leak": "admit --protocol window"}


class _Parser(argparse.ArgumentParser):
    def error(self, message):  # in one line; ``--help`` shows the rest
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cdgkd_utils", description="Tools around the notebooks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, function: Callable, text: str, flags: dict[str, dict], to=commands, **more) -> None:
        defaults = {"description": text, "formatter_class": argparse.ArgumentDefaultsHelpFormatter}
        command = to.add_parser(name, help=text, **defaults, **more)
        command.set_defaults(run=function)
        for flag, options in flags.items():
            command.add_argument(flag, **options)

    params = {}
    for field in fields(Params):
        kind = {"action": "store_true"} if field.default is False else {"type": type(field.default)}
        kind |= {"choices": CHOICES[field.name]} if field.name in CHOICES else {}
        kind |= {"default": field.default, "help": HELP.get(field.name, "which")}
        params[f"--{field.name.replace('_', '-')}"] = kind
    only = {"--only": {"default": "", "metavar": "NN", "help": "number of one notebook, such as 03"}}
    config = {"config": {"type": Path, "metavar": "CONFIG.yaml"}}
    partial = {"--partial": {"action": "store_true", "help": "accept missing runs"}}
    out = {"--out": {"type": Path, "required": True, "help": "folder to make; it must not exist or be empty"}}
    place = {"--out": {"type": Path, "help": "folder, in build if not given"}}
    yes = {"action": "store_true"}
    add("run", _run, "execute the notebooks in build/notebooks, then print both tables", params | only)
    add("store", _store, "re-execute the committed notebooks with their defaults and store them in place", only)
    grid = commands.add_parser("grid", help="plan, run and collect every run of a configuration (configs/*.yaml)")
    actions = grid.add_subparsers(dest="action", required=True, metavar="action")
    add("plan", _status, "count the runs by data and method, and those stored", config, actions, aliases=["status"])
    on = {"--on": {"default": "", "help": "a running scheduler: tcp://host:8786 or the path of its scheduler file"}}
    jobs = {"--jobs": {"type": int, "help": "processes on this machine; None is one per core"}}
    add("run", _grid_run, "make the runs that are missing, failed or damaged", config | on | jobs, actions)
    add("collect", _collect, "write scores, both tables and claims from stored runs", config | partial, actions)
    add("publish", _publish, "write a grid's results into figures/: RESULTS.md and pictures", config | partial)
    design = {"--layout": {"choices": ["deap", "mahnob"], "default": "deap", "help": "whose"}}
    design |= {"--world": params["--world"], "--raw": yes | {"help": "deap only: also the original recordings (BDF)"}}
    for flag, default, text in (
        ("--subjects", 2, "DEAP has 22 with video"),
        ("--trials", 4, "DEAP has 40"),
        ("--seconds", 12, "of a trial, a multiple of 4 up to 60; mahnob: of a film at most, 0 is all"),
        ("--seed", 0, "of people, ratings and recordings"),
        ("--size", 128, "height of the pictures in pixels, a multiple of 8"),
        ("--jobs", 1, "processes; -1 is one per core"),
    ):
        design[flag] = {"type": int, "default": default, "help": text}
    add("twin", _twin, "write the synthetic twin as files that the reader of the real data reads", out | design)
    deep = {"path": {"type": Path}, "--deep": yes | {"help": "decode every clip and read every recording"}}
    add("doctor", _doctor, "say what a data folder holds and whether the notebooks run on it (else exit code 1)", deep)
    method = {"--method": {"default": "cdgkd", "help": "recipe of a network that takes video only, such as kd@eeg"}}
    add("export", _export, "write a trained student of fold 0 as a folder that stands alone", out | params | method)
    model = {"clip": {"type": Path}, "--model": {"type": Path, "required": True, "help": "folder that 'export' wrote"}}
    model |= {"--runtime": {"choices": ["torch", "onnx"], "default": "torch", "help": "what computes"}}
    add("predict", _predict, "print P(high) for each 4 s of a video file; nothing is stored or sent", model)
    add("class", _class, "copy the notebooks for a class, without and with solutions; work there is set aside", place)
    executed = {"--executed": yes | {"help": "render what the last run left, not the stored notebooks"}}
    add("book", _book, "render the notebooks to one static site, to be read offline", place | executed)
    return parser


def _params(args: Namespace) -> Params:
    values = {field.name: getattr(args, field.name) for field in fields(Params)}
    if args.data_root:  # a relative path means what it means here, wherever files are opened later
        values["data_root"] = str(Path(args.data_root).expanduser().resolve())
    return Params(**values)


def _say(text: str) -> None:
    print(text, flush=True)


def _run(args: Namespace) -> None:
    params = _params(args)
    if not params.is_twin:
        from .data.load import check_root

        check_root(params)  # a wrong folder is said here, in one line, not by the first notebook
    from .notebooks import execute

    started = time.monotonic()
    for notebook in execute(params, home() / "notebooks", args.only):
        _say(f"{shown(notebook)} done after {time.monotonic() - started:.0f} s")
    if not args.only or args.only.zfill(2) == "05":
        _show_tables(_write_tables(params))


def _write_tables(params: Params) -> list:
    """Both tables in long form, from the runs that notebook 05 stored; written for whoever goes on with them."""
    from .experiments.grid import run_all
    from .results.tables import collect, results_table, write_csv

    scores = collect((design, *run) for design in params.designs() for run in run_all(design, progress=False))
    found = {f"table{number}": results_table(scores, number) for number in (2, 1)}
    for name, table in (found | {"scores": scores}).items():
        write_csv(table, home() / "tables" / f"{name}.csv")
    return list(found.values())


def _show_tables(longs: list) -> None:
    """With the notebooks' lines, at most 45: both tables are read at one glance."""
    from .results.tables import poster_caption, poster_table

    for long in longs:
        what, _, data = poster_caption(long).partition("; ")
        _say(f"\n{what}\n{poster_table(long).rename_axis(None).to_string(justify='right')}")
    _say("\n" + ", ".join(f"{name}: {shown(home() / name)}" for name in ("notebooks", "tables", "figures", "runs")))
    _say("Every row, further scores and the claims, one by one: notebook 05")
    _say(f"{data}: few runs make noisy numbers; for conclusions read figures/RESULTS.md")


def _store(args: Namespace) -> None:
    from .notebooks import store

    for notebook in store(args.only):
        _say(f"{shown(notebook)} stored")


def _status(args: Namespace) -> None:
    from .experiments import grid

    plan = grid.plan(grid.read_config(args.config))
    _say(grid.status(plan).rename(columns={"cells": "wanted"}).to_string())
    n_missing = len(plan.missing())
    _say(f"{len(plan.runs) - n_missing} of {len(plan.runs)} runs, with those they need, are stored; {n_missing} to do")


def _grid_run(args: Namespace) -> int:
    from .experiments import grid

    started, plan = time.monotonic(), grid.plan(grid.read_config(args.config))
    outcomes = grid.run(plan, on=args.on, n_jobs=args.jobs)
    failed, n_missing = [one for one in outcomes if one.error], len(plan.missing())
    made = f"{len(outcomes) - len(failed)} runs made in {time.monotonic() - started:.0f} s"
    _say(f"{made}; {len(plan.runs) - n_missing} of {len(plan.runs)} stored in {shown(home() / 'runs')}")
    for outcome in [one for one in failed if not one.blocked_by][:10]:
        _say(f"failed, and what waits for it: {outcome.name}: {outcome.error}")
    return 1 if n_missing else 0


def _collect(args: Namespace) -> None:
    from .experiments import grid
    from .publish import write_tables

    plan = grid.plan(grid.read_config(args.config))
    for path in write_tables(plan, home() / "tables" / args.config.stem, partial=args.partial):
        _say(f"{shown(path)} written")


def _publish(args: Namespace) -> None:
    from .notebooks import notebook_folder
    from .publish import publish

    for path in publish(args.config, notebook_folder().parent, partial=args.partial):
        _say(f"{path.name} written")


def _twin(args: Namespace) -> None:
    from .data.twin import TwinSettings
    from .data.twin.files import write_deap  # heavy; --help and wrong arguments need none of it
    from .data.twin.mahnob_files import write_mahnob

    if args.raw and args.layout == "mahnob":
        raise ValueError("--raw: a folder in MAHNOB-HCI's layout always holds recordings (BDF); leave --raw out")
    design = {"n_subjects": args.subjects, "n_trials": args.trials, "seed": args.seed, "world": args.world}
    options = {"frame_size": args.size, "n_jobs": args.jobs}
    if args.layout == "deap":
        write_deap(TwinSettings(**design), args.out, seconds=args.seconds, raw=args.raw, **options)
    else:
        settings = TwinSettings(**design, layout="mahnob", n_windows=0)
        write_mahnob(settings, args.out, max_seconds=args.seconds or None, **options)
    ways = f"dataset='{args.layout}'" + (" or 'deap_raw'" if args.raw else "")
    _say(f"{args.out}: synthetic data in the layout of {args.layout}; read it with {ways}, data_root='{args.out}'")


def _doctor(args: Namespace) -> int:
    from .data.doctor import check_folder

    report = check_folder(args.path, deep=args.deep)
    _say(report.text().rstrip("\n"))
    return 0 if report.usable else 1  # 2 stays for wrong arguments


def _export(args: Namespace) -> None:
    from .deploy.student import export_run

    reason = export_run(_params(args), args.method, args.out)
    _say(f"{args.out}: {', '.join(sorted(path.name for path in args.out.iterdir()))}")
    if reason:
        _say(f"no student.onnx: {reason}")


def _predict(args: Namespace) -> None:
    from .deploy.clip import read_clip
    from .deploy.student import load_student

    student = load_student(args.model, args.runtime)
    about = student.about
    clip = read_clip(args.clip, about["extractor"], about["crop"])
    _say(f"{'from (s)':>9}{'to (s)':>8}{'P(high)':>9}  {about['target']}, {clip.name}")
    for number, p in enumerate(clip.answer(student).tolist()):
        _say(f"{4 * number:>9}{4 * number + 4:>8}{p:>9.3f}")
    if about["synthetic"]:
        _say("trained on synthetic data: these numbers say nothing about people")


def _class(args: Namespace) -> None:
    from .notebooks import notebook_folder
    from .teaching import make_class

    copies, kept = make_class(notebook_folder(), args.out or home() / "class")
    _say(f"{shown(args.out or home() / 'class')}: {len(copies)} notebooks in student and teacher")
    for path in kept:
        _say(f"changed since it was written, set aside: {shown(path)}")


def _book(args: Namespace) -> None:
    from .notebooks import notebook_folder
    from .teaching import make_site

    source = home() / "notebooks" if args.executed else notebook_folder()
    _say(f"{shown(make_site(source, args.out or home() / 'book'))}: open it in a browser")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command: 0 (the doctor: 1 for a folder that cannot be used, a grid for runs that are left); 2 after wrong
    input and 130 after an interruption, each said in one line on stderr."""
    for stream in (sys.stdout, sys.stderr):  # a pipe that knows no dash must not end hours of work
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    args = _parser().parse_args(argv)
    name = f"cdgkd_utils {args.command}"
    try:
        return args.run(args) or 0
    except BrokenPipeError:  # somebody read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError) as error:
        denied = "no permission: " if isinstance(error, PermissionError) else ""
        sys.stderr.write(f"{name}: {denied}{error}\n")
        return 2
    except KeyboardInterrupt:
        # The interrupted cell's error would be reported once more, with its traceback, when Python exits.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        sys.stderr.write(f"{name}: interrupted; what was finished is kept\n")
        return 130
