"""Quality of hand-made guides, against loops and closed forms."""

import math

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.results.guides import QUALITIES, guide_quality, mean_quality

PARTS = {"train": np.array([0, 1, 2, 4]), "val": np.array([3]), "test_trial": np.array([5, 6, 7])}


def write(folder, logits, labels, posterior=()):
    folder.mkdir()
    arrays = {"logits": np.asarray(logits, np.float32), "labels": np.asarray(labels), "posterior": np.array(posterior)}
    np.savez(folder / "outputs.npz", **arrays, **PARTS)
    return folder


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    return 3 * rng.standard_normal((8, 2)), rng.integers(0, 2, 8), rng.uniform(0.1, 0.9, 8)


@pytest.mark.parametrize("part", list(PARTS)[::2])
def test_against_a_loop_in_double_precision(part, answers, tmp_path):
    logits, labels, posterior = answers
    labels[:] = [0, 1, 1, 0, 0, 1, 0, 1]
    row = guide_quality({"g": write(tmp_path / "g", logits, labels, posterior)}, part).loc["g"]
    nll = entropy = right = 0.0
    high = []
    for i in PARTS[part]:
        low_logit, high_logit = (float(np.float32(value)) for value in logits[i])
        p = math.exp(high_logit) / (math.exp(low_logit) + math.exp(high_logit))
        nll -= math.log(p if labels[i] else 1 - p)
        entropy -= p * math.log(p) + (1 - p) * math.log(1 - p)
        right += (p > 0.5) == bool(labels[i])
        high.append(p)
    n = len(PARTS[part])
    assert np.allclose(row[["nll", "entropy", "agreement"]].astype(float), [nll / n, entropy / n, right / n])
    q, y = posterior[PARTS[part]], labels[PARTS[part]]
    for name, other in (("r_posterior", q), ("r_noise", y - q)):
        a, b = np.array(high) - np.mean(high), other - other.mean()
        assert row[name] == pytest.approx((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def test_a_guide_by_hand(tmp_path):
    nine_to_one = [[0.0, math.log(9)]] * 8
    row = guide_quality({"g": write(tmp_path / "g", nine_to_one, [1, 1, 1, 0, 0, 0, 0, 0])}).loc["g"]
    # Three of the four training windows are high: three times −ln 0.9, once −ln 0.1.
    assert row["nll"] == pytest.approx((3 * 0.1053605 + 2.3025851) / 4, abs=1e-6)
    assert row["entropy"] == pytest.approx(0.3250830, abs=1e-6)
    assert row["agreement"] == 0.75
    assert np.isnan(row[["r_posterior", "r_noise"]].astype(float)).all()  # no truth is stored


def test_the_truth_knows_the_posterior_and_a_memory_the_noise(tmp_path):
    rng = np.random.default_rng(1)
    posterior = rng.uniform(0.05, 0.95, 8)
    labels = np.array([0, 1, 1, 0, 1, 1, 0, 1])
    truth = np.stack([np.log(1 - posterior), np.log(posterior)], axis=1)
    memory = np.where(labels[:, None] == [0, 1], 8.0, -8.0)
    folders = {
        "truth": write(tmp_path / "t", truth, labels, posterior),
        "memory": write(tmp_path / "m", memory, labels, posterior),
    }
    table = guide_quality(folders)
    assert list(table.index) == ["truth", "memory"]
    assert tuple(table.columns) == QUALITIES
    assert table.loc["truth", "r_posterior"] == pytest.approx(1, abs=1e-6)
    assert table.loc["memory", "nll"] < 1e-6 < table.loc["truth", "nll"]
    assert table.loc["memory", "agreement"] == 1
    rows = PARTS["train"]
    hard = np.corrcoef(labels[rows], labels[rows] - posterior[rows])[0, 1]
    assert table.loc["memory", "r_noise"] == pytest.approx(hard, abs=1e-6)


def test_certain_answers_are_finite_and_a_tie_is_low(tmp_path):
    certain = [[0.0, 900.0], [900.0, 0.0], [0.0, 900.0], [0, 0], [0.0, 0.0], [0, 0], [0, 0], [0, 0]]
    row = guide_quality({"g": write(tmp_path / "g", certain, [1, 0, 0, 0, 0, 0, 0, 0])}).loc["g"]
    assert row["nll"] == pytest.approx((900 + math.log(2)) / 4)
    assert row["entropy"] == pytest.approx(math.log(2) / 4)
    assert row["agreement"] == 0.75


def test_an_unknown_part_is_named_with_those_there_are(tmp_path):
    folder = write(tmp_path / "g", np.zeros((8, 2)), np.zeros(8, int))
    with pytest.raises(ValueError, match=r"g has no part 'test_subject'; it has train, val, test_trial"):
        guide_quality({"g": folder}, "test_subject")


def test_means_and_spreads_of_many_guides_by_hand():
    rows = [
        {"guide": guide, "dataset": dataset, "target": "valence", "seed": seed, "fold": 0, "part": part}
        | {name: value + seed for name in QUALITIES}
        for dataset in ("mahnob", "deap")
        for seed in (0, 1)
        for guide, value in (("oracle", 5.0), ("fusion_rebalanced", 1.0))
        for part in ("train", "test_trial")
    ]
    table = mean_quality(pd.DataFrame(rows))
    assert table["guide"].tolist() == ["fusion_rebalanced", "oracle"] * 4  # teachers first
    assert table["dataset"].tolist() == ["mahnob"] * 4 + ["deap"] * 4
    assert table["part"].tolist() == (["train"] * 2 + ["test_trial"] * 2) * 2
    assert (table["n"] == 2).all() and table["nll"].tolist() == [1.5, 5.5] * 4
    assert table["r_noise_sd"].tolist() == pytest.approx([0.5**0.5] * 8)
