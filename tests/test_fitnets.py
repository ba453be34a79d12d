"""Hints: the value, who learns from it, and the two stages."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.fitnets import FitNetsLoss, seeded_linear
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit

N, N_HINT, N_IN = 40, 7, 5
Y = torch.arange(N) % 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


HINT, LOGITS = normal(N, N_HINT, seed=1), normal(N, 2, seed=2)


def student_output(rows, *, grad=False):
    feature, logits = normal(len(rows), N_IN, seed=3), normal(len(rows), 2, seed=4)
    if grad:
        feature, logits = feature.requires_grad_(), logits.requires_grad_()
    return ModelOutput(logits, {"classifier_input": feature})


def make_inputs(n=96):
    labels = torch.arange(n) % 2
    video = normal(n, 5, 768, seed=5)
    video[:, :, 0] += 3 * (2 * labels[:, None] - 1)
    rows = torch.arange(n)
    mask = torch.ones(n, 5, dtype=torch.bool)
    return Inputs(torch.zeros(n, 4, 28, 28), video, mask, labels, rows[: n // 2], rows[n // 2 :])


def test_value_against_numpy_loops():
    rows = torch.tensor([31, 2, 17])
    loss = FitNetsLoss(HINT, n_in=N_IN, generator=generator(), weight=3.0)
    output = student_output(rows)
    value = loss(output, Y[rows], rows)
    w, b = (p.detach().double().numpy() for p in loss.regressor.parameters())
    feature, squares = output.features["classifier_input"].double().numpy(), []
    for i, row in enumerate(rows.tolist()):
        for k in range(N_HINT):
            guess = sum(w[k, j] * feature[i, j] for j in range(N_IN)) + b[k]
            squares.append((HINT[row, k].item() - guess) ** 2)
    assert value.parts["loss_hint"] == pytest.approx(3 * np.mean(squares), rel=1e-5)
    ce = F.cross_entropy(output.logits, Y[rows]).item()
    assert value.total.item() == pytest.approx(ce + 3 * np.mean(squares), rel=1e-5)


def test_a_linear_image_of_the_feature_is_a_perfect_hint():
    feature = normal(N, N_IN, seed=3)
    loss = FitNetsLoss(torch.zeros(N, N_HINT), n_in=N_IN, generator=generator(8))
    loss.hint = loss.regressor(feature).detach()
    value = loss(ModelOutput(LOGITS, {"classifier_input": feature}), Y, torch.arange(N))
    assert value.parts["loss_hint"] == pytest.approx(0, abs=1e-10)


def test_gradient_reaches_student_and_regressor_but_not_the_guide():
    rows = torch.arange(8)
    hint = HINT.clone().requires_grad_()
    loss = FitNetsLoss(hint, n_in=N_IN, generator=generator())
    output = student_output(rows, grad=True)
    loss(output, Y[:8], rows).total.backward()
    assert hint.grad is None
    assert output.features["classifier_input"].grad.abs().min() > 0
    assert all(p.grad.abs().sum() > 0 for p in loss.regressor.parameters())


def test_weight_zero_is_cross_entropy_and_another_feature_can_be_named():
    rows = torch.arange(8)
    output = student_output(rows)
    value = FitNetsLoss(HINT, n_in=N_IN, generator=generator(), weight=0.0)(output, Y[:8], rows)
    assert value.total.item() == pytest.approx(F.cross_entropy(output.logits, Y[:8]).item())
    wide = ModelOutput(output.logits, output.features | {"hint": normal(8, 11, seed=9)})
    loss = FitNetsLoss(HINT, n_in=11, generator=generator(), feature="hint")
    expected = F.mse_loss(loss.regressor(wide.features["hint"]), HINT[:8])
    assert loss(wide, Y[:8], rows).parts["loss_hint"] == pytest.approx(10 * expected.item(), rel=1e-6)


def test_the_regressor_comes_from_its_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (seeded_linear(50, 400, generator(s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weight, same.weight) and torch.equal(one.bias, same.bias)
    assert not torch.equal(one.weight, other.weight)
    bound = 50**-0.5
    assert one.weight.abs().max() <= bound
    # uniform on ±b has variance b²/3; 20,000 draws
    assert one.weight.var().item() == pytest.approx(bound**2 / 3, rel=0.03)


def test_two_stages_hint_alone_then_distillation_alone():
    rows = torch.arange(8)
    loss = FitNetsLoss(
        HINT, n_in=N_IN, generator=generator(), hint_epochs=2, guide_logits=LOGITS, kd_weight=0.7, temperature=3.0
    )
    for epoch in (0, 1):
        loss.begin_epoch(epoch, None)
        output = student_output(rows, grad=True)
        value = loss(output, Y[:8], rows)
        value.total.backward()
        assert output.logits.grad.abs().max() == 0
        assert output.features["classifier_input"].grad.abs().min() > 0
        assert value.total.item() == pytest.approx(value.parts["loss_hint"])
    loss.begin_epoch(2, None)
    output = student_output(rows, grad=True)
    value = loss(output, Y[:8], rows)
    kd = DenseGuidance({"teacher": LOGITS}, kd_weight=0.7, temperature=3.0)(output, Y[:8], rows)
    assert value.total.item() == pytest.approx(kd.total.item(), rel=1e-6)
    value.total.backward()
    assert output.features["classifier_input"].grad is None
    with pytest.raises(ValueError, match="guide_logits"):
        FitNetsLoss(HINT, n_in=N_IN, generator=generator(), hint_epochs=1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_both_stages_train_and_the_student_keeps_no_regressor(optimizer):
    """The classifier enters at the second stage: the fused optimisers must have known it before."""
    inputs = make_inputs()
    hint, logits = normal(96, N_HINT, seed=1), normal(96, 2, seed=2)
    model = build_model("student", 0)
    names, first = set(model.state_dict()), model.classifier.weight.detach().clone()
    loss = FitNetsLoss(hint, n_in=32, generator=generator(), hint_epochs=1, guide_logits=logits)
    regressor = loss.regressor.weight.detach().clone()
    settings = TrainSettings(epochs=1, batch_size=16, weight_decay=0.0, optimizer=optimizer)
    fit(model, inputs, loss, settings, seed=0)
    assert torch.equal(model.classifier.weight, first)
    assert not torch.equal(loss.regressor.weight, regressor)
    settings = TrainSettings(epochs=3, batch_size=16, weight_decay=0.0, optimizer=optimizer, selection="last_epoch")
    log = fit(model, inputs, loss, settings, seed=0).log
    assert (log["loss_hint"] > 0).tolist() == [True, False, False]
    assert (log["loss_kd"] > 0).tolist() == [False, True, True]
    assert not torch.equal(model.classifier.weight, first)
    assert set(model.state_dict()) == names
