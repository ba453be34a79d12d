"""The head model and its cached copy."""

import mne
import numpy as np
import pytest

from cdgkd_utils.data.constants import DEAP_EEG
from cdgkd_utils.data.twin import leadfield as head


def test_leadfield_is_referenced_peaks_under_its_electrode_and_is_cached(tmp_path):
    columns = head.leadfield(tmp_path)
    assert columns.shape == (32, 33)
    assert np.abs(columns.sum(axis=0)).max() < 1e-9
    np.testing.assert_allclose(np.abs(columns).max(axis=0), 1, atol=1e-5)
    peaks = [DEAP_EEG[k] for k in np.abs(columns[:, head.TASK]).argmax(axis=0)]
    assert sum(a == b for a, b in zip(peaks, head.TASK_SITES, strict=True)) >= 9
    assert {DEAP_EEG[k] for k in columns[:, head.EYES].argmax(axis=0)} == {"Fp1", "Fp2"}

    (cached,) = tmp_path.glob("leadfield-*.npy")
    cached.write_bytes(cached.read_bytes()[:1000])  # a torn file is noticed and made again
    np.testing.assert_array_equal(head.leadfield(tmp_path), columns)
    np.save(cached, np.zeros((28, 33)))  # so is a foreign one
    np.testing.assert_array_equal(head.leadfield(tmp_path), columns)
    assert [path.name for path in tmp_path.iterdir()] == [cached.name]
    np.testing.assert_array_equal(np.load(cached), columns)


@pytest.mark.parametrize("off", [0.0, 1e-4, 0.2])
def test_the_columns_do_not_hang_on_where_mnes_fit_ends(monkeypatch, off):
    """It ends elsewhere on another processor, and with it the twin's EEG."""
    columns, fitted = head._compute(), mne.make_sphere_model

    def elsewhere(*args, **options):
        model = fitted(*args, **options)
        model["mu"], model["lambda"] = model["mu"] * (1 - off), model["lambda"] * (1 + off)
        return model

    monkeypatch.setattr(mne, "make_sphere_model", elsewhere)
    np.testing.assert_array_equal(head._compute(), columns)


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
    where, size = np.array(head._GEOMETRY["eccentricities"]), sigmas[-1] * np.array(head._GEOMETRY["magnitudes"])
    orders = np.arange(1, 21)
    dipoles = (size * where ** (orders[:, None] - 1)).sum(1)
    shells = np.array([surface_potential(order, radii, sigmas) for order in orders])
    assert dipoles[0] == pytest.approx(shells[0], rel=1e-12)  # the fit holds the lowest order exactly
    np.testing.assert_allclose(dipoles, shells, rtol=0, atol=0.003)
