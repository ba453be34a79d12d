"""Every network of the two tables, declared: its model, its loss and its guides."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ..methods.distillation import DenseGuidance
from ..methods.loss import CrossEntropy
from ..methods.rebalancing import RebalancedCrossEntropy


@dataclass(frozen=True)
class Recipe:
    """One network of a run.

    Attributes
    ----------
    name : str
        Key of the row in the results.
    model : str
        Key of ``models.MODELS``.
    table : int
        Table of the poster it stands in; 0 for an assistant, which stands in none.
    guides : tuple of str
        Names of the frozen networks that teach it, largest first.
    rebalancing : str
        Mode of :class:`~cdgkd_utils.methods.rebalancing.RebalancedCrossEntropy`; "" for other models.
    rebalancing_strength : float
        Alpha; 10 is the calibrated value of the compact family, the papers use about 1.
    label_smoothing, kd_weight, temperature, guide_drop_prob : float
    selection : {"best_val", "last_epoch"}
    """

    name: str
    model: str
    table: int
    guides: tuple[str, ...] = ()
    rebalancing: str = ""
    rebalancing_strength: float = 10.0
    label_smoothing: float = 0.0
    kd_weight: float = 0.9
    temperature: float = 2.0
    guide_drop_prob: float = 0.0
    selection: str = "best_val"

    def as_dict(self) -> dict:
        return asdict(self)

    def loss(self, guide_logits: dict[str, Tensor], seed: int) -> CrossEntropy:
        """A fresh loss.

        Parameters
        ----------
        guide_logits : dict of str to Tensor, shape (n_windows, 2)
            In the order of `guides`.
        seed : int
            Of the generator that drops guides.
        """
        if self.rebalancing:
            return RebalancedCrossEntropy(mode=self.rebalancing, strength=self.rebalancing_strength)
        if not self.guides:
            return CrossEntropy(self.label_smoothing)
        return DenseGuidance(
            guide_logits,
            kd_weight=self.kd_weight,
            temperature=self.temperature,
            drop_prob=self.guide_drop_prob,
            generator=torch.Generator().manual_seed(seed),
        )


TEACHER = "fusion_rebalanced"

RECIPES = {
    r.name: r
    for r in (
        # Table 2: what EEG and video can do, alone and together.
        Recipe("eeg", "eeg", 2),
        Recipe("video", "video", 2),
        Recipe("fusion", "teacher", 2, rebalancing="none"),
        Recipe("fusion_constant", "teacher", 2, rebalancing="constant"),
        Recipe(TEACHER, "teacher", 2, rebalancing="adaptive"),
        # Assistants, each taught by all larger networks, or (takd) by the next larger one only.
        Recipe("ta1", "ta1", 0, (TEACHER,)),
        Recipe("ta2_takd", "ta2", 0, ("ta1",)),
        Recipe("ta2_dense", "ta2", 0, (TEACHER, "ta1")),
        Recipe("ta1_drop", "ta1", 0, (TEACHER,), guide_drop_prob=0.5),
        Recipe("ta2_drop", "ta2", 0, (TEACHER, "ta1_drop"), guide_drop_prob=0.5),
        # Table 1: video-only students.
        Recipe("ce", "student", 1),
        Recipe("ce_last", "student", 1, selection="last_epoch"),
        Recipe("ce_ls", "student", 1, label_smoothing=0.3),
        Recipe("kd", "student", 1, (TEACHER,)),
        Recipe("kd_drop", "student", 1, (TEACHER,), guide_drop_prob=0.5),
        Recipe("takd", "student", 1, ("ta2_takd",)),
        Recipe("dense", "student", 1, (TEACHER, "ta1", "ta2_dense")),
        Recipe("cdgkd", "student", 1, (TEACHER, "ta1_drop", "ta2_drop"), guide_drop_prob=0.5),
    )
}


def table_recipes(table: int) -> list[str]:
    """Names of the recipes that stand in a table, in its order."""
    return [r.name for r in RECIPES.values() if r.table == table]
