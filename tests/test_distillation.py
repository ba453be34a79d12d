"""Dense guidance: direction, temperature, dropping, and whom the gradient reaches."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.methods.distillation import DenseGuidance, draw_kept, kd_divergence
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models.output import ModelOutput


def logits(n=16, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


Y = torch.arange(16) % 2
ROWS = torch.arange(16)


def test_direction_is_guide_to_learner():
    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    # KL(p||q) = .9 ln 1.8 + .1 ln .2
    assert kd_divergence(q, p, 1.0).item() == pytest.approx(0.36806, abs=1e-5)
    assert kd_divergence(p, q, 1.0).item() == pytest.approx(0.5 * math.log(0.25 / 0.09), abs=1e-5)


def test_against_numpy_in_double_precision():
    a, b, t = logits(seed=1).double(), logits(seed=2).double(), 3.0
    q = np.exp(b.numpy() / t) / np.exp(b.numpy() / t).sum(1, keepdims=True)
    p = np.exp(a.numpy() / t) / np.exp(a.numpy() / t).sum(1, keepdims=True)
    expected = t**2 * (q * np.log(q / p)).sum(1).mean()
    assert kd_divergence(a, b, t).item() == pytest.approx(expected, rel=1e-12)


def test_equal_logits_and_shifted_logits_give_zero():
    x = logits()
    assert kd_divergence(x, x, 2.0).item() == pytest.approx(0, abs=1e-7)
    assert kd_divergence(x, x + 5, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_the_gradient_tends_to_a_temperature_free_limit():
    """At high T the gradient is (centred learner − centred guide) / K / B: T² keeps it from vanishing."""
    x, guide = logits(seed=1).double().requires_grad_(), logits(seed=2).double()
    (gradient,) = torch.autograd.grad(kd_divergence(x, guide, 500.0), x)
    centred = (x - x.mean(1, keepdim=True)) - (guide - guide.mean(1, keepdim=True))
    torch.testing.assert_close(gradient, centred.detach() / 2 / len(x), rtol=1e-2, atol=1e-5)
    without = torch.autograd.grad(kd_divergence(x, guide, 500.0) / 500.0**2, x)[0]
    assert without.abs().max() < 1e-5


def test_one_guide_without_drop_is_hintons_kd():
    guide, x = logits(seed=3), logits(seed=4)
    loss = DenseGuidance({"teacher": guide}, kd_weight=0.7, temperature=4.0)
    value = loss(ModelOutput(x, {}), Y, ROWS)
    soft = F.softmax(guide / 4, 1)
    hinton = 0.3 * F.cross_entropy(x, Y) + 0.7 * 16 * F.kl_div(F.log_softmax(x / 4, 1), soft, reduction="batchmean")
    assert value.total.item() == pytest.approx(hinton.item(), rel=1e-6)
    assert value.total.item() == pytest.approx(value.parts["loss_ce"] + value.parts["loss_kd_teacher"], rel=1e-6)


def test_guides_add_up_and_the_mean_divides_by_the_survivors():
    a, b, x = logits(seed=1), logits(seed=2), ModelOutput(logits(seed=3), {})
    together = DenseGuidance({"a": a, "b": b}, kd_weight=1.0)(x, Y, ROWS).total
    alone = sum(DenseGuidance({"g": g}, kd_weight=1.0)(x, Y, ROWS).total for g in (a, b))
    assert together.item() == pytest.approx(alone.item(), rel=1e-6)
    mean = DenseGuidance({"a": a, "b": b}, kd_weight=1.0, reduction="mean")(x, Y, ROWS).total
    assert mean.item() == pytest.approx(alone.item() / 2, rel=1e-6)


def test_guides_are_looked_up_by_row():
    guide, rows = logits(100, seed=1), torch.tensor([7, 3, 99])
    x = ModelOutput(guide[rows], {})
    value = DenseGuidance({"g": guide}, kd_weight=1.0)(x, Y[:3], rows)
    assert value.total.item() == pytest.approx(0, abs=1e-6)


def test_weight_zero_is_cross_entropy_and_no_guide_is_refused():
    x = ModelOutput(logits(), {})
    value = DenseGuidance({"g": logits(seed=9)}, kd_weight=0.0)(x, Y, ROWS)
    assert value.total.item() == pytest.approx(CrossEntropy()(x, Y, ROWS).total.item())
    with pytest.raises(ValueError, match="empty"):
        DenseGuidance({})


def test_gradient_reaches_the_learner_only():
    guide = logits(seed=1).requires_grad_()
    x = logits(seed=2).requires_grad_()
    DenseGuidance({"g": guide})(ModelOutput(x, {}), Y, ROWS).total.backward()
    assert guide.grad is None
    assert x.grad.abs().sum() > 0


def masks(seed, n_steps=400, **kwargs):
    loss = DenseGuidance(
        {"a": logits(), "b": logits(seed=1), "c": logits(seed=2)},
        drop_prob=0.5,
        generator=torch.Generator().manual_seed(seed),
        **kwargs,
    )
    for _ in range(n_steps):
        loss(ModelOutput(logits(seed=5), {}), Y, ROWS)
    return torch.stack(loss.kept_history)


def test_the_mask_differs_by_batch_repeats_by_seed_and_has_the_right_rate():
    one, same, other = masks(0), masks(0), masks(1)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one.unique(dim=0)) == 8  # all subsets of three guides occur, the empty one too
    # 1200 coins: the sd of the mean is 0.0144, five of them are a bound that holds for any fixed seed tried
    assert abs(one.float().mean().item() - 0.5) < 5 * 0.0144
    assert masks(0, at_least_one=True).any(dim=1).all()


def test_a_dropped_guide_contributes_nothing_and_the_global_state_is_untouched():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    loss = DenseGuidance(
        {"a": logits(seed=1)}, kd_weight=0.9, drop_prob=0.5, generator=torch.Generator().manual_seed(0)
    )
    x = ModelOutput(logits(seed=2), {})
    values = [loss(x, Y, ROWS) for _ in range(20)]
    full = DenseGuidance({"a": logits(seed=1)}, kd_weight=0.9)(x, Y, ROWS).total.item()
    for value, kept in zip(values, loss.kept_history, strict=True):
        expected = full if kept.item() else 0.1 * F.cross_entropy(x.logits, Y).item()
        assert value.total.item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


def test_drop_zero_keeps_all_and_wrong_probabilities_are_refused():
    assert draw_kept(5, 0.0, torch.Generator()).all()
    for p in (-0.1, 1.0):
        with pytest.raises(ValueError, match="drop_prob"):
            DenseGuidance({"g": logits()}, drop_prob=p, generator=torch.Generator())
    with pytest.raises(ValueError, match="generator"):
        DenseGuidance({"g": logits()}, drop_prob=0.5)


def test_label_smoothing_by_hand():
    x = ModelOutput(torch.tensor([[2.0, 0.0]]), {})
    log_p = F.log_softmax(x.logits, 1)[0]
    expected = -(0.85 * log_p[0] + 0.15 * log_p[1])
    assert CrossEntropy(0.3)(x, torch.tensor([0]), ROWS[:1]).total.item() == pytest.approx(expected.item(), rel=1e-6)
