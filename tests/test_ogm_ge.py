"""OGM-GE: who is ahead by the fused classifier, and whose gradients are scaled."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.methods.ogm_ge import GradientModulation, gradient_scales, score_ratio, unimodal_logits
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit

ROWS = torch.arange(32)


def batch(n=32, video_signal=1.0, seed=0):
    """Windows whose faces tell the class, if they should, and whose EEG is noise."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, 4, 28, 40, generator=g)
    y = torch.arange(n) % 2
    video = 0.3 * torch.randn(n, 5, 768, generator=g) + video_signal * (2 * y - 1)[:, None, None]
    return a @ a.transpose(-1, -2) / 40, video, torch.ones(n, 5, dtype=torch.bool), y


def step(loss, model, *, epoch=0, data=None):
    """Gradients after one forward, backward and the loss's own hook."""
    *x, y = data or batch()
    model.zero_grad(set_to_none=True)
    output = model(*x)
    loss.begin_epoch(epoch, lambda: (output, y))
    loss(output, y, ROWS).total.backward()
    loss.before_step(model, torch.optim.SGD(model.parameters(), lr=1))
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def biased_teacher(ahead):
    """A teacher in evaluation mode whose classifier reads the class from one modality; returns its data, too."""
    model = build_model("teacher", 0).eval()
    *x, y = batch()
    with torch.no_grad():
        z = model(*x).features[ahead]
        direction = z[y == 1].mean(0) - z[y == 0].mean(0)
        model.classifier.weight.zero_()
        place = slice(0, 64) if ahead == "eeg" else slice(64, 128)
        model.classifier.weight[:, place] = torch.stack([-direction, direction]) * 3
        # The other side may not be quite silent, or its encoder would have no gradient to look at.
        model.classifier.weight += 1e-3 * torch.randn(2, 128, generator=torch.Generator().manual_seed(1))
    return model, (*x, y)


def test_scores_by_hand():
    video, eeg = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]), torch.tensor([[math.log(4), 0.0], [0.0, 0.0]])
    # own class: video 1/2 and 3/4; EEG 4/5 and 1/2
    assert score_ratio(video, eeg, torch.tensor([0, 1])) == pytest.approx(1.25 / 1.3)


def test_scores_by_a_loop_in_float64():
    g = torch.Generator().manual_seed(0)
    video, eeg = torch.randn(2, 20, 2, generator=g, dtype=torch.float64)
    y = torch.randint(0, 2, (20,), generator=g)
    sums = []
    for logits in (video.numpy(), eeg.numpy()):
        total = 0.0
        for row, k in zip(logits, y.tolist(), strict=True):
            total += np.exp(row[k]) / sum(np.exp(v) for v in row)
        sums.append(total)
    assert score_ratio(video, eeg, y) == pytest.approx(sums[0] / sums[1], rel=1e-12)


def test_scales_by_hand():
    assert gradient_scales(2.0, 0.5) == pytest.approx((1 - math.tanh(1.0), 1.0))
    assert gradient_scales(0.5, 0.5) == pytest.approx((1.0, 1 - math.tanh(1.0)))
    assert gradient_scales(1.0, 0.5) == (1.0, 1.0)
    for ratio in (0.05, 0.9, 1.1, 9.0):
        video, eeg = gradient_scales(ratio, 0.3)
        assert gradient_scales(1 / ratio, 0.3) == pytest.approx((eeg, video))
        assert 0 < min(video, eeg) < 1 == max(video, eeg)
        assert gradient_scales(ratio, 0.0) == (1.0, 1.0)
    assert gradient_scales(1.01, 0.5)[0] > gradient_scales(1.5, 0.5)[0] > gradient_scales(4.0, 0.5)[0] > 0


def test_parts_of_one_layer_are_its_columns_and_half_its_bias():
    model = build_model("teacher", 0)
    *x, _ = batch()
    output = model(*x)
    parts = unimodal_logits(model.classifier, output.features)
    w, b = model.classifier.weight.detach(), model.classifier.bias.detach()
    torch.testing.assert_close(parts["eeg"], output.features["eeg"].detach() @ w[:, :64].T + b / 2)
    torch.testing.assert_close(parts["video"], output.features["video"].detach() @ w[:, 64:].T + b / 2)
    assert model.training and not parts["eeg"].requires_grad


@pytest.mark.parametrize("order", [("eeg", "video"), ("video", "eeg")])
def test_parts_of_a_stack_of_affine_maps_with_dropout(order):
    torch.manual_seed(0)
    widths = {"eeg": 6, "video": 10}
    stack = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    features = {m: torch.randn(5, n) for m, n in widths.items()}
    features["classifier_input"] = torch.cat([features[m] for m in order], dim=1)
    parts = unimodal_logits(stack, features)
    assert stack.training and stack[0].training
    w = (stack[3].weight @ stack[2].weight @ stack[1].weight).detach()
    bias = stack.eval()(torch.zeros(1, 16)).detach()
    first = widths[order[0]]
    torch.testing.assert_close(parts[order[0]], features[order[0]] @ w[:, :first].T + bias / 2)
    torch.testing.assert_close(parts[order[1]], features[order[1]] @ w[:, first:].T + bias / 2)
    torch.testing.assert_close(parts["eeg"] + parts["video"], stack(features["classifier_input"]).detach())


def test_what_cannot_be_divided_is_refused():
    torch.manual_seed(0)
    z = {"eeg": 5 * torch.randn(20, 4), "video": 5 * torch.randn(20, 4)}
    side_by_side = z | {"classifier_input": torch.cat([z["eeg"], z["video"]], 1)}
    bent = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"model\.classifier: expected an affine map"):
        unimodal_logits(bent, side_by_side)
    with pytest.raises(ValueError, match=r"side by side.*classifier_input \(20, 4\)"):
        unimodal_logits(nn.Linear(4, 2), z | {"classifier_input": z["eeg"] + z["video"]})
    with pytest.raises(ValueError, match="fusion network"):
        unimodal_logits(nn.Linear(4, 2), {"video": z["video"], "classifier_input": z["video"]})


@pytest.mark.parametrize("ahead", ["eeg", "video"])
def test_only_the_leading_encoder_is_slowed(ahead):
    model, data = biased_teacher(ahead)
    plain = step(CrossEntropy(), model, data=data)
    loss = GradientModulation(strength=0.4, noise=False)
    changed = step(loss, model, data=data)
    log = loss.after_step(model, None)
    assert (log["score_ratio"] > 1) == (ahead == "video")
    scale = log[f"{ahead}_gradient_scale"]
    own_ratio = log["score_ratio"] if ahead == "video" else 1 / log["score_ratio"]
    assert scale == pytest.approx(1 - math.tanh(0.4 * own_ratio)) and 0 < scale < 1 - math.tanh(0.4)
    for name, gradient in plain.items():
        if name.startswith(ahead):
            torch.testing.assert_close(changed[name], scale * gradient)
        else:
            torch.testing.assert_close(changed[name], gradient, rtol=0, atol=0)
    assert any(g.abs().sum() > 0 for name, g in plain.items() if name.startswith(ahead))


@pytest.mark.parametrize(
    ("options", "epoch"), [({"strength": 0.0}, 0), ({"first_epoch": 3}, 2), ({"last_epoch": 3}, 4)]
)
def test_where_it_does_not_act_it_is_the_cross_entropy(options, epoch):
    model, data = biased_teacher("video")
    plain = step(CrossEntropy(), model, data=data)
    loss = GradientModulation(**{"strength": 0.5, "noise": False} | options)
    changed = step(loss, model, epoch=epoch, data=data)
    for name, gradient in plain.items():
        torch.testing.assert_close(changed[name], gradient, rtol=0, atol=0)
    log = loss.after_step(model, None)
    assert log["score_ratio"] > 1 and log["video_gradient_scale"] == log["eeg_gradient_scale"] == 1


def test_equal_scores_change_nothing():
    model, data = biased_teacher("video")
    with torch.no_grad():
        model.classifier.weight.zero_()
    plain = step(CrossEntropy(), model, data=data)
    changed = step(GradientModulation(strength=0.5, noise=False), model, data=data)
    assert all(torch.equal(changed[name], gradient) for name, gradient in plain.items())


def test_the_loss_itself_is_the_cross_entropy_and_no_modality_gets_a_weight():
    *x, y = batch()
    model = build_model("teacher", 0).eval()
    output = model(*x)
    loss = GradientModulation(noise=False)
    log = loss.begin_epoch(0, lambda: (output, y))
    value = loss(output, y, ROWS)
    assert value.total.item() == F.cross_entropy(output.logits, y).item() == sum(value.parts.values())
    assert log["video_weight"] == log["eeg_weight"] == 0
    assert {"imbalance_ratio", "proto_accuracy_eeg", "proto_accuracy_video"} <= log.keys()


def test_noise_has_each_tensors_own_spread_before_scaling():
    model, data = biased_teacher("video")
    plain = step(GradientModulation(strength=0.4, noise=False), model, data=data)
    unscaled = step(CrossEntropy(), model, data=data)
    noisy = step(GradientModulation(strength=0.4, generator=torch.Generator().manual_seed(5)), model, data=data)
    for name in ("eeg.filters", "video.frame.0.weight", "video.project.weight"):
        noise, spread = noisy[name] - plain[name], unscaled[name].std().item()
        n = noise.numel()
        assert noise.std().item() == pytest.approx(spread, rel=5 / math.sqrt(2 * n))
        assert abs(noise.mean().item()) < 5 * spread / math.sqrt(n)
    # One number has no spread; the classifier belongs to neither encoder.
    for name in ("video.attention.bias", "classifier.weight", "classifier.bias"):
        assert torch.equal(noisy[name], plain[name])


def test_noise_comes_from_its_own_generator():
    model, data = biased_teacher("eeg")
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    a, b, c = (
        step(GradientModulation(generator=torch.Generator().manual_seed(seed)), model, data=data) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["eeg.filters"], c["eeg.filters"])


def test_wrong_switches_are_named():
    with pytest.raises(ValueError, match="noise needs a generator"):
        GradientModulation()
    with pytest.raises(ValueError, match="strength must be 0 or more"):
        GradientModulation(strength=-1, noise=False)


def test_in_the_loop_it_logs_its_scales_and_is_reproducible():
    eeg, video, mask, y = batch(64)
    rows = torch.arange(64)
    inputs = Inputs(eeg, video, mask, y, rows[:48], rows[48:])
    logs = []
    for _ in range(2):
        loss = GradientModulation(strength=0.5, generator=torch.Generator().manual_seed(3), last_epoch=0)
        result = fit(build_model("teacher", 1), inputs, loss, TrainSettings(epochs=2, batch_size=16), seed=0)
        logs.append(result.log.drop(columns="seconds"))
    assert logs[0].equals(logs[1])
    acting, resting = logs[0].iloc[0], logs[0].iloc[1]
    assert acting["video_gradient_scale"] < 1 or acting["eeg_gradient_scale"] < 1
    assert resting["video_gradient_scale"] == resting["eeg_gradient_scale"] == 1


def test_outputs_are_not_kept_with_their_graph():
    output = ModelOutput(torch.zeros(4, 2), {m: torch.randn(4, 3, requires_grad=True) for m in ("eeg", "video")})
    loss = GradientModulation(noise=False)
    loss(output, torch.tensor([0, 1, 0, 1]), ROWS[:4])
    assert not any(value.requires_grad for value in loss._seen[0].values())
