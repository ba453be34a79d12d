"""What the notebooks' panels train: a teacher watched epoch by epoch, a teacher under other conditions, a chain."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch

from ..config import home
from ..methods.rebalancing import MODALITIES
from ..training import Inputs, fit, predict
from .recipes import RECIPES, TEACHER, Recipe, find_recipe
from .runs import Experiment, Learner, RunRecord, run_folder, run_key, validation_score
from .study import FoldData, Study

N_SHOWN = 150  # windows at most, of the training and of the validation part each
MAX_FRAMES = 32
MAX_EPOCHS = 16  # of a try
# SGD as for the compact networks in all tables; Adam needs smaller steps.
OPTIMISERS: dict[str, dict[str, object]] = {"sgd": {}, "adam": {"optimizer": "adam", "learning_rate": 1e-3}}
OnEpoch = Callable[[pd.DataFrame], None]


def _kept(path: Path, make: Callable[[], object]) -> object:
    """What is stored at `path`, else made and stored there; a file that cannot be read is made anew."""
    with contextlib.suppress(Exception):
        return joblib.load(path)
    value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    joblib.dump(value, temporary)
    os.replace(temporary, path)
    return value


@dataclass(frozen=True)
class History:
    """A teacher's training frame by frame; a frame is the state in which an epoch begins."""

    name: str  # of the recipe
    log: pd.DataFrame  # of the whole training
    epochs: np.ndarray  # (n_frames,), epoch that each frame begins, ascending from 0
    embeddings: dict[str, np.ndarray]  # by modality (n_frames, n_shown, n_features), in evaluation mode
    prototypes: dict[str, np.ndarray]  # by modality (n_frames, n_classes, n_features), as the loss used them
    rows: np.ndarray  # (n_shown,), numbers of the windows
    labels: np.ndarray
    parts: np.ndarray  # "train" or "val"

    @property
    def seen(self) -> pd.DataFrame:
        """Rows of the log whose epochs begin with a frame."""
        return self.log.set_index("epoch").loc[self.epochs]


def record_history(
    experiment: Experiment,
    recipe: str | Recipe,
    *,
    on_epoch: OnEpoch | None = None,
    progress: bool = False,
    again: bool = False,
) -> History:
    """Train a rebalanced or plain teacher and record its course; a history that is stored is read back.

    The recorded training is the run itself, in whose folder the history lies. There is a frame per epoch, or for every
    second (third, ...) where there would be more than ``MAX_FRAMES``; other parameters are those of ``Experiment.run``.
    """
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    if recipe.loss != "rebalanced":
        raise ValueError(f"recipe {recipe.name}: expected loss 'rebalanced', got {recipe.loss!r}")
    variants = {run_key(experiment.spec(one)): one for one in experiment.variants(recipe)}
    key = run_key(experiment.run(recipe).spec) if len(variants) > 1 else next(iter(variants))
    path = run_folder(recipe.name, key) / "history.joblib"
    if again:
        path.unlink(missing_ok=True)

    def record() -> History:
        data, parts = experiment.fold_data, {"train": experiment.split.train, "val": experiment.split.val}
        rng = np.random.default_rng([data.seed, data.fold])  # the same windows for every recipe of a fold
        shown = [np.sort(rng.choice(rows, size=min(N_SHOWN, len(rows)), replace=False)) for rows in parts.values()]
        rows, named = np.concatenate(shown), np.repeat(list(parts), [len(one) for one in shown])
        epochs, frames, prototypes = [], {m: [] for m in MODALITIES}, {m: [] for m in MODALITIES}

        def watch(learner: Learner) -> OnEpoch:
            step, device = -(-learner.settings.epochs // MAX_FRAMES), learner.inputs.labels.device

            def embed() -> dict[str, np.ndarray]:
                features = predict(learner.model, learner.inputs, torch.from_numpy(rows).to(device)).features
                return {m: features[m].cpu().numpy() for m in MODALITIES}

            state = embed()

            def after_epoch(log: pd.DataFrame) -> None:
                nonlocal state
                if (len(log) - 1) % step == 0:  # how it began, and the prototypes that the loss then took from that
                    epochs.append(len(log) - 1)
                    for m in MODALITIES:
                        frames[m].append(state[m])
                        prototypes[m].append(learner.loss.prototypes[m].value.cpu().numpy().copy())
                if len(log) % step == 0 and len(log) < learner.settings.epochs:
                    state = embed()
                if on_epoch is not None:
                    on_epoch(log)

            return after_epoch

        run = experiment.run(variants[key], again=True, watch=watch, progress=progress)
        stacked = ({m: np.stack(kept[m]) for m in MODALITIES} for kept in (frames, prototypes))
        return History(run.name, run.log, np.array(epochs), *stacked, rows, data.labels[rows], named)

    return _kept(path, record)


def train_try(
    experiment: Experiment,
    *,
    eeg_signal: int = 100,
    video_signal: int = 100,
    strength: float = 10.0,
    optimiser: str = "sgd",
    on_epoch: OnEpoch | None = None,
) -> pd.DataFrame:
    """The epoch log of the compact teacher under other conditions; a try that was made before is read back.

    `eeg_signal` and `video_signal` are percents of the windows that keep their own EEG or video, the others exchange it
    (:func:`exchanged`); `strength` is of the rebalancing (alpha, 0 only measures); `optimiser` is sgd or adam.
    There is no early stopping and nothing is tested: a teacher that is tuned by hand must not see the test parts.
    """
    if not (0 <= eeg_signal <= 100 and 0 <= video_signal <= 100 and strength >= 0 and optimiser in OPTIMISERS):
        raise ValueError("expected signals of 0 to 100 percent, a strength of 0 or more, and optimiser sgd or adam")
    recipe = replace(RECIPES[TEACHER], selection="last_epoch", training=OPTIMISERS[optimiser], grid=())
    recipe = recipe.but(strength=float(strength))
    study = experiment.study
    params = replace(study.params, family="compact")  # whose networks train in seconds
    compact = Experiment(Study(params, study.repeat, windows=study.windows), experiment.target, experiment.fold)
    settings = replace(compact.settings(recipe), epochs=n_epochs(experiment))
    key = run_key({"run": compact.spec(recipe), "signal": [eeg_signal, video_signal], "epochs": settings.epochs})

    def train() -> pd.DataFrame:
        data = experiment.fold_data
        compact.fold_data = replace(data, inputs=conditioned(data, eeg_signal, video_signal))
        model, inputs, loss, _, seed = compact.learner(recipe)
        done = fit(model, inputs, loss, settings, seed=seed, on_epoch=on_epoch)
        if done.interrupted:
            raise KeyboardInterrupt("the try was interrupted; nothing was stored")
        return done.log

    return _kept(home() / "tries" / f"{key[:20]}.joblib", train)


def n_epochs(experiment: Experiment) -> int:
    """Length of a try."""
    return min(MAX_EPOCHS, experiment.study.params.scale.teacher_epochs)


def exchanged(rows: np.ndarray, people: np.ndarray, percent: int, rng: np.random.Generator) -> np.ndarray:
    """Whose signal each of some rows gets when only `percent` of them keep their own: a permutation of `rows`.

    Of every person the others exchange theirs in a circle: only the link of a moment's signal to its rating is cut.
    """
    source = rows.copy()
    for person in np.unique(people):
        mine = rng.permutation(np.flatnonzero(people == person))
        cut = mine[: round(len(mine) * (100 - percent) / 100)]
        source[cut] = rows[np.roll(cut, 1)]
    return source


def conditioned(data: FoldData, eeg_signal: int, video_signal: int) -> Inputs:
    """The inputs of a fold with less signal; windows of the test parts are left as they are."""
    inputs, subjects, moved = data.inputs, data.index["subject"].to_numpy(), {}
    for number, (percent, names) in enumerate(((eeg_signal, ("eeg",)), (video_signal, ("video", "frame_mask")))):
        source = np.arange(len(data.labels))
        for part, rows in enumerate((inputs.train.numpy(), inputs.val.numpy())):
            rng = np.random.default_rng([data.seed, data.fold, number, part])
            source[rows] = exchanged(rows, subjects[rows], percent, rng)
        if percent < 100:
            moved |= {name: inputs.view(name).index_select(0, torch.from_numpy(source)) for name in names}
    return replace(inputs, **moved)


def chain_recipe(n_assistants: int, drop_prob: float) -> Recipe:
    """CDGKD's student with fewer of its chain's assistants (0 .. 2) or another drop probability, nothing else changed.

    Without assistants this is "KD + drop", or KD when nothing is dropped: these are the same stored runs.
    """
    guides = RECIPES["cdgkd"].guides
    if n_assistants not in range(len(guides)) or not 0 <= drop_prob < 1:
        raise ValueError(f"expected 0 to 2 assistants and a drop probability below 1, got {n_assistants}, {drop_prob}")
    if n_assistants == 0:
        return RECIPES["kd_drop"].but(drop_prob=drop_prob) if drop_prob else RECIPES["kd"]
    return replace(RECIPES["cdgkd"].but(drop_prob=drop_prob), guides=guides[: 1 + n_assistants])


def train_chain(
    experiment: Experiment, n_assistants: int, drop_prob: float, *, tell: Callable[[float, str], None] | None = None
) -> dict[str, float]:
    """The student of :func:`chain_recipe`, trained if it is not stored, in numbers of validation windows.

    ``balanced_accuracy`` (of the chosen epoch), ``agreement`` (share of windows with the teacher's answer) and
    ``silent`` (share of mini-batches without any guide). Test windows are left alone: whoever turns a knob must not
    look at them. `tell`, if given, takes the share of the epochs that are done and a sentence.
    """
    recipe = chain_recipe(n_assistants, drop_prob)
    most = experiment.settings(recipe).epochs

    def on_epoch(log: pd.DataFrame) -> None:
        if tell is not None:
            tell(min(1.0, len(log) / most), f"epoch {len(log)} of at most {most}")

    record, val = experiment.run(recipe, on_epoch=on_epoch), experiment.inputs.val.numpy()
    said, taught = (one.logits[val].argmax(axis=1) for one in (record, experiment.run(TEACHER)))
    numbers = {"balanced_accuracy": float(validation_score(record)[0]), "agreement": float(np.mean(said == taught))}
    silent = float((~record.kept.any(axis=1)).mean())
    return {"n_assistants": n_assistants, "drop_prob": drop_prob, **numbers, "silent": silent}


def classifier_inputs(experiment: Experiment, records: Mapping[str, RunRecord]) -> dict[str, np.ndarray]:
    """What enters the classifiers of trained networks, for all windows, in evaluation mode."""
    rows = experiment.inputs.every_row
    outputs = {name: predict(record.model(), experiment.inputs, rows) for name, record in records.items()}
    return {name: output.features["classifier_input"].numpy() for name, output in outputs.items()}
