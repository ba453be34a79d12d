"""The what-if bench: windows answered by teacher, assistants and student, before and after something is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..data.constants import N_VIDEO_FEATURES, WINDOW_SECONDS
from ..data.extractors import extractor as open_extractor
from ..data.extractors.face_crop import crop_faces
from ..data.extractors.hog768 import box_reduce
from ..data.extractors.mediapipe_faces import find_boxes
from ..data.look import window_frames
from ..data.normalise import VIDEO_CLIP, Normaliser
from ..data.twin.generator import PICTURE as TWIN_PICTURE
from ..data.types import Windows
from ..data.windows import FACE_SOURCE
from ..experiments.runs import Experiment
from ..models.frontend import band_covariances
from .change import SWEEPS, Change, Sweep
from .saliency import channel_saliency, frame_saliency, gradient_times_input, occlusion_map

NOTHING = Change()


@dataclass(frozen=True)
class Look:
    """One window, answered before and after a change.

    Attributes
    ----------
    frames : ndarray, shape (5, size, size, 3), uint8
        After the change.
    mask : ndarray, shape (5,), bool
    times : ndarray, shape (5,)
        In s from the start of the window.
    before, after : dict of str to float
        P(high) of each network.
    per_frame : ndarray, shape (5,)
        Share of the student's |gradient x input| on each frame, after the change.
    per_channel : ndarray, shape (28,), or None
        Share of the largest network's |gradient x input| on each EEG channel; None where nobody reads EEG.
    label : int
    truth : float
        The true P(high), NaN on real data.
    """

    frames: np.ndarray
    mask: np.ndarray
    times: np.ndarray
    before: dict[str, float]
    after: dict[str, float]
    per_frame: np.ndarray
    per_channel: np.ndarray | None
    label: int
    truth: float


@dataclass
class Bench:
    """Networks of one fold and some of its test windows. This is looking: nothing is chosen by it.

    Parameters
    ----------
    experiment : Experiment
        Its fold's scaling is applied to whatever is changed.
    networks : mapping of str to Module
        By role, largest first, in evaluation mode; the last is the student.
    rows : ndarray of int
        Numbers of the windows.

    Raises
    ------
    ValueError
        A row belongs to the training or the validation part.
    """

    experiment: Experiment
    networks: Mapping[str, nn.Module]
    rows: np.ndarray
    _pictures: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self):
        parts = self.experiment.split.parts()
        if len(np.intersect1d(self.rows, np.concatenate([parts["train"], parts["val"]]))):
            raise ValueError("rows: expected test windows only; some were trained or selected on")
        self.params, self.windows = self.experiment.study.params, self.experiment.study.windows
        self.extract = open_extractor(self.params.extractor)
        self.normaliser = Normaliser.fit(self.windows, parts["train"])
        self.labels = self.experiment.study.labels(self.experiment.target)[self.rows]

    def pictures(self, position: int, delay: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames, mask and times of one window; `delay` in ms shows what was seen so much earlier."""
        key = (int(position), delay)
        if key not in self._pictures:
            row, repeat = int(self.rows[position]), self.experiment.study.repeat
            self._pictures[key] = window_frames(self.params, self._late(delay), row, self._size, repeat)
        return self._pictures[key]

    def _late(self, delay: int) -> Windows:
        """The windows, each begun earlier by `delay` ms; only their pictures are of use."""
        if delay == 0:
            return self.windows
        # Frames are looked up by the number of their window, which need not be whole.
        earlier = self.windows.index["window"] - delay / 1000 / WINDOW_SECONDS
        return replace(self.windows, index=self.windows.index.assign(window=earlier))

    @property
    def _size(self) -> int:
        """Edge of the pictures from which the stored features were made."""
        if self.params.is_twin:
            return max(TWIN_PICTURE, self.extract.size)
        return self.extract.size if self.params.crop == "centre" else FACE_SOURCE

    def brain(self, positions: np.ndarray, change: Change = NOTHING) -> dict[str, Tensor]:
        """What the networks take of the EEG, scaled as in training: ``eeg`` (n, 4, 28, 28), ``signal`` (n, 28, 512)."""
        rows = self.rows[positions]
        eeg = self.windows.eeg_at(rows)
        if change.spoils_eeg:
            eeg = np.concatenate([change.eeg(one[None], int(row)) for one, row in zip(eeg, rows, strict=True)])
        scaled = eeg / self.normaliser.eeg_scales(self.windows.index["subject"].to_numpy()[rows])[:, :, None]
        return {"eeg": band_covariances(scaled), "signal": torch.from_numpy(scaled.astype(np.float32))}

    def video(self, frames: np.ndarray, mask: np.ndarray) -> dict[str, Tensor]:
        """What the networks take of the pictures, scaled as in training: ``video`` (n, 5, 768), ``frame_mask`` (n, 5).

        Parameters
        ----------
        frames : ndarray, shape (n_windows, 5, size, size, 3), uint8
        mask : ndarray, shape (n_windows, 5), bool
        """
        features, mask = self._describe(frames, mask)
        z = np.clip((features - self.normaliser.video_mean) / self.normaliser.video_scale, -VIDEO_CLIP, VIDEO_CLIP)
        z = np.where(mask[..., None], z, 0).astype(np.float32)
        return {"video": torch.from_numpy(z), "frame_mask": torch.from_numpy(mask)}

    def _describe(self, frames: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat, shown = frames.reshape(-1, *frames.shape[2:]), mask.ravel().copy()
        size = self.extract.size
        if self.params.crop == "face" and not self.params.is_twin:
            cut = [crop_faces(window, size, find_boxes(window)) for window in frames]
            flat, shown = np.concatenate([faces for faces, _ in cut]), shown & np.concatenate([m for _, m in cut])
        # A zeroed row stands for a lost frame, so only those that are left are described.
        features = np.zeros((len(flat), N_VIDEO_FEATURES), np.float32)
        left = np.flatnonzero(shown)
        if len(left):
            features[left], shown[left] = self.extract(box_reduce(flat[left], size))
        return features.reshape(*mask.shape, -1), shown.reshape(mask.shape)

    @torch.no_grad()
    def answers(self, tensors: Mapping[str, Tensor], roles: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """P(high) of the networks asked for (default: all), shape (n_windows,)."""
        found = {}
        for role in roles or self.networks:
            model = self.networks[role]
            logits = model(*(tensors[name] for name in model.inputs)).logits
            found[role] = torch.softmax(logits, 1)[:, 1].numpy()
        return found

    def changed(self, positions: np.ndarray, change: Change) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        """Frames, mask and tensors of some windows after a change; every window has draws of its own."""
        drawn = [self.pictures(position, change.delay) for position in positions]
        rows = self.rows[positions]
        frames = change.pictures(np.stack([frames for frames, _, _ in drawn]))
        mask = np.concatenate([change.mask(m[None], int(row)) for (_, m, _), row in zip(drawn, rows, strict=True)])
        return frames, mask, self.video(frames, mask) | self.brain(positions, change)

    def look(self, position: int, **change: float) -> Look:
        """One window before and after a change.

        Parameters
        ----------
        position : int
            Number within ``rows``.
        change
            Of :class:`~.change.Change`.

        Raises
        ------
        ValueError
            There is no such window, or a number of the change is out of range.
        """
        if not 0 <= position < len(self.rows):
            raise ValueError(f"position: expected 0 to {len(self.rows) - 1}, got {position}")
        here, what = np.array([position]), Change(**change)
        before = self.answers(self.changed(here, NOTHING)[2])
        frames, mask, tensors = self.changed(here, what)
        after = self.answers(tensors)
        largest, student = (list(self.networks.values())[place] for place in (0, -1))
        per_channel = channel_saliency(gradient_times_input(largest, tensors))
        posterior = self.windows.posterior(self.experiment.target)
        return Look(
            frames[0],
            mask[0],
            self.pictures(position)[2],
            {role: float(p[0]) for role, p in before.items()},
            {role: float(p[0]) for role, p in after.items()},
            _shares(frame_saliency(gradient_times_input(student, tensors))[0]),
            None if per_channel is None else _shares(per_channel[0]),
            int(self.labels[position]),
            float("nan") if posterior is None else float(posterior[self.rows[position]]),
        )

    def face_map(self, position: int) -> np.ndarray:
        """Change of the student's P(high) by covering a seventh of the face, shape (7, 7)."""
        frames, mask, _ = self.pictures(position)
        role = list(self.networks)[-1]

        def student(copies: np.ndarray) -> np.ndarray:
            tensors = self.video(copies, np.repeat(mask[None], len(copies), axis=0))
            return self.answers(tensors, [role])[role]

        return occlusion_map(student, frames)

    def sweep(self, sweeps: Mapping[str, Sweep] = SWEEPS) -> pd.DataFrame:
        """All windows, answered under growing changes.

        Returns
        -------
        DataFrame
            One row per change, strength and network that reads the changed modality: ``change, unit, strength,
            role``, ``accuracy`` (share), ``same`` (share of windows answered as without the change) and
            ``moved`` (mean change of P(high), absolute).
        """
        everyone, rows = np.arange(len(self.rows)), []
        untouched = self.changed(everyone, NOTHING)[2]
        plain = self.answers(untouched)
        for name, sweep in sweeps.items():
            for strength, change in sweep.changes.items():
                if sweep.modality == "eeg":  # the pictures need not be described again
                    found = self.answers(untouched | self.brain(everyone, change))
                else:
                    found = self.answers(self.changed(everyone, change)[2]) if change != NOTHING else plain
                about = {"change": name, "unit": sweep.unit, "strength": float(strength)}
                for role, p in found.items():
                    if sweep.modality == "eeg" and self.networks[role].inputs[0] == "video":
                        continue
                    high = p > 0.5
                    scores = {"accuracy": np.mean(high == self.labels), "same": np.mean(high == (plain[role] > 0.5))}
                    rows.append(about | {"role": role} | scores | {"moved": np.abs(p - plain[role]).mean()})
        return pd.DataFrame(rows)


def _shares(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total > 0 else np.zeros_like(values)
