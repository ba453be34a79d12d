"""All notebooks as one static site that needs no network: formulas as MathML, machinery and solutions folded away."""

from __future__ import annotations

import html
import re
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from ..notebooks import collection

INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>CDGKD, reproduced</title><style>body {{ max-width: 45rem; margin: 2rem auto; padding: 0 1rem;
font: 1.1rem/1.5 system-ui, sans-serif }} li {{ margin: .8rem 0; list-style: none }}</style></head><body>
<h1>CDGKD, reproduced: EEG teaches the face</h1>
<p>Synthetic data by default: no number here is a finding about people.</p>
<ul>{items}</ul></body></html>
"""


def mathml(latex: str, display: str = "inline") -> str:
    """A formula as MathML, which browsers draw themselves; its source is the alternative text."""
    from latex2mathml.converter import convert

    found = convert(latex.strip(), display=display)
    for letter, script in {"F": "ℱ", "H": "ℋ", "L": "ℒ", "R": "ℛ"}.items():  # browsers know no variant "script"
        found = found.replace(f'<mi mathvariant="script">{letter}</mi>', f"<mi>{script}</mi>")
    return found.replace("<math ", f'<math alttext="{html.escape(latex.strip())}" ', 1)


class _Markdown(IPythonRenderer):
    """Markdown as nbconvert reads it, formulas as MathML."""

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def page(notebook: nbformat.NotebookNode) -> str:
    """One executed notebook as HTML without scripts."""
    exporter = HTMLExporter(template_name="lab", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_filter("markdown2html_mistune", _markdown)
    exporter.register_filter("markdown2html", _markdown)
    soup = BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")
    for script in soup.find_all("script"):
        script.decompose()
    for cell, drawn in zip(notebook.cells, soup.select(".jp-Cell"), strict=True):
        if label := folded(cell):
            part = drawn if label == "Solution" else drawn.select_one(".jp-Cell-inputWrapper")
            summary = soup.new_tag("summary")
            summary.string = label
            part.wrap(soup.new_tag("details")).insert(0, summary)
    for link in soup.find_all("a", href=True):
        link["href"] = re.sub(r"^(\d\d_\w+)\.ipynb", r"\1.html", link["href"])
    for image in soup.find_all("img", alt=re.compile("^No description")):
        heading = image.find_previous(["h1", "h2", "h3"])
        image["alt"] = f"Figure of “{heading.get_text().strip('¶')}”" if heading else "Figure"
    back = BeautifulSoup('<p><a href="index.html">All notebooks</a></p>', "html.parser")
    soup.main.insert(0, back)
    return str(soup)


def _markdown(source: str, **_: object) -> str:
    return MarkdownWithMath(renderer=_Markdown(escape=False)).render(source)


def folded(cell: nbformat.NotebookNode) -> str:
    """What a reader opens to see this cell's code, or "" for code that stands open."""
    tags, lines = cell.metadata.get("tags", []), [line for line in cell.source.splitlines() if line.strip()]
    if cell.cell_type != "code" or "solution" in tags:
        return "Solution" if "solution" in tags else ""
    machinery = all(re.match(r"#|from |import |\w+ = cd\.start\(|%", line) for line in lines)
    return "Set-up" if "parameters" in tags or machinery else "Code" if "hide-input" in tags else ""


def make_site(notebooks: Path, out: Path) -> Path:
    """Write one page per executed notebook and an index into `out`; returns the index."""
    out, sources, items = Path(out), collection(notebooks), []
    if not sources:
        raise ValueError(f"{notebooks}: no notebook like 01_name.ipynb in it; name a folder that has some")
    out.mkdir(parents=True, exist_ok=True)
    for source in sources:
        notebook = nbformat.read(source, as_version=4)
        (out / f"{source.stem}.html").write_text(page(notebook), encoding="utf-8")
        title, _, rest = notebook.cells[0].source.partition("\n")
        claim = BeautifulSoup(_markdown(rest.strip()), "html.parser").get_text().strip()
        link = f'<a href="{source.stem}.html">{html.escape(title.strip("# "))}</a>'
        items.append(f"<li>{link}<br>{html.escape(claim.splitlines()[0] if claim else '')}</li>")
    (out / "index.html").write_text(INDEX.format(items="\n".join(items)), encoding="utf-8")
    return out / "index.html"
