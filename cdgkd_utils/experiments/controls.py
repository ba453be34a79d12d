"""Where the phenomena can be seen: rebalancing and distillation on scanned digits, in a minute and without a download.

The 1,797 digits that scikit-learn ships, odd or even or all ten, go through the losses, the loop and the guides of the
tables. What stands for the EEG is the slow or the clean view, what stands for the video the coloured or spoilt one.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ..methods.distillation import DenseGuidance
from ..methods.loss import CrossEntropy
from ..methods.ogm_ge import GradientModulation
from ..methods.rebalancing import PMR, RebalancedCrossEntropy
from ..models.output import ModelOutput
from ..training import Inputs, TrainSettings, fit, predict

SETTINGS = {
    "sgd": TrainSettings(40, learning_rate=0.02, weight_decay=0.0, selection="last_epoch"),
    "adam": TrainSettings(40, learning_rate=1e-3, weight_decay=0.0, optimizer="adam", selection="last_epoch"),
}
FUSION_METHODS = {
    "none": lambda seed: RebalancedCrossEntropy(mode="none"),
    "adaptive 1": lambda seed: RebalancedCrossEntropy(strength=1.0),
    "adaptive 10": lambda seed: RebalancedCrossEntropy(strength=10.0),
    "constant 10": lambda seed: RebalancedCrossEntropy(mode="constant", strength=10.0),
    "OGM-GE": lambda seed: GradientModulation(generator=torch.Generator().manual_seed(seed)),
    "PMR 10": lambda seed: PMR(strength=10.0),
}
CURVES = ("imbalance_ratio", "video_weight", "eeg_weight", "video_gradient_scale", "eeg_gradient_scale")
STUDENT_METHODS = {  # guides and drop probability
    "ce": ((), 0.0),
    "kd": (("teacher",), 0.0),
    "takd": (("ta2_takd",), 0.0),
    "dense": (("teacher", "ta1", "ta2_dense"), 0.0),
    "cdgkd": (("teacher", "ta1_drop", "ta2_drop"), 0.5),
    "kd@eeg": (("eeg",), 0.0),
}
CHAIN = {  # hidden units of the EEG branch, guides and drop probability
    "ta1": (16, ("teacher",), 0.0),
    "ta2_takd": (4, ("ta1",), 0.0),
    "ta2_dense": (4, ("teacher", "ta1"), 0.0),
    "ta1_drop": (16, ("teacher",), 0.5),
    "ta2_drop": (4, ("teacher", "ta1_drop"), 0.5),
}


def _perceptron(n_in: int, n_hidden: int, n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_hidden, n_out))


class DigitNet(nn.Module):
    """A perceptron per view that it sees, concatenation, one linear classifier."""

    def __init__(self, hidden: dict[str, int], n_video: int, n_features: int, dropout: float, n_classes: int):
        super().__init__()
        self.inputs = self.fused = tuple(hidden)
        for name, n_hidden in hidden.items():
            n_in = n_video if name == "video" else 64
            self.add_module(name, _perceptron(n_in, n_hidden, n_features, dropout))
        self.classifier = nn.Linear(len(hidden) * n_features, n_classes)

    def forward(self, *views: Tensor) -> ModelOutput:
        features = {name: getattr(self, name)(x) for name, x in zip(self.inputs, views, strict=True)}
        joined = torch.cat(list(features.values()), dim=1)
        return ModelOutput(self.classifier(joined), features | {"classifier_input": joined})


def _net(seed: int, *design, **named) -> DigitNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitNet(*design, **named)


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    images, digit = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), digit


def _shuffled(rng: np.random.Generator, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: the digit modulo the number of classes, so 2 is odd or even and 10 every digit."""
    images, digit = _digits()
    order = rng.permutation(len(digit))
    return images[order], digit[order] % n_classes


def _inputs(eeg: np.ndarray, video: np.ndarray, labels: np.ndarray, n_train: int, n_val: int) -> tuple[Inputs, Tensor]:
    """Views, labels and parts for the loop, and the test rows."""
    x, v, rows = torch.from_numpy(eeg), torch.from_numpy(video), torch.arange(len(labels))
    mask, (train, val, test) = torch.ones(len(rows), 1, dtype=torch.bool), rows.tensor_split([n_train, n_train + n_val])
    return Inputs(x, v, mask, torch.from_numpy(labels), train, val), test


def coloured(seed: int, agreement: float, n_classes: int = 2) -> tuple[Inputs, Tensor]:
    """A grey digit, and another of its class in a colour that agrees with the label in training, by chance in test."""
    rng = np.random.default_rng(seed)
    grey, labels = _shuffled(rng, n_classes)
    n_train, n_val = 900, 100
    other, seen = np.arange(len(labels)), np.arange(len(labels)) < n_train + n_val
    for part in (seen, ~seen):
        for k in range(n_classes):
            rows = np.flatnonzero(part & (labels == k))
            other[rows] = rng.permutation(rows)
    wrong = rng.random(len(labels)) >= np.where(seen, agreement, 1 / n_classes)
    colour = (labels + wrong * rng.integers(1, n_classes, len(labels))) % n_classes
    hues = np.array([colorsys.hsv_to_rgb((1 - k / max(n_classes - 1, 1)) / 3, 1, 1) for k in range(n_classes)])
    video = hues[colour][:, :, None] * (0.5 + 0.5 * grey[other])[:, None]
    return _inputs(grey, video.reshape(len(labels), -1).astype(np.float32), labels, n_train, n_val)


def spoilt(seed: int, flipped: float, n_classes: int = 2, noise: float = 0.6) -> tuple[Inputs, Tensor, Tensor]:
    """A digit, and the same without its right half and under noise; a share of observed labels is wrong; the truth."""
    rng = np.random.default_rng(seed)
    clean, labels = _shuffled(rng, n_classes)
    half = clean.reshape(-1, 8, 8).copy()
    half[:, :, 4:] = 0
    video = (half.reshape(clean.shape) + noise * rng.standard_normal(clean.shape)).astype(np.float32)
    wrong = rng.random(len(labels)) < flipped
    observed = (labels + wrong * rng.integers(1, n_classes, len(labels))) % n_classes
    return *_inputs(clean, video, observed, 700, 250), torch.from_numpy(labels)


def fusion_control(
    seeds: Iterable[int] = range(6),
    *,
    methods: Iterable[str] = tuple(FUSION_METHODS),
    optimizers: Iterable[str] = ("sgd", "adam"),
    agreements: Iterable[float] = (0.95, 1.0),
    n_classes: int = 2,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Does rebalancing help a slow view beside a fast, misleading one?

    Parameters
    ----------
    seeds : iterable of int
        Each deals images, colours, initial weights and mini-batches, alike for all methods.
    methods, optimizers : iterable of str
        Keys of ``FUSION_METHODS`` and ``SETTINGS``.
    agreements : iterable of float
        Share of training images whose colour is that of the label; in test it is that by chance.
    n_classes : int
        2 is odd or even, 10 every digit.

    Returns
    -------
    scores : DataFrame
        ``seed, optimizer, agreement, method``; ``accuracy``, percent of test images; ``gain``, points over ``none`` of
        the same seed (NaN without it); ``eeg_branch, video_branch``, percent of training images that are nearest to
        their own class's prototype in the last epoch.
    curves : DataFrame
        ``seed, optimizer, agreement, method, epoch`` and, NaN where a method has none, ``imbalance_ratio``,
        ``video_weight``, ``eeg_weight``, ``video_gradient_scale``, ``eeg_gradient_scale``.
    """
    scores, curves, cases = [], [], ["seed", "optimizer", "agreement"]
    for agreement in agreements:
        for seed in seeds:
            inputs, test = coloured(seed, agreement, n_classes)
            for optimizer in optimizers:
                for method in methods:
                    model = _net(seed, {"eeg": 128, "video": 128}, 192, 64, 0.0, n_classes)
                    log = fit(model, inputs, FUSION_METHODS[method](seed), SETTINGS[optimizer], seed=seed).log
                    right = predict(model, inputs, test).logits.argmax(1) == inputs.labels[test]
                    case = dict(zip((*cases, "method"), (seed, optimizer, agreement, method), strict=True))
                    last = {f"{m}_branch": 100 * log[f"proto_accuracy_{m}"].iloc[-1] for m in ("eeg", "video")}
                    scores.append(case | {"accuracy": 100 * right.float().mean().item()} | last)
                    curves.append(log.reindex(columns=["epoch", *CURVES]).assign(**case))
    return _gains(pd.DataFrame(scores), cases, "none"), pd.concat(curves, ignore_index=True)


def student_control(
    seeds: Iterable[int] = range(6),
    *,
    flipped: Iterable[float] = (0.25, 0.0),
    methods: Iterable[str] = tuple(STUDENT_METHODS),
    n_classes: int = 2,
) -> pd.DataFrame:
    """Does a teacher that sees more than the student help it, when labels are noisy and when they are not?

    Parameters
    ----------
    seeds : iterable of int
    flipped : iterable of float
        Share of wrong labels, of training and validation images.
    methods : iterable of str
        Keys of ``STUDENT_METHODS``.
    n_classes : int
        2 is odd or even, 10 every digit.

    Returns
    -------
    DataFrame
        ``seed, flipped, method``; ``accuracy``, percent of test images whose true class is told; ``gain``, points over
        ``ce`` of the same seed (NaN without it). Guides that were trained on the way are there by name, too.
    """
    rows, settings = [], TrainSettings(40, learning_rate=0.02)
    for share in flipped:
        for seed in seeds:
            inputs, test, truth = spoilt(seed, share, n_classes)
            answers: dict[str, Tensor] = {}

            def train(name, model, loss, *, inputs=inputs, test=test, truth=truth, answers=answers, case=(seed, share)):
                fit(model, inputs, loss, settings, seed=case[0])
                answers[name] = predict(model, inputs, inputs.every_row).logits
                right = answers[name][test].argmax(1) == truth[test]
                rows.append((*case, name, 100 * right.float().mean().item()))

            def hear(guides, drop, *, seed=seed, answers=answers, train=train):
                for guide in guides:
                    if guide not in answers:
                        train(guide, *_guide(guide, seed, n_classes, hear))
                generator = torch.Generator().manual_seed(seed + 99)
                heard = {guide: answers[guide] for guide in guides}
                return DenseGuidance(heard, drop_prob=drop, generator=generator) if heard else CrossEntropy()

            for method in methods:
                student = _net(seed + 7, {"video": 32}, 64, 32, 0.5, n_classes)
                train(method, student, hear(*STUDENT_METHODS[method]))
    return _gains(pd.DataFrame(rows, columns=["seed", "flipped", "method", "accuracy"]), ["seed", "flipped"], "ce")


def _guide(name: str, seed: int, n_classes: int, hear) -> tuple[DigitNet, CrossEntropy]:
    """A fresh network that is to guide, and its loss."""
    if name == "eeg":
        return _net(seed, {"eeg": 64}, 64, 32, 0.25, n_classes), CrossEntropy()
    n_hidden, guides, drop = CHAIN.get(name, (64, (), 0.0))
    model = _net(seed, {"eeg": n_hidden, "video": 64}, 64, 32, 0.25, n_classes)
    return model, hear(guides, drop) if guides else RebalancedCrossEntropy(strength=10.0)


def _gains(scores: pd.DataFrame, case: list[str], base: str) -> pd.DataFrame:
    """With the column ``gain``: points over a method of the same case."""
    of_base = scores[scores["method"] == base].set_index(case)["accuracy"]
    return scores.assign(gain=scores["accuracy"] - of_base.reindex(pd.MultiIndex.from_frame(scores[case])).to_numpy())
