"""The notebooks' panels and the static site in a real browser; run by ``make browser`` only.

Needs Playwright (extra ``browser``) and a Chromium on the PATH, and is skipped with the reason where one is absent.
The browser reaches nothing but this machine. Screenshots go to ``build/screenshots``.
"""

import ast
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from cdgkd_utils.config import home
from cdgkd_utils.notebooks import cleaned, collection
from cdgkd_utils.teaching.site import make_site

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e .[browser]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if not CHROMIUM:
    pytest.skip("no chromium on the PATH: install Debian's package chromium, or your system's", allow_module_level=True)

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()
PER_NOTEBOOK = 400  # seconds for all cells in the smoke profile
PER_PICTURE = 90  # seconds for one picture; those without a button take below one
IDLE = """() => {
  const panel = window.jupyterapp.shell.currentWidget, cells = panel?.content?.model?.cells;
  const last = cells && [...Array(cells.length).keys()].map(i => cells.get(i)).filter(
    c => c.type === "code" && c.sharedModel.getSource().trim()).at(-1);
  return !!last?.executionCount && panel.sessionContext.session?.kernel?.status === "idle";
}"""
FAULTS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .filter(c => c.type === "code").flatMap(c => c.outputs.toJSON())
  .filter(o => o.output_type === "error" || o.name === "stderr")
  .map(o => o.ename ? `${o.ename}: ${o.evalue}` : [o.text].flat().join(""))"""


def panels_shown(notebook):
    """How many panels a notebook shows: its calls of a ``show`` that is not Matplotlib's."""
    calls = [
        node.func
        for cell in notebook.cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "show"
    ]
    return sum(not (isinstance(call.value, ast.Name) and call.value.id == "plt") for call in calls)


WITH_PANELS = [path for path in collection(NOTEBOOKS) if panels_shown(nbformat.read(path, 4))]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on this machine alone, with a token and settings of its own: (folder, address of a file)."""
    root = tmp_path_factory.mktemp("lab")
    settings = root / "settings" / "@jupyterlab"
    for name, content in {
        "notebook-extension/tracker": {"windowingMode": "none"},  # otherwise cells out of sight are not in the page
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    (root / "notebooks").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = os.environ | {
        "CDGKD_HOME": str(root / "home"),
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
        "JUPYTER_TOKEN": token,
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        **{f"JUPYTER_{name}_DIR": str(root / name.lower()) for name in ("CONFIG", "RUNTIME")},
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
    }
    options = ["--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1"]
    options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root / 'notebooks'}"]
    with (root / "lab.log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options, "--LabApp.extension_manager=readonly"]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(120):
                assert server.poll() is None, (root / "lab.log").read_text()[-2000:]
                try:
                    urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield root / "notebooks", lambda name: f"{address}/lab/tree/{name}?reset&token={token}"
        finally:
            server.terminate()  # takes the kernels with it
            server.wait(timeout=30)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page of 1280 pixels that can reach this machine only; it remembers what it was refused."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=False)
    page = context.new_page()
    page.refused = []

    def local_only(route):
        if route.request.url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")):
            route.continue_()
        else:
            page.refused.append(route.request.url)
            route.abort()

    context.route("**/*", local_only)
    yield page
    context.close()


def run_all(page, address):
    """Open a notebook, run all its cells, and say which errors its outputs hold."""
    page.goto(address)
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(IDLE, timeout=1000 * PER_NOTEBOOK)
    return page.evaluate(FAULTS)


def picture_of(panel):
    picture = panel.locator("img").first
    return picture.get_attribute("src") if picture.count() else ""


def moves(panel):
    """One call after the other that moves a control of the panel as a hand would."""
    for handle in panel.locator(".noUi-handle").all():
        yield from (lambda key=key, handle=handle: handle.press(key) for key in ("ArrowRight", "ArrowLeft"))
    for select in panel.locator("select").all():
        for value in select.evaluate("e => [...e.options].filter(o => !o.selected).map(o => o.value)")[:2]:
            yield lambda select=select, value=value: select.select_option(value)
    for button in panel.locator(".widget-toggle-button:not(.mod-active), .widget-toggle-buttons button").all():
        yield button.click
    for box in panel.locator("input[type=checkbox], input[type=radio]").all():
        yield lambda box=box: box.click(force=True)


def wait_for_another(page, panel, before):
    """Whether the picture becomes another one; a panel with a button has it pressed. A sentence ends the wait."""
    button = panel.locator("button.jupyter-button.mod-primary")
    if button.count():
        button.first.click()

    def another():
        return picture_of(panel) not in ("", before)

    def said():
        return button.count() and panel.locator(".widget-html b").count()

    wait_for(page, lambda: another() or said(), PER_PICTURE if button.count() else 10)
    return another()


def wait_for(page, happened, seconds):
    """Whether something happens in time."""
    limit = time.monotonic() + seconds
    while not happened() and time.monotonic() < limit:
        page.wait_for_timeout(100)
    return bool(happened())


def hand_over(page, panel, home):
    """A panel that waits for a clip says so; where it takes a file, it gets the largest clip a notebook wrote."""
    assert not wait_for_another(page, panel, "") and "clip" in panel.locator(".widget-html b").first.inner_text()
    upload = panel.locator("button.widget-upload")
    if upload.count():  # otherwise it is a camera, with nobody before it
        with page.expect_file_chooser() as chooser:
            upload.click()
        clips = [path for path in home.rglob("*") if path.suffix in (".avi", ".mp4") and "clips" in path.parts]
        chooser.value.set_files(max(clips, key=lambda path: path.stat().st_size))
        page.wait_for_timeout(2000)  # for the file to reach the kernel
        panel.locator("button.jupyter-button.mod-primary").click()
        page.wait_for_timeout(1000)  # for the sentence to go
        assert wait_for(page, lambda: picture_of(panel), PER_PICTURE), f"no picture; it says: {panel.inner_text()!r}"
        assert panel.locator("img").get_attribute("alt").strip(), "no alternative text"


def exercise(page, panel, home):
    """Move the panel's controls until its picture changes.

    Raises
    ------
    AssertionError
        There is no picture, it has no alternative text, or no move changes it.
    """
    panel.scroll_into_view_if_needed()
    if panel.locator("button.widget-upload, video").count():
        return hand_over(page, panel, home)
    assert picture_of(panel) or wait_for_another(page, panel, ""), "no picture"
    assert panel.locator("img").first.get_attribute("alt").strip(), "no alternative text"
    assert panel.bounding_box()["width"] <= 1280
    before = picture_of(panel)
    for move in moves(panel):
        move()
        if wait_for_another(page, panel, before):
            wait_until_drawn(page, panel)
            return
    raise AssertionError(f"no move of a control changed the picture; it says: {panel.inner_text()[-300:]!r}")


def wait_until_drawn(page, panel):
    """Wait for the picture to be on the screen: a page may know a picture before it has painted it."""
    for _ in range(20):
        shot = Image.open(BytesIO(panel.locator("img").first.screenshot()))
        if shot.height > 100 and len(shot.convert("RGB").getcolors(maxcolors=1 << 24)) > 20:
            return
        page.wait_for_timeout(250)
    raise AssertionError("the picture stays blank")


def screenshots():
    folder = home() / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(folder, name, *sources):
    nbformat.write(cleaned(new_notebook(cells=[new_code_cell(source) for source in sources])), folder / name)


DRAW = """
import ipywidgets
import matplotlib.pyplot as plt
from cdgkd_utils.viz.widgets.panel import Panel
def draw(height, tell=None):
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.bar([0], [{height}])
    ax.set_ylim(0, 10)
    return fig
"""
SHOW = """Panel(draw, {{"height": ipywidgets.IntSlider(3, 0, 10)}}, alt=lambda height: "a bar"{button}).show()"""


def test_the_harness_sees_panels_that_follow_and_panels_that_do_not(lab, page):
    folder, address = lab
    write(
        folder, "follow.ipynb", DRAW.format(height="height"), *(SHOW.format(button=b) for b in ("", ', button="Draw"'))
    )
    assert panels_shown(nbformat.read(folder / "follow.ipynb", 4)) == 2
    assert run_all(page, address("follow.ipynb")) == []
    panels = page.locator(".cdgkd-panel").all()
    assert len(panels) == 2
    for panel in panels:
        exercise(page, panel, folder)
    write(folder, "frozen.ipynb", DRAW.format(height="3"), SHOW.format(button=""), "1 / 0")
    assert "ZeroDivisionError" in " ".join(run_all(page, address("frozen.ipynb")))
    with pytest.raises(AssertionError, match="no move"):
        exercise(page, page.locator(".cdgkd-panel").first, folder)


@pytest.mark.parametrize("path", WITH_PANELS, ids=lambda path: path.stem)
def test_every_panel_of_a_notebook_follows_its_controls(path, lab, page):
    folder, address = lab
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    after = 1 + next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(after, new_code_cell('profile = "smoke"'))
    nbformat.write(notebook, folder / path.name)
    assert run_all(page, address(path.name)) == []
    panels = page.locator(".cdgkd-panel")
    playwright.expect(panels).to_have_count(panels_shown(notebook), timeout=20_000)
    for number, panel in enumerate(panels.all(), 1):
        exercise(page, panel, folder.parent / "home")
        panel.screenshot(path=screenshots() / f"{path.stem}-panel{number}.png")


def test_the_site_reads_on_a_phone_and_on_a_screen_without_a_network(page, tmp_path):
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: pip install -e .[book]")
    formulas = 0
    make_site(NOTEBOOKS, tmp_path / "site")
    for path in sorted((tmp_path / "site").glob("*.html")):
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path.name} is wider than {width}"
            sizes = page.evaluate("[...document.querySelectorAll('math')].map(e => e.getBoundingClientRect().width)")
            assert all(size > 0 for size in sizes)
            formulas += len(sizes)
            page.screenshot(path=screenshots() / f"site-{path.stem}-{width}.png")
        page.evaluate("document.querySelectorAll('img').forEach(e => e.loading = 'eager')")
        page.wait_for_function("[...document.images].every(e => e.complete)")
        assert page.evaluate("[...document.images].every(e => e.naturalWidth > 0)")
    assert formulas > 0 and page.refused == []
