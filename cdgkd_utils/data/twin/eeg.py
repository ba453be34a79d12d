"""EEG of the synthetic twin: band-limited sources whose power carries the feeling, through a head model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy import fft
from threadpoolctl import ThreadpoolController

from ..constants import BANDS, BASELINE_SAMPLES, DEAP_EEG, SFREQ, TARGETS, WINDOW_SAMPLES
from . import SubjectPlan, TwinSettings

TASK_SITES = ("F3", "F4", "C3", "C4", "T7", "T8", "P3", "P4", "O1", "O2", "Fz")  # dipoles that carry the code
N_BACKGROUND = 20
TASK = slice(0, len(TASK_SITES))
BACKGROUND = slice(TASK.stop, TASK.stop + N_BACKGROUND)
EYES = slice(BACKGROUND.stop, BACKGROUND.stop + 2)

BAND_NAMES = list(BANDS)  # theta, alpha, beta, gamma
CENTRE = np.array([6.0, 10.0, 20.0, 36.0])  # Hz
WIDTH = np.array([1.0, 1.2, 4.0, 5.0])  # Hz, sd of the Gaussian amplitude spectrum
AMPLITUDE = np.array([1.2, 2.2, 1.0, 0.7])  # relative to the source's pink noise
ALPHA_PEAK_SD = 0.6  # Hz between people
PERSON_SD, TRIAL_SD, WINDOW_SD = 0.4, 0.25, 0.25  # of the log-power of each source and band
TASK_MICROVOLT, BACKGROUND_MICROVOLT, SENSOR_MICROVOLT = 3.0, 6.0, 2.0
MIXING = 0.08 * 3  # how much people's heads differ
BLINKS_PER_SECOND, BLINK_SD = 0.25, 0.09  # 1/s, s
BLINK_MICROVOLT = (20.0, 45.0)
MUSCLE_PROBABILITY, MUSCLE_MICROVOLT = 0.15, (4.0, 12.0)  # per window
SLOWEST = 0.25  # Hz, where pink noise begins
CROSSFADE = 0.125  # s, between the power of one window and the next

# Change of log-power per unit of feeling and of gain: (target, band, sites, weight).
CODE = (
    ("valence", "alpha", ("F3",), -0.7),
    ("valence", "alpha", ("F4",), 0.7),
    ("valence", "gamma", ("T7",), 0.4),
    ("valence", "gamma", ("T8",), -0.4),
    ("arousal", "alpha", ("P3", "P4", "O1", "O2"), -0.5),
    ("arousal", "beta", ("F3", "F4", "Fz"), 0.4),
    ("arousal", "gamma", ("T7", "T8"), 0.3),
)


@cache
def leadfield() -> np.ndarray:
    """Potentials of 33 unit dipoles at the 32 electrodes, shape (32, 33), average reference, each of peak 1.

    Rows in ``DEAP_EEG`` order; columns in slices ``TASK``, ``BACKGROUND``, ``EYES``. By MNE's spherical model of four
    shells; tests/test_leadfield.py computes the shipped table again.
    """
    table = Path(__file__).with_name("leadfield.csv")
    columns = np.loadtxt(table, delimiter=",", skiprows=1, usecols=range(1, EYES.stop + 1))
    columns -= columns.mean(axis=0)
    columns.flags.writeable = False
    return columns


def code_weights() -> np.ndarray:
    """The code as an array, shape (2 targets, 11 sources, 4 bands)."""
    weights = np.zeros((len(TARGETS), len(TASK_SITES), len(BAND_NAMES)))
    for target, band, sites, weight in CODE:
        weights[TARGETS.index(target), [TASK_SITES.index(site) for site in sites], BAND_NAMES.index(band)] = weight
    return weights


def n_times(n_windows: int) -> int:
    """Samples of a trial: 3 s before the stimulus and the windows."""
    return BASELINE_SAMPLES + WINDOW_SAMPLES * n_windows


def synthesise_eeg(settings: TwinSettings, plan: SubjectPlan) -> np.ndarray:
    """EEG of all trials of one person, shape (n_trials, 32, 384 + 512 * n_windows), µV at 128 Hz, ``DEAP_EEG`` order.

    Each of the 11 sources is pink noise plus four bands of amplitude ``A exp(lp / 2)`` with
    ``lp = person + gain * sum_targets K x_eeg + trial + window`` (normal parts); the 3 s before the
    stimulus lack the code. Electrodes see the sources, 20 pink background dipoles, blinks, muscle
    bursts and white noise, re-referenced to the average of all 32. Row i is trial i + 1.
    """
    return np.stack(list(synthesise_trials(settings, plan, range(settings.n_trials))))


def synthesise_trials(settings: TwinSettings, plan: SubjectPlan, rows: Iterable[int]) -> Iterator[np.ndarray]:
    """Some trials of :func:`synthesise_eeg`, each shape (32, 384 + 512 * its number of windows), one by one."""
    person = cache(lambda n_windows: _draw_person(settings, plan, n_windows))  # draws do not depend on the length
    for row in rows:
        n_windows = int(plan.n_windows[row])
        code = settings.code_gain * np.tensordot(plan.x_eeg[row], code_weights(), axes=1)
        yield _trial(settings.stream(plan.subject, "eeg", row + 1), person(n_windows), code, n_windows)


def synthesise_rest(settings: TwinSettings, plan: SubjectPlan, number: int, n_windows: int) -> np.ndarray:
    """EEG of a person who feels nothing in particular, such as before a film; `number` tells a person's rests apart."""
    code = np.zeros((len(TASK_SITES), len(BAND_NAMES)))
    person = _draw_person(settings, plan, n_windows)
    return _trial(settings.stream(plan.subject, "rest", number), person, code, n_windows)


# The last bits of a matrix product depend on the thread count.
_one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")


@_one_thread
def _draw_person(settings: TwinSettings, plan: SubjectPlan, n_windows: int) -> SimpleNamespace:
    """A person's head and rhythms, with spectra for trials of a length."""
    rng, lead, n_chans = settings.stream(plan.subject, "eeg_person"), leadfield(), len(DEAP_EEG)
    gain = np.empty(BACKGROUND.stop)
    gain[TASK], gain[BACKGROUND] = TASK_MICROVOLT, BACKGROUND_MICROVOLT / np.sqrt(N_BACKGROUND)
    mixing = np.eye(n_chans) + MIXING / np.sqrt(n_chans) * rng.standard_normal((n_chans, n_chans))
    eyes = lead[:, EYES].sum(axis=1)
    centre = CENTRE.copy()
    centre[BAND_NAMES.index("alpha")] += ALPHA_PEAK_SD * rng.standard_normal()
    log_power = PERSON_SD * rng.standard_normal((len(TASK_SITES), len(BAND_NAMES)))

    n_fft = fft.next_fast_len(n_times(n_windows), real=True)
    freqs = fft.rfftfreq(n_fft, 1 / SFREQ)

    def unit_variance(spectrum: np.ndarray) -> np.ndarray:
        """Scaled so that, times complex normals (variance 2), its inverse transform has variance 1."""
        return (spectrum * (n_fft / (2 * np.sqrt((spectrum**2).sum())))).astype(np.float32)

    bands = []  # of each the frequencies used and their amplitudes
    for middle, width in zip(centre, WIDTH, strict=True):
        first, last = np.searchsorted(freqs, (max(middle - 4 * width, SLOWEST), middle + 4 * width))
        near = slice(int(first), int(last))
        bands.append((near, unit_variance(np.exp(-0.5 * ((freqs[near] - middle) / width) ** 2))))
    return SimpleNamespace(
        log_power=log_power,  # (11, 4)
        to_sensors=((mixing @ lead[:, : BACKGROUND.stop]) * gain).astype(np.float32),  # (32, 31), in µV
        blink=eyes / np.abs(eyes).max(),  # (32,), peak 1
        pink=unit_variance(np.where(freqs >= SLOWEST, 1 / np.sqrt(np.maximum(freqs, SLOWEST)), 0)),
        bands=bands,
        n_fft=n_fft,
    )


@_one_thread
def _trial(rng: np.random.Generator, person: SimpleNamespace, code: np.ndarray, n_windows: int) -> np.ndarray:
    """One trial, shape (32, n_times), from its code, shape (11, 4)."""
    n = n_times(n_windows)
    log_power = person.log_power + TRIAL_SD * rng.standard_normal(code.shape)
    log_power = log_power + WINDOW_SD * rng.standard_normal((1 + n_windows, *code.shape))
    log_power[1:] += code  # the first piece is the baseline, before anything was felt
    amplitude = AMPLITUDE * np.exp(0.5 * log_power)

    def waves(n_sources: int, spectrum: np.ndarray, near: slice) -> np.ndarray:
        # Single precision until the electrodes: a 24-bit amplifier resolves less, and it halves the time.
        full = np.zeros((n_sources, person.n_fft // 2 + 1), dtype=np.complex64)
        drawn = rng.standard_normal((n_sources, 2 * len(spectrum)), dtype=np.float32)
        full[:, near] = drawn.view(np.complex64) * spectrum
        return fft.irfft(full, person.n_fft)[:, :n]

    sources, fade = waves(BACKGROUND.stop, person.pink, slice(None)), _fade(n_windows)
    for b, (near, spectrum) in enumerate(person.bands):
        sources[TASK] += waves(len(TASK_SITES), spectrum, near) * (amplitude[:, :, b].T.astype(np.float32) @ fade)

    out = (person.to_sensors @ sources).astype(np.float64)
    blinks, seconds = np.zeros(n), np.arange(n) / SFREQ
    for _ in range(rng.poisson(BLINKS_PER_SECOND * n / SFREQ)):
        height, middle = rng.uniform(*BLINK_MICROVOLT), rng.uniform(0, n / SFREQ)
        blinks += height * np.exp(-0.5 * ((seconds - middle) / BLINK_SD) ** 2)
    out += np.outer(person.blink, blinks)
    for weight in fade:
        if rng.random() < MUSCLE_PROBABILITY:
            channel, rms = rng.integers(len(out)), rng.uniform(*MUSCLE_MICROVOLT)
            out[channel] += weight * rms * np.diff(rng.standard_normal(n + 1)) / np.sqrt(2)
    out += SENSOR_MICROVOLT * rng.standard_normal(out.shape, dtype=np.float32)
    return out - out.mean(axis=0)


def _fade(n_windows: int) -> np.ndarray:
    """Weight of the baseline and of each window at each sample, shape (1 + n_windows, n_times); sums to 1."""
    borders = BASELINE_SAMPLES + WINDOW_SAMPLES * np.arange(n_windows)
    steps = np.arange(n_times(n_windows)) - borders[:, None] + 0.5
    after = np.clip(steps / (CROSSFADE * SFREQ) + 0.5, 0, 1)
    after = np.vstack([np.ones_like(after[:1]), after, np.zeros_like(after[:1])])
    return (after[:-1] - after[1:]).astype(np.float32)
