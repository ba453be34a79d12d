"""The frame of the interactive parts, without a browser."""

import base64
import re
from io import BytesIO

import ipywidgets
import matplotlib.pyplot as plt
import pytest
from PIL import Image

from cdgkd_utils.viz.widgets.panel import Panel


def bars(height, colour="black"):
    if height < 0:
        raise ValueError("height: expected 0 or more, got a <negative> number")
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.bar([0], [height], color=colour)
    ax.set_ylim(0, 10)
    return fig


def sliders(**more):
    return {"height": ipywidgets.IntSlider(3, -5, 10), **more}


def shown(panel):
    """The picture's pixels, and its alternative text."""
    data, alt = re.fullmatch(
        r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"[^>]*>', panel.picture.value
    ).groups()
    return Image.open(BytesIO(base64.b64decode(data))).convert("L"), alt


def test_the_picture_follows_the_controls_and_back():
    panel = Panel(bars, sliders(), alt=lambda height: f"a bar of {height}")
    first, alt = shown(panel)
    assert alt == "a bar of 3" and first.size == (200, 100)
    panel.set(height=9)
    second, alt = shown(panel)
    assert alt == "a bar of 9"
    assert sum(p < 50 for p in second.get_flattened_data()) > sum(p < 50 for p in first.get_flattened_data())
    panel.set(height=3)
    assert shown(panel)[0].tobytes() == first.tobytes()


def test_an_error_is_one_escaped_sentence_and_keeps_the_last_picture():
    panel = Panel(bars, sliders(), alt=lambda height: "bar")
    before = panel.picture.value
    panel.set(height=-1)
    assert panel.picture.value == before
    assert panel.status.value == "<b>height: expected 0 or more, got a &lt;negative&gt; number</b>"
    panel.set(height=1)
    assert panel.status.value == "" and panel.picture.value != before


def test_a_programming_error_is_not_hidden():
    def broken(height):
        raise KeyError("row")

    with pytest.raises(KeyError):
        Panel(broken, sliders(), alt=lambda height: "")


def test_with_a_button_nothing_happens_before_it_is_pressed_and_progress_is_told():
    told = []

    def slow(height, tell):
        tell(0.25, "epoch 1 of 4")
        told.append((panel.status.value, panel.button.disabled))
        return bars(height), "<p>done</p>"

    panel = Panel(slow, sliders(), alt=lambda height: f"{height}", button="Train")
    panel.set(height=5)
    assert not panel.picture.value and not told
    panel.button.click()
    assert told == [('<progress max="1" value="0.250"></progress> epoch 1 of 4', True)]
    assert shown(panel)[1] == "5" and panel.text.value == "<p>done</p>"
    assert not panel.button.disabled and panel.status.value == ""


def test_interrupting_leaves_a_panel_that_can_be_used_again():
    calls = []

    def slow(height, tell):
        calls.append(height)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return bars(height)

    panel = Panel(slow, sliders(), alt=lambda height: "", button="Train")
    panel.button.click()
    assert "stopped" in panel.status.value and not panel.button.disabled
    panel.button.click()
    assert panel.picture.value and panel.status.value == ""


def test_the_alternative_text_cannot_break_out_of_its_attribute():
    panel = Panel(bars, sliders(), alt=lambda height: 'a "quoted" <b>')
    assert shown(panel)[1] == "a &quot;quoted&quot; &lt;b&gt;"


def test_unknown_controls_are_named():
    panel = Panel(bars, sliders(), alt=lambda height: "")
    with pytest.raises(ValueError, match="width: expected a control of height"):
        panel.set(width=3)


def test_figures_are_closed_and_the_static_twin_is_displayed_below(monkeypatch):
    plt.close("all")
    seen = []
    monkeypatch.setattr("cdgkd_utils.viz.widgets.panel.display", seen.append)
    panel, twin = Panel(bars, sliders(), alt=lambda height: ""), bars(2)
    panel.show(twin)
    assert seen == [panel.box, twin]
    assert not plt.get_fignums()
