"""The synthetic twin of DEAP or MAHNOB-HCI: worlds, settings and random streams, and people with known feelings.

Signals follow in :mod:`.eeg` and :mod:`.face`; :mod:`.files` writes the same people in the data sets' own formats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ...config import WORLDS as NAMES
from ...config import Params, world_numbers
from .. import constants
from ..constants import TARGETS, WINDOW_SECONDS, session_number
from ..types import Windows

_PURPOSES = "shared eeg_only video_only rating bias other_ratings order identity eeg_person eeg face peripheral rest"
_PURPOSES = (*_PURPOSES.split(), "film")  # append only: the place in this list is part of the seed
# MAHNOB-HCI's 20 films and their length in whole seconds.
_FILMS = "69 55 58 earworm_f 53 80 52 79 73 90 107 146 30 138 newyork_f 111 detroit_f cats_f dallas_f funny_f".split()
_SECONDS = (58, 76, 58, 53, 104, 96, 96, 42, 71, 85, 34, 87, 70, 116, 89, 113, 89, 98, 89, 87)
RATING_SCALE = 1.9  # rating points per unit of the latent
BIAS_SD = 0.2  # how much people differ in using the scale, in units of the latent
EXPRESSION = ("mouth_curve", "mouth_open", "brow_raise", "brow_tilt", "eye_open")


@dataclass(frozen=True)
class World:
    """How brain and face share the feeling: variance shares of the latent; the rest to 1 is rating noise."""

    w_shared: float  # both see
    w_eeg: float  # only the EEG sees
    w_video: float  # only the face shows
    eeg_gain: float  # log-power per unit of code in the EEG
    words: str  # one line for people
    film: float = 0.0  # share of each part that belongs to the film: everybody who sees it has it

    @property
    def r_views(self) -> float:
        """Correlation of what the EEG sees with what the face shows."""
        both = (self.w_shared + self.w_eeg) * (self.w_shared + self.w_video)
        return self.w_shared / math.sqrt(both) if both else 0.0

    @property
    def r_label(self) -> float:
        """Correlation of a label with what the face shows: a rating cut at its mean keeps sqrt(2 / pi) of its own."""
        return math.sqrt(2 / math.pi * (self.w_shared + self.w_video))

    @property
    def margin(self) -> float:
        """What a guide that knows all the EEG sees tells of the face beyond the label; help is expected above 0."""
        return self.r_views - self.r_label


WORLDS = {
    "mixed": World(0.20, 0.20, 0.20, 0.8, "half of what each sees is shared, half is its own (the null world)"),
    "shared_view": World(0.30, 0.10, 0.00, 1.6, "the EEG is a cleaner, fuller view of the same feeling"),
    "same_feeling": World(0.25, 0.00, 0.00, 1.6, "both see exactly the same feeling, ratings are noisy"),
    "eeg_rich": World(0.10, 0.30, 0.05, 0.8, "the feeling is mostly in the EEG, the face is a weak hint"),
    "complementary": World(0.00, 0.30, 0.30, 0.8, "brain and face tell different things"),
}
FACE_WORLD = "mixed"  # the world in which faces are drawn; the others keep them


def find_world(name: str) -> World:
    """A world by its name, or by its numbers as :func:`~cdgkd_utils.config.world_numbers` reads them."""
    return WORLDS[name] if name in NAMES else World(*world_numbers(name), words="shares given in numbers")


@dataclass(frozen=True)
class Design:
    """What a data set's protocol fixes. This one is DEAP's: every trial alike, known by its stimulus."""

    title: str = "synthetic twin"  # what a preparation in this design may be called
    max_subjects: float = math.inf
    n_full: int = constants.N_DEAP_TRIALS  # only in the full design do sessions break off early
    max_trials: float = math.inf
    min_windows: int = 1  # 0 where that stands for whole films
    decimals: int = 2  # of the ratings
    video_seconds: float = constants.VIDEO_SECONDS  # when clips end; infinite where they outlast every trial
    band_passed: bool = False  # True where files hold signals as recorded, which readers filter, and so the twin does
    first_person: int = 0  # keeps the people of different designs apart in the random streams
    missing_clips: Mapping[int, float] = field(default_factory=lambda: constants.MISSING_CLIPS)  # by subject
    missing_eeg: Mapping[int, float] = field(default_factory=dict)  # infinitely many: all in any design
    n_filmed: float = constants.VIDEO_SUBJECTS  # only the first so many people were filmed

    def has(self, n_missing: float, presentation: np.ndarray) -> np.ndarray:
        """Where there is a modality that lacks the last-shown trials, shape (n_trials,), bool."""
        broken_off = math.isinf(n_missing) or len(presentation) == self.n_full
        return presentation <= len(presentation) - (n_missing if broken_off else 0)


DESIGNS = {
    "deap": Design(),
    "mahnob": Design(
        "synthetic twin in MAHNOB-HCI's design",
        max_subjects=30,
        n_full=constants.N_MAHNOB_TRIALS,
        max_trials=constants.N_MAHNOB_TRIALS,
        min_windows=0,
        decimals=0,
        video_seconds=math.inf,
        band_passed=True,
        first_person=1000,
        missing_clips={26: math.inf},
        missing_eeg={3: 3, 9: 6, 12: math.inf, 15: math.inf, 16: 4},
        n_filmed=math.inf,
    ),
}


def film_seconds(row: int, n_windows: int) -> int:
    """Length of a film of MAHNOB-HCI, or of its first `n_windows` windows; 0 takes the whole film, s."""
    return min(_SECONDS[row], int(n_windows * WINDOW_SECONDS)) if n_windows else _SECONDS[row]


@dataclass(frozen=True)
class TwinSettings:
    """Everything that decides the twin's numbers; a ValueError names what is out of range or unknown."""

    n_subjects: int = 22
    n_trials: int = 40
    n_windows: int = 4  # of 4 s in each trial (MAHNOB-HCI: at most; 0 takes the whole films)
    seed: int = 0
    world: str = "mixed"  # a name of WORLDS, or shares in numbers (config.world_numbers)
    w_shared: float | None = None  # this and the next three replace the world's value; None keeps it
    w_eeg: float | None = None
    w_video: float | None = None
    eeg_gain: float | None = None
    layout: str = "deap"  # whose design: 40 trials of one length, or ("mahnob") up to 20 films of 34 to 116 s
    film: float | None = None  # replaces the world's value

    def __post_init__(self):
        if self.layout not in DESIGNS:
            raise ValueError(f"layout: expected one of {', '.join(DESIGNS)}, got {self.layout!r}")
        limits = {"n_subjects": (1, self.design.max_subjects), "n_trials": (1, self.design.max_trials)}
        limits |= {"n_windows": (self.design.min_windows, math.inf), "seed": (0, math.inf)}
        for name, (least, most) in limits.items():
            if not least <= (value := getattr(self, name)) <= most:
                raise ValueError(f"{name}: expected {least} to {most} in layout {self.layout!r}, got {value}")
        if min(self.shares) < 0 or sum(self.shares) >= 1:
            raise ValueError(f"w_shared, w_eeg, w_video: expected shares >= 0 with a sum below 1, got {self.shares}")
        if not 0 <= self.film_share <= 1:
            raise ValueError(f"film: expected a share from 0 to 1, got {self.film}")

    def _in_force(self, name: str) -> float:
        own, world = getattr(self, name), find_world(self.world)
        return float(getattr(world, name) if own is None else own)

    design = property(lambda self: DESIGNS[self.layout])
    # The values in force: the three shares, log-power per unit of code, the film's share of each part of the feeling.
    shares = property(lambda self: tuple(self._in_force(name) for name in ("w_shared", "w_eeg", "w_video")))
    code_gain = property(lambda self: self._in_force("eeg_gain"))
    film_share = property(lambda self: self._in_force("film"))

    def stream(self, subject: int, purpose: str, trial: int = 0) -> np.random.Generator:
        """The random numbers of one purpose, whatever else is drawn; trial 0: a person's, subject 0: the films'."""
        place = (self.design.first_person + subject, _PURPOSES.index(purpose), trial)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=place))


def twin_settings(params: Params, repeat: int = 0) -> TwinSettings:
    """The twin that a profile and a world ask for; in MAHNOB-HCI's design ``paper`` takes 30 people and whole films."""
    scale, films = params.scale, params.layout == "mahnob"
    n_subjects, n_windows = (30, 0) if films and params.profile == "paper" else (scale.n_subjects, scale.n_windows)
    n_trials = min(scale.n_trials, constants.N_MAHNOB_TRIALS) if films else scale.n_trials
    seed = params.seed + repeat
    return TwinSettings(n_subjects, n_trials, n_windows, seed, world=params.world, layout=params.layout)


# Ends of the colours and of the lengths (in half picture widths) between which faces are drawn.
_COLOURS = {"skin": ((112, 74, 52), (240, 205, 180)), "hair": ((25, 18, 15), (150, 110, 60))}
_COLOURS |= {"background": ((60, 75, 90), (190, 200, 205)), "shirt": None, "iris": ((60, 40, 25), (80, 120, 140))}
_LENGTHS = "width height eye_spacing eye_size brow_thickness nose_length mouth_width mouth_y hairline".split()
_LEAST = (0.56, 0.76, 0.25, 0.120, 0.035, 0.22, 0.24, 0.40, 0.60)
_MOST = (0.66, 0.84, 0.31, 0.155, 0.065, 0.30, 0.32, 0.46, 0.70)


def draw_identity(rng: np.random.Generator) -> SimpleNamespace:
    """A person's face: uniform colours and lengths; the resting expression; the gain of the feeling in the face."""
    who = {}
    for name, ends in _COLOURS.items():
        colour = rng.integers(40, 200, 3) if ends is None else np.add(ends[0], rng.uniform() * np.subtract(*ends[::-1]))
        who[name] = tuple(round(c) for c in colour.tolist())
    who |= zip(_LENGTHS, rng.uniform(_LEAST, _MOST).tolist(), strict=True)
    habit = tuple(0.5 * rng.standard_normal(len(EXPRESSION)))
    return SimpleNamespace(**who, habit=habit, expressiveness=float(np.exp(0.3 * rng.standard_normal())))


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
    stimulus: tuple[str, ...]  # every subject saw the same one in a trial (DEAP: Experiment_id)
    identity: SimpleNamespace  # of draw_identity


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
    design, n, films = settings.design, settings.n_trials, settings.layout == "mahnob"

    def normals(purpose: str, shape: tuple[int, ...] = (n, len(TARGETS))) -> np.ndarray:
        return settings.stream(subject, purpose).standard_normal(shape)

    u0, u_eeg, u_video = normals("shared"), normals("eeg_only"), normals("video_only")
    if film := settings.film_share:
        of_films = settings.stream(0, "film").standard_normal((n, 3, len(TARGETS)))
        own = np.stack([u0, u_eeg, u_video], axis=1)
        u0, u_eeg, u_video = (np.sqrt(film) * of_films + np.sqrt(1 - film) * own).swapaxes(0, 1)
    w_shared, w_eeg, w_video = settings.shares
    face = WORLDS[FACE_WORLD]
    x_video, across = _turned(u0, u_video, face.w_shared, face.w_video)
    if (w_shared, w_video) != (face.w_shared, face.w_video):
        # In the plane of the two normals the face is one direction; this world's own lies along the same.
        u0, u_video = _turned(x_video, across, w_shared, w_video)
    z = np.sqrt(w_shared) * u0 + np.sqrt(w_eeg) * u_eeg + np.sqrt(w_video) * u_video
    noise_sd = np.sqrt(1 - w_shared - w_eeg - w_video)
    bias = BIAS_SD * normals("bias", (len(TARGETS),))
    felt = z + bias + noise_sd * normals("rating")
    # Dominance and liking go with the two targets; nothing else in the twin depends on them.
    others = felt @ np.array([[0.40, 0.55], [0.30, 0.20]]) + 0.8 * normals("other_ratings")
    ratings = 5 + RATING_SCALE * np.hstack([felt, others])
    presentation = settings.stream(subject, "order").permutation(n) + 1
    no_clips = design.missing_clips.get(subject, 0) if subject <= design.n_filmed else math.inf
    seconds = [film_seconds(row, settings.n_windows) for row in range(n if films else 0)]
    return SubjectPlan(
        subject=subject,
        z=z,
        x_eeg=_turned(u0, u_eeg, w_shared, w_eeg)[0],
        x_video=x_video,
        posterior=ndtr((z + bias - _border(design)) / noise_sd),
        bias=bias,
        ratings=np.round(np.clip(ratings, 1, 9), design.decimals),
        presentation=presentation,
        has_video=design.has(no_clips, presentation),
        has_eeg=design.has(design.missing_eeg.get(subject, 0), presentation),
        trial=session_number(subject, presentation) if films else np.arange(1, n + 1),
        n_windows=np.array(seconds) // int(WINDOW_SECONDS) if films else np.full(n, settings.n_windows),
        stimulus=tuple(f"{_FILMS[row]}.avi" if films else f"stimulus-{row + 1:02d}" for row in range(n)),
        identity=draw_identity(settings.stream(subject, "identity")),
    )


def _border(design: Design) -> float:
    """What a rating above 5 had to pass before rounding; two decimals leave it where it is, nearly."""
    return 0 if design.decimals else 0.5 / RATING_SCALE


def _turned(u_shared: np.ndarray, u_own: np.ndarray, w_shared: float, w_own: float) -> tuple[np.ndarray, np.ndarray]:
    """A view, and what is independent of it and with it gives both back: a mirroring, its own inverse."""
    if w_shared + w_own == 0:  # a modality that knows nothing shows feelings that nobody rated
        return u_own, u_shared
    a, b, length = np.sqrt(w_shared), np.sqrt(w_own), np.sqrt(w_shared + w_own)
    return (a * u_shared + b * u_own) / length, (b * u_shared - a * u_own) / length


def eeg_posterior(windows: Windows, target: str) -> np.ndarray:
    """P(rating > 5) given what the EEG sees, shape (n_windows,): what a perfect EEG-only network could say.

    ``Phi(sqrt(w_shared + w_eeg) x_eeg / sd)``, ``sd² = 1 - w_shared - w_eeg + 0.2²``: the scale's use is unknown to it.
    """
    settings = TwinSettings(**{name: value for name, value in windows.meta["settings"].items() if name != "extractor"})
    seen = sum(settings.shares[:2])
    x = windows.truth[f"x_eeg_{target}"].to_numpy()
    return ndtr((np.sqrt(seen) * x - _border(settings.design)) / np.sqrt(1 - seen + BIAS_SD**2))


def truth_table(plan: SubjectPlan) -> pd.DataFrame:
    """One row per trial: ``subject, trial`` and for both targets ``z_*, x_eeg_*, x_video_*, posterior_*``."""
    table = pd.DataFrame({"subject": plan.subject, "trial": plan.trial})
    for name in ("z", "x_eeg", "x_video", "posterior"):
        table[[f"{name}_{target}" for target in TARGETS]] = getattr(plan, name)
    return table
