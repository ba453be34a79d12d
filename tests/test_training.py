"""The loop: what it selects, what it may see, and that equal runs are equal."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cdgkd_utils.experiments.losses import Given, Guide, build_loss
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models import build_model
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.training import Inputs, TrainSettings, evaluate, fit, loop, predict, training_device


def make_inputs(n=240, seed=0):
    """Windows whose label shows in one video feature, with noise."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=g)
    a = torch.randn(n, 4, 28, 40, generator=g)
    video = torch.randn(n, 5, 768, generator=g)
    video[:, :, 0] += 3 * (2 * labels[:, None] - 1)
    rows = torch.arange(n)
    mask = torch.ones(n, 5, dtype=torch.bool)
    return Inputs(a @ a.transpose(-1, -2) / 40, video, mask, labels, rows[: n // 2], rows[n // 2 : 3 * n // 4])


INPUTS = make_inputs()
SETTINGS = TrainSettings(epochs=4, batch_size=32)


def recipe_loss(name, model, inputs=INPUTS):
    """The loss of a recipe; its guides know nothing."""
    rng, recipe = np.random.default_rng(0), RECIPES[name]
    answers = {g: rng.normal(size=(240, 2)).astype(np.float32) for g in recipe.guides}
    guides = {g: Guide(logits, None, inputs, {}) for g, logits in answers.items()}
    return build_loss(Given(recipe, guides, model, inputs, torch.Generator().manual_seed(7)))


def state(model):
    return torch.cat([v.flatten().double() for v in model.state_dict().values()])


def trained(inputs=INPUTS, settings=SETTINGS, seed=0, loss=None):
    """What is left of one training of the student, and its weights."""
    model = build_model("student", 0)
    done = fit(model, inputs, loss or CrossEntropy(), settings, seed=seed)
    return done, model


@pytest.mark.parametrize("name", ["fusion_rebalanced", "ce", "cdgkd"])
def test_two_equal_runs_give_equal_logs_and_weights(name):
    logs, weights, threads = [], [], torch.get_num_threads()
    for junk in (1, 2):  # the caller's random state and threads do not matter
        torch.manual_seed(junk)
        torch.set_num_threads(junk)
        model = build_model(RECIPES[name].model, 5)
        logs.append(fit(model, INPUTS, recipe_loss(name, model), SETTINGS, seed=11).log.drop(columns="seconds"))
        weights.append(state(model))
        assert torch.get_num_threads() == junk
    torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    assert torch.equal(*weights)
    assert name != "ce" or not torch.equal(state(trained(seed=1)[1]), state(trained(seed=2)[1]))


def test_the_best_validation_epoch_is_restored_and_the_last_on_request():
    for selection in ("best_val", "last_epoch"):
        done, model = trained(settings=replace(SETTINGS, epochs=6, selection=selection))
        score, row = evaluate(model, INPUTS, INPUTS.val), done.log.iloc[done.chosen_epoch]
        assert score["balanced_accuracy"] == pytest.approx(row["val_balanced_accuracy"])
        assert score["loss"] == pytest.approx(row["val_loss"], rel=1e-6)
        ranked = done.log.sort_values(["val_balanced_accuracy", "val_loss"], ascending=[False, True])
        assert done.chosen_epoch == (ranked["epoch"].iloc[0] if selection == "best_val" else 5)


def test_patience_stops_after_epochs_without_a_better_one():
    noise = replace(INPUTS, labels=torch.randint(0, 2, (240,), generator=torch.Generator().manual_seed(1)))
    done = fit(build_model("student", 0), noise, CrossEntropy(), TrainSettings(60, 32, patience=3), seed=0)
    assert len(done.log) == done.chosen_epoch + 4 < 60


def test_test_rows_and_other_modalities_are_never_read_and_validation_rows_do_not_train():
    poisoned = replace(INPUTS, eeg=torch.full_like(INPUTS.eeg, torch.nan), video=INPUTS.video.clone())
    poisoned.video[180:] = torch.nan
    shifted, last = replace(INPUTS, video=INPUTS.video.clone()), replace(SETTINGS, selection="last_epoch")
    shifted.video[INPUTS.val] *= -1
    assert torch.equal(state(trained()[1]), state(trained(poisoned)[1]))
    assert torch.equal(state(trained(settings=last)[1]), state(trained(shifted, last)[1]))


def test_prediction_leaves_the_mode_and_ignores_the_chunk_and_scores_are_by_hand():
    model, rows = build_model("teacher", 0).train(), torch.arange(60)
    one, two = predict(model, INPUTS, rows), predict(model, INPUTS, rows, chunk=7)
    torch.testing.assert_close(one.logits, two.logits, rtol=1e-5, atol=1e-6)
    assert model.training and not one.logits.requires_grad and one.features["eeg"].shape == (60, 64)
    y, got = INPUTS.labels[:60], evaluate(model, INPUTS, rows)
    right = one.logits.argmax(1) == y
    assert got["accuracy"] == pytest.approx(right.double().mean().item())
    balanced = np.mean([right[y == k].double().mean() for k in (0, 1)])
    assert got["balanced_accuracy"] == pytest.approx(balanced)
    assert got["loss"] == pytest.approx(F.cross_entropy(one.logits, y).item())


def test_an_interruption_keeps_the_best_so_far_and_one_before_any_epoch_is_passed_on():
    def stop_in_third(log):
        if len(log) == 3:
            raise KeyboardInterrupt

    model = build_model("student", 0)
    done = fit(model, INPUTS, CrossEntropy(), TrainSettings(9, 32), seed=0, on_epoch=stop_in_third)
    score = evaluate(model, INPUTS, INPUTS.val)["balanced_accuracy"]
    assert done.interrupted and len(done.log) == 3 and score == pytest.approx(done.log["val_balanced_accuracy"].max())

    class Stop(CrossEntropy):
        def __call__(self, *args):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(loss=Stop())


class FiniteFor(CrossEntropy):
    """Cross-entropy that breaks down after some epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def begin_epoch(self, epoch, embed):
        self.epoch = epoch
        return {}

    def __call__(self, output, labels, rows):
        value = super().__call__(output, labels, rows)
        return value._replace(total=value.total * torch.inf) if self.epoch >= self.epochs else value


def test_a_training_that_diverges_ends_with_the_best_epoch_before_or_is_an_error():
    (done, model), (short, twin) = trained(loss=FiniteFor(2)), trained(settings=replace(SETTINGS, epochs=2))
    assert done.diverged and not short.diverged and len(done.log) == 2 and done.chosen_epoch == short.chosen_epoch
    assert torch.equal(state(model), state(twin))
    for settings, n in ((SETTINGS, 0), (replace(SETTINGS, selection="last_epoch"), 2)):  # at once, or the last is kept
        with pytest.raises(ValueError, match=f"not finite in epoch {n}"):
            trained(settings=settings, loss=FiniteFor(n))


@pytest.mark.parametrize(("train", "val"), [(1, 9), (0, 9), (9, 0)])
def test_too_few_windows_are_one_clear_error(train, val):
    few = replace(INPUTS, train=torch.arange(train), val=torch.arange(100, 100 + val))
    with pytest.raises(ValueError, match=f"at least 2 windows and validation at least 1, got {train} and {val}"):
        trained(few)


def test_the_variable_names_the_device_and_one_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, expected in (("", "cuda"), ("auto", "cuda"), ("CPU", "cpu"), ("cuda:1", "cuda:1")):
        monkeypatch.setenv("CDGKD_DEVICE", name)
        assert training_device() == torch.device(expected)
    for name in ("gpu", "meta", "cuda:2", "cuda:x"):
        monkeypatch.setenv("CDGKD_DEVICE", name)
        with pytest.raises(ValueError, match=f"CDGKD_DEVICE: .*{name}"):
            training_device()


def test_inputs_move_whole_and_views_are_made_once_when_asked_for():
    made, rows = [], torch.arange(2)

    def make(name):
        made.append(name)
        return torch.ones(4, 2)

    inputs = Inputs(*(torch.ones(4, k) for k in (1, 2, 3)), torch.arange(4), rows, rows + 2, make_view=make)
    assert inputs.to(torch.device("cpu")) is inputs
    moved = inputs.to(torch.device("meta"))
    assert {moved.view(name).device.type for name in ("eeg", "video", "frame_mask")} == {"meta"} and made == []
    assert moved.view("signal").device.type == "meta" and inputs.view("signal").device.type == "cpu"
    assert moved.view("signal") is moved.view("signal") and made == ["signal"]


# ---- bfloat16 ----------------------------------------------------------------------------------


def test_products_of_rounded_numbers_by_hand():
    layer, x = nn.Linear(5, 2), torch.randn(7, 5)
    output = loop.forward(lambda x: ModelOutput(layer(x), {"video": x}, {}), [x], "bfloat16")
    rounded = [v.detach().bfloat16().double() for v in (x, layer.weight, layer.bias)]
    by_hand = (rounded[0] @ rounded[1].T + rounded[2]).bfloat16().float()
    torch.testing.assert_close(output.logits, by_hand, rtol=2**-7, atol=2**-8)
    assert output.logits.dtype == torch.float32 and not torch.equal(output.logits, layer(x))
    assert torch.equal(output.features["video"], x)  # what no layer touched is not rounded


def test_training_in_bfloat16_rounds_steps_and_nothing_else():
    """Weights and answers are float32, equal runs are equal, and it is not a training in float32."""
    weights, half = [], replace(SETTINGS, epochs=2, precision="bfloat16")
    for settings in (half, half, replace(half, precision="float32")):
        model = build_model("teacher", 5)
        fit(model, INPUTS, recipe_loss("fusion_rebalanced", model), settings, seed=11)
        weights.append(state(model))
        assert {value.dtype for value in model.state_dict().values()} <= {torch.float32, torch.int64}
        assert torch.equal(predict(model, INPUTS, INPUTS.val).logits, model(*INPUTS.of(model, INPUTS.val)).logits)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert (weights[0] - weights[2]).norm() < 0.05 * weights[2].norm()
