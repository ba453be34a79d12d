"""The twin's original recordings: ``data_original/sNN.bdf``, from the EEG that its ``.dat`` files hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from ..constants import BASELINE_SAMPLES, DEAP_EEG, DEAP_PERIPHERAL, SFREQ, TARGETS, WINDOW_SAMPLES, WINDOW_SECONDS
from ..files.bdf_writer import write_bdf_blocks
from ..twin import SubjectPlan, TwinSettings
from ..twin.eeg import EYES, leadfield, n_times, synthesise_eeg
from .ratings import RATINGS_FILE
from .raw import RAW_FOLDER
from .raw_signal import PLAYBACK, RAW_SFREQ

# The order of the electrodes in s01..s22; s23..s32 have that of the ``.dat`` files.
TWENTE_EEG = (
    "Fp1 AF3 F7 F3 FC1 FC5 T7 C3 CP1 CP5 P7 P3 Pz PO3 O1 Oz O2 PO4 P4 P8 CP6 CP2 C4 T8 FC6 FC2 F4 F8 AF4 Fp2 Fz Cz"
).split()
AUXILIARY = "EXG1 EXG2 EXG3 EXG4 EXG5 EXG6 EXG7 EXG8 GSR1 GSR2 Erg1 Erg2 Resp Plet Temp".split()
FIXATION, AFTER, SYNC, RATING, END = 3, 5, 2, 1, 7  # trigger codes besides playback; 1 also marks the beginning
FIXATION_SECONDS, AFTER_SECONDS = 5, 3
LEAD_SECONDS = 5  # recorded before the experiment starts, from where DEAP's Start_time counts
TAIL_SECONDS = 20
FIRST_ONSET = 20  # s, the earliest that leaves room for what precedes a first trial
EYE_SHARE = 0.3  # of the eyes' potential that reaches the nearest electrode
OFFSET_MICROVOLT, MAINS_MICROVOLT, SWAY_MICROVOLT, REFERENCE_MICROVOLT = 2e4, 40.0, 300.0, 2.0
_TICK = 1e-4  # s, the unit of Start_time
_UP = int(RAW_SFREQ / SFREQ)
_BLOCK_SECONDS, _OVERLAP = 32, 16  # samples of 128 Hz; the interpolation looks 10 to either side


@dataclass(frozen=True)
class _Site:
    """What differs between recordings."""

    electrodes: list[str]
    status_labels: tuple[str, ...]
    idle: int  # bits of the trigger word above the code
    geneva: bool


def _site(subject: int) -> _Site:
    geneva = subject >= 23
    labels = ("Status",) if subject <= 23 else ("",) if subject <= 28 else ("", "")
    return _Site(DEAP_EEG if geneva else TWENTE_EEG, labels, 0x18FF00 if subject >= 24 else 0, geneva)


def write_raw(settings: TwinSettings, root: Path, plan: SubjectPlan) -> Path:
    """Write one person's recording as DEAP's original release has it.

    512 Hz, 48 or 49 channels, electrodes in the site's order against the amplifier's reference, with
    offsets, mains, drifts and the eyes' potential; triggers with the site's oddities. After the chain of
    :func:`~cdgkd_utils.data.deap.raw.read_deap_raw` it agrees with the ``.dat`` file, which is made from
    the same EEG. Between trials the recording goes on with their ends mirrored.

    Parameters
    ----------
    settings : TwinSettings
    root : Path
        A folder with ``metadata_csv/participant_ratings.csv``, whose ``Start_time`` says when each
        stimulus begins.
    plan : SubjectPlan

    Returns
    -------
    Path
        ``root/data_original/sNN.bdf``.

    Raises
    ------
    ValueError
        The table leaves no room for the trials.
    """
    seconds = settings.n_windows * WINDOW_SECONDS
    starts = _start_times(root / RATINGS_FILE, plan.subject, seconds)
    onsets = np.round((LEAD_SECONDS + starts) * SFREQ).astype(int)  # of 128 Hz
    n_seconds = int(np.ceil(onsets[-1] / SFREQ + seconds + AFTER_SECONDS)) + TAIL_SECONDS
    site = _site(plan.subject)
    words = trigger_words(plan.subject, onsets * _UP, seconds, n_seconds * RAW_SFREQ)
    session = _session(settings, plan, onsets, int(n_seconds * SFREQ))
    path = root / RAW_FOLDER / f"s{plan.subject:02d}.bdf"
    path.parent.mkdir(exist_ok=True)
    return write_bdf_blocks(
        path,
        _blocks(settings, plan.subject, site, session, words),
        [*site.electrodes, *AUXILIARY],
        RAW_SFREQ,
        subject=f"s{plan.subject:02d}",
        recording="synthetic",
        status_labels=site.status_labels,
    )


def _start_times(path: Path, subject: int, seconds: float) -> np.ndarray:
    """When the stimuli begin, in s after the start of the experiment, in the order of presentation."""
    table = pd.read_csv(path)
    table = table[table["Participant_id"] == subject].sort_values("Trial")
    starts = table["Start_time"].to_numpy(float) * _TICK
    shortest = seconds + AFTER_SECONDS + FIXATION_SECONDS
    if len(starts) == 0 or starts[0] < FIRST_ONSET or (np.diff(starts) < shortest).any():
        raise ValueError(
            f"{path}: Start_time of participant {subject} must begin at {FIRST_ONSET} s or later and leave "
            f"{shortest:g} s for each trial"
        )
    return starts


def trigger_words(subject: int, onsets: np.ndarray, seconds: float, n_samples: int) -> np.ndarray:
    """The 24-bit words of the trigger channel.

    Parameters
    ----------
    subject : int
        Decides the bits above the code and the extra codes of its site.
    onsets : ndarray of int
        First samples of the stimuli at 512 Hz, in the order of presentation.
    seconds : float
        Length of a stimulus.
    n_samples : int

    Returns
    -------
    ndarray, shape (n_samples,), int32
    """
    site = _site(subject)
    codes = np.zeros(n_samples, np.int32)

    def put(code: int, start: float, duration: float) -> None:
        first = round(start * RAW_SFREQ)
        codes[first : first + round(duration * RAW_SFREQ)] = code

    begins = onsets / RAW_SFREQ
    put(RATING, LEAD_SECONDS, 0.5)  # 1 also marks the start of the experiment and of the resting baseline
    put(RATING, LEAD_SECONDS + 0.2 * (begins[0] - LEAD_SECONDS), 0.5)
    if site.geneva:
        for code, early in ((FIXATION, 8), (AFTER, 7), (AFTER, 6)):
            put(code, begins[0] - FIXATION_SECONDS - early, 0.5)
    put(SYNC, begins[0] - FIXATION_SECONDS - 4, 1)
    ends = begins + seconds
    if len(begins) > 20:  # the break
        put(SYNC, ends[19] + 9, 1)
        put(SYNC, ends[19] + 12, 1)
    if subject == 28:
        put(FIXATION, ends[(len(ends) - 1) // 2] + 5, 0.5)
    for begin, end in zip(begins, ends, strict=True):
        put(FIXATION, begin - FIXATION_SECONDS, FIXATION_SECONDS)
        put(PLAYBACK, begin, seconds)
        put(AFTER, end, AFTER_SECONDS)
        put(RATING, end + AFTER_SECONDS, 0.5)
    put(SYNC, ends[-1] + 9, 1)
    put(END, ends[-1] + 15, 1)
    words = site.idle | codes
    if site.idle:
        words[:RAW_SFREQ] |= 1 << 16  # "new epoch", only at the beginning
    if subject == 28:
        for k in {len(onsets) // 4, len(onsets) // 2, 3 * len(onsets) // 4}:
            words[onsets[k] : onsets[k] + round(seconds * RAW_SFREQ)] |= 0x400000  # the battery's bit
    return words


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


def _blocks(
    settings: TwinSettings, subject: int, site: _Site, session: np.ndarray, words: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The recording piece by piece: channels in µV at 512 Hz, shape (47, n), and trigger words."""
    rng = np.random.default_rng([settings.seed, subject, 0xBDF])
    n_eeg, n_chans = len(DEAP_EEG), len(DEAP_EEG) + len(AUXILIARY)
    order = [DEAP_EEG.index(name) for name in site.electrodes]
    left, right = leadfield()[:, EYES].T
    spread = np.column_stack([left - right, left + right])  # looking aside, blinking
    spread *= EYE_SHARE / np.abs(spread).max(axis=0)
    offset = rng.uniform(-OFFSET_MICROVOLT, OFFSET_MICROVOLT, (n_eeg + 8, 1))
    phase = rng.uniform(0, 2 * np.pi, (n_eeg + 8 + 2, 1))
    step = int(_BLOCK_SECONDS * SFREQ)
    for first in range(0, session.shape[1], step):
        last = min(first + step, session.shape[1])
        around = np.clip(np.arange(first - _OVERLAP, last + _OVERLAP), 0, session.shape[1] - 1)
        signals = resample_poly(session[:, around], _UP, 1, axis=1)[:, _OVERLAP * _UP : -_OVERLAP * _UP]
        h_eog, v_eog, z_emg, t_emg, gsr, respiration, plet, temperature = signals[n_eeg:]
        seconds = np.arange(first * _UP, last * _UP) / RAW_SFREQ
        out = np.zeros((n_chans, len(seconds)))
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
        out[n_eeg + 8] = gsr if site.geneva else 1e9 / gsr  # Ohm, or nS
        out[-3:] = respiration, plet, temperature
        yield out, words[first * _UP : last * _UP]


def synthesise_peripheral(settings: TwinSettings, plan: SubjectPlan) -> np.ndarray:
    """Plausible peripheral channels; nothing in this package learns from them.

    They have their own random stream, so the EEG is the same with and without them.

    Parameters
    ----------
    settings : TwinSettings
    plan : SubjectPlan

    Returns
    -------
    ndarray, shape (n_trials, 8, 384 + 512 * n_windows), float64
        ``DEAP_PERIPHERAL`` order; µV for EOG and EMG, Ohm for GSR, raw units for the rest.
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
