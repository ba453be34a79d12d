"""What a notebook works with: ``lab = cd.start(globals())``, one fold of the data that its parameters name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from IPython.display import display

from . import viz
from .config import Params, home, keep_caches_writable
from .data.splits import check_fold, deal_trials, labels_permuted_between_trials, leak_scores
from .data.steps import trial_steps
from .data.twin import WORLDS
from .data.types import Windows
from .data.windows import trial_frames
from .deploy import student
from .deploy.clip import answer_bytes
from .experiments import controls, grid, panels
from .experiments.recipes import Recipe, find_recipe
from .experiments.runs import Experiment, RunRecord
from .experiments.study import Study
from .experiments.worlds import WorldBank
from .methods.guide_report import GuideReport, guide_report, mean_face
from .results import metrics, tables
from .results.paper import PROTOCOL_NAMES, RED_FLAGS, display_name
from .results.statistics import claims_text, judge_claims
from .training import predict

CHAIN = {"teacher": "fusion_rebalanced", "assistant 1": "ta1_drop", "assistant 2": "ta2_drop", "student": "cdgkd"}


def start(namespace: Mapping[str, object] | None = None, **parameters) -> Lab:
    """Read a notebook's parameters, strictly, and open the data that they name.

    Parameters
    ----------
    namespace : mapping, optional
        A notebook's ``globals()``, after the cell tagged "parameters".
    **parameters
        Fields of :class:`~cdgkd_utils.config.Params`, where there is no notebook.

    Raises
    ------
    ParameterError
        A parameter is unknown, misspelt or impossible.

    Examples
    --------
    >>> lab = cd.start(globals())
    >>> lab = cd.start(profile="smoke", world="mixed")
    """
    keep_caches_writable()
    params = Params(**parameters) if namespace is None else Params.from_notebook(namespace)
    viz.use()
    lab = Lab(params)
    display(lab)
    return lab


def _checkout() -> Path:
    """The repository's folder: the nearest one here or above with a ``pyproject.toml``, else where we are."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here)


class Watched(NamedTuple):
    """A teacher whose training was watched: its run, and its embeddings after each epoch."""

    run: RunRecord
    history: panels.History


class Tables:
    """Both tables of the paper on the data of some parameters; missing runs are made first.

    Attributes
    ----------
    scores : DataFrame
        One row per run, test part and metric.
    """

    def __init__(self, params: Params):
        runs = [(p, *run) for p in params.designs() for run in grid.run_all(p)]
        self.params, self.scores = params, tables.collect(runs)

    def long(self, number: int) -> pd.DataFrame:
        """One table in long form. Example: ``tables.long(1)["mean"]``."""
        return tables.results_table(self.scores, number)

    def table(self, number: int) -> pd.DataFrame:
        """One table in the poster's layout. Example: ``tables.table(1)``."""
        return tables.poster_table(self.long(number))

    def ablation(self) -> pd.DataFrame:
        """The poster's five variants. Example: ``tables.ablation()``."""
        return tables.ablation(pd.concat([self.long(1), self.long(2)]), self.params.layout)

    def claims(self) -> pd.DataFrame:
        """What these runs say to each claim. Example: ``cd.plot.draw_claims(tables.claims())``."""
        return judge_claims(self.scores)

    def claims_text(self) -> str:
        """The same in words, in Markdown. Example: ``Markdown(tables.claims_text())``."""
        return claims_text(self.claims())

    @staticmethod
    def published() -> tuple[pd.DataFrame, str]:
        """Claims of the published grid, as a table and in words, from ``figures``. Example: ``tables.published()[1]``.

        Empty, with a sentence, outside a checkout of the repository.
        """
        folder = _checkout() / "figures"
        try:
            page = (folder / "RESULTS.md").read_text(encoding="utf-8")
            return pd.read_csv(folder / "claims.csv"), page.split("\n## ")[1].split("\n", 1)[1]
        except (OSError, IndexError):
            return pd.DataFrame(), "The published results lie in figures/ of a checkout of the repository."

    @staticmethod
    def red_flags() -> str:
        """What makes a reader careful with the printed numbers. Example: ``Markdown(tables.red_flags())``."""
        return "\n".join(f"{number}. {flag}" for number, flag in enumerate(RED_FLAGS, 1))


class Lab(Experiment):
    """One fold of one data set, and everything that a notebook asks of it."""

    def __init__(self, params: Params):
        super().__init__(Study(params), params.target, fold=0)

    # What there is

    @property
    def params(self) -> Params:
        """The notebook's parameters. Example: ``lab.params.profile``."""
        return self.study.params

    @property
    def windows(self):
        """All windows: ``eeg, video, frame_mask, index``. Example: ``lab.windows.eeg.shape``."""
        return self.study.windows

    @cached_property
    def labels(self) -> np.ndarray:
        """Label of each window, shape (n_windows,). Example: ``lab.labels.mean()``."""
        return self.study.labels(self.target)

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """Rows of each part of the fold. Example: ``lab.parts["train"]``."""
        return self.split.parts()

    @property
    def test(self) -> str:
        """Name of the first test part. Example: ``lab.parts[lab.test]``."""
        return next(name for name in self.parts if name.startswith("test"))

    @property
    def unseen(self) -> str:
        """What the first test part holds, in words. Example: ``lab.unseen``, such as "unseen trials"."""
        return PROTOCOL_NAMES[self.test.removeprefix("test_")]

    def __repr__(self) -> str:
        p = self.params
        data = self.windows.meta["name"]
        return f"{data} | target {p.target} | profile {p.profile} | seed {p.seed} | {p.model_family} networks"

    def overview(self) -> pd.DataFrame:
        """What was recorded, in numbers. Example: ``lab.overview()``."""
        trials = self.windows.index.drop_duplicates(["subject", "trial"])
        numbers = {"people": trials["subject"].nunique(), "trials": len(trials), "windows": len(self.windows)}
        numbers |= {"missing pictures": int((~self.windows.frame_mask).sum())}
        numbers |= {f"high {t} (%)": round(100 * self.windows.labels(t).mean(), 1) for t in ("valence", "arousal")}
        return pd.DataFrame(numbers, index=[self.windows.meta["name"]])

    def frames(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures, features and times (s) of one window. Example: ``cd.plot.draw_features(*lab.frames(0))``."""
        pictures, _, times = trial_frames(self.params, self.windows, [row])
        return pictures[0], self.windows.video_at(row), times

    def steps(self, dataset: str = "deap_raw") -> list:
        """One trial through its reader, step by step. Example: ``cd.plot.draw_steps(lab.steps())``."""
        return trial_steps(self.params, dataset)

    def certificate(self) -> pd.DataFrame:
        """What the fold's parts share, proven. Example: ``lab.certificate()``."""
        return check_fold(self.split, self.windows.index, self.labels)

    def leak(self) -> tuple[Windows, dict, pd.DataFrame]:
        """What careless splits promise. Example: ``cd.plot.leak_o_meter(*lab.leak())``."""
        shuffled = labels_permuted_between_trials(self.windows, self.labels, np.random.default_rng(self.params.seed))
        labels = {"true": self.labels, "permuted": shuffled}
        scores, folds = leak_scores(self.windows, labels, seed=self.params.seed)
        return self.windows, folds, scores

    def floors(self, n_draws: int = 10) -> pd.DataFrame:
        """Accuracy (%) of knowing only who it is, by how trials are dealt. Example: ``lab.floors()``."""
        index, trials = self.windows.index, self.fold_data.trials
        rows, people, found = np.arange(len(index)), index["subject"].to_numpy(), []
        for seed in range(n_draws):
            shuffled = np.random.default_rng(seed).permutation(self.labels[np.unique(trials, return_index=True)[1]])[
                trials
            ]
            for words, labels in {"true": self.labels, "permuted": shuffled}.items():
                for dealt, by in {"by person": None, "by person and label": labels}.items():
                    train, test = deal_trials(rows, trials, people, by, 4, seed % 4, seed)
                    found.append((dealt, f"{words} labels", 100 * metrics.knows_only_who(labels, people, train, test)))
        frame = pd.DataFrame(found, columns=["trials are dealt", "labels", "accuracy"])
        return frame.groupby(["trials are dealt", "labels"])["accuracy"].agg(["mean", "std"]).round(1).unstack(0)

    @staticmethod
    def world_table() -> pd.DataFrame:
        """The twin's named worlds in numbers. Example: ``lab.world_table()``."""
        names = ("w_shared", "w_eeg", "w_video", "r_views", "r_label", "margin", "words")
        return pd.DataFrame({name: {k: getattr(w, k) for k in names} for name, w in WORLDS.items()}).T.infer_objects()

    # What is trained

    def last_epoch(self, name: str) -> Recipe:
        """A recipe that keeps its last epoch. Example: ``lab.run(lab.last_epoch("fusion"))``."""
        return replace(find_recipe(name), selection="last_epoch")

    def without_guides(self, name: str) -> Recipe:
        """A recipe with cross-entropy alone. Example: ``lab.run(lab.without_guides("released_cdgkd"))``."""
        return replace(find_recipe(name), name=f"{name}_ce", loss="ce", options={}, guides=())

    def watch(self, name: str, live: bool = False) -> Watched:
        """Train a fusion to its last epoch and keep what it was like after each; `live` draws it meanwhile.

        Example: ``lab.watch("fusion_rebalanced", live=True).run.log``.
        """
        recipe, on_epoch = self.last_epoch(name), None
        if live:
            on_epoch = viz.LiveTraining(display_name(name), self.settings(recipe).epochs).update
        history = panels.record_history(self, recipe, on_epoch=on_epoch, again=live, progress=not live)
        return Watched(self.run(recipe), history)

    def embed(self, run: RunRecord, part: str) -> dict[str, torch.Tensor]:
        """Embeddings of one part, by modality, in evaluation mode. Example: ``lab.embed(run, "train")["eeg"]``."""
        output = predict(run.model(), self.inputs, torch.from_numpy(self.parts[part]))
        return {m: output.features[m] for m in ("eeg", "video") if m in output.features}

    def draw_embeddings(self, run: RunRecord):
        """UMAP of training beside unseen windows, prototypes as stars. Example: ``lab.draw_embeddings(run)``."""
        from .methods.rebalancing import class_means

        panels_, n_train = {}, len(self.parts["train"])
        y = np.concatenate([self.labels[self.parts[part]] for part in ("train", self.test)])
        for m in ("eeg", "video"):
            train, unseen = (self.embed(run, part)[m] for part in ("train", self.test))
            means, _ = class_means(train, torch.from_numpy(y[:n_train]))
            rng = np.random.default_rng(self.params.seed)
            both = torch.cat([train, unseen]).numpy()
            xy, shown, stars = viz.project(both, means.numpy(), self.params.scale.umap_points, rng)
            parts = {"training windows": (shown < n_train, train), self.unseen: (shown >= n_train, unseen)}
            for words, (inside, z) in parts.items():
                rows = self.parts["train" if words == "training windows" else self.test]
                found = metrics.separation(z.numpy(), self.labels[rows])
                note = f"gap/within {found['gap_within']:.2f}, silhouette {found['silhouette']:.3f}"
                panels_[f"{m}, {words}"] = (xy[inside], y[shown[inside]], stars, note)
        return viz.draw_embeddings(panels_)

    def chain(self) -> dict[str, RunRecord]:
        """Teacher, assistants and student of CDGKD, by role. Example: ``lab.chain()["student"].log``."""
        return {role: self.run(name, progress=True) for role, name in CHAIN.items()}

    @property
    def n_epochs(self) -> int:
        """Epochs of a try. Example: ``lab.n_epochs``."""
        return panels.n_epochs(self)

    def train_try(self, **conditions) -> pd.DataFrame:
        """Epoch log of a small teacher under other conditions. Example: ``lab.train_try(eeg_signal=40)``."""
        return panels.train_try(self, **conditions)

    def tries(self, signals: Iterable[tuple[int, int]], strength: int = 10) -> list[tuple[dict, pd.DataFrame]]:
        """Conditions and logs for ``cd.plot.rebalancing_tries``. Example: ``lab.tries([(100, 100), (40, 100)])``."""
        given = [{"eeg_signal": e, "video_signal": v, "strength": strength, "optimiser": "sgd"} for e, v in signals]
        return [(one, self.train_try(**one)) for one in given]

    def control_fusion(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rebalancing on scanned digits. Example: ``cd.plot.draw_control_fusion(*lab.control_fusion())``."""
        seeds = range(1 if self.params.profile == "smoke" else 3)
        make = partial(controls.fusion_control, seeds, optimizers=("sgd",))
        return panels._kept(home() / "controls" / f"fusion-{len(seeds)}.joblib", make)

    def control_students(self) -> pd.DataFrame:
        """Distillation on scanned digits. Example: ``cd.plot.control_students(lab.control_students())``."""
        seeds = range(1 if self.params.profile == "smoke" else 6)
        make = partial(controls.student_control, seeds, flipped=(0.0, 0.25))
        return panels._kept(home() / "controls" / f"students-{len(seeds)}.joblib", make)

    def train_chain(self, n_assistants: int, drop_prob: float, **more) -> dict[str, float]:
        """A student with fewer guides or more silence. Example: ``lab.train_chain(2, 0.75)``."""
        return panels.train_chain(self, n_assistants, drop_prob, **more)

    # What comes out

    def scores(self, names: Sequence[str | Recipe], extra: str = "") -> pd.DataFrame:
        """Accuracy and, on the twin, expected accuracy (%) of methods on this fold; `extra` adds a result of the runs.

        Example: ``lab.scores(["ce", "kd", "cdgkd"])``.
        """
        rows = {}
        for name in names:
            run = self.run(name, progress=True)
            found = pd.DataFrame(tables.score_run(self.params, 0, run.folder))
            known = found[found["metric"].isin(["accuracy", "expected_accuracy"])]
            label = display_name(run.name)
            rows[label] = {
                (PROTOCOL_NAMES[r.protocol], r.metric.replace("_", " ")): 100 * r.value for r in known.itertuples()
            }
            if extra:
                rows[label][extra.replace("_", " "), "%"] = run.result.get(extra, float("nan"))
        return pd.DataFrame.from_dict(rows, orient="index").round(1)

    def guide_quality(self, guides: Mapping[str, str]) -> dict[str, pd.DataFrame]:
        """What guides know of training and of unseen windows. Example: ``lab.guide_quality({"teacher": "fusion"})``."""
        stored = {name: self.run(recipe, progress=True).folder for name, recipe in guides.items()}
        parts = {"training": "train", self.unseen: self.test}
        return {words: metrics.guide_quality(stored, part) for words, part in parts.items()}

    def answers(self, chain: Mapping[str, RunRecord]) -> metrics.ChainAnswers:
        """Answers of a chain on all parts. Example: ``cd.plot.soft_targets(lab.answers(lab.chain()))``."""
        logits = {role: run.logits for role, run in chain.items()}
        return metrics.ChainAnswers(logits, self.labels, self.parts, self.windows.index)

    def silence(self, chain: Mapping[str, RunRecord]) -> dict[str, tuple[np.ndarray, tuple[str, ...], float]]:
        """Which guides each learner heard. Example: ``cd.plot.silence(lab.silence(lab.chain()))``."""
        roles = tuple(chain)
        return {
            role: (run.kept, roles[:n], run.spec["recipe"]["options"]["drop_prob"])
            for n, (role, run) in enumerate(chain.items())
            if n
        }

    def deploy(self, run: RunRecord) -> student.Student:
        """A trained student with its scaling and temperature. Example: ``lab.deploy(lab.run("cdgkd"))``."""
        return student.deploy(self, run)

    def export(self, run: RunRecord) -> Path:
        """Write a student as a folder that stands alone. Example: ``cd.load_student(lab.export(run))``."""
        return student.export(self, run)

    def own_clip(self, one: student.Student, clip, truth: float = float("nan")):
        """A clip and the student's answer, with a button for a clip of one's own. Example: in notebook 07."""
        example = (clip.name, clip.frames, clip.mask, clip.answer(one))
        return viz.own_clip(partial(answer_bytes, one, one.about), self.target, example, truth)

    def check_guide(self, name: str, *, saw_video: bool) -> GuideReport:
        """The check on a guide, from training windows alone. Example: ``lab.check_guide("eeg", saw_video=False)``."""
        rows = self.parts["train"]
        said = metrics.high_probability(self.run(name, progress=True).logits[rows])
        faces = mean_face(self.inputs.video.numpy()[rows], self.inputs.frame_mask.numpy()[rows])
        people, trials = self.windows.index["subject"].to_numpy()[rows], self.fold_data.trials[rows]
        more = {"subjects": people, "seed": self.params.seed, "saw_video": saw_video}
        return guide_report(said, self.labels[rows], faces, trials, **more)

    def sample(self, n: int) -> np.ndarray:
        """Rows of some unseen windows, ascending. Example: ``lab.sample(100)``."""
        rows = self.parts[self.test]
        return np.sort(np.random.default_rng(self.params.seed).choice(rows, min(n, len(rows)), replace=False))

    def tables(self) -> Tables:
        """Both tables of the paper; missing runs are made first. Example: ``lab.tables().table(1)``."""
        return Tables(self.params)

    @staticmethod
    def published_worlds() -> dict[str, pd.DataFrame]:
        """The confirmation's ``worlds``, ``tests``, ``tests_people`` and ``policies``. Example: in notebook 08."""
        folder = _checkout() / "studies" / "results"
        names = ("worlds", "tests", "tests_people", "policies")
        try:
            found = {name: pd.read_csv(folder / f"beyond_{name}.csv", index_col=0) for name in names}
        except OSError as error:
            raise FileNotFoundError("studies/results: the confirmation lies in a checkout of the repository") from error
        worlds = found["worlds"]
        points = worlds.assign(gain=worlds["kd@eeg"], se=worlds["kd@eeg se"], kind="published").reset_index()
        return found | {"points": points[["world", "r_views", "r_label", "margin", "gain", "se", "kind"]]}

    def simulate_world(self, **shares) -> pd.Series:
        """What a perfect guide brings in a world of given shares. Example: ``lab.simulate_world(w_shared=0.3)``."""
        return self._bank.gain(**shares).row()

    @cached_property
    def _bank(self) -> WorldBank:
        return WorldBank(self.params if self.params.is_twin else Params(profile=self.params.profile))

    def save(self, figure, name: str, numbers: Mapping[str, object] | None = None) -> Path:
        """Store a figure with its numbers and where they came from. Example: ``lab.save(fig, "03_gap")``."""
        return viz.save_figure(figure, name, self.params, self.windows.meta["name"], numbers)

    def done(self, notebook: str) -> None:
        """Mark a notebook as run to its end. Example: ``lab.done("03_rebalanced_teacher")``."""
        viz.done(notebook, self.params)
