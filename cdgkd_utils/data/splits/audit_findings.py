"""What a leakage audit looks for, and how each finding is said."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pandas as pd

from .protocols import UNSEEN_SUBJECTS
from .split import trial_ids

COLUMNS = ["leak", "kind", "parts", "count", "example", "meaning"]
MEANING = {
    "row in two parts": "the same window trains and tests",
    "row twice in a part": "the window counts twice",
    "row outside the index": "the split belongs to another index",
    "duplicated window": "two rows of the index are the same window, so it can stand in two parts unseen",
    "trial in two parts": "windows of one trial look alike: the label is copied, not recognised",
    "overlapping windows": "the same samples stand in two parts",
    "subject in train and test": "the score says nothing about new people",
    "stimulus in train and test": "the score says nothing about new stimuli",
    "fitted outside train": "what was estimated from these rows knows more than the training part",
    "labels from all trials": "the labels are those of medians over all trials, not over training trials",
    "label varies within a trial": "a trial has one rating; the labels belong to another index",
    "validation used as test": "the epoch was chosen on the rows that are scored",
    "no validation part": "whatever was selected was selected on train or on test",
    "guide saw the test": "a guide trained on what its student is tested on passes the answers on",
    "subject tells the label": "each subject's most frequent training label alone scores this on the test part, in %",
}


class Findings:
    """The findings so far, and the parts they are about."""

    def __init__(self, index: pd.DataFrame, parts: dict[str, np.ndarray], protocol: str | None):
        self.index, self.parts, self.protocol = index, parts, protocol
        self.trials = trial_ids(index)
        self.rows: list[dict] = []

    def add(self, leak: str, parts: Iterable[str], examples, count: int | None = None, kind: str = "leak") -> None:
        """Record a finding unless there is no example of it."""
        if len(examples):
            example = examples[0].item() if isinstance(examples[0], np.generic) else examples[0]
            count = len(examples) if count is None else count
            self.rows.append(
                dict(zip(COLUMNS, (leak, kind, " / ".join(parts), count, str(example), MEANING[leak]), strict=True))
            )

    def role(self, name: str) -> str:
        return next((role for role in ("test", "val") if name.startswith(role)), "train")

    def joined(self, role: str) -> np.ndarray:
        """Rows of all parts of one role."""
        rows = [part for name, part in self.parts.items() if self.role(name) == role]
        return np.unique(np.concatenate(rows)) if rows else np.array([], int)

    def holders(self, rows: np.ndarray) -> list[str]:
        return [name for name, part in self.parts.items() if np.isin(rows, part).any()]

    def keys(self, rows: np.ndarray) -> list[tuple]:
        """(subject, trial) of some rows, each once."""
        return list(dict.fromkeys(self.index.iloc[rows][["subject", "trial"]].itertuples(index=False, name=None)))

    def claims_new(self, part: str, column: str) -> bool:
        if column == "stimulus":
            return self.protocol == "stimulus"
        return self.protocol in UNSEEN_SUBJECTS or part == "test_subject"

    def shared_units(self) -> None:
        keys = [name for name in ("subject", "trial", "window") if name in self.index]
        if "window" in keys:
            twice = self.index[self.index.duplicated(keys)]
            self.add("duplicated window", ["index"], list(twice[keys].itertuples(index=False, name=None)))
        for one, other in combinations(self.parts, 2):
            a, b = self.parts[one], self.parts[other]
            self.add("row in two parts", [one, other], np.intersect1d(a, b))
            shared = np.isin(self.trials[a], self.trials[b])
            self.add("trial in two parts", [one, other], self.keys(a[shared]))
        train = self.joined("train")
        for name, test in self.parts.items():
            if self.role(name) != "test":
                continue
            for column in ("subject", "stimulus"):
                if column in self.index:
                    values = self.index[column].to_numpy()
                    both = np.intersect1d(values[train], values[test])
                    kind = "leak" if self.claims_new(name, column) else "note"
                    self.add(f"{column} in train and test", ["train", name], both, kind=kind)

    def overlaps(self, starts: np.ndarray | None, n_samples: int) -> None:
        """Neighbours in time within a trial that share samples and stand in different parts."""
        if starts is None:
            if "window" not in self.index:
                return
            starts = self.index["window"].to_numpy() * n_samples
        starts = np.asarray(starts)
        for one, other in combinations(self.parts, 2):
            a, b = (np.asarray(self.parts[name]) for name in (one, other))
            pairs = pd.merge(
                pd.DataFrame({"trial": self.trials[a], "a": starts[a], "row": a}),
                pd.DataFrame({"trial": self.trials[b], "b": starts[b], "row_b": b}),
                on="trial",
            )
            hit = pairs[((pairs["a"] - pairs["b"]).abs() < n_samples) & (pairs["row"] != pairs["row_b"])]
            example = [f"rows {r.row} and {r.row_b}" for r in hit.head(1).itertuples()]
            self.add("overlapping windows", [one, other], example, len(hit))

    def selection(self, selected_on: np.ndarray | None) -> None:
        validation = self.joined("val") if selected_on is None else selected_on
        if not len(validation):
            self.add("no validation part", [*self.parts], ["none"], 0, kind="note")
        both = np.intersect1d(validation, self.joined("test"))
        self.add("validation used as test", self.holders(both), both)

    def guide(self, name: str, seen: pd.DataFrame) -> None:
        for part, test in self.parts.items():
            if self.role(part) != "test":
                continue
            known = set(seen[["subject", "trial"]].itertuples(index=False, name=None))
            self.add("guide saw the test", [name, part], [key for key in self.keys(test) if key in known])
            for column in ("subject", "stimulus"):
                if self.claims_new(part, column) and column in seen:
                    both = np.intersect1d(seen[column], self.index[column].to_numpy()[test])
                    self.add("guide saw the test", [name, part], [f"{column} {value}" for value in both])

    def labels(self, labels: np.ndarray, target: str | None) -> None:
        per_trial = pd.Series(labels).groupby(self.trials).agg(["min", "max"])
        mixed = np.flatnonzero(np.isin(self.trials, per_trial.index[per_trial["min"] != per_trial["max"]]))
        self.add("label varies within a trial", ["labels"], self.keys(mixed))
        train, subjects = self.joined("train"), self.index["subject"].to_numpy()
        if target is not None and len(train):
            self.add("labels from all trials", ["labels"], self._subjects_with_global_medians(labels, target, train))
        majority = pd.Series(labels[train]).groupby(subjects[train]).mean() > 0.5
        for name, test in self.parts.items():
            if self.role(name) == "test" and len(known := test[np.isin(subjects[test], majority.index)]):
                score = (majority.loc[subjects[known]].to_numpy() == labels[known]).mean()
                overall = max(labels[known].mean(), 1 - labels[known].mean())
                # Knowing the subject gains something only beyond the constant answer, and beyond chance.
                n_trials = len(np.unique(self.trials[known]))
                if score > overall + 2 * np.sqrt(overall * (1 - overall) / n_trials):
                    said = [f"{100 * score:.0f} %, always the same answer {100 * overall:.0f} %"]
                    self.add("subject tells the label", [name], said, round(100 * score), kind="note")

    def _subjects_with_global_medians(self, labels: np.ndarray, target: str, train: np.ndarray) -> list:
        """Subjects whose labels would differ, if all labels fit all-trial medians and nothing that is honest."""
        first = np.unique(self.trials, return_index=True)[1]
        subjects, ratings = (self.index[name].to_numpy()[first] for name in ("subject", target))
        high = labels[first] == 1
        if high.any() and not high.all() and ratings[~high].max() < ratings[high].min():
            return []  # one threshold for everybody
        trained = np.isin(self.trials[first], self.trials[train])
        own = pd.Series(ratings).groupby(subjects).median()
        known = pd.Series(ratings[trained]).groupby(subjects[trained]).median()
        honest = [known.reindex(own.index, fill_value=value) for value in (known.median(), 5.0)]

        def misfits(thresholds: pd.Series, above: np.ufunc) -> list:
            return np.unique(subjects[above(ratings, thresholds.loc[subjects].to_numpy()) != high]).tolist()

        conventions = (np.greater, np.greater_equal)  # for a rating that equals the threshold
        if any(not misfits(thresholds, above) for thresholds in honest for above in conventions):
            return []
        return next((misfits(honest[0], above) for above in conventions if not misfits(own, above)), [])
