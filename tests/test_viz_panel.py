"""A drawing live, as a strip and in words: what reaches the page, from which thread, and what is said of errors."""

import base64
import json
import subprocess
import sys
import threading

import matplotlib.pyplot as plt
import pytest

from cdgkd_utils import viz
from cdgkd_utils.config import Params
from cdgkd_utils.viz.panel import DRAWING, Panel, blank, picture, png


@picture(3, 2)
def bars(figure, height, width=1):
    ax = figure.subplots()
    ax.bar(["low", "high"], [height, width])
    ax.set(title=f"height {height}", xlabel="class", ylabel="windows (%)", ylim=(0, 10))
    ax.text(0, 1, r"$\frac{1}{2}$ of it")


def shown(panel):
    return base64.b64decode(panel.picture.value.split("base64,")[1].split('"')[0])


def test_a_figure_is_optional_and_pyplot_knows_none():
    before = plt.get_fignums()
    alone, part = bars(4), blank(6, 2).subfigures(1, 2)
    assert tuple(alone.get_size_inches()) == (3, 2) and bars(part[1], 4) is part[1]
    assert [[p.get_height() for p in f.axes[0].patches] for f in (alone, part[1])] == [[4, 1], [4, 1]]
    viz.explore(bars, {"height": (0, 10)})
    assert plt.get_fignums() == before


def test_pictures_of_two_threads_at_once_are_those_of_one_thread():
    """JupyterLab delivers moves in another thread than cells; drawn through pyplot, some pictures came out white."""
    alone = {height: png(bars(height)) for height in range(8)}
    panels = [viz.explore(bars, {"height": (0, 10)}) for _ in range(2)]
    found = {0: [], 1: []}

    def move(number):
        for height in list(range(8)) * 3:
            panels[number].set(height=height)
            found[number].append(shown(panels[number]) == alone[height])

    threads = [threading.Thread(target=move, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    pictures = []
    while any(thread.is_alive() for thread in threads):  # a cell draws, too
        pictures.append(png(bars(3)))
        plt.figure()
        plt.close("all")  # as Jupyter does at the end of a cell
    for thread in threads:
        thread.join()
    assert all(found[0]) and all(found[1]) and len(found[0]) == len(found[1]) == 24
    assert all(one == alone[3] for one in pictures)


def test_moves_draw_once_and_those_that_wait_behind_a_later_one_not_at_all():
    drawn = []

    @picture(2, 1)
    def draw(figure, a, b):
        drawn.append((a, b))

    def follow(controls):
        controls["b"].value = controls["a"].value + 1

    panel = viz.explore(draw, {"a": (0, 10), "b": (0, 20)}, follow=follow)
    start = len(drawn)
    panel.set(a=1, b=7)
    assert drawn[start:] == [(1, 2)]
    panel.controls["a"].value = 4
    assert drawn[start:] == [(1, 2), (4, 5)] and panel.status.value == ""
    with DRAWING:
        waiting = [threading.Thread(target=panel.update) for _ in range(3)]
        for thread in waiting:
            thread.start()
        while panel._newest < 3 + start + 1:
            pass
    for thread in waiting:
        thread.join()
    assert drawn[start:] == [(1, 2), (4, 5), (4, 5)]


@pytest.mark.parametrize("error", [ValueError("b: too large"), RuntimeError("no mediapipe"), KeyError("y")])
def test_any_error_is_one_sentence_and_the_last_picture_stays(error):
    def draw(figure, height):
        if height > 5:
            raise error
        bars(figure, height)

    def press(tell, height):
        tell(0.5, "half")
        assert 'value="0.500"' in panel.status.value and "half" in panel.status.value and panel.button.disabled
        if height == 1:
            raise error

    panel = viz.explore(draw, {"height": (0, 10)}, button=("Train", press))
    panel.set(height=2)
    before = panel.picture.value
    panel.set(height=9)
    assert panel.picture.value == before and panel.error is error
    assert panel.status.value.startswith("<b>") and str(error).strip("'") in panel.status.value
    panel.set(height=1)
    assert panel.error is None and panel.status.value == ""
    panel.press()
    assert panel.error is error and not panel.button.disabled and "<b>" in panel.status.value
    panel.set(height=3)
    panel.press()
    assert panel.error is None and panel.status.value == ""


def test_a_strip_draws_each_setting_and_words_are_those_of_the_figure():
    figure = viz.strip(bars, {"flat": {"height": 1}, "high": {"height": 9}, "both": {"height": 5}}, columns=2)
    assert [ax.patches[0].get_height() for ax in figure.axes] == [1, 9, 5]
    words = viz.describe(figure)
    for said in ("flat", "high", "both", "height 9", "windows (%) against class"):
        assert said in words
    panel = viz.explore(bars, {"height": (0, 10)}, static={"one": {"height": 1}, "nine": {"height": 9}})
    assert [ax.patches[0].get_height() for ax in panel.static.axes] == [1, 9]
    panel.set(height=7)
    assert 'alt="height 7: windows (%) against class"' in panel.picture.value
    with pytest.raises(ValueError, match="controls: a"):
        Panel(bars, {"a": object()})


def test_a_saved_figure_has_its_numbers_and_no_place_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    params = Params(profile="smoke")
    path = viz.save_figure(bars(3), "03_bars", params, "the twin", {"heights": [3, 1]})
    record = json.loads(path.with_suffix(".json").read_text())
    assert path.read_bytes().startswith(b"\x89PNG") and record["numbers"] == {"heights": [3, 1]}
    assert record["provenance"]["data"] == "the twin" and str(tmp_path) not in json.dumps(record)
    viz.done("03_x", params)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["03_bars.json", "03_bars.png", "03_x.json"]


def test_the_namespace_is_lazy_and_every_name_is_explained():
    code = "import sys, cdgkd_utils.viz as v; dir(v); print({'matplotlib', 'torch', 'mne'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
    assert all(getattr(viz, name).__doc__ for name in dir(viz))
    with pytest.raises(AttributeError, match="draw_nothing"):
        viz.draw_nothing  # noqa: B018
