"""Training in bfloat16 or with another batch: what changes, what not, and that no result takes another's place."""

import pytest
import torch
from cdgkd_utils.experiments.learner import fresh_learner
from cdgkd_utils.experiments.records import run_key
from cdgkd_utils.training.precision import PRECISIONS, VARIABLE, forward, training_precision
from cdgkd_utils.training.settings import BATCH_VARIABLE, training_batch_size
from smoke_runs import fresh
from test_training import INPUTS, SETTINGS, recipe_loss, state
from torch import nn

from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models import FAMILIES, build_model
from cdgkd_utils.training import TrainSettings, fit, predict


def gradients(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_products_of_rounded_numbers_by_hand():
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 2), torch.randn(7, 5)

    def model(x):
        z = layer(x)
        return ModelOutput(z, {"video": x}, {"video": z})

    output = forward(model, [x], "bfloat16")
    rounded = [v.detach().bfloat16().double() for v in (x, layer.weight, layer.bias)]
    by_hand = (rounded[0] @ rounded[1].T + rounded[2]).bfloat16().float()
    torch.testing.assert_close(output.logits, by_hand, rtol=2**-8, atol=2**-9)  # one unit of the last of 8 bits
    assert torch.equal(output.logits, output.logits.bfloat16().float()) and not torch.equal(output.logits, layer(x))
    assert output.logits.dtype == output.maps["video"].dtype == torch.float32
    assert torch.equal(output.features["video"], x)  # what no layer touched is not rounded
    assert torch.equal(forward(model, [x], "float32").logits, layer(x))


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in FAMILIES for name in FAMILIES[family]])
def test_every_network_gets_nearly_the_same_gradients(family, name, experiment):
    found = {}
    for precision in PRECISIONS:
        model = build_model(name, 0, family).eval()  # without dropout, and with batch statistics that are the same
        inputs = experiment.inputs.of(model, experiment.inputs.train[:8])
        output = forward(model, inputs, precision)
        assert output.logits.dtype == torch.float32
        nn.functional.cross_entropy(output.logits, torch.arange(len(inputs[0])) % 2).backward()
        assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)
        found[precision] = output.logits.detach(), gradients(model)
    for exact, rounded in zip(found["float32"], found["bfloat16"], strict=True):
        assert torch.isfinite(rounded).all() and not torch.equal(exact, rounded)
        assert (exact - rounded).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize("name", ["cdgkd", "fusion_rebalanced"])
def test_training_rounds_steps_and_nothing_else(name):
    """Weights and answers are float32, equal runs are equal, and a training in bfloat16 is not one in float32."""
    settings = TrainSettings(epochs=2, batch_size=32, precision="bfloat16")
    weights, logs = [], []
    for chosen in (settings, settings, TrainSettings(epochs=2, batch_size=32)):
        model = build_model(RECIPES[name].model, 5)
        logs.append(fit(model, INPUTS, recipe_loss(name, model), chosen, seed=11).log.drop(columns="seconds"))
        weights.append(state(model))
        assert {value.dtype for value in model.state_dict().values()} <= {torch.float32, torch.int64}
        assert not torch.is_autocast_enabled("cpu")
        by_hand = model(*INPUTS.of(model, INPUTS.val)).logits
        assert torch.equal(predict(model, INPUTS, INPUTS.val).logits, by_hand)
    assert torch.equal(weights[0], weights[1]) and logs[0].equals(logs[1])
    assert not torch.equal(weights[0], weights[2])
    assert (weights[0] - weights[2]).norm() < 0.05 * weights[2].norm()


def test_a_first_step_in_bfloat16_is_the_step_of_forward():
    """One mini-batch, plain gradient descent: the weights move by what `forward` gives, no other rounding."""
    options = {"epochs": 1, "batch_size": 240, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    trained, by_hand = (build_model("student", 3) for _ in range(2))
    settings = TrainSettings(**options, selection="last_epoch", precision="bfloat16", train_mode=False)
    fit(trained, INPUTS, CrossEntropy(), settings, seed=1)
    by_hand.eval()
    order = INPUTS.train[torch.randperm(len(INPUTS.train), generator=torch.Generator().manual_seed(1))]
    output = forward(by_hand, INPUTS.of(by_hand, order), "bfloat16")
    nn.functional.cross_entropy(output.logits, INPUTS.labels[order]).backward()
    with torch.no_grad():
        for parameter in by_hand.parameters():
            parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(state(trained), state(by_hand), rtol=1e-6, atol=1e-7)


def test_precision_is_part_of_the_key_and_the_default_leaves_keys_as_they_were(study, monkeypatch):
    experiment = fresh(study)
    monkeypatch.delenv(VARIABLE, raising=False)
    plain = experiment.spec(experiment.recipe("cdgkd"))
    assert "precision" not in plain["training"] and SETTINGS.as_dict().keys() == plain["training"].keys()
    monkeypatch.setenv(VARIABLE, "BFloat16 ")
    other = fresh(study)
    spec = other.spec(other.recipe("cdgkd"))
    assert spec["training"] == plain["training"] | {"precision": "bfloat16"}
    assert run_key(spec) != run_key(plain)
    assert not set(spec["guides"]) & set(plain["guides"])  # whoever teaches was trained alike
    assert fresh_learner(other, other.recipe("ce")).settings.precision == "bfloat16"


def test_another_precision_is_refused(monkeypatch):
    for empty in ("", " "):
        monkeypatch.setenv(VARIABLE, empty)
        assert training_precision() == "float32"
    monkeypatch.setenv(VARIABLE, "half")
    with pytest.raises(ValueError, match=f"^{VARIABLE}: expected float32 or bfloat16, got 'half'$"):
        training_precision()
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, got 'float16'"):
        TrainSettings(1, precision="float16")


def test_a_batch_of_ones_own_is_part_of_the_key_and_fills_the_steps(study, monkeypatch):
    monkeypatch.delenv(BATCH_VARIABLE, raising=False)
    plain = fresh(study).spec(fresh(study).recipe("cdgkd"))
    monkeypatch.setenv(BATCH_VARIABLE, " 20 ")
    other = fresh(study)
    spec = other.spec(other.recipe("cdgkd"))
    assert spec["training"] == plain["training"] | {"batch_size": 20} != plain["training"]
    assert not set(spec["guides"]) & set(plain["guides"])
    learner, sizes = fresh_learner(other, other.recipe("ce")), []
    learner.model.register_forward_pre_hook(
        lambda model, inputs: sizes.append(len(inputs[0])) if model.training else None
    )
    fit(learner.model, learner.inputs, learner.loss, TrainSettings(1, learner.settings.batch_size), seed=0)
    assert len(learner.inputs.train) == 48 and sizes == [20, 20, 8]


@pytest.mark.parametrize("text", ["1", "0", "-8", "64.0", "many", "²"])
def test_a_batch_that_is_none_is_refused(text, monkeypatch):
    monkeypatch.setenv(BATCH_VARIABLE, text)
    with pytest.raises(ValueError, match=f"^CDGKD_BATCH: expected a whole number of at least 2, got '{text}'$"):
        training_batch_size(64)
