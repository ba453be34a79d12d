"""Class copies give no answer away and lose nobody's work; the site needs no network and loses no formula."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cdgkd_utils.cli import main
from cdgkd_utils.notebooks import collection
from cdgkd_utils.teaching import make_class, make_site

COMMITTED = Path(__file__).parents[1] / "notebooks"
SOLVED = "# Exercise 1\nresult = forty + two\n# check\nassert result == two_and_forty"


@pytest.fixture
def folder(tmp_path):
    cells = [
        new_markdown_cell("# 01 · A title\n\n**Claim:** it holds."),
        new_code_cell("import cdgkd_utils as cd", execution_count=1),
        new_code_cell("seed: int = 0  # of everything", metadata={"tags": ["parameters"]}),
        new_code_cell("lab = cd.start(globals())"),
        new_markdown_cell("Mass $m_i<3$ and\n\n$$\\mathcal{L}=\\frac{1}{2}$$\n\nsee [on](01_a.ipynb#x)."),
        new_code_cell("draw()", outputs=[new_output("stream", text="a line\n")], execution_count=2),
        new_code_cell(SOLVED, metadata={"tags": ["solution", "hide-input"]}, outputs=[], execution_count=3),
    ]
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    nbformat.write(new_notebook(cells=cells), notebooks / "01_a.ipynb")
    return notebooks


def test_students_get_no_answer_no_check_and_no_output(folder, tmp_path):
    (copy,), kept = make_class(folder, tmp_path / "class")
    text = copy.read_text()
    assert not kept and "forty" not in text and "a line" not in text
    last = nbformat.read(copy, as_version=4).cells[-1]
    assert last.source == "# Exercise 1: your solution\n" and last.metadata.tags == ["exercise"]
    teacher = tmp_path / "class" / "teacher" / "01_a.ipynb"
    assert teacher.read_bytes() == (folder / "01_a.ipynb").read_bytes()


def test_a_class_made_again_keeps_what_students_wrote(folder, tmp_path):
    (copy,), _ = make_class(folder, tmp_path / "class")
    fresh = copy.read_text()
    assert make_class(folder, tmp_path / "class")[1] == [] and len(list(copy.parent.iterdir())) == 1
    for day in "123":
        copy.write_text(f"my work, day {day}")
        (aside,) = make_class(folder, tmp_path / "class")[1]
        assert aside.read_text() == f"my work, day {day}" and copy.read_text() == fresh
        if day == "2":  # a gap in the numbers costs nobody anything
            (copy.parent / "01_a.kept-1.ipynb").unlink()
    assert sorted(path.read_text()[-1] for path in copy.parent.glob("*kept*")) == ["2", "3"]
    with pytest.raises(ValueError, match="outside"):
        make_class(folder, folder / "class")


def test_the_site_reads_offline_with_formulas_and_folds_machinery_away(folder, tmp_path):
    index = make_site(folder, tmp_path / "site")
    page = (tmp_path / "site" / "01_a.html").read_text()
    assert "<script" not in page and not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert page.count("<math") == 2 and "ℒ" in page and "<mfrac>" in page and "$" not in page.split("<body")[1]
    assert 'href="01_a.html#x"' in page and page.count("<summary>Set-up") == 3 and page.count("<summary>Solution") == 1
    assert 'href="01_a.html"' in index.read_text() and "Claim: it holds." in index.read_text()


@pytest.mark.parametrize("path", collection(COMMITTED), ids=lambda path: path.stem[:2])
def test_no_later_cell_needs_what_only_a_solution_sets(path):
    """So that "Restart and run all" works in a student's copy before anything is answered."""
    made = set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
            if "solution" in cell.metadata.get("tags", []):
                made |= own
            else:
                assert not ({node.id for node in names} - own) & made
                made -= own


def test_by_command(tmp_path, capsys):
    assert main(["class", "--out", str(tmp_path / "class")]) == 0
    (tmp_path / "class" / "student" / "00_start_here.ipynb").write_text("mine")
    assert main(["class", "--out", str(tmp_path / "class")]) == 0
    assert "kept-1" in capsys.readouterr().out
