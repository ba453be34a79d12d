"""Networks of the baselines against loops in float64: DGC+JCA, face CNN, LSTM, AMBOKD's fusion, EmotionKD's gates."""

import numpy as np
import pytest
import torch

from cdgkd_utils.models import build_model, n_parameters
from cdgkd_utils.models.baselines import (
    DGCJCA,
    EEGLSTM,
    DenseGraph,
    FaceCNN,
    JointCrossAttention,
    TokenFusion,
    normalised_adjacency,
)
from cdgkd_utils.models.emotionkd import CompactEmotionKDTeacher, Gated
from cdgkd_utils.models.layers import linear

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


def values(x):
    return x.detach().double().numpy()


def named(module):
    return {name: values(p) for name, p in module.named_parameters()}


def test_normalised_adjacency_by_hand_and_without_a_node():
    """Rows sum to 4, 9 and 1: entry (i, j) is divided by the roots of the sums of rows i and j."""
    weights = torch.tensor([[1.0, 3.0, -5.0], [0.0, 5.0, 4.0], [1.0, -1.0, 0.0]], requires_grad=True)
    expected = torch.tensor([[1 / 4, 3 / 6, 0], [0, 5 / 9, 4 / 3], [1 / 2, 0, 0]])
    torch.testing.assert_close(normalised_adjacency(weights), expected)
    weights = torch.tensor([[1.0, 3.0, 2.0], [0.0, 9.0, 4.0], [1.0, 1.0, 7.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    found = normalised_adjacency(weights, mask)
    torch.testing.assert_close(found[0, :2, :2], torch.tensor([[1 / 4, 3 / 6], [0, 1.0]]))
    assert not found[0, 2].any() and not found[0, :, 2].any() and not found[2].any()
    torch.testing.assert_close(found[1], normalised_adjacency(weights))
    found.sum().backward()
    assert torch.isfinite(weights.grad).all()


def test_dense_layers_by_loops():
    graph, nodes = DenseGraph(6, 4, n_units=3), random(2, 6, 4)
    with torch.no_grad():
        graph.adjacency -= 0.2  # so that the ReLU cuts some edges
    a = np.maximum(values(graph.adjacency), 0)
    assert (a == 0).any()
    for n in range(2):
        layers = [values(nodes[n])]
        for layer in graph.layers:
            seen = np.concatenate(layers, axis=1)
            mixed = np.zeros_like(seen)
            for i, j in np.ndindex(6, 6):
                mixed[i] += a[i, j] / np.sqrt(a[i].sum() * a[j].sum()) * seen[j]
            layers.append(np.maximum(mixed @ values(layer.weight).T, 0))
        np.testing.assert_allclose(values(graph(nodes)[n]), layers[3], atol=1e-5)


def test_renaming_the_electrodes_changes_no_logit():
    model, order = DGCJCA().eval(), torch.randperm(28, generator=G)
    entropy, video, mask = random(4, 28, 5), random(4, 5, 768), torch.ones(4, 5, dtype=torch.bool)
    expected = model(entropy, video, mask).logits
    with torch.no_grad():
        model.eeg_graph.adjacency.copy_(model.eeg_graph.adjacency[order][:, order])
        model.eeg_tokens.mix.copy_(model.eeg_tokens.mix[:, order])
    torch.testing.assert_close(model(entropy[:, order], video, mask).logits, expected)
    assert not torch.allclose(model(entropy, video, mask).logits, expected, atol=1e-4)


def test_joint_cross_attention_by_loops():
    attention, tokens = JointCrossAttention(), {"eeg": random(2, 16, 128), "video": random(2, 16, 128)}
    found = dict(zip(("eeg", "video"), attention(tokens["eeg"], tokens["video"]), strict=True))
    for n in range(2):
        joint = np.concatenate([values(tokens["eeg"][n]), values(tokens["video"][n])], axis=1)
        for modality in ("eeg", "video"):
            w = {name: values(p) for name, p in attention.weights[modality].items()}
            x = values(tokens[modality][n])
            mixed = sum(np.outer(w["joint"][:, j], joint[j]) for j in range(16))
            correlation = np.empty((128, 256))
            for f, g in np.ndindex(128, 256):
                correlation[f, g] = np.tanh(np.dot(x[:, f], mixed[:, g]) / 16)
            hidden = np.maximum(correlation @ w["correlation"] + x.T @ w["own"], 0)
            np.testing.assert_allclose(values(found[modality][n]), (hidden @ w["back"]).T + x, atol=2e-4)


def test_dgc_jca_follows_from_its_tokens_drops_in_training_only_and_has_its_parameters():
    model = DGCJCA()
    given = random(64, 28, 5), random(64, 5, 768), torch.ones(64, 5, dtype=torch.bool)
    dropped = model(*given).features["classifier_input"] == 0
    assert 0.5 < dropped.float().mean() < 0.7
    output = model.eval()(*given)
    fused = torch.cat([output.maps["eeg"].mean(1), output.maps["video"].mean(1)], dim=1)
    torch.testing.assert_close(output.logits, model.classifier(fused))
    shapes = {"eeg": (64, 16, 128), "video": (64, 16, 128), "eeg_2": (64, 28, 32), "video_2": (64, 5, 32)}
    assert {name: tuple(m.shape) for name, m in output.maps.items()} == shapes

    def graph(n_nodes, n_inputs):
        return n_nodes**2 + 32 * (n_inputs + (n_inputs + 32) + (n_inputs + 64))

    tokens, attention = 16 * (28 + 5) + 2 * (32 * 128 + 128), 2 * (16 * 16 + 256 * 32 + 16 * 32 + 32 * 16)
    assert n_parameters(model) == graph(28, 5) + graph(5, 768) + tokens + attention + 2 * 256 + 2


def test_face_cnn_by_loops():
    model, video = FaceCNN(), random(3, 5, 768)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    w, output = named(model), model(video, mask)
    for n in range(3):
        rows = []
        for t in np.flatnonzero(mask[n]):
            out = w["convolution.bias"].copy()
            for tap, s in enumerate((t - 1, t, t + 1)):
                if 0 <= s < 5 and mask[n, s]:
                    out += w["convolution.weight"][:, :, tap] @ values(video[n, s])
            rows.append(np.maximum(out, 0))
        embedding = np.mean(rows, axis=0) if rows else np.zeros(128)
        np.testing.assert_allclose(values(output.features["video"][n]), embedding, atol=1e-5)
        np.testing.assert_allclose(
            values(output.logits[n]), w["classifier.weight"] @ embedding + w["classifier.bias"], atol=1e-5
        )
    assert n_parameters(model) == 3 * 768 * 128 + 128 + 2 * 128 + 2


def test_lstm_ends_in_the_state_of_a_cell_stepped_by_hand():
    model, power, cell = EEGLSTM(), random(2, 8, 112), torch.nn.LSTMCell(112, 64)
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in model.lstm.state_dict().items()})
    state = None
    for step in power.unbind(1):
        state = cell(step, state)
    torch.testing.assert_close(model(power).features["eeg"], state[0])


def test_token_fusion_by_loops():
    fusion, eeg, video = TokenFusion(5, 3, n_token=8, n_classes=3).double().eval(), random(4, 5), random(4, 3)
    found = fusion(eeg.double(), video.double())

    def apply(layer, x):
        w, b = (values(p) for p in layer.parameters())
        return w @ x + b

    for n in range(4):
        tokens = (apply(fusion.project_eeg, values(eeg[n])), apply(fusion.project_video, values(video[n])))
        qkv, flat = [apply(fusion.query_key_value, t) for t in tokens], []
        for token in range(2):
            for head in range(2):
                part = slice(4 * head, 4 * head + 4)
                scores = np.array([qkv[token][:8][part] @ other[8:16][part] / np.sqrt(4) for other in qkv])
                weight = np.exp(scores) / np.exp(scores).sum()
                flat.append(sum(w * other[16:][part] for w, other in zip(weight, qkv, strict=True)))
        np.testing.assert_allclose(values(found[n]), apply(fusion.classifier, np.concatenate(flat)), rtol=1e-10)


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_gate_by_loops(eps):
    """softsign(BN(W2 ReLU(BN(W1 x)))) of each token in training mode: statistics over windows and tokens."""
    gate = Gated(3, linear, lambda n: torch.nn.BatchNorm1d(n, eps=eps)).double()
    tokens, w = random(4, 6, 3).double(), named(gate)
    x = rows = values(tokens).reshape(24, 3)
    for i in ("1", "2"):
        rows = np.array(
            [[w[f"linear_{i}.weight"][k] @ row + w[f"linear_{i}.bias"][k] for k in range(3)] for row in rows]
        )
        rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + eps)
        rows = np.maximum(rows, 0) if i == "1" else rows / (1 + np.abs(rows))
    assert np.abs(rows).max() < 1
    np.testing.assert_allclose(values(gate(tokens)), (rows * x).reshape(4, 6, 3), rtol=1e-10)


def test_emotionkd_fusion_sums_the_gated_levels():
    model = build_model("emotionkd_teacher", 0, "reference").eval()
    signal, video = random(2, 28, 512), random(2, 5, 768)
    with torch.no_grad():
        both = [torch.cat(pair, dim=1) for pair in zip(model.eeg(signal), model.video(video), strict=True)]
        a, b, c, d = model.gates  # IMF of blocks 1 and 2, then of 2 and 3
        expected = (a(both[0]) + b(both[1]) + c(both[1]) + d(both[2])).flatten(1)
        torch.testing.assert_close(model(signal, video).features["classifier_input"], expected)
    compact = CompactEmotionKDTeacher().eval()
    mask, seen = torch.ones(2, 5, dtype=torch.bool), []
    mask[1, 3:] = False
    for gate in compact.gates:
        gate.register_forward_hook(lambda _, __, out: seen.append(out))
    output = compact(torch.eye(28).expand(2, 4, 28, 28), video, mask)
    torch.testing.assert_close(output.features["classifier_input"], (seen[0] + seen[1]).flatten(1))
    assert output.maps["video"][1, 3:].abs().max() == 0 < output.maps["video"][0, 3:].abs().min()
