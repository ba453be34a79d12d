"""What was recorded: any window of any trial with its faces, spectrum, head map, ratings."""

from __future__ import annotations

from functools import cache, lru_cache

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import FigureBase
from scipy.signal import welch

from ..config import Params
from ..data.constants import BANDS, CHANNELS, LEFT, RATINGS, SFREQ, WINDOW_SECONDS
from ..data.types import Windows
from ..data.windows import trial_frames
from .panel import Panel, buttons, picture, stops
from .style import COLOURS

GREEK = {"theta": "θ", "alpha": "α", "beta": "β", "gamma": "γ"}
SPECTRUM_HZ = (1.0, 50.0)
N_SCALE_WINDOWS = 64  # evenly spaced over the data; enough for percentiles
SHADES = {name: COLOURS["eeg" if name in LEFT else "ta2"] for name in CHANNELS}


@cache
def electrodes() -> np.ndarray:
    """Places of the 28 electrodes seen from above, nose up, in head radii, shape (28, 2)."""
    from mne.channels import make_standard_montage  # slow to load, and only pictures of heads need it

    places = make_standard_montage("colin27_1020").get_positions()["ch_pos"]
    everything = np.array(list(places.values()))
    # The template head is not centred: the sphere through all its electrodes is.
    design = np.column_stack([2 * everything, np.ones(len(everything))])
    centre = np.linalg.lstsq(design, (everything**2).sum(axis=1), rcond=None)[0][:3]
    x, y, z = (np.array([places[name] for name in CHANNELS]) - centre).T
    from_top, azimuth = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    return 0.85 * from_top[:, None] / (np.pi / 2) * np.column_stack([np.cos(azimuth), np.sin(azimuth)])


def draw_head(ax: Axes, values: np.ndarray, limits: tuple[float, float], colours: str = "viridis"):
    """One value per electrode over the head, seen from above, nose up; returns the image."""
    from mne.viz import plot_topomap

    look = {"sphere": (0, 0, 0, 1), "show": False, "cmap": colours, "vlim": limits, "contours": 0}
    return plot_topomap(values, electrodes(), axes=ax, **look)[0]


@picture(3.9, 3.5)
def draw_ratings(figure: FigureBase, index: pd.DataFrame) -> None:
    """One dot per trial, and where labels turn from low to high. Example: ``cd.plot.draw_ratings(windows.index)``."""
    ax = figure.add_axes((0.14, 0.14, 0.82, 0.76))
    trials = index.drop_duplicates(["subject", "trial"])
    ax.scatter(trials["valence"], trials["arousal"], s=8, alpha=0.5, color=COLOURS["fusion"])
    for line in (ax.axvline, ax.axhline):
        line(5, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.set(xlabel="valence (1–9)", ylabel="arousal (1–9)", title=f"{len(trials)} trials; dashed: above 5 is high")


@picture(7.5, 3.3)
def draw_features(figure: FigureBase, frames: np.ndarray, features: np.ndarray, times: np.ndarray) -> None:
    """A window's frames, and what the student gets of each. Example: ``cd.plot.draw_features(*lab.frames(0))``."""
    axes = figure.subplots(2, len(frames))
    figure.subplots_adjust(left=0.07, right=0.99, top=0.92, bottom=0.02, wspace=0.06, hspace=0.08)
    for column, frame, cells, time in zip(axes.T, frames, features, times, strict=True):
        column[0].imshow(frame)
        column[0].set_title(f"{time:.1f} s", loc="center")
        column[1].imshow(cells.reshape(8, 8, 12).max(axis=2), cmap="cividis", vmin=0, vmax=1)
        for ax in column:
            ax.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("frame")
    axes[1, 0].set_ylabel("strongest edge\nper cell (0–1)")


def spectra(eeg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz) and power densities (dB re 1 µV²/Hz) by Welch's method with segments of 2 s."""
    frequencies, density = welch(eeg, SFREQ, nperseg=min(256, eeg.shape[-1]))
    return frequencies, 10 * np.log10(np.maximum(density, 1e-12))


def band_power(eeg: np.ndarray, band: str) -> np.ndarray:
    """Mean power density of each channel in a band, in dB re 1 µV²/Hz, shape (..., n_channels)."""
    frequencies, density = spectra(eeg)
    inside = (frequencies >= BANDS[band][0]) & (frequencies < BANDS[band][1])
    return 10 * np.log10((10 ** (density[..., inside] / 10)).mean(axis=-1))


def scales_of(windows: Windows) -> dict[str, tuple[float, float]]:
    """Limits that all windows are drawn with, from some: µV between ``traces``; dB of ``spectra`` and of each band."""
    eeg = windows.eeg_at(np.unique(np.linspace(0, len(windows) - 1, N_SCALE_WINDOWS).astype(int)))
    spacing = float(np.ceil(np.percentile(np.abs(eeg), 97) * 1.5 / 10) * 10) or 10.0  # flat input still needs rows
    frequencies, density = spectra(eeg)
    filtered = (frequencies >= BANDS["theta"][0]) & (frequencies < BANDS["gamma"][1])
    ends = {"spectra": np.percentile(density[..., filtered], (0.5, 99.5)) + np.array([-3, 3])}
    ends |= {band: np.percentile(band_power(eeg, band), (1, 99.5)) for band in BANDS}
    return {"traces": (0, spacing)} | {name: (low, max(high, low + 1)) for name, (low, high) in ends.items()}


@picture(11, 5.8)
def draw_trial(
    figure: FigureBase, windows: Windows, row: int, pictures: tuple, band: str = "alpha", scales: dict | None = None
) -> None:
    """Everything recorded of window `row`; `pictures` are its (frames, mask, times in s) as of ``trial_frames``."""
    scales, which, eeg = scales or scales_of(windows), windows.index.iloc[row], windows.eeg_at(row)
    start = WINDOW_SECONDS * int(which["window"])
    span = (start, start + WINDOW_SECONDS)
    traces = figure.add_axes((0.05, 0.335, 0.535, 0.61))
    _draw_traces(traces, eeg, span, scales["traces"][1], start + pictures[2])
    traces.set_title(f"subject {which['subject']}, trial {which['trial']}, {span[0]:.0f}–{span[1]:.0f} s")
    _draw_faces(figure.add_axes((0.05, 0.055, 0.535, 0.19)), pictures, span)
    _draw_spectrum(figure.add_axes((0.69, 0.7, 0.3, 0.245)), eeg, scales["spectra"], band)
    ax = figure.add_axes((0.66, 0.27, 0.25, 0.29))
    image = draw_head(ax, band_power(eeg, band), scales[band])
    ax.set_title("{} power, {:.0f}–{:.0f} Hz".format(band, *BANDS[band]), loc="center")
    figure.colorbar(image, cax=figure.add_axes((0.915, 0.29, 0.012, 0.24)), extend="both", label="dB re 1 µV²/Hz")
    _draw_scale(figure.add_axes((0.71, 0.085, 0.25, 0.125)), which)


def _draw_traces(ax: Axes, eeg: np.ndarray, span: tuple[float, float], spacing: float, at: np.ndarray) -> None:
    """All channels above each other, left hemisphere first, with a scale bar; lines at the times of the frames."""
    times = span[0] + np.arange(eeg.shape[1]) / SFREQ
    offsets = -spacing * np.arange(len(CHANNELS))
    ax.vlines(at, offsets[-1] - spacing, spacing, COLOURS["video"], linewidth=0.8, alpha=0.7)
    lines = [np.column_stack([times, trace]) for trace in eeg + offsets[:, None]]
    ax.add_collection(LineCollection(lines, colors=list(SHADES.values()), linewidths=0.6))
    ax.set_yticks(offsets, CHANNELS, fontsize=6.5)
    for name, tick in zip(CHANNELS, ax.get_yticklabels(), strict=True):
        tick.set_color(SHADES[name])
    across = {"transform": ax.get_yaxis_transform()}
    ax.plot([1.012, 1.012], [offsets[1], offsets[0]], color="0.2", clip_on=False, **across)
    text = {"va": "center", "fontsize": 7, "rotation": 90} | across
    ax.text(1.02, offsets[:2].mean(), f"{spacing:.0f} µV", **text)
    for side, some, name in (("left", offsets[: len(LEFT)], "Fp1"), ("right", offsets[len(LEFT) :], "Fp2")):
        ax.text(1.02, some[2:].mean(), f"{side} hemisphere", color=SHADES[name], **text)
    ax.set(xlim=span, ylim=(offsets[-1] - 1.5 * spacing, 1.5 * spacing), xlabel="time since the clip's start (s)")


def _draw_faces(ax: Axes, pictures: tuple, span: tuple[float, float]) -> None:
    """The frames beside each other, each over its share of the window's time."""
    width, times = WINDOW_SECONDS / len(pictures[2]), span[0] + pictures[2]
    for number, (frame, exists, _) in enumerate(zip(*pictures, strict=True)):
        left = span[0] + number * width
        if exists:
            ax.imshow(frame, extent=(left, left + width, 0, width))
        else:
            ax.text(left + width / 2, width / 2, "no frame", ha="center", va="center", color=COLOURS["absent"])
    ax.set(xlim=span, ylim=(0, width), yticks=[], aspect="equal")
    ax.set_xticks(times, [f"{time:.1f} s" for time in times])
    ax.tick_params(length=2, color=COLOURS["video"])
    ax.spines[["left", "bottom"]].set_visible(False)


def _draw_spectrum(ax: Axes, eeg: np.ndarray, limits: tuple[float, float], band: str) -> None:
    """Power density from the weakest to the strongest channel and their median; the chosen band is darker."""
    frequencies, density = spectra(eeg)
    low, middle, high = np.quantile(density, (0, 0.5, 1), axis=0)
    ax.fill_between(frequencies, low, high, color=COLOURS["eeg"], alpha=0.2, linewidth=0, label="channels")
    ax.plot(frequencies, middle, color=COLOURS["eeg"], label="median")
    for number, (name, ends) in enumerate(BANDS.items()):
        ax.axvspan(*ends, color="0.5", alpha=0.35 if name == band else 0.08 + 0.07 * (number % 2), linewidth=0)
        ax.text(np.mean(ends), 1.01, GREEK[name], ha="center", va="bottom", transform=ax.get_xaxis_transform())
    ax.set(xlim=SPECTRUM_HZ, ylim=limits, xlabel="frequency (Hz)", ylabel="power density\n(dB re 1 µV²/Hz)")
    ax.legend(loc="upper right")


def _draw_scale(ax: Axes, which: pd.Series) -> None:
    """The trial's ratings on their scale; those above the border at 5 are high."""
    given = {name: float(which[name]) for name in RATINGS if np.isfinite(which[name])}
    values, rows = list(given.values()), range(len(given))
    ax.scatter(values, rows, color=[COLOURS["high" if value > 5 else "low"] for value in values], s=30, zorder=3)
    for row, value in zip(rows, values, strict=True):
        ax.text(9.4, row, f"{value:g}", va="center", fontsize=8)
    ax.axvline(5, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.set_yticks(rows, list(given))
    ax.set(xlim=(0.7, 9.2), ylim=(len(given) - 0.5, -0.5), xticks=range(1, 10, 2), xlabel="rating (1–9), high above 5")


def trial_browser(windows: Windows, params: Params, row: int | None = None) -> Panel:
    """Part: any moment of any trial; `row` is the window shown first, by default the middle one.

    `params` are what the windows were loaded with. Example: ``cd.plot.trial_browser(lab.windows, lab.params)``.
    """
    scales, ordered = scales_of(windows), windows.index.reset_index(drop=True).sort_values("window")
    rows = {trial: mine.index.to_numpy() for trial, mine in ordered.groupby(["subject", "trial"])}
    trials = {s: sorted(t for who, t in rows if who == s) for s in sorted({s for s, _ in rows})}
    frames = lru_cache(maxsize=32)(lambda *trial: trial_frames(params, windows, rows[trial].tolist()))

    def starts(*trial: int) -> list[float]:
        return [WINDOW_SECONDS * int(number) for number in ordered["window"][rows[trial]]]

    @picture(*draw_trial.size)
    def draw(figure: FigureBase, subject: int, trial: int, start: float, band: str = "alpha") -> None:
        place, (shown, mask, times) = starts(subject, trial).index(start), frames(subject, trial)
        draw_trial(figure, windows, rows[subject, trial][place], (shown[place], mask[place], times), band, scales)

    def follow(controls: dict[str, ipywidgets.Widget]) -> None:
        for name, known in (("trial", lambda s, _: trials[s]), ("start", starts)):
            slider, values = controls[name], known(controls["subject"].value, controls["trial"].value)
            if list(slider.options) != values:
                before, slider.options = slider.value, values
                slider.value = min(values, key=lambda value: abs(value - before))

    middle = windows.index.iloc[len(windows) // 2 if row is None else row]
    subject, trial, start = int(middle["subject"]), int(middle["trial"]), WINDOW_SECONDS * int(middle["window"])
    person = next((who for who in trials if who != subject), subject)
    other = {"subject": person, "trial": trials[person][0], "start": starts(person, trials[person][0])[0]}
    controls = {
        "subject": stops(list(trials), subject, "subject"),
        "trial": stops(trials[subject], trial, "trial"),
        "start": stops(starts(subject, trial), start, "time (s)"),
        "band": buttons(list(BANDS), "head map", value="alpha"),
    }
    one = {"subject": subject, "trial": trial, "start": start}
    return Panel(draw, controls, follow=follow, static={"one moment": one, "another person": other})
