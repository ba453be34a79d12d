"""What can go wrong with a face picture and with an EEG recording, and one what-if question as a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..data.constants import CHANNELS, LEFT, RIGHT, SFREQ
from ..data.signals import band_pass

GREY = 96  # of a cover; near the twin's own discs, which networks have met in training
MIDDLE = 127.5  # contrast is stretched around this grey level
# EEG channels that come loose together.
GROUPS: dict[str, tuple[str, ...]] = {
    "none": (),
    "frontal": ("Fp1", "Fp2", "AF3", "AF4", "F3", "F4", "F7", "F8"),
    "left half": tuple(LEFT),
    "right half": tuple(RIGHT),
    "back": ("P3", "P4", "P7", "P8", "PO3", "PO4", "O1", "O2"),
}
# Height of a blink relative to Fp1 and Fp2; our own round numbers: it falls off quickly behind the forehead.
BLINK = {"Fp1": 1.0, "Fp2": 1.0, "AF3": 0.65, "AF4": 0.65, "F7": 0.4, "F8": 0.4, "F3": 0.35, "F4": 0.35}
BLINK |= {"FC5": 0.15, "FC6": 0.15, "FC1": 0.15, "FC2": 0.15}
BLINK_SECONDS = 0.3


def occlude(frames: np.ndarray, part: str, share: float = 0.5, x: float = 0.5, y: float = 0.5) -> np.ndarray:
    """Cover ``upper`` or ``lower`` (a share of the height) or a ``box`` (edge `share`, middle x, y) with grey."""
    size = frames.shape[-2]

    def span(low: float, high: float) -> slice:
        return slice(*(int(np.clip(round(edge * size), 0, size)) for edge in (low, high)))

    rows, columns = {
        "none": (slice(0), slice(0)),
        "upper": (span(0, share), slice(None)),
        "lower": (span(1 - share, 1), slice(None)),
        "box": (span(y - share / 2, y + share / 2), span(x - share / 2, x + share / 2)),
    }[part]
    out = frames.copy()
    out[..., rows, columns, :] = GREY
    return out


def blur(frames: np.ndarray, sd: float) -> np.ndarray:
    """Gaussian blur of uint8 pictures, shape (..., size, size, 3); `sd` is a share of the edge."""
    if sd == 0:
        return frames.copy()
    out = frames.astype(np.float32)
    for axis in (-3, -2):
        out = gaussian_filter1d(out, sd * frames.shape[-2], axis=axis, mode="nearest", truncate=3.0)
    return np.rint(out).astype(np.uint8)


def shift_light(frames: np.ndarray, brightness: float = 0.0, contrast: float = 1.0) -> np.ndarray:
    """Grey levels added, and a factor around the middle grey, as a lamp or an exposure would; clipped at 0 and 255."""
    # One entry per grey level: the same arithmetic for 256 numbers instead of for every pixel.
    table = (np.arange(256) - MIDDLE) * contrast + MIDDLE + brightness
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)[frames]


def drop_frames(mask: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Lose `n` of the frames that each window has, shape (n_windows, 5); a larger `n` loses the same ones and more."""
    order = np.where(mask, rng.random(mask.shape), 2.0).argsort(axis=1)  # frames that are missing already come last
    out = mask.copy()
    np.put_along_axis(out, order[:, :n], False, axis=1)
    return out


def drop_channels(eeg: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Channels without contact: a flat line; `eeg` (..., 28, n_times) in µV."""
    out = np.array(eeg)
    out[..., [CHANNELS.index(name) for name in names], :] = 0
    return out


def blink_wave(n_times: int, middle: float, sfreq: float = SFREQ) -> np.ndarray:
    """One blink of 0.3 s with peak 1: a raised cosine around `middle` s, shape (n_times,)."""
    distance = (np.arange(n_times) / sfreq - middle) / BLINK_SECONDS
    return np.where(np.abs(distance) < 0.5, 0.5 * (1 + np.cos(2 * np.pi * distance)), 0.0)


def add_blinks(eeg: np.ndarray, microvolt: float, rng: np.random.Generator, n_blinks: int = 2) -> np.ndarray:
    """Add blinks of so many µV at Fp1 and Fp2, wholly inside each window of `eeg` (n_windows, 28, n_times).

    They are filtered to 4..45 Hz like the EEG they are added to; the filter is linear, so this equals recording
    them. Most of a blink lies below 4 Hz: about a third of `microvolt` is left.
    """
    n_windows, _, n_times = eeg.shape
    middles = rng.uniform(BLINK_SECONDS / 2, n_times / SFREQ - BLINK_SECONDS / 2, (n_windows, n_blinks))
    waves = np.array([sum(blink_wave(n_times, middle) for middle in row) for row in middles])
    height = np.array([BLINK.get(name, 0.0) for name in CHANNELS])
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

    def __post_init__(self):
        for name, known in (("part", ("none", "upper", "lower", "box")), ("loose", tuple(GROUPS))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not 0 <= self.delay <= 2000:
            raise ValueError(f"delay: expected 0 to 2000 ms, got {self.delay}")

    def pictures(self, frames: np.ndarray) -> np.ndarray:
        """Frames as the networks get them, late ones handed in as such; shape and type of `frames`."""
        out = shift_light(frames, self.brightness, self.contrast)
        out = blur(out, self.blur / 100)
        # Last: what stands in front of the lens is as sharp and as bright as ever.
        return occlude(out, self.part, self.share / 100, self.x / 100, self.y / 100)

    def mask(self, mask: np.ndarray, seed: int) -> np.ndarray:
        """Which frames are left, shape (n_windows, 5); the same ones for the same seed."""
        return drop_frames(mask, self.lost, np.random.default_rng([seed, 1]))

    @property
    def spoils_eeg(self) -> bool:
        """Whether the EEG is changed."""
        return self.loose != "none" or self.blinks > 0 or self.noise > 0

    def eeg(self, eeg: np.ndarray, seed: int) -> np.ndarray:
        """EEG in µV as the networks get it, shape (n_windows, 28, 512); the same draws for the same seed."""
        out = add_blinks(eeg, self.blinks, np.random.default_rng([seed, 2])) if self.blinks else eeg
        out = add_noise(out, self.noise, np.random.default_rng([seed, 3])) if self.noise else out
        return drop_channels(out, GROUPS[self.loose])


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
