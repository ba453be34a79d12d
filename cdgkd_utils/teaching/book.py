"""All notebooks as one static site: pages, an index with pictures, and a check that nothing is missing.

The site is plain HTML and one style sheet. It makes no request beyond its own folder, so it can be read from a disk,
a stick or any web server, on a phone and offline.
"""

from __future__ import annotations

import html
from io import BytesIO
from pathlib import Path

from PIL import Image
from pygments.formatters import HtmlFormatter

from ..notebooks import collection
from .folder import TeachingError, whole_folder
from .page import Page, read_page
from .site import site_faults

THUMBNAIL = (480, 320)  # pixels, at most
TITLE = "CDGKD, reproduced: EEG teaches the face"
ABOUT = (
    "Can a network that has seen brain waves and a face teach one that sees only the face? These notebooks rebuild "
    "the method step by step. By default all data are synthetic: no number here is a finding about people."
)
SHELL = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="book.css">
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
{above}
<main id="content">
{body}
</main>
{below}
</body>
</html>
"""


def make_book(notebooks: Path, out: Path) -> list[Path]:
    """Write the site.

    Parameters
    ----------
    notebooks : Path
        Folder of executed notebooks, which are only read.
    out : Path
        Folder to make; see :func:`.folder.whole_folder`.

    Returns
    -------
    list of Path
        The pages, the index first.

    Raises
    ------
    TeachingError
        `out` cannot be used, there is no notebook or an unreadable one, or the finished site has a fault; nothing is
        left then.
    """
    sources = collection(notebooks)
    if not sources:
        raise TeachingError(f"{notebooks.name}: no notebook like 01_name.ipynb in it; name a folder that has some")
    pages = [read_page(source) for source in sources]
    with whole_folder(out, "book", notebooks) as made:
        (made / "pictures").mkdir()
        for name, content in {k: v for page in pages for k, v in (page.pictures | thumbnail(page)).items()}.items():
            (made / name).write_bytes(content)
        for position, page in enumerate(pages):
            around = navigation(pages, position)
            (made / f"{page.stem}.html").write_text(_filled(page.title, page.body, around), encoding="utf-8")
        (made / "index.html").write_text(_filled(TITLE, index_body(pages)), encoding="utf-8")
        style = Path(__file__).with_name("book.css").read_text(encoding="utf-8")
        (made / "book.css").write_text(style + _code_colours(), encoding="utf-8")
        if faults := site_faults(made):
            raise TeachingError(f"the site has {len(faults)} faults and was not written; the first: {faults[0]}")
    return [out / "index.html", *(out / f"{page.stem}.html" for page in pages)]


def _filled(title: str, body: str, around: str = "") -> str:
    return SHELL.format(title=html.escape(title), body=body, above=around, below=around)


def navigation(pages: list[Page], position: int) -> str:
    """Links to the page before, the index and the page after."""
    links = ['<a href="index.html">All notebooks</a>']
    if position > 0:
        before = pages[position - 1]
        links.insert(0, f'<a rel="prev" href="{before.stem}.html">← {html.escape(before.title)}</a>')
    if position + 1 < len(pages):
        after = pages[position + 1]
        links.append(f'<a rel="next" href="{after.stem}.html">{html.escape(after.title)} →</a>')
    return f'<nav aria-label="Notebooks">{" ".join(links)}</nav>'


def thumbnail(page: Page) -> dict[str, bytes]:
    """The page's first picture, made small; nothing for a page without one."""
    for content in page.pictures.values():
        with Image.open(BytesIO(content)) as picture:
            small = picture.convert("RGBA")
            small.thumbnail(THUMBNAIL)
            ground = Image.new("RGBA", small.size, "white")
            buffer = BytesIO()
            Image.alpha_composite(ground, small).convert("RGB").save(buffer, "PNG", optimize=True)
        return {f"pictures/{page.stem}-small.png": buffer.getvalue()}
    return {}


def index_body(pages: list[Page]) -> str:
    """Heading and one card per notebook: picture, title, claim, time."""
    cards = []
    for page in pages:
        link, title = f"{page.stem}.html", html.escape(page.title)
        small = thumbnail(page)
        picture = f'<img src="{next(iter(small))}" alt="First figure of {title}" loading="lazy">' if small else ""
        cards.append(
            f'<li><a href="{link}">{picture}<h2>{title}</h2></a>\n'
            f'<p>{html.escape(page.claim)}</p>\n<p class="time">Time: {html.escape(page.time)}</p></li>'
        )
    return f'<h1>{TITLE}</h1>\n<p>{ABOUT}</p>\n<ol class="cards">\n' + "\n".join(cards) + "\n</ol>"


def _code_colours() -> str:
    """Colours of code, with enough contrast on white."""
    return "\n" + HtmlFormatter(style="default").get_style_defs(".highlight") + "\n"
