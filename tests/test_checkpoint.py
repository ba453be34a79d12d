"""An interrupted training goes on to the same bits, whatever the method carries from one epoch into the next."""

import copy
import functools
from dataclasses import replace

import pytest
import torch
from smoke_runs import fresh, same_log

from cdgkd_utils.experiments.losses import LOSSES, Given, Guide, build_loss
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.models import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit, loop, predict

N, N_TRAIN, N_EPOCHS = 72, 48, 3
SETTINGS = TrainSettings(epochs=N_EPOCHS, batch_size=20)  # three mini-batches, the last one smaller


def make_inputs():
    """Windows whose label shows weakly in the video, so that epochs differ in their score."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (N,), generator=g)
    a = torch.randn(N, 4, 28, 40, generator=g)
    video = torch.randn(N, 5, 768, generator=g)
    video[:, :, :8] += 0.4 * (2 * labels[:, None, None] - 1)
    rows = torch.randperm(N, generator=g)
    views = {"band_power": torch.randn(N, 8, 112, generator=g), "entropy": torch.randn(N, 28, 5, generator=g)}
    mask = torch.rand(N, 5, generator=g) < 0.9
    return Inputs(a @ a.mT / 40, video, mask, labels, rows[:N_TRAIN], rows[N_TRAIN:], views)


INPUTS = make_inputs()


@functools.cache
def guide(model_name):
    model = build_model(model_name, 100).eval()
    logits = predict(model, INPUTS, torch.arange(N)).logits.numpy()
    return Guide(logits, lambda: copy.deepcopy(model), INPUTS, {})


# One recipe for each loss, and the optimisers that carry more than momentum.
NAMES = "ce fusion_rebalanced pmr_paper ogm_ge cdgkd fitnets nst emotionkd ambokd released_ta1".split()
CASES = {name: RECIPES[name] for name in NAMES}
CASES["emotionkd adam"] = replace(RECIPES["emotionkd"], training={"optimizer": "adam"})
CASES["fusion adamw"] = replace(RECIPES["fusion_rebalanced"], training={"optimizer": "adamw"})
assert {recipe.loss for recipe in CASES.values()} == set(LOSSES)


def train(recipe, checkpoint=None, kill_after=0):
    model = build_model(recipe.model, 5)
    guides = {name: guide(RECIPES[name].model or "teacher") for name in recipe.guides}
    loss = build_loss(Given(recipe, guides, model, INPUTS, torch.Generator().manual_seed(7)))
    settings = replace(SETTINGS, selection=recipe.selection, **recipe.training)

    def kill(log):
        if len(log) == kill_after:
            raise RuntimeError("killed")

    done = fit(model, INPUTS, loss, settings, seed=3, on_epoch=kill, checkpoint=checkpoint)
    kept = torch.stack(loss.kept_history) if getattr(loss, "kept_history", None) else None
    return done, model.state_dict(), kept


@pytest.mark.parametrize("name", CASES)
def test_a_training_killed_after_any_epoch_ends_as_undisturbed(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    undisturbed, weights, kept = train(CASES[name])
    path = tmp_path / "one.pt"
    for epoch in range(1, N_EPOCHS):  # killed after each: every process makes one epoch
        with pytest.raises(RuntimeError, match="killed"):
            train(CASES[name], path, kill_after=epoch)
    done, resumed, heard = train(CASES[name], path)
    assert done.n_resumed == N_EPOCHS - 1 and [file.name for file in tmp_path.iterdir()] == ["one.pt"]
    assert same_log(done.log, undisturbed.log) and done.chosen_epoch == undisturbed.chosen_epoch
    assert all(torch.equal(weights[key], resumed[key]) for key in weights)
    assert kept is None or torch.equal(kept, heard)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_an_unreadable_checkpoint_counts_as_none(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "one.pt"
    with pytest.raises(RuntimeError, match="killed"):
        train(RECIPES["ce"], path, kill_after=1)
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    done, _, _ = train(RECIPES["ce"], path)
    assert done.n_resumed == 0 and same_log(done.log, train(RECIPES["ce"])[0].log)


def test_a_run_goes_on_after_it_was_interrupted_and_leaves_no_checkpoint(study, library, home, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def stop(log):
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fresh(study, library[0]).run("ce", on_epoch=stop)
    assert len(list((home / "unfinished").iterdir())) == 1
    epochs = []
    record = fresh(study, library[0]).run("ce", on_epoch=lambda log: epochs.append(len(log)))
    assert epochs == [2] and not list((home / "unfinished").iterdir())
    assert (record.logits == library[0].run("ce").logits).all()
