"""The notebooks as teaching material: copies for a class, and one static site that needs no network."""

from __future__ import annotations

import html
import re
from functools import partial
from itertools import count
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import ClearOutputPreprocessor

from .notebooks import collection
from .results.tables import write_whole

INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>CDGKD, reproduced</title><style>body {{ max-width: 45rem; margin: 2rem auto; font: 1.1rem/1.5 system-ui }}
li {{ margin: .8rem 0 }}</style></head><body>
<h1>CDGKD, reproduced: EEG teaches the face</h1>
<p>Synthetic data by default: no number here is a finding about people.</p>
<ul>{items}</ul></body></html>
"""


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
    """Write ``student/`` and ``teacher/`` copies of all notebooks into `out`; what differs there is set aside.

    The students' copies, and the files that were set aside beside them.
    """
    out, originals = Path(out).expanduser().resolve(), collection(notebooks)
    if not originals or Path(notebooks).resolve() in (out, *out.parents):
        raise ValueError(f"--out {out}: expected a folder outside the notebooks', and notebooks like 01_name.ipynb")
    copies, kept = {}, []
    for original in originals:
        text = original.read_text(encoding="utf-8")
        copies[out / "teacher" / original.name] = text
        copies[out / "student" / original.name] = nbformat.writes(student_copy(nbformat.reads(text, as_version=4)))
    for path, text in copies.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != text.encode():
            names = (path.with_name(f"{path.stem}.kept-{number}{path.suffix}") for number in count(1))
            kept.append(path.rename(next(aside for aside in names if not aside.exists())))
        write_whole(path, text)
    return [path for path in copies if path.parent.name == "student"], kept


def mathml(latex: str, display: str = "inline") -> str:
    """A formula as MathML, which browsers draw themselves; its source is the alternative text."""
    from latex2mathml.converter import convert

    found = convert(latex.strip(), display=display)
    for letter, script in {"F": "ℱ", "H": "ℋ", "L": "ℒ", "R": "ℛ"}.items():  # browsers know no variant "script"
        found = found.replace(f'<mi mathvariant="script">{letter}</mi>', f"<mi>{script}</mi>")
    return found.replace("<math ", f'<math alttext="{html.escape(latex.strip())}" ', 1)


class _Markdown(IPythonRenderer):
    inline_math, block_math = staticmethod(mathml), staticmethod(partial(mathml, display="block"))


def _markdown(source: str, **_: object) -> str:
    return MarkdownWithMath(renderer=_Markdown(escape=False)).render(source)


def page(notebook: nbformat.NotebookNode) -> str:
    """One executed notebook as HTML without scripts; machinery and solutions are folded away."""
    exporter = HTMLExporter(template_name="lab", exclude_input_prompt=True, exclude_output_prompt=True)
    for name in ("markdown2html", "markdown2html_mistune"):
        exporter.register_filter(name, _markdown)
    soup = BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")
    for script in soup.find_all("script"):
        script.decompose()
    for cell, drawn in zip(notebook.cells, soup.select(".jp-Cell"), strict=True):
        if label := folded(cell):
            part = drawn if label == "Solution" else drawn.select_one(".jp-Cell-inputWrapper")
            part.wrap(soup.new_tag("details")).insert(0, soup.new_tag("summary", string=label))
    for link in soup.find_all("a", href=True):
        link["href"] = re.sub(r"^(\d\d_\w+)\.ipynb", r"\1.html", link["href"])
    for image in soup.find_all("img", alt=re.compile("^No description")):
        heading = image.find_previous(["h1", "h2", "h3"])
        image["alt"] = f"Figure of “{heading.get_text().strip('¶')}”" if heading else "Figure"
    soup.main.insert(0, BeautifulSoup('<p><a href="index.html">All notebooks</a></p>', "html.parser"))
    return str(soup)


def folded(cell: nbformat.NotebookNode) -> str:
    """What a reader opens to see this cell's code, or "" for code that stands open."""
    tags, lines = cell.metadata.get("tags", []), filter(str.strip, cell.source.splitlines())
    if cell.cell_type != "code" or "solution" in tags:
        return "Solution" if "solution" in tags else ""
    machinery = all(re.match(r"#|from |import |\w+ = cd\.start\(|%", line) for line in lines)
    return "Set-up" if "parameters" in tags or machinery else "Code" if "hide-input" in tags else ""


def make_site(notebooks: Path, out: Path) -> Path:
    """Write one page per executed notebook and an index into `out`; returns the index."""
    items = []
    for source in collection(notebooks):
        notebook = nbformat.read(source, as_version=4)
        write_whole(out / f"{source.stem}.html", page(notebook))
        title, _, rest = notebook.cells[0].source.partition("\n")
        claim = BeautifulSoup(_markdown(rest.strip()), "html.parser").get_text().strip()
        link = f'<a href="{source.stem}.html">{html.escape(title.strip("# "))}</a>'
        items.append(f"<li>{link}<br>{html.escape(claim.partition(chr(10))[0])}</li>")
    if not items:
        raise ValueError(f"{notebooks}: no notebook like 01_name.ipynb in it; name a folder that has some")
    return write_whole(out / "index.html", INDEX.format(items="\n".join(items)))
