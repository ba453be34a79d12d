"""Every network of the two tables, declared: its model, its loss and its guides."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

KINDS = ("network", "svm", "late_fusion", "bagged", "oof", "oracle", "oracle_eeg", "shuffled", "report")
N_PARTS = 5  # training parts of the cross-fitted guides


_LATER = {"apart": "trial", "rated": 0}


@dataclass(frozen=True)
class Recipe:
    """One run of an experiment.

    Attributes
    ----------
    name : str
        Key in ``RECIPES``.
    model : str
        Key of the family's models; "" for kinds that train no network.
    table : int
        Table of the poster it stands in; 0 for assistants, components and guides, which stand in none.
    loss : str
        Key of ``losses.LOSSES``.
    options : dict
        Of the loss or of the kind.
    guides : tuple of str
        Names of the recipes that teach it or that it is made from, largest first.
    kind : str
        Of ``KINDS``: ``network`` is trained by gradient; for the others see :mod:`.derived`.
    row : str
        Its row in the table when that has another name.
    deployed : str
        Model of what is kept and scored, when that is a part of the trained network.
    part : int
        Cross-fitting: the fifth of the training trials this network does not see; -1 sees all.
    apart : {"trial", "subject"}
        What the fifths are dealt by.
    rated : int
        Few labels: trials per subject whose ratings this network may use, as far as validation goes, too; 0 is all.
        Guides are heard on every training trial.
    selection : {"best_val", "last_epoch"}
    training : dict
        Training settings that differ from those of its table.
    grid : tuple of dict
        Other options that tuning may try, after `options` itself, as far as the profile's budget reaches.
    """

    name: str
    model: str = ""
    table: int = 0
    loss: str = "ce"
    options: dict = field(default_factory=dict)
    guides: tuple[str, ...] = ()
    kind: str = "network"
    row: str = ""
    deployed: str = ""
    part: int = -1
    selection: str = "best_val"
    training: dict = field(default_factory=dict)
    grid: tuple[dict, ...] = ()
    apart: str = "trial"
    rated: int = 0

    def as_dict(self) -> dict:
        """All fields; those of _LATER only where they say something, which keeps the keys of older runs."""
        return {name: value for name, value in asdict(self).items() if value != _LATER.get(name, ...)}

    def but(self, **options) -> Recipe:
        """The same recipe with some options changed."""
        return replace(self, options=self.options | options)


TEACHER = "fusion_rebalanced"
_ADAPTIVE = {"mode": "adaptive"}
_DENSE = {"kd_weight": 0.9, "temperature": 2.0}
_DROP = _DENSE | {"drop_prob": 0.5}
_PARTS = tuple(f"teacher_part{part}" for part in range(N_PARTS))
_EEG_PARTS = tuple(f"eeg_part{part}" for part in range(N_PARTS))
_KD_WEIGHTS = ({"kd_weight": 0.5}, {"temperature": 4.0})


def _weights(*values: float) -> tuple[dict, ...]:
    return tuple({"weight": value} for value in values)


def _fusion(name: str, loss: str = "rebalanced", *grid: dict, **options) -> Recipe:
    return Recipe(name, "teacher", 2, loss, options, grid=grid)


def _guided(name: str, model: str, table: int, guides: tuple[str, ...], options: dict, **more) -> Recipe:
    return Recipe(name, model, table, "dense", options, guides, **{"grid": _KD_WEIGHTS} | more)


def _teacher_parts() -> list[Recipe]:
    return [
        Recipe(name, "teacher", 0, "rebalanced", {"mode": "adaptive"}, part=part) for part, name in enumerate(_PARTS)
    ]


RECIPES = {
    r.name: r
    for r in (
        # Table 2: what EEG and video can do, alone and together.
        Recipe("eeg", "eeg", 2),
        Recipe("video", "video", 2),
        Recipe("face_cnn", "face_cnn"),
        Recipe("eeg_svm", kind="svm"),
        Recipe("eeg_lstm", "eeg_lstm"),
        Recipe("cnn_svm", table=2, kind="late_fusion", guides=("face_cnn", "eeg_svm")),
        Recipe("cnn_lstm", table=2, kind="late_fusion", guides=("face_cnn", "eeg_lstm")),
        Recipe("emotionkd_teacher", "emotionkd_teacher", 2, row="emotionkd"),
        # Plain SGD leaves its training loss at chance level for many epochs.
        Recipe("dgc_jca", "dgc_jca", 2, training={"optimizer": "adam", "learning_rate": 1e-3}),
        _fusion("fusion", mode="none"),
        _fusion("fusion_constant", mode="constant"),
        _fusion("ogm_ge", "ogm_ge"),
        _fusion("pmr_released", "pmr", form="released"),
        _fusion("pmr_paper", "pmr", form="paper", entropy_weight=0.0),
        _fusion("pmr_entropy", "pmr", form="paper", entropy_weight=0.1),
        _fusion(TEACHER, "rebalanced", {"strength": 1.0}, {"strength": 3.0}, mode="adaptive"),
        # Assistants, each taught by all larger networks, or (takd) by the next larger one only.
        _guided("ta1", "ta1", 0, (TEACHER,), _DENSE),
        _guided("ta2_takd", "ta2", 0, ("ta1",), _DENSE),
        _guided("ta2_dense", "ta2", 0, (TEACHER, "ta1"), _DENSE),
        _guided("ta1_drop", "ta1", 0, (TEACHER,), _DROP),
        _guided("ta2_drop", "ta2", 0, (TEACHER, "ta1_drop"), _DROP),
        # Table 1: video-only students.
        Recipe("ce", "student", 1),
        Recipe("ce_last", "student", 1, selection="last_epoch"),
        Recipe("ce_ls", "student", 1, options={"label_smoothing": 0.3}, grid=({"label_smoothing": 0.1},)),
        _guided("kd", "student", 1, (TEACHER,), _DENSE),
        _guided("kd_last", "student", 1, (TEACHER,), _DENSE, selection="last_epoch"),
        _guided("kd_drop", "student", 1, (TEACHER,), _DROP),
        Recipe(
            "fitnets", "student", 1, "fitnets", {"weight": 10.0}, (TEACHER,), grid=({"weight": 1.0}, {"weight": 100.0})
        ),
        Recipe("nst", "student", 1, "nst", {"weight": 50.0}, (TEACHER,), grid=({"weight": 5.0}, {"weight": 500.0})),
        _guided("takd", "student", 1, ("ta2_takd",), _DENSE),
        Recipe("emotionkd", "student", 1, "emotionkd", {"feedback": "meta"}, ("emotionkd_teacher",)),
        Recipe("ambokd", "ambokd", 1, "ambokd", {"temperature": 4.0, "exponent": 3.0}, deployed="student"),
        _guided("dense", "student", 1, (TEACHER, "ta1", "ta2_dense"), _DENSE),
        _guided("cdgkd", "student", 1, (TEACHER, "ta1_drop", "ta2_drop"), _DROP),
        # Experimental guides: five teachers that each miss a fifth of the training trials, averaged (bagged) or each
        # heard only on trials it did not see (oof); and the truth itself, which only the twin knows.
        *_teacher_parts(),
        Recipe("bagged", kind="bagged", guides=_PARTS),
        Recipe("oof", kind="oof", guides=_PARTS),
        Recipe("oracle", kind="oracle"),
        # The same, dealt by whole subjects, and of the EEG-only teacher; what a perfect EEG-only teacher would say;
        # a guide shuffled between the trials of one label, which leaves it as right and as sure as it was.
        *(replace(part, name=f"{part.name}_subject", apart="subject") for part in _teacher_parts()),
        Recipe("oof_subject", kind="oof", guides=tuple(f"{part}_subject" for part in _PARTS), apart="subject"),
        *(Recipe(name, "eeg", part=part) for part, name in enumerate(_EEG_PARTS)),
        Recipe("eeg_bagged", kind="bagged", guides=_EEG_PARTS),
        Recipe("eeg_oof", kind="oof", guides=_EEG_PARTS),
        Recipe("oracle_eeg", kind="oracle_eeg"),
        Recipe("eeg_shuffled", kind="shuffled", guides=("eeg",)),
        Recipe("fused_shuffled", kind="shuffled", guides=(TEACHER,)),
        # The check before distilling (guide_report), stored like a run.
        *(Recipe(f"{guide}_report", kind="report", guides=(guide,)) for guide in ("eeg", "oracle_eeg")),
        _guided("kd_gentle", "student", 0, (TEACHER,), {"kd_weight": 0.5, "temperature": 2.0}, grid=()),
        _guided("kd_bagged", "student", 1, ("bagged",), {"kd_weight": 0.9, "temperature": 1.0}),
        _guided(
            *("kd_oof", "student", 1, ("oof",), {"kd_weight": 0.5, "temperature": 1.0}),
            grid=({"kd_weight": 0.9}, {"temperature": 4.0}),
        ),
        _guided("kd_oracle", "student", 1, ("oracle",), {"kd_weight": 0.9, "temperature": 1.0}),
        # What the released code trains (notebook 06): cross-entropy in inference mode, last epoch kept.
        Recipe("released_teacher", "teacher", loss="rebalanced", options={"mode": "none"}),
        *(
            Recipe(name, model, 0, "released_dense", {}, guides, selection="last_epoch", training={"train_mode": False})
            for name, model, guides in (
                ("released_ta1", "ta1", ("released_teacher",)),
                ("released_ta2", "ta2", ("released_teacher", "released_ta1")),
                ("released_cdgkd", "student", ("released_teacher", "released_ta1", "released_ta2")),
            )
        ),
    )
}


def table_recipes(table: int, *, with_truth: bool = True) -> list[str]:
    """Names of the recipes that stand in a table, in its order.

    Parameters
    ----------
    table : {1, 2}
    with_truth : bool
        Whether the true posterior is known; without it nothing that listens to the oracle can run.
    """
    return [r.name for r in RECIPES.values() if r.table == table and (with_truth or "oracle" not in r.guides)]
