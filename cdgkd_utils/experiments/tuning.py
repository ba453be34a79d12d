"""How much each method is tuned, as a table."""

from __future__ import annotations

import pandas as pd

from ..config import Params
from .recipes import RECIPES, Recipe


def tuning_table(params: Params) -> pd.DataFrame:
    """The settings that each row of the tables may choose from, on validation, under the profile's budget.

    Returns
    -------
    DataFrame
        By method: ``declared`` options; ``also tried`` (what the budget allows of the declared alternatives); and
        ``settings``, their number. The larger of two budgets starts with the settings of the smaller.
    """
    budget = params.scale.tuning_budget
    rows = {}
    for recipe in RECIPES.values():
        if recipe.table:
            others = recipe.grid[: budget - 1]
            rows[f"table {recipe.table}: {recipe.row or recipe.name}"] = {
                "declared": _options(recipe),
                "also tried": "; ".join(", ".join(f"{k} = {v}" for k, v in other.items()) for other in others) or "–",
                "settings": 1 + len(others),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(f"budget {budget}")


def _options(recipe: Recipe) -> str:
    return ", ".join(f"{name} = {value}" for name, value in recipe.options.items()) or "–"
