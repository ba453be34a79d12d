"""One moment of a trial in one picture: EEG, spectrum, head map, faces and ratings, on the same scales throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import FigureBase
from matplotlib.patches import Circle
from scipy.interpolate import RBFInterpolator
from scipy.signal import welch

from ...data.constants import BANDS, CHANNELS, LEFT, SFREQ, WINDOW_SECONDS
from ...data.types import Windows
from ..signals import GREEK, band_power, electrode_positions
from ..style import COLOURS

HEAD_PIXELS = 64
N_SCALE_WINDOWS = 64  # evenly spaced over the data; enough for percentiles
SPECTRUM_HZ = (1.0, 50.0)


@dataclass(frozen=True)
class Scales:
    """Limits that all windows of a data set are drawn with, so that they can be compared.

    Attributes
    ----------
    spacing : float
        Between the traces of two channels, µV.
    density : tuple of float
        Of the spectra, dB re 1 µV²/Hz.
    power : mapping of str to tuple of float
        Of the head map of each band, dB re 1 µV²/Hz.
    """

    spacing: float
    density: tuple[float, float]
    power: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Moment:
    """A window with everything that was recorded of it.

    Attributes
    ----------
    subject, trial : int
    start : float
        Since the clip's start, s.
    eeg : ndarray, shape (28, 512)
        µV.
    frames : ndarray, shape (n_frames, size, size, 3), uint8
    mask : ndarray, shape (n_frames,), bool
        True where the frame exists.
    times : ndarray, shape (n_frames,)
        Of the frames, in s from the start of the window.
    ratings : mapping of str to float
        Of the trial, 1 .. 9, without those that were not given.
    """

    subject: int
    trial: int
    start: float
    eeg: np.ndarray
    frames: np.ndarray
    mask: np.ndarray
    times: np.ndarray
    ratings: Mapping[str, float]

    @property
    def name(self) -> str:
        """Whose window, of which trial, and when."""
        end = self.start + WINDOW_SECONDS
        return f"subject {self.subject}, trial {self.trial}, {self.start:.0f}–{end:.0f} s"


def scales_of(windows: Windows) -> Scales:
    """Scales from windows that are evenly spaced over the data set.

    Raises
    ------
    ValueError
        There is no window.
    """
    if not len(windows):
        raise ValueError("windows: none, expected at least one to look at")
    eeg = windows.eeg_at(np.unique(np.linspace(0, len(windows) - 1, N_SCALE_WINDOWS).astype(int)))
    spacing = float(np.ceil(np.percentile(np.abs(eeg), 97) * 1.5 / 10) * 10) or 10.0  # flat input still needs rows
    frequencies, density = spectra(eeg)
    filtered = (frequencies >= BANDS["theta"][0]) & (frequencies < BANDS["gamma"][1])
    power = {band: _wide(np.percentile([band_power(one, band) for one in eeg], (1, 99.5))) for band in BANDS}
    low, high = np.percentile(density[..., filtered], (0.5, 99.5))
    return Scales(spacing, _wide((low - 3, high + 3)), power)


def _wide(limits: tuple[float, float]) -> tuple[float, float]:
    return float(limits[0]), max(float(limits[1]), float(limits[0]) + 1)  # equal limits cannot be drawn


def spectra(eeg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power densities by Welch's method with segments of 2 s.

    Parameters
    ----------
    eeg : ndarray, shape (..., n_times)
        µV at 128 Hz.

    Returns
    -------
    frequencies, density : ndarray, shapes (n,) and (..., n)
        In Hz and dB re 1 µV²/Hz.
    """
    frequencies, density = welch(eeg, SFREQ, nperseg=min(256, eeg.shape[-1]))
    return frequencies, 10 * np.log10(np.maximum(density, 1e-12))


@lru_cache(maxsize=1)
def head_map() -> np.ndarray:
    """From values at the 28 electrodes to a picture of the head: the same linear map for every window.

    The biharmonic (thin-plate) spline through the electrodes (Sandwell 1987, Geophysical Research Letters 14).

    Returns
    -------
    ndarray, shape (64, 64, 28)
        Times the values: the picture of the square around the head, its first row at the back.
    """
    place = (np.arange(HEAD_PIXELS) + 0.5) / HEAD_PIXELS * 2 - 1
    x, y = np.meshgrid(place, place)
    spline = RBFInterpolator(electrode_positions(), np.eye(len(CHANNELS)), kernel="thin_plate_spline")
    return spline(np.column_stack([x.ravel(), y.ravel()])).reshape(HEAD_PIXELS, HEAD_PIXELS, -1)


def draw_traces(ax: Axes, moment: Moment, spacing: float, smooth: bool = True) -> None:
    """All channels above each other, left hemisphere first, with a scale bar; lines mark the times of the frames.

    Lines that are not `smooth` need half the bytes in a stored picture.
    """
    times = moment.start + np.arange(moment.eeg.shape[1]) / SFREQ
    offsets = -spacing * np.arange(len(CHANNELS))
    lines = [np.column_stack([times, trace]) for trace in moment.eeg + offsets[:, None]]
    shades = [COLOURS["eeg" if name in LEFT else "ta2"] for name in CHANNELS]
    ax.vlines(moment.start + moment.times, offsets[-1] - spacing, spacing, COLOURS["video"], linewidth=0.8, alpha=0.7)
    ax.add_collection(LineCollection(lines, colors=shades, linewidths=0.7 if smooth else 0.5, antialiaseds=smooth))
    ax.set_yticks(offsets, CHANNELS, fontsize=6.5)
    for tick, shade in zip(ax.get_yticklabels(), shades, strict=True):
        tick.set_color(shade)
    ax.plot([1.012, 1.012], [offsets[1], offsets[0]], color="0.2", transform=ax.get_yaxis_transform(), clip_on=False)
    middle = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 7}
    ax.text(1.02, (offsets[0] + offsets[1]) / 2, f"{spacing:.0f} µV", rotation=90, **middle)
    for names, side in ((CHANNELS[: len(LEFT)], "left"), (CHANNELS[len(LEFT) :], "right")):
        place = offsets[[CHANNELS.index(name) for name in names]].mean()
        shade = COLOURS["eeg" if side == "left" else "ta2"]
        ax.text(1.02, place, f"{side} hemisphere", rotation=90, color=shade, **middle)
    ax.set(xlim=(moment.start, moment.start + WINDOW_SECONDS), ylim=(offsets[-1] - 1.5 * spacing, 1.5 * spacing))
    ax.set(xlabel="time since the clip's start (s)")


def draw_spectrum(ax: Axes, moment: Moment, limits: tuple[float, float], band: str, plain: bool = False) -> None:
    """Power density from the weakest to the strongest channel and their median; the chosen band is darker.

    A `plain` one has short labels: for a small axes.
    """
    frequencies, density = spectra(moment.eeg)
    shown = (frequencies >= SPECTRUM_HZ[0]) & (frequencies <= SPECTRUM_HZ[1])
    low, middle, high = (quantile[shown] for quantile in np.quantile(density, (0, 0.5, 1), axis=0))
    ax.fill_between(frequencies[shown], low, high, color=COLOURS["eeg"], alpha=0.2, linewidth=0, label="channels")
    ax.plot(frequencies[shown], middle, color=COLOURS["eeg"], label="median")
    for number, (name, (low, high)) in enumerate(BANDS.items()):
        shade = 0.35 if name == band else 0.08 + 0.07 * (number % 2)
        ax.axvspan(low, high, color="0.5", alpha=shade, linewidth=0)
        where = {"ha": "center", "va": "bottom", "transform": ax.get_xaxis_transform()}
        ax.text((low + high) / 2, 1.01, GREEK[name], fontsize=9, **where)
    ax.set(xlim=SPECTRUM_HZ, ylim=limits, ylabel="dB" if plain else "power density\n(dB re 1 µV²/Hz)")
    ax.set_xlabel("Hz" if plain else "frequency (Hz)", labelpad=0 if plain else None)
    if not plain:
        ax.legend(loc="upper right")


def draw_head(ax: Axes, moment: Moment, limits: tuple[float, float], band: str, bar: Axes | None = None) -> None:
    """Band power over the head seen from above, nose up; with an axes for the colour bar, its scale in dB."""
    picture = head_map() @ band_power(moment.eeg, band)
    place = {"extent": (-1, 1, -1, 1), "origin": "lower", "interpolation": "bilinear"}
    image = ax.imshow(picture, cmap="viridis", vmin=limits[0], vmax=limits[1], zorder=1, **place)
    image.set_clip_path(Circle((0, 0), 1, transform=ax.transData))
    angle = np.linspace(0, 2 * np.pi, 100)
    ax.plot(np.cos(angle), np.sin(angle), color="0.3", linewidth=1.2)
    ax.plot([-0.1, 0, 0.1], [0.995, 1.1, 0.995], color="0.3", linewidth=1.2)
    ax.plot(*electrode_positions().T, ".", color="white", markersize=2.5)
    ax.set(xlim=(-1.1, 1.1), ylim=(-1.05, 1.15), aspect="equal")
    ax.axis("off")
    if bar is not None:
        ax.figure.colorbar(image, cax=bar, extend="both", label="dB re 1 µV²/Hz")


def draw_faces(ax: Axes, moment: Moment) -> None:
    """The frames beside each other, each over its share of the window's time."""
    width = WINDOW_SECONDS / len(moment.times)
    for number, (frame, exists) in enumerate(zip(moment.frames, moment.mask, strict=True)):
        left = moment.start + number * width
        if exists:
            ax.imshow(frame, extent=(left, left + width, 0, width))
        else:
            where = {"ha": "center", "va": "center", "color": COLOURS["absent"]}
            ax.text(left + width / 2, width / 2, "no frame", **where)
    ax.set(xlim=(moment.start, moment.start + WINDOW_SECONDS), ylim=(0, width), yticks=[], aspect="equal")
    ax.set_xticks(moment.start + moment.times, [f"{time:.1f} s" for time in moment.start + moment.times])
    ax.tick_params(length=2, colors=COLOURS["video"], labelcolor="black")
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def draw_ratings(ax: Axes, moment: Moment) -> None:
    """The trial's ratings on their scale; those above the border at 5 are high."""
    names = list(moment.ratings)
    values = np.array([moment.ratings[name] for name in names])
    shades = [COLOURS["high" if value > 5 else "low"] for value in values]
    ax.scatter(values, range(len(names)), color=shades, s=30, zorder=3)
    for place, value in enumerate(values):
        ax.text(9.4, place, f"{value:g}", va="center", fontsize=8)
    ax.axvline(5, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(0.7, 9.2), ylim=(len(names) - 0.5, -0.5), xticks=range(1, 10, 2), xlabel="rating (1–9), high above 5")


def draw_moment(figure: FigureBase, moment: Moment, scales: Scales, band: str, smooth: bool = True) -> None:
    """Everything about one window, into a figure, or a part of one, of 11 × 6.6 in; `smooth` as in :func:`draw_traces`.

    Raises
    ------
    ValueError
        The band is none of ``BANDS``.
    """
    if band not in BANDS:
        raise ValueError(f"band: expected one of {', '.join(BANDS)}, got {band!r}")
    traces = figure.add_axes((0.055, 0.325, 0.525, 0.625))
    draw_traces(traces, moment, scales.spacing, smooth)
    traces.set_title(moment.name)
    draw_faces(figure.add_axes((0.055, 0.055, 0.525, 0.175)), moment)
    draw_spectrum(figure.add_axes((0.69, 0.7, 0.3, 0.245)), moment, scales.density, band)
    head = figure.add_axes((0.66, 0.27, 0.25, 0.3))
    draw_head(head, moment, scales.power[band], band, figure.add_axes((0.915, 0.29, 0.012, 0.25)))
    low, high = BANDS[band]
    head.set_title(f"{band} power, {low:.0f}–{high:.0f} Hz", loc="center")
    draw_ratings(figure.add_axes((0.71, 0.075, 0.25, 0.135)), moment)
