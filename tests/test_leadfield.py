"""The head model and its cached copy."""

import numpy as np

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
