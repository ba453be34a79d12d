"""What each notebook is about, and what its terms mean, read from the notebooks themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat
import pandas as pd

from .folder import TeachingError

# One sentence each. A term stands as it does in the notebooks' text, so that its first use can be found.
GLOSSARY = {
    "trial": "One person watching one clip, with one rating; all its windows belong together.",
    "window": "A piece of 4 s of a trial: what a network sees at a time.",
    "epoch": "One pass over all training windows (never a piece of EEG here).",
    "modality": "A kind of measurement, here `eeg` or `video`.",
    "valence": "How pleasant a person finds a clip, from 1 to 9.",
    "arousal": "How exciting a person finds a clip, from 1 to 9.",
    "twin": "The synthetic data: generated EEG and drawn faces whose true labels are known.",
    "HOG": "Histogram of oriented gradients: how strongly a picture's brightness changes in which direction.",
    "split": "The division of the trials into those that train, choose the epoch, and test.",
    "split certificate": "A table that proves of a split that no trial stands on both sides.",
    "leak": "A way in which the test knows something of the training, so that its score promises too much.",
    "protocol": "The rule of what a split holds out: trials, people, stimuli, or (leaking) windows.",
    "fold": "One of several splits of the same data, each with another part held out.",
    "chance": "What a reader without knowledge would score; drawn as a dashed line.",
    "prototype": "The mean embedding of one class in one modality.",
    "embedding": "The vector into which a network turns a window of one modality.",
    "UMAP": "A method that draws neighbours in many dimensions as neighbours on a plane.",
    "silhouette": "A number from −1 to 1 that says how well two clouds of points are apart; 0 is mixed.",
    "imbalance ratio": "How well the video branch reads its training windows, divided by how well the EEG branch does.",
    "fusion": "Deciding from both modalities at once.",
    "rebalancing": "Giving the modality that lags a loss of its own, as strong as the imbalance asks for.",
    "cross-entropy": "The mean of −log of the probability that a network gave to the true class.",
    "prototype cross-entropy": "Cross-entropy with probabilities from distances to the prototypes, for one modality.",
    "teacher": "The large network that sees EEG and video.",
    "assistant": "A network between teacher and student, with a smaller EEG branch than the teacher's.",
    "student": "The small network that sees the video only, and is to be used in the end.",
    "guide": "Any finished network whose answers a smaller one learns from.",
    "distillation": "Learning from a guide's answers and not from the labels alone; KD for short.",
    "soft target": "A guide's probabilities for a window, as opposed to its label.",
    "temperature": "The number by which logits are divided before they become probabilities; above 1 they get softer.",
    "TAKD": "Distillation along a chain, in which each network learns only from the next larger one.",
    "mini-batch": "The windows that one step of training uses together.",
    "dropped": "Said of a guide that is silent for a mini-batch, at random.",
    "out-of-fold": "Said of an answer from a network that has not seen the trial in its training.",
    "world": "How much of a feeling brain and face share on the twin, and how much of a rating is chance.",
    "margin": "How much better a guide than the label tells what the face shows: a difference of two correlations.",
    "self-training": "Letting a network of the student's own kind label the trials that nobody rated.",
    "regret": "What a choice costs against the best one, which is known only afterwards.",
    "oracle": "A guide that says the true probability of each label, which only the twin knows.",
    "compact": "The family of small networks that train in seconds.",
    "reference": "The family of networks built after the paper's figures and code.",
    "run": "One method trained on one fold of one target, stored under a key made of all that decides it.",
    "balanced accuracy": "The mean over the classes of the share of windows read correctly.",
    "expected accuracy": "The accuracy to be expected over all labels the twin might have dealt; less noisy.",
    "paired": "Said of differences between two methods on the same fold.",
    "Holm's correction": "A stricter threshold for several tests at once, so that luck is not taken for a finding.",
}


def cells_of(path: Path) -> list[nbformat.NotebookNode]:
    """A notebook's cells."""
    return nbformat.read(path, as_version=4).cells


def chapters(notebooks: Iterable[Path]) -> pd.DataFrame:
    """Title, claim and time of each notebook, from its first two cells.

    Parameters
    ----------
    notebooks : iterable of Path

    Returns
    -------
    DataFrame
        Markdown texts in columns ``title``, ``claim``, ``time``, indexed by the notebook's name without its ending.

    Raises
    ------
    TeachingError
        A notebook does not begin as those of the collection do.
    """
    rows = {}
    for path in notebooks:
        head = "\n\n".join(cell.source for cell in cells_of(path)[:2])
        found = re.match(r"# (?P<title>.+)\n\n\*\*[^*]+:\*\* (?P<claim>.+)", head)
        time = re.search(r"\*\*Time:\*\* (?P<time>.+)", head)
        if not found or not time:
            raise TeachingError(
                f"{path.name}: expected '# title', a bold claim and a bold 'Time:' in its first two cells"
            )
        rows[path.stem] = found.groupdict() | time.groupdict()
    return pd.DataFrame.from_dict(rows, "index", columns=["title", "claim", "time"])


def introductions(notebooks: Iterable[Path], terms: Iterable[str] = GLOSSARY) -> dict[str, str]:
    """The notebook that introduces a term: the first that sets it in italics, else the first that uses it.

    Parameters
    ----------
    notebooks : iterable of Path
        In order; those numbered 00 do not count.
    terms : iterable of str

    Returns
    -------
    dict of str to str
        Name of the notebook's file by term.

    Raises
    ------
    TeachingError
        A term is used nowhere.
    """
    texts = {
        # A name in backticks is a file or a parameter, whatever words it is made of.
        path.name: re.sub(r"`[^`]*`", "", "\n".join(c.source for c in cells_of(path) if c.cell_type == "markdown"))
        for path in notebooks
        if not path.name.startswith("00")
    }
    uses = {}
    for term in terms:
        word = rf"(?<!\w){re.escape(term)}s?(?!\w)"
        patterns = (rf"(?<!\*)\*{word}\*(?!\*)", word)
        found = [name for at in patterns for name, text in texts.items() if re.search(at, text, re.IGNORECASE)]
        uses[term] = next(iter(found), "")
    if unused := [term for term, name in uses.items() if not name]:
        raise TeachingError(
            f"glossary: {', '.join(unused)} occurs in no notebook; take it out or use the notebooks' word"
        )
    return uses


def glossary(notebooks: Iterable[Path]) -> str:
    """All terms in alphabetical order as a Markdown list, each with a link to the notebook that introduces it."""
    uses = introductions(notebooks)
    return "\n".join(
        f"- **{term}**: {GLOSSARY[term]} ([{uses[term][:2]}]({uses[term]}))"
        for term in sorted(GLOSSARY, key=str.casefold)
    )
