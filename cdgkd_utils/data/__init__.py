"""From files, or the synthetic twin, to windows, splits and normalised inputs.

>>> from cdgkd_utils.config import Params
>>> from cdgkd_utils.data import load_windows, make_folds, check_fold
>>> windows = load_windows(Params(profile="smoke"))
>>> fold = make_folds(windows.index, windows.labels("valence"), "trial+subject")[0]
>>> certificate = check_fold(fold, windows.index)
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "constants": ("CHANNELS", "TARGETS"),
    "types": ("DataError", "Normaliser", "Trial", "Windows"),
    "load": ("load_windows", "windows_key"),
    "windows": ("trial_frames",),
    "splits": ("Fold", "LeakError", "SplitError", "check_fold", "leak_scores", "make_folds"),
    "own": ("from_arrays", "from_epochs"),
    "doctor": ("check_folder",),
    "steps": ("trial_steps",),
    "features": ("extractor", "face_box"),
    "video": ("frames_at",),
    "twin.files": ("write_deap", "write_mahnob"),
    "twin": ("WORLDS", "TwinSettings", "World"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    """A name of this room, imported when first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
