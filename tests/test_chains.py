"""Chains with fewer assistants or other dropping: which runs they are, and what is said of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from smoke_runs import stored

from cdgkd_utils.experiments.chains import chain_recipe, classifier_inputs, train_chain
from cdgkd_utils.experiments.recipes import RECIPES


@pytest.mark.parametrize(("place", "name"), [((0, 0.0), "kd"), ((0, 0.5), "kd_drop"), ((2, 0.5), "cdgkd")])
def test_the_corners_are_the_rows_of_the_table(place, name):
    assert chain_recipe(*place) == RECIPES[name]


@pytest.mark.parametrize("n_assistants", [1, 2])
@pytest.mark.parametrize("drop_prob", [0.0, 0.75])
def test_only_the_guides_and_the_dropping_differ(n_assistants, drop_prob):
    recipe, whole = chain_recipe(n_assistants, drop_prob), RECIPES["cdgkd"]
    assert recipe.guides == ("fusion_rebalanced", "ta1_drop", "ta2_drop")[: 1 + n_assistants]
    assert recipe.options == whole.options | {"drop_prob": drop_prob}
    assert replace(recipe, guides=whole.guides, options=whole.options) == whole


def test_no_two_positions_are_one_run(experiment):
    specs = [experiment.spec(experiment.recipe(chain_recipe(n, r))) for n in range(3) for r in (0.0, 0.25, 0.5, 0.75)]
    assert len({json.dumps(spec, sort_keys=True) for spec in specs}) == 12


@pytest.mark.parametrize(
    ("place", "said"), [((3, 0.5), "n_assistants: expected 0 to 2, got 3"), ((1, 1.0), "drop_prob: expected a number")]
)
def test_what_is_no_chain_is_one_sentence(place, said):
    with pytest.raises(ValueError, match=said):
        chain_recipe(*place)


def test_a_stored_student_is_read_back_and_told_in_numbers(trained, home):
    before, told = stored(home), []
    row = train_chain(trained, 2, 0.5, tell=lambda *args: told.append(args))
    assert stored(home) == before and not told
    record, teacher = trained.run("cdgkd"), trained.run("fusion_rebalanced")
    same = chosen = 0
    for window in trained.inputs.val.tolist():
        same += (record.logits[window].argmax()) == (teacher.logits[window].argmax())
    chosen = record.log["val_balanced_accuracy"][record.result["chosen_epoch"]]
    assert row == {
        "n_assistants": 2,
        "drop_prob": 0.5,
        "balanced_accuracy": pytest.approx(chosen),
        "agreement": pytest.approx(same / len(trained.inputs.val)),
        "silent": pytest.approx(np.mean([not any(step) for step in record.kept])),
    }


def test_a_missing_student_is_trained_once_with_progress(trained, home):
    before, told = stored(home), []
    first = train_chain(trained, 1, 0.75, tell=lambda *args: told.append(args))
    (new,) = stored(home) - before
    assert new.startswith("cdgkd-")
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] <= 1
    assert told[0][1].startswith("epoch 1 of at most ")
    assert train_chain(trained, 1, 0.75) == first and stored(home) - before == {new}


def test_what_enters_the_classifiers_makes_the_stored_logits(trained):
    records = {"teacher": trained.run("fusion_rebalanced"), "student": trained.run("cdgkd")}
    for name, values in classifier_inputs(trained, records).items():
        classifier = records[name].model().classifier
        with torch.no_grad():
            np.testing.assert_allclose(classifier(torch.from_numpy(values)), records[name].logits, atol=1e-5)


def test_agreement_is_counted_on_validation_windows_alone(trained):
    record, teacher = trained.run("cdgkd"), trained.run("fusion_rebalanced")
    key = next(key for key, one in trained._records.items() if one is record)
    val = trained.inputs.val.numpy()
    # The teacher's answers on three quarters of the validation windows, the opposite everywhere else.
    logits = teacher.logits[:, ::-1].copy()
    logits[val[: 3 * len(val) // 4]] = teacher.logits[val[: 3 * len(val) // 4]]
    trained._records[key] = replace(record, logits=logits)
    assert train_chain(trained, 2, 0.5)["agreement"] == (3 * len(val) // 4) / len(val)
