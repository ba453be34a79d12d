"""The front end against an independent filter, and what each network may see."""

import itertools

import numpy as np
import pytest
import torch
from scipy import signal

from cdgkd_utils.data.constants import BANDS
from cdgkd_utils.models.compact import MODELS
from cdgkd_utils.models.frontend import band_covariances
from cdgkd_utils.models.registry import build_model, n_parameters

RNG = np.random.default_rng(0)


def inputs_of(model, n=6):
    values = {
        "eeg": band_covariances(RNG.normal(size=(n, 28, 512))),
        "video": torch.randn(n, 5, 768),
        "frame_mask": torch.ones(n, 5, dtype=torch.bool),
    }
    return [values[name] for name in model.inputs]


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
    spectrum = np.fft.rfft(eeg)
    frequency = np.fft.rfftfreq(512, 1 / 128)
    for b, (low, high) in enumerate(BANDS.values()):
        inside = (frequency >= low) & (frequency < high)
        filtered = np.fft.irfft(spectrum * inside)
        expected = np.einsum("wct,wdt->wcd", filtered, filtered) / 512
        np.testing.assert_allclose(band_covariances(eeg)[:, b], expected, atol=2e-6)


def test_scaling_channels_scales_the_covariance():
    eeg, scale = RNG.normal(size=(3, 28, 512)), RNG.uniform(0.5, 20, 28)
    direct = band_covariances(eeg / scale[:, None])
    rescaled = band_covariances(eeg).numpy() / (scale[:, None] * scale[None])
    np.testing.assert_allclose(direct, rescaled, rtol=2e-4, atol=1e-7)


def test_bands_do_not_overlap_and_agree_with_a_periodogram():
    edges = list(BANDS.values())
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))
    eeg = RNG.normal(size=(1, 28, 512))
    frequency, density = signal.periodogram(eeg[0], 128, detrend=False)
    total = density[:, (frequency >= 4) & (frequency < 45)].sum(1) * (frequency[1] - frequency[0])
    np.testing.assert_allclose(band_covariances(eeg)[0].diagonal(dim1=1, dim2=2).sum(0).numpy(), total, rtol=1e-4)


def test_spatial_filter_power_is_the_quadratic_form():
    encoder = build_model("eeg", 0).encoder
    eeg = band_covariances(RNG.normal(size=(4, 28, 512)))
    seen = {}
    encoder.norm.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    encoder.eval()(eeg)
    w = encoder.filters.detach()
    expected = torch.einsum("fc,nbcd,fd->nbf", w, eeg, w)
    torch.testing.assert_close(seen["x"], torch.log(expected + 1e-6).flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_have_the_promised_shapes_and_names(name):
    model = build_model(name, 0).eval()
    output = model(*inputs_of(model))
    assert output.logits.shape == (6, 2)
    assert "classifier_input" in output.features
    assert set(output.features) - {"classifier_input"} == {i for i in model.inputs if i != "frame_mask"}
    torch.testing.assert_close(model.classifier(output.features["classifier_input"]), output.logits)


def test_the_student_cannot_be_given_eeg():
    student = build_model("student", 0)
    assert student.inputs == ("video", "frame_mask")
    assert not any("eeg" in name for name, _ in student.named_modules())


def test_the_ladder_shrinks_in_the_eeg_branch_only():
    models = [build_model(n, 0) for n in ("teacher", "ta1", "ta2")]
    eeg = [n_parameters(m.eeg) for m in models]
    video = [n_parameters(m.video) for m in models]
    assert eeg[0] > eeg[1] > eeg[2]
    assert len(set(video)) == 1
    # 12 filters: 12*28 spatial + 2*48 norm + 48*64+64 projection
    assert eeg[0] == 12 * 28 + 2 * 48 + 48 * 64 + 64
    assert n_parameters(build_model("student", 0)) == 768 * 32 + 32 + 32 + 1 + 32 * 32 + 32 + 32 * 2 + 2


def test_missing_frames_do_not_matter_and_a_window_without_frames_is_finite():
    model = build_model("student", 0).eval()
    video, mask = torch.randn(3, 5, 768), torch.ones(3, 5, dtype=torch.bool)
    mask[0, 4] = False
    mask[1] = False
    garbage = video.clone()
    garbage[0, 4] = 1e3
    garbage[1] = -1e3
    torch.testing.assert_close(model(video, mask).logits, model(garbage, mask).logits)
    assert torch.isfinite(model(video, mask).logits).all()


def test_frame_order_does_not_matter_to_the_compact_video_encoder():
    model = build_model("video", 0).eval()
    video, mask = torch.randn(2, 5, 768), torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(model(video, mask).logits, model(video.flip(1), mask).logits)


def test_same_seed_same_weights_and_the_global_state_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = (build_model("teacher", s).classifier.weight for s in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="unknown model 'resnet'"):
        build_model("resnet", 0)


def test_eeg_share_is_the_eeg_part_of_the_decision():
    model = build_model("teacher", 0)
    features = {"eeg": torch.randn(50, 64), "video": torch.randn(50, 64)}
    share = model.eeg_share(features)
    assert 0 < share < 1
    assert model.eeg_share({**features, "eeg": torch.zeros(50, 64)}) == 0
    doubled = model.eeg_share({**features, "eeg": 2 * features["eeg"]})
    assert doubled == pytest.approx(2 * share / (1 + share), rel=1e-5)
