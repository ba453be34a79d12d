"""Every row of a table under further scores."""

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.results.measures import MEASURES, measures
from cdgkd_utils.results.paper import ROWS
from cdgkd_utils.results.tables import results_table

VALUES = {"accuracy": (0.60, 0.64), "balanced_accuracy": (0.58, 0.62), "macro_f1": (0.5, 0.6), "auc": (0.7, np.nan)}
VALUES |= {"vote_accuracy": (0.66, 0.66), "worst_subject": (0.4, 0.5), "ece": (0.1, 0.2), "majority": (0.55, 0.57)}


def long_table():
    rows = [
        {"table": 1, "dataset": "deap", "target": "valence", "protocol": "trial", "method": "ce", "repeat": 0}
        | {"fold": fold, "metric": metric, "value": values[fold], "n_train": 30, "n_test": 10}
        | {"profile": "p", "data": "d"}
        for metric, values in VALUES.items()
        for fold in (0, 1)
    ]
    return results_table(pd.DataFrame(rows), 1, 3, "p", "d", datasets=("deap",))


def test_every_score_by_hand():
    table = measures(long_table(), "deap", "valence", "trial")
    assert list(table.columns) == [*MEASURES.values(), "n"] and len(table) == len(ROWS[1]) + 1
    # the AUC of one run is not defined: one value has no spread
    expected = ["62.0 ± 2.8", "60.0 ± 2.8", "55.0 ± 7.1", "70.0", "66.0 ± 0.0", "45.0 ± 7.1", "15.0 ± 7.1", "2/3"]
    assert table.loc["CE (no guide)"].tolist() == expected
    assert table.loc["CDGKD"].tolist() == ["–"] * 7 + ["0/3"]
    assert table.loc["majority class"].tolist() == ["56.0", "50.0", "–", "50.0", "–", "–", "–", "–"]


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="no rows of deap, valence, stimulus"):
        measures(long_table(), "deap", "valence", "stimulus")
