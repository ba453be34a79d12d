"""Class copies, the static site, and what they are made of."""

import ast
import base64
import re
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from cdgkd_utils.cli import main
from cdgkd_utils.config import Params
from cdgkd_utils.notebooks import collection, execute
from cdgkd_utils.teaching.book import make_book
from cdgkd_utils.teaching.classroom import make_class, needed_later, parts_of, student_cells, student_copy
from cdgkd_utils.teaching.folder import TeachingError, whole_folder
from cdgkd_utils.teaching.overview import GLOSSARY, chapters, glossary, introductions
from cdgkd_utils.teaching.page import markdown, mathml, read_page
from cdgkd_utils.teaching.site import site_faults
from cdgkd_utils.viz.alt import describe

COMMITTED = Path(__file__).parents[1] / "notebooks"
HEAD = "# {number} · A title\n\n**The claim this notebook tests:** claim {number} with *stress*."
AIMS = "**You will**\n- look,\n\n**Reads:** nothing. **Writes:** nothing. **Time:** quick {number} s."
SOLVED = "# Exercise 1\nsecret_step = 6 * 7\nresult = secret_step / 2\n# check\nassert result * 2 == 42"
KEY = {"tags": ["solution", "hide-input"]}


def png(width=60, height=30):
    buffer = BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def notebook(number="01", *more):
    picture = new_output("display_data", {"image/png": png()}, metadata={"image/png": {"alt": "bars & 3 lines"}})
    cells = [
        new_markdown_cell(HEAD.format(number=number)),
        new_markdown_cell(AIMS.format(number=number)),
        new_markdown_cell("## A question?\n\nMass $m_i<3$ and\n\n$$\\mathcal L=\\frac{1}{2}$$\n\nsee `02_b.ipynb`."),
        new_code_cell("draw()", outputs=[picture], execution_count=1),
        new_markdown_cell("**What to notice.** Red."),
        new_code_cell(SOLVED, metadata=KEY, outputs=[new_output("stream", text="21.0\n")], execution_count=2),
        *more,
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def folder(tmp_path):
    """Two notebooks that name each other."""
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    nbformat.write(notebook("01", new_markdown_cell("Go [on](02_b.ipynb#A-question?).")), notebooks / "01_a.ipynb")
    nbformat.write(notebook("02"), notebooks / "02_b.ipynb")
    return notebooks


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- folders that appear as a whole ----------------------------------------------------------------


def test_a_folder_appears_whole_is_replaced_whole_and_survives_a_failure(tmp_path):
    out, notebooks = tmp_path / "deep" / "out", tmp_path / "notebooks"
    for content in ("one", "two"):
        with whole_folder(out, "class", notebooks) as made:
            assert made.parent.parent == out.parent  # one disk, so that renaming is one step
            (made / content).touch()
        assert {path.name for path in out.iterdir()} == {content, ".cdgkd-class"}
    before = everything(out)
    with pytest.raises(RuntimeError, match="half"), whole_folder(out, "class", notebooks) as made:
        (made / "half").touch()
        raise RuntimeError("half")
    assert everything(out) == before and [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("where", ["a_file", "mine", "site", "notebooks", "notebooks/inside"])
def test_a_folder_that_cannot_be_used_is_one_sentence_and_stays_as_it_is(where, tmp_path, folder):
    (tmp_path / "a_file").write_text("x")
    for name in ("mine", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "site" / ".cdgkd-book").touch()  # another kind's
    before = everything(tmp_path)
    with pytest.raises(TeachingError, match=r"^--out [^\n]+(name|build)[^\n]+$"):
        make_class(folder, tmp_path / where)
    assert everything(tmp_path) == before


# ---- the class ------------------------------------------------------------------------------------


def test_a_solution_comes_apart():
    parts = parts_of(SOLVED)
    assert (parts.title, parts.asked) == ("Exercise 1", ("result",))
    assert parts.answer == "secret_step = 6 * 7\nresult = secret_step / 2" and parts.check == "assert result * 2 == 42"
    assert parts_of("assert 1").title == "" and parts_of("assert 1").check == ""
    assert parts_of("def f(): return 1\n# check\nassert f() == 1").asked == ("f",)
    for wrong in ("a = 1\n# check\nassert a\n# check\nassert a", "a = 1\n# check\nassert b"):
        with pytest.raises(TeachingError, match="solution: "):
            parts_of(wrong)


def test_the_check_waits_for_an_answer_and_then_decides(capsys):
    empty, check = student_cells(SOLVED)
    assert empty.source == "# Exercise 1: your solution\nresult = ..." and check.metadata.tags == ["exercise-check"]
    names = {}
    exec(empty.source, names)
    exec(check.source, names)
    assert capsys.readouterr().out == "Exercise 1: not answered yet\n"
    exec(check.source, names | {"result": 21})
    assert capsys.readouterr().out == "Exercise 1: the check passes\n"
    with pytest.raises(AssertionError):
        exec(check.source, names | {"result": 20})
    assert [cell.source for cell in student_cells("assert 1 + 1 == 2")] == ["# your solution"]


def test_what_a_later_cell_needs_must_not_be_set_by_a_solution():
    use, own, again = (new_code_cell(s) for s in ("secret_step + 1", "secret_step = 1\nsecret_step + 1", "result"))
    assert needed_later(notebook("01", use)) == ["secret_step"]
    assert needed_later(notebook("01", own, use)) == [] and needed_later(notebook("01", own, again)) == ["result"]
    with pytest.raises(TeachingError, match="secret_step: set by a solution"):
        student_copy(notebook("01", use))


def lines_of(source):
    """Lines that would help a student; what closes a bracket is no help."""
    return {line.strip() for line in source.splitlines() if len(line.strip()) > 4}


def test_class_of_two_notebooks(folder, tmp_path):
    before = everything(folder)
    copies = make_class(folder, tmp_path / "class")
    assert everything(folder) == before
    assert everything(tmp_path / "class" / "teacher") == before
    for copy in copies:
        text = copy.read_text()
        nbformat.validate(nbformat.read(copy, 4))
        assert (
            "secret_step" not in text and "21.0" not in text and "image/png" not in text and '"hide-input"' not in text
        )
        assert "assert result * 2 == 42" in text and "A question?" in text


@pytest.mark.parametrize("path", collection(COMMITTED), ids=lambda path: path.stem)
def test_no_solution_is_left_in_the_students_copy_of_a_committed_notebook(path):
    original = nbformat.read(path, 4)
    solved = [cell for cell in original.cells if "solution" in cell.metadata.get("tags", [])]
    elsewhere = set().union(*(lines_of(cell.source) for cell in original.cells if cell not in solved))
    parts = [parts_of(cell.source) for cell in solved]
    secrets = set().union(*(lines_of(part.answer) for part in parts)) - elsewhere
    assert secrets and all(part.title.startswith("Exercise ") for part in parts)
    copy = student_copy(original)
    found = [line for cell in copy.cells for line in lines_of(cell.source) if line in secrets]
    assert found == [] and all(not cell.get("outputs") for cell in copy.cells)
    assert sum("your solution" in cell.source for cell in copy.cells) == len(solved)
    assert all(re.search(rf"^{n}\. ", "\n".join(c.source for c in copy.cells), re.M) for n in range(1, len(solved) + 1))
    for cell in copy.cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)


@pytest.mark.slow
def test_a_students_copy_runs_before_anything_is_answered(tmp_path, monkeypatch):
    copies = make_class(COMMITTED, tmp_path / "class")
    (tmp_path / "pyproject.toml").touch()
    copies[0].parent.rename(tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    (done,) = execute(Params(profile="smoke"), tmp_path / "out", only="00")
    printed = [o.text for c in nbformat.read(done, 4).cells for o in c.get("outputs", []) if o.output_type == "stream"]
    assert printed and all("not answered yet" in text for text in printed)


# ---- the site -------------------------------------------------------------------------------------


def test_formulas_become_mathml_with_their_source_as_alternative():
    soup = BeautifulSoup(markdown("a $x_i<\\mathcal L$ b\n\n$$\\frac{1}{2}$$"), "html.parser")
    inline, block = soup.find_all("math")
    assert inline["alttext"] == "x_i<\\mathcal L" and inline["display"] == "inline" and inline.msub.mi.text == "x"
    assert (
        "ℒ" in inline.text
        and block["display"] == "block"
        and [n.text for n in block.mfrac.find_all("mn")] == ["1", "2"]
    )
    assert "$" not in soup.get_text()
    with pytest.raises(TeachingError, match=r"formula 'x_': \w+; write it in LaTeX"):
        mathml("x_")


def test_a_page_has_described_pictures_folded_solutions_and_links_to_pages(folder):
    page = read_page(folder / "01_a.ipynb")
    soup = BeautifulSoup(page.body, "html.parser")
    assert (page.title, page.claim, page.time) == ("01 · A title", "Claim 01 with stress.", "quick 01 s.")
    assert soup.img["alt"] == "Figure 1 of “A question?”: bars & 3 lines"
    assert soup.find(id=soup.img["aria-describedby"]).text.startswith("What to notice.")
    assert page.pictures[soup.img["src"]] == base64.b64decode(png())
    assert soup.details.summary.text == "Solution: Exercise 1" and "secret_step" in soup.details.text
    assert [link["href"] for link in soup.find_all("a")] == ["02_b.html", "02_b.html#A-question?"]


def test_the_site_is_complete_and_in_order(folder, tmp_path):
    index, *pages = make_book(folder, tmp_path / "book")
    assert site_faults(tmp_path / "book") == []
    soup = BeautifulSoup(index.read_text(), "html.parser")
    assert [link["href"] for link in soup.select(".cards a")] == [page.name for page in pages]
    assert [card.text for card in soup.select(".cards .time")] == ["Time: quick 01 s.", "Time: quick 02 s."]
    with Image.open(index.parent / soup.select_one(".cards img")["src"]) as small:
        assert small.size == (60, 30)
    first = BeautifulSoup(pages[0].read_text(), "html.parser")
    assert first.find("a", rel="next")["href"] == "02_b.html" and not first.find("a", rel="prev")


PLANTED = {
    "<script>load()</script>": "<script> runs",
    '<img src="https://x.org/a.png" alt="a">': "asks another place for https://x.org/a.png",
    '<img src="//x.org/a.png" alt="a">': "asks another place",
    '<img src="pictures/none.png" alt="a">': "pictures/none.png is missing",
    '<img src="pictures/01_a-01.png" alt=" ">': "has no alternative text",
    '<link rel="stylesheet" href="https://x.org/a.css">': "asks another place",
    "<style>@import 'https://x.org/a.css';</style>": "style asks for https://x.org/a.css",
    '<p style="background: url(https://x.org/b.png)">x</p>': "style asks for",
    '<iframe src="index.html"></iframe>': "<iframe> runs or frames",
    '<a href="03_c.html">x</a>': "link to 03_c.html: no such file",
    '<a href="02_b.html#nowhere">x</a>': "link to 02_b.html#nowhere: no such place",
    "<p>the loss $x^2$ falls</p>": "formula left as code: $x^2$",
    "<p>\\frac{1}{2}</p>": "formula left as code",
}


@pytest.mark.parametrize("plant", PLANTED)
def test_each_planted_fault_of_a_site_is_found_alone(plant, folder, tmp_path):
    page = make_book(folder, tmp_path / "book")[1]
    page.write_text(page.read_text().replace("</main>", plant + "</main>"))
    (fault,) = site_faults(tmp_path / "book")
    assert fault.startswith("01_a.html: ") and PLANTED[plant] in fault


def test_a_link_to_a_paper_is_no_fault_and_a_site_with_a_fault_is_not_written(folder, tmp_path):
    nbformat.write(notebook("03", new_markdown_cell("[paper](https://doi.org/10)")), folder / "03_c.ipynb")
    make_book(folder, tmp_path / "book")
    before = everything(tmp_path / "book")
    nbformat.write(notebook("03", new_markdown_cell("[gone](04_d.ipynb)")), folder / "03_c.ipynb")
    with pytest.raises(TeachingError, match=r"1 faults and was not written; the first: 03_c\.html: link to 04_d\.html"):
        make_book(folder, tmp_path / "book")
    assert everything(tmp_path / "book") == before


@pytest.mark.slow
def test_the_committed_notebooks_make_a_site_without_a_fault(tmp_path):
    index, *pages = make_book(COMMITTED, tmp_path / "book")
    assert [page.stem for page in pages] == [path.stem for path in collection(COMMITTED)]
    soups = [BeautifulSoup(page.read_text(), "html.parser") for page in pages]
    assert all(soup.details and soup.img for soup in soups)
    assert len(BeautifulSoup(index.read_text(), "html.parser").select(".cards img")) == len(pages)


def test_commands_say_what_they_made_or_one_line(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    for command, made in (("class", "2 notebooks in student and teacher"), ("book", "and 2 pages written")):
        assert main([command, "--out", str(tmp_path / command)]) == 0
        assert made in capsys.readouterr().out
    assert main(["book", "--out", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "nothing"))
    assert main(["book", "--executed", "--out", str(tmp_path / "book")]) == 2
    assert "no notebook like" in capsys.readouterr().err


# ---- overview, glossary, alternative texts ---------------------------------------------------------


def test_a_term_is_introduced_where_it_stands_in_italics_else_where_it_is_used_first(tmp_path):
    texts = {"00_a": "*run*", "01_b": "we run, and `fold` it", "02_c": "a *run* and folds", "03_d": "*run* fold RUNS"}
    for name, text in texts.items():
        nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), tmp_path / f"{name}.ipynb")
    found = introductions(collection(tmp_path), ["run", "fold"])
    assert found == {"run": "02_c.ipynb", "fold": "02_c.ipynb"}
    with pytest.raises(TeachingError, match="glossary: fol occurs in no notebook"):
        introductions(collection(tmp_path), ["fol"])
    with pytest.raises(TeachingError, match=r"00_a\.ipynb: expected '# title'"):
        chapters(collection(tmp_path))


def test_the_glossary_has_one_sentence_and_one_link_per_term():
    lines = glossary(collection(COMMITTED)).splitlines()
    assert len(lines) == len(GLOSSARY) >= 35
    for line in lines:
        term, sentence, number, file = re.fullmatch(r"- \*\*(.+)\*\*: (.+) \(\[(\d\d)\]\((.+)\)\)", line).groups()
        assert sentence == GLOSSARY[term] and sentence.endswith(".") and ". " not in sentence and len(sentence) < 130
        assert file.startswith(number) and (COMMITTED / file).is_file()
    wanted = {"modality", "window", "trial", "prototype", "imbalance ratio", "guide", "soft target", "temperature"}
    assert wanted <= set(GLOSSARY)


def test_a_figure_is_described_by_its_own_words():
    fig, axes = plt.subplots(1, 2)
    axes[0].plot([0, 1], label="train")
    axes[0].set(xlabel="epoch", ylabel="loss (nats)", title="Both  \nmodalities")
    axes[0].legend()
    axes[1].set_xlabel("$\\rho$ (no unit)")
    fig.suptitle("Training")
    assert describe(fig) == "Training. Both modalities: loss (nats) against epoch with train. \\rho (no unit)"
    many, _ = plt.subplots(2, 4)
    for number, ax in enumerate(many.axes):
        ax.set_title(f"panel {number}")
    assert describe(many).endswith("panel 5. and 2 more panels")
    assert describe(plt.figure()) == "a figure without words"
    plt.close("all")
