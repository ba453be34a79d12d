"""What one stage of the preparation makes of a trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MICROVOLT = "µV"


@dataclass(frozen=True, eq=False)
class Step:
    """What one stage of the preparation makes of a trial.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of all that this stage holds.
    sfreq : float
        Samples or frames per second.
    unit : str
    what : str
        What happens here.
    signal : ndarray or None
        The numbers, read-only; None where a file is opened but not read as a whole.
    rows : tuple of str
        Names of the channels, the second-last axis of an EEG signal; empty for video.
    starts : tuple of float
        When the signal begins, or each of its windows (the first of three axes), in s after the clip's start.
    """

    name: str
    shape: tuple[int, ...]
    sfreq: float
    unit: str
    what: str
    signal: np.ndarray | None = None
    rows: tuple[str, ...] = ()
    starts: tuple[float, ...] = ()

    def __post_init__(self):
        if self.signal is not None:
            self.signal.setflags(write=False)  # a later step that wrote into this one would raise

    def trace(self, channel: str, first: float, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """A stretch of one channel.

        Parameters
        ----------
        channel : str
            A name in ``rows``.
        first, seconds : float
            Where it begins, in s after the clip's start, and how long it is.

        Returns
        -------
        times : ndarray, shape (n,)
            In s after the clip's start.
        values : ndarray, shape (n,)
            In the step's unit.

        Raises
        ------
        ValueError
            The step has no such channel, or does not hold the whole stretch in one piece.
        """
        if channel not in self.rows:
            raise ValueError(f"channel: step {self.name!r} has no {channel!r}, but {', '.join(self.rows) or 'none'}")
        pieces = self.signal.reshape(-1, *self.signal.shape[-2:])
        for piece, start in zip(pieces, self.starts, strict=True):
            begin, n = round((first - start) * self.sfreq), round(seconds * self.sfreq)
            if begin >= 0 and begin + n <= piece.shape[1]:
                where = np.arange(begin, begin + n)
                return start + where / self.sfreq, piece[self.rows.index(channel), where]
        raise ValueError(f"first, seconds: step {self.name!r} has no {seconds:g} s from {first:g} s on in one piece")
