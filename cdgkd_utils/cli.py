"""The command line: ``python -m cdgkd_utils twin ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .config import WORLDS


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
        "--layout", choices=["deap"], default="deap", help="whose layout; only DEAP's can be written so far"
    )
    twin.add_argument("--out", type=Path, required=True, help="folder to make; it must not exist or be empty")
    twin.add_argument("--subjects", type=int, default=2)
    twin.add_argument("--trials", type=int, default=4)
    twin.add_argument("--seconds", type=int, default=12, help="length of a trial: a multiple of 4, at most 60")
    twin.add_argument("--seed", type=int, default=0)
    twin.add_argument("--world", choices=WORLDS, default="mixed")
    twin.add_argument("--size", type=int, default=128, help="height of the pictures in pixels, a multiple of 8")
    twin.add_argument("--jobs", type=int, default=1, help="processes; -1 is one per core")
    twin.set_defaults(run=_twin)
    return parser


def _twin(args: argparse.Namespace) -> None:
    from .data.deap_writer import write_deap  # heavy; --help and wrong arguments need none of it
    from .data.twin import TwinSettings

    settings = TwinSettings(n_subjects=args.subjects, n_trials=args.trials, seed=args.seed, world=args.world)
    write_deap(settings, args.out, seconds=args.seconds, frame_size=args.size, n_jobs=args.jobs)
    sys.stdout.write(
        f"{args.out}: synthetic data in DEAP's layout; read it with dataset='deap', data_root='{args.out}'\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the process's own arguments.

    Returns
    -------
    int
        0, or 2 after wrong input and 130 after an interruption, each said in one line on stderr.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog} {args.command}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog} {args.command}: interrupted; nothing was left behind\n")
        return 130
    return 0
