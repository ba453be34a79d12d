"""The table explorer: any choice of rows with intervals and paired differences, and the runs behind each number."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

import ipywidgets
import pandas as pd
from matplotlib.figure import Figure

from ...data.constants import TARGETS
from ...results.display import display_name
from ...results.explorer import Choice, run_summary, runs_behind
from ...results.metrics import METRIC_NAMES
from ...results.paper import DATASET_NAMES, POSTER_ROWS, PROTOCOL_NAMES, ROWS, TABLE_TITLES
from ..steps import left_html
from .evidence import Evidence, explorer_alt, explorer_figure, p_text
from .panel import Panel

CHOICE = ("dataset", "table", "target", "metric", "methods", "reference")
TESTS = {
    "repetitions": "t test over the repetitions' means, each with people of its own",
    "corrected": "t test corrected for overlapping training sets",
}
P_COLUMNS = {"p naive": "p_naive", "p": "p", "Holm": "p_holm"}
WORDS = {"description_width": "initial"}


def followed_html(evidence: Evidence, choice: Choice, method: str, protocol: str, root: str = "") -> str:
    """The runs behind one number as a table; each opens what its folder says.

    Parameters
    ----------
    evidence : Evidence
    choice : Choice
    method, protocol : str
    root : str
        Way from the page to the project's home, for links to the runs' folders; without it there are none.
    """
    runs = runs_behind(evidence.designs, evidence.records, choice, method, protocol)
    name = f"{display_name(method)}, {PROTOCOL_NAMES[protocol]}, {METRIC_NAMES[choice.metric]}"
    if runs.empty:
        return f"<p><b>{html.escape(name)}</b>: no run has this score.</p>"
    lines = [f"<p><b>{html.escape(name)}</b>: mean {runs['value'].mean():.2f} % of {len(runs)} runs</p>"]
    for row in runs.itertuples():
        where = html.escape(row.run)
        link = f'<a href="{html.escape(root)}/{where}" target="_blank">{where}</a>' if root else f"<code>{where}</code>"
        record = html.escape(json.dumps(run_summary(row.run), indent=1))
        lines.append(
            f"<details><summary>repetition {row.repeat}, fold {row.fold}, seed {row.seed}: {row.value:.2f} % "
            f"({where.rsplit('/', 1)[-1]})</summary><p>{link}</p><pre>{record}</pre></details>"
        )
    return "".join(lines)


def numbers_html(evidence: Evidence, choice: Choice) -> str:
    """Intervals and tests of a choice as a table."""
    means = evidence.intervals(choice).set_index(["method", "protocol"])
    tests = evidence.differences(choice).set_index(["method", "protocol"])
    rows = {}
    for method, protocol in means.index:
        row = {"mean ± sd [95 % interval], runs done / expected": means.loc[(method, protocol), "cell"]}
        if (method, protocol) in tests.index:
            test = tests.loc[(method, protocol)]
            row["difference (points)"] = f"{test['mean']:.2f} [{test['low']:.2f}, {test['high']:.2f}]"
            row |= {
                "n": f"{test['n']}",
                "p naive": p_text(test["p_naive"]),
                "p": p_text(test["p"]),
                "Holm": p_text(test["p_holm"]),
            }
            row["dz"] = f"{test['dz']:.2f} [{test['dz_low']:.2f}, {test['dz_high']:.2f}]"
        rows[f"{display_name(method)}, {PROTOCOL_NAMES[protocol]}"] = row
    frame = pd.DataFrame.from_dict(rows, orient="index").fillna("–")
    said = "All numbers."
    if len(tests):
        said += f" p: {TESTS[tests['test'].iloc[0]]}; Holm: corrected for the {len(tests)} differences shown."
    return f"<details><summary>{said}</summary>{left_html(frame)}</details>"


class _ExplorerPanel(Panel):
    """A panel whose methods follow the table, and whose followed row is one of the chosen."""

    def __init__(self, evidence: Evidence, root: str, **controls: ipywidgets.Widget):
        self.evidence, self.root, self._following = evidence, root, False
        super().__init__(self._draw, controls, alt=self._alt)

    def update(self) -> None:
        """Offer the methods of the table, then draw once."""
        if self._following:
            return
        self._following = True
        try:
            table = self.controls["table"].value
            options = tuple((display_name(method), method) for method in ROWS[table])
            if self.controls["methods"].options != options:
                self.controls["methods"].options = options
                self.controls["methods"].value = POSTER_ROWS[table]
                for name in ("reference", "follow"):
                    self.controls[name].options = options
                    self.controls[name].value = POSTER_ROWS[table][-1]
        finally:
            self._following = False
        super().update()

    @staticmethod
    def _choice(values: dict) -> Choice:
        return Choice(
            **{name: values[name] for name in ("dataset", "table", "target", "metric", "methods", "reference")}
        )

    def _draw(self, **values) -> tuple[Figure, str]:
        choice = self._choice(values)
        behind = followed_html(self.evidence, choice, values["follow"], values["protocol"], self.root)
        return explorer_figure(self.evidence, choice), behind + numbers_html(self.evidence, choice)

    def _alt(self, **values) -> str:
        return explorer_alt(self.evidence, self._choice(values))


def explorer_panel(evidence: Evidence, choice: Choice, root: str = "") -> Panel:
    """The table explorer.

    Parameters
    ----------
    evidence : Evidence
    choice : Choice
        What is shown first.
    root : str
        As in :func:`followed_html`.
    """
    options = [(display_name(method), method) for method in ROWS[choice.table]]

    def one_of(kind: type, names: Sequence[tuple[str, object]], value: object, said: str) -> ipywidgets.Widget:
        return kind(options=names, value=value, description=said, style=WORDS)

    buttons, menu = ipywidgets.ToggleButtons, ipywidgets.Dropdown
    designs = [(DATASET_NAMES[design.layout], design.layout) for design in evidence.designs]
    protocols = [(PROTOCOL_NAMES[name], name) for name in evidence.protocols()]
    metrics = [(METRIC_NAMES[metric], metric) for metric in evidence.metrics()]
    return _ExplorerPanel(
        evidence,
        root,
        dataset=one_of(buttons, designs, choice.dataset, "data in the design of"),
        table=one_of(buttons, [(f"{n}: {TABLE_TITLES[n]}", n) for n in sorted(ROWS)], choice.table, "table"),
        target=one_of(buttons, [(target, target) for target in TARGETS], choice.target, "target"),
        metric=one_of(menu, metrics, choice.metric, "score"),
        methods=ipywidgets.SelectMultiple(
            options=options, value=choice.methods, rows=8, description="rows (Ctrl or Shift for several)", style=WORDS
        ),
        reference=one_of(menu, options, choice.reference, "compared row"),
        follow=one_of(menu, options, choice.reference, "runs behind"),
        protocol=one_of(buttons, protocols, protocols[0][1], "on"),
    )
