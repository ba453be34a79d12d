"""Rebalancing and distillation on scikit-learn's 1,797 scanned digits, through the tables' losses, loop and guides.

What stands for the EEG is the slow or the clean view, what stands for the video the coloured or spoilt one.
"""

import colorsys
from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ..methods.distillation import DenseGuidance
from ..methods.loss import CrossEntropy
from ..methods.rebalancing import PMR, GradientModulation, RebalancedCrossEntropy
from ..models.output import FusionNet, UnimodalNet
from ..training import Inputs, TrainSettings, fit, predict

_PLAIN = {"epochs": 40, "weight_decay": 0.0, "selection": "last_epoch"}
SETTINGS = {
    "sgd": TrainSettings(learning_rate=0.02, **_PLAIN),
    "adam": TrainSettings(learning_rate=1e-3, optimizer="adam", **_PLAIN),
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
STUDENT_METHODS = ("ce", "kd", "takd", "dense", "cdgkd", "kd@eeg")
_NETWORKS = {  # hidden units of the EEG branch, guides, probability of dropping each; students have no EEG
    "teacher": (64, (), 0.0),
    "eeg": (64, (), 0.0),
    "ta1": (16, ("teacher",), 0.0),
    "ta2_takd": (4, ("ta1",), 0.0),
    "ta2_dense": (4, ("teacher", "ta1"), 0.0),
    "ta1_drop": (16, ("teacher",), 0.5),
    "ta2_drop": (4, ("teacher", "ta1_drop"), 0.5),
    "ce": (0, (), 0.0),
    "kd": (0, ("teacher",), 0.0),
    "takd": (0, ("ta2_takd",), 0.0),
    "dense": (0, ("teacher", "ta1", "ta2_dense"), 0.0),
    "cdgkd": (0, ("teacher", "ta1_drop", "ta2_drop"), 0.5),
    "kd@eeg": (0, ("eeg",), 0.0),
}


class _Encoder(nn.Sequential):
    def __init__(self, n_in: int, n_hidden: int, n_out: int, dropout: float = 0.0):
        super().__init__(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_hidden, n_out))

    def forward(self, view: Tensor) -> tuple[Tensor, dict]:
        return super().forward(view), {}


def _fusion(eeg: nn.Module, video: nn.Module, n_features: int, n_classes: int) -> FusionNet:
    return FusionNet(eeg, video, nn.Linear(2 * n_features, n_classes), ("eeg", "video"), ("eeg", "video"))


def _shuffled(rng: np.random.Generator, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: the digit modulo the number of classes, so 2 is odd or even and 10 every digit."""
    images, digit = load_digits(return_X_y=True)
    order = rng.permutation(len(digit))
    return (images[order] / 16).astype(np.float32), digit[order] % n_classes


def _inputs(eeg: np.ndarray, video: np.ndarray, labels: np.ndarray, n_train: int, n_val: int) -> tuple[Inputs, Tensor]:
    """Views, labels and parts for the loop, and the test rows."""
    train, val, test = torch.arange(len(labels)).tensor_split([n_train, n_train + n_val])
    mask = torch.ones(len(labels), 1, dtype=torch.bool)
    tensors = torch.from_numpy(eeg), torch.from_numpy(video.astype(np.float32)), mask, torch.from_numpy(labels)
    return Inputs(*tensors, train, val), test


def coloured(seed: int, agreement: float, n_classes: int = 2) -> tuple[Inputs, Tensor]:
    """A grey digit, and another of its class in a colour that agrees with the label in training, by chance in test."""
    rng = np.random.default_rng(seed)
    grey, labels = _shuffled(rng, n_classes)
    other, seen = np.arange(len(labels)), np.arange(len(labels)) < 1000
    for part, k in product((seen, ~seen), range(n_classes)):
        rows = np.flatnonzero(part & (labels == k))
        other[rows] = rng.permutation(rows)
    wrong = rng.random(len(labels)) >= np.where(seen, agreement, 1 / n_classes)
    colour = (labels + wrong * rng.integers(1, n_classes, len(labels))) % n_classes
    hues = np.array([colorsys.hsv_to_rgb((1 - k / (n_classes - 1)) / 3, 1, 1) for k in range(n_classes)])
    video = hues[colour][:, :, None] * (0.5 + 0.5 * grey[other])[:, None]
    return _inputs(grey, video.reshape(len(labels), -1), labels, 900, 100)


def spoilt(seed: int, flipped: float, n_classes: int = 2, noise: float = 0.6) -> tuple[Inputs, Tensor, Tensor]:
    """A digit, and the same without its right half and under noise; a share of observed labels is wrong; the truth."""
    rng = np.random.default_rng(seed)
    clean, labels = _shuffled(rng, n_classes)
    half = clean * np.tile(np.arange(8) < 4, 8)
    video = half + noise * rng.standard_normal(clean.shape)
    wrong = rng.random(len(labels)) < flipped
    observed = (labels + wrong * rng.integers(1, n_classes, len(labels))) % n_classes
    return *_inputs(clean, video, observed, 700, 250), torch.from_numpy(labels)


def fusion_control(
    seeds: Iterable[int] = range(6),
    *,
    methods: Iterable[str] = tuple(FUSION_METHODS),
    optimizers: Iterable[str] = tuple(SETTINGS),
    agreements: Iterable[float] = (0.95, 1.0),
    n_classes: int = 2,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Does rebalancing help a slow view beside a fast, misleading one?

    Each seed deals images, colours, initial weights and mini-batches, alike for all methods. `agreements` are shares of
    training images whose colour is that of the label; in test it is that by chance. With 10 classes every digit is one.

    Of scores, ``accuracy`` is percent of test images, ``gain`` points over ``none`` of the same seed, ``eeg_branch,
    video_branch`` percent of training images that are nearest to their own class's prototype in the last epoch. Curves
    are the epoch log's, NaN where a method has none.
    """
    scores, curves, case = [], [], ["agreement", "seed", "optimizer"]
    for agreement, seed in product(agreements, seeds):
        inputs, test = coloured(seed, agreement, n_classes)
        for optimizer, method in product(optimizers, methods):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = _fusion(_Encoder(64, 128, 64), _Encoder(192, 128, 64), 64, n_classes)
            log = fit(model, inputs, FUSION_METHODS[method](seed), SETTINGS[optimizer], seed=seed).log
            here = dict(zip((*case, "method"), (agreement, seed, optimizer, method), strict=True))
            right = predict(model, inputs, test).logits.argmax(1) == inputs.labels[test]
            branches = {f"{m}_branch": 100 * log[f"proto_accuracy_{m}"].iloc[-1] for m in ("eeg", "video")}
            scores.append(here | {"accuracy": 100 * right.double().mean().item()} | branches)
            curves.append(log.reindex(columns=["epoch", *CURVES]).assign(**here))
    return _with_gain(pd.DataFrame(scores), case, "none"), pd.concat(curves, ignore_index=True)


def student_control(
    seeds: Iterable[int] = range(6),
    *,
    flipped: Iterable[float] = (0.25, 0.0),
    methods: Iterable[str] = STUDENT_METHODS,
    n_classes: int = 2,
) -> pd.DataFrame:
    """Does a teacher that sees more than the student help it, when labels are noisy and when they are not?

    `flipped` are shares of wrong labels among the images to train with and to choose the epoch by. ``accuracy`` is
    percent of test images whose true class is told, ``gain`` points over ``ce`` of the same seed. Guides that were
    trained on the way are there by name, too.
    """
    rows = []
    for share, seed in product(flipped, seeds):
        inputs, test, truth = spoilt(seed, share, n_classes)
        answers: dict[str, Tensor] = {}
        for method in methods:
            _learn(method, answers, inputs, seed, n_classes)
        right = {name: (logits[test].argmax(1) == truth[test]).double().mean() for name, logits in answers.items()}
        rows += [(share, seed, name, 100 * value.item()) for name, value in right.items()]
    return _with_gain(pd.DataFrame(rows, columns=["flipped", "seed", "method", "accuracy"]), ["flipped", "seed"], "ce")


def _learn(name: str, answers: dict[str, Tensor], inputs: Inputs, seed: int, n_classes: int) -> None:
    """Train a network, its guides before it, and add its logits of all images to `answers`."""
    n_hidden, guides, drop_prob = _NETWORKS[name]
    for guide in guides:
        if guide not in answers:
            _learn(guide, answers, inputs, seed, n_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed if n_hidden else seed + 7)
        if name == "eeg" or not n_hidden:
            view = "eeg" if n_hidden else "video"
            encoder = _Encoder(64, n_hidden or 32, 32, 0.25 if n_hidden else 0.5)
            model = UnimodalNet(view, encoder, nn.Linear(32, n_classes), (view,))
        else:
            model = _fusion(_Encoder(64, n_hidden, 32, 0.25), _Encoder(64, 64, 32, 0.25), 32, n_classes)
    loss = RebalancedCrossEntropy(strength=10.0) if name == "teacher" else CrossEntropy()
    if guides:
        generator = torch.Generator().manual_seed(seed + 99)
        loss = DenseGuidance({g: answers[g] for g in guides}, drop_prob=drop_prob, generator=generator)
    fit(model, inputs, loss, TrainSettings(40, learning_rate=0.02), seed=seed)
    answers[name] = predict(model, inputs, inputs.every_row).logits


def _with_gain(scores: pd.DataFrame, case: list[str], base: str) -> pd.DataFrame:
    """With the column ``gain``: points over a method of the same case."""
    of_base = scores[scores["method"] == base].set_index(case)["accuracy"]
    return scores.assign(gain=scores["accuracy"] - of_base.reindex(pd.MultiIndex.from_frame(scores[case])).to_numpy())
