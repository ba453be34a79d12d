"""The commands ``class`` and ``book``: the notebooks as copies for a class, and as one static site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .config import home, shown


def add_teaching(commands: argparse._SubParsersAction) -> None:
    """Add both commands to the parser of the command line."""
    lesson = commands.add_parser(
        "class",
        help="copy the notebooks for a class, without and with solutions",
        description="Write student/ (no solutions, no outputs) and teacher/ copies of the notebooks into a new folder.",
    )
    lesson.add_argument("--out", type=Path, help="folder to make, or to make anew (default: class in build)")
    lesson.set_defaults(run=_class)
    book = commands.add_parser(
        "book",
        help="render the notebooks to one static site",
        description="Write one page per notebook and an index, to be read offline. Needs the extra 'book'.",
    )
    book.add_argument("--out", type=Path, help="folder to make, or to make anew (default: book in build)")
    book.add_argument("--executed", action="store_true", help="render what the last run left, not the stored notebooks")
    book.set_defaults(run=_book)


def _class(args: argparse.Namespace) -> None:
    from .notebooks import notebook_folder
    from .teaching.classroom import make_class

    out = args.out or home() / "class"
    copies = make_class(notebook_folder(), out)
    sys.stdout.write(f"{shown(out)}: {len(copies)} notebooks in student and teacher\n")


def _book(args: argparse.Namespace) -> None:
    from .notebooks import notebook_folder
    from .teaching.book import make_book

    source = home() / "notebooks" if args.executed else notebook_folder()
    index, *pages = make_book(source, args.out or home() / "book")
    sys.stdout.write(f"{shown(index)} and {len(pages)} pages written; open it in a browser\n")
