"""What decides the twin's numbers: the data sets' designs, the worlds, the settings and their random streams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...config import WORLDS as NAMES
from ...config import Params, world_numbers
from ..constants import MISSING_CLIPS, N_DEAP_TRIALS, N_MAHNOB_TRIALS, VIDEO_SECONDS, VIDEO_SUBJECTS, WINDOW_SECONDS
from ..constants import session_number as mahnob_session

_PURPOSES = "shared eeg_only video_only rating bias other_ratings order identity eeg_person eeg face peripheral rest"
_PURPOSES = (*_PURPOSES.split(), "film")  # append only: the place in this list is part of the seed
# MAHNOB-HCI's 20 films and their length in whole seconds.
FILMS = dict(
    zip(
        "69 55 58 earworm_f 53 80 52 79 73 90 107 146 30 138 newyork_f 111 detroit_f cats_f dallas_f funny_f".split(),
        (58, 76, 58, 53, 104, 96, 96, 42, 71, 85, 34, 87, 70, 116, 89, 113, 89, 98, 89, 87),
        strict=True,
    )
)


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
    max_trials: float = math.inf
    min_windows: int = 1  # 0 where that stands for whole films
    decimals: int = 2  # of the ratings
    video_seconds: float = VIDEO_SECONDS  # when clips end; infinite where they outlast every trial
    band_passed: bool = False  # True where files hold signals as recorded, which readers filter, and so the twin does
    first_person: int = 0  # keeps the people of different designs apart in the random streams
    n_full: int = N_DEAP_TRIALS  # only in the full design do sessions break off early
    missing_clips: Mapping[int, int] = field(default_factory=lambda: MISSING_CLIPS)  # last-shown trials, by subject
    missing_eeg: Mapping[int, int] = field(default_factory=dict)
    no_clips: tuple[int, ...] = ()
    no_eeg: tuple[int, ...] = ()
    n_filmed: float = VIDEO_SUBJECTS  # only the first so many people were filmed

    def trial(self, subject: int, row: int, presentation: int) -> int:
        """Identity of a trial on disk; `row` is 0-based."""
        return row + 1

    def stimulus(self, row: int) -> str:
        """Name of the stimulus of a trial; every subject saw the same one (DEAP: Experiment_id)."""
        return f"stimulus-{row + 1:02d}"

    def n_windows(self, row: int, asked: int) -> int:
        return asked

    def has(self, modality: str, subject: int, presentation: np.ndarray) -> np.ndarray:
        """Where a subject has the ``"clips"`` or the ``"eeg"``, shape (n_trials,), bool."""
        n_trials = len(presentation)
        n_missing = getattr(self, f"missing_{modality}").get(subject, 0) if n_trials == self.n_full else 0
        if (modality == "clips" and subject > self.n_filmed) or subject in getattr(self, f"no_{modality}"):
            n_missing = n_trials
        return presentation <= n_trials - n_missing


class MahnobDesign(Design):
    """MAHNOB-HCI's: trials as long as their films, known by their session."""

    def trial(self, subject: int, row: int, presentation: int) -> int:
        return mahnob_session(subject, presentation)

    def stimulus(self, row: int) -> str:
        return f"{list(FILMS)[row]}.avi"

    def n_windows(self, row: int, asked: int) -> int:
        return int(film_seconds(row, asked) // WINDOW_SECONDS)


DESIGNS = {
    "deap": Design(),
    "mahnob": MahnobDesign(
        title="synthetic twin in MAHNOB-HCI's design",
        max_subjects=30,
        max_trials=N_MAHNOB_TRIALS,
        min_windows=0,
        decimals=0,
        video_seconds=math.inf,
        band_passed=True,
        first_person=1000,
        n_full=N_MAHNOB_TRIALS,
        missing_clips={},
        missing_eeg={3: 3, 9: 6, 16: 4},
        no_clips=(26,),
        no_eeg=(12, 15),
        n_filmed=math.inf,
    ),
}


def film_seconds(row: int, n_windows: int) -> int:
    """Length of a film of MAHNOB-HCI, or of its first `n_windows` windows; 0 takes the whole film, s."""
    seconds = list(FILMS.values())[row]
    return min(seconds, int(n_windows * WINDOW_SECONDS)) if n_windows else seconds


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
        design = self.design
        for name, least, most in (
            ("n_subjects", 1, design.max_subjects),
            ("n_trials", 1, design.max_trials),
            ("n_windows", design.min_windows, math.inf),
            ("seed", 0, math.inf),
        ):
            if not least <= (value := getattr(self, name)) <= most:
                limit = f"{least} or more" if value < least else f"at most {most} in layout {self.layout!r}"
                raise ValueError(f"{name}: expected {limit}, got {value}")
        if min(self.shares) < 0 or sum(self.shares) >= 1:
            raise ValueError(f"w_shared, w_eeg, w_video: expected shares >= 0 with a sum below 1, got {self.shares}")
        if not 0 <= self.film_share <= 1:
            raise ValueError(f"film: expected a share from 0 to 1, got {self.film}")

    @property
    def design(self) -> Design:
        return DESIGNS[self.layout]

    @property
    def shares(self) -> tuple[float, float, float]:
        """w_shared, w_eeg, w_video in force."""
        return tuple(float(self._in_force(name)) for name in ("w_shared", "w_eeg", "w_video"))

    @property
    def code_gain(self) -> float:
        """EEG log-power per unit of code in force."""
        return float(self._in_force("eeg_gain"))

    @property
    def film_share(self) -> float:
        """The film's share of each part of the feeling in force."""
        return float(self._in_force("film"))

    def _in_force(self, name: str) -> float:
        own, world = getattr(self, name), find_world(self.world)
        return getattr(world, name) if own is None else own

    def stream(self, subject: int, purpose: str, trial: int = 0) -> np.random.Generator:
        """The random numbers of one purpose: the same whatever else is drawn.

        People of different layouts are different people. `trial` is 1-based, 0 for what belongs to the person;
        subject 0 is nobody: what belongs to the films.
        """
        place = (self.design.first_person + subject, _PURPOSES.index(purpose), trial)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=place))


def twin_settings(params: Params, repeat: int = 0) -> TwinSettings:
    """The twin that a profile and a world ask for; each repetition has its own people.

    In MAHNOB-HCI's design trials are at most 20, and the profile ``paper`` takes its 30 people and whole films.
    """
    scale, films = params.scale, params.layout == "mahnob"
    whole = films and params.profile == "paper"
    return TwinSettings(
        n_subjects=30 if whole else scale.n_subjects,
        n_trials=min(scale.n_trials, N_MAHNOB_TRIALS) if films else scale.n_trials,
        n_windows=0 if whole else scale.n_windows,
        seed=params.seed + repeat,
        world=params.world,
        layout=params.layout,
    )
