"""EmotionKD: the student's loss, the feedback against finite differences, what it may touch, and the teacher."""

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cdgkd_utils.methods.emotionkd import EmotionKDLoss
from cdgkd_utils.models.compact_emotionkd import CompactEmotionKDTeacher, Score, TokenFusionLevels
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit

N, N_TRAIN = 40, 24


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@dataclass
class Recorded:
    """Batches in double precision; windows outside the training part are NaN, and every look-up is noted."""

    labels: torch.Tensor = field(default_factory=lambda: (torch.arange(N) * 7) % 3 % 2)
    train: torch.Tensor = field(default_factory=lambda: torch.arange(N_TRAIN) + 10)
    asked: list = field(default_factory=list)

    def __post_init__(self):
        self.x = torch.randn(N, 6, generator=generator(1)).double()
        outside = torch.ones(N, dtype=torch.bool)
        outside[self.train] = False
        self.x[outside] = torch.nan

    def of(self, model, rows):
        self.asked.append(rows)
        return [self.x[rows][:, :4] if name == "video" else self.x[rows] for name in model.inputs]


class Tiny(nn.Module):
    """A smooth network, so that finite differences are exact to rounding."""

    def __init__(self, inputs, n_in, n_hidden, *, norm=False):
        super().__init__()
        self.inputs = inputs
        self.first, self.classifier = nn.Linear(n_in, n_hidden), nn.Linear(n_hidden, 2)
        self.norm = nn.BatchNorm1d(n_hidden) if norm else nn.Identity()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        hidden = torch.tanh(self.norm(self.first(x)))
        return ModelOutput(self.classifier(self.dropout(hidden)), {"classifier_input": hidden})


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        teacher, student = Tiny(("both",), 6, 5).double(), Tiny(("video",), 4, 3, norm=True).double()
    inputs = Recorded()
    loss = EmotionKDLoss(teacher, inputs, n_in=3, generator=generator(5), **options)
    loss.regressor.double()
    return teacher, student, inputs, loss


ROWS = torch.tensor([12, 30, 11, 25, 17, 20])
OTHER = torch.tensor([13, 10, 33, 28, 19])


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_three_terms_against_numpy():
    teacher, student, inputs, loss = make(weights=(0.9, 0.3, 2.0))
    student.eval()
    output = student(*inputs.of(student, ROWS))
    y = inputs.labels[ROWS]
    value = loss(output, y, ROWS)
    seen = teacher.eval()(*inputs.of(teacher, ROWS))
    p_s, p_t = (softmax(o.logits.detach().numpy()) for o in (output, seen))
    w, b = (p.detach().numpy() for p in loss.regressor.parameters())
    guess = output.features["classifier_input"].detach().numpy() @ w.T + b
    expected = {
        "loss_ce": -0.9 * np.log(p_s[np.arange(len(y)), y.numpy()]).mean(),
        "loss_kd": 0.3 * (p_t * np.log(p_t / p_s)).sum(1).mean(),
        "loss_feature": 2 * ((guess - seen.features["classifier_input"].detach().numpy()) ** 2).mean(),
    }
    assert value.parts == pytest.approx(expected, rel=1e-10)
    assert value.total.item() == pytest.approx(sum(expected.values()), rel=1e-10)


def test_the_students_loss_never_reaches_the_teacher():
    _, student, inputs, loss = make()
    loss(student(*inputs.of(student, ROWS)), inputs.labels[ROWS], ROWS).total.backward()
    assert all(p.grad is None for p in loss.teacher.parameters())
    assert all(p.grad.abs().sum() > 0 for p in (*student.classifier.parameters(), *loss.regressor.parameters()))


def stepped_loss(teacher, student, loss, inputs, learning_rate):
    """CE on OTHER after one plain step on ROWS, with ordinary backward and hand-made update."""
    virtual = copy.deepcopy(student).eval()
    with torch.no_grad():
        seen = teacher.eval()(*inputs.of(teacher, ROWS))
    output = virtual(*inputs.of(virtual, ROWS))
    e1, e2, e3 = loss.weights
    kl = (F.softmax(seen.logits, 1) * (F.log_softmax(seen.logits, 1) - F.log_softmax(output.logits, 1))).sum(1)
    feature = (loss.regressor(output.features["classifier_input"]) - seen.features["classifier_input"]) ** 2
    total = e1 * F.cross_entropy(output.logits, inputs.labels[ROWS]) + e2 * kl.mean() + e3 * feature.mean()
    total.backward()
    with torch.no_grad():
        for p in virtual.parameters():
            p -= learning_rate * p.grad
        return F.cross_entropy(virtual(*inputs.of(virtual, OTHER)).logits, inputs.labels[OTHER]).item()


def finite_differences(teacher, f, step=1e-5):
    gradients = []
    for p in teacher.parameters():
        gradient = torch.zeros_like(p)
        for i in range(p.numel()):
            for sign in (1, -1):
                with torch.no_grad():
                    p.view(-1)[i] += sign * step
                gradient.view(-1)[i] += sign * f() / (2 * step)
                with torch.no_grad():
                    p.view(-1)[i] -= sign * step
        gradients.append(gradient)
    return gradients


def test_the_feedback_gradient_is_that_of_finite_differences():
    teacher, student, inputs, loss = make(weights=(1.0, 0.7, 1.3))
    rate = 0.5
    virtual = loss.virtual_student_loss(student, ROWS, OTHER, loss._forward_teacher(ROWS), rate)
    assert virtual.item() == pytest.approx(stepped_loss(teacher, student, loss, inputs, rate), rel=1e-10)
    gradients = torch.autograd.grad(virtual, list(loss.teacher.parameters()))
    expected = finite_differences(teacher, lambda: stepped_loss(teacher, student, loss, inputs, rate))
    assert max(e.abs().max() for e in expected) > 1e-3
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-9)


def test_a_student_that_does_not_step_has_nothing_to_say_to_the_teacher():
    _, student, _, loss = make()
    virtual = loss.virtual_student_loss(student, ROWS, OTHER, loss._forward_teacher(ROWS), 0.0)
    for gradient in torch.autograd.grad(virtual, list(loss.teacher.parameters())):
        assert gradient.abs().max() == 0


def one_batch(student, inputs, loss, *, momentum=0.0):
    optimizer = torch.optim.SGD(loss.param_groups(student), lr=0.2, momentum=momentum)
    loss(student(*inputs.of(student, ROWS)), inputs.labels[ROWS], ROWS).total.backward()
    loss.before_step(student, optimizer)
    optimizer.step()
    return optimizer


def test_the_teacher_moves_by_its_own_loss_and_the_feedback():
    teacher, student, inputs, loss = make(teacher_lr_ratio=0.5)
    one_batch(student, inputs, loss)
    before = [p.detach().clone() for p in loss.teacher.parameters()]
    logits, fused = loss._forward_teacher(ROWS)
    # The other batch is what the loss's generator draws next.
    peek = torch.Generator()
    peek.set_state(loss.generator.get_state())
    other = inputs.train[torch.randperm(N_TRAIN, generator=peek)[: len(ROWS)]]
    own = F.cross_entropy(logits, inputs.labels[ROWS])
    virtual = loss.virtual_student_loss(student, ROWS, other, (logits, fused), 0.2)
    gradients = torch.autograd.grad(own + virtual, list(loss.teacher.parameters()))
    log = loss.after_step(student, inputs)
    assert log == pytest.approx({"loss_teacher": own.item(), "loss_feedback": virtual.item()})
    for now, was, gradient in zip(loss.teacher.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(now.detach(), was - 0.5 * 0.2 * gradient)
    # What was handed in is another network, and stayed as it was.
    for given, was in zip(teacher.parameters(), before, strict=True):
        assert torch.equal(given, was)


def test_the_feedback_leaves_the_student_alone():
    _, student, inputs, loss = make()
    one_batch(student, inputs, loss)
    before = copy.deepcopy(student.state_dict())
    gradients = [p.grad.clone() for p in (*student.parameters(), *loss.regressor.parameters())]
    assert student.training
    loss.after_step(student, inputs)
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    after = [p.grad for p in (*student.parameters(), *loss.regressor.parameters())]
    assert all(torch.equal(a, b) for a, b in zip(after, gradients, strict=True))


@pytest.mark.parametrize("feedback", ["meta", "none"])
def test_only_training_windows_are_looked_up(feedback):
    _, student, inputs, loss = make(feedback=feedback)
    inputs.asked.clear()
    for _ in range(30):
        one_batch(student, inputs, loss)
        loss.after_step(student, inputs)
    asked = set(torch.cat(inputs.asked).tolist())
    assert asked <= set(inputs.train.tolist())
    # 30 draws of 6 out of 24 leave no training window out, unless they are drawn from somewhere else
    assert feedback == "none" or asked == set(inputs.train.tolist())
    assert all(torch.isfinite(p).all() for p in (*student.parameters(), *loss.teacher.parameters()))


def test_without_feedback_the_teacher_is_frozen_and_its_outputs_are_those_of_the_living_one():
    teacher, student, inputs, frozen = make(feedback="none")
    _, _, _, living = make(feedback="meta")
    output = student.eval()(*inputs.of(student, ROWS))
    parts = [loss(output, inputs.labels[ROWS], ROWS).parts for loss in (frozen, living)]
    assert parts[0] == pytest.approx(parts[1], rel=1e-12)
    student.train()
    one_batch(student, inputs, frozen)
    assert frozen.after_step(student, inputs) == {}
    for now, was in zip(frozen.teacher.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(now, was)
        assert not now.requires_grad
    with pytest.raises(ValueError, match="feedback"):
        make(feedback="yes")


class Attentive(nn.Module):
    """A student with attention, whose fast kernels have no second derivative."""

    inputs = ("video",)

    def __init__(self):
        super().__init__()
        self.project, self.classifier = nn.Linear(4, 32), nn.Linear(32, 2)

    def forward(self, x):
        heads = self.project(x).view(len(x), 2, 4, 4)
        hidden = F.scaled_dot_product_attention(heads, heads, heads).flatten(1)
        return ModelOutput(self.classifier(hidden), {"classifier_input": hidden})


def test_a_student_with_attention_can_give_feedback():
    teacher, _, inputs, _ = make()
    student = Attentive().double()
    loss = EmotionKDLoss(teacher, inputs, n_in=32, generator=generator())
    loss.regressor.double()
    virtual = loss.virtual_student_loss(student, ROWS, OTHER, loss._forward_teacher(ROWS), 0.5)
    gradient = torch.autograd.grad(virtual, loss.teacher.first.weight)[0]
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_equal_runs_are_equal_and_the_teacher_gets_the_students_optimiser(optimizer):
    n = 60
    labels, rows = torch.arange(n) % 2, torch.arange(n)
    video = torch.randn(n, 5, 768, generator=generator(2))
    eeg = torch.eye(28).expand(n, 4, 28, 28) * torch.rand(n, 4, 1, 1, generator=generator(3))
    inputs = Inputs(eeg, video, torch.ones(n, 5, dtype=torch.bool), labels, rows[:40], rows[40:])
    settings = TrainSettings(epochs=2, batch_size=20, optimizer=optimizer)
    weights = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            teacher = CompactEmotionKDTeacher()
        loss = EmotionKDLoss(teacher, inputs, n_in=32, generator=generator(7))
        model = build_model("student", 1)
        log = fit(model, inputs, loss, settings, seed=4).log
        weights.append([p.detach() for p in (*model.parameters(), *loss.teacher.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert {"loss_ce", "loss_kd", "loss_feature", "loss_teacher", "loss_feedback"} <= set(log)
    group = loss._teacher_optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.1 * settings.learning_rate)
    assert group["weight_decay"] == settings.weight_decay
    assert group.get("momentum", 0.9) == 0.9 and group.get("amsgrad", optimizer == "adam") == (optimizer == "adam")


def teacher_inputs(n=8, seed=0):
    g = generator(seed)
    a = torch.randn(n, 4, 28, 40, generator=g)
    mask = torch.ones(n, 5, dtype=torch.bool)
    return a @ a.transpose(-1, -2) / 40, torch.randn(n, 5, 768, generator=g), mask


def test_fusion_of_levels_against_numpy_loops():
    """softsign(BN(W2 ReLU(BN(W1 x)))) per token in training mode: statistics over windows and tokens."""
    fusion = TokenFusionLevels(3).double()
    levels = [torch.randn(4, 6, 3, generator=generator(s)).double() for s in (1, 2)]
    expected = np.zeros((4, 6, 3))
    for score, level in zip((fusion.score_1, fusion.score_2), levels, strict=True):
        x = rows = level.numpy().reshape(24, 3)
        for linear, relu in ((score.first, True), (score.second, False)):
            w, b = (p.detach().numpy() for p in linear.parameters())
            rows = np.array([[w[k] @ row + b[k] for k in range(3)] for row in rows])
            rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
            rows = np.maximum(rows, 0) if relu else rows / (1 + np.abs(rows))
        expected += (rows * x).reshape(4, 6, 3)
    np.testing.assert_allclose(fusion(*levels).detach().numpy(), expected, rtol=1e-10)


def test_gates_stay_within_one():
    gates = Score(4)(1e4 * torch.randn(5, 3, 4, generator=generator()))
    assert gates.shape == (5, 3, 4) and gates.abs().max() < 1


def test_the_teachers_features_maps_and_shares():
    model = CompactEmotionKDTeacher().eval()
    output = model(*teacher_inputs())
    shapes = {name: tuple(value.shape) for name, value in output.features.items()}
    assert shapes == {"eeg": (8, 128), "video": (8, 160), "classifier_input": (8, 288)}
    assert output.maps["eeg"].shape == (8, 4, 32) and output.maps["video"].shape == (8, 5, 32)
    torch.testing.assert_close(model.classifier(output.features["classifier_input"]), output.logits)
    torch.testing.assert_close(
        torch.cat([output.features["eeg"], output.features["video"]], 1), output.features["classifier_input"]
    )
    assert 0 < model.eeg_share({name: value.detach() for name, value in output.features.items()}) < 1


def test_each_branch_sees_its_own_input():
    model = CompactEmotionKDTeacher().eval()
    eeg, video, mask = teacher_inputs()
    one, other = model(eeg, video, mask), model(2 * eeg, video, mask)
    assert torch.equal(one.features["video"], other.features["video"])
    assert not torch.allclose(one.features["eeg"], other.features["eeg"])
    third = model(eeg, -video, mask)
    assert torch.equal(one.features["eeg"], third.features["eeg"])
    assert not torch.allclose(one.features["video"], third.features["video"])


def test_missing_frames_do_not_matter_and_are_zero_tokens():
    model = CompactEmotionKDTeacher().eval()
    eeg, video, mask = teacher_inputs(3)
    mask[0, 4] = False
    mask[1] = False
    garbage = video.clone()
    garbage[0, 4], garbage[1] = 1e3, -1e3
    clean, dirty = model(eeg, video, mask), model(eeg, garbage, mask)
    torch.testing.assert_close(clean.logits, dirty.logits)
    assert clean.maps["video"][0, 4].abs().max() == 0 and clean.features["video"][1].abs().max() == 0
    assert torch.isfinite(clean.logits).all()


def test_gradient_reaches_every_parameter_of_the_teacher():
    model = CompactEmotionKDTeacher()
    # The biases in front of a batch norm cancel: their gradient is rounding, and is left out.
    output = model(*teacher_inputs(32))
    F.cross_entropy(output.logits, torch.arange(32) % 2).backward()
    cancelled = {f"fusion.score_{i}.{layer}.bias" for i in (1, 2) for layer in ("first", "second")}
    for name, p in model.named_parameters():
        assert name in cancelled or p.grad.abs().max() > 0, name
