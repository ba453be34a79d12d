"""Networks of both families: the compact front end against an independent filter, and what each network may see."""

import numpy as np
import pytest
import torch
from scipy import signal
from torch.nn import functional as F

from cdgkd_utils.data.constants import BANDS
from cdgkd_utils.models import FAMILIES, build_model
from cdgkd_utils.models.compact import band_covariances

RNG = np.random.default_rng(0)
NETWORKS = [(family, name) for family, names in FAMILIES.items() for name in names]
SHAPES = {"eeg": (4, 28, 28), "signal": (28, 512), "video": (5, 768), "entropy": (28, 5), "band_power": (8, 112)}
OF_EEG = {"eeg", "signal", "entropy", "band_power"}


def given(model, n=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(n, *shape, generator=g) for name, shape in SHAPES.items()}
    a = torch.randn(n, 4, 28, 40, generator=g)
    found |= {"eeg": a @ a.mT / 40, "frame_mask": torch.ones(n, 5, dtype=torch.bool)}
    return [found[name] for name in model.inputs]


def test_a_sine_falls_into_its_band_with_half_its_squared_amplitude():
    time = np.arange(512) / 128
    eeg = np.zeros((1, 28, 512))
    eeg[0, 3] = 3 * np.sin(2 * np.pi * 10 * time)  # alpha; whole number of periods
    eeg[0, 5] = 2 * np.cos(2 * np.pi * 20 * time)  # beta
    covariance = band_covariances(eeg)[0].numpy()
    alpha, beta = list(BANDS).index("alpha"), list(BANDS).index("beta")
    assert covariance[alpha, 3, 3] == pytest.approx(9 / 2, rel=1e-5)
    assert covariance[beta, 5, 5] == pytest.approx(4 / 2, rel=1e-5)
    covariance[alpha, 3, 3] = covariance[beta, 5, 5] = 0
    assert np.abs(covariance).max() < 1e-5


def test_covariance_of_the_front_end_is_that_of_the_filtered_signal():
    eeg = RNG.normal(size=(2, 28, 512))
    spectrum, frequency = np.fft.rfft(eeg), np.fft.rfftfreq(512, 1 / 128)
    for b, (low, high) in enumerate(BANDS.values()):
        filtered = np.fft.irfft(spectrum * ((frequency >= low) & (frequency < high)))
        expected = np.einsum("wct,wdt->wcd", filtered, filtered) / 512
        np.testing.assert_allclose(band_covariances(eeg)[:, b], expected, atol=2e-6)
    frequency, density = signal.periodogram(eeg[0], 128, detrend=False)
    total = density[:, (frequency >= 4) & (frequency < 45)].sum(1) * (frequency[1] - frequency[0])
    np.testing.assert_allclose(band_covariances(eeg)[0].diagonal(dim1=1, dim2=2).sum(0).numpy(), total, rtol=1e-4)


def test_spatial_filter_power_is_the_quadratic_form():
    encoder = build_model("eeg", 0).encoder.eval()
    eeg = band_covariances(RNG.normal(size=(4, 28, 512)))
    w = encoder.filters.detach()
    expected = torch.log(torch.einsum("fc,nbcd,fd->nbf", w, eeg, w) + 1e-6)
    torch.testing.assert_close(encoder(eeg)[1]["eeg"].detach(), expected, rtol=1e-4, atol=1e-4)


def test_compact_video_encoder_by_loops():
    encoder = build_model("student", 0).eval().encoder
    video, mask = torch.randn(3, 5, 768), torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]]).bool()
    w = {name: p.detach().double().numpy() for name, p in encoder.named_parameters()}
    found = encoder(video, mask)[0].detach().numpy()
    for n in range(3):
        hidden = np.maximum(video[n].double().numpy() @ w["frame.0.weight"].T + w["frame.0.bias"], 0)
        weight = np.exp(hidden @ w["attention.weight"][0] + w["attention.bias"]) * mask[n].numpy()
        mixed = (weight / max(weight.sum(), 1e-9)) @ hidden
        np.testing.assert_allclose(found[n], mixed @ w["project.weight"].T + w["project.bias"], atol=1e-5)


@pytest.mark.parametrize(("family", "name"), NETWORKS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_any_number_of_classes_and_the_logits_are_the_classifiers(family, name, n_classes):
    model = build_model(name, 0, family, n_classes).eval()
    output = model(*given(model, 3))
    logits = [output.logits, *(v for key, v in output.features.items() if key.startswith("logits_"))]
    assert all(x.shape == (3, n_classes) for x in logits)
    kept = getattr(model, "deployed", model)
    torch.testing.assert_close(kept.classifier(output.features["classifier_input"]), output.logits)
    for modality in ("eeg", "video"):
        assert (modality in output.features) == bool({"eeg": OF_EEG, "video": {"video"}}[modality] & {*model.inputs})
    if hasattr(model, "fused"):
        torch.testing.assert_close(
            torch.cat([output.features[m] for m in model.fused], 1), output.features["classifier_input"]
        )


@pytest.mark.parametrize(("family", "name"), NETWORKS)
def test_the_gradient_reaches_every_parameter(family, name):
    model = build_model(name, 0, family).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        output = model(*given(model, 16 if family == "compact" else 4))
    y = torch.arange(len(output.logits)) % 2
    logits = [output.logits, *(v for key, v in output.features.items() if key.startswith("logits_"))]
    sum(F.cross_entropy(x, y) for x in logits).backward()
    for key, parameter in model.named_parameters():
        # A bias in front of a batch norm or of a softmax cancels: its gradient is rounding, and may be 0.
        cancels = key.endswith("attention.bias") or ("gates" in key and "linear" in key and key.endswith("bias"))
        assert torch.isfinite(parameter.grad).all() and (cancels or parameter.grad.any()), key


@pytest.mark.parametrize(("family", "name"), NETWORKS)
def test_a_branch_sees_its_own_modality_and_a_missing_frame_is_not_read(family, name):
    model = build_model(name, 0, family).eval()
    inputs = given(model, 3)
    with torch.no_grad():
        clean = model(*inputs)
        for lost, kept in (("eeg", "video"), ("video", "eeg")):
            names = OF_EEG if lost == "eeg" else {"video"}
            blind = [x * torch.nan if key in names else x for key, x in zip(model.inputs, inputs, strict=True)]
            # Of DGC+JCA either branch attends to the other.
            if name != "dgc_jca" and kept in clean.features:
                assert torch.equal(model(*blind).features[kept], clean.features[kept])
            if names & {*model.inputs} and lost in clean.features:
                assert model(*blind).features[lost].isnan().any()
        if "frame_mask" in model.inputs:
            at = model.inputs.index("video")
            inputs[-1][0, 4], inputs[-1][1] = False, False
            garbage = [*inputs]
            garbage[at] = inputs[at].masked_fill(~inputs[-1][..., None], 1e3)
            torch.testing.assert_close(model(*garbage).logits, model(*inputs).logits)
            assert torch.isfinite(model(*garbage).logits).all()


def test_same_seed_same_weights_and_the_global_state_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for family, name in NETWORKS:
        one, same, other = (build_model(name, s, family).state_dict() for s in (3, 3, 4))
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(torch.get_rng_state(), before)
    for wrong in (("resnet", 0), ("teacher", 0, "huge")):
        with pytest.raises(ValueError, match="known: "):
            build_model(*wrong)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize(
    ("family", "name"), [(f, n) for f in FAMILIES for n in ("teacher", "ta2", "emotionkd_teacher")]
)
def test_eeg_share_is_the_eeg_part_of_the_decision(family, name, n_classes):
    """The classifier itself, fed with one modality at a time."""
    model = build_model(name, 0, family, n_classes).eval()
    with torch.no_grad():
        features = model(*given(model, 8)).features
        spread = {}
        for kept in model.fused:
            alone = [features[m] if m == kept else torch.zeros_like(features[m]) for m in model.fused]
            logits = model.classifier(torch.cat(alone, dim=1)).double()
            centred = logits - logits.mean(1, keepdim=True)
            spread[kept] = centred.var(0).sum().sqrt().item()
            if n_classes == 2:
                assert spread[kept] == pytest.approx(logits.diff(dim=1).std().item() / 2**0.5, rel=1e-6)
    assert model.eeg_share(features) == pytest.approx(spread["eeg"] / (spread["eeg"] + spread["video"]), rel=1e-4)
    assert model.eeg_share(features | {"eeg": torch.zeros_like(features["eeg"])}) == 0
    assert model.eeg_share(features | {"video": torch.zeros_like(features["video"])}) == 1
