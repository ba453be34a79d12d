"""Recipes by name: who teaches whom, and what is refused."""

import pytest

from cdgkd_utils.experiments.recipes import GUIDES, INNER, RECIPES, find_recipe, table_recipes
from cdgkd_utils.models import build_model, n_parameters


def taught(name):
    return find_recipe(name).guides


def test_the_top_of_a_chain_is_replaced_all_the_way_down():
    assert taught("kd@eeg") == ("eeg",)
    assert taught("cdgkd@eeg") == ("eeg", "ta1_drop@eeg", "ta2_drop@eeg")
    assert taught("ta2_drop@eeg") == ("eeg", "ta1_drop@eeg") and taught("ta1_drop@eeg") == ("eeg",)
    assert taught("dense@shuffled") == ("eeg_shuffled", "ta1@shuffled", "ta2_dense@shuffled")
    assert taught("takd@oracle") == ("ta2_takd@oracle",)
    assert taught("ta2_takd@oracle") == ("ta1@oracle",) and taught("ta1@oracle") == ("oracle",)


def test_few_labels_reach_all_guides():
    assert taught("ce#8") == () and find_recipe("ce#8").rated == 8
    assert taught("kd@ce#8") == ("ce#8",)  # self-training
    waiting, seen = ["cdgkd@eeg+video#3"], []
    while waiting:
        name = waiting.pop()
        seen.append(name)
        recipe = find_recipe(name)
        assert recipe.rated == 3 and recipe.name == name
        waiting += recipe.guides
    assert set(seen) == {"cdgkd@eeg+video#3", "eeg#3", "video#3", "ta1_drop@eeg#3", "ta2_drop@eeg#3"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((name, "unknown method") for name in ("", "moon@eeg", "@eeg", "CE#8")),
        *((name, "unknown guide") for name in ("kd@moon", "kd+moon", "kd+", "kd@", "kd@eeg@video", "kd@kd@eeg")),
        *((name, "nothing can replace it") for name in ("ce@eeg", "kd_oracle@eeg", "emotionkd@eeg", "oof@eeg")),
        *((name, "several guides can be given") for name in ("ce+eeg", "fitnets+eeg", "eeg_shuffled+video")),
        *((name, "compares inner layers") for name in ("fitnets@oracle", "nst@shuffled")),
        *((name, "a guide stands twice") for name in ("kd+fused", "kd@eeg+eeg", "cdgkd+eeg+video+eeg")),
        *((f"kd#{few}", "a number of rated trials") for few in ("0", "", "x", "08", "-1", "1.5", "²", "8#8")),
        *((f"{method}#8", "cannot be trained with few labels") for method in ("ambokd", "eeg_svm", *INNER)),
        *((name, "cannot be trained with few labels") for name in ("kd@shuffled#8", "kd_bagged#8")),
    ],
)
def test_what_does_not_go_together_is_refused(name, said):
    with pytest.raises(ValueError, match=f"^recipe .*{said}") as caught:
        find_recipe(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", table_recipes(1))
def test_each_method_takes_a_guide_or_says_why_not(method):
    for guide in GUIDES:
        for name in (f"{method}@{guide}", f"{method}+{guide}", f"{method}@{guide}#2"):
            try:
                recipe = find_recipe(name)
            except ValueError as error:
                assert str(error).startswith("recipe '"), name
                continue
            assert recipe.model == RECIPES[method].model and recipe.loss == RECIPES[method].loss
            assert all(find_recipe(one).name == one for one in recipe.guides)


def test_every_guide_of_a_recipe_exists_and_guides_come_largest_first():
    size = {name: n_parameters(build_model(name, 0)) for name in ("teacher", "ta1", "ta2", "student", "eeg")}
    size["emotionkd_teacher"] = n_parameters(build_model("emotionkd_teacher", 0))
    for recipe in RECIPES.values():
        sizes = [size.get(find_recipe(guide).model, 0) for guide in recipe.guides]
        if recipe.kind == "network" and sizes and all(sizes):
            assert sizes == sorted(sizes, reverse=True) and min(sizes) > size[recipe.model]
    assert set(table_recipes(1)) >= {"ce", "kd", "kd_drop", "takd", "dense", "cdgkd"}
    assert set(table_recipes(2)) >= {"eeg", "video", "fusion", "fusion_constant", "fusion_rebalanced"}
    assert set(table_recipes(1)) - set(table_recipes(1, with_truth=False)) == {"kd_oracle"}
