"""The further scores of the terminal table, and cells whose interval is not defined."""

from types import SimpleNamespace

import pandas as pd
import pytest

from cdgkd_utils.results.display import FIRST_METRICS, FURTHER_METRICS, as_text, cell_text
from cdgkd_utils.results.metrics import METRIC_NAMES
from cdgkd_utils.results.tables import results_table

NAN = float("nan")
VALUES = {  # one number per metric and protocol, so that each can be found again
    metric: {"trial": 0.11 + 0.02 * place, "subject": 0.12 + 0.02 * place} for place, metric in enumerate(METRIC_NAMES)
}


def long_table(metrics=tuple(METRIC_NAMES)):
    rows = [
        {"table": 2, "dataset": "deap", "target": "valence", "protocol": protocol, "method": "fusion", "repeat": 0}
        | {"fold": fold, "metric": metric, "value": VALUES[metric][protocol] + fold / 100}
        | {"n_train": 300, "n_test": 100, "profile": "smoke", "data": "made up"}
        for protocol in ("trial", "subject")
        for metric in metrics
        for fold in (0, 1)
    ]
    return results_table(pd.DataFrame(rows), 2, 2, "smoke", "made up", datasets=("deap",))


def test_every_number_stands_under_its_name():
    text = as_text(long_table())
    assert max(map(len, text.splitlines())) <= 140
    blocks = {block.splitlines()[0]: block.splitlines()[1:] for block in text.split("\n\n")[1:]}
    head, *rows = blocks["valence, further scores"]
    assert [row.split("  ")[0] for row in rows] == ["Plain fusion"]  # nothing else was run
    expected = [100 * VALUES[metric][p] + 0.5 for p in ("trial", "subject") for metric in FURTHER_METRICS]
    assert [float(word) for word in rows[0].removeprefix("Plain fusion").split()] == pytest.approx(expected)
    for name in FURTHER_METRICS.values():
        assert head.split().count(name) == 2
    assert head.index("unseen trials: AUC") < head.index("unseen subjects: AUC")
    assert "arousal, further scores" not in blocks and "arousal" in blocks  # never run
    fusion = next(line for line in blocks["valence"] if line.startswith("Plain fusion"))
    for protocol in ("trial", "subject"):
        for metric in FIRST_METRICS:
            assert f"{100 * VALUES[metric][protocol] + 0.5:.1f}" in fusion


def test_the_legend_explains_what_is_shown_and_no_more():
    legend = as_text(long_table()).split("\n\n")[-1].replace("\n", " ")
    for metric, name in (FIRST_METRICS | FURTHER_METRICS).items():
        assert f"{name} = {METRIC_NAMES[metric]}" in legend
    assert "Lower is better: ECE, ECEm, Brier." in legend
    text = as_text(long_table(("accuracy", "macro_f1")))
    assert "further" not in text and "ECE" not in text and "bal =" not in text and "F1 = macro-F1" in text


def test_equal_runs_show_no_interval():
    row = SimpleNamespace(mean=61.0, sd=0.0, low=NAN, high=NAN, n_runs=2, n_expected=3)
    assert cell_text(row, 3) == "61.0 ± 0.0 n=2/3"
    row = SimpleNamespace(mean=61.0, sd=2.0, low=58.5, high=63.5, n_runs=2, n_expected=3)
    assert cell_text(row, 3) == "61.0 ± 2.0 [58.5, 63.5] n=2/3"
    assert cell_text(None, 3) == "0 of 3"
