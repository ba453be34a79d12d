"""The trial browser: EEG, spectrum, head map, faces and ratings of any moment of any trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from ...data.constants import BANDS, CHANNELS, RATINGS, WINDOW_SECONDS
from ...data.types import Windows
from ..signals import band_power
from .fixed import fixed_figure
from .panel import Panel
from .trial_view import Moment, draw_faces, draw_head, draw_moment, draw_spectrum, scales_of

KEPT_TRIALS = 32  # trials whose pictures stay in memory, at 0.25 MB for each window
Pictures = Callable[[Sequence[int]], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Trials:
    """The moments of a data set, by subject, trial and time.

    Parameters
    ----------
    windows : Windows
    pictures : callable
        Like ``partial(trial_frames, params, windows)``, from the numbers of a trial's windows to frames, masks and
        times; called once for each trial that is looked at.

    Attributes
    ----------
    scales : Scales
    """

    def __init__(self, windows: Windows, pictures: Pictures):
        self.windows, self.scales, self._pictures = windows, scales_of(windows), pictures
        self._rows = windows.index.groupby(["subject", "trial"]).indices
        self._seen: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    @property
    def subjects(self) -> list[int]:
        return sorted({int(subject) for subject, _ in self._rows})

    def trials(self, subject: int) -> list[int]:
        """The trials of a subject, which need not be those of another."""
        return sorted(int(trial) for who, trial in self._rows if who == subject)

    def starts(self, subject: int, trial: int) -> list[float]:
        """When the windows of a trial begin, in s since the clip's start."""
        numbers = self.windows.index["window"].to_numpy()[self._of(subject, trial)]
        return [WINDOW_SECONDS * int(number) for number in numbers]

    def where(self, row: int) -> tuple[int, int, float]:
        """Subject, trial and start (s) of a window by its number."""
        subject, trial, number = (int(value) for value in self.windows.index.loc[row, ["subject", "trial", "window"]])
        return subject, trial, WINDOW_SECONDS * number

    def seen(self, subject: int, trial: int) -> bool:
        """Whether the pictures of a trial are at hand; else they have to be drawn or decoded first."""
        return (subject, trial) in self._seen

    def moment(self, subject: int, trial: int, start: float) -> Moment:
        """Everything about one window.

        Raises
        ------
        ValueError
            There is no such trial, or none of its windows begins at `start`.
        """
        starts = self.starts(subject, trial)
        if start not in starts:
            known = _listed(starts)
            raise ValueError(f"start: trial {trial} of subject {subject} has windows at {known} s, got {start}")
        rows, place = self._of(subject, trial), starts.index(start)
        frames, mask, times = self._pictures_of(subject, trial)
        which = self.windows.index.iloc[rows[place]]
        ratings = {name: float(which[name]) for name in RATINGS if np.isfinite(which[name])}
        eeg = self.windows.eeg_at(int(rows[place]))
        return Moment(subject, trial, start, eeg, frames[place], mask[place], times, ratings)

    def _of(self, subject: int, trial: int) -> np.ndarray:
        """Numbers of a trial's windows, in the order of time."""
        if (subject, trial) not in self._rows:
            known = self.trials(subject)
            said = f"subject {subject} has {_listed(known)}" if known else f"subjects are {_listed(self.subjects)}"
            raise ValueError(f"trial {trial} of subject {subject}: no such trial, {said}")
        rows = self._rows[subject, trial]
        return rows[np.argsort(self.windows.index["window"].to_numpy()[rows])]

    def _pictures_of(self, subject: int, trial: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        key = subject, trial
        if key not in self._seen:
            if len(self._seen) >= KEPT_TRIALS:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = self._pictures(self._of(subject, trial).tolist())
        return self._seen[key]


def _listed(values: Sequence[float]) -> str:
    shown = [f"{value:g}" for value in values]
    return ", ".join(shown if len(shown) < 12 else [*shown[:10], "…", shown[-1]])


def trial_figure(trials: Trials, subject: int, trial: int, start: float, band: str) -> Figure:
    """One moment of a trial.

    Parameters
    ----------
    trials : Trials
    subject, trial : int
    start : float
        s since the clip's start.
    band : {"theta", "alpha", "beta", "gamma"}
        Of the head map.

    Raises
    ------
    ValueError
        There is no such moment or band.
    """
    moment = trials.moment(subject, trial, start)
    figure = fixed_figure(11, 6.6)
    draw_moment(figure, moment, trials.scales, band)
    return figure


def trial_alt(trials: Trials, subject: int, trial: int, start: float, band: str) -> str:
    """What the picture of :func:`trial_figure` shows, with its numbers; parameters as there."""
    moment = trials.moment(subject, trial, start)
    power = band_power(moment.eeg, band)
    ratings = ", ".join(f"{name} {value:g}" for name, value in moment.ratings.items())
    return (
        f"{moment.name.capitalize()}: 28 EEG traces with a standard deviation of {moment.eeg.std():.1f} µV, their "
        f"spectrum, and the head seen from above with most {band} power at {CHANNELS[int(power.argmax())]} "
        f"({power.max():.1f} dB re 1 µV²/Hz) and least at {CHANNELS[int(power.argmin())]} ({power.min():.1f} dB); "
        f"{int(moment.mask.sum())} of {len(moment.mask)} face frames; ratings: {ratings}."
    )


def contrasts(trials: Trials, subject: int, trial: int, start: float) -> dict[str, tuple[int, int, float]]:
    """Moments to hold against one: what changes when only the time, the trial or the person changes.

    Returns
    -------
    dict of str to tuple
        ``subject, trial, start`` by what is different; a step that the data do not allow is left out.
    """
    found: dict[str, tuple[int, int, float]] = {}
    starts = trials.starts(subject, trial)
    if later := [other for other in starts if other != start]:
        found["another moment of the trial"] = (subject, trial, later[-1])
    if others := [other for other in trials.trials(subject) if other != trial]:
        # The next one, or the one before the last.
        other = min(others, key=lambda number: (number < trial, abs(number - trial)))
        found["another trial of the person"] = (subject, other, _nearest(trials.starts(subject, other), start))
    if people := [other for other in trials.subjects if other != subject]:
        person = min(people, key=lambda number: (number < subject, abs(number - subject)))
        same = _nearest(trials.trials(person), trial)
        found["another person"] = (person, same, _nearest(trials.starts(person, same), start))
    return found


def trial_static(trials: Trials, subject: int, trial: int, start: float, band: str = "alpha") -> Figure:
    """A film strip: one moment in full, and below it moments with another time, trial and person.

    Parameters as in :func:`trial_figure`.
    """
    rows = contrasts(trials, subject, trial, start)
    heights = [6.6, *[1.72] * len(rows)]
    figure = fixed_figure(11, sum(heights))
    parts = np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights))
    draw_moment(parts[0], trials.moment(subject, trial, start), trials.scales, band, smooth=False)
    for part, (what, where) in zip(parts[1:], rows.items(), strict=True):
        moment = trials.moment(*where)
        faces = part.add_axes((0.055, 0.17, 0.525, 0.67))
        draw_faces(faces, moment)
        faces.set_title(f"{what}: {moment.name}")
        draw_spectrum(part.add_axes((0.66, 0.23, 0.2, 0.61)), moment, trials.scales.density, band, plain=True)
        draw_head(part.add_axes((0.88, 0.12, 0.11, 0.8)), moment, trials.scales.power[band], band)
    return figure


class _TrialPanel(Panel):
    """A panel whose choices of trials and times follow the subject and the trial."""

    def __init__(self, trials: Trials, **controls: ipywidgets.Widget):
        self.trials, self._following = trials, False
        super().__init__(self._figure, controls, alt=lambda **values: trial_alt(trials, **values))

    def update(self) -> None:
        """Offer what the subject and the trial have, then draw once."""
        if self._following:
            return
        self._following = True
        try:
            subject = self.controls["subject"].value
            _offer(self.controls["trial"], self.trials.trials(subject), "{}")
            _offer(self.controls["start"], self.trials.starts(subject, self.controls["trial"].value), "{:.0f} s")
        finally:
            self._following = False
        super().update()

    def _figure(self, subject: int, trial: int, start: float, band: str) -> Figure:
        if not self.trials.seen(subject, trial):
            self.status.value = "fetching the pictures of this trial …"
        return trial_figure(self.trials, subject, trial, start, band)


def _offer(slider: ipywidgets.SelectionSlider, values: Sequence[float], label: str) -> None:
    """Give a slider other values and keep its place as nearly as they allow."""
    options = tuple((label.format(value), value) for value in values)
    if slider.options != options:
        before = slider.value
        slider.options = options
        slider.value = _nearest(values, before)


def _nearest(values: Sequence[float], wanted: float) -> float:
    return min(values, key=lambda value: abs(value - wanted))


def trial_panel(trials: Trials, subject: int, trial: int, start: float) -> Panel:
    """The trial browser: sliders for subject, trial and time, and the band of the head map.

    Parameters
    ----------
    trials : Trials
    subject, trial, start
        What is shown first; `start` in s.

    Raises
    ------
    ValueError
        There is no such moment.
    """
    trials.moment(subject, trial, start)

    def slider(values: Sequence[float], value: float, label: str, name: str) -> ipywidgets.SelectionSlider:
        options = [(label.format(one), one) for one in values]
        return ipywidgets.SelectionSlider(options=options, value=value, description=name, continuous_update=False)

    return _TrialPanel(
        trials,
        subject=slider(trials.subjects, subject, "{}", "subject"),
        trial=slider(trials.trials(subject), trial, "{}", "trial"),
        start=slider(trials.starts(subject, trial), start, "{:.0f} s", "time"),
        band=ipywidgets.ToggleButtons(options=list(BANDS), value="alpha", description="head map"),
    )
