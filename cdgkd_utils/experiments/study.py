"""From parameters to inputs: the data of one repetition, and one fold of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..config import Params
from ..data.eeg_features import VIEWS as FEATURES
from ..data.eeg_features import rescaled
from ..data.load import load_windows, twin_settings, windows_key
from ..data.normalise import Normaliser
from ..data.splits.audit import audit, forbid_leaks
from ..data.splits.protocols import Fold, protocol_folds
from ..data.splits.split import Split, certify, make_split
from ..data.twin.plan import plan_subject
from ..data.types import Windows
from ..models.frontend import band_covariances
from ..training import Inputs


@dataclass
class Study:
    """The windows of one repetition, with what does not depend on the split computed once.

    Attributes
    ----------
    params : Params
    repeat : int
        Repetition; ``seed`` is ``params.seed + repeat``.
    known_key : str
        Key of the windows, where it is known already: the files need not be looked at again.
    """

    params: Params
    repeat: int = 0
    known_key: str = ""
    _features: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int:
        return self.params.seed + self.repeat

    @cached_property
    def windows(self) -> Windows:
        return load_windows(self.params, repeat=self.repeat)

    @property
    def data_key(self) -> str:
        """What stands for the windows in a run's key; known without preparing them."""
        loaded = self.__dict__.get("windows")
        if loaded is not None:
            return loaded.meta["key"]
        self.known_key = self.known_key or windows_key(self.params, self.repeat)
        return self.known_key

    @cached_property
    def covariances(self) -> Tensor:
        """Band covariances of the EEG in µV², shape (n_windows, 4, 28, 28)."""
        return band_covariances(self.windows.eeg)

    def features(self, name: str) -> Tensor:
        """Hand-made EEG features of all windows, by their name in ``FEATURES``, computed when first asked for."""
        if name not in self._features:
            self._features[name] = torch.from_numpy(FEATURES[name](self.windows.eeg))
        return self._features[name]

    def labels(self, target: str) -> np.ndarray:
        """Binary labels, shape (n_windows,)."""
        return self.windows.labels(target)

    def split(self, target: str, fold: int) -> Split | Fold:
        """The fold's split under the protocol of the parameters, certified or audited.

        Raises
        ------
        LeakError
            The split leaks; the protocol ``window`` may, it says so itself.
        """
        index, labels, params = self.windows.index, self.labels(target), self.params
        if params.protocol == "trial+subject":
            split = make_split(index, labels, fold=fold, seed=self.seed)
            certify(split, index, labels)
            return split
        folds = protocol_folds(
            index,
            labels,
            params.protocol,
            n_folds=params.scale.dealt_folds,
            seed=self.seed,
            allow_leak=params.allow_leak,
        )
        if not 0 <= fold < len(folds):
            raise ValueError(f"fold must be 0..{len(folds) - 1} under protocol {params.protocol}, got {fold}")
        if not folds[fold].leaky:
            forbid_leaks(audit(index, folds[fold], labels))
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

    def inputs(self, target: str, fold: int) -> Inputs:
        """Normalised tensors for one fold; the scales come from its training windows alone."""
        split = self.split(target, fold)
        normaliser = Normaliser.fit(self.windows, split.train)
        # Scaling the channels scales their covariance by the products of the scales: the same as normalising first.
        scale = torch.from_numpy(normaliser.eeg_scales(self.windows.index["subject"].to_numpy()))
        eeg = self.covariances / (scale[:, None, :, None] * scale[:, None, None, :])
        return Inputs(
            eeg=eeg,
            video=torch.from_numpy(normaliser.video(self.windows)),
            frame_mask=torch.from_numpy(np.array(self.windows.frame_mask)),
            labels=torch.from_numpy(self.labels(target)),
            train=torch.from_numpy(split.train),
            val=torch.from_numpy(split.val),
            views=Views(self, split.train, scale),
        )


class Views(Mapping[str, Tensor]):
    """Further inputs of one fold, made when a model first asks for them.

    ``signal``, shape (n_windows, 28, 512): the EEG over its subject's scale. ``wavelets`` (n_windows, 112),
    ``band_power`` (n_windows, 8, 112), ``entropy`` (n_windows, 28, 5): features with mean 0 and standard
    deviation 1 over the training windows.

    Parameters
    ----------
    study : Study
    train : ndarray of int
    scale : Tensor, shape (n_windows, 28)
        Of the EEG channels, in µV.
    """

    def __init__(self, study: Study, train: np.ndarray, scale: Tensor):
        self._study, self._train, self._scale = study, train, scale
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            self._made[name] = self._signal() if name == "signal" else self._standardised(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("signal", *FEATURES))

    def __len__(self) -> int:
        return 1 + len(FEATURES)

    def _signal(self) -> Tensor:
        eeg = torch.from_numpy(np.array(self._study.windows.eeg, dtype=np.float32))
        return eeg.div_(self._scale[:, :, None])

    def _standardised(self, name: str) -> Tensor:
        # Per-subject scales, as every other network's EEG has them.
        values = torch.from_numpy(rescaled(name, self._study.features(name).numpy(), self._scale.numpy()))
        mean = values[self._train].mean(dim=0)
        sd = values[self._train].std(dim=0)
        return (values - mean) / sd.clamp(min=1e-6)
