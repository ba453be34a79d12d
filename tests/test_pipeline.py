"""Every row of both tables, through the whole pipeline: learns what can be learned, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows, relabelled
from scipy.stats import binom

from cdgkd_utils.data.splits import labels_permuted_between_trials, trial_ids
from cdgkd_utils.experiments import runs
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER, table_recipes
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.models import n_parameters

ROWS = (*table_recipes(2), *table_recipes(1))
# Rows, or the halves of rows that are fused late, whose network or machine has EEG to read.
EEG_READERS = ("eeg_svm", "eeg_lstm", *(name for name in table_recipes(2) if name != "video"))
LEVEL = 0.999  # of one row's interval; all rows train on the same windows, so they do not err independently
# Steps that suffice for a tenth of the data: the default ones are made for thousands of windows.
FASTER = {"learning_rate": 0.01, "batch_size": 32}
# SGD cannot train the EEG half of DGC+JCA beside video noise that 3840 inputs of each window let it learn by heart.
ADAM = {"learning_rate": 0.003, "batch_size": 32, "optimizer": "adam"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Experiments by name, each made when first asked for: its networks are trained once for all tests."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("planted")))

        def experiment(name):
            if name not in made:
                made[name] = Experiment(planted_study(patch, WORLDS[name](), **PROTOCOL.get(name, {})), "valence", 0)
            patch.setitem(runs.FAMILY_TRAINING, "compact", ADAM if name == "eeg only" else FASTER)
            return made[name]

        yield experiment


def shuffled():
    windows = planted_windows()
    labels = labels_permuted_between_trials(windows, windows.labels("valence"), np.random.default_rng(0))
    return relabelled(windows, labels)


WORLDS = {
    "both": planted_windows,
    "eeg only": lambda: planted_windows(video=0.0),
    "shuffled": shuffled,
    "shuffled, leaky": shuffled,
}
PROTOCOL = {"shuffled, leaky": {"protocol": "window", "allow_leak": True}}


def balanced_accuracy(experiment, record, rows):
    labels = experiment.study.labels("valence")[rows]
    right = record.logits[rows].argmax(axis=1) == labels
    return np.mean([right[labels == k].mean() for k in (0, 1)])


def right_trials(experiment, record, rows):
    """How many trials are decided rightly by their windows' mean probability, and of how many."""
    labels, trials = experiment.study.labels("valence"), trial_ids(experiment.study.windows.index)
    high = torch.from_numpy(record.logits).softmax(dim=1)[:, 1].numpy()
    tested = np.unique(trials[rows])
    decided = [rows[trials[rows] == trial] for trial in tested]
    return sum((high[part].mean() > 0.5) == labels[part[0]] for part in decided), len(tested)


# ---- what is there to be learned is learned ----------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_every_row_learns_a_planted_signal(name, world):
    experiment = world("both")
    record = experiment.run(name)
    for part in (experiment.split.rows["test_trial"], experiment.split.rows["test_subject"]):
        assert balanced_accuracy(experiment, record, part) > 0.8


@pytest.mark.parametrize("name", EEG_READERS)
def test_every_row_with_eeg_reads_it(name, world):
    """The face tells nothing here: a row whose EEG does not reach its network has nothing to learn from."""
    experiment = world("eeg only")
    record = experiment.run(name)
    for part in (experiment.split.rows["test_trial"], experiment.split.rows["test_subject"]):
        assert balanced_accuracy(experiment, record, part) > 0.8


@pytest.mark.parametrize("name", ["video", "cdgkd", "fitnets", "ambokd"])
def test_a_network_without_eeg_learns_nothing_from_a_guide_that_has_it(name, world):
    """The planted EEG is in the guide's logits and embeddings on training windows, not in the student's input."""
    experiment = world("eeg only")
    assert is_chance(experiment, experiment.run(name))


# ---- where there is nothing, nothing is learned ------------------------------------------------


def is_chance(experiment, record):
    """Whether the number of rightly decided test trials is in the binomial interval of guessing."""
    tested = [rows for name, rows in experiment.split.tests().items()]
    right, n = right_trials(experiment, record, np.concatenate(tested))
    low, high = binom.interval(LEVEL, n, 0.5)
    return low <= right <= high


@pytest.mark.parametrize("name", ROWS)
def test_no_row_beats_chance_on_shuffled_labels(name, world):
    """Signals and fingerprints of trials are in the windows, the labels are dealt anew to each subject's trials."""
    experiment = world("shuffled")
    assert is_chance(experiment, experiment.run(name))


@pytest.mark.parametrize("name", ["video", "cnn_svm", "kd_last"])
def test_the_same_measure_trips_on_a_leak(name, world):
    """The fingerprint of a trial is in its other window, which the leaky protocol puts into the training part."""
    experiment = world("shuffled, leaky")
    assert not is_chance(experiment, experiment.run(name))


# ---- the paper's networks ----------------------------------------------------------------------

PUBLISHED_STUDENT = 1_184_531  # by the released code


def test_the_papers_networks_run_through_the_pipeline_and_its_chain_gets_smaller(tmp_path, monkeypatch):
    """One epoch of each on a handful of windows."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    monkeypatch.setitem(runs.FAMILY_TRAINING, "reference", runs.FAMILY_TRAINING["reference"] | {"batch_size": 8})
    few = replace(PLANTED, name="few", teacher_epochs=1, student_epochs=1)
    reference = Experiment(planted_study(monkeypatch, planted_windows(3, 10, 1), few, family="reference"), "valence", 0)
    records = {name: reference.run(name) for name in (TEACHER, "ta1", "ta2_dense", "dense", "fitnets", "nst", "ambokd")}
    for name, record in records.items():
        assert record.spec["family"] == "reference" and np.isfinite(record.logits).all() and len(record.log) == 1
        if RECIPES[name].table == 1:
            assert n_parameters(record.model()) == record.result["n_parameters"] == PUBLISHED_STUDENT
    sizes = [records[name].result["n_parameters"] for name in (TEACHER, "ta1", "ta2_dense", "dense")]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
