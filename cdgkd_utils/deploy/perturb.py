"""What can go wrong with a face picture and with an EEG recording, and one what-if question as a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ..data.constants import CHANNELS, LEFT, RIGHT, SFREQ
from ..data.signals import band_pass

GREY = 96  # of a cover; near the twin's own discs, which networks have met in training
MIDDLE = 127.5  # contrast is stretched around this grey level
GROUPS: dict[str, tuple[str, ...]] = {  # EEG channels that come loose together
    "none": (),
    "frontal": ("Fp1", "Fp2", "AF3", "AF4", "F3", "F4", "F7", "F8"),
    "left half": tuple(LEFT),
    "right half": tuple(RIGHT),
    "back": ("P3", "P4", "P7", "P8", "PO3", "PO4", "O1", "O2"),
}
# Height of a blink relative to Fp1 and Fp2; our own round numbers: it falls off quickly behind the forehead.
BLINK = {"Fp1": 1.0, "Fp2": 1.0, "AF3": 0.65, "AF4": 0.65, "F7": 0.4, "F8": 0.4, "F3": 0.35, "F4": 0.35}
BLINK |= dict.fromkeys(("FC5", "FC6", "FC1", "FC2"), 0.15)
BLINK_SECONDS = 0.3


def occlude(frames: np.ndarray, part: str, share: float = 0.5, x: float = 0.5, y: float = 0.5) -> np.ndarray:
    """Cover ``upper`` or ``lower`` (a share of the height) or a ``box`` (edge `share`, middle x, y) with grey."""
    rows, columns = {
        "none": ((0, 0), (0, 0)),
        "upper": ((0, share), (0, 1)),
        "lower": ((1 - share, 1), (0, 1)),
        "box": ((y - share / 2, y + share / 2), (x - share / 2, x + share / 2)),
    }[part]
    top, bottom, left, right = np.rint(np.clip([*rows, *columns], 0, 1) * frames.shape[-2]).astype(int)
    out = frames.copy()
    out[..., top:bottom, left:right, :] = GREY
    return out


def blur(frames: np.ndarray, sd: float) -> np.ndarray:
    """Gaussian blur of uint8 pictures, shape (..., size, size, 3); `sd` is a share of the edge."""
    wide = sd * frames.shape[-2]
    out = gaussian_filter(frames.astype(np.float32), wide, mode="nearest", truncate=3.0, axes=(-3, -2))
    return np.rint(out).astype(np.uint8)


def shift_light(frames: np.ndarray, brightness: float = 0.0, contrast: float = 1.0) -> np.ndarray:
    """Grey levels added, and a factor around the middle grey, as a lamp or an exposure would; clipped at 0 and 255."""
    # One entry per grey level: the same arithmetic for 256 numbers instead of for every pixel.
    table = (np.arange(256) - MIDDLE) * contrast + MIDDLE + brightness
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)[frames]


def add_blinks(eeg: np.ndarray, microvolt: float, rng: np.random.Generator) -> np.ndarray:
    """Add two raised cosines of 0.3 s, so many µV at Fp1 and Fp2, to each window of `eeg` (n_windows, 28, n_times)."""
    seconds = np.arange(eeg.shape[-1]) / SFREQ
    middles = rng.uniform(BLINK_SECONDS / 2, len(seconds) / SFREQ - BLINK_SECONDS / 2, (len(eeg), 2, 1))
    distance = (seconds - middles) / BLINK_SECONDS
    waves = np.where(np.abs(distance) < 0.5, 0.5 * (1 + np.cos(2 * np.pi * distance)), 0.0).sum(axis=1)
    height = np.array([BLINK.get(name, 0.0) for name in CHANNELS])
    # Filtered like the EEG they are added to, which equals recording them; about a third of `microvolt` is left.
    return (eeg + microvolt * height[:, None] * band_pass(waves, SFREQ)[:, None]).astype(eeg.dtype)


def add_noise(eeg: np.ndarray, microvolt: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise with a flat spectrum from 4 to 45 Hz, where prepared EEG lives; `microvolt` is its sd per channel."""
    noise = band_pass(rng.standard_normal(eeg.shape), SFREQ)
    return (eeg + microvolt * noise / noise.std(axis=-1, keepdims=True)).astype(eeg.dtype)


@dataclass(frozen=True)
class Change:
    """What is done to the face and to the EEG before the networks are asked; the default does nothing.

    `part` (none, upper, lower, box) is covered by grey, `share` % of it around (`x`, `y`) %; `lost` of 5 frames are
    missing; `blur` is an sd in % of the edge, `brightness` grey levels added, `contrast` a factor; the video is late by
    `delay` ms. Electrodes of the group `loose` have no contact; `blinks` and `noise` are added, in µV (peak at the
    forehead before the filter; sd).
    """

    part: str = "none"
    share: float = 50.0
    x: float = 50.0
    y: float = 50.0
    lost: int = 0
    blur: float = 0.0
    brightness: float = 0.0
    contrast: float = 1.0
    delay: int = 0
    loose: str = "none"
    blinks: float = 0.0
    noise: float = 0.0

    def pictures(self, frames: np.ndarray) -> np.ndarray:
        """Frames as the networks get them, late ones handed in as such; shape and type of `frames`."""
        out = blur(shift_light(frames, self.brightness, self.contrast), self.blur / 100)
        # Last: what stands in front of the lens is as sharp and as bright as ever.
        return occlude(out, self.part, self.share / 100, self.x / 100, self.y / 100)

    def mask(self, mask: np.ndarray, seed: int) -> np.ndarray:
        """Which frames are left, shape (n_windows, 5); a larger `lost` loses the same ones and more."""
        order = np.where(mask, np.random.default_rng([seed, 1]).random(mask.shape), 2.0).argsort(axis=1)
        out = mask.copy()
        np.put_along_axis(out, order[:, : self.lost], False, axis=1)  # those missing already come last
        return out

    def eeg(self, eeg: np.ndarray, seed: int) -> np.ndarray:
        """EEG in µV as the networks get it, shape (n_windows, 28, 512); the same draws for the same seed."""
        out = add_blinks(eeg, self.blinks, np.random.default_rng([seed, 2])) if self.blinks else np.array(eeg)
        out = add_noise(out, self.noise, np.random.default_rng([seed, 3])) if self.noise else out
        out[:, [CHANNELS.index(name) for name in GROUPS[self.loose]]] = 0  # without contact: a flat line
        return out


# Name, unit, modality, and the change by strength, the first strength being none.
SWEEPS: dict[str, tuple[str, str, dict[float, Change]]] = {
    "upper face covered": ("% of the height", "video", {s: Change("upper", s) for s in (0, 25, 50, 75)}),
    "lower face covered": ("% of the height", "video", {s: Change("lower", s) for s in (0, 25, 50, 75)}),
    "frames lost": ("of 5 frames", "video", {n: Change(lost=n) for n in (0, 2, 4, 5)}),
    "blur": ("sd, % of the edge", "video", {s: Change(blur=s) for s in (0, 1, 2, 4)}),
    "darker": ("grey levels taken away", "video", {b: Change(brightness=-b) for b in (0, 40, 80, 120)}),
    "video late": ("ms", "video", {d: Change(delay=d) for d in (0, 200, 400, 800)}),
    "blinks": ("µV at the forehead", "eeg", {v: Change(blinks=v) for v in (0, 50, 100, 200)}),
    "noise": ("µV, every channel", "eeg", {v: Change(noise=v) for v in (0, 5, 10, 20)}),
}
