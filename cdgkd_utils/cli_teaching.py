"""The commands ``class`` and ``book``: the notebooks as copies for a class, and as one static site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .config import home, shown


def add_teaching(commands: argparse._SubParsersAction) -> None:
    """Add both commands to the parser of the command line."""
    lesson = commands.add_parser("class", help="copy the notebooks for a class, without and with solutions")
    lesson.add_argument("--out", type=Path, help="folder (default: class in build); work in it is set aside, not lost")
    lesson.set_defaults(run=_class)
    book = commands.add_parser("book", help="render the notebooks to one static site, to be read offline")
    book.add_argument("--out", type=Path, help="folder (default: book in build)")
    book.add_argument("--executed", action="store_true", help="render what the last run left, not the stored notebooks")
    book.set_defaults(run=_book)


def _class(args: argparse.Namespace) -> None:
    from .notebooks import notebook_folder
    from .teaching.copies import make_class

    out = args.out or home() / "class"
    copies, kept = make_class(notebook_folder(), out)
    sys.stdout.write(f"{shown(out)}: {len(copies)} notebooks in student and teacher\n")
    for path in kept:
        sys.stdout.write(f"changed since it was written, set aside: {shown(path)}\n")


def _book(args: argparse.Namespace) -> None:
    from .notebooks import notebook_folder
    from .teaching.site import make_site

    source = home() / "notebooks" if args.executed else notebook_folder()
    sys.stdout.write(f"{shown(make_site(source, args.out or home() / 'book'))}: open it in a browser\n")
