"""The released behaviour, reproduced: constants in place of signals, zeros in place of terms."""

import argparse
import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.methods.distillation import DenseGuidance, kd_divergence
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.methods.prototypes import class_means, prototype_cross_entropy
from cdgkd_utils.methods.rebalancing import RebalancedCrossEntropy
from cdgkd_utils.methods.released import (
    ReleasedDenseGuidance,
    ReleasedHint,
    chance_of_silence,
    gaussian_kernels,
    moving_average,
    released_flag,
    released_kd,
    reverse_divergence,
)
from cdgkd_utils.methods.released_switches import SWITCHES
from cdgkd_utils.methods.released_teacher import (
    ReleasedRebalancing,
    own_class_scatter,
    released_pace,
    released_prototype_loss,
)
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit

N = 40
Y = torch.arange(N) % 2
ROWS = torch.arange(N)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_inputs(n=96, seed=0):
    """Noise in the shapes of the compact family's inputs; labels are alternating."""
    half = randn(n, 4, 28, 40, seed=seed)
    return Inputs(
        eeg=half @ half.transpose(2, 3) / 40,
        video=randn(n, 5, 768, seed=seed + 1),
        frame_mask=torch.ones(n, 5, dtype=torch.bool),
        labels=torch.arange(n) % 2,
        train=torch.arange(n - 32),
        val=torch.arange(n - 32, n),
    )


# ---- the teacher's stage -----------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_pace_is_minus_one_half_whatever_the_embeddings(scale):
    for seed in range(20):
        pace = released_pace(own_class_scatter(scale * randn(N, 6, seed=seed), Y))
        assert pace.item() == pytest.approx(-0.5, abs=1e-7)


def test_the_pace_of_k_classes_is_minus_one_over_k():
    for k in (3, 5):
        scatter = own_class_scatter(randn(N, 6), torch.arange(N) % k, n_classes=k)
        assert released_pace(scatter).item() == pytest.approx(-1 / k, abs=1e-7)


def test_the_scatter_against_loops_in_double_precision():
    z = randn(N, 6).double()
    for k, found in enumerate(own_class_scatter(z, Y)):
        rows = [i for i in range(N) if Y[i] == k]
        deviations = []
        for f in range(6):
            mean = sum(z[i, f].item() for i in rows) / len(rows)
            deviations += [(z[i, f].item() - mean) ** 2 for i in rows]
        assert found.item() == pytest.approx(sum(deviations) / len(deviations), rel=1e-12)


def test_the_prototype_loss_is_least_at_equal_scatters():
    least = released_prototype_loss(torch.tensor([0.7, 0.7])).item()
    assert least == pytest.approx(math.log(2), abs=1e-7)
    # At a difference of D the loss is the mean of ln(1 + e^D) and ln(1 + e^-D).
    by_hand = (math.log(1 + math.e) + math.log(1 + 1 / math.e)) / 2
    assert released_prototype_loss(torch.tensor([1.2, 0.2])).item() == pytest.approx(by_hand, rel=1e-6)
    assert by_hand > least
    # Its slope is 1/2 - softmax(-d): towards equality, and 0 there.
    for d in ([0.3, 0.9], [2.0, 0.5], [0.4, 0.4]):
        d = torch.tensor(d, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(released_prototype_loss(d), d)
        torch.testing.assert_close(slope, 0.5 - F.softmax(-d.detach(), 0))


def test_the_released_prototype_loss_is_blind_to_how_far_classes_lie_apart():
    z, direction = randn(N, 6).double(), torch.eye(6, dtype=torch.float64)[0]
    released, ours = [], []
    for apart in (0.0, 1.0, 4.0):
        moved = z + apart * (2 * Y - 1)[:, None] * direction
        released.append(released_prototype_loss(own_class_scatter(moved, Y)).item())
        ours.append(prototype_cross_entropy(moved, Y, *class_means(moved, Y)).item())
    assert released == pytest.approx([released[0]] * 3, rel=1e-12)
    assert ours[0] > ours[1] > ours[2]


def test_the_released_prototype_loss_does_not_ask_which_class_is_which():
    z = randn(N, 6)
    assert released_prototype_loss(own_class_scatter(z, Y)).item() == pytest.approx(
        released_prototype_loss(own_class_scatter(z, 1 - Y)).item(), rel=1e-6
    )


def test_the_gradient_through_the_batch_mean_makes_no_difference():
    """It is the mean of the deviations, which is 0: each window is pulled as if the prototype were held."""
    z = randn(N, 3).double().requires_grad_()
    (pull,) = torch.autograd.grad(own_class_scatter(z, Y)[0], z)
    held = 2 * (z - z[::2].mean(0)).detach() / (N // 2 * 3)
    torch.testing.assert_close(pull[::2], held[::2])
    assert pull[1::2].abs().max() == 0


def test_an_absent_class_poisons_the_loss_in_spite_of_the_zero_weights():
    output = ModelOutput(randn(N, 2), {"eeg": randn(N, 6), "video": randn(N, 6, seed=1)})
    alone = torch.zeros(N, dtype=torch.int64)
    assert own_class_scatter(output.features["eeg"], alone).isnan().tolist() == [False, True]
    assert ReleasedRebalancing()(output, alone, ROWS).total.isnan()
    ours = RebalancedCrossEntropy(mode="constant")
    ours.begin_epoch(0, lambda: (output, alone))
    assert ours(output, alone, ROWS).total.isfinite()


def test_a_teacher_with_the_released_rebalancing_is_the_plain_teacher_weight_for_weight():
    inputs, settings = random_inputs(), TrainSettings(epochs=3, batch_size=16, selection="last_epoch")
    models = [build_model("teacher", seed=1) for _ in range(3)]
    start = models[2].state_dict()
    logs = [
        fit(model, inputs, loss, settings, seed=2).log
        for model, loss in zip(models[:2], (ReleasedRebalancing(strength=3.0), CrossEntropy()), strict=True)
    ]
    for name, trained in models[0].state_dict().items():
        assert torch.equal(trained, models[1].state_dict()[name]), name
    assert not torch.equal(start["classifier.weight"], models[0].state_dict()["classifier.weight"])
    ratio = logs[0]["imbalance_ratio"].to_numpy()
    assert np.isnan(ratio[0]) and ratio[1:] == pytest.approx([1.0, 1.0], abs=1e-6)
    assert (logs[0][["eeg_weight", "video_weight", "loss_proto_eeg", "loss_proto_video"]] == 0).all(axis=None)


# ---- the distilled stages ----------------------------------------------------------------------


def test_both_directions_by_hand():
    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    # Guide p, learner q. Forward: .9 ln 1.8 + .1 ln .2. Reverse: .5 ln(.5/.9) + .5 ln(.5/.1).
    assert kd_divergence(q, p, 1.0).item() == pytest.approx(0.36806, abs=1e-5)
    assert reverse_divergence(q, p, 1.0).item() == pytest.approx(0.51083, abs=1e-5)
    assert reverse_divergence(p, q, 1.0).item() == pytest.approx(0.36806, abs=1e-5)


def test_reverse_divergence_against_loops_in_double_precision_and_without_t_squared():
    learner, guide, t = randn(N, 2).double(), randn(N, 2, seed=1).double(), 2.0
    total = 0.0
    for a, b in zip(learner.numpy() / t, guide.numpy() / t, strict=True):
        p, q = np.exp(a) / np.exp(a).sum(), np.exp(b) / np.exp(b).sum()
        total += sum(p[k] * math.log(p[k] / q[k]) for k in range(2))
    assert reverse_divergence(learner, guide, t).item() == pytest.approx(total / N, rel=1e-10)
    assert t**2 * reverse_divergence(guide, learner, t).item() == pytest.approx(
        kd_divergence(learner, guide, t).item(), rel=1e-10
    )


def test_the_guide_gets_no_gradient():
    learner, guide = randn(N, 2).requires_grad_(), randn(N, 2, seed=1).requires_grad_()
    reverse_divergence(learner, guide, 2.0).backward()
    assert guide.grad is None and learner.grad.abs().max() > 0


@pytest.mark.parametrize("seed", range(8))
def test_the_released_dense_loss_is_cross_entropy_to_the_last_digit(seed):
    """Value and gradient, for every mask that eight seeds draw."""
    guides = {name: 5 * randn(N, 2, seed=10 + i) for i, name in enumerate(("teacher", "ta1", "ta2"))}
    a, b = (randn(N, 2, seed=seed).requires_grad_() for _ in range(2))
    value = ReleasedDenseGuidance(guides, generator=generator(seed))(ModelOutput(a, {}), Y, ROWS)
    ce = CrossEntropy()(ModelOutput(b, {}), Y, ROWS)
    assert torch.equal(value.total, ce.total)
    assert all(value.parts[f"loss_kd_{name}"] == 0 for name in guides)
    value.total.backward()
    ce.total.backward()
    assert torch.equal(a.grad, b.grad)
    correct = DenseGuidance(guides)(ModelOutput(a, {}), Y, ROWS)
    assert not torch.equal(correct.total, ce.total)


def test_a_released_stage_gives_the_network_of_cross_entropy_weight_for_weight():
    inputs = random_inputs()
    settings = TrainSettings(epochs=2, batch_size=16, selection="last_epoch", train_mode=False)
    guides = {"teacher": randn(96, 2, seed=5), "ta1": randn(96, 2, seed=6)}
    models = [build_model("ta2", seed=1) for _ in range(3)]
    losses = (
        ReleasedDenseGuidance(guides, generator=generator(3)),
        CrossEntropy(),
        DenseGuidance(guides, kd_weight=0.5),
    )
    for model, loss in zip(models, losses, strict=True):
        fit(model, inputs, loss, settings, seed=2)
    released, plain, guided = (model.state_dict() for model in models)
    assert all(torch.equal(value, plain[name]) for name, value in released.items())
    assert not torch.equal(guided["classifier.weight"], plain["classifier.weight"])


def test_inference_mode_leaves_the_batch_norm_statistics_where_they_began():
    inputs = random_inputs()
    for train_mode in (False, True):
        model = build_model("ta1", seed=1)
        settings = TrainSettings(epochs=1, batch_size=16, selection="last_epoch", train_mode=train_mode)
        fit(model, inputs, CrossEntropy(), settings, seed=2)
        untouched = bool((model.eeg.norm.running_mean == 0).all() and (model.eeg.norm.running_var == 1).all())
        assert untouched == (not train_mode)


def test_the_mask_is_drawn_once_and_comes_from_the_seed():
    guides = {name: randn(N, 2) for name in "abc"}
    loss = ReleasedDenseGuidance(guides, generator=generator(4))
    for _ in range(30):
        loss(ModelOutput(randn(N, 2), {}), Y, ROWS)
    history = torch.stack(loss.kept_history)
    assert history.shape == (30, 3) and len(torch.unique(history, dim=0)) == 1
    assert torch.equal(loss.kept, ReleasedDenseGuidance(guides, generator=generator(4)).kept)
    masks = {tuple(ReleasedDenseGuidance(guides, generator=generator(s)).kept.tolist()) for s in range(100)}
    assert masks == set(itertools.product((False, True), repeat=3))


def test_chance_of_a_stage_without_any_guide():
    assert [chance_of_silence(n) for n in (1, 2, 3)] == [0.5, 0.25, 0.125]
    assert chance_of_silence(3, 0.8) == pytest.approx(0.512)
    assert chance_of_silence(2, 0.0) == 0 and chance_of_silence(2, 1.0) == 1


def test_kd_as_released():
    guide, x = randn(100, 2, seed=1), randn(3, 2, seed=2)
    rows = torch.tensor([70, 3, 99])
    value = released_kd({"teacher": guide})(ModelOutput(x, {}), Y[:3], rows)
    expected = 0.5 * F.cross_entropy(x, Y[:3]) + 0.5 * reverse_divergence(x, guide[rows], 2.0)
    assert value.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert sum(v for k, v in value.parts.items() if k.startswith("loss_")) == pytest.approx(value.total.item())
    assert value.parts["kept_teacher"] == 1


def test_refused_arguments():
    with pytest.raises(ValueError, match="guide_logits is empty"):
        ReleasedDenseGuidance({})
    with pytest.raises(ValueError, match="needs a generator"):
        ReleasedDenseGuidance({"a": randn(4, 2)})
    with pytest.raises(ValueError, match="kind must be fitnets or nst, got 'x'"):
        ReleasedHint(randn(4, 2), kind="x")
    with pytest.raises(ValueError, match="n_features: expected 1 to 8, got 9"):
        moving_average(randn(4, 8), 9)


# ---- the other baselines -----------------------------------------------------------------------


def test_moving_average_has_the_released_widths_and_the_mean_of_neighbours():
    assert moving_average(randn(2, 2304), 1536).shape == (2, 1536)
    x = torch.tensor([[1.0, 2.0, 6.0, 3.0]])
    assert moving_average(x, 2).tolist() == [[3.0, pytest.approx(11 / 3)]]
    assert torch.equal(moving_average(x, 4), x)


def test_fitnets_without_regressor():
    hint, x = randn(60, 5, seed=1), ModelOutput(randn(4, 2), {"classifier_input": randn(4, 7, seed=2)})
    rows = torch.tensor([5, 59, 0, 7])
    found = ReleasedHint(hint)(x, Y[:4], rows)
    means = np.stack([x.features["classifier_input"].numpy()[:, j : j + 3].mean(1) for j in range(5)], axis=1)
    expected = ((means - hint[rows].numpy()) ** 2).mean()
    assert found.parts["loss_fitnets"] == pytest.approx(0.5 * expected, rel=1e-5)
    assert found.total.item() == pytest.approx(found.parts["loss_ce"] + found.parts["loss_fitnets"], rel=1e-6)
    # A wider guide (as in the compact family) is averaged instead.
    narrow = ModelOutput(x.logits, {"classifier_input": randn(4, 3, seed=3)})
    means = np.stack([hint[rows].numpy()[:, j : j + 3].mean(1) for j in range(3)], axis=1)
    expected = ((means - narrow.features["classifier_input"].numpy()) ** 2).mean()
    assert ReleasedHint(hint)(narrow, Y[:4], rows).parts["loss_fitnets"] == pytest.approx(0.5 * expected, rel=1e-5)


def test_the_batch_discrepancy_against_loops():
    hint, learner = randn(6, 3, seed=1).double(), randn(6, 3, seed=2).double()
    gamma = 1 / (2 * (learner**2).mean().item())

    def mean_kernel(a, b):
        return np.mean([[math.exp(-gamma * ((u - v) ** 2).sum()) for v in b.numpy()] for u in a.numpy()])

    expected = mean_kernel(hint, hint) + mean_kernel(learner, learner) - 2 * mean_kernel(hint, learner)
    output = ModelOutput(randn(6, 2).double(), {"classifier_input": learner})
    value = ReleasedHint(hint, kind="nst")(output, Y[:6], torch.arange(6))
    assert value.parts["loss_nst"] == pytest.approx(0.5 * expected, rel=1e-10)


def test_the_batch_discrepancy_underflows_at_the_released_width_and_carries_no_teacher():
    n = 16
    hint, learner = randn(n, 1536, seed=1), randn(n, 1536, seed=2).requires_grad_()
    among, own, between = gaussian_kernels(hint, learner)
    assert torch.equal(among, torch.eye(n)) and torch.equal(own, torch.eye(n))
    assert (between == 0).all()
    assert (among.mean() + own.mean() - 2 * between.mean()).item() == pytest.approx(2 / n, rel=1e-6)
    (slope,) = torch.autograd.grad(between.mean(), learner)
    assert (slope == 0).all()
    # With few features the kernels do see the teacher.
    assert (gaussian_kernels(hint[:, :4], learner[:, :4])[2] > 0).all()


def test_a_flag_of_type_bool_is_true_for_the_text_false():
    parser = argparse.ArgumentParser()
    parser.add_argument("--flag", type=released_flag, default=False)
    assert parser.parse_args(["--flag=False"]).flag is True
    assert parser.parse_args([]).flag is False and parser.parse_args(["--flag="]).flag is False


# ---- the table of switches ---------------------------------------------------------------------


def test_each_switch_is_named_once_and_told_in_full():
    assert len({s.name for s in SWITCHES}) == len(SWITCHES)
    for switch in SWITCHES:
        assert switch.default != switch.released
        assert all(getattr(switch, f) for f in ("name", "default", "released", "defects"))
        assert switch.where or "not in the release" in switch.released


def test_the_switches_tell_this_packages_defaults():
    said = {s.name: s.default for s in SWITCHES}
    ours, released = (
        {name: p.default for name, p in inspect.signature(loss).parameters.items()}
        for loss in (DenseGuidance, ReleasedDenseGuidance)
    )
    assert said["kd.ce_weight"].startswith(f"{1 - ours['kd_weight']:g} ")
    assert released["ce_weight"] == 1.0 and released["temperature"] == ours["temperature"] == 2.0
    rebalanced = {name: p.default for name, p in inspect.signature(RebalancedCrossEntropy).parameters.items()}
    assert said["pmr.distance"].lower() == rebalanced["kind"]
    assert f"momentum {rebalanced['momentum']:g}" in said["pmr.prototype"]
    assert TrainSettings(epochs=1).train_mode and said["train_mode.distilled"] == "training mode"
