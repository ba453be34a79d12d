"""What happens to each person of the synthetic twin: settings, latents, ratings; no signal yet."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ..constants import TARGETS
from ..types import Windows
from .design import DESIGNS, Design
from .face_drawing import FaceIdentity, draw_identity
from .worlds import WORLDS, find_world

RATING_SCALE = 1.9  # rating points per unit of the latent
BIAS_SD = 0.2  # how much people differ in using the scale, in units of the latent
FACES = WORLDS["mixed"]  # the world in which faces are drawn; the others keep them


_PURPOSES = ("shared", "eeg_only", "video_only", "rating", "bias", "other_ratings", "order", "identity")
_PURPOSES += (
    "eeg_person",
    "eeg",
    "face",
    "peripheral",
    "rest",
)  # append only: the place in this list is part of the seed


@dataclass(frozen=True)
class TwinSettings:
    """Everything that decides the twin's numbers.

    Attributes
    ----------
    n_subjects, n_trials, n_windows : int
        People, trials of each, 4 s windows of each trial (MAHNOB-HCI: at most; 0 takes the whole films).
    seed : int
    world : str
        A name of ``WORLDS``, or shares in numbers (:func:`~cdgkd_utils.config.world_numbers`).
    w_shared, w_eeg, w_video, eeg_gain : float or None
        Replace the world's value; None keeps it.
    layout : {"deap", "mahnob"}
        Whose design the twin follows: 40 trials of one length, or up to 20 films of 34 to 116 s.

    Raises
    ------
    ValueError
        A value is out of range, or world or layout are unknown.
    """

    n_subjects: int = 22
    n_trials: int = 40
    n_windows: int = 4
    seed: int = 0
    world: str = "mixed"
    w_shared: float | None = None
    w_eeg: float | None = None
    w_video: float | None = None
    eeg_gain: float | None = None
    layout: str = "deap"

    def __post_init__(self):
        if self.layout not in DESIGNS:
            raise ValueError(f"layout: expected one of {', '.join(DESIGNS)}, got {self.layout!r}")
        find_world(self.world)
        design, endless = self.design, float("inf")
        for name, least, most in (
            ("n_subjects", 1, design.max_subjects or endless),
            ("n_trials", 1, design.max_trials or endless),
            ("n_windows", design.min_windows, endless),
            ("seed", 0, endless),
        ):
            if not least <= (value := getattr(self, name)) <= most:
                limit = f"{least} or more" if value < least else f"at most {most} in layout {self.layout!r}"
                raise ValueError(f"{name}: expected {limit}, got {value}")
        if min(self.shares) < 0 or sum(self.shares) >= 1:
            raise ValueError(f"w_shared, w_eeg, w_video: expected shares >= 0 with a sum below 1, got {self.shares}")

    @property
    def design(self) -> Design:
        """The design of the layout in force."""
        return DESIGNS[self.layout]

    @property
    def shares(self) -> tuple[float, float, float]:
        """w_shared, w_eeg, w_video in force."""
        base = find_world(self.world)
        pairs = ((self.w_shared, base.w_shared), (self.w_eeg, base.w_eeg), (self.w_video, base.w_video))
        return tuple(default if value is None else float(value) for value, default in pairs)

    @property
    def code_gain(self) -> float:
        """EEG log-power per unit of code in force (0.8 in the twin's equations)."""
        return find_world(self.world).eeg_gain if self.eeg_gain is None else float(self.eeg_gain)

    def stream(self, subject: int, purpose: str, trial: int = 0) -> np.random.Generator:
        """:func:`stream` of a subject; people of different layouts are different people."""
        return stream(self.seed, self.design.first_person + subject, purpose, trial)


@dataclass(frozen=True)
class SubjectPlan:
    """One person: what is felt, seen by each modality and rated, trial by trial.

    Attributes
    ----------
    subject : int
        1-based.
    z, x_eeg, x_video, posterior : ndarray, shape (n_trials, 2)
        Latent, its views, and P(rating > 5 | latent, person); columns in ``TARGETS`` order.
    bias : ndarray, shape (2,)
        The person's use of the scale, in units of the latent.
    ratings : ndarray, shape (n_trials, 4)
        1..9 with two decimals, columns in ``RATINGS`` order. MAHNOB-HCI: whole numbers, and the last
        column is predictability.
    presentation : ndarray, shape (n_trials,), int
        Place of each trial in the session, 1-based.
    has_video, has_eeg : ndarray, shape (n_trials,), bool
        False where the real data set has no clip or no recording.
    trial, n_windows : ndarray, shape (n_trials,), int
        Identity on disk, and number of windows, of each trial.
    stimulus : tuple of str
    identity : FaceIdentity
    """

    subject: int
    z: np.ndarray
    x_eeg: np.ndarray
    x_video: np.ndarray
    posterior: np.ndarray
    bias: np.ndarray
    ratings: np.ndarray
    presentation: np.ndarray
    has_video: np.ndarray
    has_eeg: np.ndarray
    trial: np.ndarray
    n_windows: np.ndarray
    stimulus: tuple[str, ...]
    identity: FaceIdentity


def stream(seed: int, subject: int, purpose: str, trial: int = 0) -> np.random.Generator:
    """The random numbers of one purpose: the same whatever else is drawn.

    Parameters
    ----------
    seed : int
    subject : int
        1-based.
    purpose : str
        A name of this module's list of purposes.
    trial : int
        1-based; 0 for what belongs to the person.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(subject, _PURPOSES.index(purpose), trial)))


def plan_subject(settings: TwinSettings, subject: int) -> SubjectPlan:
    """Draw one person.

    The face is drawn first and is the same in every world of a seed: rendered faces are a bank for all worlds.
    With independent standard normals u: ``z = sqrt(w_shared) u0 + sqrt(w_eeg) uE + sqrt(w_video) uV``;
    the EEG sees the first two terms and the face the first and the third, each scaled to variance 1;
    ``rating = clip(5 + 1.9 (z + bias + sqrt(1 - shares) noise), 1, 9)``, rounded to 2 decimals, so
    ``P(rating > 5) = Phi((z + bias) / sqrt(1 - shares))``. Where ratings are whole numbers, one above 5
    was 5.5 or more before it was rounded: ``P = Phi((z + bias - 0.5 / 1.9) / sqrt(1 - shares))``.

    Parameters
    ----------
    settings : TwinSettings
    subject : int
        1-based. The person does not depend on how many others there are.

    Returns
    -------
    SubjectPlan
    """
    if subject < 1:
        raise ValueError(f"subject: expected 1 or more, got {subject}")
    shape = (settings.n_trials, len(TARGETS))
    design, rows = settings.design, range(settings.n_trials)

    def normals(purpose: str, shape: tuple[int, ...] = shape) -> np.ndarray:
        return settings.stream(subject, purpose).standard_normal(shape)

    w_shared, w_eeg, w_video = settings.shares
    u0, u_eeg, u_video = normals("shared"), normals("eeg_only"), normals("video_only")
    x_video = _view(u0, u_video, FACES.w_shared, FACES.w_video)
    if (w_shared, w_video) != (FACES.w_shared, FACES.w_video):
        # In the plane of the two normals the face is one direction; this world's own lies along the same.
        across = _across(u0, u_video, FACES.w_shared, FACES.w_video)
        u0, u_video = _view(x_video, across, w_shared, w_video), _across(x_video, across, w_shared, w_video)
    z = np.sqrt(w_shared) * u0 + np.sqrt(w_eeg) * u_eeg + np.sqrt(w_video) * u_video
    noise_sd = np.sqrt(1 - w_shared - w_eeg - w_video)
    bias = BIAS_SD * normals("bias", (len(TARGETS),))
    felt = z + bias + noise_sd * normals("rating")
    # Dominance and liking go with the two targets; nothing else in the twin depends on them.
    others = felt @ np.array([[0.40, 0.55], [0.30, 0.20]]) + 0.8 * normals("other_ratings")
    ratings = 5 + RATING_SCALE * np.hstack([felt, others])
    # Two decimals leave the border where it is, to within half a hundredth.
    border = 0 if design.decimals else 0.5 / RATING_SCALE
    presentation = settings.stream(subject, "order").permutation(settings.n_trials) + 1
    return SubjectPlan(
        subject=subject,
        z=z,
        x_eeg=_view(u0, u_eeg, w_shared, w_eeg),
        x_video=x_video,
        posterior=ndtr((z + bias - border) / noise_sd),
        bias=bias,
        ratings=np.round(np.clip(ratings, 1, 9), design.decimals),
        presentation=presentation,
        has_video=design.has("clips", subject, presentation),
        has_eeg=design.has("eeg", subject, presentation),
        trial=np.array([design.trial(subject, row, int(presentation[row])) for row in rows]),
        n_windows=np.array([design.n_windows(row, settings.n_windows) for row in rows]),
        stimulus=tuple(map(design.stimulus, rows)),
        identity=draw_identity(settings.stream(subject, "identity")),
    )


def _view(u_shared: np.ndarray, u_own: np.ndarray, w_shared: float, w_own: float) -> np.ndarray:
    if w_shared + w_own == 0:  # a modality that knows nothing shows feelings that nobody rated
        return u_own
    return (np.sqrt(w_shared) * u_shared + np.sqrt(w_own) * u_own) / np.sqrt(w_shared + w_own)


def _across(u_shared: np.ndarray, u_own: np.ndarray, w_shared: float, w_own: float) -> np.ndarray:
    """What is independent of :func:`_view` and, with it, gives both back: the two are a rotation."""
    if w_shared + w_own == 0:
        return u_shared
    return (np.sqrt(w_own) * u_shared - np.sqrt(w_shared) * u_own) / np.sqrt(w_shared + w_own)


def eeg_posterior(windows: Windows, target: str) -> np.ndarray:
    """P(rating > 5) given what the EEG sees, shape (n_windows,): what a perfect EEG-only network could say.

    ``Phi(sqrt(w_shared + w_eeg) x_eeg / sd)``, ``sd² = 1 - w_shared - w_eeg + 0.2²``: the person's use of the scale is
    unknown to it.

    Parameters
    ----------
    windows : Windows
        Of the twin.
    target : {"valence", "arousal"}
    """
    names = {f.name for f in fields(TwinSettings)}
    settings = TwinSettings(**{name: value for name, value in windows.meta["settings"].items() if name in names})
    w_shared, w_eeg, _ = settings.shares
    seen, border = w_shared + w_eeg, 0 if settings.design.decimals else 0.5 / RATING_SCALE
    x = windows.truth[f"x_eeg_{target}"].to_numpy()
    return ndtr((np.sqrt(seen) * x - border) / np.sqrt(1 - seen + BIAS_SD**2))


def truth_table(plan: SubjectPlan) -> pd.DataFrame:
    """The plan's ground truth, one row per trial.

    Returns
    -------
    DataFrame
        ``subject, trial`` and for both targets ``z_*, x_eeg_*, x_video_*, posterior_*``.
    """
    n_trials = len(plan.z)
    columns = {"subject": np.full(n_trials, plan.subject), "trial": plan.trial}
    for name in ("z", "x_eeg", "x_video", "posterior"):
        for j, target in enumerate(TARGETS):
            columns[f"{name}_{target}"] = getattr(plan, name)[:, j]
    return pd.DataFrame(columns)
