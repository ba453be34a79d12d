"""The command line: ``python -m cdgkd_utils run``, ``grid``, ``export``, ``predict``, ``store``, ``publish``,
``class``, ``book``, ``twin`` and ``doctor``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .cli_deploy import add_deploy
from .cli_grid import add_grid
from .cli_teaching import add_teaching
from .config import CROPS, DATASETS, FAMILIES, PROFILES, PROTOCOLS, TARGETS, WORLD_HELP, Params, home, shown


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; ``--help`` shows the rest."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cdgkd_utils", description="Tools around the notebooks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    twin = commands.add_parser(
        "twin",
        help="write the synthetic twin as files in a real data set's layout",
        description="Write the synthetic twin as files that the reader of the real data reads. The defaults make "
        "a small folder; DEAP's own geometry is --subjects 22 --trials 40 --seconds 60 --size 576.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    twin.add_argument(
        "--layout", choices=["deap", "mahnob"], default="deap", help="whose layout: DEAP's or MAHNOB-HCI's"
    )
    twin.add_argument("--out", type=Path, required=True, help="folder to make; it must not exist or be empty")
    twin.add_argument("--subjects", type=int, default=2)
    twin.add_argument("--trials", type=int, default=4)
    twin.add_argument(
        "--seconds",
        type=int,
        default=12,
        help="length of a trial: a multiple of 4, at most 60; mahnob: of a film at most, 0 takes all of it",
    )
    twin.add_argument("--seed", type=int, default=0)
    twin.add_argument("--world", default="mixed", help=WORLD_HELP)
    twin.add_argument("--size", type=int, default=128, help="height of the pictures in pixels, a multiple of 8")
    twin.add_argument("--raw", action="store_true", help="deap only: also the original recordings (BDF)")
    twin.add_argument("--jobs", type=int, default=1, help="processes; -1 is one per core")
    twin.set_defaults(run=_twin)
    run = commands.add_parser(
        "run",
        help="execute the notebooks in order and print both tables",
        description="Execute the notebooks by papermill into build/notebooks, then print both results tables.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = Params()
    run.add_argument("--dataset", choices=DATASETS, default=default.dataset)
    run.add_argument(
        "--data-root", default=default.data_root, help="folder of the files, for --dataset deap, deap_raw or mahnob"
    )
    run.add_argument(
        "--target", choices=TARGETS, default=default.target, help="shown in 01 to 04; the tables have both"
    )
    run.add_argument("--profile", choices=PROFILES, default=default.profile)
    run.add_argument("--seed", type=int, default=default.seed)
    run.add_argument("--world", default=default.world, help=WORLD_HELP)
    run.add_argument("--extractor", default=default.extractor, help="visual features: hog, mediapipe or timm:MODEL")
    run.add_argument("--crop", choices=CROPS, default=default.crop, help="part of a frame that is described, on files")
    run.add_argument("--family", choices=FAMILIES, default=default.family, help="networks")
    run.add_argument("--protocol", choices=PROTOCOLS, default=default.protocol, help="what a fold holds out")
    run.add_argument("--allow-leak", action="store_true", help="admit --protocol window; its results say LEAKY")
    run.add_argument("--only", default="", metavar="NN", help="number of one notebook, such as 03")
    run.set_defaults(run=_run)
    add_grid(commands)
    add_deploy(commands)
    store = commands.add_parser(
        "store",
        help="re-execute the committed notebooks in place",
        description="Re-execute the committed notebooks with their defaults and store the cleaned outputs in place.",
    )
    store.add_argument("--only", default="", metavar="NN", help="number of one notebook, such as 03")
    store.set_defaults(run=_store)
    doctor = commands.add_parser(
        "doctor",
        help="say what a data folder holds and whether the notebooks run on it",
        description="Examine a folder of DEAP or MAHNOB-HCI, complete or not. Exit code 0 when it is usable, else 1.",
    )
    doctor.add_argument("path", type=Path)
    doctor.add_argument("--deep", action="store_true", help="decode every clip and read every recording")
    doctor.set_defaults(run=_doctor)
    publish = commands.add_parser(
        "publish",
        help="write a grid's results into figures/ and the README",
        description="Write the figures, tables and claims of a grid's stored runs into figures/ and the README.",
    )
    publish.add_argument("config", type=Path, metavar="CONFIG.yaml")
    publish.add_argument("--partial", action="store_true", help="accept runs that are missing")
    publish.set_defaults(run=_publish)
    add_teaching(commands)
    return parser


def _twin(args: argparse.Namespace) -> None:
    from .data.deap.writer import write_deap  # heavy; --help and wrong arguments need none of it
    from .data.mahnob.writer import write_mahnob
    from .data.twin import TwinSettings

    design = {"seed": args.seed, "world": args.world, "layout": args.layout}
    options = {"frame_size": args.size, "n_jobs": args.jobs}
    if args.layout == "deap":
        settings = TwinSettings(n_subjects=args.subjects, n_trials=args.trials, **design)
        write_deap(settings, args.out, seconds=args.seconds, raw=args.raw, **options)
    else:
        if args.raw:
            raise ValueError("--raw: a folder in MAHNOB-HCI's layout always holds recordings (BDF); leave --raw out")
        settings = TwinSettings(n_subjects=args.subjects, n_trials=args.trials, n_windows=0, **design)
        write_mahnob(settings, args.out, max_seconds=args.seconds or None, **options)
    ways = f"dataset='{args.layout}'" + (" or 'deap_raw'" if args.raw else "")
    sys.stdout.write(
        f"{args.out}: synthetic data in the layout of {args.layout}; read it with {ways}, data_root='{args.out}'\n"
    )


def _run(args: argparse.Namespace) -> None:
    params = Params(
        dataset=args.dataset,
        # Notebooks run in their own folder; a relative path means what it means here.
        data_root=str(Path(args.data_root).expanduser().resolve()) if args.data_root else "",
        target=args.target,
        profile=args.profile,
        seed=args.seed,
        world=args.world,
        extractor=args.extractor,
        crop=args.crop,
        family=args.family,
        protocol=args.protocol,
        allow_leak=args.allow_leak,
    )
    if not params.is_twin:
        from .data.load import check_root

        check_root(params)  # a wrong folder is said here, in one line, not by the first notebook
    from .notebooks import execute

    started = time.monotonic()
    for notebook in execute(params, home() / "notebooks", args.only):
        sys.stdout.write(f"{shown(notebook)} done after {time.monotonic() - started:.0f} s\n")
        sys.stdout.flush()
    if not args.only or args.only == "05":
        _show_tables([design.layout for design in params.designs()])


def _show_tables(layouts: list[str]) -> None:
    import pandas as pd

    from .results.display import as_text

    folder = home() / "tables"
    for layout in layouts:
        for number in (1, 2):
            sys.stdout.write(f"\n{as_text(pd.read_csv(folder / f'table{number}.csv'), layout)}\n")
    sys.stdout.write(
        f"\nexecuted notebooks: {shown(home() / 'notebooks')}\ntables: {shown(folder)}\n"
        f"figures: {shown(home() / 'figures')}\nruns: {shown(home() / 'runs')}\n"
    )


def _store(args: argparse.Namespace) -> None:
    from .notebooks import store

    for notebook in store(args.only):
        sys.stdout.write(f"{shown(notebook)} stored\n")
        sys.stdout.flush()


def _doctor(args: argparse.Namespace) -> int:
    from .data.doctor.diagnose import diagnose

    report = diagnose(args.path, deep=args.deep)
    sys.stdout.write(report.text())
    return 0 if report.usable else 1  # 2 stays for wrong arguments


def _publish(args: argparse.Namespace) -> None:
    from .notebooks import notebook_folder
    from .publish import publish

    for path in publish(args.config, notebook_folder().parent, partial=args.partial):
        sys.stdout.write(f"{path.name} written\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the process's own arguments.

    Returns
    -------
    int
        0 (the doctor: 1 for a folder that cannot be used); 2 after wrong input and 130 after an interruption,
        each said in one line on stderr.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args) or 0
    except (ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"{parser.prog} {args.command}: {error}\n")
        return 2
    except KeyboardInterrupt:
        # The interrupted cell's error would be reported once more, with its traceback, when Python exits.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        sys.stderr.write(f"{parser.prog} {args.command}: interrupted; what was finished is kept\n")
        return 130
