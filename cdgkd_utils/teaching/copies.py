"""Copies of the notebooks for a class: the students' without solutions and outputs, the teacher's as they are."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor

from ..notebooks import collection

WRITTEN = ".written.json"  # digest of each copy as it was written, to tell a student's work from it


def student_copy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook whose cells tagged ``solution`` hold their first comment and nothing else, answers or checks."""
    copy, _ = ClearOutputPreprocessor().preprocess(nbformat.from_dict(notebook), {})
    for cell in copy.cells:
        if "solution" in cell.metadata.get("tags", []):
            first = cell.source.partition("\n")[0]
            cell.source = f"{first if first.startswith('# ') else '# Exercise'}: your solution\n"
            cell.metadata = nbformat.from_dict({"tags": ["exercise"]})  # open, not folded away
    return copy


def make_class(notebooks: Path, out: Path) -> tuple[list[Path], list[Path]]:
    """Write ``student/`` and ``teacher/`` copies of all notebooks into `out`.

    Made again, a copy that somebody has worked in is set aside beside the new one and stays as it is.

    Returns
    -------
    written, kept : list of Path
        The students' copies, and the files that were set aside.
    """
    out, originals = Path(out).expanduser().resolve(), collection(notebooks)
    if not originals or Path(notebooks).resolve() in (out, *out.parents):
        raise ValueError(f"--out {out}: expected a folder outside the notebooks', and notebooks like 01_name.ipynb")
    record, kept = out / WRITTEN, []
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    copies = {}
    for original in originals:
        text = original.read_text(encoding="utf-8")
        copies[f"teacher/{original.name}"] = text
        copies[f"student/{original.name}"] = nbformat.writes(student_copy(nbformat.reads(text, as_version=4)))
    for name, text in copies.items():
        path, content = out / name, text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() not in known.get(name, []):
            number = 1
            while (aside := path.with_name(f"{path.stem}.kept-{number}{path.suffix}")).exists():
                number += 1
            kept.append(path.rename(aside))
        known[name] = sorted({*known.get(name, []), hashlib.sha256(content).hexdigest()})
        _write(record, json.dumps(known, indent=1).encode())  # before the copy: it is never taken for a student's work
        _write(path, content)
    return [out / name for name in copies if name.startswith("student")], kept


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)
