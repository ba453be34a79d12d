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

from cdgkd_utils.config import Params
from cdgkd_utils.notebooks import (
    MACHINE_PATH,
    MAX_NOTEBOOK_BYTES,
    NotebookError,
    cleaned,
    collection,
    execute,
    faults,
    notebook_folder,
    store,
)

COMMITTED = collection(Path(__file__).parents[1] / "notebooks")
MARK = """
import json, os, pathlib
done = pathlib.Path(os.environ["CDGKD_HOME"], "done", "01_x.json")
done.parent.mkdir(parents=True, exist_ok=True)
written = done.write_text(json.dumps({"seed": seed}))
"""


# ---- what may be stored ------------------------------------------------------------------------


def executed():
    """A small notebook as papermill leaves it: run in order, with its notes and timings."""
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell("seed: int = 0", execution_count=1, metadata={"tags": ["parameters"], "papermill": {"x": 1}}),
        new_code_cell(
            "print(1)",
            execution_count=2,
            metadata={"papermill": {"duration": 1.2}, "execution": {"iopub.status.busy": "2026-01-01"}},
            outputs=[new_output("stream", name="stdout", text="1\n")],
        ),
        new_code_cell(
            "table",
            execution_count=3,
            metadata={"tags": [], "collapsed": True},
            outputs=[new_output("execute_result", {"text/html": "<b>1</b>", "text/plain": "1"}, execution_count=3)],
        ),
    ]
    notes = {
        "papermill": {"input_path": "/home/someone/01.ipynb", "duration": 3.0},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
        "language_info": {"name": "python", "version": "3.11.9"},
        "kernelspec": {"name": "mine", "display_name": "mine"},
    }
    return new_notebook(cells=cells, metadata=notes)


def test_cleaned_keeps_tags_sources_and_outputs_and_nothing_of_the_run():
    before, after = executed(), cleaned(executed())
    nbformat.validate(after)
    assert [c.source for c in after.cells] == [c.source for c in before.cells]
    assert [c.get("outputs") for c in after.cells] == [c.get("outputs") for c in before.cells]
    assert [c.get("execution_count") for c in after.cells] == [None, 1, 2, 3]
    assert [dict(c.metadata) for c in after.cells] == [{}, {"tags": ["parameters"]}, {}, {}]
    assert set(after.metadata) == {"kernelspec", "language_info"}
    text = nbformat.writes(after)
    assert not any(word in text for word in ("papermill", "duration", "widget", "someone", "2026", "3.11.9", "mine"))
    assert nbformat.writes(cleaned(executed())) == text and nbformat.writes(cleaned(after)) == text


def test_cleaned_drops_dead_widgets_and_keeps_the_other_outputs():
    notebook = executed()
    before = [dict(output) for output in notebook.cells[2].outputs]
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "  0%|          | 0/16"}
    notebook.cells[2].outputs.insert(0, new_output("display_data", bar))
    assert [dict(output) for output in cleaned(notebook).cells[2].outputs] == before


def test_a_clean_notebook_has_no_faults():
    assert faults(cleaned(executed())) == []
    picture = new_output("display_data", {"image/png": "/home/is/base64/here", "text/plain": "<Figure>"})
    urls = new_output("display_data", {"text/html": "<a href='https://x.org/home/'>1/2</a> ../tmp/x build/usr/y"})
    notebook = executed()
    notebook.cells[2].outputs += [picture, urls]
    assert faults(notebook) == []


def planted(**changes):
    notebook = executed()
    notebook.cells[2].update(changes)
    return notebook


def with_output(*args, **kwargs):
    return planted(outputs=[new_output(*args, **kwargs)])


@pytest.mark.parametrize(
    ("notebook", "said"),
    [
        (with_output("error", ename="KeyError", evalue="'x'", traceback=[]), "cell 3 ended in KeyError"),
        (with_output("stream", name="stderr", text="FutureWarning: x"), "cell 3 wrote to stderr: FutureWarning: x"),
        (with_output("stream", name="stdout", text="saved /home/me/x.png"), "cell 3 shows a path"),
        (with_output("stream", name="stdout", text="/tmp/x"), "cell 3 shows a path"),
        (with_output("display_data", {"text/html": "<td>/root/x</td>"}), "cell 3 shows a path"),
        (with_output("display_data", {"text/plain": "file:///Users/me"}), "cell 3 shows a path"),
        (with_output("display_data", {"text/plain": r"C:\Users\me"}), "cell 3 shows a path"),
        (with_output("execute_result", {"application/json": {"p": [f"{Path.cwd()}/x"]}}), "cell 3 shows a path"),
        (with_output("stream", name="stdout", text="lib/python3.11/site-packages/x"), "cell 3 shows a path"),
        (planted(execution_count=3), "not executed once each in order: [1, 3, 3]"),
        (planted(execution_count=None), "not executed once each in order: [1, None, 3]"),
        (with_output("stream", name="stdout", text="x" * MAX_NOTEBOOK_BYTES), "MB with outputs; keep it under 1.5"),
    ],
)
def test_each_planted_fault_is_found_alone(notebook, said):
    (problem,) = faults(notebook)
    assert said in problem


def test_a_printed_windows_path_is_found():
    assert faults(with_output("stream", name="stdout", text=r"C:\Users\me"))


def test_all_faults_are_told_at_once():
    notebook = planted(execution_count=7, outputs=[new_output("stream", name="stderr", text="/tmp/x")])
    assert len(faults(notebook)) == 3


# ---- running -----------------------------------------------------------------------------------


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """Makes a repository with one notebook of a parameters cell and the given cell."""
    for name in ("TQDM_DISABLE", "OMP_NUM_THREADS"):  # set while notebooks run; put back after the test
        monkeypatch.setenv(name, "1")
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.setenv(name, os.environ.get(name, "1000000000"))
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)

    def make(source):
        parameters = "\n".join(f"{f.name}: {f.type} = {f.default!r}" for f in fields(Params))
        cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(source)]
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


def test_a_failing_cell_is_told_with_notebook_cell_and_error_and_nothing_is_stored(repo):
    root = repo("raise LookupError('no such thing')")
    source = root / "notebooks" / "01_x.ipynb"
    before = source.read_bytes()
    with pytest.raises(NotebookError, match=r"^01_x\.ipynb, cell 2: LookupError: no such thing"):
        list(store())
    assert source.read_bytes() == before
    assert [path.name for path in source.parent.iterdir()] == ["01_x.ipynb"]


def test_a_notebook_with_faults_is_not_stored(repo):
    root = repo(MARK + "print(done)")
    source = root / "notebooks" / "01_x.ipynb"
    before = source.read_bytes()
    with pytest.raises(NotebookError, match=r"01_x\.ipynb: cell 2 shows a path"):
        list(store())
    assert source.read_bytes() == before
    assert [path.name for path in source.parent.iterdir()] == ["01_x.ipynb"]


def test_a_relative_home_means_the_same_to_the_notebooks(repo, monkeypatch):
    root = repo(MARK)
    monkeypatch.setenv("CDGKD_HOME", "home")
    assert len(list(execute(Params(), root / "out"))) == 1


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


def test_a_number_means_the_same_with_and_without_its_zero(repo):
    root = repo(MARK)
    for only in ("1", "01"):
        assert list(execute(Params(), root / "out", only=only)) == [root / "out" / "01_x.ipynb"]
    with pytest.raises(NotebookError, match="no notebook begins with '00'"):
        list(execute(Params(), root / "out", only="0"))


def test_an_unknown_number_is_an_error_before_anything_is_made(repo):
    root = repo(MARK)
    with pytest.raises(NotebookError, match="no notebook begins with '99'"):
        list(execute(Params(), root / "out", only="99"))
    assert not (root / "out").exists() and not (root / "home").exists()


def test_an_unknown_number_cannot_be_stored(repo):
    repo(MARK)
    with pytest.raises(NotebookError, match="no notebook begins with '99'"):
        list(store(only="99"))


def test_the_folder_is_found_from_below_and_told_when_missing(repo, tmp_path_factory, monkeypatch):
    root = repo(MARK)
    (root / "notebooks" / "deep").mkdir()
    assert notebook_folder(root / "notebooks" / "deep") == root / "notebooks"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(NotebookError, match="no folder 'notebooks' beside a pyproject"):
        notebook_folder()


# ---- the committed notebooks -------------------------------------------------------------------

each_notebook = pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def tagged(path, tag):
    return [cell for cell in code_cells(path) if tag in cell.metadata.get("tags", [])]


def test_the_notebooks_are_numbered_without_a_gap():
    assert [path.name[:3] for path in COMMITTED] == [f"{number:02d}_" for number in range(9)]


@each_notebook
def test_the_parameters_cell_holds_params_defaults(path):
    (cell,) = tagged(path, "parameters")
    found = {}
    for node in ast.parse(cell.source).body:
        assert isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name), "only `name: type = value`"
        found[node.target.id] = (ast.unparse(node.annotation), ast.literal_eval(node.value))
    assert found == {f.name: (f.type, f.default) for f in fields(Params)}
    after = code_cells(path)[code_cells(path).index(cell) + 1]
    assert after.source.startswith("params = Params.from_notebook(globals())")


@each_notebook
def test_the_notebook_tells_and_the_package_does(path):
    long = [f"{len(c.source.splitlines())} lines: {c.source[:60]!r}" for c in code_cells(path) if lines(c.source) > 15]
    assert long == []
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef)
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno + 1 <= 8, f"{node.name} is too long for a notebook"


def lines(source):
    """Lines of a cell; a block of imports is read at one glance, however long, and counts nothing."""
    only_imports = all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(source).body)
    return 0 if only_imports else len(source.splitlines())


@each_notebook
def test_no_place_on_a_machine_is_named_anywhere(path):
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in [k for k in output.get("data", {}) if k.startswith("image/")]:
                del output.data[kind]  # base64 looks like anything
    assert not MACHINE_PATH.search(nbformat.writes(notebook))


@each_notebook
def test_each_notebook_has_its_anatomy(path):
    cells = nbformat.read(path, 4).cells
    assert re.match(rf"# {path.name[:2]} · .+\n\n\*\*The claim this notebook tests:\*\* ", cells[0].source)
    aims = cells[1].source
    assert aims.startswith("**You will**\n- ") and all(f"**{w}:**" in aims for w in ("Reads", "Writes", "Time"))
    assert "**What this does not show.**" in cells[-1].source
    assert len(tagged(path, "solution")) >= 1 and len(tagged(path, "nbval-check-output")) >= 1
    assert all("assert " in cell.source for cell in tagged(path, "nbval-check-output"))
    done = [cell for cell in code_cells(path) if f'record.done("{path.stem}", params)' in cell.source]
    assert done == code_cells(path)[-1:]


@each_notebook
def test_committed_notebooks_are_executed_in_order(path):
    """Needs the stored outputs: fails until the notebooks are executed and stored."""
    assert faults(nbformat.read(path, 4)) == []
