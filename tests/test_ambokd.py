"""AMBOKD: weights and learning rates by hand, where gradients flow, and the peer that is kept."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cdgkd_utils.methods.ambokd import PEERS, AMBOKDLoss, learning_rate_factors, peer_weights
from cdgkd_utils.models.compact import MODELS
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.peers import Peers, TokenFusion
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit, predict

N = 64
Y = torch.arange(N) % 2
ROWS = torch.arange(N)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_peers(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Peers(MODELS["student"](), MODELS["eeg"](), n_video=32, n_eeg=64)


def make_inputs(n=N):
    a = torch.randn(n, 4, 28, 40, generator=generator(1))
    video = torch.randn(n, 5, 768, generator=generator(2))
    mask, rows = torch.ones(n, 5, dtype=torch.bool), torch.arange(n)
    return Inputs(a @ a.transpose(-1, -2) / 40, video, mask, torch.arange(n) % 2, rows[: n // 2], rows[n // 2 :])


INPUTS = make_inputs()


def output_of(eeg, video, fusion):
    return ModelOutput(video, {"logits_eeg": eeg, "logits_fusion": fusion})


def random_logits(*, grad=False):
    logits = [2 * torch.randn(N, 2, generator=generator(s)).double() for s in (3, 4, 5)]
    return [x.requires_grad_() for x in logits] if grad else logits


def test_who_is_behind_listens_more():
    weights = peer_weights({"eeg": 0.6, "video": 0.3, "fusion": 0.01})
    assert weights == pytest.approx(
        {
            ("eeg", "video"): 2.0,
            ("video", "eeg"): 0.5,
            ("eeg", "fusion"): 10.0,  # 60, clipped
            ("fusion", "eeg"): 0.1,  # 1/60, clipped
            ("video", "fusion"): 10.0,
            ("fusion", "video"): 0.1,
        }
    )
    assert peer_weights({"eeg": 0.5, "video": 0.0}) == {("eeg", "video"): 10.0, ("video", "eeg"): 0.1}


def test_who_is_ahead_is_slowed_down():
    first = {"eeg": 0.7, "video": 0.7, "fusion": 0.7}
    now = {"eeg": 0.56, "video": 0.35, "fusion": 0.42}  # progress 0.2, 0.5, 0.4
    factors = learning_rate_factors(first, now, 3.0)
    # eeg ((.5 + .4) / .4)³ = 11.39, clipped; video ((.2 + .4) / 1)³; fusion ((.2 + .5) / .8)³
    assert factors == pytest.approx({"eeg": 10.0, "video": 0.216, "fusion": 0.669921875})
    assert learning_rate_factors(first, now, 1.0)["eeg"] == pytest.approx(2.25)
    released = learning_rate_factors(first, now, 3.0, lr_visual_bug=True)
    # video ((.4 + .4) / 1)³, the others as before
    assert released == pytest.approx(factors | {"video": 0.512})


def test_progress_is_clipped_and_equal_progress_changes_nothing():
    first = dict.fromkeys(PEERS, 0.7)
    assert learning_rate_factors(first, first, 3.0) == dict.fromkeys(PEERS, 1.0)
    # eeg got worse: progress 0.1; video perfect: 1; fusion 0.5 -> eeg (1.5 / .2)³ clipped, video (.6 / 2)³ clipped
    factors = learning_rate_factors(first, {"eeg": 0.9, "video": 0.0, "fusion": 0.35}, 3.0)
    assert factors == pytest.approx({"eeg": 10.0, "video": 0.1, "fusion": (1.1 / 1.0) ** 3})


def own_loss(logits, learner, y, temperature):
    """L of one peer in NumPy, with the weights and the guides as plain numbers."""

    def log_softmax(x):
        return x - np.log(np.exp(x).sum(1, keepdims=True))

    ce = {m: -log_softmax(x)[np.arange(len(y)), y].mean() for m, x in logits.items()}
    total = ce[learner]
    for guide in set(PEERS) - {learner}:
        q, p = (log_softmax(logits[m] / temperature) for m in (guide, learner))
        weight = np.clip(ce[learner] / ce[guide], 0.1, 10)
        total += temperature**2 * weight * (np.exp(q) * (q - p)).sum(1).mean()
    return ce[learner], total


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_value_against_numpy(temperature):
    logits = random_logits()
    value = AMBOKDLoss(temperature=temperature)(output_of(*logits), Y, ROWS)
    named = {m: x.numpy() for m, x in zip(PEERS, logits, strict=True)}
    expected = 0.0
    for peer in PEERS:
        ce, total = own_loss(named, peer, Y.numpy(), temperature)
        expected += total
        assert value.parts[f"loss_ce_{peer}"] == pytest.approx(ce, rel=1e-10)
        assert value.parts[f"loss_kd_{peer}"] == pytest.approx(total - ce, rel=1e-10)
    assert value.total.item() == pytest.approx(expected, rel=1e-10)
    assert value.total.item() == pytest.approx(sum(value.parts.values()), rel=1e-10)


def test_the_released_mean_halves_the_kl_of_two_classes():
    output = output_of(*random_logits())
    right, released = AMBOKDLoss()(output, Y, ROWS).parts, AMBOKDLoss(kl_mean=True)(output, Y, ROWS).parts
    for peer in PEERS:
        assert released[f"loss_kd_{peer}"] == pytest.approx(right[f"loss_kd_{peer}"] / 2)
        assert released[f"loss_ce_{peer}"] == right[f"loss_ce_{peer}"]


def test_the_gradient_of_a_peers_logits_is_that_of_its_own_loss():
    """Guides and weights are constants: central differences of L_m alone, in each peer's logits."""
    logits = random_logits(grad=True)
    AMBOKDLoss()(output_of(*logits), Y, ROWS).total.backward()
    named = {m: x.detach().numpy().copy() for m, x in zip(PEERS, logits, strict=True)}
    y, step = Y.numpy(), 1e-5
    for peer, x in zip(PEERS, logits, strict=True):
        ce = {m: own_loss(named, m, y, 4.0)[0] for m in PEERS}
        weights = peer_weights(ce)
        for entry in ((0, 0), (5, 1)):
            differences = []
            for sign in (1, -1):
                moved = {m: v.copy() for m, v in named.items()}
                moved[peer][entry] += sign * step
                total = own_loss(moved, peer, y, 4.0)[0]
                for guide in set(PEERS) - {peer}:
                    q, p = (torch.tensor(m / 4).log_softmax(1).numpy() for m in (named[guide], moved[peer]))
                    total += 16 * weights[peer, guide] * (np.exp(q) * (q - p)).sum(1).mean()
                differences.append(total)
            expected = (differences[0] - differences[1]) / (2 * step)
            assert x.grad[entry].item() == pytest.approx(expected, rel=1e-5)


def three_passes(model, parts):
    """The authors' scheme: own forward passes per loss, three backward passes, gradients add up where they meet."""
    eeg_input, video_inputs = parts[0], parts[1:]
    temperature = 4.0

    def forward(which):
        if which == "fusion":  # both encoders a second time
            embeddings = [
                net.features["classifier_input"] for net in (model.eeg(eeg_input), model.video(*video_inputs))
            ]
            return model.fusion(*embeddings)
        return model.eeg(eeg_input).logits if which == "eeg" else model.video(*video_inputs).logits

    for learner in PEERS:
        logits = {m: forward(m) for m in PEERS}
        ce = {m: F.cross_entropy(x, Y) for m, x in logits.items()}
        loss = ce[learner]
        for guide in set(PEERS) - {learner}:
            soft = F.softmax(logits[guide] / temperature, 1).detach()
            kl = F.kl_div(F.log_softmax(logits[learner] / temperature, 1), soft, reduction="batchmean")
            loss = loss + temperature**2 * min(max((ce[learner] / ce[guide]).item(), 0.1), 10) * kl
        loss.backward()


def test_one_backward_pass_gives_the_gradients_of_three():
    # Evaluation mode: the authors' second pass would draw another dropout mask.
    one = make_peers().double().eval()
    three = copy.deepcopy(one)
    parts = [x if x.dtype == torch.bool else x.double() for x in INPUTS.of(one, ROWS)]
    AMBOKDLoss()(one(*parts), Y, ROWS).total.backward()
    three_passes(three, parts)
    for (name, a), b in zip(one.named_parameters(), three.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-12, msg=name)


def test_the_fusions_loss_reaches_both_encoders_and_no_peers_loss_the_others():
    model = make_peers().eval()
    output = model(*INPUTS.of(model, ROWS))
    reached = {}
    every = (output.features["logits_eeg"], output.logits, output.features["logits_fusion"])
    for peer, logits in zip(PEERS, every, strict=True):
        model.zero_grad()
        F.cross_entropy(logits, Y).backward(retain_graph=True)
        reached[peer] = {m for m in PEERS if any(p.grad is not None for p in getattr(model, m).parameters())}
    assert reached == {"eeg": {"eeg"}, "video": {"video"}, "fusion": set(PEERS)}


def test_the_groups_are_the_three_peers_and_leave_nothing_out():
    model = make_peers()
    groups = AMBOKDLoss().param_groups(model)
    for group, part in zip(groups, (model.eeg, model.video, model.fusion), strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in part.parameters()]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_rates_are_equal_in_epoch_0_and_balanced_for_each_batch_after_it():
    model, loss = make_peers(), AMBOKDLoss()
    optimizer = torch.optim.SGD(loss.param_groups(model), lr=0.01)
    truth = F.one_hot(Y, 2)
    # Each peer has learned something else by epoch 1: 0.3, 0.9 and 0.6 on the true class's logit.
    epochs = [random_logits(), [x + g * truth for x, g in zip(random_logits(), (0.3, 0.9, 0.6), strict=True)]]
    seen = []
    for epoch, logits in enumerate(epochs):
        loss.begin_epoch(epoch, None)
        for rows in (ROWS[:40], ROWS[40:]):
            parts = loss(output_of(*(x[rows] for x in logits)), Y[rows], rows).parts
            loss.before_step(model, optimizer)
            seen.append(({m: parts[f"loss_ce_{m}"] for m in PEERS}, [g["lr"] for g in optimizer.param_groups]))
    assert seen[0][1] == seen[1][1] == [0.01] * 3
    first = {m: (40 * seen[0][0][m] + 24 * seen[1][0][m]) / 64 for m in PEERS}  # mean over the windows of epoch 0
    for ce, rates in seen[2:]:
        progress = {m: np.clip((first[m] - ce[m]) / first[m], 0.1, 1) for m in PEERS}
        for m, rate in zip(PEERS, rates, strict=True):
            j, k = (progress[o] for o in PEERS if o != m)
            assert rate == pytest.approx(0.01 * np.clip(((j + k) / (2 * progress[m])) ** 3, 0.1, 10))
    assert seen[2][1] != seen[3][1]
    assert list(loss.after_step(model, INPUTS).values()) == pytest.approx([r / 0.01 for r in seen[3][1]])
    loss.begin_epoch(0, None)  # the next training starts afresh
    assert set(loss.after_step(model, INPUTS).values()) == {1.0}


def test_the_deployed_peer_is_the_composites_logits_without_eeg():
    model = make_peers()
    fit(model, INPUTS, AMBOKDLoss(), TrainSettings(epochs=2, batch_size=16), seed=0)
    together = predict(model, INPUTS, ROWS)
    alone = predict(model.deployed, INPUTS, ROWS)
    torch.testing.assert_close(alone.logits, together.logits)
    deaf = Inputs(INPUTS.eeg * torch.nan, INPUTS.video, INPUTS.frame_mask, Y, ROWS, ROWS)
    assert torch.equal(predict(model.deployed, deaf, ROWS).logits, alone.logits)
    assert torch.equal(predict(model, deaf, ROWS).logits, together.logits)
    assert predict(model, deaf, ROWS).features["logits_fusion"].isnan().all()
    assert model.deployed.inputs == ("video", "frame_mask")
    # What is stored can be read into the plain student.
    student = build_model("student", 9)
    student.load_state_dict(model.deployed.state_dict())
    assert torch.equal(predict(student, INPUTS, ROWS).logits, alone.logits)


def test_the_visual_peer_starts_where_the_other_students_start():
    student = build_model("student", 5)
    for a, b in zip(make_peers(5).deployed.parameters(), student.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_peer_is_trained_and_equal_runs_are_equal():
    runs = []
    for _ in range(2):
        model = make_peers()
        before = [p.detach().clone() for p in model.parameters()]
        done = fit(model, INPUTS, AMBOKDLoss(), TrainSettings(2, 16, selection="last_epoch"), seed=0)
        runs.append(list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    unmoved = {name for name, a, b in zip(names, runs[0], before, strict=True) if torch.equal(a, b)}
    assert unmoved == set()
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert done.log.filter(like="lr_factor").iloc[0].tolist() == [1.0] * 3


def test_token_fusion_against_numpy_loops():
    fusion = TokenFusion(5, 3, n_token=8).double().eval()
    eeg, video = torch.randn(4, 5, generator=generator(1)).double(), torch.randn(4, 3, generator=generator(2)).double()

    def apply(layer, x):
        w, b = (p.detach().numpy() for p in layer.parameters())
        return w @ x + b

    expected = []
    for e, v in zip(eeg.numpy(), video.numpy(), strict=True):
        qkv = [apply(fusion.query_key_value, t) for t in (apply(fusion.project_eeg, e), apply(fusion.project_video, v))]
        flat = []
        for token in range(2):
            for head in range(2):
                part = slice(4 * head, 4 * head + 4)
                q = qkv[token][:8][part]
                scores = np.array([q @ other[8:16][part] / np.sqrt(4) for other in qkv])
                weight = np.exp(scores) / np.exp(scores).sum()
                flat.append(sum(w * other[16:][part] for w, other in zip(weight, qkv, strict=True)))
        expected.append(apply(fusion.classifier, np.concatenate(flat)))
    np.testing.assert_allclose(fusion(eeg, video).detach().numpy(), np.array(expected), rtol=1e-10)
