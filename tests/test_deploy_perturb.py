"""What is done to pictures and EEG, against values worked out by hand or by loops."""

import numpy as np
import pytest

from cdgkd_utils.data.constants import CHANNELS, LEFT
from cdgkd_utils.deploy.change import SWEEPS, Change
from cdgkd_utils.deploy.perturb_eeg import BLINK, GROUPS, add_blinks, add_noise, blink_wave, drop_channels
from cdgkd_utils.deploy.perturb_video import GREY, blur, covered, drop_frames, occlude, shift_light


@pytest.fixture
def frames(rng):
    return rng.integers(0, 256, (2, 5, 20, 20, 3), dtype=np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def eeg(rng):
    return rng.normal(0, 10, (3, 28, 512)).astype(np.float32)


# ---- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "share", "rows", "columns"),
    [
        ("upper", 0.25, range(0, 5), range(20)),
        ("lower", 0.25, range(15, 20), range(20)),
        ("box", 0.2, range(3, 7), range(13, 17)),  # edge 4 around row 5, column 15
        ("none", 0.5, range(0), range(20)),
        ("upper", 0.0, range(0), range(20)),
    ],
)
def test_exactly_the_named_pixels_are_covered(frames, part, share, rows, columns):
    expected = frames.copy()
    for row in rows:
        for column in columns:
            expected[:, :, row, column] = GREY
    np.testing.assert_array_equal(occlude(frames, part, share, x=0.75, y=0.25), expected)


def test_a_box_over_the_edge_is_cut_off_and_the_whole_picture_can_be_covered(frames):
    assert covered("box", 0.4, 0.0, 1.0, 20) == (slice(16, 20), slice(0, 4))
    for part in ("upper", "lower", "box"):
        assert (occlude(frames, part, 1.0) == GREY).all()


def test_a_cover_means_the_same_at_every_size():
    for size in (20, 64, 128):
        rows, columns = covered("box", 0.5, 0.5, 0.5, size)
        assert (rows.stop - rows.start, columns.start) == (size // 2, size // 4)


def test_blur_of_a_single_bright_pixel_is_the_gaussian():
    picture = np.zeros((1, 41, 41, 3), np.uint8)
    picture[0, 20, 20] = 255
    got = blur(picture, 2 / 41)[0, :, :, 0]
    distance = np.arange(-6, 7)
    weight = np.exp(-0.5 * (distance / 2) ** 2)
    expected = np.zeros((41, 41))
    expected[14:27, 14:27] = 255 * np.outer(weight, weight) / weight.sum() ** 2
    np.testing.assert_allclose(got, expected, atol=1.0)


def test_blur_keeps_plain_pictures_and_does_not_mix_frames_or_colours(frames):
    plain = np.broadcast_to(np.array([10, 100, 200], np.uint8), (2, 5, 20, 20, 3))
    np.testing.assert_array_equal(blur(plain, 0.1), plain)
    np.testing.assert_array_equal(blur(frames, 0), frames)
    np.testing.assert_array_equal(blur(frames, 0.1)[1, 3, ..., 2], blur(frames[1:, 3:4], 0.1)[0, 0, ..., 2])


def test_light_is_arithmetic_on_grey_levels_with_clipping(frames):
    expected = np.clip(np.rint((frames.astype(float) - 127.5) * 0.5 + 127.5 - 40), 0, 255)
    np.testing.assert_array_equal(shift_light(frames, -40, 0.5), expected)
    np.testing.assert_array_equal(shift_light(frames), frames)
    assert shift_light(np.array([0, 255], np.uint8), contrast=0).tolist() == [128, 128]
    assert shift_light(np.array([0, 255], np.uint8), 255).tolist() == [255, 255]


def test_lost_frames_are_taken_from_those_that_are_there(rng):
    mask = rng.random((400, 5)) < 0.7
    before = mask.copy()
    for n in range(6):
        left = drop_frames(mask, n, np.random.default_rng(3))
        assert (left.sum(1) == np.maximum(mask.sum(1) - n, 0)).all() and (left <= mask).all()
    np.testing.assert_array_equal(mask, before)
    two, three = (drop_frames(mask, n, np.random.default_rng(3)) for n in (2, 3))
    assert (three <= two).all()  # more lost means the same ones and more
    each = drop_frames(np.ones((4000, 5), bool), 1, rng).mean(0)
    np.testing.assert_allclose(each, 0.8, atol=0.03)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: occlude(f, "left"), "part: expected one of none, upper, lower, box, got 'left'"),
        (lambda f: occlude(f, "box", 1.5), "share: expected a share between 0 and 1, got 1.5"),
        (lambda f: blur(f, -1), "sd: expected 0 to 0.5"),
        (lambda f: shift_light(f, 300), "brightness: expected -255 to 255"),
        (lambda f: shift_light(f, 0, -1), "contrast: expected a factor"),
        (lambda f: drop_frames(np.ones((1, 5), bool), 6, None), "n: expected 0 to 5 frames, got 6"),
        (lambda f: Change(loose="nose"), "loose: expected one of none, frontal"),
        (lambda f: Change(delay=5000), "delay: expected -2000 to 2000 ms"),
    ],
)
def test_wrong_numbers_are_named(frames, call, said):
    with pytest.raises(ValueError, match=said):
        call(frames)


# ---- EEG ---------------------------------------------------------------------------------------


def test_loose_channels_are_flat_and_the_others_untouched(eeg):
    out = drop_channels(eeg, GROUPS["left half"])
    assert not out[:, : len(LEFT)].any()
    np.testing.assert_array_equal(out[:, len(LEFT) :], eeg[:, len(LEFT) :])
    np.testing.assert_array_equal(drop_channels(eeg, ()), eeg)
    with pytest.raises(ValueError, match="names: unknown channel Cz"):
        drop_channels(eeg, ["Cz"])


def test_groups_name_channels_that_exist_and_are_symmetric():
    mirror = dict(zip(CHANNELS[:14], CHANNELS[14:], strict=True))
    mirror |= {right: left for left, right in mirror.items()}
    for name in ("frontal", "back"):
        assert {mirror[channel] for channel in GROUPS[name]} == set(GROUPS[name])
    assert all(BLINK[mirror[channel]] == height for channel, height in BLINK.items())


def test_a_blink_is_three_tenths_of_a_second_long_and_peaks_at_its_middle():
    wave = blink_wave(512, 2.0)
    assert wave[256] == 1.0
    np.testing.assert_allclose(wave[256 + 9], 0.5 * (1 + np.cos(2 * np.pi * 9 / 128 / 0.3)))
    inside = np.abs(np.arange(512) / 128 - 2.0) < 0.15
    assert (wave[inside] > 0).all() and not wave[~inside].any()


def test_blinks_are_filtered_scale_with_their_height_and_stay_at_the_front(eeg):
    added = add_blinks(np.zeros_like(eeg), 100, np.random.default_rng(1))
    double = add_blinks(np.zeros_like(eeg), 200, np.random.default_rng(1))
    np.testing.assert_allclose(double, 2 * added, atol=1e-4)
    np.testing.assert_allclose(add_blinks(eeg, 100, np.random.default_rng(1)) - eeg, added, atol=1e-4)
    front, behind = CHANNELS.index("Fp1"), CHANNELS.index("O1")
    np.testing.assert_allclose(added[:, CHANNELS.index("AF4")], 0.65 * added[:, front], atol=1e-4)
    assert not added[:, behind].any()
    peak = np.abs(added[:, front]).max(axis=1)
    assert (peak > 20).all() and (peak < 60).all()  # the filter takes most of a blink of 100 µV away
    spectrum = np.abs(np.fft.rfft(added[:, front])) ** 2
    frequency = np.fft.rfftfreq(512, 1 / 128)
    assert spectrum[:, frequency < 2].sum() < 0.02 * spectrum.sum()
    assert spectrum[:, frequency > 20].sum() < 0.02 * spectrum.sum()
    assert len({window.tobytes() for window in added}) == len(added)


def test_noise_has_the_named_power_in_every_channel(eeg):
    noise = add_noise(np.zeros((50, 28, 512), np.float32), 5, np.random.default_rng(2))
    np.testing.assert_allclose(noise.std(axis=(0, 2)), 5, rtol=0.03)
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(add_noise(eeg, 0, np.random.default_rng(2)), eeg)
    for wrong in (-1, 501, float("nan")):
        with pytest.raises(ValueError, match="microvolt: expected 0 to 500"):
            add_noise(eeg, wrong, np.random.default_rng(2))
        with pytest.raises(ValueError, match="microvolt"):
            add_blinks(eeg, wrong, np.random.default_rng(2))


# ---- both together -----------------------------------------------------------------------------


def test_no_change_changes_nothing(frames, eeg):
    nothing = Change()
    np.testing.assert_array_equal(nothing.pictures(frames), frames)
    np.testing.assert_array_equal(nothing.eeg(eeg, 0), eeg)
    mask = np.array([[True, False, True, True, True]])
    np.testing.assert_array_equal(nothing.mask(mask, 0), mask)
    assert not nothing.spoils_eeg and Change(noise=1).spoils_eeg and Change(loose="back").spoils_eeg


def test_changes_combine_and_the_cover_lies_in_front(frames):
    change = Change("lower", 50, brightness=-30, blur=5)
    expected = occlude(blur(shift_light(frames, -30), 0.05), "lower", 0.5)
    np.testing.assert_array_equal(change.pictures(frames), expected)
    assert (change.pictures(frames)[..., 10:, :, :] == GREY).all()


def test_a_change_draws_the_same_for_the_same_seed_only(eeg):
    change = Change(noise=5, blinks=100)
    np.testing.assert_array_equal(change.eeg(eeg, 1), change.eeg(eeg, 1))
    assert (change.eeg(eeg, 1) != change.eeg(eeg, 2)).any()
    mask = np.ones((1, 5), bool)
    assert len({Change(lost=2).mask(mask, seed).tobytes() for seed in range(20)}) > 3


def test_every_sweep_begins_with_nothing_and_spoils_what_it_says():
    for sweep in SWEEPS.values():
        strengths, changes = list(sweep.changes), list(sweep.changes.values())
        assert strengths[0] == 0 and strengths == sorted(strengths)
        assert [change.spoils_eeg for change in changes[1:]] == [sweep.modality == "eeg"] * (len(changes) - 1)
