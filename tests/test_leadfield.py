"""The head model: the shipped table is what MNE computes, and MNE's dipoles stand for four shells.

``python tests/test_leadfield.py`` writes the table anew.
"""

import mne
import numpy as np
import pytest

from cdgkd_utils.data.constants import DEAP_EEG, SFREQ
from cdgkd_utils.data.twin import eeg as twin

CENTRE, RADIUS = np.array([0.0, 0.0, 0.04]), 0.095  # m; what MNE fits to this montage, so that no fit is needed
# Three dipoles in a homogeneous sphere for one in the shells (Berg and Scherg, 1994): where and how large. Written out
# too, because MNE's fit ends elsewhere on another processor: up to 0.2 % of a column's peak.
ECCENTRICITIES = np.array([0.9448371460468897, 0.667745300262057, -0.2920116174497071])
MAGNITUDES = np.array([0.4147418970735669, 2.0718007608829447, -0.030877195325551533])


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def dipoles(electrodes):
    """Positions (m) and unit orientations of 11 task dipoles under their electrodes, 20 of the background, 2 eyes."""
    rng = np.random.default_rng(20250801)  # one head for every subject
    radial = unit(np.array([electrodes[site] for site in twin.TASK_SITES]) - CENTRE)
    task = unit(radial + 0.35 * rng.standard_normal(radial.shape))
    direction = unit(rng.standard_normal((twin.N_BACKGROUND, 3)))
    direction[:, 2] = np.abs(direction[:, 2])  # no cortex in the neck
    depth = rng.uniform(0.4, 0.8, (twin.N_BACKGROUND, 1))
    background = unit(rng.standard_normal((twin.N_BACKGROUND, 3)))
    eyes = ((-0.36, 0.76, -0.20), (0.36, 0.76, -0.20))
    places = np.vstack([0.72 * radial, depth * direction, eyes])
    return CENTRE + RADIUS * places, np.vstack([task, background, np.tile((0.0, 0.8, 0.6), (2, 1))])


def compute():
    """Potentials by MNE's sphere, shape (32, 33): average reference, each column of peak 1, six decimals."""
    montage = mne.channels.make_standard_montage("biosemi32")
    info = mne.create_info(list(DEAP_EEG), SFREQ, "eeg", verbose="error").set_montage(montage, verbose="error")
    position, orientation = dipoles({channel["ch_name"]: channel["loc"][:3] for channel in info["chs"]})
    # One dipole a time point, and unit-size moments: each column of the solution is one dipole.
    ones = np.ones(len(position))
    sources = mne.Dipole(np.arange(len(position)) / SFREQ, position, ones, orientation, ones)
    head = mne.make_sphere_model(tuple(CENTRE), RADIUS, verbose="error")
    head["mu"], head["lambda"] = ECCENTRICITIES, MAGNITUDES
    solution = mne.make_forward_dipole(sources, head, info, verbose="error")[0]["sol"]
    columns = solution["data"][[solution["row_names"].index(name) for name in DEAP_EEG]]
    columns = columns - columns.mean(axis=0)
    return np.round(columns / np.abs(columns).max(axis=0), 6)


def test_the_shipped_table_is_what_mne_computes():
    columns = compute()
    np.testing.assert_allclose(twin.leadfield(), columns - columns.mean(axis=0), rtol=0, atol=1.1e-6)


def surface_potential(order, radii, sigmas):
    """Of one order, for a source in the innermost shell, over that of a homogeneous sphere; every radius 1 outside.

    In shell i the potential is a_i r^n + b_i r^-(n+1), with b_0 = 1 for the source. Potential and current are
    continuous at each boundary, and no current leaves the last.
    """
    n, last = order, len(radii) - 1

    def terms(shell, r):
        """Coefficients of all unknowns, a_0, b_0, a_1, b_1, ..., in potential and current."""
        potential, current = np.zeros((2, 2 * len(radii)))
        potential[2 * shell : 2 * shell + 2] = r**n, r ** -(n + 1)
        current[2 * shell : 2 * shell + 2] = sigmas[shell] * n * r ** (n - 1), -sigmas[shell] * (n + 1) * r ** -(n + 2)
        return np.array([potential, current])

    source = np.eye(2 * len(radii))[1]
    borders = [terms(i, radii[i]) - terms(i + 1, radii[i]) for i in range(last)]
    rows = np.vstack([source, *borders, terms(last, radii[last])[1]])
    unknowns = np.linalg.solve(rows, np.eye(len(rows))[0])
    return terms(last, radii[last])[0] @ unknowns / ((2 * n + 1) / n)


def test_the_written_dipoles_stand_for_four_shells():
    radii, sigmas = (0.90, 0.92, 0.97, 1.0), (0.33, 1.0, 0.004, 0.33)  # brain, fluid, skull, skin; S/m
    assert surface_potential(3, radii, (0.33,) * 4) == pytest.approx(1)
    where, size = ECCENTRICITIES, sigmas[-1] * MAGNITUDES
    orders = np.arange(1, 21)
    dipoles = (size * where ** (orders[:, None] - 1)).sum(1)
    shells = np.array([surface_potential(order, radii, sigmas) for order in orders])
    assert dipoles[0] == pytest.approx(shells[0], rel=1e-12)  # the fit holds the lowest order exactly
    np.testing.assert_allclose(dipoles, shells, rtol=0, atol=0.003)


if __name__ == "__main__":
    names = [*twin.TASK_SITES, *(f"background{k}" for k in range(1, twin.N_BACKGROUND + 1)), "eye1", "eye2"]
    rows = [",".join([name, *(f"{x:.6f}" for x in row)]) for name, row in zip(DEAP_EEG, compute(), strict=True)]
    with open("cdgkd_utils/data/twin/leadfield.csv", "w", encoding="utf-8") as file:
        file.write("\n".join([",".join(["channel", *names]), *rows]) + "\n")
