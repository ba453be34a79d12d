"""The checked guide takes the student that the check decides for; controls differ from their rows in one thing."""

import numpy as np
import pytest
import torch

from cdgkd_utils.experiments.losses import Guide, derive
from cdgkd_utils.experiments.recipes import RECIPES, find_recipe, table_recipes
from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.guide_report import VERDICTS
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.training import predict


def decided(name, verdict):
    recipe = RECIPES[name]
    guides = {one: Guide(np.full((3, 2), place, np.float32), None, None, {}) for place, one in enumerate(recipe.guides)}
    guides[recipe.guides[0]].result["report"] = {"verdict": verdict}
    logits, result = derive(recipe, guides, None)
    assert result["report"]["verdict"] == verdict and (logits == recipe.guides.index(result["chosen"])).all()
    return result["chosen"]


def test_each_verdict_has_its_student():
    assert {v: decided("checked", v) for v in VERDICTS} == {
        "distil": "kd@eeg",
        "distil gently": "kd_gentle@eeg",
        "do not distil": "ce",
        "cannot say": "kd_gentle@eeg",
    }
    assert {decided("checked_shuffled", verdict) for verdict in VERDICTS} == {"ce", "kd_gentle@shuffled"}
    assert find_recipe("kd_gentle@eeg").options["kd_weight"] <= 0.5 and find_recipe("kd@eeg").guides == ("eeg",)
    assert RECIPES["checked"].guides[0] == "eeg_report" and "checked" in table_recipes(1, with_truth=False)


def test_a_checked_run_is_the_chosen_run_network_included(trained):
    record = trained.run("checked")
    chosen = trained.run(record.result["chosen"])
    assert np.array_equal(record.logits, chosen.logits)
    assert record.result["report"] == trained.run("eeg_report").result["report"]
    everything = trained.inputs.every_row
    assert np.array_equal(predict(record.model(), trained.inputs, everything).logits.numpy(), record.logits)


def loss_and_gradient(loss):
    logits = torch.randn(8, 2, generator=torch.Generator().manual_seed(2)).requires_grad_()
    value = loss(ModelOutput(logits, {}), torch.tensor([0, 1] * 4), torch.arange(8)).total
    return value.item(), torch.autograd.grad(value, logits)[0]


def test_three_times_a_guide_is_three_equal_guides():
    guide = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    alone = loss_and_gradient(DenseGuidance({"a": guide}, times=3.0))
    three = loss_and_gradient(DenseGuidance(dict.fromkeys("abc", guide)))
    assert alone[0] == pytest.approx(three[0], rel=1e-6)
    torch.testing.assert_close(alone[1], three[1])
    mean = loss_and_gradient(DenseGuidance(dict.fromkeys("abc", guide), reduction="mean"))
    assert mean[0] == pytest.approx(loss_and_gradient(DenseGuidance({"a": guide}))[0], rel=1e-6)


def test_exactly_one_guide_is_silent_in_each_batch_and_nst_compares_like_with_like(trained):
    kept = trained.run("cdgkd_drop_one").kept
    assert (kept.sum(axis=1) == 2).all() and kept.any(axis=0).all()
    log = trained.run("nst_video").log
    terms = {column for column in log if column.startswith("loss_nst_")}
    assert terms and all("video" in column for column in terms)
