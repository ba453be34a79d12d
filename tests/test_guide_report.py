"""The check before distilling: its correlations, its intervals, and that nothing leaks into what it compares with."""

import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from cdgkd_utils.methods.guide_report import MARGIN, N_BOOTSTRAP, guide_report, mean_face, video_prediction

N_WINDOWS = 4


def feelings(rng, n_trials, shared=0.3, own=0.1, noise=0.6):
    """A small copy of the twin's equations: the rating's label, what the face shows and what the EEG sees."""
    u, e = rng.standard_normal((2, n_trials))
    z = np.sqrt(shared) * u + np.sqrt(own) * e
    labels = (z + np.sqrt(noise) * rng.standard_normal(n_trials) > 0).astype(int)
    return labels, u, z / np.sqrt(shared + own)


def each(*columns):
    """Four windows of every trial."""
    return [np.repeat(c, N_WINDOWS, axis=0) for c in columns]


def simulated(seed, n_trials=150, quality=1.0, read=1.0):
    """Guide of known quality, labels, a face prediction of a reliability, trials."""
    rng = np.random.default_rng(seed)
    labels, face, eeg = feelings(rng, n_trials)
    heard = quality * eeg + np.sqrt(1 - quality**2) * rng.standard_normal(n_trials)
    shown = read * face + np.sqrt(1 - read**2) * rng.standard_normal(n_trials)
    shown, heard, labels, groups = each(shown, heard, labels, np.arange(n_trials))
    return ndtr(heard + 0.5 * rng.standard_normal(len(heard))), labels, shown + rng.standard_normal(len(shown)), groups


def by_trial(*columns):
    return [np.reshape(column, (-1, N_WINDOWS)).mean(axis=1) for column in columns]


def test_correlations_margin_and_ratio_by_numpy():
    guide, labels, shown, groups = simulated(0)
    other = np.random.default_rng(1).uniform(size=len(guide))
    report = guide_report(guide, labels, shown, groups, seed=0, out_of_fold=other)
    g, y, v, o = by_trial(guide, labels, shown, other)
    r = [np.corrcoef(x, v)[0, 1] for x in (g, y, o)]
    assert (report.r_guide, report.r_label, report.r_out_of_fold) == pytest.approx(r, rel=1e-9)
    assert (report.margin, report.ratio) == pytest.approx((r[0] - r[1], r[0] / r[1]))
    assert report.nll_in_sample == pytest.approx(-np.log(np.where(labels == 1, guide, 1 - guide)).mean())
    assert (report.n_windows, report.n_trials) == (600, 150)


def test_the_intervals_are_those_of_resampled_trials():
    guide, labels, shown, groups = simulated(1, n_trials=20)
    report = guide_report(guide, labels, shown, groups, seed=7)
    g, y, v = by_trial(guide, labels, shown)
    counts = np.random.default_rng(7).multinomial(20, np.full(20, 1 / 20), size=N_BOOTSTRAP)
    margins, ratios = [], []
    for row in counts:
        rows = np.repeat(np.arange(20), row)
        a, b = (np.corrcoef(x[rows], v[rows])[0, 1] for x in (g, y))
        margins.append(a - b)
        ratios.append(a / b)
    np.testing.assert_allclose((report.low, report.high), np.quantile(margins, [0.025, 0.975]), rtol=1e-9)
    np.testing.assert_allclose((report.ratio_low, report.ratio_high), np.quantile(ratios, [0.025, 0.975]), rtol=1e-6)


@pytest.mark.parametrize("quality", [0.2, 0.6, 1.0])
def test_the_margin_is_unbiased_and_its_interval_covers(quality):
    truth = simulated(10_000, n_trials=100_000, quality=quality)
    g, y, v = by_trial(*truth[:3])
    margin = np.corrcoef(g, v)[0, 1] - np.corrcoef(y, v)[0, 1]
    reports = [guide_report(*simulated(seed, quality=quality), seed=seed) for seed in range(60)]
    margins = np.array([report.margin for report in reports])
    assert abs(margins.mean() - margin) < 3 * margins.std(ddof=1) / np.sqrt(len(margins)) + 0.002
    assert np.mean([report.low <= margin <= report.high for report in reports]) >= 0.87


def test_the_verdict_orders_guides_of_known_quality():
    good, useless = (guide_report(*simulated(3, 400, quality), seed=0) for quality in (1.0, 0.0))
    assert (good.verdict, useless.verdict) == ("distil", "do not distil")
    assert good.margin > MARGIN and good.low > 0 > useless.high
    few = guide_report(*simulated(4, 25, 0.55), seed=0)
    assert few.verdict == "distil gently" and few.low < 0 < few.high
    seen = guide_report(*simulated(3, 400), seed=0, saw_video=True)
    assert seen.verdict == "cannot say" and seen.margin == good.margin


def test_a_guide_that_only_repeats_the_labels_has_no_margin_and_its_memory_is_seen():
    _, labels, shown, groups = simulated(5)
    honest = np.full(len(labels), 0.5)
    honest[0] = 0.51
    report = guide_report(0.98 * labels + 0.01, labels, shown, groups, seed=0, out_of_fold=honest)
    assert report.margin == pytest.approx(0, abs=1e-12) and report.verdict == "distil gently"
    assert report.nll_in_sample == pytest.approx(-np.log(0.99))
    assert report.nll_out_of_fold == pytest.approx(np.log(2), abs=1e-3)
    assert "0.01 nats, on others 0.69" in report.text()


def test_the_video_prediction_never_saw_the_trial():
    """Faces that say nothing but who and when: whoever saw one window of a trial knows the others' labels."""
    rng, honest, leaky = np.random.default_rng(0), [], []
    for seed in range(20):
        labels, video, groups = each(rng.integers(0, 2, 60), rng.standard_normal((60, 80)), np.arange(60))
        video = video + 0.1 * rng.standard_normal(video.shape)
        honest.append(np.corrcoef(video_prediction(video, labels, groups, seed=seed), labels)[0, 1])
        careless = cross_val_predict(RidgeCV(), video, labels, cv=KFold(5, shuffle=True, random_state=seed))
        leaky.append(np.corrcoef(careless, labels)[0, 1])
    assert min(leaky) > 0.6
    assert abs(np.mean(honest)) < 3 * np.std(honest, ddof=1) / np.sqrt(20) + 0.02


def test_the_video_prediction_finds_what_the_face_shows():
    rng = np.random.default_rng(0)
    labels, face, _ = feelings(rng, 300)
    labels, face, groups = each(labels, face, np.arange(300))
    video = face[:, None] * rng.standard_normal((1, 30)) + rng.standard_normal((1200, 30))
    found = video_prediction(video, labels, groups, seed=0)
    assert np.corrcoef(found, face)[0, 1] > 0.9
    np.testing.assert_array_equal(found, video_prediction(video, labels, groups, seed=0))


def test_a_persons_mean_face_is_taken_away_and_unseen_people_are_unseen():
    """Each person has a face of their own and, here, one label for nearly all trials: who it is must not tell."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(12), 10)
    labels = (rng.random(120) < np.where(np.arange(12) % 2, 0.9, 0.1)[subjects]).astype(int)
    identity = 5 * rng.standard_normal((12, 40))[subjects]
    video, labels, people, groups = each(identity, labels, subjects, np.arange(120))
    video = video + rng.standard_normal((480, 40))

    def predicted(labels=labels, video=video, **options):
        return video_prediction(video, labels, groups, seed=0, **options)

    apart = {"subjects": people, "unseen_subjects": True}
    assert np.corrcoef(predicted(), labels)[0, 1] > 0.6
    assert abs(np.corrcoef(predicted(subjects=people), labels)[0, 1]) < 0.25
    assert abs(np.corrcoef(predicted(**apart), labels)[0, 1]) < 0.25
    shifted = video + 100 * rng.standard_normal((12, 40))[people]
    np.testing.assert_allclose(predicted(video=shifted, subjects=people), predicted(subjects=people), atol=1e-8)
    # Of an unseen person nothing but the faces is used: other labels there change no prediction of this person.
    changed, mine = np.where(people == 3, 1 - labels, labels), people == 3
    one, other = (predicted(labels=y, **apart) for y in (labels, changed))
    np.testing.assert_array_equal(one[mine], other[mine])
    assert not np.array_equal(one, other)  # they are other people's training data
    one, other = (predicted(labels=y, subjects=people) for y in (labels, changed))
    assert not np.array_equal(one[mine], other[mine])


@pytest.mark.parametrize("unseen_subjects", [False, True])
def test_a_film_that_face_and_guide_share_tells_nothing_with_film_folds(unseen_subjects):
    """Film 0 to 9 move the faces, each its own way, and decide the label: known films are known labels."""
    rng = np.random.default_rng(0)
    subjects, films = np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20)
    labels = (rng.random(200) < np.where(films % 2, 0.95, 0.05)).astype(int)
    faces = 2 * rng.standard_normal((10, 30))[films] + rng.standard_normal((200, 30))
    video, labels, people, films, groups = each(faces, labels, subjects, films, np.arange(200))
    apart = {"seed": 0, "subjects": people, "unseen_subjects": unseen_subjects}
    told, held_out = (video_prediction(video, labels, groups, films=f, **apart) for f in (None, films))
    assert np.corrcoef(told, labels)[0, 1] > 0.7
    assert np.corrcoef(held_out, labels)[0, 1] < 0.4
    # Neither another label of the film, nor, of unseen people, of the person changes a prediction.
    for kept, who in ((films == 3, True), (people == 3, unseen_subjects)):
        changed = np.where(kept, 1 - labels, labels)
        again = video_prediction(video, changed, groups, films=films, **apart)
        assert np.allclose(again[kept], held_out[kept], atol=1e-12) == who
    guide = np.where(films % 2, 0.9, 0.1)
    reports = [guide_report(guide, labels, video, groups, films=f, **apart) for f in (None, films)]
    assert reports[0].r_guide > 0.7 and reports[1].r_guide < 0.5


def test_mean_face_by_loop():
    rng = np.random.default_rng(0)
    video, mask = rng.normal(size=(6, 5, 3)), rng.random((6, 5)) < 0.6
    mask[:, 0] = True
    for n, face in enumerate(mean_face(video, mask)):
        np.testing.assert_allclose(face, np.mean([video[n, t] for t in range(5) if mask[n, t]], axis=0))


@pytest.mark.parametrize(
    "change",
    [
        {"guide": np.full(40, 0.5)},
        {"guide": np.linspace(-1, 2, 40)},
        {"guide": np.full(40, np.nan)},
        {"labels": np.ones(40)},
        {"labels": np.arange(40) % 2},  # within a trial
        {"subjects": np.arange(40) // 20, "unseen_subjects": True},
        {"films": np.arange(40) // 20},
        {"groups": np.arange(40) // 10},
        {"video": np.full((40, 3), np.inf)},
        {"out_of_fold": np.ones(3)},
    ],
)
def test_wrong_input_is_one_clear_error(change):
    rng = np.random.default_rng(0)
    given = {"guide": rng.random(40), "labels": np.arange(40) // 2 % 2, "video": rng.normal(size=(40, 3))}
    given |= {"groups": np.arange(40) // 2} | change
    with pytest.raises(ValueError, match=f"^{next(iter(change))}.*: expected"):
        guide_report(**given, seed=0)
