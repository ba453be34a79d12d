"""Executing the notebooks by papermill, and storing them with clean outputs."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets.config import Config

from .config import Params, home, shown

# Anything that looks like a place on somebody's machine.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:home|root|tmp|Users|opt|var|usr|mnt|private)/|[A-Z]:\\{1,2}(?:Users|Windows|Program)|site-packages"
)
MAX_NOTEBOOK_BYTES = 2_500_000
WIDGET = "application/vnd.jupyter.widget-view+json"  # a bar or a control; dead without the kernel that drew it
# One thread, for parallelism is over folds; freed memory is kept for the next mini-batch (glibc, ignored elsewhere).
USUAL = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "1000000000"}


class NotebookError(RuntimeError):
    """A notebook failed, or its outputs must not be stored."""


def notebook_folder(start: Path | None = None) -> Path:
    """The collection's folder: ``notebooks`` beside the nearest ``pyproject.toml`` here or above."""
    here = start or Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder / "notebooks"
    raise NotebookError("no folder 'notebooks' beside a pyproject.toml here or above; run from the repository")


def collection(folder: Path) -> list[Path]:
    """The notebooks in order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def _chosen(only: str) -> list[Path]:
    """The notebooks of that number (all for ""), or one clear error."""
    notebooks, number = collection(notebook_folder()), only.zfill(2) if only else ""
    chosen = [n for n in notebooks if n.name.startswith(number)]
    if not chosen:
        raise NotebookError(f"no notebook begins with {number!r}; there are {', '.join(n.name[:2] for n in notebooks)}")
    return chosen


def execute(params: Params, out: Path, only: str = "") -> Iterator[Path]:
    """Execute the notebooks in order into `out`; yield each copy when it is done. One that fails is kept, too, and
    named with its cell's error by a NotebookError."""
    chosen = _chosen(only)
    out.mkdir(parents=True, exist_ok=True)
    for notebook in chosen:
        _papermill(notebook, out / notebook.name, params.for_notebook())
        yield out / notebook.name


def _papermill(source: Path, target: Path, parameters: dict) -> None:
    """Run one notebook from its own folder, so that paths mean what they mean in JupyterLab."""
    marker = home() / "done" / f"{source.stem}.json"
    marker.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="cdgkd-") as place:  # nobody else's, and short enough for a socket's name
        # Bars would end up as text; a relative home would be another place there; nobody's start-up files.
        env = {"TQDM_DISABLE": "1", "CDGKD_HOME": str(home()), "IPYTHONDIR": place, "JUPYTER_RUNTIME_DIR": place}
        env |= {name: value for name, value in USUAL.items() if name not in os.environ}
        way = "ipc" if os.name == "posix" else "tcp"  # files, not ports that two runs could both grab
        talk = {"connection_file": str(Path(place) / "kernel.json"), "transport": way}
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python", env=env)
        kernel = type("Kernel", (AsyncKernelManager,), {"kernel_spec": spec})  # whatever JUPYTER_PATH calls `python3`
        options = {"kernel_manager_class": kernel, "config": Config({"KernelManager": talk}), "cwd": str(source.parent)}
        try:
            papermill.execute_notebook(str(source), str(target), parameters, kernel_name="python3", **options)
        except papermill.PapermillExecutionError as error:
            said = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
            raise NotebookError(f"{source.name}, {said}\n(stored as {shown(target)})") from None
    if not marker.is_file():  # a kernel that was killed leaves a notebook whose cells all claim to be completed
        raise NotebookError(f"{source.name} did not reach its last cell (stored as {shown(target)})")


def store(only: str = "") -> Iterator[Path]:
    """Re-execute the committed notebooks with their defaults; one that ran through, and whose outputs may be shown, is
    replaced, cleaned. A NotebookError says why it may not."""
    for notebook in _chosen(only):
        temporary = notebook.with_name(f".{notebook.stem}.tmp.ipynb")
        try:
            _papermill(notebook, temporary, {})
            content = cleaned(nbformat.read(temporary, as_version=4))
            if problems := faults(content):
                raise NotebookError(f"{notebook.name}: " + "; ".join(problems))
            nbformat.write(content, temporary)
            os.replace(temporary, notebook)
        finally:
            temporary.unlink(missing_ok=True)
        yield notebook


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what a run leaves besides its outputs: timings, papermill's notes, widgets."""
    spec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": spec, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells, 1):
        tags = cell.metadata.get("tags", [])
        # JupyterLab folds the code of a tagged cell by its own key, whatever its tags say.
        folded = {"jupyter": {"source_hidden": True}} if "hide-input" in tags else {}
        cell.metadata = nbformat.from_dict(({"tags": tags} if tags else {}) | folded)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        cell.id = f"cell-{number:02d}"
    return notebook


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Why a notebook's outputs must not be committed; empty when they may."""
    problems, size = [], len(nbformat.writes(notebook))
    places = [str(place) for place in (home(), Path.home(), Path.cwd(), sys.prefix) if len(str(place)) > 4]
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        problems.append(f"cells were not executed once each in order: {counts}")
    for number, output in [
        (n, output) for n, cell in enumerate(notebook.cells, 1) for output in cell.get("outputs", [])
    ]:
        if output.output_type == "error":
            problems.append(f"cell {number} ended in {output.ename}")
        if output.get("name") == "stderr":
            problems.append(f"cell {number} wrote to stderr: {output.text.strip()[:200]}")
        shows = {kind: data for kind, data in output.get("data", {}).items() if not kind.startswith("image/")}
        text = f"{output.get('text', '')}{shows}"
        if MACHINE_PATH.search(text) or any(place in text for place in places):
            problems.append(f"cell {number} shows a path of this machine")
    if size > MAX_NOTEBOOK_BYTES:
        problems.append(f"{size / 1e6:.1f} MB with outputs; keep it under {MAX_NOTEBOOK_BYTES / 1e6:.1f}")
    return problems
