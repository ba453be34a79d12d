"""EmotionKD with adaptive feedback (Liu et al., 2023).

The student learns from a teacher that learns from the student: after each of the student's steps the teacher asks
how its own outputs should have been for one such step to make the student better on *other* training windows, and
moves there. In the released code the second term has no path to the teacher; here it has.
"""

from __future__ import annotations

import copy
import inspect

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models.output import ModelOutput
from .hints import seeded_linear
from .loss import Batches, CrossEntropy, LossValue


class EmotionKDLoss(CrossEntropy):
    """e1 · CE + e2 · KL(teacher ‖ student) + e3 · mean((fused feature − regressor(student feature))²).

    The teacher runs in evaluation mode throughout, and so does the student inside the feedback: the targets are
    those of a network without dropout, as with every other guide, its batch-norm statistics stay those of its
    own training, and the feedback differentiates one fixed function instead of one dropout mask's.

    Parameters
    ----------
    teacher : Module
        Trained by cross-entropy; the loss works on a copy.
    inputs : Batches
        Where the teacher's inputs are looked up.
    n_in : int
        Width of the student's feature.
    generator : torch.Generator
        Draws the regressor's initial weights and the feedback's batches.
    feature : str
        Which of the student's features is compared with the teacher's ``classifier_input``.
    weights : tuple of float
        e1, e2, e3. There is no temperature.
    teacher_lr_ratio : float
        Learning rate of the teacher over the student's. The authors' is 50 (5e-5 over 1e-6).
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
        self._student_lr = 0.0

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
        parts = {name: term.item() for name, term in terms.items()}
        return LossValue(sum(terms.values()), parts)

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
                self._stored_optimizer = None

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

        `guide` holds the teacher's logits and fused feature on `rows`, with their graph; neither weights nor statistics
        of the student change.
        """
        weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        labels, batch = self.inputs.labels, self.inputs.of
        was_training = model.training
        model.eval()
        # Of the attention kernels only the plain one can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            output = torch.func.functional_call(model, weights, tuple(batch(model, rows)))
            loss = sum(self.terms(output, labels[rows], guide).values())
            gradients = torch.autograd.grad(
                loss, list(weights.values()), create_graph=True, materialize_grads=True, allow_unused=True
            )
            stepped = {
                name: weight.detach() - learning_rate * gradient
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            }
            logits = torch.func.functional_call(model, stepped, tuple(batch(model, other))).logits
        model.train(was_training)
        return F.cross_entropy(logits, labels[other])
