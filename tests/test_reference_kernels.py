"""The banded temporal block, the running mean and the column filter against the plain operations."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.models.reference.layers import RunningMean
from cdgkd_utils.models.reference.temporal import CHUNK, TemporalBlock, _PooledConvolution
from cdgkd_utils.models.reference.video import ColumnConvolution


def both(length, n_filters=64, n_windows=2):
    torch.manual_seed(length)
    fast, plain = (TemporalBlock(n_filters, length, fast=flag) for flag in (True, False))
    plain.load_state_dict(fast.state_dict())
    return fast, plain, torch.randn(n_windows, 28, 512)


@pytest.mark.parametrize("length", [64, 32, 16, 5])
def test_banded_block_equals_convolution_leaky_relu_and_pooling(length):
    fast, plain, signal = both(length)
    weight = fast.convolution.weight
    out = F.conv2d(F.pad(signal[:, None], ((length - 1) // 2, length // 2)), weight)
    expected = F.avg_pool2d(F.leaky_relu(out, 0.3), (1, 8))
    for block in (fast, plain):
        torch.testing.assert_close(block(signal), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [64, 32, 16, 5])
def test_banded_block_has_the_gradients_of_the_chain(length):
    fast, plain, signal = both(length)
    out_gradient = torch.randn(2, 64, 28, 64)
    gradients = []
    for block in (fast, plain):
        x = signal.clone().requires_grad_()
        gradients.append(torch.autograd.grad(block(x), [block.convolution.weight, x], out_gradient))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_hand_computed_output():
    signal = torch.tensor([[1.0, -2.0, 3.0, 0.0]])
    filters = torch.tensor([[1.0, 10.0, 100.0]])  # correlation: 1·x[t−1] + 10·x[t] + 100·x[t+1]
    # x padded: 0 1 −2 3 0 0 → 10−200=−190, 1−20+300=281, −2+30+0=28, 3+0+0=3
    expected = torch.tensor([[[(-190 * 0.3 + 281) / 2], [(28 + 3) / 2]]])
    torch.testing.assert_close(_PooledConvolution.apply(signal, filters, 2), expected)


def test_numerical_derivative_over_several_chunks():
    torch.manual_seed(0)
    signal = torch.randn(CHUNK + 2, 8, dtype=torch.float64, requires_grad=True)
    filters = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, w: _PooledConvolution.apply(s, w, 4), (signal, filters))


def test_activations_are_not_kept_for_the_backward_pass():
    kept = {}
    *blocks, signal = both(64)
    for block in blocks:
        storages = {}

        def pack(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block(signal)
        kept[block.fast] = sum(storages.values())
    activations = 4 * 2 * 28 * 512 * 64
    assert kept[False] >= 2 * activations  # before and behind the LeakyReLU
    assert kept[True] < activations / 10


def test_only_the_plain_block_can_be_differentiated_twice():
    fast, plain, signal = both(16)

    def twice(block):
        (gradient,) = torch.autograd.grad(block(signal).square().sum(), block.convolution.weight, create_graph=True)
        gradient.square().sum().backward()

    twice(plain)
    assert plain.convolution.weight.grad.any()
    with pytest.raises(RuntimeError, match="once_differentiable"):
        twice(fast)


def test_scaling_the_signal_scales_the_output_and_silence_stays_silent():
    fast, _, signal = both(32)
    torch.testing.assert_close(fast(4 * signal), 4 * fast(signal))
    assert not fast(torch.zeros_like(signal)).any()


def test_delaying_the_signal_by_one_pool_delays_the_output_by_one_place():
    fast, _, signal = both(32)
    inner = slice(4, 60)  # away from the padded ends
    delayed = fast(signal.roll(8, dims=2))
    torch.testing.assert_close(delayed[..., inner], fast(signal).roll(1, dims=3)[..., inner])


def test_running_mean_equals_average_pooling_with_its_gradient():
    torch.manual_seed(0)
    features = 5 + torch.randn(4, 2304)
    out_gradient = torch.randn(4, 1536)
    results = []
    for mean in (RunningMean(769), lambda x: F.avg_pool1d(x[:, None], 769, 1)[:, 0]):
        x = features.clone().requires_grad_()
        out = mean(x)
        results.append((out, *torch.autograd.grad(out, x, out_gradient)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    exact = np.lib.stride_tricks.sliding_window_view(features.double().numpy(), 769, axis=1).mean(axis=2)
    np.testing.assert_allclose(results[0][0].detach().numpy(), exact, rtol=2e-7)


def test_running_mean_by_hand():
    features = torch.tensor([[3.0, 6.0, 9.0, -3.0]])
    assert RunningMean(3)(features).tolist() == [[6.0, 4.0]]


def test_column_filter_equals_a_convolution_of_one_channel():
    torch.manual_seed(0)
    layer = ColumnConvolution(61, 14)
    torch.nn.init.constant_(layer.bias, 0.7)
    tokens = torch.randn(3, 61, 48)
    out_gradient = torch.randn(3, 48, 48)
    expected = F.conv2d(tokens[:, None], layer.weight.view(1, 1, 14, 1), layer.bias.view(1))[:, 0]
    torch.testing.assert_close(layer(tokens), expected, rtol=1e-5, atol=1e-6)
    ours = torch.autograd.grad(layer(tokens), [layer.weight, layer.bias], out_gradient)
    theirs = torch.autograd.grad(expected, [layer.weight, layer.bias], out_gradient)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)
    assert list(layer.state_dict()) == ["weight", "bias"]
