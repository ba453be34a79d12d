"""What guidance adds to a training step: ``python bench/steps.py``.

One step is what the training loop does with a mini-batch of 128: inputs, forward pass, loss, backward pass,
optimiser. Three learners of one architecture take turns: cross-entropy alone; dense guidance by the stored logits of
teacher, TA1 and TA2 (ours); the same with the three guides run forward in each step. The logits of the last two are
compared before the clock starts. CPU time of one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from measurement import Measurement, milliseconds, ratio, report, rounds
from port import plain_port
from torch import Tensor, nn

from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.loss import CrossEntropy, LossValue
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models import build_model
from cdgkd_utils.training import Inputs
from cdgkd_utils.training.inputs import predict

BATCH = 128
GUIDES = ("teacher", "ta1", "ta2")
REPEATS = {"reference": 5, "compact": 31}


class GuidesEachStep(DenseGuidance):
    """Dense guidance that asks its guides anew for every mini-batch."""

    def __init__(self, guides: dict[str, nn.Module], inputs: Inputs, n_windows: int):
        super().__init__({name: torch.zeros(n_windows, 2) for name in guides})
        self.guides, self.inputs = list(guides.values()), inputs

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        for guide, logits in zip(self.guides, self.guide_logits, strict=True):
            logits[rows] = predict(guide, self.inputs, rows).logits
        return super().__call__(output, labels, rows)


def random_inputs(n_windows: int, *, with_signal: bool = True) -> Inputs:
    """Inputs with random values; all windows are training windows, the first two validation too.

    The signal, which the reference family alone takes, is by far the largest of them.
    """
    generator = torch.Generator().manual_seed(0)
    views = {"signal": torch.randn(n_windows, 28, 512, generator=generator)} if with_signal else {}
    mixing = torch.randn(n_windows, 4, 28, 28, generator=generator)
    return Inputs(
        eeg=mixing @ mixing.transpose(2, 3) / 28,
        video=torch.randn(n_windows, 5, 768, generator=generator),
        frame_mask=torch.ones(n_windows, 5, dtype=torch.bool),
        labels=torch.randint(2, (n_windows,), generator=generator),
        train=torch.arange(n_windows),
        val=torch.arange(2),
        views=views,
    )


def training_step(model: nn.Module, inputs: Inputs, loss: CrossEntropy, rows: Tensor) -> Callable[[], None]:
    """One step on the given rows, as ``training.loop`` makes it."""
    optimizer = torch.optim.Adam(loss.param_groups(model), lr=1e-4, amsgrad=True, eps=1e-7, fused=True)
    model.train()

    def step() -> None:
        labels = inputs.labels[rows]
        value = loss(model(*inputs.of(model, rows)), labels, rows)
        optimizer.zero_grad(set_to_none=True)
        value.total.backward()
        loss.before_step(model, optimizer)
        optimizer.step()
        loss.after_step(model, inputs)

    return step


def family_measurements(family: str) -> Iterator[Measurement]:
    """Figures of one family; goals stand for the reference family alone."""
    inputs, rows = random_inputs(2 * BATCH), torch.arange(2 * BATCH)
    guides = {name: build_model(name, seed, family) for seed, name in enumerate(GUIDES)}
    cached = {name: predict(guide, inputs, rows).logits for name, guide in guides.items()}
    losses: dict[str, CrossEntropy] = {
        "plain": CrossEntropy(),
        "ours": DenseGuidance(cached),
        "again": GuidesEachStep(guides, inputs, 2 * BATCH),
    }
    if family == "reference":
        ports = {name: plain_port(guide) for name, guide in guides.items()}
        losses["again, plain port"] = GuidesEachStep(ports, inputs, 2 * BATCH)
    batch = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))[:BATCH]]
    steps = [training_step(build_model("student", 9, family), inputs, loss, batch) for loss in losses.values()]
    seconds = dict(zip(losses, rounds(steps, REPEATS[family]).T, strict=True))
    for loss in losses.values():
        if isinstance(loss, GuidesEachStep):
            for again, once in zip(loss.guide_logits, cached.values(), strict=True):
                torch.testing.assert_close(again[batch], once[batch], rtol=1e-4, atol=1e-5)
    at_most, at_least = (1.05, 3.0) if family == "reference" else (None, None)
    what = f"{family} student"
    yield ratio(f"{what}: dense guidance by stored logits over cross-entropy", seconds["ours"], seconds["plain"],
                at_most=at_most)  # fmt: skip
    yield ratio(f"{what}: guides run in each step over ours", seconds["again"], seconds["ours"], at_least=at_least,
                note="the guides with our kernels")  # fmt: skip
    if family == "reference":
        yield ratio(f"{what}: guides run in each step as a plain port over ours", seconds["again, plain port"],
                    seconds["ours"], at_least=at_least)  # fmt: skip
    yield milliseconds(f"{what}: step with stored logits, batch {BATCH}", seconds["ours"])


def measurements() -> Iterator[Measurement]:
    for family in ("reference", "compact"):
        yield from family_measurements(family)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report(measurements, __doc__)
