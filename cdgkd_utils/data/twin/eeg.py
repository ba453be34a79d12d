"""EEG of the synthetic twin: band-limited sources whose power carries the feeling, through a head model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import fft
from threadpoolctl import ThreadpoolController

from ..constants import BANDS, BASELINE_SAMPLES, DEAP_EEG, SFREQ, TARGETS, WINDOW_SAMPLES
from .design import TwinSettings
from .plan import SubjectPlan

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

    Rows in ``DEAP_EEG`` order; columns: the 11 task dipoles under ``TASK_SITES``, 20 background dipoles, 2 eyes
    (slices ``TASK``, ``BACKGROUND``, ``EYES``). By MNE's spherical model of four shells;
    tests/test_leadfield.py computes the shipped table again.
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
        for site in sites:
            weights[TARGETS.index(target), TASK_SITES.index(site), BAND_NAMES.index(band)] = weight
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
    libraries = ThreadpoolController()
    persons: dict[int, _Person] = {}  # by length: what a person draws does not depend on it, spectra do
    for row in rows:
        n_windows = int(plan.n_windows[row])
        # The last bits of a matrix product depend on the thread count.
        with libraries.limit(limits=1, user_api="blas"):
            if n_windows not in persons:
                persons[n_windows] = _person(settings, plan, n_windows)
            code = settings.code_gain * np.tensordot(plan.x_eeg[row], code_weights(), axes=1)
            trial = _trial(settings.stream(plan.subject, "eeg", row + 1), persons[n_windows], code, n_windows)
        yield trial


def synthesise_rest(settings: TwinSettings, plan: SubjectPlan, number: int, n_windows: int) -> np.ndarray:
    """EEG of a person who feels nothing in particular, such as before a film; `number` tells a person's rests apart."""
    rng, code = settings.stream(plan.subject, "rest", number), np.zeros((len(TASK_SITES), len(BAND_NAMES)))
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        return _trial(rng, _person(settings, plan, n_windows), code, n_windows)


def _person(settings: TwinSettings, plan: SubjectPlan, n_windows: int) -> _Person:
    return _draw_person(settings.stream(plan.subject, "eeg_person"), n_times(n_windows))


@dataclass(frozen=True)
class _Person:
    log_power: np.ndarray  # (11, 4)
    to_sensors: np.ndarray  # (32, 31): task and background sources, in µV
    blink: np.ndarray  # (32,), peak 1
    pink: np.ndarray  # (n_freqs,) amplitude spectrum of unit-variance pink noise
    bands: tuple[tuple[slice, np.ndarray], ...]  # per band: frequencies used, amplitude spectrum there
    n_fft: int


def _draw_person(rng: np.random.Generator, n: int) -> _Person:
    lead = leadfield()
    n_chans = len(DEAP_EEG)
    gain = np.empty(BACKGROUND.stop)
    gain[TASK], gain[BACKGROUND] = TASK_MICROVOLT, BACKGROUND_MICROVOLT / np.sqrt(N_BACKGROUND)
    mixing = np.eye(n_chans) + MIXING / np.sqrt(n_chans) * rng.standard_normal((n_chans, n_chans))
    eyes = lead[:, EYES].sum(axis=1)
    centre = CENTRE.copy()
    centre[BAND_NAMES.index("alpha")] += ALPHA_PEAK_SD * rng.standard_normal()

    n_fft = fft.next_fast_len(n, real=True)
    freqs = fft.rfftfreq(n_fft, 1 / SFREQ)
    pink = np.where(freqs >= SLOWEST, 1 / np.sqrt(np.maximum(freqs, SLOWEST)), 0)
    bands = []
    for middle, width in zip(centre, WIDTH, strict=True):
        first, last = np.searchsorted(freqs, (max(middle - 4 * width, SLOWEST), middle + 4 * width))
        near = slice(int(first), int(last))
        bands.append((near, _unit_variance(np.exp(-0.5 * ((freqs[near] - middle) / width) ** 2), n_fft)))
    return _Person(
        log_power=PERSON_SD * rng.standard_normal((len(TASK_SITES), len(BAND_NAMES))),
        to_sensors=((mixing @ lead[:, : BACKGROUND.stop]) * gain).astype(np.float32),
        blink=eyes / np.abs(eyes).max(),
        pink=_unit_variance(pink, n_fft),
        bands=tuple(bands),
        n_fft=n_fft,
    )


def _unit_variance(spectrum: np.ndarray, n_fft: int) -> np.ndarray:
    """Scale an amplitude spectrum so that, times complex normals (variance 2), its inverse has variance 1."""
    return (spectrum * (n_fft / (2 * np.sqrt((spectrum**2).sum())))).astype(np.float32)


def _trial(rng: np.random.Generator, person: _Person, code: np.ndarray, n_windows: int) -> np.ndarray:
    """One trial, shape (32, n_times), from its code, shape (11, 4)."""
    n = n_times(n_windows)
    shape = (len(TASK_SITES), len(BAND_NAMES))
    log_power = person.log_power + TRIAL_SD * rng.standard_normal(shape)
    log_power = log_power + WINDOW_SD * rng.standard_normal((1 + n_windows, *shape))
    log_power[1:] += code  # the first piece is the baseline, before anything was felt
    amplitude = AMPLITUDE * np.exp(0.5 * log_power)

    # Single precision until the electrodes: a 24-bit amplifier resolves less, and it halves the time.
    sources = _inverse(_complex(rng, BACKGROUND.stop, person.pink), slice(None), person.n_fft)[:, :n]
    fade = _fade(n_windows)
    for b, (near, spectrum) in enumerate(person.bands):
        wave = _inverse(_complex(rng, len(TASK_SITES), spectrum), near, person.n_fft)[:, :n]
        wave *= amplitude[:, :, b].T.astype(np.float32) @ fade
        sources[TASK] += wave

    out = (person.to_sensors @ sources).astype(np.float64)
    blinks = np.zeros(n)
    seconds = np.arange(n) / SFREQ
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


def _complex(rng: np.random.Generator, n: int, spectrum: np.ndarray) -> np.ndarray:
    return rng.standard_normal((n, 2 * len(spectrum)), dtype=np.float32).view(np.complex64) * spectrum


def _inverse(coefficients: np.ndarray, near: slice, n_fft: int) -> np.ndarray:
    full = np.zeros((len(coefficients), n_fft // 2 + 1), dtype=np.complex64)
    full[:, near] = coefficients
    return fft.irfft(full, n_fft)


def _fade(n_windows: int) -> np.ndarray:
    """Weight of the baseline and of each window at each sample, shape (1 + n_windows, n_times); sums to 1."""
    borders = BASELINE_SAMPLES + WINDOW_SAMPLES * np.arange(n_windows)
    steps = np.arange(n_times(n_windows)) - borders[:, None] + 0.5
    after = np.clip(steps / (CROSSFADE * SFREQ) + 0.5, 0, 1)
    after = np.vstack([np.ones_like(after[:1]), after, np.zeros_like(after[:1])])
    return (after[:-1] - after[1:]).astype(np.float32)
