"""What a perfect EEG-only guide does for a student of faces, in any world of the twin, within seconds.

Faces are the same in all worlds of a seed, and neither this guide nor the student needs EEG signals. So nothing is
rendered: ratings and latents are drawn again around stored faces, and the two students are those of the full way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from ..config import Params, world_name
from ..data.constants import BANDS, RATINGS, TARGETS
from ..data.load import load_windows, twin_settings, windows_key
from ..data.twin import FACE_WORLD, TwinSettings, World, find_world, plan_subject, truth_table
from ..data.types import Windows
from .recipes import find_recipe
from .runs import Experiment, RunRecord
from .study import Study

ALONE, TAUGHT = "ce", "kd@oracle_eeg"
N_FOLDS = 3  # of the split by trials and subjects


@dataclass(frozen=True)
class Gain:
    """Two students per target and fold, with labels alone and also taught: their expected accuracy (%), pair by pair.

    By the true posterior, on unseen trials of known people.
    """

    world: World
    alone: tuple[float, ...]
    taught: tuple[float, ...]

    @property
    def gains(self) -> np.ndarray:
        """Taught minus alone in points, shape (n_pairs,)."""
        return np.subtract(self.taught, self.alone)

    def row(self) -> dict[str, float | str]:
        """One row for a table of worlds: shares, theory, mean accuracies (%), ``gain`` (points) and its ``se``.

        ``se`` is over pairs, NaN for a single one. Pairs share people and faces, so that it is too small rather than
        too large; it says nothing of other people.
        """
        shares = {name: getattr(self.world, name) for name in ("w_shared", "w_eeg", "w_video")}
        n_pairs = len(self.gains)
        return {
            "world": "/".join(f"{share:.2g}" for share in shares.values()),
            **shares,
            **{name: getattr(self.world, name) for name in ("r_views", "r_label", "margin")},
            "alone": float(np.mean(self.alone)),
            "taught": float(np.mean(self.taught)),
            "gain": float(self.gains.mean()),
            "se": float(self.gains.std(ddof=1) / np.sqrt(n_pairs)) if n_pairs > 1 else float("nan"),
        }


@dataclass
class WorldBank:
    """Faces of one seed, around which any world can be drawn.

    Of `params`, a twin's, world, target, family and protocol do not matter: students are the compact ones. Another
    `repeat` has other people.
    """

    params: Params
    repeat: int = 0

    def __post_init__(self):
        if not self.params.is_twin:
            raise ValueError(f"dataset: expected a twin, whose shares are known, got {self.params.dataset!r}")

    @cached_property
    def faces(self) -> Windows:
        """Windows of the world in which faces are drawn, prepared when first asked for; features in memory."""
        windows = load_windows(self._params(FACE_WORLD), repeat=self.repeat)
        return replace(windows, video=windows.video_at())

    def gain(
        self,
        w_shared: float,
        w_eeg: float,
        w_video: float,
        *,
        targets: Sequence[str] = TARGETS,
        folds: Sequence[int] = (0,),
        tell: Callable[[float, str], None] | None = None,
    ) -> Gain:
        """Train the students of a world; those trained before are read back.

        Parameters
        ----------
        w_shared, w_eeg, w_video : float
            Variance shares; the rest to 1 is rating noise.
        targets : sequence of {"valence", "arousal"}
        folds : sequence of int
            0 .. 2; a pair of students per target and fold.
        tell : callable, optional
            Gets the share that is done and a text, before each student.
        """
        if not targets or not set(targets) <= set(TARGETS):
            raise ValueError(f"targets: expected some of {', '.join(TARGETS)}, got {list(targets)}")
        if not folds or not set(folds) <= set(range(N_FOLDS)):
            raise ValueError(f"folds: expected some of 0 to {N_FOLDS - 1}, got {list(folds)}")
        study = self._study(world_name(w_shared, w_eeg, w_video))
        accuracies: dict[str, list[float]] = {ALONE: [], TAUGHT: []}
        experiments = [Experiment(study, target, fold) for target in targets for fold in folds]
        jobs = [(experiment, name) for experiment in experiments for name in accuracies]
        for done, (experiment, name) in enumerate(jobs):
            if tell is not None:
                tell(done / len(jobs), f"student {done + 1} of {len(jobs)}")
            record = experiment.run(replace(find_recipe(name), grid=()))
            accuracies[name].append(expected_accuracy(experiment, record))
        return Gain(find_world(study.params.world), tuple(accuracies[ALONE]), tuple(accuracies[TAUGHT]))

    def _params(self, world: str) -> Params:
        return replace(self.params, world=world, family="compact", protocol="trial+subject", allow_leak=False)

    def _study(self, world: str) -> Study:
        """A world whose runs are those of the full way, as long as they need no EEG: it is not a number here.

        Runs carry the key of the full way, so a network that did look at the EEG must not come to an end.
        """
        params = self._params(world)
        settings = twin_settings(params, self.repeat)
        study = Study(params, self.repeat, windows=redrawn(self.faces, settings, windows_key(params, self.repeat)))
        study.covariances = torch.full((1, len(BANDS), 1, 1), float("nan"))
        return study


def redrawn(faces: Windows, settings: TwinSettings, key: str) -> Windows:
    """The windows of another world with the same people's faces; the EEG, shape (n_windows, 28, 1), is NaN.

    `faces` are of the same seed, size and layout as the `settings` of the world; `key` is of the world's windows.
    """
    plans = [plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1)]
    truth = pd.concat([truth_table(plan) for plan in plans], ignore_index=True)
    ratings = pd.DataFrame(np.concatenate([plan.ratings for plan in plans]), columns=list(RATINGS))
    place = pd.MultiIndex.from_frame(truth[["subject", "trial"]])
    rows = place.get_indexer(pd.MultiIndex.from_frame(faces.index[["subject", "trial"]]))
    index = faces.index.copy()
    for name in RATINGS:
        if faces.index[name].notna().any():  # a question that nobody was asked stays without an answer
            index[name] = ratings[name].to_numpy()[rows]
    about = {"name": f"{settings.design.title} (world {settings.world})", "key": key}
    about["settings"] = {**faces.meta["settings"], **asdict(settings)}
    return Windows(
        eeg=np.broadcast_to(np.float32("nan"), (len(index), faces.eeg.shape[1], 1)),
        video=faces.video,
        frame_mask=faces.frame_mask,
        index=index,
        truth=truth.drop(columns=["subject", "trial"]).iloc[rows].reset_index(drop=True),
        meta=faces.meta | about,
    )


def expected_accuracy(experiment: Experiment, record: RunRecord) -> float:
    """Mean over the unseen trials' windows of P(rating as predicted | latent), in percent."""
    rows = experiment.split.parts()["test_trial"]
    posterior = experiment.study.windows.posterior(experiment.target)[rows]
    says_high = record.logits[rows, 1] > record.logits[rows, 0]
    return 100 * float(np.where(says_high, posterior, 1 - posterior).mean())
