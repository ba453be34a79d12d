"""Where the electrodes are, and how strong the EEG is there in each band."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
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


def band_power(eeg: np.ndarray, band: str, sfreq: float = SFREQ) -> np.ndarray:
    """Mean power density of each channel in a band, in dB re 1 µV²/Hz, shape (28,)."""
    if np.ndim(eeg) != 2 or len(eeg) != len(CHANNELS):
        raise ValueError(f"eeg: expected shape ({len(CHANNELS)}, n_times), got {np.shape(eeg)}")
    frequencies, power = welch(eeg, sfreq, nperseg=min(256, eeg.shape[1]))
    low, high = BANDS[band]
    inside = (frequencies >= low) & (frequencies < high)
    return 10 * np.log10(np.maximum(power[:, inside].mean(axis=1), 1e-12))
