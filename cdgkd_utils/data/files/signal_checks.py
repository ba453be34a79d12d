"""What makes the EEG of a trial unusable although its file is sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constants import WINDOW_SECONDS
from ..types import DataError

# No electrode on a head gives 60 mV within 4 to 45 Hz; and half-precision numbers end at 65 504.
LARGEST_MICROVOLT = 6e4
REMEDY = "leave this trial out, or copy the file again"


class UnusableSignal(DataError):
    """The signals of one trial cannot be used; the others of its file may be."""


def flat_channels(signals: np.ndarray, names: Sequence[str], sfreq: float) -> str:
    """Names of the channels that hold one value throughout a window of 4 s; empty if none does.

    Parameters
    ----------
    signals : ndarray, shape (n_chans, n_times)
        From the start of the stimulus, so that the windows are those that models see.
    names : sequence of str, length n_chans
    sfreq : float
        In Hz.
    """
    step = int(WINDOW_SECONDS * sfreq)
    whole = signals[:, : signals.shape[1] // step * step].reshape(len(signals), -1, step)
    return _names((whole == whole[..., :1]).all(axis=2).any(axis=1), names)


def wild_channels(signals: np.ndarray, names: Sequence[str]) -> str:
    """Names of the channels beyond 60 mV or not finite; empty if none is. `signals` in µV, (n_chans, n_times)."""
    return _names(~(np.abs(signals) <= LARGEST_MICROVOLT).all(axis=1), names)


def check_signals(signals: np.ndarray, names: Sequence[str], sfreq: float, where: str) -> None:
    """Refuse EEG with flat or impossible channels.

    Parameters
    ----------
    signals : ndarray, shape (n_chans, n_times)
        Prepared EEG of the stimulus, in µV.
    names : sequence of str, length n_chans
    sfreq : float
        In Hz.
    where : str
        The file and the trial, for the message.

    Raises
    ------
    UnusableSignal
        It names the channels.
    """
    if found := flat_channels(signals, names, sfreq):
        raise UnusableSignal(f"{where}: channel {found} is flat for 4 s or longer, expected a signal; {REMEDY}")
    if found := wild_channels(signals, names):
        raise UnusableSignal(
            f"{where}: channel {found} leaves ±{LARGEST_MICROVOLT / 1e3:g} mV, expected EEG in µV; {REMEDY}"
        )


def _names(chosen: np.ndarray, names: Sequence[str]) -> str:
    return ", ".join(name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen)
