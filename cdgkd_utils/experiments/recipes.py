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
    kind: str = "network"  # trained by gradient; the others are of derived.KINDS
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
_ADAPTIVE = {"mode": "adaptive"}
_DENSE = {"kd_weight": 0.9, "temperature": 2.0}
_DROP = _DENSE | {"drop_prob": 0.5}
# What the check before distilling leads to: no guide, a gentle one, or the EEG-only teacher at full weight. In the
# control the guide is shuffled, and gentle at most: at full weight a shuffled guide harms by itself.
_CHECKED = {"do not distil": "ce", "distil gently": "kd_gentle@eeg", "cannot say": "kd_gentle@eeg", "distil": "kd@eeg"}
_SHUFFLED = dict.fromkeys(_CHECKED, "kd_gentle@shuffled") | {"do not distil": "ce"}
_PARTS = tuple(f"teacher_part{part}" for part in range(N_PARTS))
_EEG_PARTS = tuple(f"eeg_part{part}" for part in range(N_PARTS))
_KD_WEIGHTS = ({"kd_weight": 0.5}, {"temperature": 4.0})


def _weights(*values: float) -> tuple[dict, ...]:
    return tuple({"weight": value} for value in values)


def _fusion(name: str, loss: str = "rebalanced", *grid: dict, **options) -> Recipe:
    return Recipe(name, "teacher", 2, loss, options, grid=grid)


def _guided(name: str, model: str, table: int, guides: tuple[str, ...], options: dict, **more) -> Recipe:
    return Recipe(name, model, table, "dense", options, guides, **{"grid": _KD_WEIGHTS} | more)


def _checked(name: str, table: int, students: dict[str, str]) -> Recipe:
    return Recipe(name, "student", table, "", students, ("eeg_report", *dict.fromkeys(students.values())), "checked")


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
        _guided("ta1", "ta1", 0, (TEACHER,), _DENSE),
        _guided("ta2_takd", "ta2", 0, ("ta1",), _DENSE),
        _guided("ta2_dense", "ta2", 0, (TEACHER, "ta1"), _DENSE),
        _guided("ta1_drop", "ta1", 0, (TEACHER,), _DROP),
        _guided("ta2_drop", "ta2", 0, (TEACHER, "ta1_drop"), _DROP),
        # Table 1: video-only students.
        Recipe("ce", "student", 1),
        Recipe("ce_last", "student", 1, selection="last_epoch"),
        Recipe("ce_ls", "student", 1, options={"label_smoothing": 0.3}, grid=({"label_smoothing": 0.1},)),
        _guided("kd", "student", 1, (TEACHER,), _DENSE),
        _guided("kd_last", "student", 1, (TEACHER,), _DENSE, selection="last_epoch"),
        _guided("kd_drop", "student", 1, (TEACHER,), _DROP),
        Recipe(
            "fitnets", "student", 1, "fitnets", {"weight": 10.0}, (TEACHER,), grid=({"weight": 1.0}, {"weight": 100.0})
        ),
        Recipe("nst", "student", 1, "nst", {"weight": 50.0}, (TEACHER,), grid=({"weight": 5.0}, {"weight": 500.0})),
        _guided("takd", "student", 1, ("ta2_takd",), _DENSE),
        Recipe("emotionkd", "student", 1, "emotionkd", {}, ("emotionkd_teacher",)),
        Recipe("ambokd", "ambokd", 1, "ambokd", {"temperature": 4.0, "exponent": 3.0}, deployed="student"),
        _guided("dense", "student", 1, (TEACHER, "ta1", "ta2_dense"), _DENSE),
        _guided("cdgkd", "student", 1, (TEACHER, "ta1_drop", "ta2_drop"), _DROP),
        # Five teachers that each miss a fifth of the training trials, averaged (bagged) or each heard only on trials it
        # did not see (oof); and the truth itself, which only the twin knows.
        *(Recipe(name, "teacher", 0, "rebalanced", {"mode": "adaptive"}, part=n) for n, name in enumerate(_PARTS)),
        Recipe("bagged", kind="bagged", guides=_PARTS),
        Recipe("oof", kind="oof", guides=_PARTS),
        Recipe("oracle", kind="oracle"),
        # The same of the EEG-only teacher; what a perfect one would say; a guide shuffled between the trials of one
        # label, which leaves it as right and as sure as it was.
        *(Recipe(name, "eeg", part=n) for n, name in enumerate(_EEG_PARTS)),
        Recipe("eeg_oof", kind="oof", guides=_EEG_PARTS),
        Recipe("oracle_eeg", kind="oracle_eeg"),
        Recipe("eeg_shuffled", kind="shuffled", guides=("eeg",)),
        Recipe("fused_shuffled", kind="shuffled", guides=(TEACHER,)),
        Recipe("eeg_report", kind="report", guides=("eeg",)),  # the check before distilling, stored like a run
        _guided("kd_gentle", "student", 0, (TEACHER,), {"kd_weight": 0.5, "temperature": 2.0}, grid=()),
        _guided("kd_bagged", "student", 1, ("bagged",), {"kd_weight": 0.9, "temperature": 1.0}),
        _guided(
            *("kd_oof", "student", 1, ("oof",), {"kd_weight": 0.5, "temperature": 1.0}),
            grid=({"kd_weight": 0.9}, {"temperature": 4.0}),
        ),
        _guided("kd_oracle", "student", 1, ("oracle",), {"kd_weight": 0.9, "temperature": 1.0}),
        _checked("checked", 1, _CHECKED),
        _checked("checked_shuffled", 0, _SHUFFLED),
        # Controls, in no table: rows that differ only in what they are named after. Guides by mean instead of sum; one
        # guide with the weight that three have together, or CDGKD's on average; exactly one guide silent in each batch;
        # NST on the maps that the student has, too; a constant weight as large as the adaptive one is on average.
        _guided("dense_mean", "student", 0, (TEACHER, "ta1", "ta2_dense"), _DENSE | {"reduction": "mean"}, grid=()),
        _guided("kd_x3", "student", 0, (TEACHER,), _DENSE | {"times": 3.0}, grid=()),
        _guided("kd_x1_5", "student", 0, (TEACHER,), _DENSE | {"times": 1.5}, grid=()),
        _guided("takd_x3", "student", 0, ("ta2_takd",), _DENSE | {"times": 3.0}, grid=()),
        _guided(
            "cdgkd_drop_one", "student", 0, (TEACHER, "ta1_drop", "ta2_drop"), _DENSE | {"drop_exactly": 1}, grid=()
        ),
        Recipe(
            *("nst_video", "student", 0, "nst", {"weight": 0.5, "maps": ("video",)}, (TEACHER,)),
            grid=({"weight": 0.05}, {"weight": 5.0}),
        ),
        Recipe("fusion_constant_dose", "teacher", 0, "rebalanced", {"mode": "constant", "dose": 0.12}),
        # What the released code trains (notebook 06): cross-entropy in inference mode, last epoch kept.
        Recipe("released_teacher", "teacher", loss="rebalanced", options={"mode": "none"}),
        *(
            Recipe(name, model, 0, "released_dense", {}, guides, selection="last_epoch", training={"train_mode": False})
            for name, model, guides in (
                ("released_ta1", "ta1", ("released_teacher",)),
                ("released_ta2", "ta2", ("released_teacher", "released_ta1")),
                ("released_cdgkd", "student", ("released_teacher", "released_ta1", "released_ta2")),
            )
        ),
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
GUIDES = {
    "fused": TEACHER,
    "eeg": "eeg",
    "video": "video",
    "shuffled": "eeg_shuffled",
    "oracle": "oracle",
    "oracle_eeg": "oracle_eeg",
    "bagged": "bagged",
    "oof": "oof",
}
_SHORT = {long: short for short, long in GUIDES.items()}
INNER = ("fitnets", "nst", "emotionkd")  # losses that compare more than logits: their guide is a trained network


def find_recipe(name: str) -> Recipe:
    """The recipe of a name: a key of ``RECIPES``, or ``method[@guide][+guide ...][#n]``.

    ``kd@eeg``: the guide stands at the top of the method's chain in place of the fused teacher; ``cdgkd+eeg``: a
    further guide of the student itself; ``kd@eeg#8``: 8 rated training trials per subject, for the guides too; the
    student hears them on all training trials, so that ``kd@ce#8`` is self-training. ``kd@fused`` is ``kd`` itself.

    Raises
    ------
    ValueError
        The method or a guide is unknown, or they do not go together.
    """

    def wrong(reason: str) -> ValueError:
        return ValueError(f"recipe {name!r}: {reason}")

    def guide(short: str) -> str:
        if short not in GUIDES and short not in RECIPES:
            raise wrong(f"unknown guide {short!r}; known: {', '.join(GUIDES)}, or a method's name")
        return GUIDES.get(short, short)

    def under(one: str) -> str:
        """A guide of the method when `top` takes the fused teacher's place; its assistants are taught anew."""
        if one == TEACHER:
            return top
        return (
            one if all(under(other) == other for other in find_recipe(one).guides) else f"{one}@{_SHORT.get(top, top)}"
        )

    if name in RECIPES:
        return RECIPES[name]
    rest, marked, few = name.partition("#")
    if marked and (not few.isdecimal() or few.startswith("0")):
        raise wrong("expected a number of rated trials per subject after '#', such as #8")
    first, *more = rest.split("+")
    method, replaced, top = first.partition("@")
    if method not in RECIPES:
        raise wrong(f"unknown method {method!r}; known: {', '.join(RECIPES)}")
    if replaced and not top:
        raise wrong(f"expected a guide after '@': {', '.join(GUIDES)}, or a method's name")
    recipe, rated, more = RECIPES[method], int(few or 0), [guide(one) for one in more]
    top = guide(top) if top else TEACHER
    guides = tuple(under(one) for one in recipe.guides)
    if replaced and top != TEACHER and guides == recipe.guides:
        raise wrong(f"{method} does not learn from the fused teacher, so nothing can replace it")
    if more and recipe.loss != "dense":
        raise wrong("only methods that take several guides can be given another one")
    guides += tuple(more)
    if recipe.loss in INNER and any(find_recipe(one).kind != "network" for one in guides):
        raise wrong(f"{method} compares inner layers, which guide {top!r} has not")
    if rated and (recipe.kind != "network" or recipe.loss not in ("ce", "dense", "rebalanced")):
        raise wrong(f"{method} cannot be trained with few labels")
    if len(set(guides)) < len(guides):
        raise wrong(f"a guide stands twice among {', '.join(guides)}")
    if guides == recipe.guides and not rated:
        return recipe
    if rated:
        guides = tuple(find_recipe(f"{one}#{rated}").name for one in guides)
    at = "" if top == TEACHER else f"@{_SHORT.get(top, top)}"
    canonical = method + at + "".join(f"+{_SHORT.get(one, one)}" for one in more) + (f"#{rated}" if rated else "")
    return replace(recipe, name=canonical, row=canonical if recipe.table else "", guides=guides, rated=rated)
