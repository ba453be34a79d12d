"""Recipes by name: who teaches whom, what is refused, and that older runs keep their keys."""

import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.experiments.naming import GUIDES, INNER, find_recipe
from cdgkd_utils.experiments.plan import plan_study
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER, table_recipes
from cdgkd_utils.experiments.runs import Experiment, run_key
from cdgkd_utils.experiments.study import Study

SMOKE = Params(profile="smoke")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))


def planned(*names):
    """Runs that these names need, in the plan's order; nothing is prepared."""
    found = {}
    options = {"targets": ["valence"], "n_folds": 1, "selection": ""}
    cells = plan_study(Study(SMOKE), recipes=names, runs=found, **options)
    assert [cell.recipe for cell in cells] == list(names)
    return found


def taught(name):
    return find_recipe(name).guides


# ---- what a name says --------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_name_that_says_nothing_new_is_the_old_recipe(name):
    assert find_recipe(name) is RECIPES[name]
    if TEACHER in RECIPES[name].guides:
        assert find_recipe(f"{name}@fused") is find_recipe(f"{name}@{TEACHER}") is RECIPES[name]


def test_the_top_of_a_chain_is_replaced_all_the_way_down():
    assert taught("kd@eeg") == ("eeg",)
    assert taught("cdgkd@eeg") == ("eeg", "ta1_drop@eeg", "ta2_drop@eeg")
    assert taught("ta2_drop@eeg") == ("eeg", "ta1_drop@eeg") and taught("ta1_drop@eeg") == ("eeg",)
    assert taught("dense@shuffled") == ("eeg_shuffled", "ta1@shuffled", "ta2_dense@shuffled")
    assert taught("takd@oracle") == ("ta2_takd@oracle",)
    assert taught("ta2_takd@oracle") == ("ta1@oracle",) and taught("ta1@oracle") == ("oracle",)


def test_further_guides_teach_the_student_alone():
    assert taught("cdgkd+eeg") == (*RECIPES["cdgkd"].guides, "eeg")
    assert taught("cdgkd@video+eeg+oracle") == ("video", "ta1_drop@video", "ta2_drop@video", "eeg", "oracle")
    assert taught("kd+eeg_oof") == (TEACHER, "eeg_oof")


def test_any_recipe_may_be_a_guide():
    assert taught("kd@face_cnn") == ("face_cnn",) and taught("kd@cnn_svm+kd") == ("cnn_svm", "kd")
    assert taught("fused_shuffled@video") == ("video",)
    for short, recipe in GUIDES.items():
        assert recipe in RECIPES and taught(f"kd@{short}") == (recipe,)


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


def test_a_named_recipe_differs_in_name_guides_and_ratings_only():
    for name in ("cdgkd@eeg", "kd_drop+video", "kd_gentle@eeg", "kd_last@eeg#4"):
        old, new = RECIPES[name.partition("@")[0].partition("+")[0]].as_dict(), find_recipe(name).as_dict()
        assert {key for key in new if new[key] != old.get(key)} <= {"name", "row", "guides", "rated"}
        assert new["row"] == (name if old["table"] else "")
        assert set(old) <= set(new)


# ---- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "unknown method ''; known: eeg, video"),
        ("moon@eeg", "unknown method 'moon'; known: eeg, video"),
        ("@eeg", "unknown method ''"),
        ("CE#8", "unknown method 'CE'"),
        ("kd@moon", "unknown guide 'moon'; known: fused, eeg, video, shuffled.*or a method's name"),
        ("kd+moon", "unknown guide 'moon'"),
        ("kd+", "unknown guide ''"),
        ("kd@eeg@video", "unknown guide 'eeg@video'"),
        ("kd@kd@eeg", "unknown guide 'kd@eeg'"),
        ("kd@", "expected a guide after '@': fused, eeg"),
        ("ce@eeg", "ce does not learn from the fused teacher, so nothing can replace it"),
        ("kd_oracle@eeg", "kd_oracle does not learn from the fused teacher"),
        ("emotionkd@eeg", "emotionkd does not learn from the fused teacher"),
        ("oof@eeg", "oof does not learn from the fused teacher"),
        ("ce+eeg", "only methods that take several guides can be given another one"),
        ("fitnets+eeg", "only methods that take several guides"),
        ("eeg_shuffled+video", "only methods that take several guides"),
        ("fitnets@oracle", "fitnets compares inner layers, which guide 'oracle' has not"),
        ("nst@shuffled", "nst compares inner layers, which guide 'shuffled' has not"),
        ("kd+fused", f"a guide stands twice among {TEACHER}, {TEACHER}"),
        ("kd@eeg+eeg", "a guide stands twice among eeg, eeg"),
        ("cdgkd+eeg+video+eeg", "a guide stands twice"),
        *((f"kd#{few}", "expected a number of rated trials per subject after '#', such") for few in ("0", "", "x")),
        *((f"ce#{few}", "such as #8") for few in ("-1", "1.5", "²", "8#8", "8+eeg")),
        *((f"{method}#8", f"{method} cannot be trained with few labels") for method in ("ambokd", "eeg_svm", *INNER)),
        ("kd@shuffled#8", "eeg_shuffled cannot be trained with few labels"),
        ("kd_bagged#8", "bagged cannot be trained with few labels"),
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
                assert str(error).startswith("recipe '") and len(str(error)) < 200, name
                continue
            assert recipe.model == RECIPES[method].model and recipe.loss == RECIPES[method].loss
            for taught_by in recipe.guides:
                assert find_recipe(taught_by).name == taught_by
            if recipe.loss in INNER:
                assert [find_recipe(taught_by).kind for taught_by in recipe.guides] == ["network"]


# ---- plans and keys ----------------------------------------------------------------------------


def test_a_plan_holds_the_new_guides_first_and_nothing_else():
    found = planned("kd@eeg")
    assert [run.recipe.name for run in found.values()] == ["eeg", "kd@eeg"]
    assert list(found.values())[1].guides == (next(iter(found)),)
    names = [run.recipe.name for run in planned("cdgkd@eeg+video").values()]
    assert names == ["eeg", "ta1_drop@eeg", "ta2_drop@eeg", "video", "cdgkd@eeg+video"]
    names = [run.recipe.name for run in planned("kd@shuffled#2"[:-2], "eeg_report").values()]
    assert names == ["eeg", "eeg_shuffled", "kd@shuffled", "eeg_report"]


def test_all_that_differs_has_a_key_of_its_own():
    names = ["kd", "kd@eeg", "kd@video", "kd@shuffled", "kd+eeg", "kd#2", "kd#3", "kd@eeg#2", "ce", "ce#2", "kd_gentle"]
    names += ["kd_gentle@eeg", "kd@oracle", "kd@oracle_eeg", "cdgkd", "cdgkd@eeg", "cdgkd+eeg", "kd@fused_shuffled"]
    experiment = Experiment(Study(SMOKE), "valence", 0)
    assert len({run_key(experiment.spec(experiment.recipe(name))) for name in names}) == len(names)
    runs = planned(*names)
    assert len({run.name for run in runs.values()}) == len(runs) == len({run.key for run in runs.values()})


def test_a_guides_change_reaches_the_students_key():
    experiment = Experiment(Study(SMOKE), "valence", 0)
    two, three = (experiment.spec(experiment.recipe(f"kd@ce#{few}")) for few in (2, 3))
    assert two["guides"] != three["guides"]
    assert two["guides"] == [run_key(experiment.spec(experiment.recipe("ce#2")))]


def test_kd_from_the_fused_teacher_is_the_run_of_kd():
    found = planned("kd", "kd@fused")
    assert len(found) == 2  # teacher and student
    assert all(name == run.folder.name for name, run in found.items())


# Fields that decide the keys of runs made before there were few labels and cross-fitting by subject.
OLDER = {"name", "model", "table", "loss", "options", "guides", "kind", "row", "deployed", "part", "selection"}
OLDER |= {"training", "grid"}


@pytest.mark.parametrize("name", RECIPES)
def test_later_fields_are_in_no_older_key(name):
    added = set(RECIPES[name].as_dict()) - OLDER
    assert added == ({"apart"} if "_subject" in name else set())
    assert set(RECIPES[name].as_dict()) >= OLDER
    spec = Experiment(Study(SMOKE), "valence", 0).spec(RECIPES[name])
    assert ("rated" in spec["recipe"], "apart" in spec["recipe"]) == (False, bool(added))


def test_later_fields_are_in_a_key_where_they_say_something():
    assert find_recipe("ce#2").as_dict()["rated"] == 2 and "apart" not in find_recipe("ce#2").as_dict()
    assert RECIPES["oof_subject"].as_dict()["apart"] == "subject"


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("kd@eeg_shuffled", "kd@shuffled"),
        ("kd@fused#8", "kd#8"),
        ("kd@fusion_rebalanced", "kd"),
        ("cdgkd@fused+eeg", "cdgkd+eeg"),
        ("takd@eeg_shuffled", "takd@shuffled"),
    ],
)
def test_one_recipe_has_one_name(long, short):
    assert find_recipe(long) == find_recipe(short) and find_recipe(long).name == short


@pytest.mark.parametrize("name", ["ce@fused", "ambokd@fused", "emotionkd@fused", "kd@eeg#08"])
def test_a_name_that_would_say_nothing_is_refused(name):
    with pytest.raises(ValueError, match=r"so nothing can replace it|expected a number of rated trials"):
        find_recipe(name)
