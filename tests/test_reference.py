"""The paper's networks: shapes and counts layer by layer, initial values, and what each may see."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cdgkd_utils.models.reference import MODELS
from cdgkd_utils.models.reference.eeg import TA1, TEACHER, EEGEncoder, SpatialBlock
from cdgkd_utils.models.reference.emotionkd import ScoredTokens
from cdgkd_utils.models.reference.layers import Classifier, PositionEmbedding, TransformerBlock, same_padding
from cdgkd_utils.models.reference.networks import StudentNet
from cdgkd_utils.models.reference.overview import INPUT_SHAPES, layer_table
from cdgkd_utils.models.reference.video import VideoStem
from cdgkd_utils.training.inputs import Inputs, predict

# Trainable parameters and batch-norm statistics (method.md, sections 2.3 and 5.5).
COUNTS = {
    "teacher": (3_051_091, 384),
    "ta1": (2_983_507, 384),
    "ta2": (2_949_715, 384),
    "student": (1_184_531, 128),
    "eeg": (96_512 + 768 * 128 + 128 + 2 * (128 * 128 + 128) + 2 * 128 + 2, 256),
    "video": (954_321 + 1_770_240 + 768 * 128 + 128 + 2 * (128 * 128 + 128) + 2 * 128 + 2, 128),
    "emotionkd_teacher": (2_717_956, 2 * 128 + 4 * 256),
    "emotionkd_student": (1_664_836, 128 + 3 * 256),
}
TRUNK = [  # (output, parameters) of rows 1 to 13
    ((64, 5, 93), 2_112),
    ((64, 5, 93), 128),
    ((64, 1, 61), 675_904),
    ((61, 64), 2),
    ((61, 64), 3_904),
    ((61, 64), 141_248),
    ((61, 48), 3_120),
    ((61, 48), 81_376),
    ((61, 32), 1_568),
    ((61, 32), 37_888),
    ((61, 48), 3_120),
    ((61, 48), 2_352),
    ((61, 48), 1_584),
    ((48, 48), 15),
]
EEG = {
    "teacher": [
        ((64, 28, 64), 4_096),
        ((64, 28, 64), 2_048),
        ((64, 28, 64), 1_024),
        ((64, 28, 192), 128),
        ((32, 1, 96), 57_344),
        ((32, 2, 96), 28_672),
        ((32, 3, 96), 64),
        ((32, 1, 24), 3_072),
        ((32, 1, 24), 64),
    ],
    "ta1": [
        ((64, 28, 64), 4_096),
        ((64, 28, 64), 1_024),
        ((64, 28, 128), 128),
        ((32, 3, 96), 20_480),
        ((32, 3, 96), 64),
        ((32, 1, 24), 3_072),
        ((32, 1, 24), 64),
    ],
    "ta2": [
        ((64, 28, 64), 4_096),
        ((64, 28, 64), 128),
        ((32, 3, 64), 20_480),
        ((32, 3, 64), 64),
        ((32, 1, 16), 3_072),
        ((32, 1, 16), 64),
    ],
}


def classifier_rows(n_features):
    return [((128,), n_features * 128 + 128), ((128,), 16_512), ((128,), 16_512), ((2,), 258)]


def build(name, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS[name]()


@pytest.fixture(scope="module")
def networks():
    return {name: build(name).eval() for name in MODELS}


def inputs_of(model, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *INPUT_SHAPES[name], generator=generator) for name in model.inputs]


@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_parameters_and_statistics_are_the_published_ones(name, networks):
    model, table = networks[name], layer_table(networks[name])
    statistics = sum(b.numel() for key, b in model.named_buffers() if key.endswith(("running_mean", "running_var")))
    assert (sum(p.numel() for p in model.parameters() if p.requires_grad), statistics) == COUNTS[name]
    assert (table["n_parameters"].sum(), table["n_statistics"].sum()) == COUNTS[name]


@pytest.mark.parametrize(("name", "n_features"), [("teacher", 1536), ("ta1", 1536), ("ta2", 1280)])
def test_each_layer_of_teacher_and_assistants(name, n_features, networks):
    table = layer_table(networks[name])
    expected = [*EEG[name], *TRUNK, ((768,), 1_770_240), *classifier_rows(n_features)]
    assert list(zip(table["output"], table["n_parameters"], strict=True)) == expected


def test_each_layer_of_the_student(networks):
    table = layer_table(networks["student"])
    expected = [*TRUNK, ((1536,), 0), *classifier_rows(1536)]
    expected[4] = ((61, 64), 4_096)  # 64 rows of positions
    assert list(zip(table["output"], table["n_parameters"], strict=True)) == expected


def test_the_table_leaves_the_network_as_it_was():
    model = build("student").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layer_table(model)
    assert model.training and not model.head._forward_hooks
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_outputs_have_the_promised_names_and_shapes(networks):
    video_maps = {"video": (61, 32), "video_2": (61, 48)}
    tokens = {"video": (61, 64), "video_2": (61, 64)}
    expected = {
        "teacher": ({"video": 768, "eeg": 768, "classifier_input": 1536}, video_maps | {"eeg": (24, 32)}),
        "ta1": ({"video": 768, "eeg": 768, "classifier_input": 1536}, video_maps | {"eeg": (24, 32)}),
        "ta2": ({"video": 768, "eeg": 512, "classifier_input": 1280}, video_maps | {"eeg": (16, 32)}),
        "student": ({"video": 1536, "classifier_input": 1536, "hint": 2304}, video_maps),
        "eeg": ({"eeg": 768, "classifier_input": 768}, {"eeg": (24, 32)}),
        "video": ({"video": 768, "classifier_input": 768}, video_maps),
        "emotionkd_teacher": (
            {"eeg": 3904, "video": 3904, "classifier_input": 7808},
            tokens | {"eeg": (61, 64), "eeg_2": (61, 64)},
        ),
        "emotionkd_student": ({"video": 3904, "classifier_input": 3904}, tokens),
    }
    for name, model in networks.items():
        with torch.no_grad():
            output = model(*inputs_of(model))
        assert output.logits.shape == (3, 2) and model.chunk == 256
        assert {k: v.shape[1] for k, v in output.features.items()} == expected[name][0], name
        assert {k: tuple(v.shape[1:]) for k, v in output.maps.items()} == expected[name][1], name
        torch.testing.assert_close(model.classifier(output.features["classifier_input"]), output.logits)


def test_the_embedding_is_the_map_with_features_innermost(networks):
    output = networks["ta2"](*inputs_of(networks["ta2"]))
    assert torch.equal(output.features["eeg"], output.maps["eeg"].flatten(1))
    joined = torch.cat([output.features["video"], output.features["eeg"]], dim=1)
    assert torch.equal(output.features["classifier_input"], joined)


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
def test_initial_values_are_keras_uniform_ones(name, networks):
    model = networks[name]
    trunk = {"student": model}.get(name, getattr(model, "video", model))
    merge = set(getattr(getattr(trunk, "trunk", None), "merge", ()))
    inside = {
        part for m in model.modules() if isinstance(m, TransformerBlock) for part in (m.query_key_value, m.output)
    }
    n_checked = 0
    for module in model.modules():
        if getattr(module, "bias", None) is not None and not isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            assert not module.bias.any()
        if module in inside:
            continue
        for weight, limit in limits(module):
            if module in merge:
                limit = math.sqrt(6 / weight.shape[1])  # he_uniform
            assert weight.abs().max() <= limit
            if weight.numel() > 1000:
                n_checked += 1
                assert weight.abs().max() > 0.98 * limit
                assert weight.var().item() == pytest.approx(limit**2 / 3, rel=0.1)
    assert n_checked > 10
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_two_builds_with_one_seed_are_equal():
    one, same, other = (build("ta2", seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["classifier.1.weight"], other["classifier.1.weight"])


@pytest.mark.parametrize("twice", [False, True])
def test_transformer_block_against_numpy_in_double_precision(twice):
    torch.manual_seed(0)
    block = TransformerBlock(6, 0.3, twice_differentiable=twice).eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    w = {key: value.detach().double().numpy() for key, value in block.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(5, 6))

    def norm(a, key):
        centred = a - a.mean(axis=1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6) * w[f"{key}.weight"] + w[f"{key}.bias"]
        )

    projected = x @ w["query_key_value.weight"].T + w["query_key_value.bias"]
    heads = []
    for head in range(8):
        q, k, v = (projected[:, part * 48 + head * 6 : part * 48 + (head + 1) * 6] for part in range(3))
        scores = np.exp(q @ k.T / np.sqrt(6))
        heads.append(scores / scores.sum(axis=1, keepdims=True) @ v)
    attended = np.concatenate(heads, axis=1) @ w["output.weight"].T + w["output.bias"]
    a = norm(x + attended, "norm_1")
    hidden = np.maximum(a @ w["feed_forward.0.weight"].T + w["feed_forward.0.bias"], 0)
    expected = norm(a + hidden @ w["feed_forward.2.weight"].T + w["feed_forward.2.bias"], "norm_2")
    with torch.no_grad():
        np.testing.assert_allclose(block(torch.tensor(x[None]).float())[0], expected, atol=2e-5)


def test_video_stem_against_numpy_in_double_precision():
    torch.manual_seed(0)
    stem = VideoStem().eval()
    nn.init.constant_(stem.scale.bias, 0.3)
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
        ours = stem(torch.tensor(video[None]).float())[0]
    np.testing.assert_allclose(ours, w["scale.weight"] * tokens + 0.3, atol=2e-5)


def test_same_padding_and_the_two_rows_around_the_electrodes():
    assert same_padding(28, 10, 10) == (1, 1)
    assert same_padding(512, 64, 1) == (31, 32)
    assert same_padding(28, 28, 28) == same_padding(28, 14, 14) == same_padding(3, 3, 3) == (0, 0)
    block = SpatialBlock(1, 1, height=10, pool=2)
    nn.init.ones_(block.convolution.weight)
    ones = block(torch.ones(1, 1, 28, 4)).detach()
    # One zero row above and below: 9, 10 and 9 electrodes under the three places of the filter.
    assert ones.tolist() == [[[[9.0, 9.0], [10.0, 10.0], [9.0, 9.0]]]]
    torch.testing.assert_close(block(-torch.ones(1, 1, 28, 4)), -0.3 * ones)


def test_the_second_spatial_block_sees_one_hemisphere_at_a_time():
    encoder = EEGEncoder(TEACHER).eval()
    maps = torch.randn(1, 64, 28, 192)
    other = maps.clone()
    other[:, :, 14:] += 1
    one, two = encoder.spatial[1](maps), encoder.spatial[1](other)
    assert torch.equal(one[:, :, 0], two[:, :, 0]) and not torch.allclose(one[:, :, 1], two[:, :, 1])


def test_assistants_pad_time_with_zeros_behind_the_normalisation():
    encoder, seen = EEGEncoder(TA1).eval(), {}
    nn.init.constant_(encoder.norm_1.bias, 1.0)
    encoder.spatial[0].register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    encoder(torch.randn(1, 28, 512))
    assert seen["x"].shape == (1, 64, 28, 192)
    assert not seen["x"][..., :32].any() and not seen["x"][..., -32:].any()
    assert seen["x"][..., 32:-32].ne(0).all()


def test_eeg_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(n_windows, 28, 512\), got \(2, 32, 512\)"):
        EEGEncoder(TEACHER)(torch.zeros(2, 32, 512))


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_reaches_every_parameter(name):
    model = build(name).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        output = model(*inputs_of(model, n=4))
        nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 1, 0])).backward()
    for key, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), key


def test_each_network_sees_only_its_inputs(networks):
    rows, clean = torch.arange(2), inputs_of(networks["teacher"], n=2)
    nothing = [torch.full_like(x, math.nan) for x in clean]
    cases = (("eeg", nothing[0], clean[1]), ("video", clean[0], nothing[1]))
    for lost, signal, video in cases:
        data = Inputs(clean[0], video, torch.ones(2, 5, dtype=torch.bool), rows, rows, rows, {"signal": signal})
        for name, model in networks.items():
            uses = "signal" if lost == "eeg" else "video"
            assert torch.isfinite(predict(model, data, rows).logits).all() == (uses not in model.inputs), name
        kept = predict(networks["teacher"], data, rows).features["video" if lost == "eeg" else "eeg"]
        assert torch.isfinite(kept).all()


def test_classifier_is_one_affine_map_unless_it_has_activations():
    torch.manual_seed(0)
    classifier, x = Classifier(20).eval(), torch.randn(7, 20)
    difference = classifier(x) @ torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(difference, x @ classifier.direction(), rtol=1e-4, atol=1e-6)  # biases start at 0
    bent = Classifier(20, "relu").eval()
    assert sum(isinstance(m, nn.ReLU) for m in bent) == 3
    assert not torch.allclose(bent(x) + bent(-x), torch.zeros(7, 2), atol=1e-4)
    with pytest.raises(ValueError, match="activation='relu' is not one affine map"):
        bent.direction()
    with pytest.raises(ValueError, match="activation must be none or relu, got 'tanh'"):
        Classifier(20, "tanh")


@pytest.mark.parametrize("name", ["teacher", "ta2", "emotionkd_teacher"])
def test_eeg_share_is_the_eeg_part_of_the_decision(name, networks):
    model = networks[name]
    with torch.no_grad():
        features = model(*inputs_of(model, n=8)).features
        share = model.eeg_share(features)
        # The classifier itself, fed with one modality at a time, in the order in which the network joins them.
        blank = {"eeg": torch.zeros_like(features["eeg"]), "video": torch.zeros_like(features["video"])}
        order = ("eeg", "video") if name.startswith("emotionkd") else ("video", "eeg")
        spread = {}
        for kept in order:
            fed = torch.cat([features[m] if m == kept else blank[m] for m in order], dim=1)
            spread[kept] = model.classifier(fed).diff(dim=1).std().item()
    assert share == pytest.approx(spread["eeg"] / (spread["eeg"] + spread["video"]), rel=1e-4)
    assert model.eeg_share(features | {"eeg": blank["eeg"]}) == 0
    assert model.eeg_share(features | {"video": blank["video"]}) == 1


def test_student_head_options(networks):
    output = networks["student"](*inputs_of(networks["student"]))
    pooled = nn.functional.avg_pool1d(output.features["hint"][:, None], 769, 1)[:, 0]
    torch.testing.assert_close(output.features["video"], pooled, rtol=0, atol=1e-6)
    wide = StudentNet(head="linear")
    assert sum(p.numel() for p in wide.parameters()) == 1_184_531 + 2304 * 768 + 768 - 768 * 128
    with pytest.raises(ValueError, match="head must be running_mean or linear, got 'mean'"):
        StudentNet(head="mean")


def test_scores_weigh_each_activation():
    torch.manual_seed(0)
    layer, tokens = ScoredTokens().train(), torch.randn(4, 5, 64)
    w = {key: value.detach().double().numpy() for key, value in layer.state_dict().items()}
    x = tokens.double().numpy().reshape(-1, 64)
    hidden = x
    for i in ("1", "2"):
        hidden = hidden @ w[f"linear_{i}.weight"].T
        hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-3)
        hidden = np.maximum(hidden, 0) if i == "1" else hidden
    expected = (hidden / (1 + np.abs(hidden)) * x).reshape(4, 5, 64)
    np.testing.assert_allclose(layer(tokens).detach(), expected, atol=1e-5)


def test_fused_emotionkd_feature_is_the_sum_of_four_scored_pairs(networks):
    model = networks["emotionkd_teacher"]
    signal, video = inputs_of(model)
    with torch.no_grad():
        both = [torch.cat(pair, dim=1) for pair in zip(model.eeg(signal), model.video(video), strict=True)]
        a, b, c, d = model.scores
        expected = (a(both[0]) + b(both[1]) + c(both[1]) + d(both[2])).flatten(1)
        features = model(signal, video).features
        torch.testing.assert_close(features["classifier_input"], expected)
        assert torch.equal(model(signal, 2 * video).features["eeg"], features["eeg"])
        assert torch.equal(model(2 * signal, video).features["video"], features["video"])


def test_gradients_of_the_emotionkd_student_can_be_differentiated():
    model = build("emotionkd_student").train()
    loss = nn.functional.cross_entropy(model(*inputs_of(model, n=2)).logits, torch.tensor([0, 1]))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    sum(g.square().sum() for g in gradients).backward()
    assert all(torch.isfinite(p.grad).all() for p in parameters)
    assert model.video.blocks[0].query_key_value.weight.grad.any()
