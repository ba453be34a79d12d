"""The paper's two results tables as data, and how our rows relate to them.

Numbers and ablation: the authors' poster and slides (CDGKD, IJCAI 2025). The paper does not state its split
protocol, folds, seeds or label threshold, so the same number stands beside all of our protocols.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

DATASET_NAMES = {"deap": "DEAP", "mahnob": "MAHNOB-HCI"}
PROTOCOL_NAMES = {"trial": "unseen trials", "subject": "unseen subjects", "loso": "one unseen subject"}
PROTOCOL_NAMES |= {"stimulus": "unseen stimuli", "window (LEAKY)": "shuffled windows (LEAKY)"}
TABLE_TITLES = {1: "video-only student", 2: "EEG + video"}

# Names of rows; * marks what the paper does not have.
METHODS = {"ce": "CE (no guide)", "ce_last": "CE, last epoch *", "ce_ls": "CE + label smoothing *", "kd": "KD"}
METHODS |= {"kd_last": "KD, last epoch *", "kd_drop": "KD + drop *", "fitnets": "FitNets", "nst": "NST"}
METHODS |= {"takd": "TAKD", "emotionkd": "EmotionKD", "ambokd": "AMBOKD", "dense": "Dense, no drop", "cdgkd": "CDGKD"}
METHODS |= {"checked": "Checked guide *", "checked_shuffled": "Checked, shuffled guide *"}
METHODS |= {"kd_gentle": "KD, gentle *", "kd_x1_5": "KD, weight × 1.5 *", "kd_x3": "KD, weight × 3 *"}
METHODS |= {"takd_x3": "TAKD, weight × 3 *", "dense_mean": "Dense, mean of guides *"}
METHODS |= {"cdgkd_drop_one": "CDGKD, one guide silent *", "nst_video": "NST, video maps *"}
METHODS |= {"kd_bagged": "KD, bagged guide *", "kd_oof": "KD, OOF guide *", "kd_oracle": "KD, truth (ceiling) *"}
METHODS |= {"cnn_svm": "CNN+SVM", "cnn_lstm": "CNN+LSTM", "dgc_jca": "DGC+JCA", "eeg": "EEG alone"}
METHODS |= {"video": "Video alone", "fusion": "Plain fusion", "fusion_constant": "Constant EEG weight *"}
METHODS |= {"fusion_constant_dose": "Constant, equal dose *", "ogm_ge": "OGM-GE *", "pmr_paper": "PMR, paper *"}
METHODS |= {"fusion_rebalanced": "Rebalanced fusion"}

# Poster rows in the poster's order, and the order in which all rows are shown.
POSTER_ROWS = {
    1: ("kd", "fitnets", "nst", "takd", "emotionkd", "ambokd", "cdgkd"),
    2: ("cnn_svm", "cnn_lstm", "emotionkd", "dgc_jca", "fusion_rebalanced"),
}
ROWS = {
    1: tuple(
        "ce ce_last ce_ls kd kd_last kd_drop fitnets nst takd emotionkd ambokd dense cdgkd checked "
        "kd_bagged kd_oof kd_oracle".split()
    ),
    2: (
        *("eeg", "video"),
        *POSTER_ROWS[2][:-1],
        *("fusion", "fusion_constant", "ogm_ge", "pmr_paper"),
        "fusion_rebalanced",
    ),
}
# Shown in their table where they were run: each differs from a row in the one thing that it is named after.
CONTROLS = {
    1: tuple("kd_gentle kd_x1_5 kd_x3 takd_x3 nst_video dense_mean cdgkd_drop_one checked_shuffled".split()),
    2: ("fusion_constant_dose",),
}
# What `make run` prints of each table: the poster's rows, those they are read against, and the best of ours.
SHORT_ROWS = {
    1: ("ce", *POSTER_ROWS[1], "checked"),
    2: ("eeg", "video", *POSTER_ROWS[2][:-1], "fusion", "fusion_rebalanced", "fusion_constant"),
}
# The poster's ablation on DEAP, in its order.
VARIANTS = {
    "Variant 1: plain fusion": (2, "fusion"),
    "Variant 2: + prototypes": (2, "fusion_rebalanced"),
    "Variant 3: student alone": (1, "ce"),
    "Variant 4: dense, no drop": (1, "dense"),
    "Variant 5: dense with drop (CDGKD)": (1, "cdgkd"),
}

COLUMNS = (("deap", "arousal"), ("deap", "valence"), ("mahnob", "arousal"), ("mahnob", "valence"))
# (table, method): accuracy in % by COLUMNS, as the poster prints it; then the slides' ablation, DEAP only.
_PRINTED = {
    (1, "kd"): (62.11, 64.34, 58.42, 61.58),
    (1, "fitnets"): (63.33, 62.33, 56.69, 62.38),
    (1, "nst"): (57.36, 64.65, 57.75, 62.38),
    (1, "takd"): (64.42, 64.50, 59.48, 61.18),
    (1, "emotionkd"): (62.71, 63.36, 60.53, 62.58),
    (1, "ambokd"): (63.38, 65.57, 61.56, 61.98),
    (1, "cdgkd"): (65.97, 65.74, 63.02, 63.97),
    (2, "cnn_svm"): (64.87, 64.32, 62.71, 60.31),
    (2, "cnn_lstm"): (65.10, 62.40),
    (2, "emotionkd"): (62.88, 66.61, 60.66, 64.72),
    (2, "dgc_jca"): (64.38, 57.75, 60.78, 63.80),
    (2, "fusion_rebalanced"): (68.68, 69.75, 65.27, 69.75),
    (1, "ce"): (61.47, 63.02),
    (1, "dense"): (64.42, 64.50),
    (2, "eeg"): (60.61, 61.27),
    (2, "video"): (61.47, 63.02),
    (2, "fusion"): (60.93, 64.50),
}
PAPER = {(*row, *cell): n for row, found in _PRINTED.items() for cell, n in zip(COLUMNS, found, strict=False)}


class Claim(NamedTuple):
    """One method should do better than others. `source`: place in the poster, a "control", or a method of "ours"."""

    text: str
    source: str
    table: int
    better: str
    than: tuple[str, ...]


CLAIMS = (
    Claim("Rebalancing makes the fused teacher better", "Variant 2 over 1", 2, "fusion_rebalanced", ("fusion",)),
    Claim("The rebalanced teacher is the best", "Table 2", 2, "fusion_rebalanced", POSTER_ROWS[2][:-1]),
    Claim("A guide helps the student at all", "Variant 5 over 3", 1, "cdgkd", ("ce",)),
    Claim("CDGKD is the best student", "Table 1", 1, "cdgkd", POSTER_ROWS[1][:-1]),
    Claim("Dense guidance beats the chain", "Variant 4 over TAKD", 1, "dense", ("takd",)),
    Claim("Dropping guides at random helps", "Variant 5 over 4", 1, "cdgkd", ("dense",)),
    Claim("The adaptive weight beats a constant one", "control", 2, "fusion_rebalanced", ("fusion_constant",)),
    Claim("Several guides matter, not only dropping one", "control", 1, "cdgkd", ("kd_drop",)),
    Claim("A checked guide beats CDGKD and no guide", "ours", 1, "checked", ("cdgkd", "ce")),
)
# Why a claim holds or does not: further comparisons (text, better, than), by the claim's text.
_CONSTANT = ("a constant EEG weight against the adaptive one", "fusion_constant", "fusion_rebalanced")
_DOSE = ("a constant one of the same average", "fusion_constant_dose", "fusion_rebalanced")
_MEMORY = ("a guide that saw none of the labels it explains, against the one that did", "kd_oof", "kd")
_CEILING = ("the true posterior as guide", "kd_oracle", "ce")
_GENTLE = ("a gentle EEG-only guide, against none", "kd_gentle@eeg", "ce")
_REASONS = (
    (_CONSTANT, _DOSE, ("slowing the leading modality instead (OGM-GE)", "ogm_ge", "fusion")),
    (_CONSTANT, ("video added to the EEG", "fusion", "eeg"), ("EEG added to video", "fusion", "video")),
    (_CEILING, _MEMORY, _GENTLE, ("keeping the last epoch of an unguided student", "ce_last", "ce")),
    (_CEILING, _MEMORY, ("against NST on the maps that the student has", "cdgkd", "nst_video")),
    (
        ("with the mean instead of the sum over guides", "dense_mean", "takd"),
        ("the chain at the summed weight", "takd_x3", "takd"),
        ("against one guide at the summed weight", "dense", "kd_x3"),
    ),
    (
        ("dropping the only guide now and then", "kd_drop", "kd"),
        ("exactly one guide silent a batch", "cdgkd_drop_one", "dense"),
    ),
    (_DOSE,),
    (("against one guide at the same average weight", "cdgkd", "kd_x1_5"),),
    (("against the same with a shuffled guide", "checked", "checked_shuffled"), _GENTLE),
)
WHY = {claim.text: reasons for claim, reasons in zip(CLAIMS, _REASONS, strict=True)}

RED_FLAGS = (
    "Table 2, EmotionKD: all four numbers equal those that EmotionKD's authors print for EEG + GSR, another pair of "
    "modalities; very likely copied, not run on EEG + video. CNN+LSTM has no MAHNOB-HCI numbers and may be copied too.",
    "Dense without drop (Variant 4) equals the TAKD row exactly (64.42 / 64.50), although one is a chain and the "
    "other is dense: perhaps only one of the two was run.",
    "Ours, valence, is 69.75 on both data sets, and FitNets and NST share 62.38 on MAHNOB-HCI valence.",
    "Margins over a majority-class predictor are small, so the majority share, balanced accuracy and AUC stand "
    "beside every accuracy here; the paper prints accuracy only, without spread.",
    "The paper does not state split protocol, folds, seeds, label threshold or visual backbone.",
)


def in_order(protocols: Iterable[str]) -> list[str]:
    """Protocols, each once, in the order of ``PROTOCOL_NAMES``."""
    return [name for name in PROTOCOL_NAMES if name in {*protocols}]


def paper_accuracy(table: int, method: str, dataset: str, target: str) -> float:
    """The paper's accuracy in %, NaN where it prints none."""
    return PAPER.get((table, method, dataset, target), float("nan"))


def place(name: str) -> tuple[int, str]:
    """Table and row of a recipe by its name: ``kd@eeg`` stands in KD's table under its own name; 0 is no table."""
    if name == "emotionkd_teacher":
        return 2, "emotionkd"
    base = re.match(r"\w*", name)[0]
    return next((table for table in ROWS if base in (*ROWS[table], *CONTROLS[table])), 0), name


def display_name(method: str) -> str:
    """Name of a method in tables and figures; what the paper does not have is marked with *."""
    base = re.match(r"\w*", method)[0]
    known, rest = METHODS.get(base, f"{base} *"), method[len(base) :]
    return f"{known.removesuffix(' *')} {rest} *" if rest else known
