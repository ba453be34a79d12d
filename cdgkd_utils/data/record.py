"""What is said beside prepared windows: everything that made them, readable without this package."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from .constants import BASELINE_SECONDS, CHANNELS, N_FRAMES, N_VIDEO_FEATURES, SFREQ, WINDOW_SAMPLES, WINDOW_SECONDS
from .files.filtering import PASS_BAND

PACKAGES = ("cdgkd_utils", "numpy", "scipy", "pandas", "mne", "av", "pillow")
_BAND = f"{PASS_BAND[0]:g}-{PASS_BAND[1]:g} Hz"
_FIR = f"{_BAND}, MNE's FIR without phase shift"
FILTERS = {
    "deap": f"none here; the release has {_BAND} and average reference",
    "deap_raw": f"{_FIR}, over each trial and its margins, then average reference over 32 electrodes",
    "mahnob": f"average reference over 32 electrodes, then {_FIR}, over the whole recording",
    "twin in DEAP's design": "none; signals are generated as the release has them",
    "twin in MAHNOB-HCI's design": f"{_FIR}, over the whole trial",
}


def preprocessing(settings: Mapping[str, object]) -> dict[str, object]:
    """The parameters of a preparation, for ``meta.json``.

    Parameters
    ----------
    settings : mapping
        What decides the windows, as :func:`~cdgkd_utils.data.cache.prepared` takes it. Read are ``dataset``,
        ``settings`` (of it ``n_windows``, ``baseline``, ``crop``, ``layout``), ``extractor`` and ``face finder`` (name
        and version), ``fingerprint`` and ``code``; what is absent becomes its default or null.

    Returns
    -------
    dict
        Plain JSON values.
    """
    choices = settings.get("settings")
    choices = choices if isinstance(choices, Mapping) else {}
    dataset = settings.get("dataset")
    if dataset == "twin":
        dataset = "twin in MAHNOB-HCI's design" if choices.get("layout") == "mahnob" else "twin in DEAP's design"
    return {
        "dataset": dataset,
        "channels": list(CHANNELS),
        "unit": "µV",
        "sfreq_hz": SFREQ,
        "filter": FILTERS.get(dataset),
        "baseline": choices.get("baseline", "none"),
        "baseline_seconds": BASELINE_SECONDS,
        "window_seconds": WINDOW_SECONDS,
        "n_times": WINDOW_SAMPLES,
        "overlap_seconds": 0.0,
        "n_windows_per_trial": choices.get("n_windows") or "all",
        "frames_per_window": N_FRAMES,
        "n_video_features": N_VIDEO_FEATURES,
        "extractor": settings.get("extractor"),
        "crop": choices.get("crop", "centre"),
        "face_finder": settings.get("face finder"),
        "stored_as": "float16",
        "source_fingerprint": settings.get("fingerprint"),
        "code_digest": settings.get("code"),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
