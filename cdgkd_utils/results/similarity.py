"""How alike the networks of a chain are: what they answer, how softly, and what their embeddings hold. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import entr, expit
from scipy.stats import binom

LABELS = "labels"  # name of the truth beside the networks'


@dataclass(frozen=True)
class ChainAnswers:
    """What the networks of a chain say about all windows.

    Attributes
    ----------
    logits : dict of str to ndarray, shape (n_windows, 2)
        By the network's role, largest first; the last is the student.
    embeddings : dict of str to ndarray, shape (n_windows, n_features)
        What enters each network's classifier, by the same names.
    labels : ndarray, shape (n_windows,)
    parts : dict of str to ndarray of int
        Window numbers by the part's name, such as ``train`` or ``test_trial``.
    index : DataFrame
        One row per window: ``subject, trial, window``.
    """

    logits: Mapping[str, np.ndarray]
    embeddings: Mapping[str, np.ndarray]
    labels: np.ndarray
    parts: Mapping[str, np.ndarray]
    index: pd.DataFrame

    @property
    def guides(self) -> list[str]:
        """All networks but the student."""
        return list(self.logits)[:-1]

    def rows(self, part: str) -> np.ndarray:
        """Window numbers of a part.

        Raises
        ------
        ValueError
            There is no such part.
        """
        if part not in self.parts:
            raise ValueError(f"part: expected one of {', '.join(self.parts)}, got {part!r}")
        return self.parts[part]

    def true_class(self, name: str, part: str, temperature: float) -> np.ndarray:
        """Soft target that a network gives to the true class, by window of a part, 0 .. 1."""
        rows = self.rows(part)
        return soft_targets(self.logits[name][rows], temperature)[np.arange(len(rows)), self.labels[rows]]

    def agreement(self, part: str) -> pd.DataFrame:
        """:func:`agreement_matrix` of the networks and the labels on a part."""
        rows = self.rows(part)
        answers = {name: soft_targets(logits[rows], 1.0)[:, 1] > 0.5 for name, logits in self.logits.items()}
        return agreement_matrix(answers | {LABELS: self.labels[rows] == 1})

    def cka(self, part: str) -> pd.DataFrame:
        """:func:`cka_matrix` of the networks' embeddings and the labels on a part."""
        rows = self.rows(part)
        return cka_matrix({name: x[rows] for name, x in self.embeddings.items()} | {LABELS: self.labels[rows, None]})

    def chance_cka(self, part: str, rng: np.random.Generator) -> float:
        """Mean linear CKA of pairs of networks when the second one's windows are shuffled: what no relation scores."""
        rows, names = self.rows(part), list(self.embeddings)
        pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
        chance = [linear_cka(self.embeddings[a][rows], self.embeddings[b][rng.permutation(rows)]) for a, b in pairs]
        return float(np.mean(chance))


def soft_targets(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softened class probabilities of a guide, softmax(logits / T) (Hinton et al. 2015; method.md, section 4.1).

    Parameters
    ----------
    logits : ndarray, shape (n_windows, 2)
    temperature : float
        Above 0; 1 leaves the answers as they are, more makes them softer.

    Returns
    -------
    ndarray, shape (n_windows, 2)

    Raises
    ------
    ValueError
        The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    margin = (logits[:, 1].astype(float) - logits[:, 0]) / temperature
    return np.column_stack([expit(-margin), expit(margin)])


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of each row of class probabilities, in nats: 0 for a hard label, ln 2 for one half each."""
    return entr(probabilities).sum(axis=1)


def agreement_matrix(answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Share of windows for which each pair gives the same answer, 0 .. 1.

    Parameters
    ----------
    answers : mapping of str to ndarray, shape (n_windows,)

    Returns
    -------
    DataFrame
        Symmetric, 1 on the diagonal.
    """
    shares = [[float(np.mean(a == b)) for b in answers.values()] for a in answers.values()]
    return pd.DataFrame(shares, index=list(answers), columns=list(answers))


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment of two embeddings of the same windows.

    With both centred over windows, ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms. It does not change when an embedding is
    rotated, shifted or scaled as a whole, and compares embeddings of different widths; it does change when single
    directions are stretched. Of unrelated embeddings it is not 0 but of the order n_features / n_windows.

    Parameters
    ----------
    x : ndarray, shape (n_windows, n_features)
    y : ndarray, shape (n_windows, n_other_features)

    Returns
    -------
    float
        0 .. 1, NaN where an embedding is constant.

    Raises
    ------
    ValueError
        The numbers of windows differ.

    References
    ----------
    S. Kornblith et al., Similarity of neural network representations revisited, ICML 2019, section 3.
    """
    if len(x) != len(y):
        raise ValueError(f"y: expected {len(x)} windows as in x, got {len(y)}")
    x, y = (values.astype(float) - values.mean(axis=0, dtype=float) for values in (x, y))
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / norms) if norms > 0 else float("nan")


def cka_matrix(embeddings: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """:func:`linear_cka` of each pair.

    Parameters
    ----------
    embeddings : mapping of str to ndarray, shape (n_windows, n_features)

    Returns
    -------
    DataFrame
        Symmetric.
    """
    names = list(embeddings)
    frame = pd.DataFrame(np.nan, index=names, columns=names)
    for place, a in enumerate(names):
        for b in names[place:]:
            frame.loc[a, b] = frame.loc[b, a] = linear_cka(embeddings[a], embeddings[b])
    return frame


def guides_speaking(kept: np.ndarray, drop_prob: float) -> pd.DataFrame:
    """How many guides spoke at once, over mini-batches, beside what independent draws let expect.

    Parameters
    ----------
    kept : ndarray of bool, shape (n_steps, n_guides)
    drop_prob : float
        Probability with which each guide is silenced.

    Returns
    -------
    DataFrame
        By the number of guides, 0 .. n_guides: ``observed`` and ``expected``, shares of mini-batches.

    Raises
    ------
    ValueError
        There is no step.
    """
    kept = np.asarray(kept, dtype=bool)
    if kept.ndim != 2 or not len(kept):
        raise ValueError(f"kept: expected shape (n_steps, n_guides) with at least one step, got {kept.shape}")
    numbers = np.arange(kept.shape[1] + 1)
    observed = np.bincount(kept.sum(axis=1), minlength=len(numbers)) / len(kept)
    expected = binom.pmf(numbers, kept.shape[1], 1 - drop_prob)
    return pd.DataFrame({"observed": observed, "expected": expected}, index=pd.Index(numbers, name="guides"))
