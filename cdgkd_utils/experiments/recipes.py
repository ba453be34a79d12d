"""Every network of the two tables, declared as data, and the one look-up by name."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

N_PARTS = 5  # training parts of the cross-fitted guides
PRESENTED = ("table", "row")  # where a result is shown is no part of what it is


@dataclass(frozen=True)
class Recipe:
    """One run of an experiment; also one of your own (``docs/method.md``, "Add a method")."""

    name: str
    # A network of the family by name, "" for kinds that train none; or your own: a callable without arguments that
    # returns a module with `inputs` (names such as "video") whose output is a ModelOutput.
    model: str | Callable = ""
    table: int = 0  # of the poster; 0 for assistants, components, guides and controls, which stand in none
    # Key of losses.LOSSES; or your own: called as loss(given, **options) with a losses.Given, it returns a loss of the
    # protocol of methods.loss, or a function of output, labels and rows.
    loss: str | Callable = "ce"
    options: dict = field(default_factory=dict)  # of the loss or of the kind
    guides: tuple[str, ...] = ()  # recipes that teach it or that it is made from, largest first
    kind: str = "network"  # trained by gradient; the others are of losses.KINDS
    row: str = ""  # in the table, when that has another name
    deployed: str = ""  # model of what is kept and scored, when that is a part of the trained network
    part: int = -1  # the fifth of the training trials that a cross-fitted network does not see; -1 sees all
    selection: str = "best_val"
    training: dict = field(default_factory=dict)  # settings that differ from those of its table
    grid: tuple[dict, ...] = ()  # other options that tuning may try, as far as the profile's budget reaches
    rated: int = 0  # few labels: rated trials per subject, also for validation; guides are heard on all; 0 is all
    source: dict = field(default_factory=dict)  # text of a model and a loss of your own; stands for them in the key

    def __post_init__(self):
        own = {name: getattr(self, name) for name in ("model", "loss") if callable(getattr(self, name))}
        if own and not self.source:
            source = {name: source_of(thing, f"recipe {self.name}: {name}") for name, thing in own.items()}
            object.__setattr__(self, "source", source)

    def as_dict(self) -> dict:
        """What decides the result, in plain values: fields that say something, those that only present left out."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in PRESENTED}
        said = {name: getattr(value, "__name__", value) for name, value in said.items() if value or value == 0}
        return {name: value for name, value in said.items() if value != _DEFAULTS.get(name)}

    def but(self, **options) -> Recipe:
        """The same recipe with some options changed."""
        return replace(self, options=self.options | options)


_DEFAULTS = {"part": -1, "rated": 0, "selection": "best_val"}


def source_of(thing: Callable, what: str) -> str:
    """Text of a function or class, from its file or its notebook cell."""
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):  # a class of a notebook: inspect looks for the file of its module
        codes = [f.__code__ for f in vars(thing).values() if inspect.isfunction(f)] if inspect.isclass(thing) else []
        text = "".join(linecache.getlines(codes[0].co_filename)) if codes else ""
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name == thing.__name__:
                return textwrap.dedent(ast.get_source_segment(text, node))
    raise ValueError(
        f"{what}: the source of {thing!r} cannot be had, so a changed one could not be told from the old; define it by "
        "'def' or 'class' in a notebook cell or a file"
    )


TEACHER = "fusion_rebalanced"
_DENSE = {"kd_weight": 0.9, "temperature": 2.0}
_DROP = _DENSE | {"drop_prob": 0.5}
_SOFT = {"kd_weight": 0.9, "temperature": 1.0}
_KD_WEIGHTS = ({"kd_weight": 0.5}, {"temperature": 4.0})
_ALL, _ALL_DROP = (TEACHER, "ta1", "ta2_dense"), (TEACHER, "ta1_drop", "ta2_drop")
_RELEASED = ("released_teacher", "released_ta1", "released_ta2")
_PARTS = tuple(f"teacher_part{part}" for part in range(N_PARTS))
_EEG_PARTS = tuple(f"eeg_part{part}" for part in range(N_PARTS))
# What the check before distilling leads to: no guide, a gentle one, or the EEG-only teacher at full weight. In the
# control the guide is shuffled, and gentle at most: at full weight a shuffled guide harms by itself.
_CHECKED = {"do not distil": "ce", "distil gently": "kd_gentle@eeg", "cannot say": "kd_gentle@eeg", "distil": "kd@eeg"}
_SHUFFLED = dict.fromkeys(_CHECKED, "kd_gentle@shuffled") | {"do not distil": "ce"}


def _weights(*values: float) -> tuple[dict, ...]:
    return tuple({"weight": value} for value in values)


def _fusion(name: str, loss: str = "rebalanced", *grid: dict, **options) -> Recipe:
    return Recipe(name, "teacher", 2, loss, options, grid=grid)


def _guided(name: str, guides: tuple[str, ...], options: dict = _DENSE, model="student", table=1, **more) -> Recipe:
    return Recipe(name, model, table, "dense", options, guides, **{"grid": _KD_WEIGHTS} | more)


def _control(name: str, guides: tuple[str, ...], **options) -> Recipe:
    return _guided(name, guides, _DENSE | options, table=0, grid=())


def _hints(name: str, weight: float, *grid: float, table: int = 1, **options) -> Recipe:
    return Recipe(
        name, "student", table, name.split("_")[0], {"weight": weight} | options, (TEACHER,), grid=_weights(*grid)
    )


def _checked(name: str, table: int, students: dict[str, str]) -> Recipe:
    return Recipe(name, "student", table, "", students, ("eeg_report", *dict.fromkeys(students.values())), "checked")


def _released(model: str, n_guides: int) -> Recipe:
    name, more = f"released_{'cdgkd' if model == 'student' else model}", {"training": {"train_mode": False}}
    return Recipe(name, model, 0, "released_dense", {}, _RELEASED[:n_guides], selection="last_epoch", **more)


RECIPES = {
    r.name: r
    for r in (
        # Table 2: what EEG and video can do, alone and together.
        Recipe("eeg", "eeg", 2),
        Recipe("video", "video", 2),
        Recipe("face_cnn", "face_cnn"),
        Recipe("eeg_svm", kind="svm"),
        Recipe("eeg_lstm", "eeg_lstm"),
        Recipe("cnn_svm", table=2, kind="late_fusion", guides=("face_cnn", "eeg_svm")),
        Recipe("cnn_lstm", table=2, kind="late_fusion", guides=("face_cnn", "eeg_lstm")),
        Recipe("emotionkd_teacher", "emotionkd_teacher", 2, row="emotionkd"),
        # Plain SGD leaves its training loss at chance level for many epochs.
        Recipe("dgc_jca", "dgc_jca", 2, training={"optimizer": "adam", "learning_rate": 1e-3}),
        _fusion("fusion", mode="none"),
        _fusion("fusion_constant", mode="constant"),
        _fusion("ogm_ge", "ogm_ge"),
        _fusion("pmr_paper", "pmr"),
        _fusion(TEACHER, "rebalanced", {"strength": 1.0}, {"strength": 3.0}, mode="adaptive"),
        # Assistants, each taught by all larger networks, or (takd) by the next larger one only.
        _guided("ta1", (TEACHER,), model="ta1", table=0),
        _guided("ta2_takd", ("ta1",), model="ta2", table=0),
        _guided("ta2_dense", (TEACHER, "ta1"), model="ta2", table=0),
        _guided("ta1_drop", (TEACHER,), _DROP, "ta1", 0),
        _guided("ta2_drop", (TEACHER, "ta1_drop"), _DROP, "ta2", 0),
        # Table 1: video-only students.
        Recipe("ce", "student", 1),
        Recipe("ce_last", "student", 1, selection="last_epoch"),
        Recipe("ce_ls", "student", 1, options={"label_smoothing": 0.3}, grid=({"label_smoothing": 0.1},)),
        _guided("kd", (TEACHER,)),
        _guided("kd_last", (TEACHER,), selection="last_epoch"),
        _guided("kd_drop", (TEACHER,), _DROP),
        _hints("fitnets", 10.0, 1.0, 100.0),
        _hints("nst", 50.0, 5.0, 500.0),
        _guided("takd", ("ta2_takd",)),
        Recipe("emotionkd", "student", 1, "emotionkd", {}, ("emotionkd_teacher",)),
        Recipe("ambokd", "ambokd", 1, "ambokd", {"temperature": 4.0, "exponent": 3.0}, deployed="student"),
        _guided("dense", _ALL),
        _guided("cdgkd", _ALL_DROP, _DROP),
        # Five teachers that each miss a fifth of the training trials, averaged (bagged) or each heard only on trials it
        # did not see (oof); and the truth itself, which only the twin knows.
        *(Recipe(name, "teacher", 0, "rebalanced", {"mode": "adaptive"}, part=n) for n, name in enumerate(_PARTS)),
        Recipe("bagged", kind="bagged", guides=_PARTS),
        Recipe("oof", kind="oof", guides=_PARTS),
        Recipe("oracle", kind="oracle"),
        # The same of the EEG-only teacher; what a perfect one would say; a guide shuffled between the trials of one
        # label, which leaves it as right and as sure as it was; the check before distilling, stored like a run.
        *(Recipe(name, "eeg", part=n) for n, name in enumerate(_EEG_PARTS)),
        Recipe("eeg_oof", kind="oof", guides=_EEG_PARTS),
        Recipe("oracle_eeg", kind="oracle_eeg"),
        Recipe("eeg_shuffled", kind="shuffled", guides=("eeg",)),
        Recipe("fused_shuffled", kind="shuffled", guides=(TEACHER,)),
        Recipe("eeg_report", kind="report", guides=("eeg",)),
        _control("kd_gentle", (TEACHER,), kd_weight=0.5),
        _guided("kd_bagged", ("bagged",), _SOFT),
        _guided("kd_oof", ("oof",), _SOFT | {"kd_weight": 0.5}, grid=({"kd_weight": 0.9}, {"temperature": 4.0})),
        _guided("kd_oracle", ("oracle",), _SOFT),
        _checked("checked", 1, _CHECKED),
        _checked("checked_shuffled", 0, _SHUFFLED),
        # Controls, in no table: rows that differ only in what they are named after. Guides by mean instead of sum; one
        # guide with the weight that three have together, or CDGKD's on average; exactly one guide silent in each batch;
        # NST on the maps that the student has, too; a constant weight as large as the adaptive one is on average.
        _control("dense_mean", _ALL, reduction="mean"),
        _control("kd_x3", (TEACHER,), times=3.0),
        _control("kd_x1_5", (TEACHER,), times=1.5),
        _control("takd_x3", ("ta2_takd",), times=3.0),
        _control("cdgkd_drop_one", _ALL_DROP, drop_exactly=1),
        _hints("nst_video", 0.5, 0.05, 5.0, table=0, maps=("video",)),
        Recipe("fusion_constant_dose", "teacher", 0, "rebalanced", {"mode": "constant", "dose": 0.12}),
        # What the released code trains (notebook 06): cross-entropy in inference mode, last epoch kept.
        Recipe("released_teacher", "teacher", loss="rebalanced", options={"mode": "none"}),
        *(_released(model, n) for n, model in enumerate(("ta1", "ta2", "student"), 1)),
    )
}


def register(recipe: Recipe) -> Recipe:
    """Add a recipe of your own to the registry: by its name it then runs in grids and stands in the tables."""
    if not recipe.name.isidentifier():
        raise ValueError(f"recipe {recipe.name!r}: expected a name of letters, digits and '_'")
    if recipe.name in RECIPES and not RECIPES[recipe.name].source:
        raise ValueError(f"recipe {recipe.name!r}: there is one of this name; choose another")
    RECIPES[recipe.name] = recipe
    return recipe


def table_recipes(table: int, *, with_truth: bool = True) -> list[str]:
    """Names of the recipes that stand in a table, in its order; without the truth, those that need no oracle."""
    return [r.name for r in RECIPES.values() if r.table == table and (with_truth or "oracle" not in r.guides)]


# Short names of guides; any recipe may be one, too.
GUIDES = {"fused": TEACHER, "eeg": "eeg", "video": "video", "shuffled": "eeg_shuffled"}
GUIDES |= {name: name for name in ("oracle", "oracle_eeg", "bagged", "oof")}
_SHORT = {long: short for short, long in GUIDES.items()}
INNER = ("fitnets", "nst", "emotionkd")  # losses that compare more than logits: their guide is a trained network


def find_recipe(name: str) -> Recipe:
    """The recipe of a name: a key of ``RECIPES``, or ``method[@guide][+guide ...][#n]``.

    ``kd@eeg``: the guide stands at the top of the method's chain in place of the fused teacher; ``cdgkd+eeg``: a
    further guide of the student itself; ``kd@eeg#8``: 8 rated training trials per subject, for the guides too; the
    student hears them on all training trials, so that ``kd@ce#8`` is self-training. ``kd@fused`` is ``kd`` itself.
    A ValueError says what is unknown or does not go together.
    """
    if name in RECIPES:
        return RECIPES[name]
    rest, marked, few = name.partition("#")
    first, *more = rest.split("+")
    method, replaced, top = first.partition("@")

    def refuse(wrong: object, reason: str) -> None:
        if wrong:
            raise ValueError(f"recipe {name!r}: {reason}")

    refuse(marked and (not few.isdecimal() or few.startswith("0")), "expected a number of rated trials, such as #8")
    refuse(method not in RECIPES, f"unknown method {method!r}; known: {', '.join(RECIPES)}")
    strange = [one for one in (*([top] if replaced else ()), *more) if one not in GUIDES and one not in RECIPES]
    refuse(strange, f"unknown guide {strange[:1]}; known: {', '.join(GUIDES)}, or a method's name")
    recipe, rated = RECIPES[method], int(few or 0)
    top, *more = (GUIDES.get(one, one) for one in (top or TEACHER, *more))

    def under(guide: str) -> str:
        """A guide of the method when `top` takes the fused teacher's place; its assistants are taught anew."""
        same = all(under(other) == other for other in find_recipe(guide).guides)
        return top if guide == TEACHER else guide if same else f"{guide}@{_SHORT.get(top, top)}"

    guides = tuple(under(one) for one in recipe.guides)
    alone = replaced and top != TEACHER and guides == recipe.guides
    refuse(alone, f"{method} does not learn from the fused teacher, so nothing can replace it")
    refuse(more and recipe.loss != "dense", "only methods that take several guides can be given another one")
    guides += tuple(more)
    outer = recipe.loss in INNER and any(find_recipe(one).kind != "network" for one in guides)
    refuse(outer, f"{method} compares inner layers, which guide {top!r} has not")
    full = rated and (recipe.kind != "network" or recipe.loss not in ("ce", "dense", "rebalanced"))
    refuse(full, f"{method} cannot be trained with few labels")
    refuse(len(set(guides)) < len(guides), f"a guide stands twice among {', '.join(guides)}")
    if guides == recipe.guides and not rated:
        return recipe
    if rated:
        guides = tuple(find_recipe(f"{one}#{rated}").name for one in guides)
    at = "" if top == TEACHER else f"@{_SHORT.get(top, top)}"
    canonical = method + at + "".join(f"+{_SHORT.get(one, one)}" for one in more) + (f"#{rated}" if rated else "")
    return replace(recipe, name=canonical, row=canonical if recipe.table else "", guides=guides, rated=rated)
