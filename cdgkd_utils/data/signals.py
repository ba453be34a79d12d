"""Signals as recorded: BioSemi's BDF opened with checks, the pass band, and what makes a channel unusable."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .constants import CHANNEL_ROWS
from .types import DataError

if TYPE_CHECKING:
    import mne

PASS_BAND = (4.0, 45.0)  # Hz, that of DEAP's preprocessed release
# No electrode on a head gives 60 mV within 4 to 45 Hz; and half-precision numbers end at 65 504.
LARGEST_MICROVOLT = 6e4
LEAST_MICROVOLT = 1.0  # peak to peak in 2 s; an amplifier's own noise has more
LARGEST_SHARE = 0.5  # of 4 s, of samples that repeat the one before
_PIECE = 0.25  # s


class UnusableSignal(DataError):
    """The signals of one trial cannot be used; the others of its file may be."""


def band_pass(eeg: np.ndarray, sfreq: float) -> np.ndarray:
    """Keep 4 to 45 Hz of signals (n_chans, n_times) without phase shift (MNE's default FIR filter)."""
    from mne.filter import filter_data  # takes a second to import, and not every preparation filters

    return filter_data(eeg, sfreq, *PASS_BAND, verbose="warning")


Trace = list[tuple[str, np.ndarray, float]]


def tracer(trace: Trace | None) -> Callable[[str, np.ndarray, float, float], None]:
    """How a reader notes its steps in `trace`: (name, signal of the 28 channels from the clip's start on, its rate)."""
    if trace is None:
        return lambda *_: None
    trace.clear()

    def note(name: str, signal: np.ndarray, sfreq: float, start: float) -> None:
        rows = signal if len(signal) == len(CHANNEL_ROWS) else signal[list(CHANNEL_ROWS)]
        trace.append((name, rows[:, round(-start * sfreq) :].copy(), sfreq))

    return note


def refuse_flat(signals: np.ndarray, names: Sequence[str], sfreq: float, where: str) -> None:
    """Refuse signals (n_chans, n_times) in µV with channels that say nothing; the error begins with `where`."""
    # To be asked before a common reference is subtracted: a dead electrode holds the others' mean then, and only a
    # second one, its copy, gives it away.
    flat = flat_channels(signals, sfreq)
    _refuse(flat, names, f"{where}: channel {{}} is flat (less than 1 µV in 2 s, or half of 4 s repeated)")
    some = signals[:, :: max(signals.shape[1] // 64, 1)]
    copies = np.zeros(len(signals), bool)
    for one, other in np.argwhere(np.triu(np.abs(some[:, None] - some).max(axis=-1) < 1e-6, 1)):
        copies[[one, other]] |= np.abs(signals[one] - signals[other]).max() < 1e-6
    _refuse(copies, names, f"{where}: channels {{}} are copies of each other, as dead electrodes are after referencing")


def refuse_wild(signals: np.ndarray, names: Sequence[str], where: str) -> None:
    """Refuse filtered signals (n_chans, n_times) in µV that no electrode on a head gives, or that are no numbers."""
    wild = ~((signals.max(axis=1) <= LARGEST_MICROVOLT) & (signals.min(axis=1) >= -LARGEST_MICROVOLT))
    _refuse(wild, names, f"{where}: channel {{}} leaves ±{LARGEST_MICROVOLT / 1e3:g} mV, expected EEG in µV")


def _refuse(chosen: np.ndarray, names: Sequence[str], what: str) -> None:
    if chosen.any():
        found = ", ".join(np.asarray(names)[chosen])
        raise UnusableSignal(f"{what.format(found)}; leave this trial out, or copy the file again")


def flat_channels(signals: np.ndarray, sfreq: float) -> np.ndarray:
    """Which channels of (n_chans, n_times) are flat somewhere, bool (n_chans,); see :func:`refuse_flat`."""
    step, n_pieces = round(_PIECE * sfreq), int(signals.shape[1] // round(_PIECE * sfreq))

    def pieces(values: np.ndarray) -> np.ndarray:
        return values[..., : n_pieces * step].reshape(*values.shape[:-1], n_pieces, step)

    def sliding(values: np.ndarray, seconds: float) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(values, min(round(seconds / _PIECE), n_pieces), axis=-1)

    def still(chosen: np.ndarray, every: int) -> np.ndarray:
        short = np.ascontiguousarray(np.moveaxis(pieces(chosen)[..., ::every], -1, 0))  # faster along the first axis
        span = sliding(short.max(axis=0), 2).max(axis=-1) - sliding(short.min(axis=0), 2).min(axis=-1)
        return (span < LEAST_MICROVOLT).any(axis=-1)

    flat = still(signals, max(step // 4, 1))  # some samples suffice to see that most signals move
    flat[flat] = still(signals[flat], 1)
    same = np.diff(signals, append=np.nan) == 0
    enough = LARGEST_SHARE * 4 * sfreq - 1
    for row in np.flatnonzero(np.count_nonzero(same, axis=1) >= enough):
        flat[row] |= (sliding(np.count_nonzero(pieces(same[row]), axis=1), 4).sum(axis=-1) >= enough).any()
    return flat


def open_bdf(path: str | os.PathLike, sfreq: float, needed: Sequence[str] = ()) -> mne.io.BaseRaw:
    """Open a BDF of `sfreq` Hz with the `needed` channels through MNE, not loaded."""
    import mne

    path = Path(path)
    try:
        n_records, expected, without_scale = _header(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: no readable BioSemi BDF ({error}); it is missing or damaged: copy it again"
        ) from error
    if (size := path.stat().st_size) < expected:
        raise DataError(
            f"{path}: {size} bytes, but its header promises {n_records} records and {expected} bytes; it is truncated: "
            "copy it again"
        )
    if without_scale:
        raise DataError(
            f"{path}: channel {', '.join(without_scale)} has no scale: minimum and maximum are equal in the header, so "
            "its numbers mean nothing; copy it again"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Number of records from the header does not match the file size")
            warnings.filterwarnings("ignore", message="Channel names are not unique")  # DEAP's s29 to s32 have two ""
            raw = mne.io.read_raw_bdf(path, preload=False, verbose="warning")
    except Exception as error:  # a damaged header can raise nearly anything
        raise DataError(f"{path}: MNE cannot read this BDF ({' '.join(str(error).split())}); copy it again") from error
    if raw.info["sfreq"] != sfreq:
        raise DataError(f"{path}: sampled at {raw.info['sfreq']:g} Hz, expected {sfreq:g}; take the original recording")
    names = [name.strip() for name in raw.ch_names]
    if missing := [name for name in needed if name not in names]:
        raise DataError(f"{path}: no channel {', '.join(missing)}, found {', '.join(names)}; take the original file")
    return raw


def onsets_of(raw: mne.io.BaseRaw, place: int, mask: int, code: int) -> np.ndarray:
    """Samples at which a trigger channel, by its place, changes to a code; only the bits in `mask` count."""
    import mne

    name = raw.ch_names[place]
    # A channel without a label is none of triggers to MNE.
    stim = raw.copy().pick([name]).set_channel_types({name: "stim"}, on_unit_change="ignore")
    found = mne.find_events(
        stim, name, mask=mask, mask_type="and", consecutive=True, shortest_event=1, min_duration=0, verbose="warning"
    )
    return found[found[:, 2] == code, 0] - raw.first_samp


def _header(path: Path) -> tuple[int, int, list[str]]:
    """Number of records, bytes that they need, and channels without a scale."""
    with open(path, "rb") as file:
        fixed = file.read(256)
        n_bytes, n_records, n = int(fixed[184:192]), int(fixed[236:244]), int(fixed[252:256])
        if fixed[:8] != b"\xffBIOSEMI" or n < 1 or n_bytes != 256 * (n + 1) or n_records == 0 or n_records < -1:
            raise ValueError(f"{n_records} records of {n} channels behind a header of {n_bytes} bytes")
        table = file.read(256 * n)

    def column(start: int, width: int = 8) -> list[bytes]:
        return [table[start * n + i * width :][:width] for i in range(n)]

    labels = [text.decode("latin1").strip() or f"number {place + 1}" for place, text in enumerate(column(0, 16))]
    low, high, low_word, high_word = np.array([[float(text) for text in column(k)] for k in (104, 112, 120, 128)])
    usable = np.isfinite(high - low) & (low != high) & (low_word != high_word)
    nothing = [name for name, is_usable in zip(labels, usable, strict=True) if not is_usable]
    return n_records, n_bytes + 3 * sum(map(int, column(216))) * max(n_records, 0), nothing
