"""Your own recordings as windows: from arrays in memory, or from two ``.npy`` files and a table.

Example
-------
>>> import numpy as np
>>> from cdgkd_utils.data.own.arrays import from_arrays
>>> from cdgkd_utils.data.constants import CHANNELS
>>> rng = np.random.default_rng(0)
>>> eeg = rng.normal(0, 10, (12, 28, 2000))  # 12 trials of 8 s at 250 Hz, µV, filtered to 4-45 Hz
>>> faces = rng.integers(0, 256, (12, 10, 96, 128, 3), dtype=np.uint8)  # five pictures per 4 s
>>> subject = np.repeat([1, 2, 3], 4)
>>> trial = np.tile([1, 2, 3, 4], 3)
>>> ratings = {"valence": rng.uniform(1, 9, 12), "arousal": rng.uniform(1, 9, 12)}
>>> windows = from_arrays(eeg, faces, subject, trial, ratings, sfreq=250, channels=CHANNELS)
>>> windows.eeg.shape, windows.video.shape, windows.labels("valence").shape
((24, 28, 512), (24, 5, 768), (24,))
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..constants import CHANNELS, RATINGS, TARGETS, WINDOW_SAMPLES
from ..types import DataError, Windows
from . import array_checks as check

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
    """Windows from arrays, checked.

    A row is a trial, or a piece of one, of 4 s or more; it is cut into windows of 4 s and the rest is dropped.

    Parameters
    ----------
    eeg : ndarray, shape (n_rows, n_chans, n_times)
        In µV, filtered to 4-45 Hz and re-referenced; resampled to 128 Hz here if needed.
    video : ndarray
        Five frames for each 4 s, at 0.4, 1.2, 2.0, 2.8, 3.6 s: features (n_rows, 5 k, 768), a frame of NaN being a
        missing one; or pictures (n_rows, 5 k, height, width, 3) uint8 with the face in the middle (HOG is taken).
    subject, trial : sequence, shape (n_rows,)
        Numbers or names; names are numbered in sorted order and kept in ``meta``.
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
        Leave out rows with NaN, a flat channel, a copied signal or an impossible rating, and list them in
        ``meta["excluded"]``, instead of refusing all.

    Returns
    -------
    Windows
        Sorted by subject, trial and window.

    Raises
    ------
    DataError
        Names the argument, the row and what was expected.
    """
    eeg = np.asarray(eeg)
    if eeg.ndim != 3 or not len(eeg) or eeg.dtype.kind not in "fiu":
        raise DataError(f"eeg: expected numbers of shape (n_rows, n_chans, n_times), got {eeg.dtype} {eeg.shape}")
    n_rows = len(eeg)
    picks = check.channel_picks(channels, eeg.shape[1])
    n_windows = check.windows_per_row(eeg.shape[2], sfreq)
    codes, names = {}, {}
    for key, values in (("subject", subject), ("trial", trial)):
        codes[key], names[key] = check.numbered(check.column(values, key, n_rows), key)
    table = pd.DataFrame(codes)
    # No order is known but that of the rows.
    order = table.drop_duplicates()
    order = order.assign(presentation=order.groupby("subject").cumcount() + 1)
    table = table.merge(order, on=["subject", "trial"], how="left")
    table["stimulus"] = UNKNOWN if stimulus is None else check.column(stimulus, "stimulus", n_rows).astype(str)
    following = table.groupby(["subject", "trial"]).cumcount().to_numpy() * n_windows
    table["window"] = following if window is None else check.window_numbers(check.column(window, "window", n_rows))
    table[list(RATINGS)] = check.rating_table(ratings, n_rows)

    eeg = np.take(eeg, picks, axis=1).astype(np.float32)
    bad = check.bad_rows(eeg, table, [rating for rating in RATINGS if rating in ratings], n_windows)
    if bad and not exclude_bad:
        row, reason = next(iter(bad.items()))
        raise DataError(
            f"{reason} (row {row}{f', and {len(bad) - 1} more rows' if len(bad) > 1 else ''}); "
            "repair it, or leave such rows out with exclude_bad=True"
        )
    kept = np.setdiff1d(np.arange(n_rows), list(bad))
    if not len(kept):
        raise DataError(f"all {n_rows} rows are unusable; the first: {next(iter(bad.values()))}")
    table = table.iloc[kept].reset_index(drop=True)
    check.check_trials(table, n_windows)
    eeg = eeg[kept]
    check.check_scale(eeg)
    features, mask = check.features_and_mask(video, frame_mask, n_rows, n_windows, kept)
    eeg = check.at_128_hz(eeg, sfreq)[:, :, : n_windows * WINDOW_SAMPLES].astype(np.float32)
    eeg = eeg.reshape(len(kept), len(CHANNELS), n_windows, WINDOW_SAMPLES).swapaxes(1, 2)

    index = table.iloc[np.repeat(np.arange(len(kept)), n_windows)].reset_index(drop=True)
    index["window"] += np.tile(np.arange(n_windows), len(kept))
    index = index[["subject", "trial", "presentation", "stimulus", "window", *RATINGS]]
    sort = index.sort_values(["subject", "trial", "window"], kind="stable").index.to_numpy()
    visible = mask.any(axis=1)[sort]  # as for files: a window of which no frame can be seen is left out
    sort = sort[visible]
    windows = Windows(
        eeg=eeg.reshape(-1, len(CHANNELS), WINDOW_SAMPLES)[sort],
        video=features[sort],
        frame_mask=mask[sort],
        index=index.iloc[sort].reset_index(drop=True),
        meta={
            "name": name,
            "synthetic": False,
            "settings": {"sfreq": float(sfreq), "channels": [str(channel) for channel in channels]},
            "excluded": [{"row": int(row), "reason": reason} for row, reason in bad.items()],
            "dropped": int((~visible).sum()),
            **{f"{key}_names": values for key, values in names.items() if values},
        },
    )
    windows.meta["fingerprint"] = check.fingerprint(windows)
    return windows


def from_csv(
    index_csv: str | os.PathLike,
    eeg_npy: str | os.PathLike,
    video_npy: str | os.PathLike,
    *,
    sfreq: float,
    channels: Sequence[str],
    name: str = "own data",
    exclude_bad: bool = False,
) -> Windows:
    """Windows from two array files and a table with one line per row of theirs.

    Parameters
    ----------
    index_csv : path-like
        Columns ``subject, trial, valence, arousal``, and if there are ``window, stimulus, dominance, liking``.
    eeg_npy, video_npy : path-like
        Arrays saved by :func:`numpy.save`, as :func:`from_arrays` takes them.
    sfreq, channels, name, exclude_bad
        As in :func:`from_arrays`.

    Raises
    ------
    DataError
        A file is missing or unreadable, or its content is refused.
    """
    try:
        table = pd.read_csv(index_csv)
    except (OSError, ValueError) as error:
        raise DataError(f"{Path(index_csv)}: not a readable CSV table ({error})") from error
    if missing := [column for column in ("subject", "trial", *TARGETS) if column not in table]:
        raise DataError(f"{Path(index_csv)}: column {', '.join(missing)} missing, found {', '.join(map(str, table))}")
    arrays = []
    for path in (eeg_npy, video_npy):
        try:
            # Pickled objects are refused: they may run any program.
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{Path(path)}: not a readable .npy file ({error}); save it with numpy.save") from error
        if not isinstance(arrays[-1], np.ndarray):
            raise DataError(f"{Path(path)}: holds several arrays (.npz); save one with numpy.save")
    try:
        return from_arrays(
            *arrays,
            table["subject"],
            table["trial"],
            {rating: table[rating] for rating in RATINGS if rating in table},
            sfreq=sfreq,
            channels=channels,
            name=name,
            exclude_bad=exclude_bad,
            **{column: table[column] for column in ("window", "stimulus") if column in table},
        )
    except DataError as error:
        raise DataError(f"{Path(index_csv).parent}: {error}") from error
