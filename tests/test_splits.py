"""Splits: what is held out is whole and held out once for any seed, and a planted leak is named."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.splits import (
    PROTOCOLS,
    Fold,
    LeakError,
    SplitError,
    check_fold,
    labels_permuted_between_trials,
    leak_scores,
    make_folds,
    trial_ids,
)
from cdgkd_utils.data.types import Windows


def make_index(n_subjects=7, n_trials=12, n_windows=3):
    """Everybody sees every stimulus, but in a trial of another number."""
    grid = np.stack(np.meshgrid(range(1, n_subjects + 1), range(1, n_trials + 1), range(n_windows), indexing="ij"), -1)
    index = pd.DataFrame(grid.reshape(-1, 3), columns=["subject", "trial", "window"])
    index["stimulus"] = "stimulus-" + ((index["subject"] + index["trial"]) % n_trials).astype(str)
    return index


def trial_labels(index, seed=0, n_classes=2):
    trials = trial_ids(index)
    return np.random.default_rng(seed).integers(0, n_classes, trials.max() + 1)[trials]


INDEX = make_index()
LABELS = trial_labels(INDEX)
UNITS = {
    "trial+subject": ["subject", "trial"],
    "subject": ["subject"],
    "loso": ["subject"],
    "trial": ["subject", "trial"],
    "stimulus": ["stimulus"],
    "window": ["subject", "trial", "window"],
}


def units(rows, names, index=INDEX):
    return set(index.iloc[rows][names].itertuples(index=False, name=None))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_units_are_whole_in_one_part_and_every_row_is_tested_once(protocol, seed):
    labels = trial_labels(INDEX, seed)
    folds = make_folds(INDEX, labels, protocol, n_folds=4, seed=seed, allow_leak=True)
    assert len(folds) == {"loso": 7, "trial+subject": 3}.get(protocol, 4)
    for number, fold in enumerate(folds):
        assert (fold.number, fold.protocol) == (number, protocol)
        parts = list(fold.parts().values())
        assert all(len(part) for part in parts) and len(fold.train) > len(fold.val)
        assert sorted(np.concatenate(parts)) == list(range(len(INDEX)))
        for names in (UNITS[protocol], *([["subject", "trial"]] if protocol != "window" else [])):
            held = [units(part, names) for part in parts]
            assert sum(map(len, held)) == len(set().union(*held))
        certificate = check_fold(fold, INDEX, labels)
        assert list(certificate.index) == list(fold.parts()) and certificate["windows"].sum() == len(INDEX)
        assert (certificate["low"] + certificate["high"] == certificate["windows"]).all()
        assert (certificate["shared_trials"] > 0).any() == (protocol == "window")
    tested = np.concatenate([list(fold.tests().values())[-1] for fold in folds])
    assert sorted(tested) == list(range(len(INDEX)))


def test_who_is_held_out():
    for fold in make_folds(INDEX, LABELS, "trial+subject"):
        known, new = (set(INDEX["subject"].iloc[fold.rows[name]]) for name in ("test_trial", "test_subject"))
        assert known == set(INDEX["subject"].iloc[fold.train]) == set(INDEX["subject"].iloc[fold.val])
        assert known | new == set(range(1, 8)) and not known & new
    left_out = [units(fold.rows["test_loso"], ["subject"]) for fold in make_folds(INDEX, LABELS, "loso")]
    assert left_out == [{(s,)} for s in range(1, 8)]
    for fold in make_folds(INDEX, LABELS, "stimulus"):
        assert units(fold.train, ["subject"]) == units(fold.rows["test_stimulus"], ["subject"])
    few = INDEX[~((INDEX["subject"] == 3) & (INDEX["trial"] > 4))].reset_index(drop=True)
    labels = np.where(few["subject"] == 2, 1, trial_labels(few)).astype(int)  # one subject rates one way only
    for fold in make_folds(few, labels, "trial", n_folds=4, seed=2):
        assert all(set(few["subject"].iloc[part]) == set(range(1, 8)) for part in fold.parts().values())


@pytest.mark.parametrize(
    ("index", "protocol", "n_folds", "said"),
    [
        (INDEX, "session", 3, "one of trial"),
        (INDEX, "window", 3, "allow_leak=True"),
        (INDEX, "subject", 8, "8 folds of 7 subjects"),
        (INDEX, "trial", 13, "13 folds of 12 trials"),
        (INDEX, "subject", 1, "2 folds or more"),
        (INDEX.assign(stimulus="unknown"), "stimulus", 3, "1 stimulus"),
        (INDEX.drop(columns="stimulus"), "stimulus", 3, "column 'stimulus'"),
        (INDEX[INDEX["subject"] < 3], "loso", 3, "at least 3 units"),
        (INDEX[INDEX["subject"] < 3], "trial+subject", 3, "at least 3 subjects"),
        (INDEX[INDEX["trial"] < 2], "trial+subject", 3, "trials are too few"),
    ],
)
def test_an_impossible_wish_is_said(index, protocol, n_folds, said):
    with pytest.raises(SplitError, match=said):
        make_folds(index, np.zeros(len(index), int), protocol, n_folds=n_folds)
    with pytest.raises(SplitError, match="one per row"):
        make_folds(INDEX, LABELS[:-1], "trial")


def fold_of(protocol, number=0):
    return make_folds(INDEX, LABELS, protocol, n_folds=4, allow_leak=True)[number]


def moved(fold, rows, target):
    """The fold after some rows were put into another part."""
    parts = {name: np.setdiff1d(part, rows) for name, part in fold.parts().items()}
    return replace(fold, rows=parts | {target: np.append(parts[target], rows)})


def trial_of(row):
    mine = (INDEX[["subject", "trial"]] == INDEX.loc[row, ["subject", "trial"]]).all(axis=1)
    return np.flatnonzero(mine)


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "window"])
def test_one_window_of_a_test_trial_in_train_or_validation(protocol):
    fold = fold_of(protocol)
    row = list(fold.tests().values())[-1][:1]
    for part in ("train", "val"):
        with pytest.raises(LeakError, match=rf"1 trial\(s\) of {part} stand in test_\w+ too, such as \d+, \d+"):
            check_fold(moved(fold, row, part), INDEX, LABELS)


@pytest.mark.parametrize(
    ("protocol", "test", "unit"),
    [
        ("subject", "test_subject", "subject"),
        ("loso", "test_loso", "subject"),
        ("trial+subject", "test_subject", "subject"),
        ("stimulus", "test_stimulus", "stimulus"),
    ],
)
def test_what_claims_to_be_new_may_not_be_known(protocol, test, unit):
    """A whole trial moves into training: no trial is shared, its subject or stimulus is."""
    fold = fold_of(protocol)
    rows = trial_of(fold.rows[test][0])
    for part in ("train", "val"):
        with pytest.raises(LeakError, match=rf"1 {unit}\(s\) of {test} stand in {part} too"):
            check_fold(moved(fold, rows, part), INDEX)
    trial = fold_of("trial")
    check_fold(moved(trial, trial_of(trial.rows["test_trial"][0]), "train"), INDEX)  # there it is nobody's claim


def test_a_guide_that_saw_the_test_units():
    fold, other = fold_of("trial"), fold_of("trial", 1)
    check_fold(fold, INDEX, guides={"teacher": np.union1d(fold.train, fold.val)})
    with pytest.raises(LeakError, match="test_trial stand in what guide ta1 learned from"):
        check_fold(fold, INDEX, guides={"teacher": fold.train, "ta1": other.train})
    with pytest.raises(LeakError, match=r"1 trial\(s\) of test_trial"):  # another window of a trial that is tested
        check_fold(
            replace(fold, rows=fold.parts() | {"test_trial": fold.rows["test_trial"][1:]}),
            INDEX,
            guides={"ta1": fold.rows["test_trial"][:1]},
        )
    leaky = fold_of("window")
    with pytest.raises(LeakError, match=r"1 window\(s\)"):
        check_fold(leaky, INDEX, guides={"ta1": leaky.parts()["test_window (LEAKY)"][:1]})
    # One trained elsewhere, on a trial that this index does not even hold, knows the test person.
    new = fold_of("subject")
    elsewhere = pd.DataFrame({"subject": [int(INDEX.loc[new.rows["test_subject"][0], "subject"])], "trial": [99]})
    with pytest.raises(LeakError, match=r"1 subject\(s\) of test_subject stand in what guide old learned from"):
        check_fold(new, INDEX, guides={"old": elsewhere})
    check_fold(fold, INDEX, guides={"old": elsewhere})


def faces(within):
    """Faces with a fingerprint per trial and `within` sd of noise per window; labels are pure chance."""
    rng, index = np.random.default_rng(0), make_index(9, 20, 4)
    fingerprint = rng.normal(size=(180, 1, 768))[trial_ids(index)]
    video = fingerprint + within * rng.normal(size=(len(index), 5, 768))
    eeg, mask = np.zeros((len(index), 28, 512), np.float32), np.ones((len(index), 5), bool)
    return Windows(eeg, video.astype(np.float32), mask, index), trial_labels(index)


def test_with_trial_fingerprints_a_window_split_scores_everything_and_honest_splits_chance():
    windows, labels = faces(0.1)
    table, folds = leak_scores(windows, {"true": labels}, seed=0)
    accuracy = table.groupby("protocol")["accuracy"].mean()
    assert accuracy["window"] > 0.95 and 0.3 < accuracy["trial"] < 0.7 and 0.3 < accuracy["subject"] < 0.7
    same = table.groupby("protocol")["same_trial"].mean()
    assert (
        same["window"] > 0.9 and same["trial"] == same["subject"] == 0 and list(folds) == ["window", "trial", "subject"]
    )
    windows.video[:] = np.random.default_rng(1).normal(size=windows.video.shape)  # no fingerprint, nothing to find
    table, _ = leak_scores(windows, {"true": labels}, seed=0)
    assert abs(table.groupby("protocol")["accuracy"].mean()["window"] - 0.5) < 0.08


def test_permuted_labels_keep_counts_and_trials_and_lose_their_place():
    windows, labels = faces(0.1)
    new = labels_permuted_between_trials(windows, labels, np.random.default_rng(0))
    frame = windows.index.assign(old=labels, new=new)
    assert (frame.groupby(["subject", "trial"])["new"].nunique() == 1).all()
    sums = frame.groupby("subject")[["old", "new"]].sum()
    assert (sums["old"] == sums["new"]).all() and (labels != new).mean() > 0.3


def test_other_faults_of_a_fold_are_named_too():
    fold, labels = fold_of("trial"), LABELS.copy()
    for row, said in ((fold.train[0], "1 windows stand in two parts"), (len(INDEX), "outside"), (-1, "outside")):
        with pytest.raises(LeakError, match=said):
            check_fold(replace(fold, rows=fold.parts() | {"val": np.append(fold.val, row)}), INDEX)
    with pytest.raises(LeakError, match=r"trial\(s\) of train stand in val too"):
        check_fold(Fold("trial", 0, fold_of("window").parts()), INDEX)  # an honest name
    with pytest.raises(LeakError, match="the threshold: fitted on 1 windows outside"):
        check_fold(fold, INDEX, fitted_on={"scales": fold.train, "the threshold": [*fold.train, fold.val[0]]})
    labels[4] = 1 - labels[4]
    with pytest.raises(LeakError, match="vary within 1 trials"):
        check_fold(fold, INDEX, labels)
    ten = trial_labels(INDEX, n_classes=10)
    assert check_fold(fold, INDEX, ten).loc["train", "class 7"] == (ten[fold.train] == 7).sum()
    lonely = (INDEX["subject"] == 4).to_numpy().astype(int)  # the fold that holds out subject 4 cannot be trained
    with pytest.raises(SplitError, match=r"fold 3 of protocol loso: all \d+ training windows"):
        make_folds(INDEX, lonely, "loso")
