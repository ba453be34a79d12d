"""Guides that learn from their learner: AMBOKD's three peers, and EmotionKD's teacher with adaptive feedback.

AMBOKD's released code departs from its equations in two places that are not repeated here: it compares the video peer's
learning rate with the fusion twice, and divides the KL by the number of classes.
"""

import copy
import inspect

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models.output import ModelOutput
from .distillation import kd_divergence, seeded_linear
from .loss import Batches, CrossEntropy, LossValue

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

    Made for :class:`~cdgkd_utils.models.baselines.Peers`. Neither the guide of a KL nor a weight gets a gradient, so
    one backward pass gives each parameter what the authors' three passes add up. One optimiser with a parameter group
    per peer stands for their three; from epoch 1 the groups' learning rates are balanced anew for each mini-batch.
    """

    def __init__(self, *, temperature: float = 4.0, exponent: float = 3.0):
        super().__init__()
        self.temperature, self.exponent = temperature, exponent
        self._restart()

    def _restart(self) -> None:
        self._epoch, self._n_windows, self._base_lr = 0, 0, []
        self._sums, self._factors = dict.fromkeys(PEERS, 0.0), dict.fromkeys(PEERS, 1.0)

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


class EmotionKDLoss(CrossEntropy):
    """e1 · CE + e2 · KL(teacher ‖ student) + e3 · mean((fused feature − regressor(student feature))²).

    Liu et al., 2023. After each of the student's steps the teacher asks how its own outputs should have been for one
    such step to make the student better on *other* training windows, and moves there; in the released code this
    feedback has no path to the teacher. The teacher is in evaluation mode throughout, and the student inside the
    feedback, which so differentiates one fixed function.

    `teacher`, trained by cross-entropy, is copied; `inputs` are where its inputs are looked up; `generator` draws the
    regressor, from `n_in` features of the student named `feature`, and batches. `weights` are e1, e2, e3.
    `teacher_lr_ratio` is its learning rate over the student's; the authors' is 50 (5e-5 over 1e-6).
    """

    def __init__(
        self,
        teacher: nn.Module,
        inputs: Batches,
        *,
        n_in: int,
        generator: torch.Generator,
        feature: str = "classifier_input",
        weights: tuple[float, float, float] = (1.0, 0.1, 1.0),
        teacher_lr_ratio: float = 0.1,
    ):
        super().__init__()
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(True)
        self.inputs, self.feature, self.weights = inputs, feature, weights
        self.teacher_lr_ratio, self.generator = teacher_lr_ratio, generator
        with torch.no_grad():
            n_fused = self._forward_teacher(inputs.train[:2])[1].shape[1]
        self.regressor = seeded_linear(n_in, n_fused, generator)
        self._teacher_optimizer: torch.optim.Optimizer | None = None
        self._stored_optimizer: dict | None = None  # of a checkpoint, until the student's optimiser is known

    def _forward_teacher(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and fused feature."""
        output = self.teacher(*self.inputs.of(self.teacher, rows))
        return output.logits, output.features["classifier_input"]

    def param_groups(self, model: nn.Module) -> list[dict]:
        return [*super().param_groups(model), {"params": list(self.regressor.parameters())}]

    def state_dict(self) -> dict:
        optimizer = None if self._teacher_optimizer is None else self._teacher_optimizer.state_dict()
        return {
            "regressor": self.regressor.state_dict(),
            "generator": self.generator.get_state(),
            "teacher": self.teacher.state_dict(),
            "teacher_optimizer": optimizer or self._stored_optimizer,
        }

    def load_state_dict(self, state: dict) -> None:
        self.regressor.load_state_dict(state["regressor"])
        self.generator.set_state(state["generator"])
        self.teacher.load_state_dict(state["teacher"])
        self._stored_optimizer = state["teacher_optimizer"]

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        guide = self._forward_teacher(rows)
        # The teacher does not move before `after_step`, which takes the graph of this forward pass up again.
        self._batch = rows, labels, guide
        terms = self.terms(output, labels, tuple(value.detach() for value in guide))
        return LossValue(sum(terms.values()), {name: term.item() for name, term in terms.items()})

    def terms(self, output: ModelOutput, labels: Tensor, guide: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """The three weighted terms; they pass gradients to `guide`, logits and fused feature, if it has a graph."""
        logits, fused = guide
        e1, e2, e3 = self.weights
        kl = F.kl_div(F.log_softmax(output.logits, 1), F.log_softmax(logits, 1), reduction="batchmean", log_target=True)
        return {
            "loss_ce": e1 * F.cross_entropy(output.logits, labels),
            "loss_kd": e2 * kl,
            "loss_feature": e3 * F.mse_loss(self.regressor(output.features[self.feature]), fused),
        }

    def before_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._student_lr = optimizer.param_groups[0]["lr"]
        if self._teacher_optimizer is None:
            kind = type(optimizer)
            options = {k: v for k, v in optimizer.defaults.items() if k in inspect.signature(kind).parameters}
            options["lr"] = self.teacher_lr_ratio * self._student_lr
            self._teacher_optimizer = kind(self.teacher.parameters(), **options)
            if self._stored_optimizer is not None:
                self._teacher_optimizer.load_state_dict(self._stored_optimizer)

    def after_step(self, model: nn.Module, inputs: Batches) -> dict[str, float]:
        """The feedback: one step of the teacher on CE(y, teacher) + CE(y′, virtual student).

        (x′, y′) is a batch of training windows drawn independently of the student's.
        """
        rows, labels, guide = self._batch
        draw = torch.randperm(len(inputs.train), generator=self.generator)[: len(rows)]
        own = F.cross_entropy(guide[0], labels)
        virtual = self.virtual_student_loss(model, rows, inputs.train[draw], guide, self._student_lr)
        teacher = list(self.teacher.parameters())
        gradients = torch.autograd.grad(own + virtual, teacher, materialize_grads=True, allow_unused=True)
        for parameter, gradient in zip(teacher, gradients, strict=True):
            parameter.grad = gradient
        self._teacher_optimizer.step()
        return {"loss_teacher": own.item(), "loss_feedback": virtual.item()}

    def virtual_student_loss(
        self, model: nn.Module, rows: Tensor, other: Tensor, guide: tuple[Tensor, Tensor], learning_rate: float
    ) -> Tensor:
        """CE on `other` of a student that has taken one gradient step on `rows`, as a function of the teacher.

        `guide` holds the teacher's logits and fused feature on `rows`, with their graph; the student does not change.
        """
        weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        labels, batch = self.inputs.labels, self.inputs.of
        was_training = model.training
        model.eval()
        # Of the attention kernels only the plain one can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            output = torch.func.functional_call(model, weights, tuple(batch(model, rows)))
            loss = sum(self.terms(output, labels[rows], guide).values())
            options = {"create_graph": True, "materialize_grads": True, "allow_unused": True}
            gradients = torch.autograd.grad(loss, list(weights.values()), **options)
            stepped = {
                name: weight.detach() - learning_rate * gradient
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            }
            logits = torch.func.functional_call(model, stepped, tuple(batch(model, other))).logits
        model.train(was_training)
        return F.cross_entropy(logits, labels[other])
