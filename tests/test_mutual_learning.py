"""AMBOKD's peers and EmotionKD's feedback: weights by hand, values by NumPy, gradients by finite differences."""

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn
from torch.nn import functional as F

from cdgkd_utils.methods.mutual import PEERS, AMBOKDLoss, EmotionKDLoss, learning_rate_factors, peer_weights
from cdgkd_utils.models import ModelOutput, build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit, predict

N, N_TRAIN = 40, 24
ROWS, OTHER = torch.tensor([12, 30, 11, 25, 17, 20]), torch.tensor([13, 10, 33, 28, 19])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_inputs(n=64):
    a, rows = torch.randn(n, 4, 28, 40, generator=generator(1)), torch.arange(n)
    video = torch.randn(n, 5, 768, generator=generator(2))
    mask = torch.ones(n, 5, dtype=torch.bool)
    return Inputs(a @ a.mT / 40, video, mask, rows % 2, rows[: n // 2], rows[n // 2 :])


INPUTS = make_inputs()
Y, ALL = INPUTS.labels, torch.arange(64)


def random_logits():
    return {m: 2 * torch.randn(64, 3, generator=generator(s)).double() for s, m in enumerate(PEERS, start=3)}


def output_of(logits):
    return ModelOutput(logits["video"], {f"logits_{m}": logits[m] for m in ("eeg", "fusion")})


def test_who_is_behind_listens_more_and_who_is_ahead_is_slowed_down():
    weights = peer_weights({"eeg": 0.6, "video": 0.3, "fusion": 0.01})
    expected = {("eeg", "video"): 2.0, ("video", "eeg"): 0.5, ("eeg", "fusion"): 10.0, ("fusion", "eeg"): 0.1}
    assert weights == pytest.approx(expected | {("video", "fusion"): 10.0, ("fusion", "video"): 0.1})  # clipped
    first, now = dict.fromkeys(PEERS, 0.7), {"eeg": 0.56, "video": 0.35, "fusion": 0.42}  # progress 0.2, 0.5, 0.4
    # eeg ((.5 + .4) / .4)³ = 11.39, clipped; video ((.2 + .4) / 1)³; fusion ((.2 + .5) / .8)³
    expected = {"eeg": 10.0, "video": 0.216, "fusion": 0.669921875}
    assert learning_rate_factors(first, now, 3.0) == pytest.approx(expected)
    assert learning_rate_factors(first, first, 3.0) == dict.fromkeys(PEERS, 1.0)
    # eeg got worse: progress 0.1; video perfect: 1; fusion 0.5
    factors = learning_rate_factors(first, {"eeg": 0.9, "video": 0.0, "fusion": 0.35}, 3.0)
    assert factors == pytest.approx({"eeg": 10.0, "video": 0.1, "fusion": 1.1**3})


def own_loss(logits, learner, temperature, weights=None):
    """L of one peer in NumPy, with the weights and the guides as plain numbers."""
    ce = {m: -log_softmax(x, 1)[np.arange(64), Y.numpy()].mean() for m, x in logits.items()}
    weights, total = weights or peer_weights(ce), ce[learner]
    for guide in set(PEERS) - {learner}:
        q, p = (log_softmax(logits[m] / temperature, 1) for m in (guide, learner))
        total += temperature**2 * weights[learner, guide] * (np.exp(q) * (q - p)).sum(1).mean()
    return ce[learner], total, weights


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_peers_loss_against_numpy_and_each_gradient_is_that_of_its_own_loss(temperature):
    """Guides and weights are constants: central differences of L_m alone, in each peer's logits."""
    logits = {m: x.requires_grad_() for m, x in random_logits().items()}
    value = AMBOKDLoss(temperature=temperature)(output_of(logits), Y, ALL)
    value.total.backward()
    named, expected = {m: x.detach().numpy() for m, x in logits.items()}, 0.0
    for peer in PEERS:
        ce, total, weights = own_loss(named, peer, temperature)
        expected += total
        assert value.parts[f"loss_ce_{peer}"] == pytest.approx(ce, rel=1e-10)
        assert value.parts[f"loss_kd_{peer}"] == pytest.approx(total - ce, rel=1e-10)
        for entry in ((0, 0), (5, 2)):
            ends = []
            for sign in (1, -1):
                moved = named | {peer: named[peer].copy()}
                moved[peer][entry] += sign * 1e-5
                ends.append(own_loss(moved, peer, temperature, weights)[1])
            assert logits[peer].grad[entry].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
    assert value.total.item() == pytest.approx(expected, rel=1e-10)


def test_rates_are_equal_in_epoch_0_and_balanced_for_each_batch_after_it():
    model, loss = build_model("ambokd", 0), AMBOKDLoss()
    groups = loss.param_groups(model)
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    optimizer, truth, seen = torch.optim.SGD(groups, lr=0.01), F.one_hot(Y, 3), []
    for epoch, gains in enumerate(((0, 0, 0), (0.3, 0.9, 0.6))):  # what each peer has learned by then
        loss.begin_epoch(epoch, None)
        logits = {m: x + g * truth for (m, x), g in zip(random_logits().items(), gains, strict=True)}
        for rows in (ALL[:40], ALL[40:]):
            parts = loss(output_of({m: x[rows] for m, x in logits.items()}), Y[rows], rows).parts
            loss.before_step(model, optimizer)
            seen.append(({m: parts[f"loss_ce_{m}"] for m in PEERS}, [g["lr"] for g in optimizer.param_groups]))
    assert seen[0][1] == seen[1][1] == [0.01] * 3
    first = {m: (40 * seen[0][0][m] + 24 * seen[1][0][m]) / 64 for m in PEERS}  # mean over the windows of epoch 0
    for ce, rates in seen[2:]:
        assert rates == pytest.approx([0.01 * f for f in learning_rate_factors(first, ce, 3.0).values()])
    assert seen[2][1] != seen[3][1]


def test_the_video_peer_is_kept_it_starts_as_the_other_students_and_needs_no_eeg():
    model, student = build_model("ambokd", 5), build_model("student", 5)
    assert all(torch.equal(a, b) for a, b in zip(model.deployed.parameters(), student.parameters(), strict=True))
    before = [p.detach().clone() for p in model.parameters()]
    fit(model, INPUTS, AMBOKDLoss(), TrainSettings(2, 16, selection="last_epoch"), seed=0)
    names = [name for name, _ in model.named_parameters()]
    assert not {n for n, a, b in zip(names, model.parameters(), before, strict=True) if torch.equal(a, b)}
    deaf = Inputs(INPUTS.eeg * torch.nan, INPUTS.video, INPUTS.frame_mask, Y, ALL, ALL)
    assert torch.equal(predict(model.deployed, deaf, ALL).logits, predict(model, INPUTS, ALL).logits)
    student.load_state_dict(model.deployed.state_dict())


@dataclass
class Recorded:
    """Batches in double precision; windows outside the training part are NaN, and every look-up is noted."""

    labels: torch.Tensor = field(default_factory=lambda: (torch.arange(N) * 7) % 3 % 2)
    train: torch.Tensor = field(default_factory=lambda: torch.arange(N_TRAIN) + 10)
    asked: list = field(default_factory=list)

    def __post_init__(self):
        self.x = torch.full((N, 6), torch.nan).double()
        self.x[self.train] = torch.randn(N_TRAIN, 6, generator=generator(1)).double()

    def of(self, model, rows):
        self.asked.append(rows)
        return [self.x[rows][:, :4] if name == "video" else self.x[rows] for name in model.inputs]


class Tiny(nn.Module):
    """A smooth network, so that finite differences are exact to rounding; with attention of which kernels exist."""

    def __init__(self, inputs, n_in, n_hidden, *, norm=False, attends=False):
        super().__init__()
        self.inputs, self.attends = inputs, attends
        self.first, self.classifier = nn.Linear(n_in, n_hidden), nn.Linear(n_hidden, 2)
        self.norm = nn.BatchNorm1d(n_hidden) if norm else nn.Identity()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        hidden = torch.tanh(self.norm(self.first(x)))
        if self.attends:
            heads = hidden.view(len(x), 2, 4, -1)
            hidden = F.scaled_dot_product_attention(heads, heads, heads).flatten(1)
        return ModelOutput(self.classifier(self.dropout(hidden)), {"classifier_input": hidden})


def make(n_hidden=3, *, attends=False, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        teacher = Tiny(("both",), 6, 5).double()
        student = Tiny(("video",), 4, n_hidden, norm=True, attends=attends).double()
    inputs = Recorded()
    loss = EmotionKDLoss(teacher, inputs, n_in=n_hidden, generator=generator(5), **options)
    loss.regressor.double()
    return teacher, student, inputs, loss


def test_the_students_three_terms_against_numpy_and_none_reaches_the_teacher():
    teacher, student, inputs, loss = make(weights=(0.9, 0.3, 2.0))
    output, y = student.eval()(*inputs.of(student, ROWS)), inputs.labels[ROWS]
    value = loss(output, y, ROWS)
    seen = teacher.eval()(*inputs.of(teacher, ROWS))
    p_s, p_t = (softmax(o.logits.detach().numpy(), 1) for o in (output, seen))
    w, b = (p.detach().numpy() for p in loss.regressor.parameters())
    guess = output.features["classifier_input"].detach().numpy() @ w.T + b
    expected = {
        "loss_ce": -0.9 * np.log(p_s[np.arange(len(y)), y.numpy()]).mean(),
        "loss_kd": 0.3 * (p_t * np.log(p_t / p_s)).sum(1).mean(),
        "loss_feature": 2 * ((guess - seen.features["classifier_input"].detach().numpy()) ** 2).mean(),
    }
    assert value.parts == pytest.approx(expected, rel=1e-10)
    value.total.backward()
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


@pytest.mark.parametrize("student_options", [{}, {"n_hidden": 8, "attends": True}])
def test_the_feedbacks_gradient_is_that_of_finite_differences(student_options):
    teacher, student, inputs, loss = make(weights=(1.0, 0.7, 1.3), **student_options)
    virtual = loss.virtual_student_loss(student, ROWS, OTHER, loss._forward_teacher(ROWS), 0.5)
    assert virtual.item() == pytest.approx(stepped_loss(teacher, student, loss, inputs, 0.5), rel=1e-10)
    gradients, largest = torch.autograd.grad(virtual, list(loss.teacher.parameters())), 0.0
    for p, got in zip(teacher.parameters(), gradients, strict=True):
        for i in range(0, p.numel(), 3):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    p.view(-1)[i] += sign * 1e-5
                ends.append(stepped_loss(teacher, student, loss, inputs, 0.5))
                with torch.no_grad():
                    p.view(-1)[i] -= sign * 1e-5
            expected = (ends[0] - ends[1]) / 2e-5
            largest = max(largest, abs(expected))
            assert got.view(-1)[i].item() == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert largest > 1e-3
    still = loss.virtual_student_loss(student, ROWS, OTHER, loss._forward_teacher(ROWS), 0.0)
    assert all(g.abs().max() == 0 for g in torch.autograd.grad(still, list(loss.teacher.parameters())))


def one_batch(student, inputs, loss):
    optimizer = torch.optim.SGD(loss.param_groups(student), lr=0.2)
    loss(student(*inputs.of(student, ROWS)), inputs.labels[ROWS], ROWS).total.backward()
    loss.before_step(student, optimizer)
    optimizer.step()


def test_the_teacher_moves_by_its_own_loss_and_the_feedback_and_the_student_does_not():
    teacher, student, inputs, loss = make(teacher_lr_ratio=0.5)
    one_batch(student, inputs, loss)
    was, students = ([p.detach().clone() for p in m.parameters()] for m in (loss.teacher, student))
    statistics, guide, peek = student.norm.running_mean.clone(), loss._forward_teacher(ROWS), torch.Generator()
    peek.set_state(loss.generator.get_state())  # the other batch is what the loss's generator draws next
    other = inputs.train[torch.randperm(N_TRAIN, generator=peek)[: len(ROWS)]]
    own = F.cross_entropy(guide[0], inputs.labels[ROWS])
    virtual = loss.virtual_student_loss(student, ROWS, other, guide, 0.2)
    gradients = torch.autograd.grad(own + virtual, list(loss.teacher.parameters()))
    log = loss.after_step(student, inputs)
    assert log == pytest.approx({"loss_teacher": own.item(), "loss_feedback": virtual.item()})
    for now, before, gradient, given in zip(
        loss.teacher.parameters(), was, gradients, teacher.parameters(), strict=True
    ):
        torch.testing.assert_close(now.detach(), before - 0.5 * 0.2 * gradient)
        assert torch.equal(given, before)  # what was handed in is another network
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), students, strict=True))
    assert student.training and torch.equal(student.norm.running_mean, statistics)


def test_only_training_windows_are_looked_up_and_all_of_them():
    _, student, inputs, loss = make()
    for _ in range(30):
        one_batch(student, inputs, loss)
        loss.after_step(student, inputs)
    # 30 draws of 6 out of 24 leave none out, unless they are drawn from somewhere else
    assert set(torch.cat(inputs.asked).tolist()) == set(inputs.train.tolist())
    assert all(torch.isfinite(p).all() for p in (*student.parameters(), *loss.teacher.parameters()))
