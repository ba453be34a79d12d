"""Three peers that teach each other while they learn (AMBOKD).

Their released code departs from their equations in two places that are not repeated here: it compares the video peer's
learning rate with the fusion twice, and divides the KL by the number of classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput
from .distillation import kd_divergence
from .loss import CrossEntropy, LossValue

PEERS = ("eeg", "video", "fusion")
_TINY = 1e-12


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def peer_weights(ce: dict[str, float]) -> dict[tuple[str, str], float]:
    """clip(ce[learner] / ce[guide], 0.1, 10) by (learner, guide): a peer listens more, the further it is behind."""
    return {(m, j): _clip(ce[m] / max(ce[j], _TINY), 0.1, 10.0) for m in ce for j in ce if j != m}


def learning_rate_factors(first: dict[str, float], ce: dict[str, float], exponent: float) -> dict[str, float]:
    """Factors on the learning rates that hold back the peer that is ahead.

    clip(((r_j + r_k) / (2 r_m))^exponent, 0.1, 10) with the progress r_m = clip((first_m − ce_m) / first_m, 0.1, 1)
    from the cross-entropies of epoch 0 and of the mini-batch.
    """
    progress = {m: _clip((first[m] - ce[m]) / max(first[m], _TINY), 0.1, 1.0) for m in PEERS}
    others = {m: sum(progress[j] for j in PEERS if j != m) for m in PEERS}
    return {m: _clip((others[m] / (2 * progress[m])) ** exponent, 0.1, 10.0) for m in PEERS}


class AMBOKDLoss(CrossEntropy):
    """Σ over peers of CE + T² · Σ over the others of weight · KL(other ‖ peer).

    Made for :class:`~cdgkd_utils.models.baselines.Peers`. The guide of a KL gets no gradient from it, and the weights
    get none at all, so one backward pass of the sum gives each parameter what the authors' three passes add up:
    a peer's own loss and, in the two encoders, the fusion's. One optimiser with a parameter group per peer stands
    for their three. From epoch 1 the groups' learning rates are balanced anew for each mini-batch.
    """

    def __init__(self, *, temperature: float = 4.0, exponent: float = 3.0):
        super().__init__()
        self.temperature, self.exponent = temperature, exponent
        self._restart()

    def _restart(self) -> None:
        self._epoch, self._n_windows = 0, 0
        self._sums = dict.fromkeys(PEERS, 0.0)
        self._ce = dict.fromkeys(PEERS, 0.0)
        self._base_lr: list[float] = []
        self._factors = dict.fromkeys(PEERS, 1.0)

    def begin_epoch(self, epoch, embed) -> dict[str, float]:
        if epoch == 0:
            self._restart()
        self._epoch = epoch
        return {}

    def state_dict(self) -> dict:
        # The optimiser's own learning rates are those of the last mini-batch, not those to multiply.
        return {"n_windows": self._n_windows, "sums": self._sums, "base_lr": self._base_lr}

    def load_state_dict(self, state: dict) -> None:
        self._n_windows, self._sums, self._base_lr = state["n_windows"], dict(state["sums"]), list(state["base_lr"])

    def param_groups(self, model: nn.Module) -> list[dict]:
        """One group per peer, in the order of :data:`PEERS`."""
        return [{"params": list(getattr(model, peer).parameters())} for peer in PEERS]

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        logits = {"video": output.logits} | {m: output.features[f"logits_{m}"] for m in ("eeg", "fusion")}
        ce = {peer: F.cross_entropy(logits[peer], labels) for peer in PEERS}
        self._ce = {peer: value.item() for peer, value in ce.items()}
        if self._epoch == 0:
            self._n_windows += len(labels)
            for peer, value in self._ce.items():
                self._sums[peer] += len(labels) * value
        kd = dict.fromkeys(PEERS, 0.0)
        for (learner, guide), weight in peer_weights(self._ce).items():
            kd[learner] = kd[learner] + weight * kd_divergence(logits[learner], logits[guide], self.temperature)
        parts = {f"loss_ce_{peer}": value for peer, value in self._ce.items()}
        parts |= {f"loss_kd_{peer}": value.item() for peer, value in kd.items()}
        return LossValue(sum(ce.values()) + sum(kd.values()), parts)

    def before_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if not self._base_lr:
            self._base_lr = [group["lr"] for group in optimizer.param_groups]
        if self._epoch == 0:
            return
        first = {peer: total / self._n_windows for peer, total in self._sums.items()}
        self._factors = learning_rate_factors(first, self._ce, self.exponent)
        for group, base, peer in zip(optimizer.param_groups, self._base_lr, PEERS, strict=True):
            group["lr"] = base * self._factors[peer]

    def after_step(self, model: nn.Module, inputs) -> dict[str, float]:
        return {f"lr_factor_{peer}": factor for peer, factor in self._factors.items()}
