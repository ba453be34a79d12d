"""The twin's signals as files: BDF by edfio, DEAP's ``.dat``, and its session from the EEG that those hold."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from edfio import Bdf, BdfSignal, Recording
from scipy.signal import resample_poly

from ..constants import BASELINE_SAMPLES, DEAP_EEG, DEAP_PERIPHERAL, SFREQ, TARGETS, WINDOW_SAMPLES, WINDOW_SECONDS
from ..deap import RAW_FOLDER
from ..deap_raw import PLAYBACK, RAW_SFREQ
from .eeg import EYES, leadfield, n_times, synthesise_eeg
from .plan import SubjectPlan, TwinSettings

# The order of the electrodes in DEAP's s01..s22, who were filmed; s23..s32 have that of the ``.dat`` files.
TWENTE_EEG = (
    "Fp1 AF3 F7 F3 FC1 FC5 T7 C3 CP1 CP5 P7 P3 Pz PO3 O1 Oz O2 PO4 P4 P8 CP6 CP2 C4 T8 FC6 FC2 F4 F8 AF4 Fp2 Fz Cz"
).split()
AUXILIARY = "EXG1 EXG2 EXG3 EXG4 EXG5 EXG6 EXG7 EXG8 GSR1 GSR2 Erg1 Erg2 Resp Plet Temp".split()
FIXATION, AFTER, RATING = (3, 5), (5, 3), (1, 0.5)  # trigger codes besides playback, and their seconds
LEAD_SECONDS, TAIL_SECONDS = 5, 20  # recorded before the experiment starts, from where Start_time counts; and after
EYE_SHARE = 0.3  # of the eyes' potential that reaches the nearest electrode
OFFSET_MICROVOLT, MAINS_MICROVOLT, SWAY_MICROVOLT, REFERENCE_MICROVOLT = 2e4, 40.0, 300.0, 2.0
_DIGITAL, _MICROVOLT = (-8388608, 8388607), (-262144, 262143)  # 24 bit, and what they stand for: 31.25 nV a step
_UP = int(RAW_SFREQ / SFREQ)
_BLOCK_SECONDS, _OVERLAP = 32, 16  # samples of 128 Hz; the interpolation looks 10 to either side


def write_bdf(
    path: str | os.PathLike,
    data: np.ndarray,
    labels: Sequence[str],
    sfreq: int,
    status: np.ndarray,
    *,
    status_labels: Sequence[str] = ("Status",),
) -> Path:
    """Write a recording as BioSemi ActiveTwo does: 24 bit, records of 1 s, triggers in the last channel.

    Parameters
    ----------
    path : path-like
    data : ndarray, shape (n_chans, n_samples)
        In µV, within -262144..262143; whole seconds.
    labels : sequence of str
    sfreq : int
        In Hz.
    status : ndarray, shape (n_samples,), int
        The 24-bit trigger words.
    status_labels : sequence of str
        Labels of the trigger channels. The last one carries `status`, others are 0.

    Returns
    -------
    Path
        `path`.
    """
    scale = {"physical_dimension": "uV", "physical_range": _MICROVOLT, "digital_range": _DIGITAL}
    signals = [BdfSignal(row, sfreq, label=label, **scale) for row, label in zip(data, labels, strict=True)]
    for place, label in enumerate(status_labels, 1):
        words = (np.asarray(status) if place == len(status_labels) else np.zeros(len(status))).astype(np.int32)
        words = np.where(words >= 1 << 23, words - (1 << 24), words)
        signals.append(BdfSignal.from_digital(words, sfreq, label=label, physical_dimension="Boolean"))
    Bdf(signals, recording=Recording(additional=["synthetic"]), data_record_duration=1).write(path)
    return Path(path)


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2's cPickle wrote: byte strings as ``str``, NumPy under its old module names."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_python2_str(self, value):
        payload = value.encode("latin1") if isinstance(value, str) else value
        short = len(payload) < 256
        head = pickle.SHORT_BINSTRING + bytes([len(payload)]) if short else pickle.BINSTRING
        self.write(head + (b"" if short else struct.pack("<i", len(payload))) + payload)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_python2_str

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)


def write_dat(path: str | os.PathLike, data: np.ndarray, labels: np.ndarray) -> None:
    """Write one subject's file in the byte layout of the preprocessed release; arrays as `read_dat` returns them."""
    content = {"labels": np.ascontiguousarray(labels, "<f8"), "data": np.ascontiguousarray(data, "<f8")}
    with open(path, "wb") as file:
        _Python2Pickler(file, protocol=2).dump(content)


def write_raw(settings: TwinSettings, root: Path, plan: SubjectPlan, starts: np.ndarray) -> Path:
    """Write one person's recording as DEAP's original release has it.

    512 Hz, 48 channels, electrodes in the site's order against the amplifier's reference, with offsets, mains, drifts
    and the eyes' potential. After the reader's chain it agrees with the ``.dat`` file, which is made from the same EEG.
    Between trials the recording goes on with their ends mirrored. `starts` are the times of the stimuli in s after the
    experiment's start, in the order of presentation.
    """
    seconds = settings.n_windows * WINDOW_SECONDS
    onsets = np.round((LEAD_SECONDS + starts) * SFREQ).astype(int)  # of 128 Hz
    n_seconds = int(np.ceil(onsets[-1] / SFREQ + seconds + AFTER[1])) + TAIL_SECONDS
    words = np.zeros(n_seconds * RAW_SFREQ, np.int32)
    for onset in onsets / SFREQ:
        end = onset + seconds
        begins = (
            (onset - FIXATION[1], *FIXATION),
            (onset, PLAYBACK, seconds),
            (end, *AFTER),
            (end + AFTER[1], *RATING),
        )
        for begin, code, duration in begins:
            first = round(begin * RAW_SFREQ)
            words[first : first + round(duration * RAW_SFREQ)] = code
    path = root / RAW_FOLDER / f"s{plan.subject:02d}.bdf"
    path.parent.mkdir(exist_ok=True)
    session = _session(settings, plan, onsets, int(n_seconds * SFREQ))
    return write_bdf(path, _signals(settings, plan.subject, session), [*TWENTE_EEG, *AUXILIARY], RAW_SFREQ, words)


def synthesise_peripheral(settings: TwinSettings, plan: SubjectPlan) -> np.ndarray:
    """Plausible peripheral channels (n_trials, 8, n_times) in ``DEAP_PERIPHERAL`` order; nothing here learns from them.

    They have their own random stream, so the EEG is the same with and without them.
    """
    n = n_times(settings.n_windows)
    seconds = np.arange(n) / SFREQ
    out = np.empty((settings.n_trials, len(DEAP_PERIPHERAL), n))
    for row in range(settings.n_trials):
        rng = settings.stream(plan.subject, "peripheral", row + 1)
        noise = rng.standard_normal((len(DEAP_PERIPHERAL), n))
        slow = np.cumsum(rng.standard_normal((2, n)), axis=1)
        breath, pulse, phase = rng.uniform(0.2, 0.3), rng.uniform(1.0, 1.4), rng.uniform(0, 2 * np.pi)
        arousal = plan.x_eeg[row, TARGETS.index("arousal")]
        onset = np.clip(seconds - BASELINE_SAMPLES / SFREQ, 0, None)
        out[row, 0:2] = 15 * noise[0:2] + 2 * slow
        out[row, 2:4] = np.array([[10.0], [25.0]]) * noise[2:4]
        out[row, 4] = 2e5 - 4e3 * (1 + 0.5 * arousal) * (1 - np.exp(-onset / 4)) + 50 * noise[4]
        out[row, 5] = 800 + 400 * np.sin(2 * np.pi * breath * seconds + phase) + 5 * noise[5]
        out[row, 6] = -8e3 + 5e3 * np.sin(2 * np.pi * pulse * seconds + phase) ** 3 + 100 * noise[6]
        out[row, 7] = -0.05 + 1e-3 * onset / 60 + 1e-3 * noise[7]
    return out


def _session(settings: TwinSettings, plan: SubjectPlan, onsets: np.ndarray, n: int) -> np.ndarray:
    """The whole session at 128 Hz, shape (40, n), rows as in the ``.dat`` file."""
    out = np.empty((len(DEAP_EEG) + len(DEAP_PERIPHERAL), n), np.float32)
    length = BASELINE_SAMPLES + WINDOW_SAMPLES * settings.n_windows
    eeg, peripheral = synthesise_eeg(settings, plan), synthesise_peripheral(settings, plan)
    firsts = onsets - BASELINE_SAMPLES
    for row, first in zip(np.argsort(plan.presentation), firsts, strict=True):
        out[: len(DEAP_EEG), first : first + length] = eeg[row]
        out[len(DEAP_EEG) :, first : first + length] = peripheral[row]
    # Each gap fades from the trial before it, played backwards, into the one after it.
    for end, begin in zip([0, *(firsts + length)], [*firsts, n], strict=True):
        after = _there_and_back(length, np.arange(1, begin - end + 1))
        earlier, later = end - 1 - after, begin + after[::-1]
        if end == 0:
            out[:, end:begin] = out[:, later]
        elif begin == n:
            out[:, end:begin] = out[:, earlier]
        else:
            fade = np.linspace(0, 1, begin - end, dtype=np.float32)
            out[:, end:begin] = (1 - fade) * out[:, earlier] + fade * out[:, later]
    return out


def _there_and_back(length: int, steps: np.ndarray) -> np.ndarray:
    """Where a walk of so many steps over `length` places is, turning at either end."""
    steps = steps % (2 * (length - 1))
    return np.minimum(steps, 2 * (length - 1) - steps)


def _signals(settings: TwinSettings, subject: int, session: np.ndarray) -> np.ndarray:
    """The recording's channels in µV at 512 Hz, shape (47, n)."""
    rng = np.random.default_rng([settings.seed, subject, 0xBDF])
    n_eeg, n_chans, n = len(DEAP_EEG), len(DEAP_EEG) + len(AUXILIARY), session.shape[1]
    order = [DEAP_EEG.index(name) for name in TWENTE_EEG]
    left, right = leadfield()[:, EYES].T
    spread = np.column_stack([left - right, left + right])  # looking aside, blinking
    spread *= EYE_SHARE / np.abs(spread).max(axis=0)
    offset = rng.uniform(-OFFSET_MICROVOLT, OFFSET_MICROVOLT, (n_eeg + 8, 1))
    phase = rng.uniform(0, 2 * np.pi, (n_eeg + 8 + 2, 1))
    whole = np.zeros((n_chans, n * _UP))
    step = int(_BLOCK_SECONDS * SFREQ)
    for first in range(0, n, step):
        last = min(first + step, n)
        around = np.clip(np.arange(first - _OVERLAP, last + _OVERLAP), 0, n - 1)
        signals = resample_poly(session[:, around], _UP, 1, axis=1)[:, _OVERLAP * _UP : -_OVERLAP * _UP]
        h_eog, v_eog, z_emg, t_emg, gsr, respiration, plet, temperature = signals[n_eeg:]
        seconds = np.arange(first * _UP, last * _UP) / RAW_SFREQ
        out = whole[:, first * _UP : last * _UP]
        out[:n_eeg] = (signals[:n_eeg] + spread @ signals[n_eeg : n_eeg + 2])[order]
        for row, bipolar in zip(range(n_eeg, n_eeg + 8, 2), (h_eog, v_eog, z_emg, t_emg), strict=True):
            out[row], out[row + 1] = bipolar / 2, -bipolar / 2
        # Against the amplifier's own reference: what all electrodes share, and what each adds slowly.
        shared = (
            MAINS_MICROVOLT * np.sin(2 * np.pi * 50 * seconds + phase[-1])
            + SWAY_MICROVOLT * np.sin(2 * np.pi * 0.02 * seconds + phase[-2])
            + REFERENCE_MICROVOLT * rng.standard_normal(len(seconds))
        )
        out[: n_eeg + 8] += shared + offset * (1 + 0.01 * np.sin(2 * np.pi * seconds / 97 + phase[:-2]))
        out[n_eeg + 8] = 1e9 / gsr  # Ohm in the .dat, nS here
        out[-3:] = respiration, plet, temperature
    return whole
