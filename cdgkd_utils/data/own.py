"""Your own recordings as windows: from arrays in memory, or from MNE's epochs.

Example
-------
>>> import numpy as np
>>> from cdgkd_utils.data.constants import CHANNELS
>>> from cdgkd_utils.data.own import from_arrays
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
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from . import own_checks as check
from .constants import CHANNELS, RATINGS, SFREQ, TARGETS, WINDOW_SAMPLES
from .types import DataError, Windows

if TYPE_CHECKING:
    import mne

UNKNOWN = "unknown"


def from_arrays(
    eeg: np.ndarray,
    video: np.ndarray,
    subject: Sequence,
    trial: Sequence,
    ratings: Mapping[str, Sequence[float]],
    *,
    sfreq: float,
    channels: Sequence[str],
    window: Sequence[int] | None = None,
    stimulus: Sequence[str] | None = None,
    frame_mask: np.ndarray | None = None,
    name: str = "own data",
    exclude_bad: bool = False,
) -> Windows:
    """Windows from arrays, checked; they can be trained, tabled and exported like any data set.

    A row is a trial, or a piece of one, of 4 s or more; it is cut into windows of 4 s and the rest is dropped.

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
    window : sequence of int, optional
        Place of the row in its trial, in windows of 4 s; default: rows of a trial follow each other.
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
        Sorted by subject, trial and window; ``meta["key"]`` is a hash of the content.

    Raises
    ------
    DataError
        Names the argument, the row and what was expected.

    Warns
    -----
    UserWarning
        Not one rating of a target is above 5, or all are; or names were taken for the same.
    """
    eeg = np.asarray(eeg)
    if eeg.ndim != 3 or not len(eeg) or eeg.dtype.kind not in "fiu":
        raise DataError(f"eeg: expected numbers of shape (n_rows, n_chans, n_times), got {eeg.dtype} {eeg.shape}")
    n_rows = len(eeg)
    picks, n_windows = check.channel_picks(channels, eeg.shape[1]), check.windows_per_row(eeg.shape[2], sfreq)
    columns = {"subject": subject, "trial": trial} | ({} if stimulus is None else {"stimulus": stimulus})
    columns = {key: check.column(values, key, n_rows) for key, values in columns.items()}
    codes, names = zip(*(check.numbered(columns[key], key) for key in ("subject", "trial")), strict=True)
    table = pd.DataFrame({"subject": codes[0], "trial": codes[1]})
    order = table.drop_duplicates()  # no order is known but that of the rows
    order = order.assign(presentation=order.groupby("subject").cumcount() + 1)
    table = table.merge(order, on=["subject", "trial"], how="left")
    table["stimulus"] = UNKNOWN if stimulus is None else check.same_names(columns["stimulus"].astype(str), "stimulus")
    following = table.groupby(["subject", "trial"]).cumcount().to_numpy() * n_windows
    table["window"] = following if window is None else check.window_places(check.column(window, "window", n_rows))
    for rating in RATINGS:
        if rating in TARGETS and rating not in ratings:
            raise DataError(f"ratings: {rating} missing, found {', '.join(ratings) or 'none'}")
        values = (
            check.column(ratings[rating], f"ratings: {rating}", n_rows)
            if rating in ratings
            else np.full(n_rows, np.nan)
        )
        table[rating] = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(float)

    eeg = np.take(eeg, picks, axis=1).astype(np.float32)
    bad = check.bad_rows(eeg, sfreq, table, [rating for rating in RATINGS if rating in ratings])
    if bad and not exclude_bad:
        row, reason = next(iter(bad.items()))
        more = f", and {len(bad) - 1} more rows" if len(bad) > 1 else ""
        raise DataError(f"{reason} (row {row}{more}); repair it, or leave such rows out with exclude_bad=True")
    kept = np.setdiff1d(np.arange(n_rows), list(bad))
    if not len(kept):
        raise DataError(f"all {n_rows} rows are unusable; the first: {next(iter(bad.values()))}")
    excluded = [(int(table["subject"][row]), int(table["trial"][row]), reason) for row, reason in bad.items()]
    table, eeg = table.iloc[kept].reset_index(drop=True), eeg[kept]
    check.check_trials(table, n_windows)
    check.check_scales(eeg, table)
    features, mask = check.features_and_mask(np.asarray(video), frame_mask, n_rows, n_windows, kept)
    ratio = Fraction(SFREQ / sfreq).limit_denominator(4096)
    if ratio != 1:  # the lines through the ends of each row keep its edges quiet
        eeg = resample_poly(eeg, ratio.numerator, ratio.denominator, axis=-1, padtype="line").astype(np.float32)
    eeg = eeg[:, :, : n_windows * WINDOW_SAMPLES].reshape(len(kept), len(CHANNELS), n_windows, WINDOW_SAMPLES)

    index = table.iloc[np.repeat(np.arange(len(kept)), n_windows)].reset_index(drop=True)
    index["window"] += np.tile(np.arange(n_windows), len(kept))
    index = index[["subject", "trial", "presentation", "stimulus", "window", *RATINGS]]
    sort = index.sort_values(["subject", "trial", "window"], kind="stable").index.to_numpy()
    visible = mask.any(axis=1)[sort]  # as for files: a window of which no frame can be seen is left out
    sort = sort[visible]
    windows = Windows(
        eeg=eeg.swapaxes(1, 2).reshape(-1, len(CHANNELS), WINDOW_SAMPLES)[sort],
        video=features[sort],
        frame_mask=mask[sort],
        index=index.iloc[sort].reset_index(drop=True),
        meta={
            "name": name,
            "synthetic": False,
            "settings": {"sfreq": float(sfreq), "channels": [str(channel) for channel in channels]},
            "excluded": excluded,
            "skipped": 0,
            "dropped": int((~visible).sum()),
            **{f"{key}_names": found for key, found in zip(("subject", "trial"), names, strict=True) if found},
        },
    )
    digest = hashlib.sha256(windows.index.to_csv(index=False).encode())
    for array in (windows.eeg, windows.video, windows.frame_mask):
        digest.update(np.ascontiguousarray(array).data)
    windows.meta["key"] = digest.hexdigest()[:32]
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

    Parameters
    ----------
    epochs : mne.Epochs
        One for each trial, or piece of one, filtered to 4-45 Hz and re-referenced; samples before time 0 are left out.
    video : ndarray
        As in :func:`from_arrays`, a row for each epoch.
    subject, trial, ratings
        As there; default: the columns of that name in ``epochs.metadata`` (``valence, arousal, ...``).
    resample : bool
        Resample to 128 Hz; without it epochs of another rate are refused.
    **options
        ``window, stimulus, frame_mask, name, exclude_bad`` of :func:`from_arrays`.

    Returns
    -------
    Windows

    Raises
    ------
    DataError
        As :func:`from_arrays`; also where one of the 28 channels is marked as bad.

    Examples
    --------
    >>> epochs = mne.Epochs(raw, events, tmin=0, tmax=60, baseline=None)  # doctest: +SKIP
    >>> windows = from_epochs(epochs, faces, subject, trial, ratings, resample=True)  # doctest: +SKIP
    """
    sfreq = float(epochs.info["sfreq"])
    if sfreq != SFREQ and not resample:
        raise DataError(f"epochs: sampled at {sfreq:g} Hz, expected {SFREQ:g}; resample=True does it here")
    wanted = {name.lower() for name in CHANNELS}
    if bads := [name for name in epochs.info["bads"] if name.strip().lower() in wanted]:
        raise DataError(f"epochs: channel {', '.join(bads)} is marked as bad; interpolate it first (interpolate_bads)")
    table = epochs.metadata if epochs.metadata is not None else pd.DataFrame(index=range(len(epochs)))

    def given(values, column: str):
        if values is None and column not in table:
            raise DataError(f"{column}: not given, and epochs.metadata has no such column")
        return table[column].to_numpy() if values is None else values

    if ratings is None:
        ratings = {name: table[name].to_numpy() for name in RATINGS if name in table}
    chosen = [name for name in epochs.ch_names if name.strip().lower() in wanted]
    eeg = 1e6 * epochs.get_data(picks=chosen, tmin=max(0.0, epochs.times[0]))  # MNE has volts
    subject, trial = given(subject, "subject"), given(trial, "trial")
    return from_arrays(eeg, video, subject, trial, ratings, sfreq=sfreq, channels=chosen, **options)
