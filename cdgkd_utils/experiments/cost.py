"""What a plan will take, from stored runs of the same kinds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..config import home
from .plan import Plan, PlannedRun, stored_names

SAMPLE = 5  # stored runs of a kind whose time and size are looked at


@dataclass(frozen=True)
class Cost:
    """Median seconds and bytes of stored runs by :attr:`PlannedRun.like`."""

    seconds: dict[tuple[str, str, int], float]
    bytes: dict[tuple[str, str, int], float]

    def of(self, runs: Iterable[PlannedRun]) -> tuple[float, float, int]:
        """Seconds and bytes of some runs together, and how many of them nothing is known about."""
        known = [run.like for run in runs]
        unknown = sum(like not in self.seconds for like in known)
        sums = (sum(cost.get(like, 0.0) for like in known) for cost in (self.seconds, self.bytes))
        return (*sums, unknown)


def measured_cost(plan: Plan) -> Cost:
    """What runs like those of a plan took, from a few stored ones of each kind."""
    wanted = {run.like for run in plan.runs.values()}
    by_recipe = {like[0] for like in wanted}
    looked_at: dict[str, int] = {}
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for name in sorted(stored_names()):
        recipe = name.rpartition("-")[0]
        if recipe in by_recipe and looked_at.get(recipe, 0) < 10 * SAMPLE:
            looked_at[recipe] = looked_at.get(recipe, 0) + 1
            folder = home() / "runs" / name
            try:
                spec, result = (json.loads((folder / f"{part}.json").read_text()) for part in ("spec", "result"))
                like = (recipe, spec["family"], spec["training"]["epochs"])
                size = sum(file.stat().st_size for file in folder.iterdir())
                if like in wanted and len(found.setdefault(like, [])) < SAMPLE:
                    found[like].append((result["seconds"], size))
            except (OSError, ValueError, KeyError):
                continue  # an estimate can do without a damaged run; whoever needs it will say so
    medians = {like: np.median(values, axis=0) for like, values in found.items() if values}
    return Cost(
        {like: float(median[0]) for like, median in medians.items()},
        {like: float(median[1]) for like, median in medians.items()},
    )
