"""The world explorer: set what brain and face share, see what is expected, then train two students there."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...config import EEG_GAIN, world_name
from ...data.twin import World
from ..phase import checked, phase_alt, phase_figure
from ..style import COLOURS
from .panel import Panel

WEIGHTS = {"shared": "seen by both", "brain": "seen by the brain only", "face": "shown by the face only"}
MAX_WEIGHT = 10
LEAST_NOISE, MOST_NOISE = 0.05, 0.9
START = {"shared": 3, "brain": 3, "face": 3, "noise": 0.4}  # on the border
BORDER = 0.05  # margins below this are too small for a prediction
PATHS = {"shared": ("fusion", "-"), "brain": ("eeg", "--"), "face": ("video", "-."), "noise": ("chance", ":")}
Simulate = Callable[..., Mapping[str, Any]]


def world_of(shared: float, brain: float, face: float, noise: float) -> World:
    """The world that the controls set.

    Parameters
    ----------
    shared, brain, face : float
        Relative weights of what both see, the brain alone sees, the face alone shows.
    noise : float
        Share of chance in a rating, 0.05 to 0.9; the weights divide the rest.

    Raises
    ------
    ValueError
        A weight is negative, all are 0, or the noise is out of range.
    """
    weights = np.array([shared, brain, face], float)
    if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError(f"weights: expected 0 or more and at least one above 0, got {shared:g}, {brain:g}, {face:g}")
    if not LEAST_NOISE <= noise <= MOST_NOISE:
        raise ValueError(f"noise: expected {LEAST_NOISE} to {MOST_NOISE} (share of a rating), got {noise:g}")
    return World(*((1 - noise) * weights / weights.sum()).tolist(), EEG_GAIN, "set by hand")


def expectation(margin: float) -> str:
    """What the rule says of a margin, in words."""
    if abs(margin) < BORDER:
        return "on the border, neither help nor harm is to be expected"
    return "help is expected" if margin > 0 else "harm is expected"


def world_sentence(world: World, row: Mapping[str, Any] | None = None) -> str:
    """A world in words: its shares, the rule's prediction, and what came out if it has been tried.

    Parameters
    ----------
    world : World
    row : mapping, optional
        With ``alone``, ``taught`` (expected accuracy in percent) and ``gain`` (points).
    """
    chance = 1 - world.w_shared - world.w_eeg - world.w_video
    said = (
        f"A rating is {world.w_shared:.0%} what both see, {world.w_eeg:.0%} the brain's own, {world.w_video:.0%} the "
        f"face's own and {chance:.0%} chance. Of the face the EEG tells {world.r_views:.2f}, a label "
        f"{world.r_label:.2f}: margin {world.margin:+.2f}, {expectation(world.margin)}."
    )
    if row is None:
        return said
    return f"{said} Tried: {row['alone']:.1f} % alone, {row['taught']:.1f} % taught, gain {row['gain']:+.1f} points."


def slider_path(control: str, n_steps: int = 60) -> np.ndarray:
    """Where one control moves a world on the plane while the others stay as they start.

    Parameters
    ----------
    control : {"shared", "brain", "face", "noise"}
    n_steps : int

    Returns
    -------
    ndarray, shape (n_steps, 2)
        ``r_label, r_views``, from the control's least to its largest value.
    """
    ends = (LEAST_NOISE, MOST_NOISE) if control == "noise" else (0, MAX_WEIGHT)
    worlds = [world_of(**START | {control: float(value)}) for value in np.linspace(*ends, n_steps)]
    return np.array([(world.r_label, world.r_views) for world in worlds])


def world_explorer_static(published: pd.DataFrame) -> Figure:
    """The published worlds, and the way on which each control moves a world.

    Parameters
    ----------
    published : DataFrame
        As :func:`~..phase.checked` says.
    """
    figure = phase_figure(published)
    plane, handles = figure.axes[0], []
    for legend in figure.legends:
        handles += legend.legend_handles
        legend.remove()
    for control, (shade, dash) in PATHS.items():
        path = slider_path(control)
        words = "chance in a rating" if control == "noise" else WEIGHTS[control]
        handles += plane.plot(*path.T, color=COLOURS[shade], linestyle=dash, zorder=2, label=f"more {words}")
        head = {"arrowstyle": "-|>", "color": COLOURS[shade], "shrinkA": 0, "shrinkB": 0}
        plane.annotate("", path[-1], path[-2], arrowprops=head, zorder=2)
    figure.legend(handles=handles, loc="upper center", ncols=len(handles), handlelength=2.6)
    plane.set_title("Above the dashed border, help; lines: one slider moved")
    return figure


def world_explorer_panel(simulate: Simulate, published: pd.DataFrame) -> Panel:
    """Sliders that place a world, and a button that trains students in it; what was tried stays in the picture.

    Parameters
    ----------
    simulate : callable
        From ``w_shared, w_eeg, w_video`` and ``tell``, by name, to a row for the figure (without ``kind``), with
        ``alone`` and ``taught`` in percent. ``tell`` takes the share that is done and a text.
    published : DataFrame
        As :func:`~..phase.checked` says.
    """
    checked(published)
    tried: dict[str, dict[str, Any]] = {}

    def points() -> pd.DataFrame:
        own = pd.DataFrame([*tried.values()])
        return own if published.empty and tried else pd.concat([published, own], ignore_index=True)

    def draw(**values: float) -> tuple[Figure, str]:
        world = world_of(**values)
        sentence = world_sentence(world, tried.get(_name(world)))
        return phase_figure(points(), (world.r_label, world.r_views)), f"<p>{html.escape(sentence)}</p>"

    def alt(**values: float) -> str:
        world = world_of(**values)
        return f"{world_sentence(world)} {phase_alt(points(), (world.r_label, world.r_views))}"

    panel = Panel(draw, _controls(), alt=alt)
    button = ipywidgets.Button(
        description="Train two students here", button_style="primary", layout=ipywidgets.Layout(width="auto")
    )

    def train(_: Any) -> None:
        button.disabled = True
        try:
            world = world_of(**panel.values)
            if _name(world) in tried:
                panel.status.value = "this world is known: its point is in the picture; move a slider for another one"
                return
            shares = {"w_shared": world.w_shared, "w_eeg": world.w_eeg, "w_video": world.w_video}
            row = {**simulate(**shares, tell=panel.tell), "kind": "own"}
            checked(pd.DataFrame([row]))
            tried[_name(world)] = row
            panel.update()
        except ValueError as error:
            panel.status.value = f"<b>{html.escape(str(error))}</b>"
        except KeyboardInterrupt:
            panel.status.value = "stopped; press again to go on"
        finally:
            button.disabled = False

    button.on_click(train)
    row, *rest = panel.box.children
    row.children = (*row.children, button)
    panel.box.children = (row, *rest)
    return panel


def _name(world: World) -> str:
    return world_name(world.w_shared, world.w_eeg, world.w_video)


def _controls() -> dict[str, ipywidgets.Widget]:
    wide = {"style": {"description_width": "initial"}, "continuous_update": False}
    sliders = {
        name: ipywidgets.IntSlider(START[name], 0, MAX_WEIGHT, description=f"{words} (weight)", **wide)
        for name, words in WEIGHTS.items()
    }
    noise = {"value": START["noise"], "min": LEAST_NOISE, "max": MOST_NOISE, "step": 0.05}
    sliders["noise"] = ipywidgets.FloatSlider(**noise, description="chance in a rating (share)", **wide)
    for slider in sliders.values():
        slider.layout.width = "380px"
    return sliders
