"""Profiles, parameters and places on disk. Knows nothing of the rest of the package."""

from __future__ import annotations

import ast
import difflib
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from pathlib import Path

DATASETS = ("twin", "twin_mahnob", "deap", "deap_raw", "mahnob")
CROPS, FAMILIES = ("centre", "face"), ("auto", "compact", "reference")
PROTOCOLS = ("trial+subject", "trial", "subject", "loso", "stimulus", "window")
TARGETS = ("valence", "arousal")
WORLDS = ("mixed", "shared_view", "same_feeling", "eeg_rich", "complementary")
DEFAULT_WORLD = "shared_view"
WORLD_HELP = f"one of {', '.join(WORLDS)}, or SHARED/EEG/VIDEO(/GAIN), such as 0.3/0.1/0 or 0.3/0.1/0/1.6"
EEG_GAIN = 0.8  # where a world in numbers does not say


class ParameterError(ValueError):
    """A notebook or command parameter is unknown, ill-typed or out of range."""


@dataclass(frozen=True)
class Profile:
    """How much is computed; only `bench` and `paper` are meant for reporting.

    `n_subjects`, `n_trials`, `n_windows` (per trial) shape the twin; on files `n_windows` is the largest number taken
    from a trial, 0 all. Assistants and teachers train at most `teacher_epochs`, and stop after `patience` epochs
    without a better validation score. Each of `n_repeats` redraws the split (and the twin's people) from
    ``seed + repeat`` and runs `n_folds`. `tuning_budget` settings are tried per method; 1 takes the declared one.
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
    """What is computed, on which data; notebooks build it with :meth:`from_notebook`.

    The twins (in DEAP's or MAHNOB-HCI's design) need no files; the other data sets are read from `data_root`,
    "deap_raw" being DEAP's original recordings instead of its preprocessed release. `seed` is that of the first
    repetition. `world`: what brain and face share on the twin, a name of ``WORLDS`` or numbers (:func:`world_numbers`).
    `extractor`: visual features, ``hog`` or ``timm:<model>``; `crop`: the part of a frame that is described, on files.
    `family`: small stand-in networks, or the paper's own; "auto" follows the profile. `protocol`: what a fold holds
    out; "trial+subject" tests unseen trials of known people and unseen people at once. `allow_leak` admits the leaky
    protocol "window", whose results are all labelled LEAKY.
    """

    dataset: str = "twin"
    data_root: str = ""
    target: str = "valence"
    profile: str = "quick"
    seed: int = 0
    world: str = DEFAULT_WORLD
    extractor: str = "hog"
    crop: str = "centre"
    family: str = "auto"
    protocol: str = "trial+subject"
    allow_leak: bool = False

    def __post_init__(self):
        for f in fields(self):
            value, wanted = getattr(self, f.name), type(f.default)
            if type(value) is not wanted:
                raise _wrong(f.name, wanted.__name__, f"{type(value).__name__} ({value!r})")
            if f.name in CHOICES and value not in CHOICES[f.name]:
                raise _wrong(f.name, f"one of {', '.join(CHOICES[f.name])}", repr(value))
        if self.world not in WORLDS:  # one world has one spelling: keys hold it
            object.__setattr__(self, "world", world_name(*world_numbers(self.world)))
        if self.seed < 0:
            raise _wrong("seed", "0 or more", self.seed)
        if self.protocol == "window" and not self.allow_leak:
            expected = "another, or allow_leak=True, which labels every result LEAKY"
            raise _wrong("protocol", expected, "'window': it puts windows of one trial into train and test")
        if self.is_twin and self.data_root:
            raise _wrong(
                "data_root", "'' or one of dataset='deap', 'deap_raw', 'mahnob', which read files", self.dataset
            )

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, object]) -> Params:
        """Read the parameters from a notebook's globals, `options` included; a ParameterError for an unknown one.

        What must be a parameter is every name set by a *parameter cell* in IPython's history: one of plain values only,
        among them a parameter, or one that papermill injected. Any other name is a variable of somebody's start-up
        file. Without such a cell, every single value must be one whose name nearly is a parameter's.
        """
        known = {f.name: f.default for f in fields(cls)}
        cells = list(_parameter_cells(namespace.get("In", ()), {*known, "options"}))
        # A cell that was corrected and executed once more counts no longer.
        valid = [c for place, c in enumerate(cells) if not any(c & {*known} <= later for later in cells[place + 1 :])]
        meant = {n: (_close(n, known), value) for n, value in namespace.items() if not n.startswith("_")}
        near = {n for n, (to, value) in meant.items() if to and isinstance(value, dict if "options" in to else _SINGLE)}
        names = set().union(*valid) or near
        _refuse_unknown(sorted(names - {"options"}), known, "notebook parameter")
        values = {name: namespace[name] for name in known if name in namespace}
        options = namespace.get("options", {})
        if not isinstance(options, Mapping):
            raise _wrong("options", "a dictionary such as {'world': 'shared_view'}", repr(options))
        _refuse_unknown(list(map(str, options)), known, "option")
        for name, value in options.items():
            if values.get(name, value) not in (value, known[name]):
                raise _wrong(name, "one value", f"{values[name]!r} and, in options, {value!r}")
        return cls(**values | dict(options))

    def for_notebook(self) -> dict[str, object]:
        """The parameters as a notebook takes them: five by name, what else differs from its default in `options`."""
        default, first = Params().as_dict(), ("dataset", "data_root", "target", "profile", "seed")
        more = {n: value for n, value in self.as_dict().items() if n not in first and value != default[n]}
        return {name: getattr(self, name) for name in first} | {"options": more}

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
        return [replace(self, dataset=name) for name in DATASETS[:2]] if self.is_twin else [self]

    def as_dict(self) -> dict:
        """All fields."""
        return asdict(self)

    def overview(self) -> dict[str, str]:
        """Configuration and versions, as every figure's record holds them; never the folder of the data."""
        versions = {name: metadata.version(name) for name in ("torch", "numpy", "mne", "scikit-learn")}
        chosen = {name: str(value) for name, value in asdict(self).items() if name not in ("data_root", "allow_leak")}
        return chosen | {"python": platform.python_version()} | versions


_SINGLE = str | int | float
CHOICES = {"dataset": DATASETS, "target": TARGETS, "profile": tuple(PROFILES), "crop": CROPS, "family": FAMILIES}
CHOICES |= {"protocol": PROTOCOLS}


def _wrong(name: str, expected: str, got: object) -> ParameterError:
    return ParameterError(f"parameter {name}: expected {expected}, got {got}")


def _close(name: str, known: Mapping[str, object]) -> list[str]:
    return difflib.get_close_matches(name.lower(), [*known, "options"], n=1, cutoff=0.75)


def _refuse_unknown(names: list[str], known: Mapping[str, object], what: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        meant = "".join(f" ({name}: did you mean {near[0]}?)" for name in unknown if (near := _close(name, known)))
        raise ParameterError(f"unknown {what} {', '.join(unknown)}{meant}; known: {', '.join(sorted(known))}")


def _parameter_cells(history: object, known: set[str]) -> Iterator[set[str]]:
    """Names set by each cell of IPython's history that sets plain values only, among them a parameter."""
    for source in history if isinstance(history, list) else ():
        names = set()
        try:
            for node in ast.parse(source).body:
                ast.literal_eval(node.value)
                names |= {target.id for target in (node.targets if isinstance(node, ast.Assign) else [node.target])}
        except (SyntaxError, ValueError, AttributeError, TypeError):
            continue  # no cell of plain values
        if names & known or source.startswith("# Parameters"):  # the latter: papermill's
            yield names


def world_numbers(world: str) -> tuple[float, float, float, float]:
    """Variance shares of the feeling that both see, only the EEG sees and only the face shows, the rest to 1 being
    rating noise; and log-power per unit of code in the EEG."""
    try:
        shared, eeg, video, *gain = (float(part) for part in world.split("/"))
        (gain,) = gain or (EEG_GAIN,)
    except ValueError:
        raise _wrong("world", WORLD_HELP, repr(world)) from None
    if not (min(shared, eeg, video) >= 0 and shared + eeg + video < 1 and 0 <= gain < float("inf")):
        raise _wrong("world", "shares of 0 or more with a sum below 1 and a gain of 0 or more", repr(world))
    return shared, eeg, video, gain


def world_name(shared: float, eeg: float, video: float, gain: float = EEG_GAIN) -> str:
    """The spelling under which a world in numbers is known."""
    return "/".join(f"{round(number, 6):g}" for number in (shared, eeg, video, gain))


def home() -> Path:
    """Folder of everything computed: ``CDGKD_HOME``, or ``build/`` beside the nearest ``pyproject.toml``."""
    if place := os.environ.get("CDGKD_HOME"):
        return Path(place).expanduser().resolve()
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / "pyproject.toml").is_file()), here) / "build"


def shown(path: str | os.PathLike) -> str:
    """`path` for display, without names of people and machines: relative to the folder of :func:`home`, or its end."""
    here = home().parent
    places = Path(os.path.abspath(path)), Path(path).resolve()  # the first keeps links inside the home
    return next((place.relative_to(here).as_posix() for place in places if place.is_relative_to(here)), Path(path).name)


def n_cores() -> int:
    """Cores that this process may use: its affinity and its container's quota, at least 1."""
    import joblib  # a tenth of a second, which a command's help need not wait for

    return joblib.cpu_count()


def keep_caches_writable() -> None:
    """Move the caches of libraries below :func:`home` where the user's own folder cannot be written."""
    if not os.access(Path("~").expanduser(), os.W_OK):
        for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            os.environ.setdefault(name, str(home() / "caches" / name.lower()))


keep_caches_writable()  # before the libraries are imported
