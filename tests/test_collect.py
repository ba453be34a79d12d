"""Scores of hand-made runs, worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.results.bootstrap import bootstrap_interval
from cdgkd_utils.results.collect import collect, high_probability, score_run, subject_scores
from cdgkd_utils.results.metrics import METRICS
from cdgkd_utils.results.tables import results_table

NAMES = {"profile": "smoke", "data": "hand-made"}

# Eleven windows of six trials: (subject, trial, label, logits, P(high | latent)). Trial 12 of subject 1 and
# trial 2 of subject 11 must not be taken for one, nor trial 5 of both.
WINDOWS = [
    (1, 1, 1, (0.0, 1.0), 0.9),  # 0 train
    (1, 1, 1, (0.0, 1.0), 0.9),  # 1 train
    (1, 12, 0, (2.0, 1.0), 0.1),  # 2 train
    (1, 3, 0, (0.0, 5.0), 0.2),  # 3 val: scored nowhere
    (1, 5, 1, (0.0, 3.0), 0.8),  # 4 unseen trial, right
    (1, 5, 1, (3.0, 0.0), 0.8),  # 5 unseen trial, wrong
    (11, 5, 0, (1.0, -1.0), 0.3),  # 6 unseen trial, right
    (11, 5, 0, (1.0, 1.0), 0.3),  # 7 unseen trial, a tie counts as low: right
    (11, 2, 1, (1.0, 0.5), 0.6),  # 8 train
    (2, 1, 0, (0.0, 0.1), 0.4),  # 9 unseen subject, wrong
    (2, 1, 0, (0.0, 900.0), 0.4),  # 10 unseen subject, wrong
]
PARTS = {"train": [0, 1, 2, 8], "val": [3], "test_trial": [4, 5, 6, 7], "test_subject": [9, 10]}
S3, S2, S01 = (1 / (1 + np.exp(-z)) for z in (-3.0, -2.0, np.float32(0.1)))
EXPECTED = {
    # predicted 1 0 0 0 for labels 1 1 0 0: recalls 1/2 and 1; F1 of high 2/3, of low 4/5;
    # P(prediction | latent) 0.8, 0.2, 0.7, 0.7. AUC: P(high) is s(3), s(-3) against s(-2), s(0): 2 of 4 pairs.
    # Trial 1/5 means 1/2, a tie, so low and wrong; trial 11/5 means under 1/2, right.
    # Each window has its own bin: |p - label| is s(-3), s(3), s(-2), s(0), where s(-3) + s(3) = 1.
    "trial": {
        "accuracy": 0.75,
        "balanced_accuracy": 0.75,
        "macro_f1": (2 / 3 + 4 / 5) / 2,
        "auc": 0.5,
        "vote_accuracy": 0.5,
        "vote_balanced_accuracy": 0.5,
        "worst_subject": np.nan,
        "ece": (1 + S2 + 0.5) / 4,
        "ece_mass": (1 + S2 + 0.5) / 4,
        "brier": (S3**2 + (1 - S3) ** 2 + S2**2 + 0.25) / 4,
        "majority": 0.5,
        "expected_accuracy": 0.6,
    },
    # One class only, one trial, two windows at s(0.1) and 1.
    "subject": {
        "accuracy": 0.0,
        "balanced_accuracy": np.nan,
        "macro_f1": np.nan,
        "auc": np.nan,
        "vote_accuracy": 0.0,
        "vote_balanced_accuracy": np.nan,
        "worst_subject": np.nan,
        "ece": (S01 + 1) / 2,
        "ece_mass": (S01 + 1) / 2,
        "brier": (S01**2 + 1) / 2,
        "majority": 1.0,
        "expected_accuracy": 0.4,
    },
}


def write_run(folder, *, name="ce", table=1, target="valence", fold=0, posterior=True):
    subject, trial, labels, logits, truth = (np.array(column) for column in zip(*WINDOWS, strict=True))
    folder.mkdir(parents=True)
    spec = {"recipe": {"name": name, "row": "", "table": table}, "target": target, "fold": fold, "seed": 0}
    (folder / "spec.json").write_text(json.dumps(spec))
    np.savez(
        folder / "outputs.npz",
        logits=logits.astype(np.float32),
        kept=np.zeros((0, 0), bool),
        subject=subject,
        trial=trial,
        labels=labels,
        posterior=truth if posterior else np.zeros(0),
        **{part: np.array(rows) for part, rows in PARTS.items()},
    )
    return folder


def test_probability_of_high_by_hand():
    logits = np.array([[0.0, 0.0], [0.0, np.log(3.0)], [np.log(3.0), 0.0], [5.0, 5.0 + np.log(9.0)]])
    assert np.allclose(high_probability(logits), [0.5, 0.75, 0.25, 0.9], rtol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_neither_overflow_nor_leave_0_to_1(dtype):
    large = {np.float32: np.finfo(np.float32).max, np.float64: 1e300}[dtype]
    p = high_probability(np.array([[0, large], [large, 0], [-large, large], [large, -large], [0, 800]], dtype))
    assert p.dtype == float and np.allclose(p, [1, 0, 1, 0, 1], atol=1e-200)
    assert ((p >= 0) & (p <= 1)).all()


def test_swapping_the_logits_gives_the_complement():
    logits = np.random.default_rng(0).normal(scale=5, size=(50, 2))
    assert np.allclose(high_probability(logits) + high_probability(logits[:, ::-1]), 1)


def test_scores_by_hand(tmp_path):
    rows = pd.DataFrame(score_run(write_run(tmp_path / "run", fold=2), repeat=4, dataset="deap", **NAMES))
    assert len(rows) == 2 * len(METRICS)
    for protocol, expected in EXPECTED.items():
        got = rows[rows["protocol"] == protocol].set_index("metric")["value"]
        assert got.to_dict() == pytest.approx(expected, nan_ok=True)
    constant = rows.drop(columns=["protocol", "metric", "value", "n_test"]).drop_duplicates()
    assert constant.to_dict("records") == [
        {
            "table": 1,
            "dataset": "deap",
            "target": "valence",
            "method": "ce",
            "repeat": 4,
            "fold": 2,
            "n_train": 3,  # trials 1/1, 1/12 and 11/2, not four windows
            "profile": "smoke",
            "data": "hand-made",
        }
    ]
    assert rows.groupby("protocol")["n_test"].unique().map(list).to_dict() == {"trial": [2], "subject": [1]}


def test_without_a_known_posterior_nothing_is_expected(tmp_path):
    rows = score_run(write_run(tmp_path / "run", posterior=False), repeat=0, dataset="deap", **NAMES)
    assert "expected_accuracy" not in {row["metric"] for row in rows}
    assert {row["value"] for row in rows if row["metric"] == "accuracy"} == {0.75, 0.0}


def test_a_run_with_broken_predictions_is_named(tmp_path):
    folder = write_run(tmp_path / "ce-1234")
    with np.load(folder / "outputs.npz") as outputs:
        stored = dict(outputs)
    stored["logits"][6] = np.nan
    np.savez(folder / "outputs.npz", **stored)
    with pytest.raises(ValueError, match=r"run ce-1234, test part 'trial': probability: .*delete it and run again"):
        collect([(0, folder)], **NAMES)


def test_accuracy_of_each_subject_by_hand(tmp_path):
    runs = [(3, write_run(tmp_path / "a", fold=1)), (4, write_run(tmp_path / "b", name="kd"))]
    frame = subject_scores(runs)
    mine = frame[frame["method"] == "ce"].drop(columns=["table", "target", "method"])
    assert mine.to_dict("records") == [
        {"protocol": "trial", "repeat": 3, "fold": 1, "subject": 1, "n_windows": 2, "accuracy": 0.5},
        {"protocol": "trial", "repeat": 3, "fold": 1, "subject": 11, "n_windows": 2, "accuracy": 1.0},
        {"protocol": "subject", "repeat": 3, "fold": 1, "subject": 2, "n_windows": 2, "accuracy": 0.0},
    ]
    assert len(frame) == 6 and subject_scores([]).columns.tolist() == frame.columns.tolist()


def test_the_weighted_mean_over_subjects_is_the_accuracy(tmp_path):
    run = [(0, write_run(tmp_path / "run"))]
    scores = collect(run, **NAMES).set_index(["protocol", "metric"])["value"]
    for protocol, people in subject_scores(run).groupby("protocol"):
        interval = bootstrap_interval(people["accuracy"], np.random.default_rng(0), weights=people["n_windows"])
        assert interval.mean == pytest.approx(scores[protocol, "accuracy"])
        assert interval.n == len(people)


def test_collect_leaves_assistants_out_and_orders_the_rest(tmp_path):
    runs = [
        (1, write_run(tmp_path / "a", name="kd", target="arousal")),
        (0, write_run(tmp_path / "b", name="kd", fold=1)),
        (0, write_run(tmp_path / "c", name="ta1", table=0)),
        (0, write_run(tmp_path / "d", name="kd", fold=0)),
        (0, write_run(tmp_path / "e", name="eeg", table=2)),
    ]
    frame = collect(runs, **NAMES)
    assert "ta1" not in set(frame["method"]) and set(frame["dataset"]) == {"deap"}
    accuracy = frame[(frame["metric"] == "accuracy") & (frame["protocol"] == "trial")]
    columns = ["table", "target", "method", "repeat", "fold"]
    assert accuracy[columns].to_records(index=False).tolist() == [
        (1, "valence", "kd", 0, 0),
        (1, "valence", "kd", 0, 1),
        (1, "arousal", "kd", 1, 0),
        (2, "valence", "eeg", 0, 0),
    ]
    assert frame.index.tolist() == list(range(len(frame)))
    assert collect(reversed(runs), **NAMES).equals(frame)


def test_what_is_collected_is_what_the_tables_take(tmp_path):
    runs = [(0, write_run(tmp_path / f"{fold}", fold=fold)) for fold in range(2)]
    table = results_table(collect(runs, **NAMES), 1, 2, "smoke", "hand-made", datasets=("deap",))
    cell = table.query("method == 'ce' and target == 'valence' and protocol == 'trial' and metric == 'accuracy'")
    assert cell[["mean", "sd", "n_runs"]].to_numpy().tolist() == [[75.0, 0.0, 2.0]]


def test_only_assistants_give_an_empty_table(tmp_path):
    assert collect([(0, write_run(tmp_path / "run", name="ta1", table=0))], **NAMES).empty


def test_no_runs_give_an_empty_table():
    assert collect([], **NAMES).empty
