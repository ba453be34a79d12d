"""Each recipe gets the loss that it names, with the family's strength and with guides in evaluation mode."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows

from cdgkd_utils.experiments.losses import Given, Guide, build_loss
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.models import build_model
from cdgkd_utils.training import predict

N = 18
GUIDED = [recipe.name for recipe in RECIPES.values() if recipe.kind == "network" and recipe.guides]


@pytest.fixture(scope="module")
def inputs():
    with pytest.MonkeyPatch.context() as patch:
        study = planted_study(patch, planted_windows(3, 6, 1), replace(PLANTED, name="tiny"))
        everything = Experiment(study, "valence", 0).inputs
        return replace(everything, train=torch.arange(0, N, 2), val=torch.arange(1, N, 2))


@pytest.fixture(scope="module")
def guide(inputs):
    """Guides by recipe and family, untrained: all that a loss asks of one is a network and its stored logits."""
    made = {}

    def build(name, family):
        if (name, family) not in made:
            model, logits = None, np.random.default_rng(len(made)).normal(size=(N, 2)).astype(np.float32)
            if RECIPES[name].kind == "network":
                model = build_model(RECIPES[name].model, seed=len(made), family=family)
                logits = predict(model, inputs, torch.arange(N)).logits.numpy()
            # A fresh network is in training mode; that of a real record would hide a forgotten `eval`.
            made[name, family] = Guide(logits, lambda: model.train(), inputs, {})
        return made[name, family]

    return build


def built(recipe, family, inputs, guide, seed=3):
    """The loss of a recipe, and its fresh learner."""
    model = build_model(recipe.model, seed=0, family=family)
    guides = {name: guide(name, family) for name in recipe.guides}
    given = Given(recipe, guides, model, inputs, torch.Generator().manual_seed(seed), family)
    return build_loss(given), model


@pytest.mark.parametrize(("family", "strength"), [("compact", 10.0), ("reference", 1.0)])
def test_the_strength_of_prototype_losses_is_the_familys(family, strength, inputs, guide):
    for name in ("fusion", "fusion_constant", "fusion_rebalanced", "pmr_paper", "teacher_part2"):
        assert built(RECIPES[name], family, inputs, guide)[0].strength == strength
        assert built(RECIPES[name].but(strength=3.0), family, inputs, guide)[0].strength == 3.0  # as tuning says it
    assert built(RECIPES["ogm_ge"], family, inputs, guide)[0].strength == 0.1  # another quantity: the authors' alpha
    dose = built(RECIPES["fusion_constant_dose"], family, inputs, guide)[0]
    assert dose.strength == pytest.approx(0.12 * strength) and dose.mode == "constant"


@pytest.mark.parametrize(
    ("family", "feature", "n_in"), [("compact", "classifier_input", 32), ("reference", "hint", 2304)]
)
@pytest.mark.parametrize("name", ["fitnets", "emotionkd"])
def test_the_regressor_starts_at_the_students_hint(name, family, feature, n_in, inputs, guide):
    loss, model = built(RECIPES[name], family, inputs, guide)
    assert loss.feature == feature and loss.regressor.in_features == n_in
    (taught_by,) = RECIPES[name].guides
    fused = predict(guide(taught_by, family).model(), inputs, torch.arange(N)).features["classifier_input"]
    assert loss.regressor.out_features == fused.shape[1]
    assert name != "fitnets" or torch.allclose(loss.hint, fused, atol=1e-5)
    learned = [id(parameter) for group in loss.param_groups(model) for parameter in group["params"]]
    assert len(learned) == len(set(learned)) and {id(p) for p in loss.regressor.parameters()} <= set(learned)


@pytest.mark.parametrize("family", ["compact", "reference"])
def test_a_guides_embeddings_are_those_of_evaluation_mode(family, inputs, guide):
    teacher = guide("fusion_rebalanced", family)
    model, outputs = teacher.model(), teacher.outputs
    with torch.no_grad():  # alone in its batch: batch statistics would not even exist
        one_by_one = [model.eval()(*inputs.of(model, torch.tensor([row]))) for row in range(N)]
    model.train()
    for part in ("features", "maps"):
        for name, value in getattr(outputs, part).items():
            assert torch.allclose(value, torch.cat([getattr(o, part)[name] for o in one_by_one]), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "family"),
    [*((name, "compact") for name in GUIDED), ("cdgkd", "reference"), ("fitnets", "reference"), ("nst", "reference")],
)
def test_a_guide_stays_as_it_is_while_its_student_steps(name, family, inputs, guide):
    """Gradient reaches the student's classifier, and nothing of a stored guide."""
    recipe = RECIPES[name]
    loss, model = built(recipe, family, inputs, guide)
    networks = [guide(g, family).model() for g in recipe.guides if RECIPES[g].kind == "network"]
    before = [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]
    rows = inputs.train[:6]
    value = loss(model.train()(*inputs.of(model, rows)), inputs.labels[rows], rows)
    value.total.backward()
    assert np.isfinite(value.total.item()) and all(np.isfinite(part) for part in value.parts.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.classifier.parameters())
    for network, weights in zip(networks, before, strict=True):
        assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())


def test_the_seed_is_that_of_the_loss_alone(inputs, guide):
    """Equal seeds drop equal guides, whatever else draws random numbers; another seed drops others."""

    def dropped(seed):
        torch.rand(seed)  # moves the global generator
        loss, model = built(RECIPES["cdgkd"], "compact", inputs, guide, seed)
        rows = inputs.train[:6]
        for _ in range(40):
            loss(model(*inputs.of(model, rows)), inputs.labels[rows], rows)
        return torch.stack(loss.kept_history)

    assert torch.equal(dropped(3), dropped(3)) and not torch.equal(dropped(3), dropped(4))
