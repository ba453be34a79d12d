"""The rebalancing rule: which modality lags, by how much, and whom the extra gradient reaches."""

import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.methods.rebalancing import RebalancedCrossEntropy, imbalance_ratio, modality_weights
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model

ROWS = torch.arange(64)


def clouds(noise_eeg, noise_video, n=64, seed=0):
    """Two classes at ±1 on the first axis, with the given noise."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    centre = (2.0 * y - 1)[:, None] * torch.eye(4)[0]
    features = {
        "eeg": centre + noise_eeg * torch.randn(n, 4, generator=g),
        "video": centre + noise_video * torch.randn(n, 4, generator=g),
    }
    return ModelOutput(torch.zeros(n, 2), features), y


def test_ratio_by_hand():
    assert imbalance_ratio(torch.tensor([0.9, 0.6]), torch.tensor([0.5, 0.25])) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("ratio", "video_weight", "eeg_weight"),
    [(1.0, 0, 0), (1.25, 0, 0.25), (0.8, 0.25, 0), (3.0, 0, 1), (0.25, 1, 0)],
)
def test_only_the_lagging_modality_gets_a_weight_and_it_is_clipped(ratio, video_weight, eeg_weight):
    assert modality_weights(ratio) == pytest.approx((video_weight, eeg_weight))


def test_exchanging_the_modalities_exchanges_the_weights():
    for ratio in (0.3, 0.7, 1.0, 1.4, 5.0):
        assert modality_weights(ratio) == pytest.approx(modality_weights(1 / ratio)[::-1])


def test_a_noisier_modality_moves_the_ratio_and_gets_the_weight():
    for noise_eeg, noise_video, lagging in ((2.0, 0.1, "eeg"), (0.1, 2.0, "video")):
        output, y = clouds(noise_eeg, noise_video)
        loss = RebalancedCrossEntropy()
        log = loss.begin_epoch(0, lambda output=output, y=y: (output, y))
        assert (log["imbalance_ratio"] > 1) == (lagging == "eeg")
        assert (log["eeg_weight"] > 0) == (lagging == "eeg")
        assert (log["video_weight"] > 0) == (lagging == "video")
    ratios = []
    for noise in (0.2, 0.6, 1.2, 2.4):
        output, y = clouds(noise, 0.2)
        ratios.append(
            RebalancedCrossEntropy().begin_epoch(0, lambda output=output, y=y: (output, y))["imbalance_ratio"]
        )
    assert ratios == sorted(ratios)


def test_only_the_slow_encoder_gets_the_prototype_gradient():
    model = build_model("teacher", 0).eval()
    g = torch.Generator().manual_seed(0)
    a = torch.randn(64, 4, 28, 40, generator=g)
    eeg, video = a @ a.transpose(-1, -2) / 40, torch.randn(64, 5, 768, generator=g)
    y = torch.arange(64) % 2
    mask = torch.ones(64, 5, dtype=torch.bool)
    video = video + (2 * y - 1)[:, None, None] * 0.5  # the face is easy to read, the EEG is noise
    loss = RebalancedCrossEntropy()
    with torch.no_grad():
        before = model(eeg, video, mask)
    log = loss.begin_epoch(0, lambda: (before, y))
    assert log["eeg_weight"] > 0
    assert log["video_weight"] == 0
    output = model(eeg, video, mask)
    extra = loss(output, y, ROWS).total - F.cross_entropy(output.logits, y)
    extra.backward()
    assert all(p.grad.abs().sum() > 0 for name, p in model.eeg.named_parameters())
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.video.parameters())
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.classifier.parameters())


def test_the_loss_is_the_sum_of_its_logged_parts_and_scales_with_its_strength():
    output, y = clouds(1.5, 0.2)
    values = []
    for strength in (1.0, 4.0):
        loss = RebalancedCrossEntropy(strength=strength)
        loss.begin_epoch(0, lambda: (output, y))
        value = loss(output, y, ROWS)
        assert value.total.item() == pytest.approx(sum(value.parts.values()), rel=1e-5)
        values.append(value.parts["loss_proto_eeg"])
    assert values[1] == pytest.approx(4 * values[0], rel=1e-5)


def test_mode_none_is_plain_cross_entropy_but_measures():
    output, y = clouds(2.0, 0.1)
    loss = RebalancedCrossEntropy(mode="none")
    log = loss.begin_epoch(0, lambda: (output, y))
    assert log["imbalance_ratio"] > 1
    assert loss(output, y, ROWS).total.item() == F.cross_entropy(output.logits, y).item()


def test_mode_constant_ignores_the_ratio():
    for noise in ((2.0, 0.1), (0.1, 2.0)):
        output, y = clouds(*noise)
        loss = RebalancedCrossEntropy(mode="constant")
        log = loss.begin_epoch(0, lambda output=output, y=y: (output, y))
        assert (log["video_weight"], log["eeg_weight"]) == (0, 1)


@pytest.mark.parametrize("source", ["epoch", "ema", "batch"])
def test_a_batch_of_one_class_gives_no_nan(source):
    output, y = clouds(1.0, 0.3)
    features = {m: f.clone().requires_grad_() for m, f in output.features.items()}
    loss = RebalancedCrossEntropy(source=source, mode="constant")
    loss.begin_epoch(0, lambda: (output, y))
    one = ModelOutput(torch.zeros(64, 2), features)
    value = loss(one, torch.zeros(64, dtype=torch.long), ROWS)
    value.total.backward()
    assert torch.isfinite(value.total)
    assert all(torch.isfinite(f.grad).all() for f in features.values() if f.grad is not None)


def test_sources_agree_when_the_batch_is_the_epoch():
    output, y = clouds(1.5, 0.3)
    ratios = []
    for source in ("epoch", "ema", "batch"):
        loss = RebalancedCrossEntropy(source=source)
        loss.begin_epoch(0, lambda: (output, y))
        loss(output, y, ROWS)
        ratios.append(loss.ratio)
    assert ratios == pytest.approx([ratios[0]] * 3)


def test_wrong_switches_are_named():
    with pytest.raises(ValueError, match="mode must be"):
        RebalancedCrossEntropy(mode="pmr")
    with pytest.raises(ValueError, match="source must be"):
        RebalancedCrossEntropy(source="window")
