"""What the original recordings cost: ``python bench/deap_raw.py [--trials 40] [--windows 15] [--subjects 1 28]``.

Writes one person's recording of the twin in DEAP's layout (``data_original/sNN.bdf``, 512 Hz, 24 bit),
reads it back through the documented chain, and says how long each took per hour of recording, how much
memory, and how well the result agrees with the EEG that the ``.dat`` file holds. One process, one thread.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cdgkd_utils.data.constants import BASELINE_SAMPLES, CHANNEL_ROWS
from cdgkd_utils.data.deap.ratings import read_ratings
from cdgkd_utils.data.deap.raw import RAW_FOLDER, RawTree, raw_trials
from cdgkd_utils.data.deap.raw_signal import RAW_SFREQ, agreement
from cdgkd_utils.data.deap.raw_writer import write_raw
from cdgkd_utils.data.deap.writer import _metadata
from cdgkd_utils.data.files.bdf import open_bdf
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.eeg import synthesise_eeg
from cdgkd_utils.data.types import Trial


def peak() -> float:
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(settings: TwinSettings, subject: int, root: Path) -> dict[str, float]:
    """Seconds per hour of recording, peak memory, agreement."""
    plan = plan_subject(settings, subject)
    table = _metadata(settings, [plan])["participant_ratings.csv"]
    (root / "metadata_csv").mkdir(exist_ok=True)
    table.to_csv(root / "metadata_csv" / "participant_ratings.csv", index=False)
    out = {"memory before, MB": peak()}
    start = time.perf_counter()
    path = write_raw(settings, root, plan)
    out["write, s"] = time.perf_counter() - start
    out["memory after writing, MB"] = peak()
    tree = RawTree(root, (subject,), read_ratings(root, [subject]), {"settings": asdict(settings)})
    hours = open_bdf(path, RAW_SFREQ).n_times / RAW_SFREQ / 3600

    eeg = synthesise_eeg(settings, plan)[:, CHANNEL_ROWS]
    for name, remove_eog in (("", True), (" without eye regression", False)):
        start, correlations = time.perf_counter(), []
        spent = 0.0
        for trial in raw_trials(tree, subject, remove_eog):
            spent += time.perf_counter() - start
            dat = eeg[trial.trial - 1]
            dat = Trial(
                subject, trial.trial, 0, "", dat[:, BASELINE_SAMPLES:], dat[:, :BASELINE_SAMPLES], trial.ratings, None
            )
            correlations.append(agreement(trial, dat))
            start = time.perf_counter()
        out[f"read{name}, s per hour"] = spent / hours
        out[f"agreement{name}: median r"] = float(np.median(correlations))
        out[f"agreement{name}: least r"] = float(np.min(correlations))
    out["memory in the end, MB"] = peak()
    out |= {"recording, h": hours, "file, MB": path.stat().st_size / 1e6, "write, s per hour": out["write, s"] / hours}
    start = time.perf_counter()
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass
    out["plain read of the bytes, s per hour"] = (time.perf_counter() - start) / hours
    path.unlink()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--windows", type=int, default=15, help="of 4 s, per trial")
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 28])
    options = parser.parse_args()
    settings = TwinSettings(n_trials=options.trials, n_windows=options.windows)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / RAW_FOLDER).mkdir()
        table = pd.DataFrame({f"s{s:02d}": measure(settings, s, Path(folder)) for s in options.subjects})
    print(table.round(4).to_string())


if __name__ == "__main__":
    main()
