"""The synthetic twin and one whole fold in CPU time: ``python bench/whole.py``.

One person of the twin after another, as `generator.py` does it, and every network of both tables on one fold of the
quick profile, as `chain.py` does it, in a home that is left behind empty.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import chain
import generator
import numpy as np
import torch
from measurement import Measurement, report

from cdgkd_utils.config import Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.twin import TwinSettings

N_SUBJECTS = 5


def measurements() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as home:
        os.environ["CDGKD_HOME"] = home
        generator.measure(TwinSettings(n_trials=2, n_windows=1), 1)  # imports and caches
        settings = TwinSettings(n_windows=4)
        laps = [generator.measure(settings, subject)["prepare_subject, all"] for subject in range(1, N_SUBJECTS + 1)]
        yield Measurement("a window of the twin, EEG and face", float(np.median(laps)), "ms", min(laps), max(laps),
                          at_most=generator.LIMIT, note=f"{N_SUBJECTS} subjects")  # fmt: skip
        params = Params(profile="quick")
        load_windows(params, n_jobs=1)
        table, n_train = chain.measure(params, params.target, 0)
        chosen = table["cpu_s"][table.index.isin(chain.in_tables())]
        name, note = (
            f"{len(chosen)} networks of both tables on one fold",
            f"guides included; {n_train} training windows",
        )
        yield Measurement(name, float(chosen.sum()), "s", at_most=chain.LIMIT, note=note)
        yield Measurement(f"all {len(table) - 1} recipes on one fold", float(table["cpu_s"].sum()), "s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    report(measurements, __doc__)
