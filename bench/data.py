"""What preparing windows costs, next to rivals: ``python bench/data.py``. The work itself is in `prepare.py`.

TorchEEG takes part if it can be imported; the goals against it are not measured without.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from measurement import Measurement, report
from prepare import dat_files, entropy, video

REPEATS = 3
N_FRAMES = 1000  # of the clip
GOALS = {
    "cache, zero copy: times faster than TorchEEG": 8.0,
    "cache, unpickled: times faster than TorchEEG": 2.0,
}
UNITS = {": times": "×", "ms per": "ms", "s per": "s"}


def converted(figures: Mapping[str, float]) -> Iterator[Measurement]:
    """Figures of `prepare.py` with units and goals; what is no number there is left out."""
    for name, value in figures.items():
        if value == value:
            unit = next((unit for words, unit in UNITS.items() if words in name), "")
            note = "TorchEEG with the default allocator, ours with the documented settings" if name in GOALS else ""
            yield Measurement(name, float(value), unit, at_least=GOALS.get(name), note=note)


def measurements() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        figures = dat_files(Path(folder), REPEATS)
        yield from converted(figures)
        reason = "could not be run" if importlib.util.find_spec("torcheeg") else "is not installed"
        for name in GOALS:
            if name not in figures:
                yield Measurement(name, None, at_least=GOALS[name], note=f"TorchEEG {reason}")
        yield from converted(entropy(REPEATS))
        yield from converted(video(Path(folder), N_FRAMES, REPEATS))


if __name__ == "__main__":
    torch.set_num_threads(1)
    report(measurements, __doc__)
