"""The paper's networks: published counts and shapes layer by layer, initial values, and each layer against NumPy."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cdgkd_utils.models import build_model, n_parameters
from cdgkd_utils.models.layers import (
    PositionEmbedding,
    SpatialBlock,
    TemporalBlock,
    TransformerBlock,
    running_mean,
    same_padding,
)
from cdgkd_utils.models.reference import TA1, TEACHER, EEGEncoder, VideoStem, VideoTrunk

CLASSIFIER = 128 + 2 * (128 * 128 + 128) + 2 * 128 + 2  # of n inputs, 128 n more
# Trainable parameters and batch-norm statistics, measured on the released Keras networks; of the two unimodal networks
# and of EmotionKD's teacher, which reads video where the authors' reads skin conductance, from their layers.
COUNTS = {
    "teacher": (3_051_091, 384),
    "ta1": (2_983_507, 384),
    "ta2": (2_949_715, 384),
    "student": (1_184_531, 128),
    "eeg": (96_512 + 768 * 128 + CLASSIFIER, 256),
    "video": (954_321 + 1_770_240 + 768 * 128 + CLASSIFIER, 128),
    "emotionkd_teacher": (2_717_956, 2 * 128 + 4 * 256),
}


def reference(name, seed=0):
    return build_model(name, seed, "reference")


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_parameters_and_statistics_are_the_published_ones(name):
    model = reference(name)
    statistics = sum(b.numel() for key, b in model.named_buffers() if key.endswith(("running_mean", "running_var")))
    assert (n_parameters(model), statistics) == COUNTS[name]


def limits(module):
    """Half-widths of the uniform distributions of a module's own weights, from the shapes alone."""
    if isinstance(module, TransformerBlock):
        d = module.width
        yield module.query_key_value.weight, math.sqrt(6 / (8 * d + d * d))
        yield module.output.weight, math.sqrt(6 / (8 * d + 8 * d))
    elif isinstance(module, PositionEmbedding):
        yield module.table, 0.05
    elif isinstance(module, nn.Conv2d):
        n_out, n_in, height, width = module.weight.shape
        yield module.weight, math.sqrt(6 / ((n_in + n_out) * height * width))
    elif isinstance(module, nn.Linear):
        yield module.weight, math.sqrt(6 / sum(module.weight.shape))


@pytest.mark.parametrize("name", ["teacher", "ta1", "student", "emotionkd_teacher"])
def test_initial_values_are_keras_uniform_ones(name):
    model = reference(name)
    merge = {m for trunk in model.modules() if isinstance(trunk, VideoTrunk) for m in trunk.merge}
    blocks = [m for m in model.modules() if isinstance(m, TransformerBlock)]
    inside, n_checked = {part for m in blocks for part in (m.query_key_value, m.output)}, 0
    for module in model.modules():
        if getattr(module, "bias", None) is not None and not isinstance(
            module, nn.LayerNorm | nn.BatchNorm2d | nn.BatchNorm1d
        ):
            assert not module.bias.any()
        for weight, limit in () if module in inside else limits(module):
            limit = math.sqrt(6 / weight.shape[1]) if module in merge else limit  # he_uniform
            assert weight.abs().max() <= limit
            if weight.numel() > 1000:
                n_checked += 1
                assert weight.abs().max() > 0.98 * limit
                assert weight.var().item() == pytest.approx(limit**2 / 3, rel=0.1)
    assert n_checked > 10
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_transformer_block_against_numpy_in_double_precision():
    torch.manual_seed(0)
    block = TransformerBlock(6, 0.3).eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    w = {key: value.detach().double().numpy() for key, value in block.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(5, 6))

    def norm(a, key):
        centred = a - a.mean(axis=1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
        return centred / spread * w[f"{key}.weight"] + w[f"{key}.bias"]

    projected = x @ w["query_key_value.weight"].T + w["query_key_value.bias"]
    heads = []
    for head in range(8):
        q, k, v = (projected[:, part * 48 + head * 6 : part * 48 + (head + 1) * 6] for part in range(3))
        scores = np.exp(q @ k.T / np.sqrt(6))
        heads.append(scores / scores.sum(axis=1, keepdims=True) @ v)
    a = norm(x + np.concatenate(heads, axis=1) @ w["output.weight"].T + w["output.bias"], "norm_1")
    hidden = np.maximum(a @ w["feed_forward.0.weight"].T + w["feed_forward.0.bias"], 0)
    expected = norm(a + hidden @ w["feed_forward.2.weight"].T + w["feed_forward.2.bias"], "norm_2")
    with torch.no_grad():
        np.testing.assert_allclose(block(torch.tensor(x[None]).float())[0], expected, atol=2e-5)


def test_video_stem_against_numpy_in_double_precision():
    torch.manual_seed(0)
    stem = VideoStem().eval()
    nn.init.constant_(stem.shift, 0.3)
    stem.norm.running_mean.normal_()
    stem.norm.running_var.uniform_(0.5, 2)
    w = {key: value.detach().double().numpy() for key, value in stem.state_dict().items()}
    video = np.random.default_rng(0).normal(size=(5, 768))
    strips = np.lib.stride_tricks.sliding_window_view(video, 32, axis=1)[:, ::8]
    hidden = np.einsum("htk,ck->cht", strips, w["conv_1.weight"][:, 0, 0]) + w["conv_1.bias"][:, None, None]
    scale = w["norm.weight"] / np.sqrt(w["norm.running_var"] + 1e-3)
    hidden = (hidden - w["norm.running_mean"][:, None, None]) * scale[:, None, None] + w["norm.bias"][:, None, None]
    strips = np.lib.stride_tricks.sliding_window_view(np.maximum(hidden, 0), 33, axis=2)
    tokens = np.einsum("chtk,dchk->td", strips, w["conv_2.weight"], optimize=True) + w["conv_2.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(stem(torch.tensor(video[None]).float())[0], w["scale"] * tokens + 0.3, atol=2e-5)


@pytest.mark.parametrize(("length", "n_windows"), [(64, 3), (16, 2), (5, 1)])
def test_banded_temporal_block_is_convolution_leaky_relu_and_pooling(length, n_windows):
    """Values, gradients of filters and signal, and over several chunks of channels."""
    torch.manual_seed(length)
    block, signal = TemporalBlock(64, length, 8), torch.randn(n_windows, 28, 512, requires_grad=True)
    weight, out_gradient = block.convolution.weight, torch.randn(n_windows, 64, 28, 64)
    out = F.conv2d(F.pad(signal[:, None], ((length - 1) // 2, length // 2)), weight)
    expected = F.avg_pool2d(F.leaky_relu(out, 0.3), (1, 8))
    torch.testing.assert_close(block(signal), expected, rtol=0, atol=1e-6)
    ours, theirs = (torch.autograd.grad(x, [weight, signal], out_gradient) for x in (block(signal), expected))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


def test_temporal_block_by_hand_and_its_activations_are_not_kept():
    block = TemporalBlock(1, 3, 2)
    block.convolution.weight.data = torch.tensor([[[[1.0, 10.0, 100.0]]]])  # 1·x[t−1] + 10·x[t] + 100·x[t+1]
    # x padded: 0 1 −2 3 0 0 → 10−200=−190, 1−20+300=281, −2+30+0=28, 3+0+0=3
    found = block(torch.tensor([[[1.0, -2.0, 3.0, 0.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[[(-190 * 0.3 + 281) / 2, (28 + 3) / 2]]]]))
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t), lambda t: t
    ):
        TemporalBlock(64, 64, 8)(torch.randn(2, 28, 512))
    assert sum(t.untyped_storage().nbytes() for t in kept.values()) < 4 * 2 * 28 * 512 * 64 / 10


def test_same_padding_and_the_two_rows_around_the_electrodes():
    assert same_padding(28, 10, 10) == (1, 1) and same_padding(512, 64, 1) == (31, 32)
    assert same_padding(28, 28, 28) == same_padding(28, 14, 14) == same_padding(3, 3, 3) == (0, 0)
    block = SpatialBlock(1, 1, height=10, pool=2)
    nn.init.ones_(block.convolution.weight)
    ones = block(torch.ones(1, 1, 28, 4)).detach()
    # One zero row above and below: 9, 10 and 9 electrodes under the three places of the filter.
    assert ones.tolist() == [[[[9.0, 9.0], [10.0, 10.0], [9.0, 9.0]]]]
    torch.testing.assert_close(block(-torch.ones(1, 1, 28, 4)), -0.3 * ones)


def test_eeg_encoder_sees_one_hemisphere_at_a_time_pads_assistants_and_refuses_other_shapes():
    encoder, maps = EEGEncoder(TEACHER).eval(), torch.randn(1, 64, 28, 192)
    other = maps.clone()
    other[:, :, 14:] += 1
    one, two = encoder.spatial[1](maps), encoder.spatial[1](other)
    assert torch.equal(one[:, :, 0], two[:, :, 0]) and not torch.allclose(one[:, :, 1], two[:, :, 1])
    assistant, seen = EEGEncoder(TA1).eval(), {}
    nn.init.constant_(assistant.norm_1.bias, 1.0)
    assistant.spatial[0].register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    embedding, maps = assistant(torch.randn(1, 28, 512))
    assert not seen["x"][..., :32].any() and not seen["x"][..., -32:].any() and seen["x"][..., 32:-32].ne(0).all()
    assert torch.equal(embedding, maps["eeg"].flatten(1)) and maps["eeg"].shape == (1, 24, 32)
    with pytest.raises(ValueError, match=r"\(n_windows, 28, 512\), got \(2, 32, 512\)"):
        encoder(torch.zeros(2, 32, 512))


def test_running_mean_and_column_filter_are_pooling_and_convolution():
    assert running_mean(torch.tensor([[3.0, 6.0, 9.0, -3.0]]), 3).tolist() == [[6.0, 4.0]]
    features, out_gradient = (5 + torch.randn(4, 2304)).requires_grad_(), torch.randn(4, 1536)
    pooled, ours = F.avg_pool1d(features[:, None], 769, 1)[:, 0], running_mean(features, 769)
    exact = np.lib.stride_tricks.sliding_window_view(features.detach().double().numpy(), 769, axis=1).mean(axis=2)
    np.testing.assert_allclose(ours.detach().numpy(), exact, rtol=2e-7)
    gradients = [torch.autograd.grad(x, features, out_gradient)[0] for x in (ours, pooled)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
    trunk, seen = VideoTrunk(61).eval(), []
    nn.init.constant_(trunk.column_bias, 0.7)
    for m in trunk.merge:
        m.register_forward_hook(lambda _, __, out: seen.append(torch.relu(out)))
    flat, _ = trunk(torch.randn(2, 5, 768))
    expected = F.conv2d(sum(seen)[:, None], trunk.column.view(1, 1, 14, 1), trunk.column_bias.view(1))
    torch.testing.assert_close(flat, expected.flatten(1), rtol=1e-4, atol=1e-5)
