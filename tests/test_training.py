"""The loop: what it selects, what it may see, and that equal runs are equal."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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


@pytest.mark.parametrize("name", ["fusion_rebalanced", "ce", "cdgkd"])
def test_two_equal_runs_give_equal_logs_and_weights(name):
    logs, weights = [], []
    for junk in (1, 2):
        torch.manual_seed(junk)  # the caller's state must not matter
        model = build_model(RECIPES[name].model, 5)
        done = fit(model, INPUTS, recipe_loss(name, model), SETTINGS, seed=11)
        logs.append(done.log.drop(columns="seconds"))
        weights.append(state(model))
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    assert torch.equal(*weights)


def test_another_seed_is_another_run_and_threads_do_not_matter():
    threads = torch.get_num_threads()
    results = []
    for seed, n in ((1, 1), (1, 2), (2, 1)):
        torch.set_num_threads(n)
        model = build_model("student", 0)
        fit(model, INPUTS, CrossEntropy(), SETTINGS, seed=seed)
        assert torch.get_num_threads() == n
        results.append(state(model))
    torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_best_validation_epoch_is_restored_and_the_last_on_request():
    for selection in ("best_val", "last_epoch"):
        model = build_model("student", 0)
        done = fit(model, INPUTS, CrossEntropy(), replace(SETTINGS, epochs=6, selection=selection), seed=0)
        score = evaluate(model, INPUTS, INPUTS.val)
        row = done.log.iloc[done.chosen_epoch]
        assert score["balanced_accuracy"] == pytest.approx(row["val_balanced_accuracy"])
        assert score["loss"] == pytest.approx(row["val_loss"], rel=1e-6)
        if selection == "best_val":
            ranked = done.log.sort_values(["val_balanced_accuracy", "val_loss"], ascending=[False, True])
            assert done.chosen_epoch == ranked["epoch"].iloc[0]
        else:
            assert done.chosen_epoch == 5


def test_patience_stops_after_epochs_without_a_better_one():
    noise = replace(INPUTS, labels=torch.randint(0, 2, (240,), generator=torch.Generator().manual_seed(1)))
    done = fit(build_model("student", 0), noise, CrossEntropy(), TrainSettings(60, 32, patience=3), seed=0)
    assert len(done.log) == done.chosen_epoch + 4 < 60


def test_test_rows_and_other_modalities_are_never_read():
    """The student trained beside NaN EEG, and NaN in every row outside train and val, is the same student."""
    poisoned = replace(INPUTS, eeg=torch.full_like(INPUTS.eeg, torch.nan), video=INPUTS.video.clone())
    poisoned.video[180:] = torch.nan
    weights = []
    for inputs in (INPUTS, poisoned):
        model = build_model("student", 0)
        fit(model, inputs, CrossEntropy(), SETTINGS, seed=0)
        weights.append(state(model))
    assert torch.equal(*weights)


def test_validation_rows_do_not_train():
    shifted = replace(INPUTS, video=INPUTS.video.clone())
    shifted.video[INPUTS.val] *= -1
    weights = []
    for inputs in (INPUTS, shifted):
        model = build_model("student", 0)
        fit(model, inputs, CrossEntropy(), replace(SETTINGS, selection="last_epoch"), seed=0)
        weights.append(state(model))
    assert torch.equal(*weights)


def test_prediction_is_deterministic_leaves_the_mode_and_ignores_the_chunk():
    model = build_model("teacher", 0).train()
    rows = torch.arange(50)
    one, two = predict(model, INPUTS, rows), predict(model, INPUTS, rows, chunk=7)
    assert model.training
    torch.testing.assert_close(one.logits, two.logits, rtol=1e-5, atol=1e-6)
    assert not one.logits.requires_grad
    assert one.features["eeg"].shape == (50, 64)


def test_evaluate_by_hand():
    model = build_model("student", 0)
    rows = torch.arange(60)
    logits = predict(model, INPUTS, rows).logits.numpy()
    y = INPUTS.labels[:60].numpy()
    right = logits.argmax(1) == y
    got = evaluate(model, INPUTS, rows)
    assert got["accuracy"] == pytest.approx(right.mean())
    assert got["balanced_accuracy"] == pytest.approx((right[y == 0].mean() + right[y == 1].mean()) / 2)
    assert got["loss"] == pytest.approx(F.cross_entropy(torch.tensor(logits), torch.tensor(y)).item())


def test_an_interruption_keeps_the_best_so_far_and_one_before_any_epoch_is_passed_on():
    seen = []

    def stop_in_third(log):
        seen.append(len(log))
        if len(log) == 3:
            raise KeyboardInterrupt

    model = build_model("student", 0)
    done = fit(model, INPUTS, CrossEntropy(), TrainSettings(9, 32), seed=0, on_epoch=stop_in_third)
    assert done.interrupted
    assert len(done.log) == 3
    assert seen == [1, 2, 3]
    score = evaluate(model, INPUTS, INPUTS.val)["balanced_accuracy"]
    assert score == pytest.approx(done.log["val_balanced_accuracy"].max())

    class Stop(CrossEntropy):
        def __call__(self, *args):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(build_model("student", 0), INPUTS, Stop(), SETTINGS, seed=0)


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
        return replace(value, total=value.total * torch.inf) if self.epoch >= self.epochs else value


def test_a_training_that_diverges_ends_with_the_best_epoch_before():
    four = replace(SETTINGS, epochs=4, patience=0)
    model, twin = build_model("student", 0), build_model("student", 0)
    done = fit(model, INPUTS, FiniteFor(2), four, seed=0)
    short = fit(twin, INPUTS, CrossEntropy(), replace(four, epochs=2), seed=0)
    assert done.diverged and not short.diverged and len(done.log) == 2
    assert done.chosen_epoch == short.chosen_epoch
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


def test_a_training_that_diverges_at_once_or_must_keep_its_last_epoch_is_an_error():
    with pytest.raises(ValueError, match="not finite in epoch 0"):
        fit(build_model("student", 0), INPUTS, FiniteFor(0), SETTINGS, seed=0)
    last = replace(SETTINGS, epochs=3, selection="last_epoch")
    with pytest.raises(ValueError, match="not finite in epoch 2"):
        fit(build_model("student", 0), INPUTS, FiniteFor(2), last, seed=0)


def test_the_log_holds_what_the_plots_read():
    model = build_model("teacher", 0)
    log = fit(model, INPUTS, recipe_loss("fusion_rebalanced", model), SETTINGS, seed=0).log
    for column in (
        "epoch train_loss train_accuracy val_loss val_accuracy val_balanced_accuracy seconds imbalance_ratio "
        "video_weight eeg_weight loss_ce loss_proto_video loss_proto_eeg proto_accuracy_eeg proto_accuracy_video"
    ).split():
        assert np.isfinite(log[column]).all(), column
    np.testing.assert_allclose(
        log["train_loss"], log["loss_ce"] + log["loss_proto_video"] + log["loss_proto_eeg"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("train", "val", "said"), [(1, 9, "got 1 and 9"), (0, 9, "got 0 and 9"), (9, 0, "got 9 and 0")]
)
def test_too_few_windows_are_one_clear_error(train, val, said):
    few = replace(INPUTS, train=torch.arange(train), val=torch.arange(100, 100 + val))
    with pytest.raises(ValueError, match=f"training needs at least 2 windows and validation at least 1, {said}"):
        fit(build_model("student", 0), few, CrossEntropy(), SETTINGS, seed=0)


@pytest.mark.parametrize("wanted", ["a bar", None])
@pytest.mark.parametrize("disabled", ["", "1"])
def test_a_bar_is_shown_if_wanted_and_not_disabled(wanted, disabled):
    """TQDM_DISABLE is read when tqdm is imported."""
    code = "from test_training import *; fit(build_model('student', 0), INPUTS, CrossEntropy(), TrainSettings(1, 32), "
    code += f"seed=0, progress={wanted!r})"
    options = {"env": os.environ | {"TQDM_DISABLE": disabled}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, **options)
    assert done.returncode == 0, done.stderr
    assert ("a bar" in done.stderr) == (wanted is not None and not disabled)


@pytest.mark.parametrize(("name", "expected"), [("", "cuda"), ("auto", "cuda"), ("CPU", "cpu"), ("cuda:1", "cuda:1")])
def test_the_variable_names_the_device(name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CDGKD_DEVICE", name)
    assert training_device() == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:2", "cuda:x"])
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
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
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 2), torch.randn(7, 5)

    def model(x):
        z = layer(x)
        return ModelOutput(z, {"video": x}, {"video": z})

    output = loop.forward(model, [x], "bfloat16")
    rounded = [v.detach().bfloat16().double() for v in (x, layer.weight, layer.bias)]
    by_hand = (rounded[0] @ rounded[1].T + rounded[2]).bfloat16().float()
    torch.testing.assert_close(output.logits, by_hand, rtol=2**-8, atol=2**-9)  # one unit of the last of 8 bits
    assert output.logits.dtype == output.maps["video"].dtype == torch.float32 and not torch.equal(
        output.logits, layer(x)
    )
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
