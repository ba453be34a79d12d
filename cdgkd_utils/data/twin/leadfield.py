"""From dipoles to the 32 DEAP electrodes, by MNE's spherical head model of four shells."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from ... import config
from ..constants import DEAP_EEG, SFREQ

TASK_SITES = ("F3", "F4", "C3", "C4", "T7", "T8", "P3", "P4", "O1", "O2", "Fz")  # dipoles that carry the code
N_BACKGROUND = 20
N_EYES = 2
TASK = slice(0, len(TASK_SITES))
BACKGROUND = slice(TASK.stop, TASK.stop + N_BACKGROUND)
EYES = slice(BACKGROUND.stop, BACKGROUND.stop + N_EYES)

_GEOMETRY = {
    "version": 3,
    "centre": (0.0, 0.0, 0.04),  # m; what MNE fits to this montage, written out so that no fit is needed
    "radius": 0.095,
    # Three dipoles in a homogeneous sphere for one in the shells (Berg and Scherg, 1994): where and how large.
    # Written out too, because MNE's fit ends elsewhere on another processor: up to 0.2 % of a column's peak.
    "eccentricities": (0.9448371460468897, 0.667745300262057, -0.2920116174497071),
    "magnitudes": (0.4147418970735669, 2.0718007608829447, -0.030877195325551533),
    "task_depth": 0.72,  # of the radius
    "tilt": 0.35,
    "eyes": ((-0.36, 0.76, -0.20), (0.36, 0.76, -0.20)),  # of the radius, from the centre
    "eye_orientation": (0.0, 0.8, 0.6),
    "seed": 20250801,  # of the tilts and the background; one head for every subject
}


def leadfield(home: Path | None = None) -> np.ndarray:
    """Potentials of 33 unit dipoles at the 32 electrodes; computed once, then read from `home`.

    Parameters
    ----------
    home : Path or None
        Folder of the cached copy; None is :func:`cdgkd_utils.config.home`.

    Returns
    -------
    ndarray, shape (32, 33)
        Rows in ``DEAP_EEG`` order, average reference. Columns: the 11 task dipoles under ``TASK_SITES``,
        20 background dipoles, 2 eyes (slices ``TASK``, ``BACKGROUND``, ``EYES``), each with peak 1.
    """
    digest = hashlib.sha256(json.dumps(_GEOMETRY, sort_keys=True).encode()).hexdigest()[:12]
    path = Path(config.home() if home is None else home) / f"leadfield-{digest}.npy"
    shape = (len(DEAP_EEG), EYES.stop)
    try:
        columns = np.load(path, allow_pickle=False)
        if columns.shape == shape and np.isfinite(columns).all():
            return columns
    except (OSError, ValueError, EOFError):
        pass  # absent or damaged: it costs a second to compute it again
    columns = _compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=path.stem, suffix=".tmp", delete=False) as file:
        np.save(file, columns)
    os.replace(file.name, path)
    return columns


def _compute() -> np.ndarray:
    with _plain_mne():
        import mne

        montage = mne.channels.make_standard_montage("biosemi32")
        info = mne.create_info(list(DEAP_EEG), SFREQ, "eeg", verbose="error").set_montage(montage, verbose="error")
        electrodes = np.array([channel["loc"][:3] for channel in info["chs"]])
        position, orientation = _dipoles(dict(zip(DEAP_EEG, electrodes, strict=True)))
        n_dipoles = len(position)
        # One dipole a time point, and unit-size moments: each column of the solution is one dipole.
        ones = np.ones(n_dipoles)
        dipoles = mne.Dipole(np.arange(n_dipoles) / SFREQ, position, ones, orientation, ones)
        head = mne.make_sphere_model(_GEOMETRY["centre"], _GEOMETRY["radius"], verbose="error")
        head["mu"], head["lambda"] = np.array(_GEOMETRY["eccentricities"]), np.array(_GEOMETRY["magnitudes"])
        solution = mne.make_forward_dipole(dipoles, head, info, verbose="error")[0]["sol"]
    rows = [solution["row_names"].index(name) for name in DEAP_EEG]
    columns = solution["data"][rows].astype(np.float64)
    columns = columns - columns.mean(axis=0)
    columns = columns / np.abs(columns).max(axis=0)
    # Rounded, so that the last bits of one machine's arithmetic do not change the twin.
    columns = np.round(columns, 6)
    return columns - columns.mean(axis=0)


def _dipoles(electrodes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m) and unit orientations of all dipoles, shape (33, 3) each."""
    rng = np.random.default_rng(_GEOMETRY["seed"])
    centre, radius = np.array(_GEOMETRY["centre"]), _GEOMETRY["radius"]
    radial = _unit(np.array([electrodes[site] for site in TASK_SITES]) - centre)
    task = _unit(radial + _GEOMETRY["tilt"] * rng.standard_normal(radial.shape))
    direction = _unit(rng.standard_normal((N_BACKGROUND, 3)))
    direction[:, 2] = np.abs(direction[:, 2])  # no cortex in the neck
    depth = rng.uniform(0.4, 0.8, (N_BACKGROUND, 1))
    background = _unit(rng.standard_normal((N_BACKGROUND, 3)))
    eyes = np.tile(_GEOMETRY["eye_orientation"], (N_EYES, 1))
    places = np.vstack([_GEOMETRY["task_depth"] * radial, depth * direction, _GEOMETRY["eyes"]])
    return centre + radius * places, np.vstack([task, background, eyes])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@contextmanager
def _plain_mne() -> Iterator[None]:
    """Without numba: compiling MNE's kernels takes 6 s, computing 33 dipoles without them 0.1 s."""
    before = os.environ.get("MNE_USE_NUMBA")
    os.environ["MNE_USE_NUMBA"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MNE_USE_NUMBA"]
        else:
            os.environ["MNE_USE_NUMBA"] = before
