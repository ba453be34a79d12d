"""What is done to pictures and EEG, by hand and by loops; saliency by algebra; answers against the stored runs."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from cdgkd_utils.data.constants import CHANNELS, LEFT
from cdgkd_utils.deploy import what_if
from cdgkd_utils.deploy.perturb import GREY, GROUPS, SWEEPS, Change, add_blinks, add_noise, blur, occlude, shift_light
from cdgkd_utils.deploy.what_if import KEPT, WhatIf, channel_saliency, gradient_times_input
from cdgkd_utils.models import ModelOutput

CHAIN = {"teacher": "fusion_rebalanced", "ta1": "ta1_drop", "ta2": "ta2_drop", "student": "cdgkd"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def frames(rng):
    return rng.integers(0, 256, (2, 5, 20, 20, 3), dtype=np.uint8)


@pytest.fixture
def eeg(rng):
    return rng.normal(0, 10, (3, 28, 512)).astype(np.float32)


@pytest.mark.parametrize(
    ("part", "share", "rows", "columns"),
    [
        ("upper", 0.25, range(0, 5), range(20)),
        ("lower", 0.25, range(15, 20), range(20)),
        ("box", 0.2, range(3, 7), range(13, 17)),  # edge 4 around row 5, column 15
        ("box", 1.2, range(0, 17), range(3, 20)),  # cut off at the picture's edge
        ("none", 0.5, range(0), range(20)),
    ],
)
def test_exactly_the_named_pixels_are_covered(frames, part, share, rows, columns):
    expected = frames.copy()
    for row in rows:
        for column in columns:
            expected[:, :, row, column] = GREY
    np.testing.assert_array_equal(occlude(frames, part, share, x=0.75, y=0.25), expected)


def test_blur_of_a_single_bright_pixel_is_the_gaussian():
    picture = np.zeros((1, 41, 41, 3), np.uint8)
    picture[0, 20, 20] = 255
    weight = np.exp(-0.5 * (np.arange(-6, 7) / 2) ** 2)
    expected = np.zeros((41, 41))
    expected[14:27, 14:27] = 255 * np.outer(weight, weight) / weight.sum() ** 2
    np.testing.assert_allclose(blur(picture, 2 / 41)[0, :, :, 0], expected, atol=1.0)


def test_light_is_arithmetic_on_grey_levels_with_clipping(frames):
    expected = np.clip(np.rint((frames.astype(float) - 127.5) * 0.5 + 127.5 - 40), 0, 255)
    np.testing.assert_array_equal(shift_light(frames, -40, 0.5), expected)
    assert shift_light(np.array([0, 255], np.uint8), contrast=0).tolist() == [128, 128]


def test_lost_frames_are_taken_from_those_that_are_there(rng):
    mask = rng.random((400, 5)) < 0.7
    left = [Change(lost=n).mask(mask, 3) for n in range(6)]
    for n, found in enumerate(left):
        np.testing.assert_array_equal(found.sum(1), np.maximum(mask.sum(1) - n, 0))
    assert all((fewer <= more).all() for more, fewer in pairwise(left))
    shares = Change(lost=1).mask(np.ones((4000, 5), bool), 3).mean(0)
    np.testing.assert_allclose(shares, 0.8, atol=0.03)


def test_noise_and_blinks_lie_where_prepared_eeg_lies(eeg):
    silent, power = np.zeros((20, 28, 512)), lambda x: np.abs(np.fft.rfft(x, axis=-1)) ** 2
    noise, blinks = (add(silent, 100, np.random.default_rng(2)) for add in (add_noise, add_blinks))
    np.testing.assert_allclose(noise.std(axis=-1), 100, rtol=1e-6)
    assert power(noise)[..., 12:189].sum() / power(noise).sum() > 0.9  # from 3 to 47 Hz
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.05
    front = CHANNELS.index("Fp1")
    np.testing.assert_allclose(blinks[:, CHANNELS.index("AF4")], 0.65 * blinks[:, front])
    assert not blinks[:, CHANNELS.index("O1")].any()
    assert 20 < np.median(np.abs(blinks[:, front]).max(axis=1)) < 40  # the filter takes most of 100 µV away
    alone = add_blinks(0 * eeg, 100, np.random.default_rng(2))
    np.testing.assert_allclose(add_blinks(eeg, 100, np.random.default_rng(2)) - eeg, alone, atol=1e-4)


def test_changes_combine_repeat_by_seed_and_nothing_changes_nothing(frames, eeg):
    mask = np.array([[True, False, True, True, True]])
    nothing, change = Change(), Change("lower", 50, brightness=-30, blur=5, noise=5, blinks=100)
    np.testing.assert_array_equal(nothing.pictures(frames), frames)
    np.testing.assert_array_equal(nothing.eeg(eeg, 0), eeg)
    np.testing.assert_array_equal(nothing.mask(mask, 0), mask)
    expected = occlude(blur(shift_light(frames, -30), 0.05), "lower", 0.5)
    np.testing.assert_array_equal(change.pictures(frames), expected)
    np.testing.assert_array_equal(change.eeg(eeg, 1), change.eeg(eeg, 1))
    assert (change.eeg(eeg, 1) != change.eeg(eeg, 2)).any()
    half = Change(loose="left half").eeg(eeg, 0)
    assert not half[:, : len(LEFT)].any()
    np.testing.assert_array_equal(half[:, len(LEFT) :], eeg[:, len(LEFT) :])


class Linear(nn.Module):
    """Logits linear in video and band covariances."""

    inputs = ("eeg", "video", "frame_mask")

    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(0).normal
        self.of_eeg, self.of_video = (nn.Parameter(torch.from_numpy(draw(size=(n, 2)))) for n in (3136, 3840))

    def forward(self, eeg, video, frame_mask):
        shown = video * frame_mask[..., None]
        return ModelOutput(eeg.flatten(1) @ self.of_eeg + shown.flatten(1) @ self.of_video, {})


def test_gradient_times_input_of_a_linear_model_adds_up_to_the_difference_of_the_logits(rng):
    model = Linear()
    tensors = {"eeg": torch.from_numpy(rng.normal(size=(6, 4, 28, 28)))}
    tensors |= {"video": torch.from_numpy(rng.normal(size=(6, 5, 768)))}
    tensors |= {"frame_mask": torch.from_numpy(rng.random((6, 5)) < 0.7)}
    products = gradient_times_input(model, tensors)
    logits = model(**tensors).logits.detach()
    total = sum(product.flatten(1).sum(1) for product in products.values())
    np.testing.assert_allclose(total, logits[:, 1] - logits[:, 0], rtol=1e-9)
    assert all(p.grad is None for p in model.parameters())
    pairs = np.abs(products["eeg"][0].numpy())
    by_hand = [sum((pairs[:, c, o] + pairs[:, o, c]).sum() / 2 for o in range(28)) for c in range(28)]
    np.testing.assert_allclose(channel_saliency(products)[0], by_hand)


@pytest.fixture
def asked(trained):
    rows = next(rows for name, rows in trained.split.parts().items() if name.startswith("test"))
    return WhatIf(trained, {role: trained.run(name).model() for role, name in CHAIN.items()}, rows[:12])


def test_without_a_change_everybody_answers_as_in_the_stored_run(asked, trained):
    found = asked.answers(asked.changed(np.arange(12), Change())[2])
    for role, name in CHAIN.items():
        logits = trained.run(name).logits[asked.rows]
        stored = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        np.testing.assert_allclose(found[role], stored, atol=2e-3, err_msg=role)  # features are stored as float16
    with pytest.raises(ValueError, match="rows: expected test windows only"):
        WhatIf(trained, {}, trained.split.parts()["train"][:1])


def test_a_late_video_shows_the_frames_before_and_loses_none(asked, monkeypatch):
    starts = asked.windows.index["window"].to_numpy()[asked.rows]
    first, later = int(np.flatnonzero(starts == 0)[0]), int(np.flatnonzero(starts > 0)[0])
    (on_time, _), (late, mask) = asked.pictures(later), asked.pictures(later, 800)
    np.testing.assert_array_equal(late[1:], on_time[:-1])
    assert mask.all()

    def film(params, windows, rows, size, repeat):
        """As files do: grey tells the time in tenths of a second, nothing is shown before the clip begins."""
        times = 4 * windows.index["window"].to_numpy()[rows][:, None] + np.array([0.4, 1.2, 2.0, 2.8, 3.6])
        grey = np.rint(10 * times).clip(0).astype(np.uint8)[..., None, None, None]
        return np.broadcast_to(grey, (*times.shape, 2, 2, 3)).copy(), times >= -1e-9, None

    monkeypatch.setattr(what_if, "trial_frames", film)
    asked.pictures.cache_clear()
    for delay, greys in ((0, [4, 12, 20, 28, 36]), (800, [0, 4, 12, 20, 28]), (2000, [0, 0, 0, 8, 16])):
        frames, mask = asked.pictures(first, delay)
        assert frames[:, 0, 0, 0].tolist() == greys and mask.all()
    for delay in range(KEPT + 20):
        asked.pictures(later, delay)
    assert asked.pictures.cache_info().currsize == KEPT


def test_a_look_shows_what_was_answered_and_the_student_sees_no_eeg(asked):
    look = asked.look(2, noise=20, loose="frontal")
    assert look.before["student"] == look.after["student"]
    assert all(look.before[role] != look.after[role] for role in ("teacher", "ta1", "ta2"))
    np.testing.assert_allclose([look.per_frame.sum(), look.per_channel.sum()], 1, rtol=1e-5)
    assert not look.per_channel[[CHANNELS.index(name) for name in GROUPS["frontal"]]].any()
    covered = asked.look(0, part="lower", share=50, lost=2)
    assert covered.mask.sum() == 3 and (covered.frames[:, 64:] == GREY).all()
    assert ((covered.per_frame > 0) == covered.mask).all() and covered.label == asked.labels[0]


def test_the_face_map_is_the_students_own_difference(asked):
    (frames, mask), found = asked.pictures(1), asked.face_map(1)
    covered = frames.copy()
    covered[:, 73:91, 55:73] = GREY  # box (4, 3) of 7 x 7 on 128 pixels
    p = [asked.answers(asked.video(f[None], mask[None]), ["student"])["student"][0] for f in (frames, covered)]
    np.testing.assert_allclose(found[4, 3], p[0] - p[1], atol=1e-6)


def test_a_sweep_counts_what_the_answers_say(asked):
    changes = {0: Change(), 60: Change("lower", 60)}
    table = asked.sweep({"cover": ("%", "video", changes), "noise": ("µV", "eeg", {0: Change(), 9: Change(noise=9)})})
    assert set(table.loc[table["change"] == "noise", "role"]) == {"teacher", "ta1", "ta2"}
    p, q = (asked.answers(asked.changed(np.arange(12), change)[2])["student"] for change in changes.values())
    row = table.query("change == 'cover' and strength == 60 and role == 'student'").iloc[0]
    assert row["accuracy"] == np.mean((q > 0.5) == asked.labels) and row["same"] == np.mean((p > 0.5) == (q > 0.5))
    np.testing.assert_allclose(row["moved"], np.abs(p - q).mean())
    assert (table.loc[table["strength"] == 0, "moved"] == 0).all()
    assert all(next(iter(changes)) == 0 for _, _, changes in SWEEPS.values())
