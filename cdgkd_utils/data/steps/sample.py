"""A few synthetic files in the real layouts, for showing what readers do where there are no real ones."""

from __future__ import annotations

import functools
import hashlib
import shutil
from pathlib import Path

from ...config import home
from ..constants import WINDOW_SECONDS
from ..deap.writer import write_deap
from ..mahnob.writer import write_mahnob
from ..twin import TwinSettings

# One person each, trials of full length. With this seed the person saw DEAP's stimulus 1 second, stimulus 2 first.
SAMPLES = {
    "deap": TwinSettings(n_subjects=1, n_trials=2, n_windows=15, seed=2),
    "mahnob": TwinSettings(n_subjects=1, n_trials=1, n_windows=0, seed=2, layout="mahnob"),
}
_HEIGHT = 64  # pixels of the clips; real ones have 576 and 580
_SOURCES = ("constants.py", "steps/sample.py", "twin/*.py", "deap/*.py", "mahnob/*.py", "files/*.py")


@functools.cache  # of what this process has loaded, also where a source is edited meanwhile
def _code() -> str:
    here = Path(__file__).parents[1]
    paths = sorted(path for pattern in _SOURCES for path in here.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def sample_tree(layout: str) -> Path:
    """A folder of synthetic files of one person in a data set's layout.

    Written once, in a few seconds, below :func:`~cdgkd_utils.config.home`, complete or not at all; written again,
    in place of the old one, when the code that writes it has changed.

    Parameters
    ----------
    layout : {"deap", "mahnob"}

    Returns
    -------
    Path
        DEAP's with recordings (``.bdf``), preprocessed file (``.dat``) and clips of two trials; MAHNOB-HCI's
        with one film and the neutral clip before it.

    Raises
    ------
    ValueError
        The layout is unknown.
    """
    if layout not in SAMPLES:
        raise ValueError(f"layout: expected one of {', '.join(SAMPLES)}, got {layout!r}")
    settings, folder = SAMPLES[layout], home() / "sample" / f"{layout}-{_code()[:12]}"
    if folder.is_dir():
        return folder
    try:
        if layout == "deap":
            write_deap(settings, folder, int(settings.n_windows * WINDOW_SECONDS), _HEIGHT, raw=True)
        else:
            write_mahnob(settings, folder, _HEIGHT)
    except OSError:
        if not folder.is_dir():  # otherwise another process has finished the same first
            raise
    for older in folder.parent.glob(f"{layout}-*"):
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)
    return folder
