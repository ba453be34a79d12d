"""Test windows answered by teacher, assistants and student, before and after a change, and what an answer hangs on:
gradient times input (Shrikumar et al., arXiv:1605.01713) and, for pictures, covering (Zeiler and Fergus, ECCV 2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..data.constants import WINDOW_SECONDS
from ..data.features import FACE_SOURCE, crop_to, face_box
from ..data.features import extractor as open_extractor
from ..data.types import Normaliser
from ..data.windows import FRAME_OFFSETS, clip_of, trial_frames
from ..data.windows import PICTURE as TWIN_PICTURE
from ..models.compact import band_covariances
from .clip import describe_frames
from .perturb import GREY, SWEEPS, Change

N_BOXES = 7  # along each edge of the picture
KEPT = 128  # windows whose pictures are kept, some 0.25 MB each
NOTHING = Change()


class WhatIf:
    """Networks of one fold and some of its test windows. This is looking: nothing is chosen by it.

    `networks` by role, largest first, in evaluation mode, the last is the student; `rows` are numbers of windows, a
    ValueError where one was trained or selected on. The scaling of the experiment's fold is applied to what is changed.

    Examples
    --------
    >>> networks = {name: experiment.run(name).model() for name in ("fusion_rebalanced", "cdgkd")}
    >>> answers = WhatIf(experiment, networks, experiment.split.parts()["test_trial"][:20])
    >>> answers.look(0, part="lower", noise=10).after
    """

    def __init__(self, experiment, networks: Mapping[str, nn.Module], rows: np.ndarray):
        parts = experiment.split.parts()
        if len(np.intersect1d(rows, np.concatenate([parts["train"], parts["val"]]))):
            raise ValueError("rows: expected test windows only; some were trained or selected on")
        self.networks, self.rows, self.repeat = networks, np.asarray(rows), experiment.study.repeat
        self.params, self.windows = experiment.study.params, experiment.study.windows
        self.extract = open_extractor(self.params.extractor)
        self.normaliser = Normaliser.fit(self.windows, parts["train"])
        self.labels = experiment.study.labels(experiment.target)[self.rows]
        truth = self.windows.posterior(experiment.target)
        self.truth = np.full(len(self.rows), np.nan) if truth is None else truth[self.rows]
        self.pictures = lru_cache(maxsize=KEPT)(self._pictures)
        self.face = lru_cache(maxsize=KEPT)(lambda subject, trial: face_box(clip_of(self.params, subject, trial)[0]))

    def _pictures(self, position: int, delay: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Frames and mask of one window; `delay` in ms shows what was seen so much earlier."""
        row, index = int(self.rows[position]), self.windows.index
        size = self.extract.size if self.params.crop == "centre" else FACE_SOURCE
        size = max(TWIN_PICTURE, self.extract.size) if self.params.is_twin else size

        def at(window: float) -> tuple[np.ndarray, np.ndarray]:
            # Frames are looked up by the number of their window, which need not be whole.
            moved = replace(self.windows, index=index.assign(window=window))
            frames, mask, _ = trial_frames(self.params, moved, [row], size, self.repeat)
            frames, mask = frames[0], mask[0].copy()
            if self.params.crop == "face" and not self.params.is_twin:  # what the student sees
                box = self.face(*(int(index[name].iloc[row]) for name in ("subject", "trial")))
                frames = frames if box is None else crop_to(frames, box, self.extract.size)
                mask &= box is not None
            return frames, mask

        start = float(index["window"].iloc[row]) - delay / 1000 / WINDOW_SECONDS
        frames, mask = at(start)
        early = start * WINDOW_SECONDS + FRAME_OFFSETS < 0
        if early.any():  # a late camera shows its first picture until then, and loses none by being late
            first, there = at(-FRAME_OFFSETS[0] / WINDOW_SECONDS)
            frames[early], mask[early] = first[0], there[0]
        return frames, mask

    def brain(self, positions: np.ndarray, change: Change = NOTHING) -> dict[str, Tensor]:
        """What the networks take of the EEG, scaled as in training: ``eeg`` (n, 4, 28, 28), ``signal`` (n, 28, 512)."""
        rows = self.rows[positions]
        eeg = self.windows.eeg_at(rows)
        eeg = np.concatenate([change.eeg(one[None], int(row)) for one, row in zip(eeg, rows, strict=True)])
        scaled = eeg / self.normaliser.eeg_scales(self.windows.index["subject"].to_numpy()[rows])[:, :, None]
        return {"eeg": band_covariances(scaled), "signal": torch.from_numpy(scaled.astype(np.float32))}

    def video(self, frames: np.ndarray, mask: np.ndarray) -> dict[str, Tensor]:
        """The same of pictures (n, 5, size, size, 3), mask (n, 5): ``video`` (n, 5, 768), ``frame_mask`` (n, 5)."""
        described = [describe_frames(window, shown, self.extract) for window, shown in zip(frames, mask, strict=True)]
        features, shown = (np.stack(column) for column in zip(*described, strict=True))
        z = self.normaliser.video(SimpleNamespace(video=features, frame_mask=shown))
        return {"video": torch.from_numpy(z), "frame_mask": torch.from_numpy(shown)}

    @torch.no_grad()
    def answers(self, tensors: Mapping[str, Tensor], roles: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """P(high) of the networks asked for (default: all), shape (n_windows,)."""
        models = {role: self.networks[role] for role in (self.networks if roles is None else roles)}
        logits = {role: model(*(tensors[name] for name in model.inputs)).logits for role, model in models.items()}
        return {role: torch.softmax(found, 1)[:, 1].numpy() for role, found in logits.items()}

    def changed(self, positions: np.ndarray, change: Change) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        """Frames, mask and tensors of some windows after a change; every window has draws of its own."""
        drawn = [self.pictures(int(position), change.delay) for position in positions]
        frames = change.pictures(np.stack([frames for frames, _ in drawn]))
        mask = [change.mask(mask[None], int(row)) for (_, mask), row in zip(drawn, self.rows[positions], strict=True)]
        mask = np.concatenate(mask)
        return frames, mask, self.video(frames, mask) | self.brain(positions, change)

    def look(self, position: int, **change: float) -> SimpleNamespace:
        """Window number `position` of ``rows`` before and after a change, given as in :class:`.perturb.Change`.

        ``frames`` (5, size, size, 3), ``mask``, ``times`` in s; P(high) of each network ``before`` and ``after``; the
        share of |gradient x input| ``per_frame`` (student) and ``per_channel`` (largest network; None where it has no
        EEG); ``label`` and true P(high) ``truth``, NaN on real data.
        """
        here, networks = np.array([position]), list(self.networks.values())
        frames, mask, tensors = self.changed(here, Change(**change))
        before, after = (self.answers(given) for given in (self.changed(here, NOTHING)[2], tensors))
        hangs = channel_saliency(gradient_times_input(networks[0], tensors))
        return SimpleNamespace(
            frames=frames[0],
            mask=mask[0],
            times=np.asarray(FRAME_OFFSETS),
            before={role: float(p[0]) for role, p in before.items()},
            after={role: float(p[0]) for role, p in after.items()},
            per_frame=_shares(gradient_times_input(networks[-1], tensors)["video"].abs().sum(-1).numpy()[0]),
            per_channel=None if hangs is None else _shares(hangs[0]),
            label=int(self.labels[position]),
            truth=float(self.truth[position]),
        )

    def face_map(self, position: int) -> np.ndarray:
        """Change of the student's P(high) by covering each box of the face in all frames, shape (7, 7).

        Answer as it is minus answer with the box covered: positive where the picture speaks for "high".
        """
        frames, mask = self.pictures(int(position))
        edges = np.rint(np.linspace(0, frames.shape[1], N_BOXES + 1)).astype(int)
        copies = np.repeat(frames[None], N_BOXES**2 + 1, axis=0)  # the last stays as it is
        for number, (row, column) in enumerate(np.ndindex(N_BOXES, N_BOXES)):
            copies[number, :, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = GREY
        role = list(self.networks)[-1]
        p = self.answers(self.video(copies, np.repeat(mask[None], len(copies), axis=0)), [role])[role]
        return (p[-1] - p[:-1]).reshape(N_BOXES, N_BOXES)

    def sweep(self, sweeps: Mapping[str, tuple[str, str, Mapping[float, Change]]] = SWEEPS) -> pd.DataFrame:
        """All windows under growing changes: a row per change, strength and network that reads what is changed.

        ``change, unit, strength, role``, ``accuracy`` (share), ``same`` (share of windows answered as without the
        change) and ``moved`` (mean absolute change of P(high)).
        """
        everyone, rows = np.arange(len(self.rows)), []
        untouched = self.changed(everyone, NOTHING)[2]
        plain = self.answers(untouched)
        for name, (unit, modality, changes) in sweeps.items():
            readers = [r for r, n in self.networks.items() if modality == "video" or {"eeg", "signal"} & set(n.inputs)]
            for strength, change in changes.items():
                # Pictures need not be described again where only the EEG is changed.
                eeg = modality == "eeg"
                spoilt = untouched | self.brain(everyone, change) if eeg else self.changed(everyone, change)[2]
                for role, p in self.answers(spoilt, readers).items():
                    same, moved = (p > 0.5) == (plain[role] > 0.5), np.abs(p - plain[role])
                    found = {"accuracy": np.mean((p > 0.5) == self.labels), "same": same.mean(), "moved": moved.mean()}
                    rows.append({"change": name, "unit": unit, "strength": float(strength), "role": role} | found)
        return pd.DataFrame(rows)


def gradient_times_input(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of the decision value logit(high) - logit(low) at each floating input, times the input."""
    given = {name: tensors[name].detach().clone() for name in model.inputs}
    wanted = {name: tensor.requires_grad_() for name, tensor in given.items() if tensor.is_floating_point()}
    logits = model(*given.values()).logits
    # Windows do not meet in evaluation mode, so one backward pass of the sum serves all of them.
    gradients = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), list(wanted.values()))
    return {name: (g * x).detach() for g, (name, x) in zip(gradients, wanted.items(), strict=True)}


def channel_saliency(products: Mapping[str, Tensor]) -> np.ndarray | None:
    """How much hangs on each EEG channel, shape (n_windows, 28); a pair of channels counts for both, a half each."""
    if "eeg" in products:
        size = products["eeg"].abs().sum(1)
        return ((size.sum(1) + size.sum(2)) / 2).numpy()
    return products["signal"].abs().sum(-1).numpy() if "signal" in products else None


def _shares(values: np.ndarray) -> np.ndarray:
    return values / max(values.sum(), np.finfo(float).tiny)
