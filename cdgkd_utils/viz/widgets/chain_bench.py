"""Assistants and dropping to choose: what students that heard fewer guides, or heard them less often, have become."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..guides import draw_grid, role_colour
from .fixed import fixed_figure
from .panel import Panel, picture_html

ASSISTANTS = (0, 1, 2)
DROPS = (0.0, 0.25, 0.5, 0.75)
SHOWN = {
    "balanced_accuracy": "Balanced accuracy (%), validation",
    "agreement": "Same answer as the teacher (%), validation",
}
Train = Callable[..., dict[str, float]]


def chain_grid(tried: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One measure of the students that were trained, by their settings.

    Parameters
    ----------
    tried : DataFrame
        One row per student: ``n_assistants, drop_prob, balanced_accuracy, agreement, silent``, the last three as
        shares, 0 .. 1.
    measure : str

    Returns
    -------
    DataFrame
        Rows ``ASSISTANTS``, columns ``DROPS``; NaN where nothing was trained.

    Raises
    ------
    ValueError
        Two rows have the same settings.
    """
    if tried.duplicated(["n_assistants", "drop_prob"]).any():
        raise ValueError("tried: expected one row for each number of assistants and drop probability")
    grid = tried.pivot(index="n_assistants", columns="drop_prob", values=measure)
    return grid.reindex(index=list(ASSISTANTS), columns=list(DROPS)).astype(float)


def chain_figure(tried: pd.DataFrame, chosen: tuple[int, float] | None = None) -> Figure:
    """Accuracy and agreement by assistants and drop probability, and how often all guides are silent.

    Parameters
    ----------
    tried : DataFrame
        As in :func:`chain_grid`.
    chosen : (assistants, drop probability), optional
        Gets a frame.
    """
    figure = fixed_figure(10.5, 3.0)
    for left, (measure, title) in zip((0.05, 0.375), SHOWN.items(), strict=True):
        ax = figure.add_axes((left, 0.18, 0.28, 0.68))
        grid = chain_grid(tried, measure)
        values = grid.to_numpy()[np.isfinite(grid.to_numpy())]
        low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
        # At least 10 points wide, so that colours do not blow up a difference of one window.
        middle = (low + high) / 2
        draw_grid(ax, grid, low=min(low, middle - 0.05), high=max(high, middle + 0.05), chosen=chosen)
        ax.set_title(title)
    _draw_silent(figure.add_axes((0.74, 0.18, 0.25, 0.68)), tried)
    return figure


def chain_alt(tried: pd.DataFrame) -> str:
    """What :func:`chain_figure` shows, with its numbers."""
    said = "; ".join(
        f"{_settings(row.n_assistants, row.drop_prob)}: {100 * row.balanced_accuracy:.1f} % and "
        f"{100 * row.agreement:.1f} %"
        for row in tried.itertuples()
    )
    return (
        "Two grids by number of assistants and drop probability, of balanced accuracy and of agreement with the "
        f"teacher on validation windows: {said or 'nothing is trained yet'}. Beside them the share of mini-batches "
        "without any guide."
    )


def chain_panel(train: Train, tried: Iterable[dict[str, float]]) -> Panel:
    """Assistants and drop probability to choose; a button trains what is missing and keeps what was trained.

    Parameters
    ----------
    train : callable
        From ``n_assistants, drop_prob`` and ``tell`` to one row of :func:`chain_grid`; is fast where it was trained
        before.
    tried : iterable of dict
        Rows that are there from the beginning.
    """
    rows = {(row["n_assistants"], row["drop_prob"]): row for row in tried}

    def draw(assistants: int, drop: float, which: str, tell: Callable[[float, str], None]) -> Figure:
        wanted = [(n, p) for n in ASSISTANTS for p in DROPS] if which == "all" else [(assistants, drop)]
        missing = [place for place in wanted if place not in rows]
        for number, place in enumerate(missing):
            name = f"student {number + 1} of {len(missing)}: {_settings(*place)}"
            tell(number / len(missing), name)

            def told(share: float, text: str, number: int = number, name: str = name) -> None:
                tell((number + share) / len(missing), f"{name}, {text}")

            rows[place] = train(*place, tell=told)
        return chain_figure(tried_frame(rows.values()), (assistants, drop))

    words = {"description_width": "initial"}
    controls = {
        "assistants": ipywidgets.ToggleButtons(options=ASSISTANTS, value=2, description="assistants", style=words),
        "drop": ipywidgets.ToggleButtons(
            options=[(f"{p:g}", p) for p in DROPS], value=0.5, description="drop probability of each guide", style=words
        ),
        "which": ipywidgets.Dropdown(
            options=[("this student", "one"), ("all twelve students", "all")], description="train", style=words
        ),
    }
    panel = Panel(draw, controls, alt=lambda **_: chain_alt(tried_frame(rows.values())), button="Train")
    before = tried_frame(rows.values())
    panel.picture.value = picture_html(chain_figure(before), chain_alt(before))
    return panel


def _settings(n_assistants: int, drop_prob: float) -> str:
    return f"{n_assistants} assistant{'' if n_assistants == 1 else 's'}, drop {drop_prob:g}"


def tried_frame(rows: Iterable[dict[str, float]]) -> pd.DataFrame:
    """Rows as one table, sorted by their settings; columns also where there are none."""
    columns = ["n_assistants", "drop_prob", *SHOWN, "silent"]
    return pd.DataFrame(list(rows), columns=columns).sort_values(["n_assistants", "drop_prob"], ignore_index=True)


def _draw_silent(ax: Axes, tried: pd.DataFrame) -> None:
    """Share of mini-batches without a guide: dots as measured, lines as r to the power of the number of guides."""
    drop = np.linspace(0, 1, 101)
    for n in ASSISTANTS:
        role, marker = ("teacher", "assistant 1", "assistant 2")[n], ("o", "s", "^")[n]
        ax.plot(drop, 100 * drop ** (n + 1), color=role_colour(role), linewidth=1, label=f"{n + 1}")
        mine = tried[tried["n_assistants"] == n]
        ax.plot(mine["drop_prob"], 100 * mine["silent"], marker, color=role_colour(role), markersize=5)
    ax.set(xlim=(0, 1), ylim=(-3, 100), xlabel="drop probability r of each guide", ylabel="mini-batches (%)")
    ax.set_title("No guide speaks; lines: expected")
    ax.legend(title="guides", loc="upper left", title_fontsize=8)
