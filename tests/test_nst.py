"""Selectivity transfer: the Gram form against explicit loops over channels, and its symmetries."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.methods.nst import NSTLoss, selectivity_divergence
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model

Y = torch.arange(6) % 2
ROWS = torch.arange(6)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def looped(student, guide):
    """The three sums over pairs of channels, one pair at a time; equal numbers of positions."""
    per_window = []
    for s, t in zip(student.numpy(), guide.numpy(), strict=True):
        s = [c / np.sqrt((c**2).sum()) for c in s.T]
        t = [c / np.sqrt((c**2).sum()) for c in t.T]

        def mean_kernel(xs, ys):
            return sum(np.dot(x, y) ** 2 for x in xs for y in ys) / (len(xs) * len(ys))

        per_window.append(mean_kernel(t, t) + mean_kernel(s, s) - 2 * mean_kernel(t, s))
    return np.mean(per_window)


@pytest.mark.parametrize(("n_positions", "n_channels", "n_guide"), [(5, 8, 12), (12, 3, 4), (1, 2, 3)])
def test_against_double_loops(n_positions, n_channels, n_guide):
    student, guide = normal(6, n_positions, n_channels), normal(6, n_positions, n_guide, seed=1)
    got = selectivity_divergence(student, guide).item()
    assert got == pytest.approx(looped(student, guide), rel=1e-12, abs=1e-15)


def test_hand_computed_extremes():
    e = torch.eye(3)[None]  # three positions; channels are the columns
    # one channel each, orthogonal: 1 + 1 − 0
    assert selectivity_divergence(e[:, :, :1], e[:, :, 1:2]).item() == pytest.approx(2)
    # {e1, e2} against {e1}: 1/2 + 1 − 2 · 1/2
    assert selectivity_divergence(e[:, :, :2], e[:, :, :1]).item() == pytest.approx(0.5)


def test_order_sign_scale_and_repetition_of_channels_do_not_matter():
    map_ = normal(6, 5, 4)
    scale = torch.tensor([3.0, -0.1, 7.0, -2.0]).double()
    changed = (map_ * scale)[:, :, [2, 0, 3, 1]]
    assert selectivity_divergence(map_, changed).item() == pytest.approx(0, abs=1e-14)
    assert selectivity_divergence(map_, torch.cat([map_, map_, map_], 2)).item() == pytest.approx(0, abs=1e-14)
    other = normal(6, 5, 9, seed=3)
    assert selectivity_divergence(map_, other).item() == pytest.approx(selectivity_divergence(other, map_).item())


def test_the_map_with_more_positions_is_pooled():
    student, guide = normal(6, 7, 4), normal(6, 3, 5, seed=1)
    # adaptive bins of 7 positions in 3: [0, 3), [2, 5), [4, 7)
    pooled = torch.stack([student[:, a:b].mean(1) for a, b in ((0, 3), (2, 5), (4, 7))], 1)
    expected = looped(pooled, guide)
    assert selectivity_divergence(student, guide).item() == pytest.approx(expected, rel=1e-12)
    assert selectivity_divergence(guide, student).item() == pytest.approx(expected, rel=1e-12)


def test_gradient_reaches_the_student_only_and_a_dead_channel_is_harmless():
    student, guide = normal(6, 5, 4), normal(6, 5, 4, seed=1).requires_grad_()
    student[:, :, 2] = 0
    student.requires_grad_()
    selectivity_divergence(student, guide).backward()
    assert guide.grad is None
    assert torch.isfinite(student.grad).all()
    assert student.grad[:, :, [0, 1, 3]].abs().sum(1).min() > 0
    assert student.grad[:, :, 2].abs().max() == 0


def test_gradient_against_finite_differences():
    student, guide = normal(2, 4, 3).requires_grad_(), normal(2, 6, 5, seed=1)
    assert torch.autograd.gradcheck(lambda s: selectivity_divergence(s, guide), student)


def test_maps_are_paired_by_name_and_the_eeg_with_the_deepest_video_map():
    guide = {"video": normal(9, 5, 6), "video_2": normal(9, 5, 7, seed=1), "eeg": normal(9, 4, 3, seed=2)}
    maps = {"video": normal(6, 5, 2, seed=3), "video_2": normal(6, 5, 3, seed=4)}
    rows = torch.tensor([8, 0, 3, 3, 1, 5])
    output = ModelOutput(normal(6, 2, seed=5), {}, maps)
    value = NSTLoss(guide, weight=50.0)(output, Y, rows)
    for name, own in (("video", "video"), ("video_2", "video_2"), ("eeg", "video")):
        expected = 50 * selectivity_divergence(maps[own], guide[name][rows]).item()
        assert value.parts[f"loss_nst_{name}"] == pytest.approx(expected, rel=1e-12)
    assert value.total.item() == pytest.approx(sum(value.parts.values()), rel=1e-12)
    assert value.parts["loss_ce"] == pytest.approx(F.cross_entropy(output.logits, Y).item())


def test_missing_maps_are_named():
    with pytest.raises(ValueError, match="guide_maps is empty"):
        NSTLoss({})
    loss = NSTLoss({"video_2": normal(6, 5, 3)})
    with pytest.raises(ValueError, match=r"'video_2'.*offers video"):
        loss(ModelOutput(normal(6, 2), {}, {"video": normal(6, 5, 3)}), Y, ROWS)


def test_the_compact_student_is_moved_through_its_frame_encoder():
    g = torch.Generator().manual_seed(0)
    video, mask = torch.randn(6, 5, 768, generator=g), torch.ones(6, 5, dtype=torch.bool)
    student, teacher = build_model("student", 0), build_model("teacher", 1).eval()
    eeg = torch.eye(28).expand(6, 4, 28, 28)
    with torch.no_grad():
        maps = teacher(eeg, video, mask).maps
    output = student(video, mask)
    NSTLoss(maps)(ModelOutput(output.logits.detach(), {}, output.maps), Y, ROWS).total.backward()
    assert student.encoder.frame[0].weight.grad.abs().sum() > 0
    assert student.classifier.weight.grad is None
