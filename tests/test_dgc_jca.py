"""Dense graphs and joint cross-attention against loops in float64, hand values and symmetries."""

import numpy as np
import pytest
import torch

from cdgkd_utils.models.baselines.dgc_jca import DGCJCA, DenseGraph, JointCrossAttention, normalised_adjacency

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


def values(p):
    return p.detach().double().numpy()


def inputs(n=4):
    return [random(n, 28, 5), random(n, 5, 768), torch.ones(n, 5, dtype=torch.bool)]


def test_normalisation_of_three_nodes_by_hand():
    """Rows sum to 4, 9 and 1: entry (i, j) is divided by the roots of the sums of rows i and j."""
    weights = torch.tensor([[1.0, 3.0, -5.0], [0.0, 5.0, 4.0], [1.0, -1.0, 0.0]])
    expected = torch.tensor([[1 / 4, 3 / 6, 0], [0, 5 / 9, 4 / 3], [1 / 2, 0, 0]])
    torch.testing.assert_close(normalised_adjacency(weights), expected)


def test_a_missing_node_leaves_the_graph_of_the_others():
    weights = torch.tensor([[1.0, 3.0, 2.0], [0.0, 9.0, 4.0], [1.0, 1.0, 7.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    found = normalised_adjacency(weights, mask)
    torch.testing.assert_close(found[0, :2, :2], torch.tensor([[1 / 4, 3 / 6], [0, 1.0]]))
    assert not found[0, 2].any() and not found[0, :, 2].any() and not found[2].any()
    torch.testing.assert_close(found[1], normalised_adjacency(weights))


def test_a_node_without_edges_is_zero_and_has_a_finite_gradient():
    weights = torch.tensor([[1.0, 0.5], [-1.0, -2.0]], requires_grad=True)
    found = normalised_adjacency(weights)
    assert (found[1] == 0).all()
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
            assert layer.weight.shape == (3, seen.shape[1])
            mixed = np.zeros_like(seen)
            for i, j in np.ndindex(6, 6):
                mixed[i] += a[i, j] / np.sqrt(a[i].sum() * a[j].sum()) * seen[j]
            layers.append(np.maximum(mixed @ values(layer.weight).T, 0))
        np.testing.assert_allclose(values(graph(nodes)[n]), layers[3], atol=1e-5)


def test_renaming_the_nodes_renames_the_output():
    graph, nodes, order = DenseGraph(28, 5), random(3, 28, 5), torch.randperm(28, generator=G)
    expected = graph(nodes)[:, order]
    with torch.no_grad():
        graph.adjacency.copy_(graph.adjacency[order][:, order])
    torch.testing.assert_close(graph(nodes[:, order]), expected)


def test_renaming_the_electrodes_of_the_whole_network_changes_no_logit():
    model, (entropy, video, mask) = DGCJCA().eval(), inputs()
    expected, order = model(entropy, video, mask).logits, torch.randperm(28, generator=G)
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
            mixed = np.zeros((16, 256))
            for i, j in np.ndindex(16, 16):
                mixed[i] += w["joint"][i, j] * joint[j]
            correlation = np.empty((128, 256))
            for f, g in np.ndindex(128, 256):
                correlation[f, g] = np.tanh(np.dot(x[:, f], mixed[:, g]) / 16)
            hidden = np.maximum(correlation @ w["correlation"] + x.T @ w["own"], 0)
            assert hidden.shape == (128, 32)
            np.testing.assert_allclose(values(found[modality][n]), (hidden @ w["back"]).T + x, atol=2e-4)


def test_each_modality_attends_to_the_other():
    attention, eeg, video = JointCrossAttention(), random(1, 16, 128), random(1, 16, 128)
    before = attention(eeg, video)
    assert not torch.allclose(attention(eeg, 2 * video)[0], before[0], atol=1e-3)
    assert not torch.allclose(attention(2 * eeg, video)[1], before[1], atol=1e-3)
    with torch.no_grad():
        attention.weights["eeg"]["back"].zero_()  # without the way back only the tokens themselves are left
    torch.testing.assert_close(attention(eeg, video)[0], eeg)


def test_logits_and_embeddings_follow_from_the_tokens():
    model = DGCJCA().eval()
    output = model(*inputs())
    fused = torch.cat([output.maps["eeg"].mean(1), output.maps["video"].mean(1)], dim=1)
    torch.testing.assert_close(output.features["classifier_input"], fused)
    torch.testing.assert_close(output.logits, model.classifier(fused))
    assert output.features["eeg"].shape == output.features["video"].shape == (4, 128)
    shapes = {"eeg": (4, 16, 128), "video": (4, 16, 128), "eeg_2": (4, 28, 32), "video_2": (4, 5, 32)}
    assert {name: tuple(m.shape) for name, m in output.maps.items()} == shapes


def test_dropout_is_on_in_training_only_and_logits_stay_the_classifiers():
    model, given = DGCJCA(), inputs(64)
    output = model(*given)
    dropped = output.features["classifier_input"] == 0
    assert 0.5 < dropped.float().mean() < 0.7
    torch.testing.assert_close(model.classifier(output.features["classifier_input"]), output.logits)
    model.eval()
    assert torch.equal(model(*given).logits, model(*given).logits)


def test_missing_frames_do_not_matter_and_a_window_without_frames_is_finite():
    model, (entropy, video, mask) = DGCJCA().eval(), inputs()
    mask[0, 4], mask[1] = False, False
    garbage = video.masked_fill(~mask[..., None], torch.nan)
    found = model(entropy, garbage, mask).logits
    torch.testing.assert_close(found, model(entropy, video, mask).logits)
    assert torch.isfinite(found).all()
    model(entropy, video, mask).logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_gradient_reaches_every_edge_and_every_weight_of_the_attention():
    model, given = DGCJCA(), inputs(32)
    torch.nn.functional.cross_entropy(model(*given).logits, torch.arange(32) % 2).backward()
    assert (model.eeg_graph.adjacency.grad != 0).all()
    assert (model.video_graph.adjacency.grad != 0).all()
    for name, p in model.attention.named_parameters():
        assert (p.grad != 0).float().mean() > 0.9, name


def test_parameters_by_hand():
    def graph(n_nodes, n_inputs):
        return n_nodes**2 + 32 * (n_inputs + (n_inputs + 32) + (n_inputs + 64))

    tokens = 16 * (28 + 5) + 2 * (32 * 128 + 128)
    attention = 2 * (16 * 16 + 256 * 32 + 16 * 32 + 32 * 16)
    count = sum(p.numel() for p in DGCJCA().parameters())
    assert count == graph(28, 5) + graph(5, 768) + tokens + attention + 2 * 256 + 2


def test_both_modalities_decide():
    model, (entropy, video, mask) = DGCJCA().eval(), inputs()
    expected = model(entropy, video, mask).logits
    assert not torch.allclose(model(entropy + 1, video, mask).logits, expected, atol=1e-3)
    assert not torch.allclose(model(entropy, video + 1, mask).logits, expected, atol=1e-3)
    with pytest.raises(RuntimeError):
        model(entropy[:, :27], video, mask)
