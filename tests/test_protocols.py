"""Protocols by name: what is held out is whole, is held out once, and a leak needs to be asked for."""

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.splits.protocols import PROTOCOLS, describe_folds, median_labels, protocol_folds
from cdgkd_utils.data.splits.split import trial_ids


def make_index(n_subjects=7, n_trials=12, n_windows=3):
    """Everybody sees every stimulus, but in a trial of another number."""
    grid = np.stack(np.meshgrid(range(1, n_subjects + 1), range(1, n_trials + 1), range(n_windows), indexing="ij"), -1)
    index = pd.DataFrame(grid.reshape(-1, 3), columns=["subject", "trial", "window"])
    index["stimulus"] = "stimulus-" + ((index["subject"] + index["trial"]) % n_trials).astype(str)
    rng = np.random.default_rng(1)
    for target in ("valence", "arousal"):
        index[target] = rng.uniform(1, 9, n_subjects * n_trials)[trial_ids(index)]
    return index


INDEX = make_index()
LABELS = (INDEX["valence"] > 5).to_numpy().astype(int)
UNITS = {
    "subject": ["subject"],
    "loso": ["subject"],
    "trial": ["subject", "trial"],
    "stimulus": ["stimulus"],
    "window": ["subject", "trial", "window"],
}


def units(rows, names):
    return set(INDEX.iloc[rows][names].itertuples(index=False, name=None))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_units_are_whole_in_one_part_and_every_row_is_tested_once(protocol, seed):
    folds = protocol_folds(INDEX, LABELS, protocol, n_folds=4, seed=seed, allow_leak=True)
    assert len(folds) == (7 if protocol == "loso" else 4)
    for number, fold in enumerate(folds):
        assert (fold.number, fold.protocol) == (number, protocol)
        train, val, test = fold
        assert len(train) and len(val) and len(test) and len(train) > len(val)
        assert sorted([*train, *val, *test]) == list(range(len(INDEX)))
        held = [units(part, UNITS[protocol]) for part in fold]
        assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
        if protocol != "window":
            held = [units(part, ["subject", "trial"]) for part in fold]
            assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(INDEX)))


def test_loso_leaves_out_one_subject_after_the_other():
    folds = protocol_folds(INDEX, LABELS, "loso")
    assert [units(fold.test, ["subject"]) for fold in folds] == [{(s,)} for s in range(1, 8)]


def test_trial_holds_out_trials_of_every_subject_so_that_a_model_per_person_can_be_fitted():
    few = INDEX[~((INDEX["subject"] == 3) & (INDEX["trial"] > 4))].reset_index(drop=True)
    labels = np.where(few["subject"] == 2, 1, few["valence"] > 5).astype(int)  # one subject rates one way only
    for fold in protocol_folds(few, labels, "trial", n_folds=4, seed=2):
        for subject in range(1, 8):
            mine = fold.of_subject(few, subject)
            assert all(len(part) for part in mine)
            assert set(few["subject"].iloc[np.concatenate(list(mine))]) == {subject}


def test_trial_is_stratified_within_each_subject():
    index = make_index(3, 20)
    labels = (index["trial"] <= 10).to_numpy().astype(int)
    for fold in protocol_folds(index, labels, "trial", n_folds=5, seed=3):
        for subject in (1, 2, 3):
            test = fold.of_subject(index, subject).test
            assert labels[test].sum() == 6 and len(test) == 12  # 2 of 4 trials, 3 windows each


def test_stimulus_shares_subjects_but_no_stimulus():
    for fold in protocol_folds(INDEX, LABELS, "stimulus", n_folds=3):
        assert units(fold.train, ["subject"]) == units(fold.test, ["subject"])
        assert not units(fold.train, ["stimulus"]) & units(fold.test, ["stimulus"])


def test_window_needs_a_flag_and_is_labelled_wherever_it_appears():
    with pytest.raises(ValueError, match="allow_leak=True"):
        protocol_folds(INDEX, LABELS, "window")
    folds = protocol_folds(INDEX, LABELS, "window", allow_leak=True)
    assert all(fold.leaky and fold.label == "window (LEAKY)" for fold in folds)
    assert "window (LEAKY)" in describe_folds(folds, INDEX, LABELS).index.get_level_values("protocol")
    shared = units(folds[0].train, ["subject", "trial"]) & units(folds[0].test, ["subject", "trial"])
    assert len(shared) > 20
    honest = protocol_folds(INDEX, LABELS, "trial", allow_leak=True)  # the flag changes nothing else
    assert not any(fold.leaky or "LEAKY" in fold.label for fold in honest)


def test_same_seed_same_folds():
    one, same, other = (protocol_folds(INDEX, LABELS, "trial", seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.train, b.train) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a.train, b.train) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("index", "protocol", "n_folds", "said"),
    [
        (INDEX, "session", 3, "one of subject, loso"),
        (INDEX, "subject", 8, "8 folds of 7 subjects"),
        (INDEX, "trial", 13, "13 folds of 12 trials"),
        (INDEX, "subject", 1, "2 folds or more"),
        (INDEX.assign(stimulus="unknown"), "stimulus", 3, "1 stimulus"),
        (INDEX.drop(columns="stimulus"), "stimulus", 3, "column 'stimulus'"),
        (INDEX[INDEX["subject"] < 3], "loso", 3, "at least 3 units"),
    ],
)
def test_an_impossible_wish_is_said(index, protocol, n_folds, said):
    with pytest.raises(ValueError, match=said):
        protocol_folds(index, np.zeros(len(index), int), protocol, n_folds=n_folds)


def test_labels_of_another_index_are_refused():
    with pytest.raises(ValueError, match="one per row"):
        protocol_folds(INDEX, LABELS[:-1], "trial")


def test_medians_come_from_training_trials_alone_one_vote_per_trial():
    index = pd.DataFrame(
        {
            "subject": [1] * 6 + [2] * 3 + [3] * 2,
            # subject 1: trial 1 has three windows, and must count once
            "trial": [1, 1, 1, 2, 3, 4, 1, 2, 3, 1, 2],
            "valence": [2.0, 2, 2, 4, 6, 9, 7, 8, 9, 1, 9],
        }
    )
    train = np.array([0, 1, 2, 3, 4, 6, 7])  # 2, 4, 6 of subject 1; 7, 8 of subject 2; none of subject 3
    labels, thresholds = median_labels(index, train, "valence")
    assert thresholds.to_dict() == {1: 4.0, 2: 7.5, 3: 5.75}
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1]  # 4.0 equals its threshold: low
    changed = index.copy()
    changed.loc[[5, 8, 9, 10], "valence"] = 1.5
    assert median_labels(changed, train, "valence")[1].equals(thresholds)
    with pytest.raises(ValueError, match="target"):
        median_labels(index, train, "liking")
    with pytest.raises(ValueError, match="no rows"):
        median_labels(index, train[:0], "valence")


def test_description_counts_what_is_there():
    table = describe_folds(protocol_folds(INDEX, LABELS, "subject", n_folds=7), INDEX, LABELS)
    assert (table.xs("test", level="part")[["windows", "trials", "subjects"]] == [36, 12, 1]).all(axis=None)
    assert (table.groupby("fold")["windows"].sum() == len(INDEX)).all()
    share = (table["high"] * table["windows"]).groupby("fold").sum() / len(INDEX)
    np.testing.assert_allclose(share, LABELS.mean())
