"""One what-if question as a value: everything that is done to a window before it is answered again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .perturb_eeg import GROUPS, add_blinks, add_noise, drop_channels
from .perturb_video import blur, drop_frames, occlude, shift_light


@dataclass(frozen=True)
class Change:
    """What is done to the face and to the EEG; the default does nothing.

    Attributes
    ----------
    part : {"none", "upper", "lower", "box"}
        What is covered by grey.
    share : float
        How much of it, in % of the picture's edge.
    x, y : float
        Middle of a box in % of the edge, from the left and from the top.
    lost : int
        Frames of each window that are lost, 0 to 5.
    blur : float
        Standard deviation in % of the edge.
    brightness : float
        Grey levels added.
    contrast : float
        Factor around the middle grey.
    delay : int
        By which the video is late, in ms: the frames shown are those of so much earlier.
    loose : str
        Group of EEG channels without contact, a key of ``perturb_eeg.GROUPS``.
    blinks : float
        Peak of two added blinks at the forehead before the filter, in µV.
    noise : float
        Standard deviation of noise added to every EEG channel, in µV.
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
        if self.loose not in GROUPS:
            raise ValueError(f"loose: expected one of {', '.join(GROUPS)}, got {self.loose!r}")
        if not -2000 <= self.delay <= 2000:
            raise ValueError(f"delay: expected -2000 to 2000 ms, got {self.delay}")

    @property
    def spoils_eeg(self) -> bool:
        """Whether the EEG is changed."""
        return self.loose != "none" or self.blinks > 0 or self.noise > 0

    def pictures(self, frames: np.ndarray) -> np.ndarray:
        """Frames as the networks get them, late ones handed in as such; shape and type of `frames`."""
        light = self.brightness != 0 or self.contrast != 1
        out = shift_light(frames, self.brightness, self.contrast) if light else frames
        out = blur(out, self.blur / 100) if self.blur else out
        # Last: what stands in front of the lens is as sharp and as bright as ever.
        hides = self.part != "none" and self.share > 0
        return occlude(out, self.part, self.share / 100, self.x / 100, self.y / 100) if hides else out

    def mask(self, mask: np.ndarray, seed: int) -> np.ndarray:
        """Which frames are left, shape (n_windows, 5); the same ones for the same seed."""
        return drop_frames(mask, self.lost, np.random.default_rng([seed, 1]))

    def eeg(self, eeg: np.ndarray, seed: int) -> np.ndarray:
        """EEG in µV as the networks get it, shape (n_windows, 28, 512); the same draws for the same seed."""
        blinked = add_blinks(eeg, self.blinks, np.random.default_rng([seed, 2])) if self.blinks else eeg
        noisy = add_noise(blinked, self.noise, np.random.default_rng([seed, 3])) if self.noise else blinked
        return drop_channels(noisy, GROUPS[self.loose]) if self.loose != "none" else noisy


@dataclass(frozen=True)
class Sweep:
    """One change in growing strength.

    Attributes
    ----------
    unit : str
    modality : {"video", "eeg"}
    changes : mapping of float to Change
        By strength, the first being none.
    """

    unit: str
    modality: str
    changes: Mapping[float, Change]


SWEEPS = {
    "upper face covered": Sweep("% of the height", "video", {s: Change("upper", s) for s in (0, 25, 50, 75)}),
    "lower face covered": Sweep("% of the height", "video", {s: Change("lower", s) for s in (0, 25, 50, 75)}),
    "frames lost": Sweep("of 5 frames", "video", {n: Change(lost=n) for n in (0, 2, 4, 5)}),
    "blur": Sweep("sd, % of the edge", "video", {s: Change(blur=s) for s in (0, 1, 2, 4)}),
    "darker": Sweep("grey levels taken away", "video", {b: Change(brightness=-b) for b in (0, 40, 80, 120)}),
    "video late": Sweep("ms", "video", {d: Change(delay=d) for d in (0, 200, 400, 800)}),
    "blinks": Sweep("µV at the forehead", "eeg", {v: Change(blinks=v) for v in (0, 50, 100, 200)}),
    "noise": Sweep("µV, every channel", "eeg", {v: Change(noise=v) for v in (0, 5, 10, 20)}),
}
