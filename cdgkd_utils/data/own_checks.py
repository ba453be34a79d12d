"""The checks behind :mod:`.own`: each wrong input has one error that names it."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, RATINGS, TARGETS, WINDOW_SECONDS
from .features import PICTURE, hog768
from .signals import UnusableSignal, refuse_flat
from .types import DataError
from .video import box_reduce

LOWEST_SFREQ = 100.0  # Hz; below it the 30-45 Hz band is cut into
VOLT_LIKE, OFFSET_LIKE = 0.01, 1000.0  # µV; band-passed EEG lies between 1 and 100


def column(values: Sequence, name: str, n_rows: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n_rows,):
        raise DataError(f"{name}: expected one value per row of eeg, shape ({n_rows},), got {values.shape}")
    if not name.startswith("ratings") and pd.isna(values).any():
        raise DataError(f"{name}: row {int(np.flatnonzero(pd.isna(values))[0])} has none")
    return values


def numbered(values: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Whole numbers as they are; names numbered from 1 in sorted order, and the names."""
    if values.dtype.kind in "iuf" and (values >= 0).all() and (values == np.floor(values)).all():
        return values.astype(int), []
    if values.dtype.kind in "OUST" and all(isinstance(value, str) for value in values.tolist()):
        names, codes = np.unique(same_names(values.astype(str), name), return_inverse=True)
        return codes + 1, names.tolist()
    raise DataError(f"{name}: expected whole numbers from 0, or names, got {values.dtype} such as {values[0]!r}")


def same_names(values: np.ndarray, what: str) -> np.ndarray:
    """Each name as it is written first, whatever its case, blanks and form of accents."""
    first: dict[str, str] = {}
    others = []
    for value in dict.fromkeys(values.tolist()):
        plain = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
        if not plain:
            raise DataError(f"{what}: expected a name in each row, got {value!r}")
        if value.strip() != first.setdefault(plain, value.strip()) or value != value.strip():
            others.append(f"{value!r} as {first[plain]!r}")
    if others:
        warnings.warn(f"{what}: taken {', '.join(others)}; names differ in more than case and blanks", stacklevel=4)
    return np.array([first[" ".join(unicodedata.normalize("NFKC", value).casefold().split())] for value in values])


def window_places(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iuf" or (values < 0).any() or (values != np.floor(values)).any():
        raise DataError(f"window: expected whole numbers from 0, got {values.dtype} such as {values[0]!r}")
    return values.astype(int)


def channel_picks(channels: Sequence[str], n_chans: int) -> list[int]:
    if isinstance(channels, str) or len(channels) != n_chans:
        raise DataError(f"channels: expected one name per channel of eeg, {n_chans}, got {len(channels)}")
    places: dict[str, int] = {}
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
    if not np.isfinite(sfreq) or sfreq < LOWEST_SFREQ:
        raise DataError(f"sfreq: {sfreq} Hz is too low for the 4-45 Hz band; expected {LOWEST_SFREQ:g} Hz or more")
    n_windows = int((n_times + 0.5) / sfreq // WINDOW_SECONDS)
    if n_windows < 1:
        raise DataError(f"eeg: {n_times} samples are {n_times / sfreq:.2f} s, expected {WINDOW_SECONDS:g} s or more")
    return n_windows


def bad_rows(eeg: np.ndarray, sfreq: float, table: pd.DataFrame, given: Sequence[str]) -> dict[int, str]:
    """The first fault of each row whose signal or rating cannot be used."""
    bad: dict[int, str] = {}
    for row, signal in enumerate(eeg):
        who = f"subject {table['subject'].iloc[row]}, trial {table['trial'].iloc[row]}"
        finite = np.isfinite(signal).all(axis=1)
        wrong = [rating for rating in given if not 1 <= table[rating].iloc[row] <= 9]
        try:
            if not finite.all():
                bad[row] = f"eeg: NaN or infinite values in channel {CHANNELS[int(np.argmin(finite))]} of {who}"
            elif wrong:
                value = table[wrong[0]].iloc[row]
                bad[row] = (
                    f"ratings: {wrong[0]} of {who} is {value:g}, expected 1..9; map a scale a..b by "
                    "1 + 8 (rating - a) / (b - a)"
                )
            else:
                refuse_flat(signal, CHANNELS, sfreq, f"eeg: {who}")
        except UnusableSignal as fault:
            bad[row] = str(fault)
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


def check_scales(eeg: np.ndarray, table: pd.DataFrame) -> None:
    """Band-passed EEG in µV has a plausible size, and ratings have two sides."""
    size = float(np.median(np.abs(eeg)))
    if size < VOLT_LIKE:
        raise DataError(f"eeg: the median magnitude is {size:.2g}, expected µV; for V multiply by 1e6")
    if size > OFFSET_LIKE:
        raise DataError(f"eeg: the median magnitude is {size:.2g} µV; filter to 4-45 Hz first, and check the unit")
    for target in TARGETS:
        high = table[target] > 5
        if high.all() or not high.any():
            warnings.warn(
                f"ratings: {target} lies in {table[target].min():g}..{table[target].max():g}, so every label is "
                f"{'high' if high.all() else 'low'} (high: above 5 on 1..9); map a scale a..b by 1 + 8 (rating - a) / "
                "(b - a), for 1..5 by 2 rating - 1",
                stacklevel=3,
            )


def features_and_mask(
    video: np.ndarray, frame_mask: np.ndarray | None, n_rows: int, n_windows: int, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 5, 768) and their mask (n, 5) of the windows of the kept rows."""
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
            mask[place] &= ~np.isnan(video[row]).all(axis=1)
            if not np.isfinite(found := video[row][mask[place]]).all():
                raise DataError(f"video: row {row} has NaN or infinite features; NaN throughout marks a missing frame")
            out[place, mask[place]] = found
        elif mask[place].any():
            height, width = video.shape[2:4]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = np.ascontiguousarray(video[row][mask[place], top : top + side, left : left + side])
            out[place, mask[place]] = hog768(box_reduce(square, PICTURE))
    return out.reshape(-1, N_FRAMES, N_VIDEO_FEATURES), mask.reshape(-1, N_FRAMES)
