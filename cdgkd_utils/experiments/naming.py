"""Any method with any guide, by name: ``kd@eeg``, ``cdgkd@shuffled``, ``cdgkd+eeg``, ``kd@eeg#8``.

A name is a recipe, then, all optional, ``@guide`` (who stands at the top of its chain in place of the fused teacher),
``+guide`` (a further guide of the student itself) and ``#n`` (few labels: n rated training trials per subject).
"""

from __future__ import annotations

from dataclasses import replace

from .recipes import RECIPES, TEACHER, Recipe

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
# Losses that compare more than logits: their guide has to be a trained network.
INNER = ("fitnets", "nst", "emotionkd")


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Parameters
    ----------
    name : str
        A key of ``RECIPES``, or ``method[@guide][+guide ...][#n]``. With ``#n`` the guides have as few labels as the
        student, which hears them on all training trials; ``kd@ce#8`` is self-training.

    Returns
    -------
    Recipe
        That of ``RECIPES`` itself where the name says nothing new (``kd@fused``): these are the same stored runs.

    Raises
    ------
    ValueError
        The method or a guide is unknown, or they do not go together.
    """
    if name in RECIPES:
        return RECIPES[name]
    rest, marked, few = name.partition("#")
    if marked and (not few.isdecimal() or few.startswith("0")):
        raise ValueError(f"recipe {name!r}: expected a number of rated trials per subject after '#', such as #8")
    first, *more = rest.split("+")
    method, replaced, top = first.partition("@")
    if method not in RECIPES:
        raise ValueError(f"recipe {name!r}: unknown method {method!r}; known: {', '.join(RECIPES)}")
    recipe, rated = RECIPES[method], int(few or 0)
    guides = tuple(_under(name, guide, top) for guide in recipe.guides)
    guides += tuple(_guide(name, guide) for guide in more)
    if replaced and not top:
        raise ValueError(f"recipe {name!r}: expected a guide after '@': {', '.join(GUIDES)}, or a method's name")
    if top and TEACHER not in recipe.guides and not any(_under(name, guide, "eeg") != guide for guide in recipe.guides):
        raise ValueError(f"recipe {name!r}: {method} does not learn from the fused teacher, so nothing can replace it")
    if more and recipe.loss != "dense":
        raise ValueError(f"recipe {name!r}: only methods that take several guides can be given another one")
    if recipe.loss in INNER and any(find_recipe(guide).kind != "network" for guide in guides):
        raise ValueError(f"recipe {name!r}: {method} compares inner layers, which guide {top!r} has not")
    if rated and (recipe.kind != "network" or recipe.loss not in ("ce", "dense", "rebalanced")):
        raise ValueError(f"recipe {name!r}: {method} cannot be trained with few labels")
    if len(set(guides)) < len(guides):
        raise ValueError(f"recipe {name!r}: a guide stands twice among {', '.join(guides)}")
    if guides == recipe.guides and not rated:
        return recipe
    if rated:
        guides = tuple(f"{guide}#{rated}" for guide in guides)
        for guide in guides:
            find_recipe(guide)
    name = _canonical(method, top, more, rated)
    return replace(recipe, name=name, row=name if recipe.table else "", guides=guides, rated=rated)


def _canonical(method: str, top: str, more: list[str], rated: int) -> str:
    """One name for one recipe, with short names of guides."""
    short = {long: short for short, long in GUIDES.items()}
    top, *more = (short.get(GUIDES.get(guide, guide), guide) for guide in (top, *more))
    at = f"@{top}" if top not in ("", "fused") else ""
    return method + at + "".join(f"+{guide}" for guide in more) + (f"#{rated}" if rated else "")


def _guide(name: str, guide: str) -> str:
    """A guide's recipe, by short name or name."""
    if guide not in GUIDES and guide not in RECIPES:
        raise ValueError(f"recipe {name!r}: unknown guide {guide!r}; known: {', '.join(GUIDES)}, or a method's name")
    return GUIDES.get(guide, guide)


def _under(name: str, guide: str, top: str) -> str:
    """A method's guide when `top` takes the fused teacher's place; its assistants are taught anew."""
    if not top or _guide(name, top) == TEACHER:
        return guide
    if guide == TEACHER:
        return _guide(name, top)
    if any(_under(name, other, top) != other for other in RECIPES[guide].guides):
        short = {long: short for short, long in GUIDES.items()}
        return f"{guide}@{short.get(_guide(name, top), top)}"
    return guide
