"""Soft targets, agreement and linear CKA, against loops, Gram matrices and limits."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdgkd_utils.results.similarity import (
    ChainAnswers,
    agreement_matrix,
    cka_matrix,
    entropy,
    guides_speaking,
    linear_cka,
    soft_targets,
)


def cka_by_gram_matrices(x, y):
    """The definition with n × n kernels: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    n = len(x)
    centre = np.eye(n) - np.ones((n, n)) / n
    k, other = centre @ (x @ x.T) @ centre, centre @ (y @ y.T) @ centre
    return np.trace(k @ other) / math.sqrt(np.trace(k @ k) * np.trace(other @ other))


@pytest.mark.parametrize("widths", [(3, 3), (7, 2), (40, 5), (1, 1)])
def test_cka_is_that_of_the_gram_matrices(widths):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(25, widths[0])) + 3
    y = x[:, :1] + rng.normal(size=(25, widths[1]))
    assert linear_cka(x, y) == pytest.approx(cka_by_gram_matrices(x, y), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3), st.integers(1, 6))
def test_cka_ignores_rotation_shift_and_scale_but_not_stretching(seed, scale, width):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, width)), rng.normal(size=(30, 4))
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    moved = scale * x @ rotation + rng.normal(size=width)
    assert linear_cka(moved, y) == pytest.approx(linear_cka(x, y), rel=1e-6)
    assert linear_cka(x, moved) == pytest.approx(1, abs=1e-9)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x), rel=1e-9)
    assert 0 <= linear_cka(x, y) <= 1 + 1e-12


def test_cka_of_stretched_directions_by_hand():
    # Two orthogonal directions of variances 1 and 1, one of them stretched s-fold: (1 + s²) / (√2 · √(1 + s⁴)).
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    assert linear_cka(x, x * [1, 3]) == pytest.approx((1 + 9) / math.sqrt(2 * (1 + 81)))


def test_cka_of_the_unrelated_is_near_nought_and_falls_with_the_windows():
    rng = np.random.default_rng(1)
    few, many = (linear_cka(rng.normal(size=(n, 8)), rng.normal(size=(n, 8))) for n in (100, 10_000))
    assert many < 0.005 < few < 0.2
    orthogonal = np.array([[1, 0], [-1, 0], [0, 0], [0, 0]], float), np.array([[0.0], [0], [1], [-1]])
    assert linear_cka(*orthogonal) == 0


def test_cka_in_float32_is_computed_in_double_precision():
    x = (1e3 + np.random.default_rng(2).normal(size=(50, 3))).astype(np.float32)
    assert linear_cka(x, x) == pytest.approx(1, abs=1e-12)


def test_cka_refuses_other_windows_and_knows_nothing_of_a_constant():
    with pytest.raises(ValueError, match="y: expected 4 windows as in x, got 5"):
        linear_cka(np.zeros((4, 2)), np.zeros((5, 2)))
    assert math.isnan(linear_cka(np.ones((4, 2)), np.eye(4)))


def test_the_matrices_hold_each_pair():
    rng = np.random.default_rng(3)
    parts = {"a": rng.normal(size=(20, 3)), "b": rng.normal(size=(20, 5)), "c": rng.normal(size=(20, 1))}
    matrix = cka_matrix(parts)
    for a in parts:
        for b in parts:
            assert matrix.loc[a, b] == pytest.approx(cka_by_gram_matrices(parts[a], parts[b]))
    answers = {"x": np.array([0, 0, 1, 1]), "y": np.array([0, 1, 1, 1]), "z": np.array([1, 1, 0, 0])}
    assert agreement_matrix(answers).to_numpy().tolist() == [[1, 0.75, 0], [0.75, 1, 0.25], [0, 0.25, 1]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.3])
def test_soft_targets_are_a_softmax_at_a_temperature(temperature):
    logits = 4 * np.random.default_rng(4).normal(size=(10, 2))
    found = soft_targets(logits.astype(np.float32), temperature)
    for row, (low, high) in zip(found, logits.astype(np.float32).astype(float), strict=True):
        parts = [math.exp(low / temperature), math.exp(high / temperature)]
        np.testing.assert_allclose(row, np.array(parts) / sum(parts), rtol=1e-12)
    bits = [-sum(p * math.log(p) for p in row) for row in found]
    np.testing.assert_allclose(entropy(found), bits)


def test_limits_of_the_temperature():
    logits = np.array([[0.0, 3.0], [1.0, 0.0], [-900.0, 900.0]])
    assert np.allclose(soft_targets(logits, 1e9), 0.5)
    np.testing.assert_allclose(soft_targets(logits, 1e-3), [[0, 1], [1, 0], [0, 1]], atol=1e-12)
    assert np.allclose(entropy(soft_targets(logits, 1e9)), math.log(2))
    assert entropy(soft_targets(logits, 1e-3)).max() == 0  # 0 · ln 0 is 0
    with pytest.raises(ValueError, match="temperature: expected a number above 0, got 0"):
        soft_targets(logits, 0)


def test_more_temperature_is_more_entropy_and_never_another_answer():
    logits = np.random.default_rng(5).normal(size=(50, 2))
    rising = np.array([entropy(soft_targets(logits, t)) for t in (0.3, 1, 2, 9)])
    assert (np.diff(rising, axis=0) > 0).all()
    assert ((soft_targets(logits, 9)[:, 1] > 0.5) == (soft_targets(logits, 0.3)[:, 1] > 0.5)).all()


def test_guides_speaking_by_hand():
    kept = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]], bool)
    speaking = guides_speaking(kept, 0.25)
    assert speaking["observed"].tolist() == [0.25, 0.25, 0.25, 0.25]
    q, r = 0.75, 0.25
    np.testing.assert_allclose(speaking["expected"], [r**3, 3 * r**2 * q, 3 * r * q**2, q**3])
    assert guides_speaking(kept, 0.0)["expected"].tolist() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"kept: expected shape \(n_steps, n_guides\)"):
        guides_speaking(np.zeros((0, 3), bool), 0.5)


def test_answers_of_a_chain_on_a_part():
    rng = np.random.default_rng(6)
    names = ("teacher", "assistant 1", "student")
    logits = {name: rng.normal(size=(12, 2)) for name in names}
    labels = rng.integers(0, 2, 12)
    chain = ChainAnswers(
        logits,
        {name: rng.normal(size=(12, 3)) for name in names},
        labels,
        {"train": np.arange(7), "test_trial": np.arange(7, 12)},
        pd.DataFrame({"subject": 1, "trial": np.arange(12), "window": 0}),
    )
    assert chain.guides == ["teacher", "assistant 1"]
    agreement = chain.agreement("test_trial")
    for name in names:
        right = [(logits[name][i, 1] > logits[name][i, 0]) == labels[i] for i in range(7, 12)]
        assert agreement.loc["labels", name] == pytest.approx(np.mean(right))
        true = [math.exp(logits[name][i, labels[i]] / 2) / np.exp(logits[name][i] / 2).sum() for i in range(7, 12)]
        np.testing.assert_allclose(chain.true_class(name, "test_trial", 2.0), true)
    wanted = cka_by_gram_matrices(chain.embeddings["teacher"][:7], labels[:7, None].astype(float))
    assert chain.cka("train").loc["teacher", "labels"] == pytest.approx(wanted)
    assert 0 < chain.chance_cka("train", np.random.default_rng(0)) < 1
    with pytest.raises(ValueError, match="part: expected one of train, test_trial, got 'test'"):
        chain.rows("test")


def test_shuffled_windows_lose_a_perfect_relation():
    x = np.random.default_rng(7).normal(size=(2000, 4))
    index = pd.DataFrame({"subject": 1, "trial": 1, "window": np.arange(2000)})
    chain = ChainAnswers({}, {"a": x, "b": x}, np.zeros(2000, int), {"train": np.arange(2000)}, index)
    assert linear_cka(x, x) == pytest.approx(1)
    assert chain.chance_cka("train", np.random.default_rng(0)) < 0.02
