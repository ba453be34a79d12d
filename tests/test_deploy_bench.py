"""The what-if bench: saliency against algebra, answers against the stored runs."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cdgkd_utils.deploy.bench import Bench
from cdgkd_utils.deploy.change import Change, Sweep
from cdgkd_utils.deploy.saliency import channel_saliency, frame_saliency, gradient_times_input, occlusion_map
from cdgkd_utils.experiments.runs import test_parts as parts_of
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.results.collect import high_probability

CHAIN = {"teacher": "fusion_rebalanced", "ta1": "ta1_drop", "ta2": "ta2_drop", "student": "cdgkd"}


class Linear(nn.Module):
    """Logits linear in video and band covariances."""

    inputs = ("eeg", "video", "frame_mask")

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.of_eeg = nn.Parameter(torch.randn(2, 4 * 28 * 28, generator=generator, dtype=torch.float64))
        self.of_video = nn.Parameter(torch.randn(2, 5 * 768, generator=generator, dtype=torch.float64))

    def forward(self, eeg, video, frame_mask):
        shown = video * frame_mask[..., None]
        return ModelOutput(eeg.flatten(1) @ self.of_eeg.T + shown.flatten(1) @ self.of_video.T, {})


def windows(n, rng):
    mask = rng.random((n, 5)) < 0.7
    return {
        "eeg": torch.from_numpy(rng.normal(size=(n, 4, 28, 28))),
        "video": torch.from_numpy(rng.normal(size=(n, 5, 768))),
        "frame_mask": torch.from_numpy(mask),
    }


# ---- saliency ----------------------------------------------------------------------------------


def test_gradient_times_input_of_a_linear_model_adds_up_to_the_difference_of_the_logits():
    model, tensors = Linear(), windows(6, np.random.default_rng(0))
    products = gradient_times_input(model, tensors)
    logits = model(**tensors).logits.detach()
    total = sum(product.flatten(1).sum(1) for product in products.values())
    np.testing.assert_allclose(total, logits[:, 1] - logits[:, 0], rtol=1e-9)
    assert set(products) == {"eeg", "video"}
    # Planted fault: without the factor x it would not add up.
    off = sum((p / tensors[name]).flatten(1).sum(1) for name, p in products.items())
    assert not np.allclose(off, logits[:, 1] - logits[:, 0], rtol=0.1)


def test_parameters_and_inputs_get_no_gradient():
    model, tensors = Linear(), windows(2, np.random.default_rng(0))
    gradient_times_input(model, tensors)
    assert all(p.grad is None for p in model.parameters())
    assert not any(t.requires_grad for t in tensors.values())


def test_a_frame_that_is_not_there_carries_nothing():
    model, tensors = build_model("student", 0), windows(20, np.random.default_rng(1))
    tensors["video"] = tensors["video"].float()
    shares = frame_saliency(gradient_times_input(model.eval(), tensors))
    assert shares.shape == (20, 5)
    assert ((shares > 0) == tensors["frame_mask"].numpy()).all()


def test_saliency_of_frames_and_channels_are_sums_of_sizes():
    rng = np.random.default_rng(2)
    products = {"video": torch.from_numpy(rng.normal(size=(2, 5, 768)))}
    assert channel_saliency(products) is None
    products["eeg"] = torch.from_numpy(rng.normal(size=(2, 4, 28, 28)))
    frames, channels = frame_saliency(products), channel_saliency(products)
    for window in range(2):
        for frame in range(5):
            np.testing.assert_allclose(frames[window, frame], np.abs(products["video"][window, frame].numpy()).sum())
        pairs = np.abs(products["eeg"][window].numpy())
        by_hand = [sum((pairs[:, c, o] + pairs[:, o, c]).sum() / 2 for o in range(28)) for c in range(28)]
        np.testing.assert_allclose(channels[window], by_hand)
        np.testing.assert_allclose(channels[window].sum(), pairs.sum())
    signal = {"signal": torch.from_numpy(rng.normal(size=(2, 28, 512)))}
    np.testing.assert_allclose(channel_saliency(signal), np.abs(signal["signal"].numpy()).sum(2))


def test_the_occlusion_map_is_zero_where_a_box_changes_nothing():
    rng = np.random.default_rng(3)
    frames = rng.integers(100, 256, (5, 21, 21, 3), dtype=np.uint8)

    def brightness_of_one_box(copies):
        return copies[:, :, 6:9, 15:18].mean(axis=(1, 2, 3, 4)) / 255

    found = occlusion_map(brightness_of_one_box, frames)
    expected = np.zeros((7, 7))
    expected[2, 5] = (frames[:, 6:9, 15:18].mean() - 96) / 255
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_boxes_of_the_occlusion_map_tile_the_picture():
    frames = np.full((5, 64, 64, 3), 255, np.uint8)
    found = occlusion_map(lambda copies: copies.mean(axis=(1, 2, 3, 4)), frames)
    np.testing.assert_allclose(found.sum(), 255 - 96)


# ---- the bench on the smoke runs ---------------------------------------------------------------


@pytest.fixture
def bench(trained):
    part = next(rows for name, rows in parts_of(trained.split).items() if name.startswith("test"))
    return Bench(trained, {role: trained.run(name).model() for role, name in CHAIN.items()}, part[:12])


def test_without_a_change_everybody_answers_as_in_the_stored_run(bench, trained):
    found = bench.answers(bench.changed(np.arange(12), Change())[2])
    for role, name in CHAIN.items():
        stored = high_probability(trained.run(name).logits[bench.rows])
        np.testing.assert_allclose(found[role], stored, atol=2e-3, err_msg=role)  # features are stored as float16
    late = bench.answers(bench.changed(np.arange(12), Change(delay=800))[2])
    assert np.abs(late["student"] - found["student"]).max() > 2e-3


def test_a_video_that_is_one_frame_late_shows_the_frame_before(bench):
    on_time, late = bench.pictures(3)[0], bench.pictures(3, delay=800)[0]
    np.testing.assert_array_equal(late[1:], on_time[:-1])
    assert (late[0] != on_time[0]).any()


def test_the_student_does_not_see_the_eeg_and_all_others_do(bench):
    look = bench.look(2, noise=20, loose="frontal")
    assert look.before["student"] == look.after["student"]
    assert all(look.before[role] != look.after[role] for role in ("teacher", "ta1", "ta2"))
    np.testing.assert_allclose([look.per_frame.sum(), look.per_channel.sum()], 1, rtol=1e-5)
    assert not look.per_channel[[0, 1, 14, 15]].any()  # Fp1, AF3, Fp2, AF4 are flat


def test_a_look_shows_what_was_answered(bench):
    look = bench.look(0, part="lower", share=50, lost=2)
    assert look.mask.sum() == 3 and (look.frames[:, 64:] == 96).all()
    assert ((look.per_frame > 0) == look.mask).all()
    assert look.label == bench.labels[0] and 0 <= look.truth <= 1
    nothing = bench.look(0)
    assert nothing.before == nothing.after == look.before


def test_losing_all_frames_makes_the_student_say_one_thing(bench):
    found = bench.answers(bench.changed(np.arange(12), Change(lost=5))[2])
    np.testing.assert_allclose(found["student"], found["student"][0], atol=1e-6)
    assert np.ptp(found["teacher"]) > 0


def test_the_face_map_is_the_students_own_difference(bench):
    found = bench.face_map(1)
    frames, mask, _ = bench.pictures(1)
    covered = frames.copy()
    covered[:, 73:91, 55:73] = 96  # box (4, 3) of 7 x 7 on 128 pixels
    student = [
        bench.answers(bench.video(one[None], mask[None]), ["student"])["student"][0] for one in (frames, covered)
    ]
    assert found.shape == (7, 7)
    np.testing.assert_allclose(found[4, 3], student[0] - student[1], atol=1e-6)


def test_a_sweep_counts_what_the_answers_say(bench):
    changes = {0: Change(), 60: Change("lower", 60)}
    table = bench.sweep(
        {"cover": Sweep("%", "video", changes), "noise": Sweep("µV", "eeg", {0: Change(), 9: Change(noise=9)})}
    )
    assert set(table.loc[table["change"] == "noise", "role"]) == {"teacher", "ta1", "ta2"}
    plain, spoilt = (bench.answers(bench.changed(np.arange(12), change)[2]) for change in changes.values())
    row = table.query("change == 'cover' and strength == 60 and role == 'student'").iloc[0]
    p, q = plain["student"], spoilt["student"]
    assert row["accuracy"] == np.mean([(b > 0.5) == (y == 1) for b, y in zip(q, bench.labels, strict=True)])
    assert row["same"] == np.mean([(a > 0.5) == (b > 0.5) for a, b in zip(p, q, strict=True)])
    np.testing.assert_allclose(row["moved"], np.mean([abs(a - b) for a, b in zip(p, q, strict=True)]))
    zero = table[table["strength"] == 0]
    assert (zero["same"] == 1).all() and (zero["moved"] == 0).all()
    pd.testing.assert_frame_equal(
        table,
        bench.sweep({"cover": Sweep("%", "video", changes)}).pipe(
            lambda first: pd.concat([first, table[table["change"] == "noise"]], ignore_index=True)
        ),
    )


def test_windows_that_were_trained_on_are_refused(trained):
    rows = np.concatenate([trained.split.parts()["train"][:1], trained.split.parts()["test_trial"][:1]])
    with pytest.raises(ValueError, match="rows: expected test windows only"):
        Bench(trained, {}, rows)


def test_a_window_that_is_not_there_is_named(bench):
    with pytest.raises(ValueError, match="position: expected 0 to 11, got 12"):
        bench.look(12)
