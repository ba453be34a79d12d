"""Every interactive part of the notebooks in a real browser: moved once, its picture changes.

Run by hand, ``pytest -m browser``. Needs Playwright (extra ``browser``) and a Chromium on the PATH.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from PIL import Image

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e .[browser]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("0*.ipynb"))
READY = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
ENDED = """() => { const panel = jupyterapp.shell.currentWidget;
  const cells = [...panel.content.model.cells].filter(c => c.type === "code");
  const stopped = cells.some(c => c.outputs.toJSON().some(o => o.output_type === "error"));
  return (stopped || cells.at(-1).executionCount) && panel.sessionContext.session.kernel.status === "idle"; }"""
FAULTS = """() => [...jupyterapp.shell.currentWidget.content.model.cells].filter(c => c.type === "code")
  .flatMap(c => c.outputs.toJSON()).filter(o => o.output_type === "error").map(o => `${o.ename}: ${o.evalue}`)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on this machine alone: its folder, and the address of a file in it."""
    root, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    settings = root / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}')  # otherwise cells out of sight are not in the page
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"CDGKD_HOME": str(root / "home"), "JUPYTER_TOKEN": token, "OMP_NUM_THREADS": "1"}
    environment |= {f"JUPYTER_{name}_DIR": str(root / name) for name in ("CONFIG", "RUNTIME")}
    environment |= {f"JUPYTERLAB_{name.upper()}_DIR": str(root / name) for name in ("settings", "workspaces")}
    options = ["--no-browser", "--allow-root", "--expose-app-in-browser", f"--ServerApp.port={port}"]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={root}"]
    with (root / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    yield root, lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}?reset&token={token}"
    server.terminate()
    server.wait(timeout=30)


def wait(page, happened, seconds):
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        page.wait_for_timeout(100)
    return happened()


def moves(panel):
    """One call after the other that moves a control as a hand would, and how long its picture may take."""
    for handle in panel.locator(".noUi-handle").all():
        yield from ((lambda key=key, handle=handle: handle.press(key), 10) for key in ("ArrowRight", "ArrowLeft"))
    yield from ((button.click, 10) for button in panel.locator(".widget-toggle-buttons button:not(.mod-active)").all())
    yield from ((button.click, 90) for button in panel.locator("button.mod-primary").all())


def follows(page, panel):
    """Move a part until its picture is another one, and look at what is on the screen."""
    panel.scroll_into_view_if_needed()
    picture = panel.locator("img").first

    def shown():
        return picture.get_attribute("src") if panel.locator("img").count() else ""

    before = shown()
    for move, seconds in moves(panel):
        move()
        if wait(page, lambda: shown() != before, seconds):
            break
    assert shown() != before, f"no move changed the picture; it says: {panel.inner_text()[-300:]!r}"
    assert picture.get_attribute("alt")
    screen = Image.open(BytesIO(picture.screenshot())).convert("RGB")
    assert len(screen.getcolors(1 << 24)) > 20, "the picture is white"


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH: install your system's package")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_part_of_a_notebook_follows_a_move(path, lab):
    root, address = lab
    notebook = nbformat.read(path, 4)
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(place + 1, new_code_cell('profile = "smoke"'))
    nbformat.write(notebook, root / path.name)
    with playwright.sync_playwright() as driver:
        page = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page()
        wait(page, lambda: "is running at" in (root / "lab.log").read_text(), 60)
        page.goto(address(path.name))
        page.wait_for_function(READY, timeout=60_000)
        page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.wait_for_function(ENDED, timeout=400_000)
        assert page.evaluate(FAULTS) == []
        for panel in page.locator(".cdgkd-panel").all():
            if not panel.locator("button.widget-upload").count():  # one waits for a clip of one's own
                follows(page, panel)
