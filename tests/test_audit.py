"""The leakage audit: silent on honest splits, and every planted leak is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_protocols import INDEX, LABELS

from cdgkd_utils.data.splits.audit import NOT_VISIBLE, audit, forbid_leaks
from cdgkd_utils.data.splits.audit_findings import MEANING
from cdgkd_utils.data.splits.protocols import PROTOCOLS, median_labels, protocol_folds
from cdgkd_utils.data.splits.split import LeakError, make_split

TRIAL = protocol_folds(INDEX, LABELS, "trial", n_folds=4)[0]
SUBJECT = protocol_folds(INDEX, LABELS, "subject", n_folds=4)[0]


def leaks(report):
    return set(report.loc[report["kind"] == "leak", "leak"])


def notes(report):
    return set(report.loc[report["kind"] == "note", "leak"])


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "window"])
@pytest.mark.parametrize("seed", range(3))
def test_honest_protocols_have_no_leak(protocol, seed):
    for fold in protocol_folds(INDEX, LABELS, protocol, n_folds=4, seed=seed):
        labels, _ = median_labels(INDEX, fold.train, "valence")
        everything = {"normaliser": fold.train, "median": fold.train}
        report = audit(
            INDEX, fold, labels, target="valence", fitted_on=everything, guides={"teacher": [*fold.train, *fold.val]}
        )
        assert not leaks(report), report
        forbid_leaks(report)
        # What limits the claim is still said: subjects or stimuli that both parts know.
        known = {
            "subject": {"stimulus"},
            "loso": {"stimulus"},
            "trial": {"subject", "stimulus"},
            "stimulus": {"subject"},
        }
        assert notes(report) - {"subject tells the label"} == {f"{n} in train and test" for n in known[protocol]}


def test_the_projects_own_split_has_no_leak():
    assert not leaks(audit(INDEX, make_split(INDEX, LABELS, fold=1, seed=0), LABELS, target="valence"))


def moved(fold, source, target, rows):
    """The parts of a fold after some rows of one part were put into another one."""
    parts = fold.parts()
    return parts | {source: np.setdiff1d(parts[source], rows), target: np.append(parts[target], rows)}


def test_one_window_of_a_test_trial_in_train():
    report = audit(INDEX, moved(TRIAL, "test", "train", TRIAL.test[:1]), protocol="trial")
    assert leaks(report) == {"trial in two parts"}
    found = report[report["kind"] == "leak"].iloc[0]
    subject, trial = INDEX.loc[TRIAL.test[0], ["subject", "trial"]]
    assert (found["parts"], found["count"], found["example"]) == ("train / test", 1, f"({subject}, {trial})")
    with pytest.raises(LeakError, match="trial in two parts"):
        forbid_leaks(report)


def test_the_window_protocol_is_caught_in_every_pair_of_parts():
    fold = protocol_folds(INDEX, LABELS, "window", allow_leak=True)[0]
    report = audit(INDEX, fold)
    pairs = report.loc[report["leak"] == "trial in two parts", "parts"]
    assert set(pairs) == {"train / val", "train / test", "val / test"}


def test_same_window_in_two_parts_twice_in_one_and_outside():
    parts = TRIAL.parts()
    row = parts["test"][0]
    report = audit(INDEX, parts | {"train": np.append(parts["train"], row)})
    assert leaks(report) == {"row in two parts", "trial in two parts"}
    report = audit(INDEX, parts | {"val": np.append(parts["val"], parts["val"][3])})
    assert leaks(report) == {"row twice in a part"} and report["example"].iloc[0] == str(parts["val"][3])
    report = audit(INDEX, parts | {"val": np.append(parts["val"], [len(INDEX), -1])})
    assert leaks(report) == {"row outside the index"} and report["count"].iloc[0] == 2


def test_a_duplicated_window_of_the_index():
    index = pd.concat([INDEX, INDEX.iloc[[5]]], ignore_index=True)
    assert leaks(audit(index, TRIAL)) == {"duplicated window"}


def test_overlapping_windows_are_counted_by_samples():
    index = pd.DataFrame({"subject": 1, "trial": 1, "window": range(4)})
    parts = {"train": [0, 1], "val": [], "test": [2, 3]}
    touching = audit(index, parts, starts=np.array([0, 512, 1024, 1536]))
    assert "overlapping windows" not in leaks(touching)  # sharing the trial is the leak there
    half = audit(index, parts, starts=np.array([0, 256, 512, 768]))
    found = half[half["leak"] == "overlapping windows"].iloc[0]
    assert (found["parts"], found["count"], found["example"]) == ("train / test", 1, "rows 1 and 2")
    dense = audit(index, parts, starts=np.array([0, 128, 256, 384]))
    assert dense.set_index("leak").loc["overlapping windows", "count"] == 4
    # With the same starts in different trials nothing overlaps.
    assert not leaks(audit(index.assign(trial=range(4)), parts, starts=np.zeros(4)))


def test_a_known_subject_is_a_leak_only_where_new_people_are_claimed():
    assert "subject in train and test" in notes(audit(INDEX, TRIAL))
    trials = INDEX.loc[SUBJECT.test, ["subject", "trial"]]
    whole = SUBJECT.test[(trials == trials.iloc[0]).all(axis=1)]
    parts = moved(SUBJECT, "test", "train", whole)
    assert leaks(audit(INDEX, parts, protocol="subject")) == {"subject in train and test"}
    assert leaks(audit(INDEX, parts, protocol="trial")) == set()
    named = {"train": parts["train"], "val": parts["val"], "test_subject": parts["test"]}
    assert leaks(audit(INDEX, named)) == {"subject in train and test"}


def test_a_shared_stimulus_is_reported_and_forbidden_only_by_its_protocol():
    assert "stimulus in train and test" in notes(audit(INDEX, SUBJECT))
    assert leaks(audit(INDEX, TRIAL.parts(), protocol="stimulus")) == {"stimulus in train and test"}


def test_whatever_is_fitted_outside_train_is_named_with_where_it_looked():
    everything = np.arange(len(INDEX))
    fitted = {"normaliser": everything, "median threshold": [*TRIAL.train, TRIAL.val[0]], "pca": TRIAL.train}
    report = audit(INDEX, TRIAL, fitted_on=fitted)
    found = report[report["leak"] == "fitted outside train"].set_index("parts")["count"]
    assert found.to_dict() == {
        "normaliser / val / test": len(TRIAL.val) + len(TRIAL.test),
        "median threshold / val": 1,
    }


def test_medians_of_all_trials_are_seen_in_the_labels_themselves():
    ratings = INDEX.drop_duplicates(["subject", "trial"]).groupby("subject")["valence"].median()
    labels = (INDEX["valence"] > INDEX["subject"].map(ratings)).to_numpy().astype(int)
    report = audit(INDEX, TRIAL, labels, target="valence")
    found = report.set_index("leak").loc["labels from all trials"]
    honest = median_labels(INDEX, TRIAL.train, "valence")[0]
    differing = set(INDEX["subject"][honest != labels])
    assert len(differing) > 2 and found["count"] == len(differing)
    report = audit(INDEX, SUBJECT, labels, target="valence")  # here the medians of unseen people give it away
    assert report.set_index("leak").loc["labels from all trials", "count"] <= 2
    for border in (4.0, 5.0, 6.5):
        fixed = (INDEX["valence"] > border).to_numpy().astype(int)
        assert "labels from all trials" not in leaks(audit(INDEX, TRIAL, fixed, target="valence"))


def test_labels_that_change_within_a_trial():
    labels = LABELS.copy()
    labels[4] = 1 - labels[4]
    report = audit(INDEX, TRIAL, labels)
    assert leaks(report) == {"label varies within a trial"}
    assert report.set_index("leak").loc["label varies within a trial", "example"] == "(1, 2)"


def test_selection_on_the_test_part_and_no_validation_at_all():
    report = audit(INDEX, TRIAL, selected_on=TRIAL.test)
    assert leaks(report) == {"validation used as test"}
    assert report.set_index("leak").loc["validation used as test", "count"] == len(TRIAL.test)
    parts = TRIAL.parts() | {"val": TRIAL.test}
    assert {"validation used as test", "row in two parts"} <= leaks(audit(INDEX, parts))
    assert "no validation part" in notes(audit(INDEX, {"train": TRIAL.train, "test": TRIAL.test}))


def test_a_guide_of_another_fold_saw_the_students_test_units():
    other = protocol_folds(INDEX, LABELS, "trial", n_folds=4)[1]
    report = audit(INDEX, TRIAL, guides={"teacher": TRIAL.train, "ta1": other.train})
    found = report[report["leak"] == "guide saw the test"]
    assert found["parts"].tolist() == ["ta1 / test"]
    shared = np.intersect1d(other.train, TRIAL.test)
    assert found["count"].item() == len(INDEX.iloc[shared].drop_duplicates(["subject", "trial"]))


def test_a_guide_that_knows_the_test_person_from_other_trials():
    # Trained elsewhere, on a trial that this index does not even hold.
    person = int(INDEX.loc[SUBJECT.test[0], "subject"])
    elsewhere = pd.DataFrame({"subject": [person], "trial": [99]})
    report = audit(INDEX, SUBJECT, guides={"teacher": elsewhere})
    assert report.set_index("leak").loc["guide saw the test", "example"] == f"subject {person}"
    assert not leaks(audit(INDEX, TRIAL, guides={"teacher": elsewhere}))
    with pytest.raises(ValueError, match="'teacher' needs the columns"):
        audit(INDEX, SUBJECT, guides={"teacher": elsewhere[["trial"]]})


def test_subjects_that_rate_one_way_are_noted():
    labels = (INDEX["subject"] <= 3).to_numpy().astype(int)
    report = audit(INDEX, TRIAL, labels).set_index("leak")
    assert report.loc["subject tells the label", "kind"] == "note"
    assert report.loc["subject tells the label", "count"] == 100
    assert "subject tells the label" not in notes(audit(INDEX, SUBJECT, labels))  # unknown people tell nothing


def test_boolean_parts_and_lists_mean_the_same():
    parts = {name: np.isin(np.arange(len(INDEX)), rows) for name, rows in TRIAL.parts().items()}
    pd.testing.assert_frame_equal(audit(INDEX, parts), audit(INDEX, {n: r.tolist() for n, r in TRIAL.parts().items()}))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": LABELS[1:]}, "labels"),
        ({"starts": np.zeros(3)}, "starts"),
        ({"target": "joy"}, "target"),
        ({"index": INDEX[["subject"]]}, "column trial missing"),
    ],
)
def test_wrong_arguments_are_said(arguments, said):
    with pytest.raises(ValueError, match=said):
        audit(**({"index": INDEX, "split": TRIAL} | arguments))


def test_every_leak_that_can_be_said_is_planted_above():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in MEANING if f'"{name}"' not in source and "in train and test" not in name] == []
    assert len(NOT_VISIBLE) == 4
