"""What the twin's generator costs: ``python bench/generator.py [--windows 4] [--repeats 5]``.

CPU time of one process with one thread, per 4 s window (the 3 s baseline included), median over
repeats; each repeat is another person with 40 trials.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cdgkd_utils.data.extractors.hog768 import box_reduce, hog768
from cdgkd_utils.data.twin import TwinSettings, plan_subject, prepare_subject
from cdgkd_utils.data.twin.eeg import leadfield, synthesise_eeg
from cdgkd_utils.data.twin.face import face_track, render

LIMIT = 7.0  # ms per window, EEG and face together


def measure(settings: TwinSettings, subject: int) -> dict[str, float]:
    """CPU milliseconds per window of each step for one person."""
    plan = plan_subject(settings, subject)
    clock = [time.process_time()]

    def lap() -> float:
        clock.append(time.process_time())
        return (clock[-1] - clock[-2]) * 1e3 / (settings.n_trials * settings.n_windows)

    out = {}
    synthesise_eeg(settings, plan)
    out["EEG"] = lap()
    tracks = [face_track(settings, plan, row) for row in range(settings.n_trials)]
    frames = [render(track, track.times) for track in tracks]
    out["face: draw 5 frames"] = lap()
    frames = [box_reduce(f) for f in frames]
    out["face: reduce"] = lap()
    for f in frames:
        hog768(f)
    out["face: HOG"] = lap()
    prepare_subject(settings, subject)
    out["prepare_subject, all"] = lap()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=4, help="per trial")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    settings = TwinSettings(n_windows=options.windows)
    start = time.perf_counter()
    leadfield()
    print(f"lead field: {time.perf_counter() - start:.2f} s (about 1.5 s when it is not cached yet)")
    with threadpool_limits(1):
        measure(TwinSettings(n_trials=2, n_windows=1), 1)  # imports and caches
        laps = pd.DataFrame([measure(settings, subject) for subject in range(1, options.repeats + 1)])
    table = pd.DataFrame({"median": laps.median(), "min": laps.min(), "max": laps.max()})
    print(f"ms of CPU per window, {options.windows} windows a trial, {options.repeats} repeats")
    print(table.round(2).to_string())
    face = laps.filter(like="face").sum(axis=1)
    print(f"EEG : face = 1 : {np.median(face / laps['EEG']):.1f}")
    total = laps["prepare_subject, all"].median()
    print(f"together {total:.2f} ms, limit {LIMIT} ms: {'ok' if total <= LIMIT else 'TOO SLOW'}")


if __name__ == "__main__":
    main()
