"""The networks of CNN+SVM and CNN+LSTM against loops in float64, and what they may see."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.models.baselines import MODELS
from cdgkd_utils.models.baselines.eeg_lstm import EEGLSTM
from cdgkd_utils.models.baselines.face_cnn import FaceCNN

G = torch.Generator()


@pytest.fixture(autouse=True)
def _seeded():
    """Each test draws the same inputs and weights in whatever order the tests run."""
    G.manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def random(*shape):
    return torch.randn(*shape, generator=G)


def numbers(module):
    return {name: p.detach().double().numpy() for name, p in module.named_parameters()}


def test_parameters_by_hand():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert count(FaceCNN()) == 3 * 768 * 128 + 128 + 2 * 128 + 2
    assert count(EEGLSTM()) == 4 * (64 * 112 + 64 * 64 + 64 + 64) + 2 * 64 + 2


def test_face_cnn_by_loops():
    model, video = FaceCNN(), random(3, 5, 768)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    w, output = numbers(model), model(video, mask)
    for n in range(3):
        rows = []
        for t in range(5):
            if not mask[n, t]:
                continue
            out = w["convolution.bias"].copy()
            for tap, s in enumerate((t - 1, t, t + 1)):
                if 0 <= s < 5 and mask[n, s]:
                    out += w["convolution.weight"][:, :, tap] @ video[n, s].double().numpy()
            rows.append(np.maximum(out, 0))
        embedding = np.mean(rows, axis=0) if rows else np.zeros(128)
        np.testing.assert_allclose(output.features["video"][n].detach(), embedding, atol=1e-5)
        logits = w["classifier.weight"] @ embedding + w["classifier.bias"]
        np.testing.assert_allclose(output.logits[n].detach(), logits, atol=1e-5)
    assert output.maps["video"].shape == (3, 5, 128)


def test_missing_frames_do_not_matter():
    model, video, mask = FaceCNN(), random(2, 5, 768), torch.ones(2, 5, dtype=torch.bool)
    mask[0, 2], mask[1] = False, False
    garbage = video.masked_fill(~mask[..., None], torch.nan)
    torch.testing.assert_close(model(video, mask).logits, model(garbage, mask).logits)
    assert torch.isfinite(model(garbage, mask).logits).all()


def test_lstm_by_loops():
    model, power = EEGLSTM(), random(2, 8, 112)
    w, output = numbers(model), model(power)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    for n in range(2):
        hidden, cell = np.zeros(64), np.zeros(64)
        for step in power[n].double().numpy():
            gates = w["lstm.weight_ih_l0"] @ step + w["lstm.bias_ih_l0"]
            gates += w["lstm.weight_hh_l0"] @ hidden + w["lstm.bias_hh_l0"]
            i, f, g, o = np.split(gates, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
        np.testing.assert_allclose(output.features["eeg"][n].detach(), hidden, atol=1e-5)
        logits = w["classifier.weight"] @ hidden + w["classifier.bias"]
        np.testing.assert_allclose(output.logits[n].detach(), logits, atol=1e-5)
    assert output.maps["eeg"].shape == (2, 8, 64)


def test_order_of_the_steps_matters_to_the_lstm():
    model, power = EEGLSTM(), random(4, 8, 112)
    assert not torch.allclose(model(power).logits, model(power.flip(1)).logits, atol=1e-3)


def test_every_parameter_learns_and_logits_are_the_classifiers():
    given = {
        "video": random(16, 5, 768),
        "frame_mask": torch.ones(16, 5, dtype=torch.bool),
        "band_power": random(16, 8, 112),
        "entropy": random(16, 28, 5),
    }
    for name, build in MODELS.items():
        model = build()
        output = model(*[given[key] for key in model.inputs])
        torch.testing.assert_close(model.classifier(output.features["classifier_input"]), output.logits)
        F.cross_entropy(output.logits, torch.arange(16) % 2).backward()
        dead = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
        assert not dead, (name, dead)
