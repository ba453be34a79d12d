"""Profiles, notebook parameters and paths. Knows nothing of the rest of the package."""

from __future__ import annotations

import inspect
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from pathlib import Path

DATASETS = ("twin", "twin_mahnob", "deap", "deap_raw", "mahnob")
CROPS = ("centre", "face")
FAMILIES = ("auto", "compact", "reference")
PROTOCOLS = ("trial+subject", "trial", "subject", "loso", "stimulus", "window")
TARGETS = ("valence", "arousal")
WORLDS = ("mixed", "shared_view", "same_feeling", "eeg_rich", "complementary")
WORLD_NUMBERS = "SHARED/EEG/VIDEO or SHARED/EEG/VIDEO/GAIN, such as 0.3/0.1/0 or 0.3/0.1/0/1.6"
WORLD_HELP = f"{', '.join(WORLDS)}, or {WORLD_NUMBERS}"
EEG_GAIN = 0.8  # where a world in numbers does not say


class ParameterError(ValueError):
    """A notebook or command parameter is unknown, ill-typed or out of range."""


@dataclass(frozen=True)
class Profile:
    """How much is computed. Only `bench` and `paper` are meant for reporting.

    Attributes
    ----------
    n_subjects, n_trials, n_windows : int
        Geometry of the twin (windows per trial). On real files `n_windows` is the largest number
        of windows taken from a trial, evenly spaced; 0 takes all.
    teacher_epochs, student_epochs : int
        Largest number of epochs; the larger networks, assistants among them, get the former.
    patience : int
        Epochs without a better validation score after which a training stops.
    n_folds : int
        Folds run per repetition.
    n_repeats : int
        Repetitions; each redraws the split (and, on the twin, the people) from ``seed + repeat``.
    umap_points : int
        Largest number of windows that UMAP embeds.
    family : {"compact", "reference"}
        Networks where ``Params.family`` is "auto".
    tuning_budget : int
        Settings tried per method and chosen on validation; 1 takes the declared one.
    """

    name: str
    n_subjects: int
    n_trials: int
    n_windows: int
    teacher_epochs: int
    student_epochs: int
    patience: int
    n_folds: int
    n_repeats: int
    umap_points: int
    family: str = "compact"
    tuning_budget: int = 1

    @property
    def dealt_folds(self) -> int:
        """Folds that a protocol deals, of which `n_folds` are run: a fold needs train, validation and test."""
        return max(self.n_folds, 3)


PROFILES = {
    p.name: p
    for p in (
        Profile("smoke", 6, 10, 2, 2, 2, 6, 2, 1, 100),
        Profile("quick", 22, 40, 3, 16, 16, 5, 3, 1, 600),
        Profile("bench", 22, 40, 4, 20, 16, 6, 3, 5, 1000),
        Profile("paper", 22, 40, 15, 100, 100, 20, 3, 5, 4000, "reference", 3),
    )
}


@dataclass(frozen=True)
class Params:
    """The parameters every notebook takes; build it with :meth:`from_notebook`.

    Attributes
    ----------
    dataset : {"twin", "twin_mahnob", "deap", "deap_raw", "mahnob"}
        The twins (in DEAP's or MAHNOB-HCI's design) need no files; the others read the tree at `data_root`,
        ``deap_raw`` DEAP's original recordings instead of its preprocessed release.
    data_root : str
        Folder of the real data set.
    target : {"valence", "arousal"}
    profile : {"smoke", "quick", "bench", "paper"}
    seed : int
        Seed of the first repetition.
    world : str
        World of the twin: a name of ``WORLDS``, or its shares as :func:`world_numbers` reads them.
    extractor : str
        Visual features: ``hog``, ``mediapipe`` or ``timm:<model>``.
    crop : {"centre", "face"}
        Part of a frame that is described, on files.
    family : {"auto", "compact", "reference"}
        Networks: small stand-ins, or the paper's own; "auto" follows the profile.
    protocol : str
        What a fold holds out. ``trial+subject`` tests unseen trials of known people and unseen people at once;
        the others are those of :mod:`.data.splits.protocols`.
    allow_leak : bool
        Admits the leaky protocol ``window``, whose results are all labelled LEAKY.
    """

    dataset: str = "twin"
    data_root: str = ""
    target: str = "valence"
    profile: str = "quick"
    seed: int = 0
    world: str = "mixed"
    extractor: str = "hog"
    crop: str = "centre"
    family: str = "auto"
    protocol: str = "trial+subject"
    allow_leak: bool = False

    def __post_init__(self):
        for f in fields(self):
            value, wanted = getattr(self, f.name), type(f.default)
            if type(value) is not wanted:
                raise ParameterError(
                    f"parameter {f.name}: expected {wanted.__name__}, got {type(value).__name__} ({value!r})"
                )
        for name, choices in (
            ("dataset", DATASETS),
            ("target", TARGETS),
            ("profile", tuple(PROFILES)),
            ("crop", CROPS),
            ("family", FAMILIES),
            ("protocol", PROTOCOLS),
        ):
            if getattr(self, name) not in choices:
                raise ParameterError(
                    f"parameter {name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if self.world not in WORLDS:  # one world has one spelling: keys hold it
            object.__setattr__(self, "world", world_name(*world_numbers(self.world)))
        if self.seed < 0:
            raise ParameterError(f"parameter seed: expected 0 or more, got {self.seed}")
        if self.protocol == "window" and not self.allow_leak:
            raise ParameterError(
                "parameter protocol: 'window' puts windows of one trial into train and test; choose another, or set "
                "allow_leak=True to demonstrate it: every result is then labelled LEAKY"
            )
        if self.is_twin and self.data_root:
            raise ParameterError(
                "parameter data_root: only dataset='deap', 'deap_raw' and 'mahnob' read files; set one, or data_root=''"
            )

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, object]) -> Params:
        """Read the parameters from a notebook's globals, strictly.

        Every plain value defined so far must be a known parameter (imported CONSTANTS aside), so call this
        right after the cell tagged ``parameters``; a misspelt papermill parameter is then an error, not a default.

        Raises
        ------
        ParameterError
            A name is unknown, or a value has the wrong type or is not one of the choices.
        """
        known = {f.name for f in fields(cls)}
        # Left over are imports (modules, classes, functions, CONSTANTS) and what IPython puts there.
        values = {
            name: value
            for name, value in namespace.items()
            if name in known
            or (
                not (name.startswith("_") or name in ("In", "Out") or (name.isupper() and name.lower() not in known))
                and not (callable(value) or inspect.ismodule(value))
            )
        }
        unknown = sorted(set(values) - known)
        if unknown:
            raise ParameterError(f"unknown notebook parameter {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**values)

    @property
    def is_twin(self) -> bool:
        """Whether the windows are generated instead of read."""
        return self.dataset.startswith("twin")

    @property
    def layout(self) -> str:
        """Data set of the paper whose design the windows have: ``deap`` or ``mahnob``."""
        return "mahnob" if "mahnob" in self.dataset else "deap"

    @property
    def scale(self) -> Profile:
        """The profile's numbers."""
        return PROFILES[self.profile]

    @property
    def model_family(self) -> str:
        """``compact`` or ``reference``."""
        return self.scale.family if self.family == "auto" else self.family

    def designs(self) -> list[Params]:
        """One set of parameters per column of the tables: both twins, or the one real data set."""
        if not self.is_twin:
            return [self]
        return [replace(self, dataset=dataset) for dataset in DATASETS if dataset.startswith("twin")]

    def as_dict(self) -> dict:
        return asdict(self)

    def overview(self) -> dict[str, str]:
        """Configuration and versions, as every notebook shows them."""
        versions = {name: metadata.version(name) for name in ("torch", "numpy", "mne", "scikit-learn")}
        chosen = {name: str(value) for name, value in asdict(self).items() if name not in ("data_root", "allow_leak")}
        return chosen | {"python": platform.python_version()} | versions


def world_numbers(world: str) -> tuple[float, float, float, float]:
    """A world in numbers.

    Parameters
    ----------
    world : str
        ``SHARED/EEG/VIDEO`` or ``SHARED/EEG/VIDEO/GAIN``: variance shares of the feeling that both see, only the EEG
        sees and only the face shows, the rest to 1 being rating noise; and log-power per unit of code in the EEG.

    Returns
    -------
    w_shared, w_eeg, w_video, eeg_gain : float

    Raises
    ------
    ParameterError
        The text is neither, or the shares leave no room for noise.
    """
    try:
        shared, eeg, video, *gain = (float(part) for part in world.split("/"))
        (gain,) = gain or (EEG_GAIN,)
    except ValueError:
        raise ParameterError(
            f"parameter world: expected one of {', '.join(WORLDS)}, or {WORLD_NUMBERS}, got {world!r}"
        ) from None
    if not (min(shared, eeg, video) >= 0 and shared + eeg + video < 1 and 0 <= gain < float("inf")):
        raise ParameterError(
            f"parameter world: expected shares of 0 or more with a sum below 1 and a gain of 0 or more, got {world!r}"
        )
    return shared, eeg, video, gain


def world_name(shared: float, eeg: float, video: float, gain: float = EEG_GAIN) -> str:
    """The spelling under which a world in numbers is known."""
    return "/".join(f"{round(number, 6):g}" for number in (shared, eeg, video, gain))


def n_cores() -> int:
    """Cores that this process may use: affinity and a container's quota (``cpu.max``) count."""
    from joblib import cpu_count

    return cpu_count()


def home() -> Path:
    """Folder of everything computed: ``CDGKD_HOME``, or ``build/`` beside the nearest ``pyproject.toml``."""
    if os.environ.get("CDGKD_HOME"):
        return Path(os.environ["CDGKD_HOME"]).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file():
            return folder / "build"
    return here / "build"


def shown(path: str | os.PathLike) -> str:
    """`path` for display: relative to the folder that holds :func:`home`, or only its last part.

    Keeps names of people and machines out of stored notebook outputs.
    """
    path = Path(path)
    try:
        return path.resolve().relative_to(home().parent).as_posix()
    except ValueError:
        return path.name
