"""KD, dense guidance, dropping, hints, NST and the released loss: by loops, in limits, and whom they reach."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch.nn import functional as F

from cdgkd_utils.methods.distillation import (
    DenseGuidance,
    FitNetsLoss,
    NSTLoss,
    ReleasedDenseGuidance,
    kd_divergence,
    reverse_divergence,
    selectivity_divergence,
)
from cdgkd_utils.methods.loss import UNRATED, CrossEntropy
from cdgkd_utils.models import ModelOutput, build_model


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(seed, *shape):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


ROWS, Y = torch.tensor([8, 1, 5, 2]), torch.tensor([0, 1, 1, 0])
GUIDES = {name: numbers(seed, 9, 2) for seed, name in enumerate(("teacher", "ta1", "ta2"), start=1)}
OUTPUT = ModelOutput(numbers(9, 4, 2), {"classifier_input": numbers(10, 4, 5)})


# ---- one guide -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 5])
def test_divergence_by_loops(n_classes):
    learner, guide, t = numbers(1, 7, n_classes), numbers(2, 7, n_classes), 3.0
    expected = 0.0
    for a, b in zip(learner.numpy(), guide.numpy(), strict=True):
        p, q = log_softmax(a / t), log_softmax(b / t)
        expected += t**2 * sum(np.exp(q[k]) * (q[k] - p[k]) for k in range(n_classes)) / 7
    assert kd_divergence(learner, guide, t).item() == pytest.approx(expected, rel=1e-12)


def test_direction_is_guide_to_learner_and_equal_answers_give_zero():
    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert kd_divergence(q, p, 1.0).item() == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2), abs=1e-6)
    assert kd_divergence(p, q, 1.0).item() == pytest.approx(0.5 * math.log(0.25 / 0.09), abs=1e-6)
    assert kd_divergence(p, p + 5, 2.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_guide_that_excludes_a_class_has_the_limit_of_one_that_nearly_does(dtype):
    learner = torch.zeros(1, 2, dtype=dtype, requires_grad=True)
    found = kd_divergence(learner, torch.tensor([[0.0, -torch.inf]], dtype=dtype), 2.0)
    assert found.item() == pytest.approx(4 * math.log(2), rel=1e-6) and round(found.item(), 2) == 2.77
    near = kd_divergence(learner, torch.tensor([[0.0, -200.0]], dtype=dtype), 2.0)
    assert found.item() == pytest.approx(near.item(), rel=1e-6)
    gradients = [torch.autograd.grad(x, learner)[0] for x in (found, near)]
    torch.testing.assert_close(*gradients)
    three = kd_divergence(numbers(1, 5, 3), numbers(2, 5, 3) - torch.tensor([0, torch.inf, 0]), 1.0)
    assert torch.isfinite(three)


# ---- dense guidance ------------------------------------------------------------------------------


def by_loops(kept, kd_weight=0.7, temperature=3.0, share=1.0):
    """(1 - lambda) CE + lambda T² sum_j b_j KL(q_j || q_n)."""
    total = 0.0
    for i, row in enumerate(ROWS):
        total -= (1 - kd_weight) * log_softmax(OUTPUT.logits[i].numpy())[Y[i]] / 4
        p = log_softmax(OUTPUT.logits[i].numpy() / temperature)
        for logits, b in zip(GUIDES.values(), kept, strict=True):
            q = log_softmax(logits[row].numpy() / temperature)
            total += share * kd_weight * temperature**2 * b * sum(np.exp(q[k]) * (q[k] - p[k]) for k in (0, 1)) / 4
    return total


def guided(**options):
    return DenseGuidance(GUIDES, kd_weight=0.7, temperature=3.0, generator=generator(), **options)


@pytest.mark.parametrize("drop", [{}, {"drop_prob": 0.5}, {"drop_exactly": 1}, {"drop_exactly": 2}])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_posters_student_loss_by_loops(drop, reduction):
    """With the mask that each mini-batch drew: all subsets by Bernoulli draws, those of one size by DGKD's own rule."""
    loss, masks = guided(reduction=reduction, **drop), set()
    for _ in range(40):
        value = loss(OUTPUT, Y, ROWS)
        kept = loss.kept_history[-1].tolist()
        share = 1 / max(sum(kept), 1) if reduction == "mean" else 1.0
        assert value.total.item() == pytest.approx(by_loops(kept, share=share), rel=1e-9)
        assert sum(v for k, v in value.parts.items() if k.startswith("loss")) == pytest.approx(value.total.item())
        masks.add(tuple(kept))
    sizes = {0: {3}, 0.5: {0, 1, 2, 3}, 1: {2}, 2: {1}}[next(iter(drop.values()), 0)]
    assert {sum(mask) for mask in masks} == sizes
    assert len(masks) == sum(math.comb(3, size) for size in sizes)  # every subset of those sizes spoke


def test_times_multiplies_the_guides_part_alone():
    one, three = (guided(times=times)(OUTPUT, Y, ROWS).parts for times in (1.0, 3.0))
    assert three["loss_ce"] == one["loss_ce"] and three["loss_kd_ta1"] == pytest.approx(3 * one["loss_kd_ta1"])


def test_masks_come_from_the_generator_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, same = (guided(drop_prob=0.5) for _ in range(2))
    for _ in range(20):
        one(OUTPUT, Y, ROWS), same(OUTPUT, Y, ROWS)
    assert all(torch.equal(a, b) for a, b in zip(one.kept_history, same.kept_history, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_unrated_windows_are_heard_of_from_the_guides_alone():
    mixed = torch.tensor([0, UNRATED, UNRATED, 1])
    found = guided()(OUTPUT, mixed, ROWS).parts
    assert found["loss_ce"] == pytest.approx(0.3 * F.cross_entropy(OUTPUT.logits[[0, 3]], mixed[[0, 3]]).item())
    assert found["loss_kd_ta1"] == guided()(OUTPUT, Y, ROWS).parts["loss_kd_ta1"]
    nothing = DenseGuidance(GUIDES, drop_prob=0.99, generator=generator())(OUTPUT, torch.full((4,), UNRATED), ROWS)
    assert nothing.parts["loss_ce"] == 0 and torch.isfinite(nothing.total)


def test_gradient_reaches_the_learner_only_and_wrong_options_are_refused():
    guide, x = numbers(1, 9, 2).requires_grad_(), numbers(2, 4, 2).requires_grad_()
    DenseGuidance({"g": guide})(ModelOutput(x, {}), Y, ROWS).total.backward()
    assert guide.grad is None and x.grad.abs().sum() > 0
    plain = DenseGuidance(GUIDES, kd_weight=0.0)(OUTPUT, Y, ROWS).total.item()
    assert plain == pytest.approx(CrossEntropy()(OUTPUT, Y, ROWS).total.item())
    for wrong in ({"drop_prob": 1.0}, {"drop_prob": 0.5, "drop_exactly": 1}, {"reduction": "max"}):
        with pytest.raises(ValueError, match=r"drop_prob|reduction"):
            guided(**wrong)
    for wrong in (lambda: DenseGuidance({}), lambda: DenseGuidance(GUIDES, drop_exactly=1)):
        with pytest.raises(ValueError, match=r"without guides|generator"):
            wrong()


def test_label_smoothing_by_hand():
    x = ModelOutput(torch.tensor([[2.0, 0.0]]), {})
    log_p = F.log_softmax(x.logits, 1)[0]
    expected = -(0.85 * log_p[0] + 0.15 * log_p[1])
    assert CrossEntropy(0.3)(x, Y[:1], ROWS[:1]).total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_released_dense_loss_is_cross_entropy_to_the_last_digit_and_its_mask_is_frozen():
    """The class's default weight of 1 leaves nothing to the guides, whatever mask a seed draws."""
    masks = set()
    for seed in range(12):
        logits = [OUTPUT.logits.clone().requires_grad_() for _ in range(2)]
        loss = ReleasedDenseGuidance(GUIDES, generator=generator(seed))
        values = [f(ModelOutput(x, {}), Y, ROWS).total for f, x in zip((loss, CrossEntropy()), logits, strict=True)]
        assert values[0].item() == values[1].item()
        assert torch.equal(*(torch.autograd.grad(v, x)[0] for v, x in zip(values, logits, strict=True)))
        loss(OUTPUT, Y, ROWS)
        assert torch.equal(loss.kept_history[0], loss.kept_history[1])
        masks.add(tuple(loss.kept.tolist()))
    assert len(masks) > 3
    loss = ReleasedDenseGuidance({"g": GUIDES["ta1"]}, generator=generator(), kd_weight=0.5, drop_prob=0.0)
    p, q = (F.softmax(x / 2, 1) for x in (OUTPUT.logits, GUIDES["ta1"][ROWS]))
    kl = (p * (p / q).log()).sum(1).mean().item()  # from learner to guide, without T²
    assert reverse_divergence(OUTPUT.logits, GUIDES["ta1"][ROWS], 2.0).item() == pytest.approx(kl, rel=1e-12)
    expected = 0.5 * F.cross_entropy(OUTPUT.logits, Y).item() + 0.5 * kl
    assert loss(OUTPUT, Y, ROWS).total.item() == pytest.approx(expected, rel=1e-9)


# ---- FitNets -------------------------------------------------------------------------------------


def test_fitnets_by_loops_and_its_gradient_reaches_student_and_regressor():
    hint = numbers(3, 9, 7).requires_grad_()
    loss = FitNetsLoss(hint, n_in=5, generator=generator(), weight=3.0)
    loss.regressor.double()
    feature = OUTPUT.features["classifier_input"].clone().requires_grad_()
    value = loss(ModelOutput(OUTPUT.logits, {"classifier_input": feature}), Y, ROWS)
    w, b = (p.detach().numpy() for p in loss.regressor.parameters())
    squares = []
    for i, row in enumerate(ROWS.tolist()):
        for k in range(7):
            guess = sum(w[k, j] * feature[i, j].item() for j in range(5)) + b[k]
            squares.append((hint[row, k].item() - guess) ** 2)
    assert value.parts["loss_hint"] == pytest.approx(3 * np.mean(squares), rel=1e-9)
    ce = F.cross_entropy(OUTPUT.logits, Y).item()
    assert value.total.item() == pytest.approx(ce + 3 * np.mean(squares), rel=1e-9)
    value.total.backward()
    assert hint.grad is None and feature.grad.abs().min() > 0
    assert all(p.grad.abs().sum() > 0 for p in loss.regressor.parameters())
    student = build_model("student", 0)
    learned = {id(p) for group in loss.param_groups(student) for p in group["params"]}
    assert learned == {id(p) for p in (*student.parameters(), *loss.regressor.parameters())}


# ---- NST -----------------------------------------------------------------------------------------


def looped(student, guide):
    """The three sums over pairs of channels, one pair at a time; equal numbers of positions."""
    per_window = []
    for s, t in zip(student.numpy(), guide.numpy(), strict=True):
        s, t = ([c / np.sqrt((c**2).sum()) for c in x.T] for x in (s, t))

        def mean_kernel(xs, ys):
            return sum(np.dot(x, y) ** 2 for x in xs for y in ys) / (len(xs) * len(ys))

        per_window.append(mean_kernel(t, t) + mean_kernel(s, s) - 2 * mean_kernel(t, s))
    return np.mean(per_window)


@pytest.mark.parametrize(("n_positions", "n_channels", "n_guide"), [(5, 8, 12), (12, 3, 4), (1, 2, 3)])
def test_selectivity_against_double_loops_and_finite_differences(n_positions, n_channels, n_guide):
    student, guide = numbers(0, 4, n_positions, n_channels), numbers(1, 4, n_positions, n_guide)
    got = selectivity_divergence(student, guide).item()
    assert got == pytest.approx(looped(student, guide), rel=1e-12, abs=1e-15)
    assert torch.autograd.gradcheck(lambda s: selectivity_divergence(s, guide[:2]), student[:2].requires_grad_())


def test_selectivity_by_hand_and_its_symmetries():
    e = torch.eye(3)[None]  # three positions; channels are the columns
    assert selectivity_divergence(e[:, :, :1], e[:, :, 1:2]).item() == pytest.approx(2)  # orthogonal: 1 + 1 − 0
    assert selectivity_divergence(e[:, :, :2], e[:, :, :1]).item() == pytest.approx(0.5)  # 1/2 + 1 − 2 · 1/2
    map_ = numbers(0, 6, 5, 4)
    changed = (map_ * torch.tensor([3.0, -0.1, 7.0, -2.0]))[:, :, [2, 0, 3, 1]].repeat(1, 1, 2)
    assert selectivity_divergence(map_, changed).item() == pytest.approx(0, abs=1e-12)
    wide, narrow = numbers(0, 6, 7, 4), numbers(1, 6, 3, 5)
    # adaptive bins of 7 positions in 3: [0, 3), [2, 5), [4, 7)
    pooled = torch.stack([wide[:, a:b].mean(1) for a, b in ((0, 3), (2, 5), (4, 7))], 1)
    for pair in ((wide, narrow), (narrow, wide)):
        assert selectivity_divergence(*pair).item() == pytest.approx(looped(pooled, narrow), rel=1e-12)
    dead = map_.clone()
    dead[:, :, 2] = 0
    gradient = torch.autograd.grad(selectivity_divergence(dead.requires_grad_(), numbers(2, 6, 5, 4)), dead)[0]
    assert torch.isfinite(gradient).all() and gradient[:, :, 2].abs().max() == 0 < gradient[:, :, 0].abs().max()


def test_maps_are_paired_by_name_the_eeg_with_the_deepest_video_map_or_left_out():
    guide = {"video": numbers(0, 9, 5, 6), "video_2": numbers(1, 9, 5, 7), "eeg": numbers(2, 9, 4, 3)}
    maps = {"video": numbers(3, 4, 5, 2), "video_2": numbers(4, 4, 5, 3)}
    output = ModelOutput(OUTPUT.logits, {}, maps)
    value = NSTLoss(guide, weight=50.0)(output, Y, ROWS)
    for name, own in (("video", "video"), ("video_2", "video_2"), ("eeg", "video")):
        expected = 50 * selectivity_divergence(maps[own], guide[name][ROWS]).item()
        assert value.parts[f"loss_nst_{name}"] == pytest.approx(expected, rel=1e-12)
    assert value.total.item() == pytest.approx(sum(value.parts.values()), rel=1e-12)
    alike = NSTLoss(guide, weight=50.0, maps=("video",))(output, Y, ROWS).parts
    assert alike == {k: v for k, v in value.parts.items() if k != "loss_nst_eeg"}
    for wrong in ((), ("sound",)):
        with pytest.raises(ValueError, match="guide_maps"):
            NSTLoss(guide, maps=wrong)
