"""Running and storing notebooks, and the shape of those in the repository."""

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cdgkd_utils import notebooks
from cdgkd_utils.config import Params
from cdgkd_utils.notebooks import MACHINE_PATH, NotebookError, cleaned, collection, execute, faults, store

COMMITTED = collection(Path(__file__).parents[1] / "notebooks")
MARK = """
import json, os, pathlib
done = pathlib.Path(os.environ["CDGKD_HOME"], "done", "01_x.json")
done.parent.mkdir(parents=True, exist_ok=True)
written = done.write_text(json.dumps({"seed": seed}))
"""


def executed(*outputs, **changes):
    """A small notebook as papermill leaves it, with notes and timings; `outputs`, `changes`: of its last cell."""
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell("seed: int = 0", execution_count=1, metadata={"tags": ["parameters"], "papermill": {"x": 1}}),
        new_code_cell("print(1)", execution_count=2, metadata={"tags": [], "execution": {"busy": "2026-01-01"}}),
    ]
    cells[-1].update({"outputs": [new_output("stream", name="stdout", text="1\n"), *outputs]} | changes)
    notes = {"papermill": {"input_path": "/home/someone/01.ipynb", "duration": 3.0}}
    notes |= {"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}}}
    notes |= {"language_info": {"name": "python", "version": "3.11.9"}}
    notes |= {"kernelspec": {"name": "mine", "display_name": "mine"}}
    return new_notebook(cells=cells, metadata=notes)


def test_cleaned_keeps_tags_sources_and_outputs_and_nothing_of_the_run():
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "  0%|          | 0/16"}
    before, after = executed(), cleaned(executed(new_output("display_data", bar)))
    nbformat.validate(after)
    for what in ("source", "outputs", "execution_count"):
        assert [cell.get(what) for cell in after.cells] == [cell.get(what) for cell in before.cells]
    assert [dict(c.metadata) for c in after.cells] == [{}, {"tags": ["parameters"]}, {}]
    assert set(after.metadata) == {"kernelspec", "language_info"}
    text = nbformat.writes(after)
    assert not any(word in text for word in ("papermill", "duration", "widget", "someone", "2026", "3.11.9", "mine"))
    assert nbformat.writes(cleaned(executed())) == text and nbformat.writes(cleaned(after)) == text


def test_a_clean_notebook_has_no_faults():
    picture = new_output("display_data", {"image/png": "/home/is/base64/here", "text/plain": "<Figure>"})
    urls = new_output("display_data", {"text/html": "<a href='https://x.org/home/'>1/2</a> ../tmp/x build/usr/y"})
    assert faults(executed(picture, urls)) == []


@pytest.mark.parametrize(
    ("notebook", "said"),
    [
        (executed(new_output("error", ename="KeyError", evalue="'x'", traceback=[])), "cell 3 ended in KeyError"),
        (executed(new_output("stream", name="stderr", text="FutureWarning: x")), "wrote to stderr: FutureWarning: x"),
        *((executed(new_output("stream", text=place)), "cell 3 shows a path") for place in (
            "saved /home/me/x.png", "/tmp/x", "file:///Users/me", r"C:\Users\me", "lib/python3.11/site-packages/x"
        )),
        (executed(new_output("display_data", {"text/html": "<td>/root/x</td>"})), "cell 3 shows a path"),
        (executed(new_output("display_data", {"application/json": {"p": [f"{Path.cwd()}/x"]}})), "cell 3 shows a path"),
        (executed(execution_count=3), "not executed once each in order: [1, 3]"),
        (executed(execution_count=None), "not executed once each in order: [1, None]"),
        (executed(new_output("stream", text="x" * notebooks.MAX_NOTEBOOK_BYTES)), "MB with outputs; keep it under 2.5"),
    ],
)  # fmt: skip
def test_each_planted_fault_is_found_alone(notebook, said):
    (problem,) = faults(notebook)
    assert said in problem


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """Makes a repository with one notebook of a parameters cell and the given cell."""
    monkeypatch.setenv("CDGKD_HOME", "home")  # a relative one means the same to the notebooks
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)

    def make(source):
        cells = [new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]}), new_code_cell(source)]
        nbformat.write(cleaned(new_notebook(cells=cells)), tmp_path / "notebooks" / "01_x.ipynb")
        return tmp_path

    return make


def test_a_notebook_that_reaches_its_end_is_done_and_got_its_parameters(repo):
    root = repo(MARK)
    assert list(execute(Params(seed=7), root / "out")) == [root / "out" / "01_x.ipynb"]
    assert (root / "home" / "done" / "01_x.json").read_text() == '{"seed": 7}'
    assert faults(nbformat.read(root / "out" / "01_x.ipynb", 4)) == []


def test_an_old_mark_does_not_stand_in_for_a_new_one(repo):
    root = repo("1 + 1")
    mark = root / "home" / "done" / "01_x.json"
    mark.parent.mkdir(parents=True)
    mark.touch()
    with pytest.raises(NotebookError, match=r"^01_x.ipynb did not reach its last cell \(stored as .*01_x.ipynb\)$"):
        list(execute(Params(), root / "out"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise LookupError('no such thing')", r"^01_x\.ipynb, cell 2: LookupError: no such thing"),
        (MARK + "print(done)", r"^01_x\.ipynb: cell 2 shows a path"),
    ],
)
def test_what_fails_or_has_faults_is_not_stored(repo, source, said):
    notebook = repo(source) / "notebooks" / "01_x.ipynb"
    before = notebook.read_bytes()
    with pytest.raises(NotebookError, match=said):
        list(store())
    assert notebook.read_bytes() == before and list(notebook.parent.iterdir()) == [notebook]


def test_nobody_elses_kernel_start_up_files_or_other_run_comes_in_the_way(repo, tmp_path, monkeypatch):
    """Two runs at once, a broken `python3` on JUPYTER_PATH, and a start-up file that sets a variable and fails."""
    root = repo(MARK + "assert 'stray' not in globals()")
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("stray = 1\n1 / 0")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    code = (
        "import sys; from cdgkd_utils.notebooks import *; list(execute(Params(seed=int(sys.argv[1])), home() / 'out'))"
    )
    runs = []
    for seed in ("1", "2"):
        environment = os.environ | {"CDGKD_HOME": str(tmp_path / f"home{seed}")}
        runs.append(subprocess.Popen([sys.executable, "-c", code, seed], env=environment, stderr=subprocess.PIPE))
    for seed, run in zip((1, 2), runs, strict=True):
        _, said = run.communicate(timeout=120)
        assert run.returncode == 0, said.decode()
        assert (tmp_path / f"home{seed}" / "done" / "01_x.json").read_text() == f'{{"seed": {seed}}}'
    assert [path.name for path in (root / "notebooks").iterdir()] == ["01_x.ipynb"]  # nothing is left beside it


def test_one_notebook_by_its_number(repo):
    root = repo(MARK)
    for only in ("0", "99"):
        with pytest.raises(NotebookError, match="no notebook begins with"):
            list(execute(Params(), root / "out", only=only))
    assert not (root / "out").exists() and not (root / "home").exists()
    assert list(execute(Params(), root / "out", only="1")) == [root / "out" / "01_x.ipynb"]


def test_the_folder_is_found_from_below_and_told_when_missing(repo, tmp_path_factory, monkeypatch):
    root = repo(MARK)
    (root / "notebooks" / "deep").mkdir()
    assert notebooks.notebook_folder(root / "notebooks" / "deep") == root / "notebooks"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(NotebookError, match="no folder 'notebooks' beside a pyproject"):
        notebooks.notebook_folder()


# ---- the committed notebooks -------------------------------------------------------------------

each_notebook = pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)


def code_cells(path, tag=""):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return [cell for cell in cells if not tag or tag in cell.metadata.get("tags", [])]


def test_the_notebooks_are_numbered_without_a_gap():
    assert [path.name[:3] for path in COMMITTED] == [f"{number:02d}_" for number in range(9)]


@each_notebook
def test_the_first_two_cells_hold_all_machinery(path):
    parameters, start, *rest = code_cells(path)
    assert code_cells(path, "parameters") == [parameters]
    found = {node.target.id: ast.unparse(node).partition(": ")[2] for node in ast.parse(parameters.source).body}
    names = ("dataset", "data_root", "target", "profile", "seed")
    defaults = {f.name: f"{f.type} = {f.default!r}" for f in fields(Params) if f.name in names}
    assert found == defaults | {"options": "dict = {}"}
    assert start.source.splitlines()[-1] == "lab = cd.start(globals())"
    lines = [line for cell in (start, *rest) for line in cell.source.splitlines()]
    ours = [line for line in lines if re.match(r"\s*(from|import) cdgkd_utils", line)]
    assert len(ours) <= 3 and not [line for line in ours if "cdgkd_utils." in line]


@each_notebook
def test_the_notebook_tells_and_the_package_does(path):
    cells = code_cells(path)
    assert len(cells) <= 30
    for cell in cells:
        own_method = any(isinstance(node, ast.ClassDef) for node in ast.parse(cell.source).body)
        assert len(cell.source.splitlines()) <= (12 if own_method else 10), cell.source


@each_notebook
def test_each_notebook_has_its_anatomy(path):
    cells = nbformat.read(path, 4).cells
    assert re.match(rf"# {path.name[:2]} · .+\n\n\*\*", cells[0].source)
    assert path.name.startswith("00") or "What this does not show" in cells[-1].source
    assert code_cells(path, "solution") and code_cells(path, "nbval-check-output")
    assert code_cells(path)[-1].source.splitlines()[-1] == f'lab.done("{path.stem}")'


@each_notebook
def test_committed_notebooks_are_executed_in_order_and_name_no_place_on_a_machine(path):
    notebook = nbformat.read(path, 4)
    assert faults(notebook) == []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []  # those are looked at above; pictures, in base64, look like anything
    assert not MACHINE_PATH.search(nbformat.writes(notebook))
