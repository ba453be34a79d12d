"""What the README and notebook 08 show of a grid over several worlds: tables, figures, and what they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from .collecting import collect_worlds
from .experiments.grid import GridConfig, Plan
from .experiments.runs import RunError
from .results.beyond import (
    CHOSEN,
    HARM,
    HELP,
    HYPOTHESES,
    Hypothesis,
    hypothesis_table,
    policy_table,
    sign_table,
    with_choices,
    world_table,
)
from .results.markdown import hypotheses_as_markdown
from .results.tables import write_csv
from .viz import style
from .viz.hypotheses import hypothesis_figure
from .viz.phase import phase_figure
from .viz.record import save_figure

BEGIN, END = "<!-- beyond: begin (python -m cdgkd_utils publish) -->", "<!-- beyond: end -->"
MARKS = BEGIN, END
AGAIN = "beyond_few"
TABLES = ("tests", "tests_people", "worlds", "worlds_people", "signs", "policies")
REPOSITORY = Path(__file__).parents[1]
COMMAND = "python -m cdgkd_utils publish configs/beyond.yaml writes it"
GUIDE = "kd@eeg"


def beyond_tables(plan: Plan) -> dict[str, pd.DataFrame]:
    """All tables of the confirmation, by name: those of ``TABLES``, ``scores`` and ``reports``.

    Raises
    ------
    RunError
        Runs are missing, or a stored one is damaged.
    """
    scores, reports = collect_worlds(plan)
    scores = with_choices(scores, reports)
    worlds = world_table(scores, reports)
    return {
        "tests": hypothesis_table(scores),
        "tests_people": hypothesis_table(scores, "subject"),
        "worlds": worlds,
        "worlds_people": world_table(scores, reports, "subject"),
        "signs": sign_table(worlds).set_index("guide"),
        "policies": policy_table(scores, reports, HELP + HARM),
        "scores": scores,
        "reports": reports,
    }


def again_tables(plan: Plan, hypotheses: list[Hypothesis]) -> dict[str, pd.DataFrame]:
    """Some hypotheses on other seeds, a family of their own: ``tests``, ``tests_people``, ``scores``, ``reports``."""
    scores, reports = collect_worlds(plan)
    return {
        "tests": hypothesis_table(scores, hypotheses=hypotheses),
        "tests_people": hypothesis_table(scores, "subject", hypotheses),
        "scores": scores,
        "reports": reports,
    }


def phase_points(worlds: pd.DataFrame, guide: str = GUIDE) -> pd.DataFrame:
    """The worlds as :func:`~.viz.phase.phase_figure` takes them."""
    columns = ["w_shared", "w_eeg", "w_video", "r_views", "r_label", "margin"]
    points = worlds[columns].assign(gain=worlds[guide], se=worlds[f"{guide} se"], kind="published")
    return points.rename_axis("world").reset_index()


def published_tables(repository: Path = REPOSITORY) -> dict[str, pd.DataFrame]:
    """The tables that were published, read back.

    Parameters
    ----------
    repository : Path
        Default: the checkout that this package lies in.

    Raises
    ------
    FileNotFoundError
        Names the file and the command that writes it.
    """
    tables = {}
    for name in TABLES:
        path = repository / "figures" / f"beyond_{name}.csv"
        if not path.is_file():
            raise FileNotFoundError(
                f"figures/{path.name} is missing: python -m cdgkd_utils publish configs/beyond.yaml"
            )
        tables[name] = pd.read_csv(path, index_col=0)
    return tables


def make_beyond(config: GridConfig, plan: Plan, record: dict[str, object], folder: Path) -> list[Path]:
    """Write tables, figures and their record; of a configuration that can judge some hypotheses only, their tables.

    Parameters
    ----------
    config : GridConfig
    plan : Plan
    record : dict
        What the numbers are made from, as :func:`~.publish.provenance` has it.
    folder : Path

    Returns
    -------
    list of Path
        What is to be published, of what was written.

    Raises
    ------
    RunError
        The configuration can judge no hypothesis; or as in :func:`beyond_tables`. Nothing is written then.
    """
    methods = {run.recipe.name for run in plan.runs.values()} | {CHOSEN}
    able = [h for h in HYPOTHESES if set(h.worlds) <= set(config.world) and {h.first, h.second} <= methods]
    if not able:
        raise RunError(
            f"{config.name}: only hypotheses of configs/beyond.md are published, and it has the worlds and methods of "
            "none; 'grid collect' has the scores"
        )
    whole = len(able) == len(HYPOTHESES)
    tables = beyond_tables(plan) if whole else again_tables(plan, able)
    for name in ("scores", "reports"):
        write_csv(tables.pop(name), folder / f"{name}.csv")
    made = [write_csv(table.reset_index(), folder / f"{config.name}_{name}.csv") for name, table in tables.items()]
    path = folder / f"{config.name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return [*made, *(_figures(config.name, tables, plan, record) if whole else ()), path]


def _figures(name: str, tables: dict[str, pd.DataFrame], plan: Plan, record: dict[str, object]) -> list[Path]:
    style.use()
    figures = {
        "worlds": phase_figure(phase_points(tables["worlds"])),
        "hypotheses": hypothesis_figure(tables["tests"], tables["tests_people"]),
    }
    made = []
    for kind, figure in figures.items():
        data = "synthetic twin, several worlds"
        picture = save_figure(figure, f"{name}_{kind}", plan.cells[0].params, data, {"grid": record})
        plt.close(figure)
        made += [picture, picture.with_suffix(".json")]
    return made


def beyond_block(figures: Path) -> str:
    """What stands between the README's markers, from the published tables."""
    tables = published_tables(figures.parent)
    worlds, policies = tables["worlds"], tables["policies"]
    new = worlds[worlds["new"]]
    same = int(((new[GUIDE] > 0) == (new["margin"] > 0)).sum())
    check = policies.loc["chosen by the check"]
    regret = ", ".join(f"{name} {round(row['regret'], 1) + 0.0:.1f}" for name, row in policies.iterrows())
    again = ""
    if (figures / f"{AGAIN}_tests.csv").is_file():
        other = pd.read_csv(figures / f"{AGAIN}_tests.csv", index_col=0)
        parts = [
            f"{name} {r['mean']:+.1f} [{r['low']:+.1f}, {r['high']:+.1f}], {r['verdict']}"
            for name, r in other.iterrows()
        ]
        again = f" Again on {int(other['n'].iloc[0])} further seeds: {'; '.join(parts)} (se {other['se'].max():.2f})."
    return "\n".join(
        [
            hypotheses_as_markdown(tables["tests"], tables["tests_people"]),
            f"Sign of the gain as the rule expects: {same} of {len(new)} new worlds. Regret in points against the best "
            f"choice of each of them: {regret}; the check's clear verdicts go with the sign of their world's gain in "
            f"{100 * check['right']:.0f} %.{again}",
            "",
        ]
    )
