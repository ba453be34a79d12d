"""Copies of the notebooks for a class: the students' without solutions, the teacher's as they are.

A cell tagged ``solution`` answers one exercise. Its first line is a comment that names it (``# Exercise 1``). What
stands below a line ``# check`` tests a property of the answer without giving it away; students keep that part, in a
cell that waits until they have answered.
"""

from __future__ import annotations

import ast
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from ..notebooks import cleaned, collection
from .folder import TeachingError, whole_folder

SOLUTION, CHECK_TAG, CHECK_LINE = "solution", "exercise-check", "# check"
README = """Copies of the notebooks for a class.

student/  exercises without solutions and without outputs; "Restart and run all" works before anything is answered
teacher/  the notebooks as they are, with solutions and outputs

Both need the package (cdgkd_utils) installed, and nothing else.
"""


@dataclass(frozen=True)
class Solution:
    """A solution cell in its parts.

    Attributes
    ----------
    title : str
        Such as ``Exercise 1``; empty without a first comment.
    answer : str
        Code that is taken away from students.
    check : str
        Code that tests the answer, or "".
    asked : tuple of str
        Names that the answer sets and the check reads, in order of appearance.
    """

    title: str
    answer: str
    check: str
    asked: tuple[str, ...]


def _names(source: str, context: type[ast.expr_context]) -> list[str]:
    """Variables that `source` sets (``ast.Store``) or reads (``ast.Load``), in order, each once."""
    found = [
        node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and isinstance(node.ctx, context)
    ]
    if context is ast.Store:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                found.append(node.name)
            if isinstance(node, ast.Import | ast.ImportFrom):
                found += [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    return list(dict.fromkeys(found))


def parts_of(source: str) -> Solution:
    """A solution cell's source taken apart.

    Raises
    ------
    TeachingError
        There is more than one line ``# check``, or a check that reads nothing the answer sets.
    """
    lines = source.splitlines()
    named = bool(lines) and lines[0].startswith("# ") and lines[0] != CHECK_LINE
    title, body = (lines[0][2:].strip(), lines[1:]) if named else ("", lines)
    if body.count(CHECK_LINE) > 1:
        raise TeachingError(f"{title or 'solution'}: expected one line {CHECK_LINE!r} at most; split the cell")
    at = body.index(CHECK_LINE) if CHECK_LINE in body else len(body)
    answer, check = ("\n".join(part).strip() for part in (body[:at], body[at + 1 :]))
    read = _names(check, ast.Load)
    asked = tuple(name for name in _names(answer, ast.Store) if name in read)
    if check and not asked:
        raise TeachingError(f"{title or 'solution'}: its check reads nothing that the answer sets; check a name of it")
    return Solution(title, answer, check, asked)


def student_cells(source: str) -> list[nbformat.NotebookNode]:
    """What a student gets in the place of a solution cell: an empty cell, and the check that waits for it."""
    solution = parts_of(source)
    heading = f"# {solution.title}: your solution" if solution.title else "# your solution"
    cells = [new_code_cell("\n".join([heading, *(f"{name} = ..." for name in solution.asked)]))]
    if solution.check:
        title, asked = solution.title or "Exercise", ", ".join(solution.asked)
        lines = [
            f"if any(answer is ... for answer in ({asked},)):",
            f'    print("{title}: not answered yet")',
            "else:",
            textwrap.indent(solution.check, "    "),
            f'    print("{title}: the check passes")',
        ]
        cells.append(new_code_cell("\n".join(lines), metadata={"tags": [CHECK_TAG]}))
    return cells


def needed_later(notebook: nbformat.NotebookNode) -> list[str]:
    """Names that a solution sets and a later cell reads; without the solution that cell would fail."""
    watched, needed = set(), []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if SOLUTION in cell.metadata.get("tags", []):
            watched |= set(_names(parts_of(cell.source).answer, ast.Store))
            continue
        own = set(_names(cell.source, ast.Store))
        needed += [name for name in _names(cell.source, ast.Load) if name in watched - own]
        watched -= own
    return needed


def student_copy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook without solutions and outputs.

    Parameters
    ----------
    notebook : NotebookNode
        It is left as it is.

    Returns
    -------
    NotebookNode

    Raises
    ------
    TeachingError
        A later cell needs what only a solution computes.
    """
    if names := needed_later(notebook):
        raise TeachingError(f"{', '.join(names)}: set by a solution and read by a later cell; set it outside solutions")
    cells = []
    for cell in nbformat.from_dict(notebook).cells:
        if cell.cell_type == "code" and SOLUTION in cell.metadata.get("tags", []):
            cells += student_cells(cell.source)
        else:
            cells.append(nbformat.from_dict(cell))
    copy = nbformat.v4.new_notebook(cells=cells)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return cleaned(copy)


def make_class(notebooks: Path, out: Path) -> list[Path]:
    """Write ``student/`` and ``teacher/`` copies of all notebooks.

    Parameters
    ----------
    notebooks : Path
        Folder of the originals, which are only read.
    out : Path
        Folder to make; see :func:`.folder.whole_folder`.

    Returns
    -------
    list of Path
        The students' copies.

    Raises
    ------
    TeachingError
        `out` cannot be used, there is no notebook, or one cannot be turned into a student's copy.
    """
    originals = collection(notebooks)
    if not originals:
        raise TeachingError(f"{notebooks.name}: no notebook like 01_name.ipynb in it; name the collection's folder")
    with whole_folder(out, "class", notebooks) as made:
        for name in ("student", "teacher"):
            (made / name).mkdir()
        (made / "README.txt").write_text(README, encoding="utf-8")
        for original in originals:
            try:
                copy = student_copy(nbformat.read(original, as_version=4))
            except TeachingError as error:
                raise TeachingError(f"{original.name}: {error}") from None
            nbformat.write(copy, made / "student" / original.name)
            shutil.copyfile(original, made / "teacher" / original.name)
    return [out / "student" / original.name for original in originals]
