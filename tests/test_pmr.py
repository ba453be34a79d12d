"""PMR as printed and as released: weights per mini-batch, prototypes per epoch, and the entropy term."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.methods.pmr import PMR, hard_weights, prototype_entropy
from cdgkd_utils.methods.rebalancing import modality_weights
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit

MODALITIES = ("eeg", "video")
ROWS = torch.arange(40)


def clouds(noise_eeg, noise_video, n=40, seed=0):
    """Two classes at ±1 on the first axis, with the given noise, in float64."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    centre = (2.0 * y - 1)[:, None] * torch.eye(4, dtype=torch.float64)[0]
    features = {
        m: (centre + noise * torch.randn(n, 4, generator=g, dtype=torch.float64)).requires_grad_()
        for m, noise in (("eeg", noise_eeg), ("video", noise_video))
    }
    return ModelOutput(torch.randn(n, 2, generator=g, dtype=torch.float64), features), y


def part(output, labels, n):
    features = {m: f.detach()[:n].clone().requires_grad_() for m, f in output.features.items()}
    return ModelOutput(output.logits[:n], features), labels[:n]


def begun(loss, output, labels, epoch=0):
    loss.begin_epoch(epoch, lambda: (output, labels))
    return loss


def by_loops(prototypes, z, y):
    """Probabilities p(k) of each window: softmax of minus the Euclidean distance, written out."""
    p = np.zeros((len(z), 2))
    for i in range(len(z)):
        weight = [math.exp(-math.sqrt(sum((a - b) ** 2 for a, b in zip(z[i], c, strict=True)))) for c in prototypes]
        p[i] = [w / sum(weight) for w in weight]
    return p


def test_hard_weights_by_hand():
    assert hard_weights(1.0001) == (0, 1) and hard_weights(0.9999) == (1, 0) and hard_weights(1.0) == (0, 0)


def test_entropy_by_hand():
    prototypes, both = torch.tensor([[0.0], [2.0]]), torch.tensor([True, True])
    # Halfway: log 2. At a prototype: distances 0 and 2.
    p = 1 / (1 + math.exp(-2))
    certain = -p * math.log(p) - (1 - p) * math.log(1 - p)
    found = prototype_entropy(torch.tensor([[1.0], [0.0]]), prototypes, both)
    assert found.item() == pytest.approx(math.log(2) + certain, rel=1e-5)
    z = torch.tensor([[1.0], [0.0]], requires_grad=True)
    alone = prototype_entropy(z, prototypes, torch.tensor([True, False]))
    alone.backward()
    assert alone.item() == pytest.approx(0, abs=1e-6) and torch.isfinite(z.grad).all()


@pytest.mark.parametrize("rule", ["clip", "hard"])
@pytest.mark.parametrize("noise", [(1.2, 0.2), (0.2, 1.2), (0.6, 0.4)], ids=["video ahead", "EEG ahead", "near"])
def test_the_whole_loss_by_loops_in_float64(rule, noise):
    everything, labels = clouds(*noise)
    loss = begun(PMR(rule=rule, strength=1.7, entropy_weight=0.3), everything, labels)
    output, y = part(everything, labels, 11)
    value = loss(output, y, ROWS[:11])
    p, expected = {}, {}
    for m in MODALITIES:
        z = everything.features[m].detach().numpy()
        prototypes = [np.mean([a for a, k in zip(z, labels.tolist(), strict=True) if k == c], axis=0) for c in (0, 1)]
        p[m] = by_loops(prototypes, z[:11], y.tolist())
    own = {m: np.array([row[k] for row, k in zip(p[m], y.tolist(), strict=True)]) for m in MODALITIES}
    ratio = own["video"].sum() / own["eeg"].sum()
    if rule == "clip":
        weights = {"video": min(max(1 / ratio - 1, 0), 1), "eeg": min(max(ratio - 1, 0), 1)}
    else:
        weights = {"video": float(ratio < 1), "eeg": float(ratio > 1)}
    other = {"video": "eeg", "eeg": "video"}
    for m in MODALITIES:
        expected[f"loss_proto_{m}"] = 1.7 * weights[m] * np.mean([-math.log(x) for x in own[m]])
        entropy = -sum(x * math.log(x) for row in p[m] for x in row)
        expected[f"loss_entropy_{m}"] = -0.3 * weights[other[m]] * entropy
    expected["loss_ce"] = F.cross_entropy(output.logits, y).item()
    assert loss.ratio == pytest.approx(ratio, rel=1e-6)
    assert value.parts == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert value.total.item() == pytest.approx(sum(expected.values()), rel=1e-6)


@pytest.mark.parametrize(("noise", "slow", "fast"), [((1.5, 0.2), "eeg", "video"), ((0.2, 1.5), "video", "eeg")])
@pytest.mark.parametrize("make", [PMR.paper, lambda **_: PMR.released(torch.Generator().manual_seed(0))])
def test_the_prototype_loss_reaches_only_the_slow_modality(make, noise, slow, fast):
    output, y = clouds(*noise)
    loss = begun(make(entropy_weight=0.0), output, y)
    loss(output, y, ROWS).total.backward()
    assert output.features[slow].grad.abs().sum() > 0
    assert output.features[fast].grad is None
    assert (loss.eeg_weight > 0, loss.video_weight > 0) == (slow == "eeg", slow == "video")


def test_only_the_slow_encoder_of_a_network_gets_it():
    model = build_model("teacher", 0).eval()
    g = torch.Generator().manual_seed(0)
    a = torch.randn(40, 4, 28, 40, generator=g)
    y = torch.arange(40) % 2
    video = torch.randn(40, 5, 768, generator=g) + (2 * y - 1)[:, None, None] * 0.5
    output = model(a @ a.transpose(-1, -2) / 40, video, torch.ones(40, 5, dtype=torch.bool))
    loss = begun(PMR.paper(entropy_weight=0.0), output, y)
    (loss(output, y, ROWS).total - F.cross_entropy(output.logits, y)).backward()
    assert loss.eeg_weight > 0
    assert all(p.grad.abs().sum() > 0 for p in model.eeg.parameters())
    for module in (model.video, model.classifier):
        assert all(p.grad is None or p.grad.abs().sum() == 0 for p in module.parameters())


@pytest.mark.parametrize(("noise", "slow", "fast"), [((1.5, 0.3), "eeg", "video"), ((0.3, 1.5), "video", "eeg")])
def test_the_entropy_term_makes_the_fast_modality_less_certain(noise, slow, fast):
    output, y = clouds(*noise)
    loss = begun(PMR(strength=0.0, entropy_weight=0.1), output, y)
    loss(output, y, ROWS).total.backward()
    z, c = output.features[fast], loss.prototypes[fast]
    before = prototype_entropy(z.detach(), c.value, c.present)
    after = prototype_entropy(z.detach() - 0.1 * z.grad, c.value, c.present)
    assert after > before
    slow_grad = output.features[slow].grad
    assert slow_grad is None or not slow_grad.any()
    assert c.value.grad is None


def test_the_entropy_term_ends_after_its_epochs():
    output, y = clouds(1.5, 0.3)
    loss = PMR(entropy_weight=0.1, entropy_epochs=2)
    terms = [begun(loss, output, y, epoch)(output, y, ROWS).parts["loss_entropy_video"] for epoch in range(4)]
    assert terms[0] < 0 and terms[1] < 0 and terms[2:] == [0, 0]


@pytest.mark.parametrize("rule", ["clip", "hard"])
def test_limits_that_are_the_plain_cross_entropy(rule):
    output, y = clouds(0.7, 0.7)
    ce = F.cross_entropy(output.logits, y).item()
    twins = ModelOutput(output.logits, {m: output.features["eeg"] for m in MODALITIES})
    equal = begun(PMR(rule=rule, entropy_weight=0.5), twins, y)
    assert equal(twins, y, ROWS).total.item() == ce and equal.ratio == 1
    output, y = clouds(2.0, 0.1)
    ce = F.cross_entropy(output.logits, y).item()
    assert begun(PMR(rule=rule, strength=0.0), output, y)(output, y, ROWS).total.item() == pytest.approx(ce, rel=1e-12)
    ended = PMR(rule=rule, last_epoch=3, entropy_weight=0.5, entropy_epochs=99)
    assert begun(ended, output, y, 3)(output, y, ROWS).total.item() != ce
    assert begun(ended, output, y, 4)(output, y, ROWS).total.item() == ce


def test_the_hard_switch_is_all_or_nothing_where_the_clip_is_gentle():
    output, y = clouds(0.8, 0.2)
    gentle, hard = begun(PMR(), output, y), begun(PMR(rule="hard"), output, y)
    a, b = gentle(output, y, ROWS).parts["loss_proto_eeg"], hard(output, y, ROWS).parts["loss_proto_eeg"]
    assert 0 < gentle.eeg_weight < 1 == hard.eeg_weight
    assert a == pytest.approx(gentle.eeg_weight * b) and gentle.eeg_weight == modality_weights(gentle.ratio)[1]


def test_the_ratio_is_of_the_mini_batch_and_the_prototypes_of_the_epoch():
    output, y = clouds(1.0, 0.6)
    loss = begun(PMR(), output, y)
    kept = {m: loss.prototypes[m].value.clone() for m in MODALITIES}
    ratios = set()
    for first in range(0, 40, 8):
        features = {m: f[first : first + 8] for m, f in output.features.items()}
        loss(ModelOutput(output.logits[first : first + 8], features), y[first : first + 8], ROWS[:8])
        ratios.add(loss.ratio)
        assert loss.after_step(None, None) == {
            "imbalance_ratio": loss.ratio,
            "video_weight": loss.video_weight,
            "eeg_weight": loss.eeg_weight,
        }
    assert len(ratios) == 5
    assert all(torch.equal(loss.prototypes[m].value, kept[m]) for m in MODALITIES)


def test_prototypes_of_the_paper_have_momentum_from_the_second_epoch_on():
    first, y = clouds(0.5, 0.5, seed=1)
    second, _ = clouds(0.5, 0.5, seed=2)
    loss = begun(PMR(momentum=0.75), first, y)

    def means(output):
        return torch.stack([output.features["eeg"].detach()[y == k].mean(0) for k in (0, 1)])

    torch.testing.assert_close(loss.prototypes["eeg"].value, means(first))
    begun(loss, second, y, 1)
    torch.testing.assert_close(loss.prototypes["eeg"].value, 0.25 * means(second) + 0.75 * means(first))


def test_prototypes_of_the_release_are_of_a_tenth_drawn_anew_without_momentum():
    output, y = clouds(0.5, 0.5, n=200)
    loss = PMR.released(torch.Generator().manual_seed(4))
    again = torch.Generator().manual_seed(4)
    values = []
    for epoch in range(3):
        begun(loss, output, y, epoch)
        rows = torch.randperm(200, generator=again)[:20]
        z, k = output.features["video"].detach()[rows], y[rows]
        torch.testing.assert_close(loss.prototypes["video"].value, torch.stack([z[k == c].mean(0) for c in (0, 1)]))
        values.append(loss.prototypes["video"].value)
    assert not torch.equal(values[0], values[1])


def test_a_class_without_prototype_gives_no_nan():
    output, y = clouds(1.0, 0.5)
    ones = ModelOutput(output.logits, output.features)
    for entropy in (0.0, 0.3):
        loss = PMR(rule="hard", entropy_weight=entropy)
        loss.begin_epoch(0, lambda: (part(ones, y, 1)[0], y[:1]))  # the subset holds class 0 only
        assert loss.prototypes["eeg"].present.tolist() == [True, False]
        for labels in (y, torch.zeros_like(y), torch.ones_like(y)):
            for f in output.features.values():
                f.grad = None
            value = loss(output, labels, ROWS)
            if value.total.requires_grad:
                value.total.backward()
            assert torch.isfinite(value.total)
            assert all(f.grad is None or torch.isfinite(f.grad).all() for f in output.features.values())
        assert loss.ratio == 1 and value.total.item() == F.cross_entropy(output.logits, torch.ones_like(y)).item()


def test_a_mini_batch_of_one_class_gives_no_nan():
    output, y = clouds(1.5, 0.3)
    loss = begun(PMR.paper(), output, y)
    value = loss(output, torch.zeros_like(y), ROWS)
    value.total.backward()
    assert torch.isfinite(value.total)
    assert all(f.grad is None or torch.isfinite(f.grad).all() for f in output.features.values())


def test_wrong_switches_are_named():
    for options, message in (
        ({"rule": "soft"}, "rule must be clip or hard"),
        ({"prototype_share": 0.0}, "prototype_share must be in"),
        ({"prototype_share": 0.1}, "needs a generator"),
        ({"entropy_weight": -1}, "must be 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            PMR(**options)


@pytest.mark.parametrize("make", [PMR.paper, lambda: PMR.released(torch.Generator().manual_seed(7))])
def test_in_the_loop_the_log_has_the_columns_of_the_plots_and_the_seed_decides(make):
    g = torch.Generator().manual_seed(0)
    a = torch.randn(64, 4, 28, 40, generator=g)
    y = torch.arange(64) % 2
    video = torch.randn(64, 5, 768, generator=g) + (2 * y - 1)[:, None, None] * 0.3
    rows = torch.arange(64)
    inputs = Inputs(a @ a.transpose(-1, -2) / 40, video, torch.ones(64, 5, dtype=torch.bool), y, rows[:48], rows[48:])
    settings = TrainSettings(epochs=2, batch_size=16)
    logs = [fit(build_model("teacher", 1), inputs, make(), settings, seed=0).log for _ in range(2)]
    assert logs[0].drop(columns="seconds").equals(logs[1].drop(columns="seconds"))
    columns = ["imbalance_ratio", "video_weight", "eeg_weight", "proto_accuracy_eeg", "proto_accuracy_video"]
    assert logs[0][columns].notna().all(axis=None)
    parts = [name for name in logs[0] if name.startswith("loss_")]
    np.testing.assert_allclose(logs[0][parts].sum(axis=1), logs[0]["train_loss"], rtol=1e-5)
