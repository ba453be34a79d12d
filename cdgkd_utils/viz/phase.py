"""The phase diagram of guided learning: in which worlds a guide that has seen the EEG helps a student of faces."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from .style import COLOURS
from .widgets.fixed import fixed_figure

COLUMNS = ("world", "w_shared", "w_eeg", "w_video", "r_views", "r_label", "margin", "gain", "se", "kind")
MARKERS = {"published": ("o", "published worlds"), "own": ("D", "tried here")}
HARM, HELP = COLOURS["student"], COLOURS["eeg"]
GAIN_COLOURS = LinearSegmentedColormap.from_list("gain", [HARM, "#F2F2F2", HELP])
MAX_LABEL, MARGINS = 0.85, (-0.85, 1.05)  # a share of noise is left in every rating, so that nothing lies beyond
HEIGHTS = (-0.11, 1.12)  # of the plane, with room for notes where no world is
LEAST_LIMIT = 2.0  # points; smaller gains do not look like large ones
# Where a name may stand beside its point: in points to the right and upwards, and which side of it is there.
PLACES = [(7, 0, "left", "center"), (-7, 0, "right", "center"), (0, 7, "center", "bottom"), (0, -7, "center", "top")]
PLACES += [(5, 5, "left", "bottom"), (5, -5, "left", "top"), (-5, 5, "right", "bottom"), (-5, -5, "right", "top")]
POINT = 6  # pixels from the middle of a point to its edge
BESIDE_LINES = [withStroke(linewidth=2, foreground="white")]


def checked(points: pd.DataFrame) -> pd.DataFrame:
    """The points, if they are what the figure can show.

    Parameters
    ----------
    points : DataFrame
        One row per world: ``world`` (its name), ``w_shared, w_eeg, w_video`` (variance shares), ``r_views, r_label``
        (correlations with what the face shows, of what the EEG sees and of the label), ``margin`` (their difference),
        ``gain`` of a guided student and its standard error ``se`` (points; ``se`` may be NaN), and ``kind``,
        "published" or "own". No row is fine, too.

    Raises
    ------
    ValueError
        A column is missing, a kind is unknown, or a number other than ``se`` is not finite.
    """
    if missing := [name for name in COLUMNS if name not in points]:
        raise ValueError(f"points: expected columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    if unknown := set(points["kind"]) - set(MARKERS):
        raise ValueError(
            f"points: expected kind published or own, got {', '.join(map(repr, sorted(unknown, key=str)))}"
        )
    for name in ("r_views", "r_label", "margin", "gain"):
        if not np.isfinite(points[name].to_numpy(float)).all():
            raise ValueError(f"points: expected a finite {name} of every world, got {points[name].tolist()}")
    return points


def n_as_predicted(points: pd.DataFrame) -> int:
    """Number of worlds in which gain and margin have one sign."""
    return int((np.sign(points["gain"]) == np.sign(points["margin"])).sum())


def gain_limit(points: pd.DataFrame) -> float:
    """Gain in points at either end of the colours; at least 2."""
    return float(np.max(np.abs(points["gain"].to_numpy(float)), initial=LEAST_LIMIT))


def phase_figure(points: pd.DataFrame, here: tuple[float, float] | None = None) -> Figure:
    """Worlds on the plane of what the label and what the EEG tell of the face, and their gains against the margin.

    Parameters
    ----------
    points : DataFrame
        As :func:`checked` says.
    here : tuple of float, optional
        ``r_label, r_views`` of a world that is looked at, tried or not.

    Raises
    ------
    ValueError
        As :func:`checked`.
    """
    points = checked(points)
    figure = fixed_figure(10.5, 4.5)
    plane, bar = figure.add_axes((0.062, 0.115, 0.4, 0.755)), figure.add_axes((0.474, 0.115, 0.012, 0.755))
    against = figure.add_axes((0.605, 0.115, 0.38, 0.755))
    limit = gain_limit(points)
    _draw_plane(plane, points, here, limit)
    _draw_against(against, points, here, limit)
    colours = ScalarMappable(Normalize(-limit, limit), GAIN_COLOURS)
    figure.colorbar(colours, cax=bar, ticks=MaxNLocator(4)).set_label("gain (points of expected accuracy)")
    marks = [_mark(shape, words) for kind, (shape, words) in MARKERS.items() if (points["kind"] == kind).any()]
    if here is not None:
        marks.append(_mark("*", "the world you have set", size=12))
    if marks:
        figure.legend(handles=marks, loc="upper center", ncols=3)
    if points.empty:
        note = {"ha": "center", "va": "center", "fontsize": 10, "bbox": {"facecolor": "white", "edgecolor": "none"}}
        against.text(0, 0, "no world has been tried yet", **note)
    return figure


def phase_alt(points: pd.DataFrame, here: tuple[float, float] | None = None) -> str:
    """What :func:`phase_figure` shows, with its numbers.

    Parameters
    ----------
    points, here
        As there.
    """
    said = "Plane: what a label tells of the face to the right, what the EEG tells of it upwards; above the diagonal "
    said += "help is expected. "
    if here is not None:
        said += f"The world set lies at {here[0]:.2f}, {here[1]:.2f}, margin {here[1] - here[0]:+.2f}. "
    if points.empty:
        return said + "No world has been tried yet."
    rows = points.sort_values("margin")
    gains = ", ".join(f"{r.world} {r.margin:+.2f}: {r.gain:+.1f}" for r in rows.itertuples())
    return (
        f"{said}Gain in points by margin, {len(points)} world{'s'[: len(points) != 1]}: {gains}. "
        f"Gain and margin have one sign in {n_as_predicted(points)} of {len(points)}."
    )


def _mark(shape: str, words: str, size: float = 6) -> Line2D:
    style = {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": "black"}
    return Line2D([], [], marker=shape, label=words, markersize=size, **style)


def _draw_points(ax: Axes, points: pd.DataFrame, x: str, y: str, limit: float) -> None:
    for kind, (shape, _) in MARKERS.items():
        some = points[points["kind"] == kind]
        colours = {"c": some["gain"], "cmap": GAIN_COLOURS, "vmin": -limit, "vmax": limit}
        ax.scatter(some[x], some[y], marker=shape, s=46, edgecolors="black", linewidths=0.8, zorder=3, **colours)


def _draw_plane(ax: Axes, points: pd.DataFrame, here: tuple[float, float] | None, limit: float) -> None:
    ends = [0, MAX_LABEL]
    ax.fill_between(ends, ends, HEIGHTS[1], color=HELP, alpha=0.07, linewidth=0)
    ax.fill_between(ends, HEIGHTS[0], ends, color=HARM, alpha=0.07, linewidth=0)
    ax.plot(ends, ends, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.set(xlim=ends, ylim=HEIGHTS)
    ax.set_xlabel("what a label tells of the face (correlation)")
    ax.set_ylabel("what the EEG tells of the face (correlation)")
    ax.set_title("The rule: above the dashed border, help")
    notes = [
        ax.text(0.02, 0.985, "help expected", color=HELP, transform=ax.transAxes, va="top"),
        ax.text(0.98, 0.015, "harm expected", color=HARM, transform=ax.transAxes, ha="right"),
    ]
    _draw_points(ax, points, "r_label", "r_views", limit)
    places = points[["r_label", "r_views"]].to_numpy(float)
    if here is not None:
        ax.plot(*here, "*", markersize=15, markerfacecolor="none", markeredgecolor="black", clip_on=False, zorder=4)
        places = np.vstack([places, here])
    named = points[~points["world"].str.contains("/")].drop_duplicates("world")
    _name_points(ax, named, places, notes)


def _draw_against(ax: Axes, points: pd.DataFrame, here: tuple[float, float] | None, limit: float) -> None:
    spread = 2 * points["se"].fillna(0).to_numpy(float)
    top = 1.12 * float(np.max(np.abs(points["gain"].to_numpy(float)) + spread, initial=limit))
    ax.fill_between([0, MARGINS[1]], 0, top, color=HELP, alpha=0.07, linewidth=0)
    ax.fill_between([MARGINS[0], 0], -top, 0, color=HARM, alpha=0.07, linewidth=0)
    ax.axhline(0, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.axvline(0, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.errorbar(points["margin"], points["gain"], yerr=spread, fmt="none", ecolor=COLOURS["chance"], zorder=2)
    _draw_points(ax, points, "margin", "gain", limit)
    if here is not None:
        ax.axvline(here[1] - here[0], color="black", linestyle=":", linewidth=1.4)
    ax.set(xlim=MARGINS, ylim=(-top, top))
    ax.set_xlabel("margin: EEG minus label (difference of correlations)")
    ax.set_ylabel("gain (points), with 2 standard errors")
    ax.set_title("What came out: in the shaded fields the rule is right")


def _name_points(ax: Axes, named: pd.DataFrame, places: np.ndarray, notes: list[Text]) -> None:
    """Names beside points, where they touch least of points, of the border, of notes, of other names, of the frame."""
    boxes = [note.get_window_extent() for note in notes]
    boxes += [Bbox([middle - POINT, middle + POINT]) for middle in ax.transData.transform(places)]
    border = ax.transData.transform(np.linspace(0, MAX_LABEL, 60)[:, None].repeat(2, axis=1))
    boxes += [Bbox([middle - POINT / 2, middle + POINT / 2]) for middle in border]
    frame = ax.get_window_extent()
    for row in named.itertuples():
        tried = [_name(ax, row, place) for place in PLACES]
        extents = [text.get_window_extent() for text in tried]
        costs = [_touched(box, boxes) + box.width * box.height - _shared(box, frame) for box in extents]
        best = int(np.argmin(costs))
        boxes.append(extents[best])
        for number, text in enumerate(tried):
            if number != best:
                text.remove()


def _name(ax: Axes, row: tuple, place: tuple[float, float, str, str]) -> Annotation:
    right, up, horizontal, vertical = place
    options = {"ha": horizontal, "va": vertical, "fontsize": 8, "zorder": 5, "path_effects": BESIDE_LINES}
    return ax.annotate(row.world, (row.r_label, row.r_views), (right, up), textcoords="offset points", **options)


def _touched(box: Bbox, others: list[Bbox]) -> float:
    return sum(_shared(box, other) for other in others)


def _shared(a: Bbox, b: Bbox) -> float:
    """Area that two boxes have in common, in square pixels."""
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0.0) * max(height, 0.0)
