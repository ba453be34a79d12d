"""Each recipe gets the loss that it names, with the family's strength and with guides in evaluation mode."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows

from cdgkd_utils.experiments.losses import Given, Guide, build_loss
from cdgkd_utils.experiments.recipes import RECIPES, Recipe
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.models import build_model
from cdgkd_utils.training import predict

NETWORKS = [recipe for recipe in RECIPES.values() if recipe.kind == "network"]
FAMILIES = ("compact", "reference")
N = 18


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
            recipe = RECIPES[name]
            if recipe.kind == "network":
                model = build_model(recipe.model, seed=len(made), family=family)
                logits = predict(model, inputs, torch.arange(N)).logits.numpy()
            else:
                model, logits = None, np.random.default_rng(len(made)).normal(size=(N, 2)).astype(np.float32)
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


# ---- strength and forms ------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "strength"), [("compact", 10.0), ("reference", 1.0)])
def test_the_strength_of_prototype_losses_is_the_familys(family, strength, inputs, guide):
    names = ("fusion", "fusion_constant", "fusion_rebalanced", "pmr_paper")
    for name in (*names, "teacher_part2"):
        assert built(RECIPES[name], family, inputs, guide)[0].strength == strength
        assert built(RECIPES[name].but(strength=3.0), family, inputs, guide)[0].strength == 3.0  # as tuning says it
    assert built(RECIPES["ogm_ge"], family, inputs, guide)[0].strength == 0.1  # another quantity: the authors' alpha


def test_the_modes_of_rebalancing(inputs, guide):
    modes = {
        "fusion": "none",
        "fusion_constant": "constant",
        "fusion_rebalanced": "adaptive",
        "teacher_part0": "adaptive",
    }
    for name, mode in modes.items():
        assert built(RECIPES[name], "compact", inputs, guide)[0].mode == mode


# ---- what a student's embedding is compared with -----------------------------------------------


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
    if name == "fitnets":
        assert torch.allclose(loss.hint, fused, atol=1e-5)
    learned = [id(parameter) for group in loss.param_groups(model) for parameter in group["params"]]
    assert len(learned) == len(set(learned)) and {id(p) for p in loss.regressor.parameters()} <= set(learned)
    assert {id(p) for p in model.parameters()} <= set(learned)


@pytest.mark.parametrize("family", FAMILIES)
def test_nst_compares_the_guides_maps_with_some_of_the_students(family, inputs, guide):
    loss, model = built(RECIPES["nst"], family, inputs, guide)
    maps = predict(model, inputs, torch.arange(4), with_maps=True).maps
    assert {"eeg", "video"} <= set(loss.guide_maps)
    assert {name for name in loss.guide_maps if name.startswith("video")} <= set(maps)
    assert all(len(map_) == N for map_ in loss.guide_maps.values())


# ---- guides ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_guides_embeddings_are_those_of_evaluation_mode(family, inputs, guide):
    teacher = guide("fusion_rebalanced", family)
    model, outputs = teacher.model(), teacher.outputs
    one_by_one = []
    with torch.no_grad():
        model.eval()
        for row in range(N):  # alone in its batch: batch statistics would not even exist
            one_by_one.append(model(*inputs.of(model, torch.tensor([row]))))
        model.train()
        noisy = model(*inputs.of(model, torch.arange(N)))
    for name, value in outputs.features.items():
        assert torch.allclose(value, torch.cat([o.features[name] for o in one_by_one]), atol=1e-4)
        assert not value.requires_grad
    for name, value in outputs.maps.items():
        assert torch.allclose(value, torch.cat([o.maps[name] for o in one_by_one]), atol=1e-4)
    assert not torch.allclose(noisy.features["classifier_input"], outputs.features["classifier_input"], atol=1e-2)


GUIDED = [recipe.name for recipe in NETWORKS if recipe.guides]


@pytest.mark.parametrize(
    ("name", "family"),
    # Assistants hear as students do, so the reference family's large ones are left out.
    [(n, family) for n in GUIDED for family in FAMILIES if family == "compact" or RECIPES[n].model == "student"],
)
def test_a_guide_stays_as_it_is_while_its_student_steps(name, family, inputs, guide):
    """Gradient reaches the student's classifier, and nothing of a stored guide."""
    recipe = RECIPES[name]
    loss, model = built(recipe, family, inputs, guide)
    networks = [guide(g, family).model() for g in recipe.guides if RECIPES[g].kind == "network"]
    before = [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]
    rows = inputs.train[:6]
    output = model.train()(*inputs.of(model, rows))
    value = loss(output, inputs.labels[rows], rows)
    value.total.backward()
    assert np.isfinite(value.total.item()) and all(np.isfinite(part) for part in value.parts.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.classifier.parameters())
    for network, weights in zip(networks, before, strict=True):
        assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())


# ---- seeds and errors --------------------------------------------------------------------------


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


def test_an_unknown_loss_is_one_clear_error(inputs):
    recipe = Recipe("mine", "student", loss="magic")
    with pytest.raises(ValueError, match="recipe mine: unknown loss 'magic'; known: ce, rebalanced, pmr"):
        build_loss(Given(recipe, {}, build_model("student", 0), inputs, torch.Generator()))
