"""A clip handed in by a person: what is drawn, what is refused, and the webcam's Python side."""

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import ipywidgets
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import traitlets

from cdgkd_utils.viz import style
from cdgkd_utils.viz.widgets import own_clip
from cdgkd_utils.viz.widgets.own_clip import clip_alt, clip_figure, clip_source, own_clip_panel, webcam

JS = Path(own_clip.__file__).with_name("webcam.js")
needs_anywidget = pytest.mark.skipif(find_spec("anywidget") is None, reason="anywidget is not installed")


@pytest.fixture(autouse=True)
def styled():
    style.use()
    yield
    plt.close("all")


def clip(n, missing=()):
    frames = np.arange(n, dtype=np.uint8)[:, None, None, None, None] * np.ones((n, 5, 4, 4, 3), np.uint8)
    mask = np.ones((n, 5), bool)
    mask[list(missing)] = False
    p = np.where(mask.any(1), np.linspace(0.2, 0.9, n), np.nan)
    return "a.mp4", frames, mask, p


def test_the_line_is_the_answer_and_lasts_four_seconds():
    figure = clip_figure(*clip(3), target="valence", truth=0.7)
    line = figure.axes[-1]
    values, edges, _ = line.patches[0].get_data()
    np.testing.assert_allclose(values, [0.2, 0.55, 0.9])
    assert edges.tolist() == [0, 4, 8, 12]
    drawn = {one.get_label(): one.get_ydata() for one in line.lines}
    assert drawn["undecided"] == [0.5, 0.5] and drawn["true P(high) of this synthetic clip"] == [0.7, 0.7]
    assert (line.get_xlabel(), line.get_ylabel(), line.get_title(loc="left")) == (
        "time (s)",
        "P(high valence)",
        "a.mp4",
    )
    shown = [np.unique(ax.images[0].get_array()).tolist() for ax in figure.axes[:-1]]
    assert shown == [[0], [1], [2]]
    assert [ax.get_title(loc="center") for ax in figure.axes[:-1]] == ["0–4 s", "4–8 s", "8–12 s"]


def test_a_long_clip_shows_twelve_faces_first_and_last_among_them():
    figure = clip_figure(*clip(100))
    shown = [int(np.unique(ax.images[0].get_array())[0]) for ax in figure.axes[:-1]]
    assert len(shown) == 12 and (shown[0], shown[-1]) == (0, 99) and shown == sorted(shown)


def test_a_window_without_a_face_is_a_gap_that_is_said():
    figure = clip_figure(*clip(3, missing=[1]))
    assert [text.get_text() for text in figure.axes[1].texts] == ["no face"] and not figure.axes[1].images
    assert np.isnan(figure.axes[-1].patches[0].get_data()[0][1])
    assert clip_alt("a.mp4", [0.2, np.nan, 0.9]) == (
        "a.mp4: 3 windows of 4 s; P(high) from 0.20 to 0.90, above one half in 1 of 2"
    )
    assert clip_alt("a.mp4", [np.nan]) == "a.mp4: no answer in any of 1 windows"


def test_arrays_that_do_not_fit_are_refused():
    name, frames, mask, p = clip(3)
    with pytest.raises(ValueError, match="expected the same windows, got 3, 3 and 2"):
        clip_figure(name, frames, mask, p[:2])
    with pytest.raises(ValueError, match="got 0, 0 and 0"):
        clip_figure(*clip(0))


# ---- the panel ---------------------------------------------------------------------------------


def upload(name, content):
    return ({"name": name, "type": "video/mp4", "size": len(content), "content": memoryview(content)},)


def test_an_uploaded_file_is_answered_when_the_button_is_pressed():
    asked = []

    def answer(content, name):
        asked.append((content, name))
        return clip(2)

    source = ipywidgets.Text()
    source.add_traits(value=traitlets.Any(()))
    panel = own_clip_panel(answer, target="arousal", source=source)
    panel.button.click()
    assert not asked and panel.status.value == "<b>there is no clip yet; record or choose one first</b>"
    source.value = upload("me.mp4", b"123")
    assert not asked
    panel.button.click()
    assert asked == [(b"123", "me.mp4")]
    assert "a.mp4: 2 windows of 4 s; P(high) from 0.20 to 0.90" in panel.picture.value and not panel.status.value
    source.value = b"456"  # what a webcam hands over
    panel.button.click()
    assert asked[1:] == [(b"456", "webcam recording")]


def test_a_refused_clip_is_one_sentence():
    def answer(content, name):
        raise ValueError(f"{name}: holds sound but no pictures")

    source = ipywidgets.Text()
    source.add_traits(value=traitlets.Any(()))
    source.value = upload("song.mp3", b"1")
    panel = own_clip_panel(answer, source=source)
    panel.button.click()
    assert panel.status.value == "<b>song.mp3: holds sound but no pictures</b>" and not panel.picture.value


def test_without_a_source_there_is_an_upload():
    assert isinstance(own_clip_panel(lambda *_: clip(1)).controls["clip"], ipywidgets.FileUpload)


# ---- the webcam --------------------------------------------------------------------------------


def test_without_anywidget_one_sentence_says_what_to_install_and_a_file_will_do(monkeypatch):
    monkeypatch.setattr(own_clip, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package anywidget; run: pip install -e '.\[webcam\]'"):
        webcam()
    source, said = clip_source()
    assert isinstance(source, ipywidgets.FileUpload) and said.startswith("file upload (the webcam needs the package")


@needs_anywidget
def test_the_webcam_holds_bytes_and_records_four_to_eight_seconds():
    camera, _ = clip_source()
    assert camera.value == b"" and camera.seconds == 4
    camera.seconds = 8
    with pytest.raises(ValueError, match="seconds: expected 4 to 8, got 9"):
        camera.seconds = 9
    heard = []
    panel = own_clip_panel(lambda content, name: heard.append(content) or clip(1), source=camera)
    panel.button.click()
    assert "no clip yet" in panel.status.value
    camera.set_state({"value": memoryview(b"webm")})  # as the browser's message arrives
    panel.button.click()
    assert heard == [b"webm"] and "getUserMedia" in camera._esm


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_valid_and_sends_nothing_anywhere(tmp_path):
    module = tmp_path / "webcam.mjs"
    shutil.copy(JS, module)
    subprocess.run(["node", "--check", str(module)], check=True, capture_output=True)
    source = JS.read_text(encoding="utf-8")
    assert not any(
        word in source for word in ("fetch(", "XMLHttpRequest", "WebSocket", "http", "sendBeacon", "import(")
    )
    assert "audio: false" in source


BROWSER = """
globalThis.document = { createElement: () => ({ setAttribute() {}, play: async () => {}, append() {} }) };
const track = { stopped: 0, stop() { this.stopped += 1; } };
let asked;
Object.defineProperty(globalThis, "navigator", { value: { mediaDevices: { getUserMedia: async (what) => {
  asked = what;
  if (process.argv[2] === "denied") throw new Error("permission denied");
  return { getTracks: () => [track] };
} } } });
globalThis.MediaRecorder = class {
  start() { this.ondataavailable({ data: new Blob(["ab"]) }); this.ondataavailable({ data: new Blob(["c"]) }); }
  stop() { this.onstop(); }
};
const waits = [];
globalThis.setTimeout = (call, wait) => { waits.push(wait); call(); };
const state = { seconds: 5 };
const model = { get: (name) => state[name], set: (name, value) => { state[name] = value; }, save_changes() {} };
const made = [];
const el = { append: (...nodes) => made.push(...nodes) };
const { default: widget } = await import("./webcam.mjs");
widget.render({ model, el });
await made[0].onclick();
await new Promise((done) => setImmediate(() => setImmediate(done)));
const value = state.value ? Buffer.from(state.value.buffer).toString() : "";
console.log(JSON.stringify({ asked, value, status: state.status, stopped: track.stopped, waits }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("answer", ["allowed", "denied"])
def test_a_recording_reaches_the_model_and_the_camera_is_let_go(tmp_path, answer):
    """The script in a browser made of stubs."""
    shutil.copy(JS, tmp_path / "webcam.mjs")
    (tmp_path / "browser.mjs").write_text(BROWSER)
    run = subprocess.run(
        ["node", "browser.mjs", answer], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    said = json.loads(run.stdout)
    assert said["asked"] == {"video": True, "audio": False}
    if answer == "allowed":
        assert said == said | {"value": "abc", "status": "recorded 0 kB", "stopped": 1, "waits": [6000]}
    else:
        assert said == said | {"value": "", "status": "no camera: permission denied", "stopped": 0}
