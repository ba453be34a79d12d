"""One person of the synthetic twin: face, feelings, ratings; no signal yet."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ..constants import TARGETS
from ..types import Windows
from .design import FACE_WORLD, WORLDS, Design, TwinSettings

RATING_SCALE = 1.9  # rating points per unit of the latent
BIAS_SD = 0.2  # how much people differ in using the scale, in units of the latent

Colour = tuple[int, int, int]
EXPRESSION = ("mouth_curve", "mouth_open", "brow_raise", "brow_tilt", "eye_open")


@dataclass(frozen=True)
class FaceIdentity:
    """What does not change in one person's face. Lengths are in half picture widths."""

    skin: Colour
    hair: Colour
    background: Colour
    shirt: Colour
    iris: Colour
    width: float
    height: float
    eye_spacing: float
    eye_size: float
    brow_thickness: float
    nose_length: float
    mouth_width: float
    mouth_y: float
    hairline: float
    habit: tuple[float, ...]  # the resting expression, EXPRESSION order, in expression units
    expressiveness: float  # gain of the feeling in the face


def draw_identity(rng: np.random.Generator) -> FaceIdentity:
    """Draw a person: uniform shapes and colours, ``habit ~ N(0, 0.5)``, ``expressiveness = exp(0.3 N)``."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def mix(dark: Colour, light: Colour) -> Colour:
        share = rng.uniform()
        return tuple(round(a + share * (b - a)) for a, b in zip(dark, light, strict=True))

    return FaceIdentity(
        skin=mix((112, 74, 52), (240, 205, 180)),
        hair=mix((25, 18, 15), (150, 110, 60)),
        background=mix((60, 75, 90), (190, 200, 205)),
        shirt=tuple(int(c) for c in rng.integers(40, 200, 3)),
        iris=mix((60, 40, 25), (80, 120, 140)),
        width=between(0.56, 0.66),
        height=between(0.76, 0.84),
        eye_spacing=between(0.25, 0.31),
        eye_size=between(0.120, 0.155),
        brow_thickness=between(0.035, 0.065),
        nose_length=between(0.22, 0.30),
        mouth_width=between(0.24, 0.32),
        mouth_y=between(0.40, 0.46),
        hairline=between(0.60, 0.70),
        habit=tuple(0.5 * rng.standard_normal(len(EXPRESSION))),
        expressiveness=float(np.exp(0.3 * rng.standard_normal())),
    )


@dataclass(frozen=True)
class SubjectPlan:
    """One person: what is felt, seen by each modality and rated, trial by trial."""

    subject: int  # 1-based
    z: np.ndarray  # latent, (n_trials, 2); columns of this and the next three in TARGETS order
    x_eeg: np.ndarray
    x_video: np.ndarray
    posterior: np.ndarray  # P(rating > 5 | latent, person)
    bias: np.ndarray  # (2,): the person's use of the scale, in units of the latent
    ratings: np.ndarray  # (n_trials, 4) in RATINGS order; MAHNOB-HCI: the last column is predictability
    presentation: np.ndarray  # place of each trial in the session, 1-based
    has_video: np.ndarray  # (n_trials,), False where the real data set has no clip or no recording
    has_eeg: np.ndarray
    trial: np.ndarray  # identity on disk
    n_windows: np.ndarray
    stimulus: tuple[str, ...]
    identity: FaceIdentity


def plan_subject(settings: TwinSettings, subject: int) -> SubjectPlan:
    """Draw one person (`subject` is 1-based); the person does not depend on how many others there are.

    The face is drawn first and is the same in every world of a seed: rendered faces are a bank for all worlds.
    With independent standard normals u: ``z = sqrt(w_shared) u0 + sqrt(w_eeg) uE + sqrt(w_video) uV``;
    the EEG sees the first two terms and the face the first and the third, each scaled to variance 1;
    ``rating = clip(5 + 1.9 (z + bias + sqrt(1 - shares) noise), 1, 9)``, rounded to 2 decimals, so
    ``P(rating > 5) = Phi((z + bias) / sqrt(1 - shares))``. Where ratings are whole numbers, one above 5
    was 5.5 or more before it was rounded: ``P = Phi((z + bias - 0.5 / 1.9) / sqrt(1 - shares))``.
    Each u is ``sqrt(film)`` of the film's, which everybody shares, and ``sqrt(1 - film)`` of the person's.
    """
    if subject < 1:
        raise ValueError(f"subject: expected 1 or more, got {subject}")
    shape = (settings.n_trials, len(TARGETS))
    design, rows = settings.design, range(settings.n_trials)

    def normals(purpose: str, shape: tuple[int, ...] = shape) -> np.ndarray:
        return settings.stream(subject, purpose).standard_normal(shape)

    u0, u_eeg, u_video = normals("shared"), normals("eeg_only"), normals("video_only")
    if film := settings.film_share:
        of_films = settings.stream(0, "film").standard_normal((settings.n_trials, 3, len(TARGETS)))
        own = np.stack([u0, u_eeg, u_video], axis=1)
        u0, u_eeg, u_video = (np.sqrt(film) * of_films + np.sqrt(1 - film) * own).swapaxes(0, 1)
    w_shared, w_eeg, w_video = settings.shares
    face = WORLDS[FACE_WORLD]
    x_video = _view(u0, u_video, face.w_shared, face.w_video)
    if (w_shared, w_video) != (face.w_shared, face.w_video):
        # In the plane of the two normals the face is one direction; this world's own lies along the same.
        across = _across(u0, u_video, face.w_shared, face.w_video)
        u0, u_video = _view(x_video, across, w_shared, w_video), _across(x_video, across, w_shared, w_video)
    z = np.sqrt(w_shared) * u0 + np.sqrt(w_eeg) * u_eeg + np.sqrt(w_video) * u_video
    noise_sd = np.sqrt(1 - w_shared - w_eeg - w_video)
    bias = BIAS_SD * normals("bias", (len(TARGETS),))
    felt = z + bias + noise_sd * normals("rating")
    # Dominance and liking go with the two targets; nothing else in the twin depends on them.
    others = felt @ np.array([[0.40, 0.55], [0.30, 0.20]]) + 0.8 * normals("other_ratings")
    ratings = 5 + RATING_SCALE * np.hstack([felt, others])
    presentation = settings.stream(subject, "order").permutation(settings.n_trials) + 1
    return SubjectPlan(
        subject=subject,
        z=z,
        x_eeg=_view(u0, u_eeg, w_shared, w_eeg),
        x_video=x_video,
        posterior=ndtr((z + bias - _border(design)) / noise_sd),
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


def _border(design: Design) -> float:
    """What a rating above 5 had to pass before rounding; two decimals leave it where it is, nearly."""
    return 0 if design.decimals else 0.5 / RATING_SCALE


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
    """
    names = {f.name for f in fields(TwinSettings)}
    settings = TwinSettings(**{name: value for name, value in windows.meta["settings"].items() if name in names})
    w_shared, w_eeg, _ = settings.shares
    seen = w_shared + w_eeg
    x = windows.truth[f"x_eeg_{target}"].to_numpy()
    return ndtr((np.sqrt(seen) * x - _border(settings.design)) / np.sqrt(1 - seen + BIAS_SD**2))


def truth_table(plan: SubjectPlan) -> pd.DataFrame:
    """One row per trial: ``subject, trial`` and for both targets ``z_*, x_eeg_*, x_video_*, posterior_*``."""
    columns = {"subject": np.full(len(plan.z), plan.subject), "trial": plan.trial}
    for name in ("z", "x_eeg", "x_video", "posterior"):
        for j, target in enumerate(TARGETS):
            columns[f"{name}_{target}"] = getattr(plan, name)[:, j]
    return pd.DataFrame(columns)
