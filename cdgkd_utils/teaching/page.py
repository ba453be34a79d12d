"""One executed notebook as the body of a page that needs no network and no script.

Formulas become MathML, which browsers draw themselves. Pictures become files with alternative texts. Solutions are
folded.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from ..notebooks import cleaned
from .folder import TeachingError
from .overview import chapters

NOTICE = "What to notice."
DATA_URL = re.compile(r"data:image/(png|jpeg|gif);base64,(.*)", re.DOTALL)
SCRIPT = {"F": "ℱ", "H": "ℋ", "L": "ℒ", "R": "ℛ"}
NOTEBOOK = re.compile(r"(\d\d_\w+)\.ipynb")


@dataclass
class Page:
    """A notebook, converted.

    Attributes
    ----------
    stem : str
        The notebook's name without its ending.
    title, claim, time : str
        Of its first two cells, as plain text.
    body : str
        HTML.
    pictures : dict of str to bytes
        By the path that `body` names.
    """

    stem: str
    title: str
    claim: str
    time: str
    body: str = ""
    pictures: dict[str, bytes] = field(default_factory=dict)


def mathml(latex: str, display: str = "inline") -> str:
    """A formula as MathML, with its LaTeX source as the alternative text.

    Parameters
    ----------
    latex : str
    display : {"inline", "block"}

    Raises
    ------
    TeachingError
        The converter is not installed, or cannot read the formula.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise TeachingError(
            "the book needs latex2mathml for its formulas; install the extra: pip install -e .[book]"
        ) from None
    latex = latex.strip()
    try:
        element = BeautifulSoup(convert(latex, display=display), "html.parser").math
    except Exception as error:  # the converter has an error class for each way to fail
        raise TeachingError(
            f"formula {latex!r}: {type(error).__name__}; write it in LaTeX that latex2mathml reads"
        ) from None
    element["alttext"] = latex
    # Browsers know no letters "in script"; Unicode does.
    for letter in element.find_all("mi", mathvariant="script"):
        letter.string = "".join(SCRIPT.get(character, character) for character in letter.get_text())
        del letter["mathvariant"]
    return str(element)


class _Markdown(IPythonRenderer):
    """Markdown as nbconvert reads it, formulas as MathML."""

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return f'<div class="formula">{mathml(body, "block")}</div>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def markdown(source: str) -> str:
    """HTML of a Markdown text with formulas."""
    return MarkdownWithMath(renderer=_Markdown(escape=False)).render(source)


def _plain(source: str) -> str:
    """A Markdown text without its marks and formulas' code."""
    soup = BeautifulSoup(markdown(source), "html.parser")
    for formula in soup.find_all("math"):
        formula.replace_with(formula["alttext"])
    return " ".join(soup.get_text().split())


def read_page(path: Path) -> Page:
    """Convert an executed notebook.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Page

    Raises
    ------
    TeachingError
        It does not begin as the notebooks of the collection do, or a formula cannot be read.
    """
    notebook = cleaned(nbformat.read(path, as_version=4))
    page = Page(path.stem, *map(_plain, chapters([path]).iloc[0]))
    page.claim = page.claim[:1].upper() + page.claim[1:]
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_filter("markdown2html", markdown)
    try:
        html, _ = exporter.from_notebook_node(notebook)
    except TeachingError as error:
        raise TeachingError(f"{path.name}: {error}") from None
    soup = BeautifulSoup(html, "html.parser")
    for useless in soup.find_all("script") + soup.find_all(class_="anchor-link"):
        useless.decompose()
    _describe(soup)
    _fold(soup)
    _link(soup)
    for table in soup.find_all("table"):
        table.wrap(
            soup.new_tag("div", attrs={"class": "wide", "tabindex": "0", "role": "group", "aria-label": "table"})
        )
    page.pictures = _detach(soup, page.stem)
    page.body = str(soup)
    return page


def _describe(soup: BeautifulSoup) -> None:
    """Give every picture an alternative text, and point it at the text below that reads it."""
    heading, waiting, counted, notices = "", [], 0, 0
    for element in soup.find_all(["h1", "h2", "img", "p"]):
        if element.name in ("h1", "h2"):
            heading, waiting, counted = element.get_text().strip(), [], 0
        elif element.name == "img":
            counted += 1
            recorded = element.get("alt", "").strip()
            element["alt"] = f"Figure {counted} of “{heading}”" + (f": {recorded}" if recorded else "")
            element["loading"] = "lazy"
            waiting.append(element)
        elif element.get_text().startswith(NOTICE) and waiting:
            notices += 1
            element["id"] = f"notice-{notices}"
            for picture in waiting:
                picture["aria-describedby"] = element["id"]
            waiting = []


def _fold(soup: BeautifulSoup) -> None:
    """Put solutions, and code marked as hidden, behind a line to open."""
    solutions = soup.find_all(class_="celltag_solution")
    for cell in solutions:
        first = cell.get_text().strip().splitlines()[0]
        _behind(soup, cell, f"Solution: {first[2:].strip()}" if first.startswith("# ") else "Solution")
    for cell in soup.find_all(class_="celltag_hide-input"):
        if cell not in solutions:
            _behind(soup, cell.find(class_="input"), "Code")


def _behind(soup: BeautifulSoup, element: Tag, label: str) -> None:
    details = element.wrap(soup.new_tag("details"))
    summary = soup.new_tag("summary")
    summary.string = label
    details.insert(0, summary)


def _link(soup: BeautifulSoup) -> None:
    """Links to notebooks lead to their pages; a notebook's name in the text becomes a link."""
    for link in soup.find_all("a", href=True):
        if not re.match(r"[a-z]+:", link["href"]):
            link["href"] = NOTEBOOK.sub(r"\1.html", link["href"])
    for code in soup.find_all("code"):
        named = NOTEBOOK.fullmatch(code.get_text())
        if named and not code.find_parent(["a", "pre"]):
            code.wrap(soup.new_tag("a", href=f"{named[1]}.html"))


def _detach(soup: BeautifulSoup, stem: str) -> dict[str, bytes]:
    """Take the pictures out of the page; their bytes by path."""
    pictures = {}
    for image in soup.find_all("img"):
        if inside := DATA_URL.fullmatch(image.get("src", "")):
            name = f"pictures/{stem}-{len(pictures) + 1:02d}.{inside[1]}"
            pictures[name] = base64.b64decode(inside[2])
            image["src"] = name
    return pictures
