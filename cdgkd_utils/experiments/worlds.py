"""What a perfect EEG-only guide does for a student of faces, in any world of the twin, within seconds.

Faces are the same in all worlds of a seed and nobody here needs EEG: only ratings and latents are drawn again.
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


@dataclass(frozen=True)
class Gain:
    """Expected accuracies (%, unseen trials) of students with labels alone and also taught, a pair per target and fold.

    ``row()`` is one row for a table of worlds: shares, theory, means, ``gain`` (points) and its ``se`` over pairs, NaN
    for a single one. Pairs share people and faces, so that it is too small rather than too large.
    """

    world: World
    alone: tuple[float, ...]
    taught: tuple[float, ...]

    def row(self) -> dict[str, float | str]:
        shares = {name: getattr(self.world, name) for name in ("w_shared", "w_eeg", "w_video")}
        theory = {name: getattr(self.world, name) for name in ("r_views", "r_label", "margin")}
        gains = pd.Series(np.subtract(self.taught, self.alone))
        means = {"alone": np.mean(self.alone), "taught": np.mean(self.taught), "gain": gains.mean(), "se": gains.sem()}
        name = "/".join(f"{share:.2g}" for share in shares.values())
        return {"world": name} | shares | theory | {name: float(value) for name, value in means.items()}


@dataclass
class WorldBank:
    """Faces of one seed, around which any world can be drawn.

    Of `params`, a twin's, world, target, family and protocol do not matter: students are the compact ones. Another
    `repeat` has other people.
    """

    params: Params
    repeat: int = 0

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
        """Train the students of a world, a pair per target and fold; those trained before are read back.

        The shares of variance leave the rest to 1 to rating noise. `tell` gets the share done and a text.
        """
        study, accuracies = self._study(world_name(w_shared, w_eeg, w_video)), {ALONE: [], TAUGHT: []}
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
        """A world without EEG: runs carry the key of the full way, so what did look at it must not come to an end."""
        params = self._params(world)
        settings = twin_settings(params, self.repeat)
        study = Study(params, self.repeat, windows=redrawn(self.faces, settings, windows_key(params, self.repeat)))
        study.covariances = torch.full((1, len(BANDS), 1, 1), float("nan"))
        return study


def redrawn(faces: Windows, settings: TwinSettings, key: str) -> Windows:
    """The windows of another world with the same people's faces; the EEG, shape (n_windows, 28, 1), is NaN."""
    plans = [plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1)]
    truth = pd.concat([truth_table(plan) for plan in plans], ignore_index=True)
    ratings = pd.DataFrame(np.concatenate([plan.ratings for plan in plans]), columns=list(RATINGS))
    place = pd.MultiIndex.from_frame(truth[["subject", "trial"]])
    rows = place.get_indexer(pd.MultiIndex.from_frame(faces.index[["subject", "trial"]]))
    asked = [name for name in RATINGS if faces.index[name].notna().any()]  # the others stay without an answer
    about = {"name": f"{settings.design.title} (world {settings.world})", "key": key}
    return replace(
        faces,
        eeg=np.broadcast_to(np.float32("nan"), (len(rows), faces.eeg.shape[1], 1)),
        index=faces.index.assign(**{name: ratings[name].to_numpy()[rows] for name in asked}),
        truth=truth.drop(columns=["subject", "trial"]).iloc[rows].reset_index(drop=True),
        meta=faces.meta | about | {"settings": {**faces.meta["settings"], **asdict(settings)}},
    )


def expected_accuracy(experiment: Experiment, record: RunRecord) -> float:
    """Mean over the unseen trials' windows of P(rating as predicted | latent), in percent."""
    rows = experiment.split.parts()["test_trial"]
    posterior = experiment.study.windows.posterior(experiment.target)[rows]
    says_high = record.logits[rows, 1] > record.logits[rows, 0]
    return 100 * float(np.where(says_high, posterior, 1 - posterior).mean())
