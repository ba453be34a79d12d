"""Visual features against values worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from cdgkd_utils.data.features import NOISE_FLOOR, hog768
from cdgkd_utils.data.video import box_reduce


def picture(grey):
    """A grey picture (64, 64) as a batch of one colour picture."""
    return np.repeat(np.asarray(grey, dtype=np.uint8)[None, :, :, None], 3, axis=3)


def cells(grey):
    return hog768(picture(grey)).reshape(8, 8, 12)


def half(low, high):
    grey = np.full((64, 64), low)
    grey[:, 32:] = high
    return grey


def softened(histogram):
    histogram = np.asarray(histogram, dtype=float)
    return histogram / np.sqrt((histogram**2).sum() + NOISE_FLOOR**2)


def test_vertical_edge_by_hand():
    # A step of 100 between columns 31 and 32: central differences are 50 in both columns, over 8 rows.
    found = cells(half(50, 150))
    expected = np.zeros((8, 8, 12))
    expected[:, 3, 0] = expected[:, 4, 0] = softened([400])[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_orientations_are_signed_and_turn_with_the_picture():
    right = half(50, 150)
    for degrees, grey in ((0, right), (180, right[:, ::-1]), (90, right.T), (270, right.T[::-1])):
        used = np.flatnonzero(cells(grey).sum(axis=(0, 1)) > 1e-6)
        assert used.tolist() == [degrees // 30]


def test_gradient_between_two_orientations_is_shared():
    # A plane rising by 2 right and 2 down points to 45 degrees: half way from 30 to 60.
    row = np.arange(64)
    inner = cells(row[:, None] + row)[1:-1, 1:-1]
    expected = np.zeros(12)
    expected[1] = expected[2] = 64 * np.sqrt(2) / 2
    np.testing.assert_allclose(inner, np.broadcast_to(softened(expected), inner.shape), atol=1e-5)


def test_brightness_offset_changes_nothing_and_contrast_only_the_softening():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 100, (64, 64))
    np.testing.assert_allclose(cells(grey + 100), cells(grey), atol=1e-5)
    np.testing.assert_allclose(cells(2 * grey), cells(grey), atol=0.02)


def test_moving_by_one_cell_moves_the_cells():
    rng = np.random.default_rng(1)
    grey = np.zeros((64, 64), dtype=int)
    grey[20:36, 12:30] = rng.integers(0, 255, (16, 18))
    moved = np.roll(grey, (8, 16), axis=(0, 1))
    np.testing.assert_array_equal(cells(moved), np.roll(cells(grey), (1, 2), axis=(0, 1)))


def test_flat_picture_gives_zeros_and_cells_stay_below_one():
    assert not hog768(picture(np.full((64, 64), 77))).any()
    noise = hog768(np.random.default_rng(2).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8))
    assert noise.shape == (3, 768) and noise.dtype == np.float32
    assert np.linalg.norm(noise.reshape(3, 64, 12), axis=2).max() < 1


def test_box_reduce_averages_areas():
    frames = np.random.default_rng(4).integers(0, 256, (2, 128, 128, 3)).astype(np.uint8)
    mean = frames.reshape(2, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(box_reduce(frames) - mean).max() <= 0.5
    odd = frames[:, :96, :96]
    exact = np.asarray(Image.fromarray(odd[0]).resize((64, 64), Image.Resampling.BOX))
    np.testing.assert_array_equal(box_reduce(odd)[0], exact)
    np.testing.assert_array_equal(box_reduce(frames, 128), frames)


@pytest.mark.parametrize(
    "frames",
    [np.zeros(shape, kind) for shape, kind in (((1, 64, 48, 3), np.uint8), ((1, 64, 64, 3), float))],
)
def test_wrong_pictures_are_named(frames):
    with pytest.raises(ValueError, match=r"frames: expected uint8"):
        hog768(frames)
