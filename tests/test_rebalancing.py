"""Prototypes, the rebalanced teacher loss, PMR per mini-batch, OGM-GE: by hand, by loops, and whom they reach."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn
from torch.nn import functional as F

from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.methods.rebalancing import (
    PMR,
    GradientModulation,
    Prototypes,
    RebalancedCrossEntropy,
    class_means,
    distances,
    gradient_scales,
    imbalance_ratio,
    log_probabilities,
    modality_weights,
    own_class_probability,
    prototype_cross_entropy,
    score_ratio,
)
from cdgkd_utils.models import build_model
from cdgkd_utils.models.output import ModelOutput, unimodal_logits

MODALITIES = ("eeg", "video")
Z, Y = torch.tensor([[0.0, 0.0], [2.0, 0.0], [10.0, 4.0]]), torch.tensor([0, 0, 1])
BOTH = torch.tensor([True, True])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- prototypes ----------------------------------------------------------------------------------


def test_class_means_by_hand_and_by_loop():
    means, present = class_means(Z, Y, 3)
    assert means.tolist() == [[1.0, 0.0], [10.0, 4.0], [0.0, 0.0]] and present.tolist() == [True, True, False]
    z, y = torch.randn(40, 7, dtype=torch.float64), torch.randint(0, 5, (40,))
    for k in range(5):
        of_class = [a for a, b in zip(z, y, strict=True) if b == k]
        torch.testing.assert_close(class_means(z, y, 5)[0][k], torch.stack(of_class).mean(0))


def test_distance_is_euclidean_not_squared_and_probabilities_by_hand():
    d = distances(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    torch.testing.assert_close(d, torch.tensor([[5.0, 0.0]]), atol=2e-6, rtol=0)
    prototypes, z, y = torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [2.5]]), torch.tensor([0, 1])
    # distances 1, 2 and 2.5, 0.5
    p = [math.exp(-1) / (math.exp(-1) + math.exp(-2)), math.exp(-0.5) / (math.exp(-2.5) + math.exp(-0.5))]
    torch.testing.assert_close(own_class_probability(z, y, prototypes, BOTH), torch.tensor(p))
    expected = -(math.log(p[0]) + math.log(p[1])) / 2
    assert prototype_cross_entropy(z, y, prototypes, BOTH).item() == pytest.approx(expected, rel=1e-5)
    halfway, far = torch.tensor([[1.5]]), torch.tensor([[-100.0]])
    assert own_class_probability(halfway, y[:1], prototypes, BOTH).item() == pytest.approx(0.5)
    torch.testing.assert_close(log_probabilities(far, prototypes, BOTH).exp().sum(1), torch.ones(1))


def test_gradient_is_finite_at_the_prototype_and_pulls_to_the_own_one():
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    z = torch.tensor([[1.0, 0.0], [0.4, 0.1]], requires_grad=True)
    prototype_cross_entropy(z, torch.tensor([0, 0]), prototypes, BOTH).backward()
    assert torch.isfinite(z.grad).all() and prototypes.grad is None
    before, after = ((x - prototypes[0]).norm(dim=1)[1] for x in (z.detach(), z.detach() - 0.1 * z.grad))
    assert after < before


def test_a_class_that_was_never_seen_gives_no_nan():
    means, present = class_means(Z, torch.zeros(3, dtype=torch.long))
    z = Z.clone().requires_grad_()
    loss = prototype_cross_entropy(z, Y, means, present)
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(z.grad).all()  # only one class to choose from
    assert own_class_probability(Z, Y, means, present).tolist() == [1.0, 1.0, 0.0]
    assert prototype_cross_entropy(z, Y, means, torch.tensor([False, False])).item() == 0


def test_running_prototypes_move_by_the_momentum_and_keep_an_absent_class():
    running = Prototypes(momentum=0.75)
    running.update(torch.tensor([[4.0], [8.0]]), torch.tensor([0, 0]))
    assert running.value[0].item() == 6 and running.present.tolist() == [True, False]
    running.update(torch.tensor([[2.0], [1.0]]), torch.tensor([0, 1]))
    assert running.value[:, 0].tolist() == [0.25 * 2 + 0.75 * 6, 1]  # first seen now: no momentum from an empty value
    running.update(torch.tensor([[100.0]]), torch.tensor([1]))
    assert running.value[0].item() == 5 and running.present.all()


# ---- the poster's rule, and PMR's ----------------------------------------------------------------


def test_ratio_and_weights_by_hand():
    assert imbalance_ratio(torch.tensor([0.9, 0.6]), torch.tensor([0.5, 0.25])) == pytest.approx(2.0)
    for ratio, weights in {1.0: (0, 0), 1.25: (0, 0.25), 0.8: (0.25, 0), 3.0: (0, 1), 0.25: (1, 0)}.items():
        assert modality_weights(ratio) == pytest.approx(weights)
        assert modality_weights(1 / ratio) == pytest.approx(weights[::-1])


def clouds(seed=0, n=30, n_classes=2, noise=(1.2, 0.3)):
    """Classes at corners of a cube, the EEG noisier than the video, in float64."""
    g = generator(seed)
    y = torch.arange(n) % n_classes
    centre = 2.0 * torch.eye(4, dtype=torch.float64)[y]
    features = {m: centre + s * torch.randn(n, 4, generator=g).double() for m, s in zip(MODALITIES, noise, strict=True)}
    return ModelOutput(torch.randn(n, n_classes, generator=g).double(), features), y


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("kind", [RebalancedCrossEntropy, PMR])
def test_the_teachers_loss_by_loops(kind, n_classes):
    """CE + alpha (beta L_video + gamma L_eeg): the ratio of all training windows, or PMR's of the mini-batch."""
    everything, y = clouds(n_classes=n_classes)
    rows = [0, 3, 4, 11, 15, 18]
    loss = kind(strength=1.7)
    loss.begin_epoch(0, lambda: (everything, y))
    part = ModelOutput(everything.logits[rows], {m: z[rows] for m, z in everything.features.items()})
    found, own = loss(part, y[rows], torch.tensor(rows)), {}
    for m, z in everything.features.items():
        prototypes = [
            np.mean([a for a, k in zip(z.numpy(), y, strict=True) if k == c], axis=0) for c in range(n_classes)
        ]
        log_p = [log_softmax(np.array([-np.linalg.norm(a - c) for c in prototypes])) for a in z.numpy()]
        own[m] = np.array([row[k] for row, k in zip(log_p, y, strict=True)])
    heard = rows if kind is PMR else slice(None)
    ratio = np.exp(own["video"][heard]).sum() / np.exp(own["eeg"][heard]).sum()
    beta, gamma = np.clip(1 / ratio - 1, 0, 1), np.clip(ratio - 1, 0, 1)
    assert beta == 0 < gamma < 1 and loss.ratio == pytest.approx(ratio, rel=1e-9)
    ce = -np.mean([log_softmax(everything.logits[i].numpy())[y[i]] for i in rows])
    expected = ce + 1.7 * (beta * -own["video"][rows].mean() + gamma * -own["eeg"][rows].mean())
    assert found.total.item() == pytest.approx(expected, rel=1e-9)
    assert sum(found.parts.values()) == pytest.approx(expected, rel=1e-6)
    if kind is PMR:
        assert loss.after_step(None, None)["eeg_weight"] == pytest.approx(gamma, rel=1e-9)


def test_modes_and_momentum():
    for noise, lagging in (((2.0, 0.1), "eeg"), ((0.1, 2.0), "video")):
        output, y = clouds(noise=noise)
        weights = {}
        for mode in ("adaptive", "constant", "none"):
            loss = RebalancedCrossEntropy(mode=mode)
            log = loss.begin_epoch(0, lambda output=output, y=y: (output, y))
            weights[mode] = log["video_weight"], log["eeg_weight"]
            assert (log["imbalance_ratio"] > 1) == (lagging == "eeg")
            if mode == "none":
                plain = F.cross_entropy(output.logits, y).item()
                assert loss(output, y, y).total.item() == pytest.approx(plain, rel=1e-12)
        assert [w > 0 for w in weights["adaptive"]] == [lagging == "video", lagging == "eeg"]
        assert weights["constant"] == (0, 1) and weights["none"] == (0, 0)
    first, second = clouds(seed=1)[0], clouds(seed=2)[0]
    for output in (first, second):
        loss.begin_epoch(0, lambda output=output: (output, y))
    means = [class_means(output.features["eeg"], y)[0] for output in (first, second)]
    old = class_means(clouds(noise=(0.1, 2.0))[0].features["eeg"], y)[0]
    expected = 0.5 * means[1] + 0.25 * means[0] + 0.25 * old
    torch.testing.assert_close(loss.prototypes["eeg"].value, expected)


def batch(n=32, video_signal=1.0):
    """Windows whose faces tell the class, and whose EEG is noise."""
    g = generator()
    a, y = torch.randn(n, 4, 28, 40, generator=g), torch.arange(n) % 2
    video = 0.3 * torch.randn(n, 5, 768, generator=g) + video_signal * (2 * y - 1)[:, None, None]
    return a @ a.mT / 40, video, torch.ones(n, 5, dtype=torch.bool), y


def test_only_the_slow_encoder_gets_the_prototype_gradient():
    model, (*x, y) = build_model("teacher", 0).eval(), batch(64)
    loss = RebalancedCrossEntropy()
    with torch.no_grad():
        before = model(*x)
    log = loss.begin_epoch(0, lambda: (before, y))
    assert log["eeg_weight"] > 0 == log["video_weight"]
    output = model(*x)
    (loss(output, y, y).total - F.cross_entropy(output.logits, y)).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.eeg.parameters())
    others = (*model.video.parameters(), *model.classifier.parameters())
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in others)


# ---- OGM-GE --------------------------------------------------------------------------------------


def test_scores_and_scales_by_hand():
    video, eeg = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]), torch.tensor([[math.log(4), 0.0], [0.0, 0.0]])
    # own class: video 1/2 and 3/4; EEG 4/5 and 1/2
    assert score_ratio(video, eeg, torch.tensor([0, 1])) == pytest.approx(1.25 / 1.3)
    assert gradient_scales(2.0, 0.5) == pytest.approx((1 - math.tanh(1.0), 1.0))
    assert gradient_scales(0.5, 0.5) == pytest.approx((1.0, 1 - math.tanh(1.0)))
    assert gradient_scales(1.0, 0.5) == gradient_scales(9.0, 0.0) == (1.0, 1.0)


@pytest.mark.parametrize("order", [MODALITIES, MODALITIES[::-1]])
def test_logits_divide_into_the_modalities_columns_and_half_the_bias(order):
    torch.manual_seed(0)
    model = nn.Module()
    model.fused = order
    model.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    features = {"eeg": torch.randn(5, 6), "video": torch.randn(5, 10)}
    parts = unimodal_logits(model, features)
    whole = model.classifier.eval()(torch.cat([features[m] for m in order], dim=1))
    torch.testing.assert_close(parts["eeg"] + parts["video"], whole.detach())
    alone = [features[m] if m == "eeg" else 0 * features[m] for m in order]
    half = model.classifier(torch.zeros(1, 16)) / 2
    torch.testing.assert_close(parts["eeg"], (model.classifier(torch.cat(alone, dim=1)) - half).detach())
    model.classifier = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(ValueError, match="without activation"):
        unimodal_logits(model, features)


def gradients(loss, model, data, epoch=0):
    """After one forward, backward and the loss's own hook."""
    *x, y = data
    model.zero_grad(set_to_none=True)
    output = model(*x)
    loss.begin_epoch(epoch, lambda: (output, y))
    loss(output, y, y).total.backward()
    loss.before_step(model, torch.optim.SGD(model.parameters(), lr=1))
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("ahead", MODALITIES)
@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_the_leading_encoder_is_slowed_and_both_get_noise_of_their_own_spread(ahead, strength):
    """A classifier that reads one modality; at strength 0 nothing is scaled, the noise remains."""
    model, data = build_model("teacher", 0).eval(), batch()
    with torch.no_grad():
        z = model(*data[:3]).features[ahead]
        direction = z[data[3] == 1].mean(0) - z[data[3] == 0].mean(0)
        model.classifier.weight.copy_(1e-3 * torch.randn(2, 128, generator=generator(1)))
        model.classifier.weight[:, slice(0, 64) if ahead == "eeg" else slice(64, 128)] += torch.stack(
            [-3 * direction, 3 * direction]
        )
    plain, loss = gradients(CrossEntropy(), model, data), GradientModulation(generator=generator(5), strength=strength)
    changed, log, g = gradients(loss, model, data), loss.after_step(model, None), generator(5)
    assert (log["score_ratio"] > 1) == (ahead == "video")
    own_ratio = log["score_ratio"] if ahead == "video" else 1 / log["score_ratio"]
    assert log[f"{ahead}_gradient_scale"] == pytest.approx(1 - math.tanh(strength * own_ratio))
    for m in ("video", "eeg"):  # the order in which the noise is drawn
        for name, _ in getattr(model, m).named_parameters():
            gradient = plain[f"{m}.{name}"]
            noise = gradient.numpy().std() * torch.randn(gradient.shape, generator=g)
            torch.testing.assert_close(changed[f"{m}.{name}"], log[f"{m}_gradient_scale"] * gradient + noise)
    assert torch.equal(changed["classifier.weight"], plain["classifier.weight"])
    resting = gradients(GradientModulation(generator=generator(), strength=0.4), model, data, epoch=51)
    assert all(torch.equal(resting[name], gradient) for name, gradient in plain.items())
