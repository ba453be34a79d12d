"""What is wrong with a folder of pages: dead links, missing pictures, requests to elsewhere, unreadable formulas."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

# What a browser fetches by itself. A link that a reader has to follow (`a`) may lead anywhere.
FETCHED = {"src", "srcset", "poster", "data", "background"}
ELSEWHERE = re.compile(r"(?:[a-z][a-z+.-]*:)?//|(?:https?|ftp):", re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"]?)\s*([^'\")\s]+)", re.IGNORECASE)
LATEX = re.compile(r"\$[^$\s][^$]*\$|\\(?:frac|sum|mathcal|mathrm|text|rho|begin|left|right|cdot)\b")


def site_faults(folder: Path) -> list[str]:
    """All faults of the site, each with its page; empty when there is none.

    Parameters
    ----------
    folder : Path
        Of HTML pages and all they need.
    """
    pages = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in folder.rglob("*.html")}
    faults = [
        f"{path.name}: {fault}" for path, soup in sorted(pages.items()) for fault in _page_faults(path, soup, pages)
    ]
    for sheet in sorted(folder.rglob("*.css")):
        faults += [f"{sheet.name}: {fault}" for fault in _style_faults(sheet.read_text(encoding="utf-8"))]
    return faults


def _page_faults(path: Path, soup: BeautifulSoup, pages: dict[Path, BeautifulSoup]) -> list[str]:
    faults = [f"<{tag.name}> runs or frames other code" for tag in soup(["script", "iframe", "object", "embed"])]
    if not soup.find("meta", attrs={"name": "viewport"}):
        faults.append("no viewport: unreadable on a phone")
    for tag in soup.find_all(True):
        for name in FETCHED & tag.attrs.keys():
            faults += _fetch_faults(path, str(tag[name]), tag)
        if tag.name == "link" and tag.get("href") != "data:,":
            faults += _fetch_faults(path, tag["href"], tag)
        if tag.name == "a" and "href" in tag.attrs:
            faults += _link_faults(path, tag["href"], pages)
        if tag.name == "img" and not tag.get("alt", "").strip():
            faults.append(f"picture {tag.get('src')} has no alternative text")
        faults += _style_faults(tag.get("style", "") + (tag.get_text() if tag.name == "style" else ""))
    for text in soup.find_all(string=LATEX):
        if not text.find_parent(["pre", "code", "math", "style"]):
            faults.append(f"formula left as code: {LATEX.search(text)[0]}")
    return faults


def _fetch_faults(path: Path, address: str, tag: Tag) -> list[str]:
    if address.startswith("data:"):
        return [f"<{tag.name}> carries its data inside"]
    if ELSEWHERE.match(address):
        return [f"<{tag.name}> asks another place for {address}"]
    return [] if (path.parent / unquote(urlsplit(address).path)).is_file() else [f"{address} is missing"]


def _link_faults(path: Path, address: str, pages: dict[Path, BeautifulSoup]) -> list[str]:
    if ELSEWHERE.match(address) or address.startswith("mailto:"):
        return []
    file, _, fragment = address.partition("#")
    target = path.parent / unquote(file) if file else path
    if target not in pages:
        return [] if target.is_file() else [f"link to {address}: no such file"]
    # Browsers look for the address as it stands first, and decoded then.
    if fragment and not pages[target].find(id=[fragment, unquote(fragment)]):
        return [f"link to {address}: no such place on that page"]
    return []


def _style_faults(style: str) -> list[str]:
    return [f"style asks for {address}" for address in IN_STYLE.findall(style)]
