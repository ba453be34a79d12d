"""What the recordings look like: electrodes, EEG traces, spectrum, band map and face frames."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import welch

from ..data.constants import BANDS, CHANNELS, LEFT, SFREQ
from .style import COLOURS

GREEK = {"theta": "θ", "alpha": "α", "beta": "β", "gamma": "γ"}


def montage(ax: Axes | None = None) -> Axes:
    """Draw the 28 electrodes from above, nose up, hemispheres in two colours.

    The midline is left out so that the channels form two equal hemispheres (method.md, section 0).

    Returns
    -------
    Axes
        Positions are an azimuthal projection of MNE's template head, in head radii.
    """
    ax = ax or plt.subplots(figsize=(4.2, 4.2))[1]
    xy = electrode_positions()
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="0.4", linewidth=1.2))
    ax.plot([-0.1, 0, 0.1], [0.995, 1.1, 0.995], color="0.4", linewidth=1.2)
    for side in (-1, 1):
        ax.plot(side * np.array([1.0, 1.05, 1.05, 1.0]), [0.12, 0.08, -0.08, -0.12], color="0.4", linewidth=1.2)
    for names, key, label in (
        (LEFT, "eeg", "left: channels 1–14"),
        (CHANNELS[len(LEFT) :], "ta2", "right: channels 15–28"),
    ):
        rows = [CHANNELS.index(name) for name in names]
        ax.scatter(*xy[rows].T, s=330, color=COLOURS[key], alpha=0.35, edgecolor=COLOURS[key], label=label)
    for name, (x, y) in zip(CHANNELS, xy, strict=True):
        ax.text(x, y, name, ha="center", va="center", fontsize=7)
    ax.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.1, 1.15), title="28 EEG channels, seen from above")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, markerscale=0.4)
    ax.axis("off")
    return ax


def electrode_positions() -> np.ndarray:
    """Positions of ``CHANNELS`` seen from above, shape (28, 2), in head radii (x right, y front)."""
    # Imported here: mne is slow to load and only the electrode pictures need it.
    from mne.channels import make_standard_montage

    places = make_standard_montage("colin27_1020").get_positions()["ch_pos"]
    # The template head is not centred on the origin; its sphere is fitted through all its electrodes.
    everything = np.array(list(places.values()))
    design = np.column_stack([2 * everything, np.ones(len(everything))])
    centre = np.linalg.lstsq(design, (everything**2).sum(axis=1), rcond=None)[0][:3]
    x, y, z = (np.array([places[name] for name in CHANNELS]) - centre).T
    angle_from_top = np.arctan2(np.hypot(x, y), z)
    radius = 0.85 * angle_from_top / (np.pi / 2)
    azimuth = np.arctan2(y, x)
    return np.column_stack([radius * np.cos(azimuth), radius * np.sin(azimuth)])


def eeg_traces(eeg: np.ndarray, sfreq: float = SFREQ, ax: Axes | None = None) -> Axes:
    """Stacked traces of one window, left hemisphere above right.

    Parameters
    ----------
    eeg : ndarray, shape (28, n_times)
        In µV.
    sfreq : float
        Hz.

    Returns
    -------
    Axes
    """
    _check_eeg(eeg)
    ax = ax or plt.subplots(figsize=(7.5, 4.4))[1]
    spacing = float(np.ceil(np.percentile(np.abs(eeg), 97) * 1.5 / 10) * 10) or 10.0  # flat input still needs rows
    times = np.arange(eeg.shape[1]) / sfreq
    offsets = -spacing * np.arange(len(eeg))
    for name, trace, offset in zip(CHANNELS, eeg, offsets, strict=True):
        ax.plot(times, trace + offset, color=COLOURS["eeg" if name in LEFT else "ta2"], linewidth=0.7)
    ax.set_yticks(offsets, CHANNELS, fontsize=6.5)
    ax.set(xlim=(0, len(times) / sfreq), ylim=(offsets[-1] - 1.5 * spacing, 1.5 * spacing))
    ax.set(xlabel="time (s)", ylabel=f"channel (rows {spacing:.0f} µV apart)", title="EEG of one window")
    return ax


def spectrum(eeg: np.ndarray, sfreq: float = SFREQ, ax: Axes | None = None) -> Axes:
    """Power spectral density of every channel (thin) and their median (thick), with the bands shaded.

    Parameters
    ----------
    eeg : ndarray, shape (28, n_times)
        In µV.
    sfreq : float
        Hz.

    Returns
    -------
    Axes
    """
    frequencies, power = _power(eeg, sfreq)
    ax = ax or plt.subplots(figsize=(6.0, 3.0))[1]
    shown = (frequencies >= 1) & (frequencies <= 50)
    ax.semilogy(frequencies[shown], power[:, shown].T, color=COLOURS["eeg"], alpha=0.2, linewidth=0.7)
    ax.semilogy(frequencies[shown], np.median(power, axis=0)[shown], color=COLOURS["eeg"], label="median of channels")
    for number, (name, (low, high)) in enumerate(BANDS.items()):
        ax.axvspan(low, high, color="0.5", alpha=0.08 + 0.07 * (number % 2), linewidth=0)
        # Theta and alpha are narrow neighbours: their Greek letters fit side by side, their names do not.
        where = {"ha": "center", "va": "bottom", "transform": ax.get_xaxis_transform()}
        ax.text((low + high) / 2, 1.01, GREEK[name], fontsize=9, **where)
    ax.set(xlim=(1, 50), xlabel="frequency (Hz)", ylabel="power density (µV²/Hz)")
    ax.legend(loc="upper right")
    return ax


def band_topomap(eeg: np.ndarray, band: str = "alpha", sfreq: float = SFREQ, ax: Axes | None = None) -> Axes:
    """Scalp map of the mean power density in one band.

    Parameters
    ----------
    eeg : ndarray, shape (28, n_times)
        In µV.
    band : {"theta", "alpha", "beta", "gamma"}
    sfreq : float
        Hz.

    Returns
    -------
    Axes
        Colours in dB relative to 1 µV²/Hz.
    """
    from mne.viz import plot_topomap

    if band not in BANDS:
        raise ValueError(f"band: expected one of {', '.join(BANDS)}, got {band!r}")
    ax = ax or plt.subplots(figsize=(3.4, 3.0))[1]
    # A sphere of radius 1 is the head that electrode_positions() and montage() draw on.
    image, _ = plot_topomap(
        band_power(eeg, band, sfreq), electrode_positions(), axes=ax, show=False, sphere=1.0, cmap="viridis", contours=4
    )
    ax.figure.colorbar(image, ax=ax, shrink=0.75, label="dB re 1 µV²/Hz")
    low, high = BANDS[band]
    ax.set_title(f"{band}, {low:.0f}–{high:.0f} Hz", loc="center")
    return ax


def band_power(eeg: np.ndarray, band: str, sfreq: float = SFREQ) -> np.ndarray:
    """Mean power density of each channel in a band, in dB re 1 µV²/Hz, shape (28,)."""
    frequencies, power = _power(eeg, sfreq)
    low, high = BANDS[band]
    inside = (frequencies >= low) & (frequencies < high)
    return 10 * np.log10(np.maximum(power[:, inside].mean(axis=1), 1e-12))


def frame_strip(frames: np.ndarray, times: Sequence[float], mask: Sequence[bool] | None = None) -> Figure:
    """The face frames of one window beside each other.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, height, width, 3)
        RGB, uint8 or floats in [0, 1].
    times : sequence of float
        Times of the frames in the window, in s.
    mask : sequence of bool, optional
        False where the frame does not exist; its place stays empty.

    Returns
    -------
    Figure
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(times) != len(frames):
        raise ValueError(
            f"frames and times: expected (n_frames, height, width, 3) and n_frames, got {frames.shape}, {len(times)}"
        )
    present = np.ones(len(frames), bool) if mask is None else np.asarray(mask, bool)
    figure, axes = plt.subplots(1, len(frames), figsize=(1.5 * len(frames), 1.9), squeeze=False)
    for ax, frame, time, exists in zip(axes[0], frames, times, present, strict=True):
        ax.imshow(frame if exists else np.ones_like(frame, dtype=float))
        if not exists:
            ax.text(0.5, 0.5, "no frame", ha="center", va="center", color=COLOURS["absent"], transform=ax.transAxes)
        ax.axis("off")
        ax.set_title(f"{time:.1f} s", loc="center")
    return figure


def _check_eeg(eeg: np.ndarray) -> None:
    if np.ndim(eeg) != 2 or len(eeg) != len(CHANNELS):
        raise ValueError(f"eeg: expected shape ({len(CHANNELS)}, n_times), got {np.shape(eeg)}")


def _power(eeg: np.ndarray, sfreq: float) -> tuple[np.ndarray, np.ndarray]:
    _check_eeg(eeg)
    return welch(eeg, sfreq, nperseg=min(256, eeg.shape[1]))
