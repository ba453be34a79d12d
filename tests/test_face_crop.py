"""Face boxes that are made up, so that every cut can be worked out."""

import numpy as np
import pytest

from cdgkd_utils.data.extractors.face_crop import central_boxes, crop_faces, cut_boxes, track_face
from cdgkd_utils.data.extractors.hog768 import box_reduce

HEIGHT, WIDTH = 144, 180
NOTHING = np.zeros((0, 4))


def box(x, y, edge, height=None):
    """One face with the given centre."""
    half_width, half_height = edge / 2, (height or edge) / 2
    return np.array([[x - half_width, y - half_height, x + half_width, y + half_height]])


def placed_frames(n):
    """Pictures in which every pixel says where it is: red = column, green = row, blue = frame."""
    frames = np.empty((n, HEIGHT, WIDTH, 3), np.uint8)
    frames[..., 0] = np.arange(WIDTH)
    frames[..., 1] = np.arange(HEIGHT)[:, None]
    frames[..., 2] = np.arange(n)[:, None, None]
    return frames


@pytest.mark.parametrize(("height", "width"), [(144, 180), (180, 144), (128, 128), (97, 160)])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_without_a_detector_it_is_the_central_square(height, width, size):
    frames = np.random.default_rng(0).integers(0, 256, (3, height, width, 3)).astype(np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    faces, mask = crop_faces(frames, size)
    np.testing.assert_array_equal(faces, box_reduce(frames[:, top : top + side, left : left + side], size))
    assert mask.all() and mask.shape == (3,)


def test_cut_by_hand():
    frames = placed_frames(2)
    faces, mask = crop_faces(frames, 40, [box(90, 60, 20)] * 2, pad=0.5)
    np.testing.assert_array_equal(faces, frames[:, 40:80, 70:110])
    assert mask.all()
    wide, _ = crop_faces(frames, 40, [box(90, 60, 40, height=10)] * 2, pad=0)
    np.testing.assert_array_equal(wide, faces)  # the larger edge counts, the centre stays


def test_beyond_the_picture_its_edge_is_repeated():
    cut = cut_boxes(placed_frames(1), [[-10, -5, 10, 15]], 20)[0]
    assert cut[0, :, 0].tolist() == [0] * 10 + list(range(10))
    assert cut[:, 0, 1].tolist() == [0] * 5 + list(range(15))
    far, _ = track_face([box(-500, 9000, 30)], HEIGHT, WIDTH)
    np.testing.assert_array_equal((far[0, :2] + far[0, 2:]) / 2, (0, HEIGHT))


def test_gap_is_bridged_in_place_and_masked_where_it_is_long():
    # Found in frames 2 and 10 only: 0, 1, 3, 4, 8, 9, 11, 12 are at most two frames away, 5..7 and 13 are not.
    candidates = [NOTHING] * 14
    candidates[2], candidates[10] = box(40, 50, 20), box(56, 50, 28)
    frames = placed_frames(14)
    faces, mask = crop_faces(frames, 24, candidates, pad=0, smooth=0)
    assert np.flatnonzero(~mask).tolist() == [5, 6, 7, 13]
    assert faces[:, 0, 0, 2].tolist() == list(range(14))  # no frame is lost or moved
    boxes, _ = track_face(candidates, HEIGHT, WIDTH, smooth=0)
    np.testing.assert_allclose(boxes[6], [48 - 12, 50 - 12, 48 + 12, 50 + 12])  # half way in place and edge
    np.testing.assert_array_equal(boxes[0], boxes[2])
    np.testing.assert_array_equal(boxes[13], boxes[10])
    np.testing.assert_array_equal(faces[6], frames[6, 38:62, 36:60])


def test_smoothing_keeps_steady_motion_and_calms_jitter():
    numbers = np.arange(40)
    steady = [box(20 + 3 * number, 70, 30) for number in numbers]
    boxes, _ = track_face(steady, HEIGHT, WIDTH)
    np.testing.assert_allclose(boxes[5:-5], np.concatenate(steady)[5:-5], atol=1e-9)
    jitter = np.random.default_rng(0).normal(0, 2, 400)
    rough = [box(90 + shift, 70, 30) for shift in jitter]
    calm, raw = (track_face(rough, HEIGHT, WIDTH, smooth=smooth)[0][:, 0] for smooth in (1.0, 0))
    # White noise through a Gaussian of sd 1 frame: variance 1 / (2 sqrt(pi)).
    assert calm.std() / raw.std() == pytest.approx((2 * np.sqrt(np.pi)) ** -0.5, rel=0.2)
    np.testing.assert_allclose(raw, np.concatenate(rough)[:, 0])


def test_another_face_is_not_taken_for_a_short_gap():
    mine, other = box(60, 70, 40), box(140, 70, 30)
    both = np.concatenate([other, mine])
    candidates = [both, both, other, other, both]
    boxes, mask = track_face(candidates, HEIGHT, WIDTH, smooth=0)
    np.testing.assert_array_equal(boxes, np.repeat(mine, 5, axis=0))
    assert mask.all()
    # The first face is gone for good: after two frames without it the other one is followed.
    candidates = [both, both, *[other] * 5]
    boxes, _ = track_face(candidates, HEIGHT, WIDTH, smooth=0)
    np.testing.assert_array_equal(boxes[4:], np.repeat(other, 3, axis=0))
    np.testing.assert_array_equal(boxes[:2], np.repeat(mine, 2, axis=0))


def test_false_box_of_another_size_or_place_is_refused():
    mine = box(60, 70, 40)
    for wrong in (box(60, 70, 12), box(60, 110, 40)):
        boxes, _ = track_face([mine, wrong, mine], HEIGHT, WIDTH, smooth=0)
        np.testing.assert_array_equal(boxes, np.repeat(mine, 3, axis=0))


def test_backwards_in_time_is_the_same_backwards():
    rng = np.random.default_rng(1)
    candidates = [NOTHING] * 30
    for number in np.flatnonzero(rng.random(30) < 0.7):
        candidates[number] = np.concatenate([box(60 + rng.normal(), 70, 40 + rng.normal()), box(140, 70, 20)])
    boxes, mask = track_face(candidates, HEIGHT, WIDTH)
    backwards, mask_backwards = track_face(candidates[::-1], HEIGHT, WIDTH)
    np.testing.assert_allclose(backwards[::-1], boxes)
    np.testing.assert_array_equal(mask_backwards[::-1], mask)


def test_no_face_in_the_whole_clip():
    frames = placed_frames(3)
    faces, mask = crop_faces(frames, 64, [NOTHING] * 3)
    np.testing.assert_array_equal(faces, crop_faces(frames, 64)[0])
    assert not mask.any()
    boxes, _ = track_face([NOTHING], HEIGHT, WIDTH)
    np.testing.assert_array_equal(boxes, central_boxes(1, HEIGHT, WIDTH))
    assert crop_faces(frames[:0], 64, [])[0].shape == (0, 64, 64, 3)


@pytest.mark.parametrize(
    "wrong", [[[1, 2, 3]], [[9, 9, 9, 20]], [[9, 9, 3, 20]], [[0, 0, np.nan, 5]], [1, 2, 3, 4]], ids=str
)
def test_wrong_boxes_are_named(wrong):
    with pytest.raises(ValueError, match=r"candidates\[1\]: expected boxes"):
        track_face([NOTHING, np.array(wrong)], HEIGHT, WIDTH)


def test_boxes_for_another_clip_are_refused():
    with pytest.raises(ValueError, match="each of 3 frames, got 2"):
        crop_faces(placed_frames(3), 64, [NOTHING] * 2)
