"""From parameters to inputs: the data of one repetition, and one fold of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import Params
from ..data.eeg_features import VIEWS as FEATURES
from ..data.eeg_features import rescaled
from ..data.load import load_windows, twin_settings, windows_key
from ..data.splits import Fold, check_fold, deal_trials, make_folds, trial_ids
from ..data.twin import plan_subject
from ..data.types import Normaliser, Windows
from ..models.compact import band_covariances
from ..training import Inputs
from .recipes import N_PARTS

RATED = 1 << 17  # keeps the random numbers of the rated trials apart from those of the networks


@dataclass(frozen=True)
class FoldData:
    """One target and fold of a study: what losses and derived kinds are made from; the inputs are on the CPU."""

    seed: int
    fold: int
    target: str
    windows: Windows
    labels: np.ndarray
    split: Fold
    inputs: Inputs

    @property
    def index(self) -> pd.DataFrame:
        return self.windows.index

    @cached_property
    def trials(self) -> np.ndarray:
        return trial_ids(self.windows.index)

    def identity(self) -> dict[str, np.ndarray]:
        """What results need besides logits, so that they never touch the data."""
        posterior = self.windows.posterior(self.target)
        found = {"labels": self.labels, "posterior": np.zeros(0) if posterior is None else posterior}
        return self.split.parts() | found | {name: self.index[name].to_numpy() for name in ("subject", "trial")}


class Study:
    """The windows of one repetition, with what does not depend on the split computed once.

    `windows` may be your own (``data.own.from_arrays``), which must have a key, else a ValueError; by default they are
    those that the parameters name, loaded when first asked for. The seed of a `repeat` is ``params.seed + repeat``.
    With a `data_key` that is known already the files need not be looked at again.
    """

    def __init__(self, params: Params, repeat: int = 0, *, windows: Windows | None = None, data_key: str = ""):
        self.params, self.repeat, self.seed, self._key = params, repeat, params.seed + repeat, data_key
        self._features: dict[str, Tensor] = {}
        if windows is not None and not windows.meta.get("key"):
            raise ValueError("windows: expected meta['key'], which tells runs on other data apart")
        if windows is not None:
            self.windows = windows

    @cached_property
    def windows(self) -> Windows:
        return load_windows(self.params, repeat=self.repeat)

    @property
    def data_key(self) -> str:
        """What stands for the windows in a run's key; known without preparing them."""
        if "windows" in self.__dict__:
            return self.windows.meta["key"]
        self._key = self._key or windows_key(self.params, self.repeat)
        return self._key

    @cached_property
    def covariances(self) -> Tensor:
        """Band covariances of the EEG in µV², shape (n_windows, 4, 28, 28)."""
        return band_covariances(self.windows.eeg)

    def labels(self, target: str) -> np.ndarray:
        """Binary labels, shape (n_windows,)."""
        return self.windows.labels(target)

    def split(self, target: str, fold: int) -> Fold:
        """The fold's split under the protocol of the parameters; LeakError where it shares what it must not."""
        index, labels, params = self.windows.index, self.labels(target), self.params
        n_folds, allow_leak = params.scale.dealt_folds, params.allow_leak
        folds = make_folds(index, labels, params.protocol, n_folds=n_folds, seed=self.seed, allow_leak=allow_leak)
        if not 0 <= fold < len(folds):
            raise ValueError(f"fold must be 0..{len(folds) - 1} under protocol {params.protocol}, got {fold}")
        check_fold(folds[fold], index, labels)
        return folds[fold]

    def n_folds(self) -> int:
        """Folds that are run: one per subject under ``loso``, else as many as the profile says."""
        if self.params.protocol != "loso":
            return self.params.scale.n_folds
        if self.params.is_twin and "windows" not in self.__dict__:
            settings = twin_settings(self.params, self.repeat)
            plans = (plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1))
            # Some of MAHNOB-HCI's people have no trial with both EEG and video, so they have no window.
            return sum(bool((plan.has_eeg & plan.has_video).any()) for plan in plans)
        return int(self.windows.index["subject"].nunique())

    def inputs(self, split: Fold, target: str) -> Inputs:
        """Normalised tensors for one fold; the scales come from its training windows alone.

        Made when a model first asks for them: ``signal`` (n_windows, 28, 512), the EEG over its subject's scale; and
        ``wavelets`` (.., 112), ``band_power`` (.., 8, 112), ``entropy`` (.., 28, 5), as z-scores of training windows.
        """
        windows, train = self.windows, split.train
        normaliser = Normaliser.fit(windows, train)
        # Scaling the channels scales their covariance by the products of the scales: the same as normalising first.
        scale = torch.from_numpy(normaliser.eeg_scales(windows.index["subject"].to_numpy()))

        def make_view(name: str) -> Tensor:
            if name == "signal":
                return torch.from_numpy(np.array(windows.eeg, dtype=np.float32)).div_(scale[:, :, None])
            if name not in self._features:
                self._features[name] = torch.from_numpy(FEATURES[name](windows.eeg))
            # Per-subject scales, as every other network's EEG has them.
            values = torch.from_numpy(rescaled(name, self._features[name].numpy(), scale.numpy()))
            return (values - values[train].mean(dim=0)) / values[train].std(dim=0).clamp(min=1e-6)

        eeg = self.covariances / (scale[:, None, :, None] * scale[:, None, None, :])
        others = (normaliser.video(windows), np.array(windows.frame_mask), self.labels(target), train, split.val)
        return Inputs(eeg, *map(torch.from_numpy, others), make_view=make_view)

    def fold_data(self, target: str, fold: int) -> FoldData:
        """All of one target and fold."""
        split, labels = self.split(target, fold), self.labels(target)
        return FoldData(self.seed, fold, target, self.windows, labels, split, self.inputs(split, target))


def part_rows(data: FoldData, part: int) -> np.ndarray:
    """Training rows that the cross-fitted network `part` (0 .. 4) does not see.

    Whole trials of every subject, both labels alike: else a subject's base rate would leak with the wrong sign.
    """
    train, subjects = data.inputs.train.numpy(), data.index["subject"].to_numpy()
    return deal_trials(train, data.trials, subjects, data.labels, N_PARTS, part, data.seed)[1]


def rated_rows(data: FoldData, n_rated: int) -> tuple[Tensor, Tensor]:
    """Training and validation rows of the rated trials of each subject, drawn without a look at any label.

    `n_rated` are training trials per subject, all where there are no more; fewer are always among more. Validation
    gets the same share, at least one trial of each subject: with few ratings there are few to choose the epoch by.
    """
    subjects, parts = data.index["subject"].to_numpy(), (data.inputs.train.numpy(), data.inputs.val.numpy())
    kept: tuple[list, list] = ([], [])
    for subject in np.unique(subjects[parts[0]]):
        rng, share = np.random.default_rng([data.seed, data.fold, RATED, subject]), 1.0
        for number, rows in enumerate(parts):
            mine = rows[subjects[rows] == subject]
            order = rng.permutation(np.unique(data.trials[mine]))
            if number == 0:
                share = min(1.0, n_rated / len(order))
            kept[number].append(mine[np.isin(data.trials[mine], order[: max(1, round(share * len(order)))])])
    train, val = (torch.from_numpy(np.sort(np.concatenate(rows))) for rows in kept)
    return train, val
