"""Your own recordings as windows: from arrays in memory, or from MNE's epochs.

>>> import numpy as np
>>> from cdgkd_utils import CHANNELS, from_arrays
>>> rng = np.random.default_rng(0)
>>> eeg = rng.normal(0, 10, (12, 28, 2000))  # 12 trials of 8 s at 250 Hz, µV, filtered to 4-45 Hz
>>> faces = rng.integers(0, 256, (12, 10, 96, 128, 3), dtype=np.uint8)  # five pictures per 4 s
>>> ratings = {"valence": rng.uniform(1, 9, 12), "arousal": rng.uniform(1, 9, 12)}
>>> subject, trial = np.repeat(["ada", "bo", "cy"], 4), np.tile([1, 2, 3, 4], 3)
>>> windows = from_arrays(eeg, faces, subject, trial, ratings, sfreq=250, channels=CHANNELS)
>>> windows.eeg.shape, windows.video.shape, windows.labels("valence").shape
((24, 28, 512), (24, 5, 768), (24,))
"""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, RATINGS, SFREQ, TARGETS, WINDOW_SAMPLES, WINDOW_SECONDS
from .features import PICTURE, hog768
from .signals import UnusableSignal, refuse_flat
from .types import DataError, Windows
from .video import box_reduce, centre_square

if TYPE_CHECKING:
    import mne

LOWEST_SFREQ = 100.0  # Hz; below it the 30-45 Hz band is cut into
VOLT_LIKE, OFFSET_LIKE = 0.01, 1000.0  # µV; band-passed EEG lies between 1 and 100
_MAP = "map a scale a..b by 1 + 8 (rating - a) / (b - a), for 1..5 by 2 rating - 1"


def from_arrays(
    eeg: np.ndarray,
    video: np.ndarray,
    subject: Sequence,
    trial: Sequence,
    ratings: Mapping[str, Sequence[float]],
    *,
    sfreq: float,
    channels: Sequence[str],
    stimulus: Sequence[str] | None = None,
    frame_mask: np.ndarray | None = None,
    name: str = "own data",
    exclude_bad: bool = False,
) -> Windows:
    """Windows from arrays, checked; they can be trained, tabled and exported like any data set.

    A row is a trial, or a piece of one, of 4 s or more; it is cut into windows of 4 s and the rest is dropped. Rows of
    a trial follow each other.

    Parameters
    ----------
    eeg : ndarray, shape (n_rows, n_chans, n_times)
        In µV, filtered to 4-45 Hz and re-referenced; resampled to 128 Hz here if needed.
    video : ndarray
        Five frames for each 4 s, at 0.4, 1.2, 2.0, 2.8, 3.6 s: features (n_rows, 5 k, 768), a frame of NaN being a
        missing one; or pictures (n_rows, 5 k, height, width, 3) uint8 with the face in the middle (HOG is taken).
    subject, trial : sequence, shape (n_rows,)
        Numbers or names. Names that differ only in case or blanks are one (a warning says so); they are numbered in
        sorted order and kept in ``meta``.
    ratings : mapping of str to sequence, shape (n_rows,)
        ``valence`` and ``arousal``, 1..9, one value per trial; ``dominance`` and ``liking`` if there are.
    sfreq : float
        Of `eeg`, in Hz.
    channels : sequence of str
        Names along axis 1; the 28 of ``constants.CHANNELS`` are picked by name, in any order and case.
    stimulus : sequence of str, optional
        What was shown; without it there is no stimulus-wise protocol.
    frame_mask : ndarray, shape (n_rows, 5 k), bool, optional
        False where a frame is missing.
    name : str
        What the numbers may be called.
    exclude_bad : bool
        Leave out rows with NaN, a flat channel (rule of the readers) or an impossible rating, and name them in
        ``meta["excluded"]``, instead of refusing all.

    Returns
    -------
    Windows
        Sorted by subject, trial and window; ``meta["key"]`` is a hash of the content. A DataError names the argument,
        the row and what was expected; a warning says that every rating of a target is on one side of 5.
    """
    eeg = np.asarray(eeg)
    if eeg.ndim != 3 or not len(eeg) or eeg.dtype.kind not in "fiu":
        raise DataError(f"eeg: expected numbers of shape (n_rows, n_chans, n_times), got {eeg.dtype} {eeg.shape}")
    n, picks = len(eeg), _picks(channels, eeg.shape[1])
    if not sfreq >= LOWEST_SFREQ:
        raise DataError(f"sfreq: {sfreq} Hz is too low for the 4-45 Hz band; expected {LOWEST_SFREQ:g} Hz or more")
    n_windows = int((eeg.shape[2] + 0.5) / sfreq // WINDOW_SECONDS)
    if n_windows < 1:
        raise DataError(f"eeg: {eeg.shape[2]} samples are {eeg.shape[2] / sfreq:.2f} s, expected 4 s or more")
    (subject, subject_names), (trial, trial_names) = (
        _numbered(_column(values, what, n), what) for values, what in ((subject, "subject"), (trial, "trial"))
    )
    table = pd.DataFrame({"subject": subject, "trial": trial})
    trials = table.groupby(["subject", "trial"], sort=False)
    # No order is known but that of the rows.
    first = trials.cumcount() == 0
    table["presentation"] = first.groupby(table["subject"]).cumsum().groupby([subject, trial]).transform("first")
    table["stimulus"] = "unknown" if stimulus is None else _same_names(_column(stimulus, "stimulus", n), "stimulus")
    table["window"] = trials.cumcount() * n_windows
    for rating in RATINGS:
        if rating in TARGETS and rating not in ratings:
            raise DataError(f"ratings: {rating} missing, found {', '.join(ratings) or 'none'}")
        values = _column(ratings[rating], f"ratings: {rating}", n) if rating in ratings else np.full(n, np.nan)
        table[rating] = pd.to_numeric(pd.Series(values), errors="coerce")
    varied = table.groupby(["subject", "trial"])[["stimulus", *RATINGS]].nunique() > 1
    if varied.to_numpy().any():
        place, column = np.argwhere(varied.to_numpy())[0]
        who, which = varied.index[place]
        raise DataError(f"{varied.columns[column]} differs between rows of subject {who}, trial {which}; expected one")

    eeg = np.take(eeg, picks, axis=1).astype(np.float32)
    bad = _bad_rows(eeg, sfreq, table, [rating for rating in RATINGS if rating in ratings])
    kept = np.setdiff1d(np.arange(n), list(bad))
    if bad and not (exclude_bad and len(kept)):
        row, reason = next(iter(bad.items()))
        more = f", and {len(bad) - 1} more rows" if len(bad) > 1 else ""
        raise DataError(f"{reason} (row {row}{more}); repair it, or leave such rows out with exclude_bad=True")
    excluded = [(int(table["subject"][row]), int(table["trial"][row]), reason) for row, reason in bad.items()]
    table, eeg = table.iloc[kept].reset_index(drop=True), eeg[kept]
    _check_scales(eeg, table)
    features, mask = _features(np.asarray(video), frame_mask, n, n_windows, kept)
    ratio = Fraction(SFREQ / sfreq).limit_denominator(4096)
    if ratio != 1:  # the lines through the ends of each row keep its edges quiet
        eeg = resample_poly(eeg, ratio.numerator, ratio.denominator, axis=-1, padtype="line").astype(np.float32)
    eeg = eeg[:, :, : n_windows * WINDOW_SAMPLES].reshape(len(kept), len(CHANNELS), n_windows, WINDOW_SAMPLES)

    index = table.iloc[np.repeat(np.arange(len(kept)), n_windows)].reset_index(drop=True)
    index["window"] += np.tile(np.arange(n_windows), len(kept))
    order = index.sort_values(["subject", "trial", "window"], kind="stable").index.to_numpy()
    visible = mask.any(axis=1)[order]  # as for files: a window of which no frame can be seen is left out
    order = order[visible]
    meta = {"name": name, "synthetic": False, "excluded": excluded, "skipped": 0, "dropped": int((~visible).sum())}
    meta["settings"] = {"sfreq": float(sfreq), "channels": [str(channel) for channel in channels]}
    meta |= {f"{what}_names": s for what, s in (("subject", subject_names), ("trial", trial_names)) if s}
    eeg = eeg.swapaxes(1, 2).reshape(-1, len(CHANNELS), WINDOW_SAMPLES)[order]
    windows = Windows(eeg, features[order], mask[order], index.iloc[order].reset_index(drop=True), meta=meta)
    digest = hashlib.sha256(windows.index.to_csv(index=False).encode())
    for array in (windows.eeg, windows.video, windows.frame_mask):
        digest.update(np.ascontiguousarray(array).data)
    meta["key"] = digest.hexdigest()[:32]
    return windows


def from_epochs(
    epochs: mne.Epochs,
    video: np.ndarray,
    subject: Sequence | None = None,
    trial: Sequence | None = None,
    ratings: Mapping[str, Sequence[float]] | None = None,
    *,
    resample: bool = False,
    **options,
) -> Windows:
    """Windows from MNE's epochs: channels by name, volts to µV, time 0 the stimulus' first moment.

    `epochs` has one for each trial, or piece of one, filtered to 4-45 Hz and re-referenced; samples before time 0 are
    left out. ``subject``, ``trial`` and ratings are by default those columns of ``epochs.metadata``; other rates than
    128 Hz need ``resample=True``; `video` and further `options` are those of :func:`from_arrays`.

    >>> epochs = mne.Epochs(raw, events, tmin=0, tmax=60, baseline=None)  # doctest: +SKIP
    >>> windows = from_epochs(epochs, faces, subject, trial, ratings, resample=True)  # doctest: +SKIP
    """
    sfreq = float(epochs.info["sfreq"])
    if sfreq != SFREQ and not resample:
        raise DataError(f"epochs: sampled at {sfreq:g} Hz, expected {SFREQ:g}; resample=True does it here")
    wanted = {name.lower() for name in CHANNELS}
    if bads := [name for name in epochs.info["bads"] if name.strip().lower() in wanted]:
        raise DataError(f"epochs: channel {', '.join(bads)} is marked as bad; interpolate it first (interpolate_bads)")
    table = {} if epochs.metadata is None else epochs.metadata
    subject = table.get("subject") if subject is None else subject
    trial = table.get("trial") if trial is None else trial
    if subject is None or trial is None:
        raise DataError(f"{'subject' if subject is None else 'trial'}: not given, and not in epochs.metadata")
    if ratings is None:
        ratings = {name: table[name] for name in RATINGS if name in table}
    chosen = [name for name in epochs.ch_names if name.strip().lower() in wanted]
    eeg = 1e6 * epochs.get_data(picks=chosen, tmin=max(0.0, epochs.times[0]))  # MNE has volts
    return from_arrays(eeg, video, subject, trial, ratings, sfreq=sfreq, channels=chosen, **options)


def _column(values: Sequence, what: str, n: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,):
        raise DataError(f"{what}: expected one value per row of eeg, shape ({n},), got {values.shape}")
    if not what.startswith("ratings") and pd.isna(values).any():
        raise DataError(f"{what}: row {int(np.flatnonzero(pd.isna(values))[0])} has none")
    return values


def _numbered(values: np.ndarray, what: str) -> tuple[np.ndarray, list[str]]:
    """Whole numbers as they are; names numbered from 1 in sorted order, and the names."""
    if values.dtype.kind in "iuf" and (values >= 0).all() and (values == np.floor(values)).all():
        return values.astype(int), []
    if values.dtype.kind in "OUST" and all(isinstance(value, str) for value in values.tolist()):
        names, codes = np.unique(_same_names(values, what), return_inverse=True)
        return codes + 1, names.tolist()
    raise DataError(f"{what}: expected whole numbers from 0, or names, got {values.dtype} such as {values[0]!r}")


def _same_names(values: np.ndarray, what: str) -> np.ndarray:
    """Each name as it is written first, whatever its case, blanks and form of accents."""
    first: dict[str, str] = {}
    plain = [" ".join(unicodedata.normalize("NFKC", str(value)).casefold().split()) for value in values.tolist()]
    if "" in plain:
        raise DataError(f"{what}: expected a name in each row, got {values[plain.index('')]!r}")
    names = [first.setdefault(key, str(value).strip()) for key, value in zip(plain, values.tolist(), strict=True)]
    pairs = dict(zip(map(str, values.tolist()), names, strict=True))
    if others := [f"{value!r} as {name!r}" for value, name in pairs.items() if value != name]:
        warnings.warn(f"{what}: taken {', '.join(others)}; names differ in more than case and blanks", stacklevel=4)
    return np.array(names)


def _picks(channels: Sequence[str], n_chans: int) -> list[int]:
    if isinstance(channels, str) or len(channels) != n_chans:
        raise DataError(f"channels: expected one name per channel of eeg, {n_chans}, got {len(channels)}")
    places = [str(channel).strip().lower() for channel in channels]
    if twice := sorted({name for name in places if places.count(name) > 1}):
        raise DataError(f"channels: {', '.join(twice)} named twice")
    if missing := [channel for channel in CHANNELS if channel.lower() not in places]:
        raise DataError(
            f"channels: {', '.join(missing)} missing; expected the 28 of constants.CHANNELS by name. Name them in the "
            "10-10 system (T3 is T7, T5 is P7), or interpolate them first, for instance with MNE"
        )
    return [places.index(channel.lower()) for channel in CHANNELS]


def _bad_rows(eeg: np.ndarray, sfreq: float, table: pd.DataFrame, given: Sequence[str]) -> dict[int, str]:
    """The first fault of each row whose signal or rating cannot be used."""
    bad: dict[int, str] = {}
    for row, signal in enumerate(eeg):
        who = f"subject {table['subject'].iloc[row]}, trial {table['trial'].iloc[row]}"
        finite = np.isfinite(signal).all(axis=1)
        wrong = [rating for rating in given if not 1 <= table[rating].iloc[row] <= 9]
        if not finite.all():
            bad[row] = f"eeg: NaN or infinite values in channel {CHANNELS[int(np.argmin(finite))]} of {who}"
        elif wrong:
            bad[row] = f"ratings: {wrong[0]} of {who} is {table[wrong[0]].iloc[row]:g}, expected 1..9; {_MAP}"
        else:
            try:
                refuse_flat(signal, CHANNELS, sfreq, f"eeg: {who}")
            except UnusableSignal as fault:
                bad[row] = str(fault)
    return bad


def _check_scales(eeg: np.ndarray, table: pd.DataFrame) -> None:
    """Band-passed EEG in µV has a plausible size, and ratings have two sides."""
    size = float(np.median(np.abs(eeg)))
    if not VOLT_LIKE <= size <= OFFSET_LIKE:
        raise DataError(f"eeg: the median magnitude is {size:.2g}, expected µV filtered to 4-45 Hz; V times 1e6")
    for target in TARGETS:
        high = table[target] > 5
        if high.all() or not high.any():
            warnings.warn(
                f"ratings: {target} lies in {table[target].min():g}..{table[target].max():g}, so every label is "
                f"{'high' if high.all() else 'low'} (high: above 5 on 1..9); {_MAP}",
                stacklevel=3,
            )


def _features(
    video: np.ndarray, frame_mask: np.ndarray | None, n_rows: int, n_windows: int, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 5, 768) and their mask (n, 5) of the windows of the kept rows."""
    shape = (n_rows, n_windows * N_FRAMES)
    features = video.ndim == 3 and video.shape[2] == N_VIDEO_FEATURES and video.dtype.kind == "f"
    pictures = video.ndim == 5 and video.shape[4] == 3 and video.dtype == np.uint8
    if not (features or pictures) or video.shape[:2] != shape:
        raise DataError(
            f"video: got {video.dtype} {video.shape}, expected features {(*shape, N_VIDEO_FEATURES)} or pictures "
            f"{(*shape, 'height', 'width', 3)} uint8: five frames for each 4 s of eeg"
        )
    mask = np.ones(shape, bool) if frame_mask is None else np.asarray(frame_mask)
    if mask.shape != shape or mask.dtype != bool:
        raise DataError(f"frame_mask: expected bool {shape}, got {mask.dtype} {mask.shape}")
    mask, video = mask[kept], video[kept]
    if features:
        mask = mask & ~np.isnan(video).all(axis=2)
    out, found = np.zeros((*mask.shape, N_VIDEO_FEATURES), np.float32), video[mask]
    if not np.isfinite(found).all():
        raise DataError("video: NaN or infinite features; a frame of NaN throughout is a missing one")
    if pictures:
        squares = np.array_split(centre_square(found), len(found) // 100 + 1)
        found = np.concatenate([hog768(box_reduce(np.ascontiguousarray(part), PICTURE)) for part in squares])
    out[mask] = found
    return out.reshape(-1, N_FRAMES, N_VIDEO_FEATURES), mask.reshape(-1, N_FRAMES)
