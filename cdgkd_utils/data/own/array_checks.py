"""The checks behind :mod:`.arrays`: each wrong input has one error that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from ..constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, RATINGS, SFREQ, TARGETS, WINDOW_SECONDS
from ..extractors.hog768 import PICTURE, box_reduce, hog768
from ..types import DataError, Windows

LOWEST_SFREQ = 100.0  # Hz; below it the 30-45 Hz band is cut into
VOLT_LIKE, OFFSET_LIKE = 0.01, 1000.0  # µV; band-passed EEG lies between 1 and 100


def column(values: Sequence, name: str, n_rows: int) -> np.ndarray:
    """One value per row, none missing."""
    values = np.asarray(values)
    if values.shape != (n_rows,):
        raise DataError(f"{name}: expected one value per row of eeg, shape ({n_rows},), got {values.shape}")
    if pd.isna(values).any():
        raise DataError(f"{name}: row {int(np.flatnonzero(pd.isna(values))[0])} has none")
    return values


def numbered(values: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Whole numbers as they are; names numbered from 1 in sorted order, and the names."""
    if values.dtype.kind in "iu" and (values >= 0).all():
        return values.astype(int), []
    if values.dtype.kind == "f" and (values == np.floor(values)).all() and (values >= 0).all():
        return values.astype(int), []
    if values.dtype.kind in "OUST" and all(isinstance(value, str) for value in values.tolist()):
        names, codes = np.unique(values.astype(str), return_inverse=True)
        return codes + 1, names.tolist()
    raise DataError(f"{name}: expected whole numbers from 0, or names, got {values.dtype} such as {values[0]!r}")


def window_numbers(values: np.ndarray) -> np.ndarray:
    """Places of rows in their trial."""
    if values.dtype.kind not in "iuf" or (values < 0).any() or (values != np.floor(values)).any():
        raise DataError(f"window: expected whole numbers from 0, got {values.dtype} such as {values[0]!r}")
    return values.astype(int)


def channel_picks(channels: Sequence[str], n_chans: int) -> list[int]:
    """Places of the 28 channels, by name."""
    places: dict[str, int] = {}
    if isinstance(channels, str) or len(channels) != n_chans:
        raise DataError(f"channels: expected one name per channel of eeg, {n_chans}, got {len(channels)}")
    for place, channel in enumerate(channels):
        key = str(channel).strip().lower()
        if key in places:
            raise DataError(f"channels: {str(channel).strip()!r} is named twice, at {places[key]} and {place}")
        places[key] = place
    if missing := [channel for channel in CHANNELS if channel.lower() not in places]:
        raise DataError(
            f"channels: {', '.join(missing)} missing; expected the 28 of constants.CHANNELS by name. Name them in the "
            "10-10 system (T3 is T7, T5 is P7), or interpolate them first, for instance with MNE"
        )
    return [places[channel.lower()] for channel in CHANNELS]


def windows_per_row(n_times: int, sfreq: float) -> int:
    """Whole windows of 4 s in a row."""
    if not np.isfinite(sfreq) or sfreq < LOWEST_SFREQ:
        raise DataError(f"sfreq: {sfreq} Hz is too low for the 4-45 Hz band; expected {LOWEST_SFREQ:g} Hz or more")
    n_windows = int((n_times + 0.5) / sfreq // WINDOW_SECONDS)
    if n_windows < 1:
        raise DataError(
            f"eeg: {n_times} samples are {n_times / sfreq:.2f} s at sfreq={sfreq:g} Hz, expected 4 s or more in each "
            "row; is sfreq right, is time the last axis?"
        )
    return n_windows


def rating_table(ratings: Mapping[str, Sequence[float]], n_rows: int) -> np.ndarray:
    """Columns in the order of ``RATINGS``; those not asked are NaN."""
    if missing := [name for name in TARGETS if name not in ratings]:
        raise DataError(f"ratings: {', '.join(missing)} missing; expected valence and arousal")
    table = np.full((n_rows, len(RATINGS)), np.nan)
    for place, name in enumerate(RATINGS):
        if name in ratings:
            try:
                values = np.asarray(ratings[name], dtype=float)
            except (TypeError, ValueError) as error:
                raise DataError(f"ratings: {name} holds something that is no number ({error})") from error
            if values.shape != (n_rows,):
                raise DataError(f"ratings: {name} has shape {values.shape}, expected one per row of eeg, ({n_rows},)")
            table[:, place] = values
    return table


def bad_rows(eeg: np.ndarray, table: pd.DataFrame, given: Sequence[str], n_windows: int) -> dict[int, str]:
    """The first fault of each row whose signal or rating cannot be used, or that repeats another row's signal."""
    bad: dict[int, str] = {}
    seen: dict[bytes, int] = {}
    for row, signal in enumerate(eeg):
        who = f"subject {table['subject'].iloc[row]}, trial {table['trial'].iloc[row]}"
        finite = np.isfinite(signal).all(axis=1)
        # A channel may come loose for a while: look at each window by itself.
        flat = np.any([np.ptp(piece, axis=1) == 0 for piece in np.array_split(signal, n_windows, axis=1)], axis=0)
        twin = seen.setdefault(hashlib.blake2b(signal.tobytes(), digest_size=16).digest(), row)
        if not finite.all():
            bad[row] = f"eeg: NaN or infinite values in channel {CHANNELS[int(np.argmin(finite))]} of {who}"
        elif flat.any():
            bad[row] = f"eeg: channel {CHANNELS[int(np.argmax(flat))]} of {who} is flat"
        elif twin != row:
            bad[row] = f"eeg: {who} holds the same signal as row {twin}"
        else:
            for name in given:
                value = table[name].iloc[row]
                if not 1 <= value <= 9:
                    bad[row] = (
                        f"ratings: {name} of {who} is {value:g}, expected 1..9; map a scale a..b by "
                        "1 + 8 (rating - a) / (b - a)"
                    )
                    break
    return bad


def check_trials(table: pd.DataFrame, n_windows: int) -> None:
    """No window twice, one rating and one stimulus per trial."""
    for name in ("stimulus", *RATINGS):
        varied = table.groupby(["subject", "trial"])[name].nunique() > 1
        if varied.any():
            subject, trial = varied.index[varied.to_numpy()][0]
            kind = "stimulus" if name == "stimulus" else f"ratings: {name}"
            raise DataError(f"{kind} differs between rows of subject {subject}, trial {trial}; expected one per trial")
    ordered = table.sort_values(["subject", "trial", "window"])
    gap = ordered.groupby(["subject", "trial"])["window"].diff()
    if (gap < n_windows).any():
        row = ordered.loc[gap.index[gap < n_windows][0]]
        raise DataError(
            f"window: {row['window']} of subject {row['subject']}, trial {row['trial']} is there twice "
            f"(rows hold {n_windows} of 4 s); number the rows of a trial apart, or trials"
        )


def check_scale(eeg: np.ndarray) -> None:
    """Band-passed EEG in µV has a plausible size."""
    size = float(np.median(np.abs(eeg)))
    if size < VOLT_LIKE:
        raise DataError(f"eeg: the median magnitude is {size:.2g}, expected µV; for V multiply by 1e6")
    if size > OFFSET_LIKE:
        raise DataError(f"eeg: the median magnitude is {size:.2g} µV; filter to 4-45 Hz first, and check the unit")


def at_128_hz(eeg: np.ndarray, sfreq: float) -> np.ndarray:
    """Resampled along the last axis; the lines through the ends of each row keep its edges quiet."""
    ratio = Fraction(SFREQ / sfreq).limit_denominator(4096)
    return eeg if ratio == 1 else resample_poly(eeg, ratio.numerator, ratio.denominator, axis=-1, padtype="line")


def features_and_mask(
    video: np.ndarray, frame_mask: np.ndarray | None, n_rows: int, n_windows: int, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 5, 768) and their mask (n, 5) of the windows of the kept rows."""
    video = np.asarray(video)
    n_frames = n_windows * N_FRAMES
    features = video.ndim == 3 and video.shape[2] == N_VIDEO_FEATURES and video.dtype.kind == "f"
    pictures = video.ndim == 5 and video.shape[4] == 3 and video.dtype == np.uint8
    if not (features or pictures) or video.shape[:2] != (n_rows, n_frames):
        raise DataError(
            f"video: got {video.dtype} {video.shape}, expected features ({n_rows}, {n_frames}, {N_VIDEO_FEATURES}) or "
            f"pictures ({n_rows}, {n_frames}, height, width, 3) uint8: five frames for each 4 s of eeg"
        )
    mask = np.ones((n_rows, n_frames), bool) if frame_mask is None else np.asarray(frame_mask)
    if mask.shape != (n_rows, n_frames) or mask.dtype != bool:
        raise DataError(f"frame_mask: expected bool ({n_rows}, {n_frames}), got {mask.dtype} {mask.shape}")
    mask, out = mask[kept], np.zeros((len(kept), n_frames, N_VIDEO_FEATURES), np.float32)
    for place, row in enumerate(kept):
        if features:
            finite = np.isfinite(video[row])
            mask[place] &= ~np.isnan(video[row]).all(axis=1)
            if not finite[mask[place]].all():
                frame = int(np.flatnonzero(mask[place] & ~finite.all(axis=1))[0])
                raise DataError(
                    f"video: frame {frame} of row {row} has NaN or infinite features; NaN throughout if missing"
                )
            out[place, mask[place]] = video[row][mask[place]]
        elif mask[place].any():
            height, width = video.shape[2:4]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = np.ascontiguousarray(video[row][mask[place], top : top + side, left : left + side])
            out[place, mask[place]] = hog768(box_reduce(square, PICTURE))
    return out.reshape(-1, N_FRAMES, N_VIDEO_FEATURES), mask.reshape(-1, N_FRAMES)


def fingerprint(windows: Windows) -> str:
    """Content hash of arrays that no file stands for: BLAKE2b, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (windows.eeg, windows.video, windows.frame_mask):
        digest.update(np.ascontiguousarray(array).data)
    digest.update(windows.index.to_csv(index=False).encode())
    return digest.hexdigest()
