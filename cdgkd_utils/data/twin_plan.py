"""What happens to each person of the synthetic twin: worlds, latents, ratings; no signal yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from .. import config
from .constants import MISSING_CLIPS, N_DEAP_TRIALS, TARGETS
from .face_drawing import FaceIdentity, draw_identity

RATING_SCALE = 1.9  # rating points per unit of the latent
BIAS_SD = 0.2  # how much people differ in using the scale, in units of the latent


@dataclass(frozen=True)
class World:
    """How the feeling is shared between brain and face.

    Attributes
    ----------
    w_shared, w_eeg, w_video : float
        Variance shares of the latent that both see, only the EEG sees, only the face shows; the rest
        to 1 is rating noise.
    eeg_gain : float
        Log-power per unit of code in the EEG.
    words : str
        One line for people.
    """

    w_shared: float
    w_eeg: float
    w_video: float
    eeg_gain: float
    words: str


WORLDS = {
    "mixed": World(0.20, 0.20, 0.20, 0.8, "half of what each sees is shared, half is its own (the null world)"),
    "shared_view": World(0.30, 0.10, 0.00, 1.6, "the EEG is a cleaner, fuller view of the same feeling"),
    "same_feeling": World(0.25, 0.00, 0.00, 1.6, "both see exactly the same feeling, ratings are noisy"),
    "eeg_rich": World(0.10, 0.30, 0.05, 0.8, "the feeling is mostly in the EEG, the face is a weak hint"),
    "complementary": World(0.00, 0.30, 0.30, 0.8, "brain and face tell different things"),
}

_PURPOSES = ("shared", "eeg_only", "video_only", "rating", "bias", "other_ratings", "order", "identity")
_PURPOSES += ("eeg_person", "eeg", "face", "peripheral")  # append only: the place in this list is part of the seed


@dataclass(frozen=True)
class TwinSettings:
    """Everything that decides the twin's numbers.

    Attributes
    ----------
    n_subjects, n_trials, n_windows : int
        People, trials of each, 4 s windows of each trial.
    seed : int
    world : str
        A name of ``WORLDS``.
    w_shared, w_eeg, w_video, eeg_gain : float or None
        Replace the world's value; None keeps it.

    Raises
    ------
    ValueError
        A value is out of range, or the world is unknown.
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

    def __post_init__(self):
        if self.world not in WORLDS:
            raise ValueError(f"world: expected one of {', '.join(config.WORLDS)}, got {self.world!r}")
        for name, least in (("n_subjects", 1), ("n_trials", 1), ("n_windows", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        if min(self.shares) < 0 or sum(self.shares) >= 1:
            raise ValueError(f"w_shared, w_eeg, w_video: expected shares >= 0 with a sum below 1, got {self.shares}")

    @property
    def shares(self) -> tuple[float, float, float]:
        """w_shared, w_eeg, w_video in force."""
        base = WORLDS[self.world]
        pairs = ((self.w_shared, base.w_shared), (self.w_eeg, base.w_eeg), (self.w_video, base.w_video))
        return tuple(default if value is None else float(value) for value, default in pairs)

    @property
    def code_gain(self) -> float:
        """EEG log-power per unit of code in force (0.8 in the twin's equations)."""
        return WORLDS[self.world].eeg_gain if self.eeg_gain is None else float(self.eeg_gain)


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
        1..9 with two decimals, columns in ``RATINGS`` order.
    presentation : ndarray, shape (n_trials,), int
        Place of each trial in the session, 1-based.
    has_video : ndarray, shape (n_trials,), bool
        False where DEAP has no clip.
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

    With independent standard normals u: ``z = sqrt(w_shared) u0 + sqrt(w_eeg) uE + sqrt(w_video) uV``;
    the EEG sees the first two terms and the face the first and the third, each scaled to variance 1;
    ``rating = clip(5 + 1.9 (z + bias + sqrt(1 - shares) noise), 1, 9)``, rounded to 2 decimals, so
    ``P(rating > 5) = Phi((z + bias) / sqrt(1 - shares))``.

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

    def normals(purpose: str, shape: tuple[int, ...] = shape) -> np.ndarray:
        return stream(settings.seed, subject, purpose).standard_normal(shape)

    w_shared, w_eeg, w_video = settings.shares
    u0, u_eeg, u_video = normals("shared"), normals("eeg_only"), normals("video_only")
    z = np.sqrt(w_shared) * u0 + np.sqrt(w_eeg) * u_eeg + np.sqrt(w_video) * u_video
    noise_sd = np.sqrt(1 - w_shared - w_eeg - w_video)
    bias = BIAS_SD * normals("bias", (len(TARGETS),))
    felt = z + bias + noise_sd * normals("rating")
    # Dominance and liking go with the two targets; nothing else in the twin depends on them.
    others = felt @ np.array([[0.40, 0.55], [0.30, 0.20]]) + 0.8 * normals("other_ratings")
    ratings = 5 + RATING_SCALE * np.hstack([felt, others])
    presentation = stream(settings.seed, subject, "order").permutation(settings.n_trials) + 1
    n_missing = MISSING_CLIPS.get(subject, 0) if settings.n_trials == N_DEAP_TRIALS else 0
    return SubjectPlan(
        subject=subject,
        z=z,
        x_eeg=_view(u0, u_eeg, w_shared, w_eeg),
        x_video=_view(u0, u_video, w_shared, w_video),
        posterior=ndtr((z + bias) / noise_sd),
        bias=bias,
        ratings=np.round(np.clip(ratings, 1, 9), 2),
        presentation=presentation,
        has_video=presentation <= settings.n_trials - n_missing,
        identity=draw_identity(stream(settings.seed, subject, "identity")),
    )


def _view(u_shared: np.ndarray, u_own: np.ndarray, w_shared: float, w_own: float) -> np.ndarray:
    if w_shared + w_own == 0:  # a modality that knows nothing shows feelings that nobody rated
        return u_own
    return (np.sqrt(w_shared) * u_shared + np.sqrt(w_own) * u_own) / np.sqrt(w_shared + w_own)


def truth_table(plan: SubjectPlan) -> pd.DataFrame:
    """The plan's ground truth, one row per trial.

    Returns
    -------
    DataFrame
        ``subject, trial`` and for both targets ``z_*, x_eeg_*, x_video_*, posterior_*``.
    """
    n_trials = len(plan.z)
    columns = {"subject": np.full(n_trials, plan.subject), "trial": np.arange(1, n_trials + 1)}
    for name in ("z", "x_eeg", "x_video", "posterior"):
        for j, target in enumerate(TARGETS):
            columns[f"{name}_{target}"] = getattr(plan, name)[:, j]
    return pd.DataFrame(columns)
