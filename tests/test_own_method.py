"""A method of one's own, in one cell, is a run like the others; the example of the documentation runs as it stands."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from smoke_runs import fresh, stored
from torch import nn

from cdgkd_utils.experiments.recipes import RECIPES, TEACHER, Recipe, find_recipe, register, table_recipes
from cdgkd_utils.experiments.runs import RunError, read_run, run_key
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.training import predict

DOCUMENT = Path(__file__).parents[1] / "docs"
CLASS = """
from cdgkd_utils.experiments.recipes import Recipe
from cdgkd_utils.methods.loss import CrossEntropy

class Sharp(CrossEntropy):
    power = {power}

    def __init__(self, given):
        super().__init__()

    def __call__(self, output, labels, rows):
        output.logits.mul_(self.power)
        return super().__call__(output, labels, rows)

recipe = Recipe("sharp", "student", loss=Sharp)
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    before = dict(RECIPES)
    yield
    for name in set(RECIPES) - set(before):
        del RECIPES[name]


def example():
    pages = [page.read_text() for page in DOCUMENT.glob("*.md")]
    (code,) = (code for page in pages for code in re.findall(r"```python\n(.*?)```", page, re.S) if "register(" in code)
    return code


def in_a_notebook(code):
    shell = InteractiveShell.instance()
    result = shell.run_cell(code)
    result.raise_error()
    return shell.user_ns


def test_the_documented_example_runs_shares_its_teacher_and_stands_in_the_table(trained, home):
    before = stored(home)
    in_a_notebook(example())
    record = trained.run("soft_labels")
    assert [name.partition("-")[0] for name in stored(home) - before] == ["soft_labels"]
    assert record.spec["guides"] == trained.run("kd").spec["guides"] == [run_key(trained.run(TEACHER).spec)]
    assert "soft_labels" in table_recipes(1) and record.result["row"] == "Soft labels"
    assert find_recipe("soft_labels@eeg").guides == ("eeg",) and find_recipe("kd@soft_labels").guides == (
        "soft_labels",
    )
    assert "def soft_labels(given, weight=0.5):" in record.spec["recipe"]["source"]["loss"]
    again = predict(record.model(), trained.inputs, trained.inputs.every_row)
    assert np.array_equal(again.logits.numpy(), record.logits)


def test_with_all_weight_on_the_label_it_is_cross_entropy(trained):
    """The oracle: the same network, batches and first weights as the row it differs from in its loss only."""
    soft = in_a_notebook(example())["soft_labels"]
    own = Recipe("mine", "student", loss=soft, guides=(TEACHER,), options={"weight": 0.0})
    assert np.array_equal(trained.run(own).logits, trained.run("ce").logits)


def test_the_key_holds_the_source(trained):
    keys = [run_key(trained.spec(in_a_notebook(CLASS.format(power=power))["recipe"])) for power in (1.0, 2.0, 1.0)]
    assert keys[0] == keys[2] != keys[1]  # a class's constants are part of its text
    assert np.array_equal(
        trained.run(in_a_notebook(CLASS.format(power=1.0))["recipe"]).logits, trained.run("ce").logits
    )


@pytest.mark.parametrize("thing", [functools.partial(CrossEntropy), type("Made", (CrossEntropy,), {}), max])
def test_without_its_source_a_method_is_refused(thing):
    with pytest.raises(ValueError, match=r"recipe mine: loss: the source of .* cannot be had"):
        Recipe("mine", "student", loss=thing)


class Mean(nn.Module):
    """The mean face, linearly."""

    inputs = ("video",)

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(768, 2)

    def forward(self, video):
        face = video.mean(dim=1)
        return ModelOutput(self.classifier(face), {"classifier_input": face}, {})


def test_a_model_of_ones_own_is_trained_stored_and_taught(study, trained):
    recipe = register(
        Recipe("mean_face", model=Mean, table=1, loss="dense", options={"kd_weight": 0.9}, guides=("eeg",))
    )
    torch.manual_seed(5)
    record = trained.run("mean_face")
    assert type(record.model()) is Mean and record.result["n_parameters"] == 2 * 769
    everything = trained.inputs.every_row
    assert np.array_equal(predict(record.model(), trained.inputs, everything).logits.numpy(), record.logits)
    other = fresh(study, trained)  # first weights come from the seed alone
    assert np.array_equal(other.run(recipe, again=True).logits, record.logits)
    assert other.run("kd@mean_face").spec["guides"] == [run_key(record.spec)]
    with pytest.raises(RunError, match=r"a model of your own; ask Experiment.run\(recipe\)"):
        read_run(record.folder).model()


def test_a_cell_may_be_run_again_and_built_in_names_are_refused():
    assert register(Recipe("mine", model=Mean)) is not register(Recipe("mine", model=Mean, table=1)) is RECIPES["mine"]
    for name in ("cdgkd", "kd@mine", "a b"):
        with pytest.raises(ValueError, match="recipe"):
            register(Recipe(name, model=Mean))
