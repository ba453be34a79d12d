"""The check before distilling: its correlations, its interval, and that nothing leaks into what it compares with."""

import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from cdgkd_utils.methods.guide_report import MARGIN, N_BOOTSTRAP, GuideReport, as_frame, guide_report
from cdgkd_utils.methods.video_prediction import video_prediction

N_WINDOWS = 4


def feelings(rng, n_trials, shared=0.3, own=0.1, noise=0.6):
    """A small copy of the twin's equations: the rating's label, what the face shows and what the EEG sees."""
    u, e = rng.standard_normal((2, n_trials))
    z = np.sqrt(shared) * u + np.sqrt(own) * e
    labels = (z + np.sqrt(noise) * rng.standard_normal(n_trials) > 0).astype(int)
    return labels, u, z / np.sqrt(shared + own)


def windows(*columns, sd=0.0, rng=None):
    """Each trial becomes four windows, with noise of their own."""
    return [np.repeat(c, N_WINDOWS) + (sd * rng.standard_normal(len(c) * N_WINDOWS) if sd else 0) for c in columns]


def simulated(seed, n_trials=150, quality=1.0):
    """Guide of known quality, labels, an honest but noisy face prediction, trials."""
    rng = np.random.default_rng(seed)
    labels, face, eeg = feelings(rng, n_trials)
    (shown,) = windows(face, sd=1.0, rng=rng)
    heard = quality * eeg + np.sqrt(1 - quality**2) * rng.standard_normal(n_trials)
    (guide,) = windows(heard, sd=0.5, rng=rng)
    return ndtr(guide), np.repeat(labels, N_WINDOWS), shown, np.repeat(np.arange(n_trials), N_WINDOWS)


def by_trial(*columns):
    return [np.reshape(column, (-1, N_WINDOWS)).mean(axis=1) for column in columns]


def test_correlations_and_margin_by_numpy():
    guide, labels, shown, groups = simulated(0)
    report = guide_report(guide, labels, shown, groups, seed=0)
    g, y, v = by_trial(guide, labels, shown)
    assert report.r_guide == pytest.approx(np.corrcoef(g, v)[0, 1], rel=1e-9)
    assert report.r_label == pytest.approx(np.corrcoef(y, v)[0, 1], rel=1e-9)
    assert report.margin == pytest.approx(report.r_guide - report.r_label)
    assert report.nll_in_sample == pytest.approx(-np.log(np.where(labels == 1, guide, 1 - guide)).mean())
    assert (report.n_windows, report.n_trials) == (600, 150)


def test_the_interval_is_that_of_resampled_trials():
    guide, labels, shown, groups = simulated(1, n_trials=20)
    report = guide_report(guide, labels, shown, groups, seed=7)
    columns = by_trial(guide, labels, shown)
    counts = np.random.default_rng(7).multinomial(20, np.full(20, 1 / 20), size=N_BOOTSTRAP)
    margins = []
    for row in counts:
        rows = np.repeat(np.arange(20), row)
        r = [np.corrcoef(x[rows], columns[2][rows])[0, 1] for x in columns[:2]]
        margins.append(r[0] - r[1])
    np.testing.assert_allclose((report.low, report.high), np.quantile(margins, [0.025, 0.975]), rtol=1e-9)


@pytest.mark.parametrize("quality", [0.2, 0.6, 1.0])
def test_the_margin_is_unbiased_and_its_interval_covers(quality):
    truth = simulated(10_000, n_trials=100_000, quality=quality)
    g, y, v = by_trial(*truth[:3])
    margin = np.corrcoef(g, v)[0, 1] - np.corrcoef(y, v)[0, 1]
    reports = [guide_report(*simulated(seed, quality=quality), seed=seed) for seed in range(60)]
    margins = np.array([report.margin for report in reports])
    assert abs(margins.mean() - margin) < 3 * margins.std(ddof=1) / np.sqrt(len(margins)) + 0.002
    covered = np.mean([report.low <= margin <= report.high for report in reports])
    assert covered >= 0.87


def test_the_verdict_orders_guides_of_known_quality():
    good, useless = (guide_report(*simulated(3, 400, quality), seed=0) for quality in (1.0, 0.0))
    assert (good.verdict, useless.verdict) == ("distil", "do not distil")
    assert good.margin > MARGIN and good.low > 0 > useless.high
    few = guide_report(*simulated(4, 25, 0.55), seed=0)
    assert few.verdict == "distil gently" and few.low < 0 < few.high


def test_a_guide_that_only_repeats_the_labels_has_no_margin_and_its_memory_is_seen():
    _, labels, shown, groups = simulated(5)
    repeated = 0.98 * labels + 0.01
    honest = np.full(len(labels), 0.5)
    report = guide_report(repeated, labels, shown, groups, seed=0, out_of_fold=honest)
    assert report.margin == pytest.approx(0, abs=1e-12)
    assert report.verdict == "distil gently"
    assert report.nll_in_sample == pytest.approx(-np.log(0.99)) and report.nll_out_of_fold == pytest.approx(np.log(2))
    assert "the difference is memory" in report.text() and "0.01 nats, on others 0.69" in report.text()


def test_the_video_prediction_never_saw_the_trial():
    """Faces that say nothing but who and when: whoever saw one window of a trial knows the others' labels."""
    rng = np.random.default_rng(0)
    honest, leaky = [], []
    for seed in range(20):
        labels = np.repeat(rng.integers(0, 2, 60), N_WINDOWS)
        video = np.repeat(rng.standard_normal((60, 80)), N_WINDOWS, axis=0) + 0.1 * rng.standard_normal((240, 80))
        groups = np.repeat(np.arange(60), N_WINDOWS)
        honest.append(np.corrcoef(video_prediction(video, labels, groups, seed=seed), labels)[0, 1])
        careless = cross_val_predict(RidgeCV(), video, labels, cv=KFold(5, shuffle=True, random_state=seed))
        leaky.append(np.corrcoef(careless, labels)[0, 1])
    assert min(leaky) > 0.6
    assert abs(np.mean(honest)) < 3 * np.std(honest, ddof=1) / np.sqrt(20) + 0.02


def test_the_video_prediction_finds_what_the_face_shows():
    rng = np.random.default_rng(0)
    labels, face, _ = feelings(rng, 300)
    video = np.repeat(face, N_WINDOWS)[:, None] * rng.standard_normal((1, 30)) + rng.standard_normal((1200, 30))
    groups = np.repeat(np.arange(300), N_WINDOWS)
    labels = np.repeat(labels, N_WINDOWS)
    assert np.corrcoef(video_prediction(video, labels, groups, seed=0), np.repeat(face, N_WINDOWS))[0, 1] > 0.9
    again = video_prediction(video, labels, groups, seed=0)
    np.testing.assert_array_equal(again, video_prediction(video, labels, groups, seed=0))


def test_a_persons_mean_face_is_taken_away_and_unseen_people_are_unseen():
    """Each person has a face of their own and, here, one label for nearly all trials: who it is must not tell."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(12), 10)
    base = np.where(np.arange(12) % 2, 0.9, 0.1)[subjects]
    labels = (rng.random(120) < base).astype(int)
    identity = 5 * rng.standard_normal((12, 40))[subjects]
    video = np.repeat(identity, N_WINDOWS, axis=0) + rng.standard_normal((480, 40))
    labels, people, groups = (np.repeat(x, N_WINDOWS) for x in (labels, subjects, np.arange(120)))

    def told(**options):
        return np.corrcoef(video_prediction(video, labels, groups, seed=0, **options), labels)[0, 1]

    assert told() > 0.6
    assert abs(told(subjects=people)) < 0.25
    assert abs(told(subjects=people, unseen_subjects=True)) < 0.25
    shifted = video + 100 * rng.standard_normal((12, 40))[people]
    np.testing.assert_allclose(
        video_prediction(shifted, labels, groups, seed=0, subjects=people),
        video_prediction(video, labels, groups, seed=0, subjects=people),
        atol=1e-8,
    )
    # Of an unseen person nothing but the faces is used: other labels there change no prediction of this person.
    changed = np.where(people == 3, 1 - labels, labels)
    one, other = (
        video_prediction(video, y, groups, seed=0, subjects=people, unseen_subjects=True) for y in (labels, labels)
    )
    np.testing.assert_array_equal(one, other)
    seen = video_prediction(video, changed, groups, seed=0, subjects=people)
    assert not np.array_equal(seen, video_prediction(video, labels, groups, seed=0, subjects=people))


def test_a_guide_that_saw_the_face_gets_no_verdict_and_the_same_numbers():
    plain, seen = (guide_report(*simulated(3, 400), seed=0, saw_video=saw) for saw in (False, True))
    assert (plain.verdict, seen.verdict) == ("distil", "cannot say") and seen.margin == plain.margin
    assert "Cannot say: a guide that has seen the face agrees with it anyway" in seen.text()


def test_reports_as_a_table():
    reports = {name: guide_report(*simulated(8, 60, q), seed=0) for name, q in (("eeg", 0.9), ("noise", 0.0))}
    frame = as_frame(reports)
    assert list(frame.index) == ["eeg", "noise"] and list(frame.columns) == list(GuideReport.__dataclass_fields__)
    assert np.isnan(frame["nll_out_of_fold"]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guide": np.full(40, 0.5)}, "guide: expected answers that differ"),
        ({"guide": np.linspace(-1, 2, 40)}, "guide: expected probabilities between 0 and 1; give P"),
        ({"guide": np.linspace(0, 1, 39)}, r"guide: expected one P\(high\) for each of 40 windows, got shape \(39,\)"),
        ({"guide": np.full(40, np.nan)}, "guide: expected probabilities"),
        ({"labels": np.ones(40)}, "labels: expected 0"),
        ({"labels": np.arange(40)}, "labels: expected 0"),
        ({"labels": np.arange(40) % 2}, "labels: expected one label for all windows of a trial"),
        ({"subjects": np.arange(40) // 20, "unseen_subjects": True}, "subjects: expected one per window, of 5 people"),
        ({"groups": np.arange(39)}, r"groups: expected shapes"),
        ({"groups": np.arange(40) // 10}, "groups: expected 5 trials or more, got 4"),
        ({"video": np.full((40, 3), np.inf)}, "video: expected finite"),
        ({"out_of_fold": np.ones(3)}, "out_of_fold: expected one P"),
    ],
)
def test_wrong_input_is_one_clear_error(change, said):
    rng = np.random.default_rng(0)
    given = {"guide": rng.random(40), "labels": np.arange(40) // 2 % 2, "video": rng.normal(size=(40, 3))}
    given |= {"groups": np.arange(40) // 2} | change
    with pytest.raises(ValueError, match=said):
        guide_report(**given, seed=0)
