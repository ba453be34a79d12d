"""An interrupted training goes on to the same bits, whatever the method; no file ever leads to other weights."""

import functools
import inspect
import multiprocessing
import os
import pkgutil
import shutil
import signal
import tempfile
import warnings
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cdgkd_utils import methods
from cdgkd_utils.experiments.losses import LOSSES, Guide, build_loss
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.emotionkd import EmotionKDLoss
from cdgkd_utils.methods.fitnets import FitNetsLoss
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.methods.ogm_ge import GradientModulation
from cdgkd_utils.methods.pmr import PMR
from cdgkd_utils.methods.prototypes import Prototypes
from cdgkd_utils.methods.rebalancing import RebalancedCrossEntropy
from cdgkd_utils.methods.released import ReleasedHint
from cdgkd_utils.methods.released_teacher import ReleasedRebalancing
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import Inputs, TrainSettings, checkpoint, fit, predict
from cdgkd_utils.training.checkpoint import CheckpointError, CheckpointFile, discard

N, N_TRAIN, N_EPOCHS = 72, 48, 3
SEED, OTHER_SEED = 7, 10  # of a loss; with the other one the first guide is dropped
SETTINGS = TrainSettings(epochs=N_EPOCHS, batch_size=20)  # three mini-batches, the last one smaller
ADAM = replace(SETTINGS, optimizer="adam", learning_rate=1e-3)


def make_inputs():
    """Windows whose label shows weakly in the video, so that epochs differ in their score."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (N,), generator=g)
    a = torch.randn(N, 4, 28, 40, generator=g)
    video = torch.randn(N, 5, 768, generator=g)
    video[:, :, :8] += 0.4 * (2 * labels[:, None, None] - 1)
    rows = torch.randperm(N, generator=g)
    views = {"band_power": torch.randn(N, 8, 112, generator=g), "entropy": torch.randn(N, 28, 5, generator=g)}
    views |= {"wavelets": torch.randn(N, 112, generator=g)}
    mask = torch.rand(N, 5, generator=g) < 0.9
    return Inputs(a @ a.mT / 40, video, mask, labels, rows[:N_TRAIN], rows[N_TRAIN:], views)


INPUTS = make_inputs()


@functools.cache
def guide(model_name):
    model = build_model(model_name, 100).eval()
    logits = predict(model, INPUTS, torch.arange(N)).logits.numpy()
    return Guide(SimpleNamespace(logits=logits, model=lambda: model), INPUTS)


@dataclass(frozen=True)
class Case:
    """One training, made anew with each call of its parts."""

    model: str
    loss: object  # of (model, seed)
    settings: TrainSettings = SETTINGS

    def make(self, seed=SEED):
        model = build_model(self.model, 5)
        return model, self.loss(model, seed)


def of_recipe(recipe, settings):
    def loss(model, seed):
        guides = {name: guide(RECIPES[name].model or "teacher") for name in recipe.guides}
        return build_loss(recipe, guides, model, INPUTS, settings, seed)

    return Case(recipe.model, loss, settings)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def recipe_cases():
    """Of the networks of the tables each that brings a model, a loss or a choice of options not yet met."""
    cases, met = {}, set()
    for recipe in RECIPES.values():
        kinds = {recipe.model, (recipe.loss, *recipe.options, *recipe.training)}
        if recipe.kind == "network" and not kinds <= met:
            settings = replace(SETTINGS, selection=recipe.selection, **recipe.training)
            cases[recipe.name] = of_recipe(recipe, settings)
            met |= kinds
    return cases


def hint(width=48):
    return guide("teacher").outputs.features["classifier_input"][:, :width]


def two_stages(model, seed):
    logits = guide("teacher").logits
    return FitNetsLoss(hint(), n_in=32, generator=generator(seed), hint_epochs=2, guide_logits=logits)


def meta_feedback(model, seed):
    teacher, n_in = guide("emotionkd_teacher").record.model(), 32
    return EmotionKDLoss(teacher, INPUTS, n_in=n_in, generator=generator(seed), teacher_lr_ratio=5.0)


def no_feedback(model, seed):
    teacher = guide("emotionkd_teacher").record.model()
    return EmotionKDLoss(teacher, INPUTS, n_in=32, generator=generator(seed), feedback="none")


CASES = recipe_cases() | {
    "cdgkd": of_recipe(RECIPES["cdgkd"], SETTINGS),
    "rebalanced ema": Case("teacher", lambda model, seed: RebalancedCrossEntropy(source="ema")),
    "rebalanced batch": Case("teacher", lambda model, seed: RebalancedCrossEntropy(source="batch")),
    "rebalanced adamw": Case("teacher", lambda model, seed: RebalancedCrossEntropy(), replace(ADAM, optimizer="adamw")),
    "pmr half": Case(
        "teacher", lambda model, seed: PMR(rule="clip", prototype_share=0.5, generator=generator(seed), momentum=0.7)
    ),
    "ogm without noise": Case("teacher", lambda model, seed: GradientModulation(noise=False, last_epoch=1)),
    "released teacher": Case("teacher", lambda model, seed: ReleasedRebalancing()),
    "released hint": Case("student", lambda model, seed: ReleasedHint(hint(), kind="nst")),
    "fitnets two stages": Case("student", two_stages),
    "emotionkd adam": Case("student", meta_feedback, ADAM),
    "emotionkd none": Case("student", no_feedback, ADAM),
}
CASES["ambokd adam"] = replace(CASES["ambokd"], settings=ADAM)


@pytest.fixture(autouse=True)
def after_each_epoch(monkeypatch):
    """Write whatever it costs, so that a test knows what is in the file."""
    monkeypatch.setattr(checkpoint, "WRITE_SHARE", float("inf"))


@dataclass
class Outcome:
    """What a training left."""

    model: nn.Module
    loss: CrossEntropy
    done: object
    n_passes: int  # forward passes


def run(case, path=None, *, on_epoch=None, stop_at=None, prepare=None, seed=11, inputs=INPUTS):
    """Train afresh; `stop_at` interrupts in the forward pass of that number, counted from 0."""
    model, loss = case.make()
    if prepare is not None:
        prepare(model, loss)
    n_passes = 0

    def count(*_):
        nonlocal n_passes
        if n_passes == stop_at:
            raise KeyboardInterrupt
        n_passes += 1

    model.register_forward_pre_hook(count)
    done = fit(model, inputs, loss, case.settings, seed=seed, on_epoch=on_epoch, checkpoint=path)
    return Outcome(model, loss, done, n_passes)


def differences(a, b, where=""):
    """Paths at which two values differ by a bit, looked for in tensors, generators, networks and plain objects."""
    if isinstance(a, Inputs) or (callable(a) and not isinstance(a, nn.Module | CrossEntropy)):
        return []
    if isinstance(a, torch.Tensor):
        same = isinstance(b, torch.Tensor) and (a.dtype, a.shape) == (b.dtype, b.shape)
        same = same and a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
        return [] if same else [where]
    if isinstance(a, torch.Generator):
        return differences(a.get_state(), b.get_state(), where)
    if isinstance(a, nn.Module | torch.optim.Optimizer) and type(a) is type(b):
        return differences(a.state_dict(), b.state_dict(), where)
    if isinstance(a, CrossEntropy | Prototypes) and type(a) is type(b):
        return differences(vars(a), vars(b), where)
    if isinstance(a, dict):
        pairs = [(key, a[key], b.get(key, "absent")) for key in a]
        return [fault for key, x, y in pairs for fault in differences(x, y, f"{where}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{where} length"]
        return [f for i, (x, y) in enumerate(zip(a, b, strict=True)) for f in differences(x, y, f"{where}[{i}]")]
    return [] if a == b or (a != a and b != b) else [where]


def faults(expected, got, *, with_loss=True):
    """Where a resumed training ended differently from one that was left alone."""
    log = [outcome.done.log.drop(columns="seconds") for outcome in (expected, got)]
    found = [] if log[0].equals(log[1]) else ["log"]
    found += [] if expected.done.chosen_epoch == got.done.chosen_epoch else ["chosen epoch"]
    found += differences(expected.model, got.model, "weights")
    found += differences(*(getattr(o.loss, "kept_history", []) for o in (expected, got)), "kept")
    found += differences(expected.loss.state_dict(), got.loss.state_dict(), "loss")
    # What a loss holds of its last mini-batch is there only if there was one.
    return found + (differences(expected.loss, got.loss, "loss") if with_loss else [])


@functools.cache
def undisturbed(name):
    return run(CASES[name])


@pytest.fixture
def stages(tmp_path):
    """Of a case: the checkpoint as it is after each epoch, by the number of epochs in it."""

    def record(case, inputs=INPUTS):
        path, copies = tmp_path / "run.pt", {}
        path.unlink(missing_ok=True)

        def keep(log):
            copies[len(log)] = shutil.copy(path, tmp_path / f"after {len(log)}")

        return run(case, path, on_epoch=keep, inputs=inputs), path, copies

    return record


# ---- the same bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_killed_after_any_epoch_or_within_one_it_ends_as_if_undisturbed(name, stages, tmp_path):
    case, expected = CASES[name], undisturbed(name)
    watched, path, copies = stages(case)
    assert faults(expected, watched) == []  # writing disturbs nothing
    for n_epochs, copy in copies.items():
        shutil.copy(copy, path)
        resumed = run(case, path)
        assert resumed.done.n_resumed == n_epochs
        assert faults(expected, resumed, with_loss=n_epochs < N_EPOCHS) == []
    assert len(copies) == N_EPOCHS

    path.unlink()
    with_rest = run(case, path, stop_at=expected.n_passes * 2 // 3)  # somewhere in the second epoch
    assert with_rest.done.interrupted and len(with_rest.done.log) in (1, 2)
    resumed = run(case, path)
    assert resumed.done.n_resumed == len(with_rest.done.log) and not resumed.done.interrupted
    assert faults(expected, resumed) == []
    discard(path)
    assert {p.name for p in tmp_path.iterdir()} == {f"after {n}" for n in copies}


def test_interrupted_again_and_again_at_every_forward_pass(tmp_path):
    """The one that draws masks, dropout and the order of batches, stopped wherever it can be stopped."""
    case, expected = CASES["cdgkd"], undisturbed("cdgkd")
    for stop_at in range(expected.n_passes):
        path = tmp_path / f"{stop_at}.pt"
        try:
            run(case, path, stop_at=stop_at)
        except KeyboardInterrupt:
            assert not path.exists()  # there was no whole epoch yet
        else:
            assert path.exists()
        assert faults(expected, run(case, path)) == []
    path = tmp_path / "chain.pt"

    def stop(log):
        raise KeyboardInterrupt

    for n_epochs in range(N_EPOCHS):
        assert run(case, path, on_epoch=stop).done.n_resumed == n_epochs
    assert faults(expected, run(case, path), with_loss=False) == []


def test_early_stopping_counts_the_epochs_before_the_interruption(tmp_path):
    """Patience that has run out in the stored epochs trains no further one."""
    noise = replace(INPUTS, labels=torch.randint(0, 2, (N,), generator=generator(3)))
    case = replace(CASES["ce"], settings=replace(SETTINGS, epochs=40, patience=3))
    path, copies = tmp_path / "run.pt", {}

    def keep(log):
        copies[len(log)] = shutil.copy(path, tmp_path / str(len(log)))

    expected = run(case, path, on_epoch=keep, inputs=noise)
    assert len(expected.done.log) == expected.done.chosen_epoch + 4 < 40
    for copy in copies.values():
        shutil.copy(copy, path)
        assert faults(expected, run(case, path, inputs=noise), with_loss=False) == []


def _train_and_be_killed(path):
    """In a process of its own, killed while the third epoch's checkpoint waits to be renamed."""
    checkpoint.WRITE_SHARE = float("inf")
    torch.set_num_threads(1)
    replace_file, calls = os.replace, []

    def kill(*args):
        calls.append(args)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        replace_file(*args)

    checkpoint.os.replace = kill
    run(CASES["cdgkd"], path)


def test_sigkill_while_writing_leaves_the_epoch_before(tmp_path):
    path = tmp_path / "run.pt"
    process = multiprocessing.get_context("spawn").Process(target=_train_and_be_killed, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # the whole checkpoint, and the one that was being written
    resumed = run(CASES["cdgkd"], path)
    assert resumed.done.n_resumed == 2
    assert faults(undisturbed("cdgkd"), resumed) == []
    (tmp_path / "run.pt2").touch()
    discard(path)
    discard(path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt2"]


# ---- nothing may be left out -------------------------------------------------------------------


def test_every_loss_is_tried():
    modules = [import_module(f"{methods.__name__}.{info.name}") for info in pkgutil.iter_modules(methods.__path__)]
    classes = {c for module in modules for c in vars(module).values() if inspect.isclass(c)}
    tried = {type(case.make()[1]) for case in CASES.values()}
    assert tried == {c for c in classes if issubclass(c, CrossEntropy)}
    assert {recipe.loss for recipe in RECIPES.values()} <= set(LOSSES)


def test_leaving_any_entry_of_a_loss_out_is_noticed(stages):
    """Each entry in turn stays that of a fresh loss with another seed; an inherited one may matter to its parent."""
    noticed, overlooked = set(), set()

    def needed(kind, entry):
        return any((parent, entry) in noticed for parent in kind.__mro__)

    for name, case in CASES.items():
        _, loss = case.make()
        fresh = case.make(seed=OTHER_SEED)[1].state_dict()
        left = [entry for entry in fresh if not needed(type(loss), entry)]
        copies = stages(case)[2] if left else {}
        for entry in left:

            def forget(model, loss, entry=entry, fresh=fresh):
                load = loss.load_state_dict
                loss.load_state_dict = lambda state: load(state | {entry: fresh[entry]})

            path = shutil.copy(copies[2], copies[2].with_name("run.pt"))
            try:
                unseen = faults(undisturbed(name), run(case, path, prepare=forget)) == []
            except ZeroDivisionError:  # a mean over no windows
                unseen = False
            (overlooked if unseen else noticed).add((type(loss), entry))
    assert len(noticed) >= 15
    assert [gap for gap in overlooked if not needed(*gap)] == []


@pytest.mark.parametrize("entry", ["model", "optimizer", "shuffler", "dropout", "best_weights", "best_score", "best"])
def test_leaving_any_part_of_a_training_out_is_noticed(entry, stages, monkeypatch):
    # Validation asks for the opposite of what is learned: the first epoch stays the best.
    labels = INPUTS.labels.clone()
    labels[INPUTS.val] = 1 - labels[INPUTS.val]
    inputs, case = replace(INPUTS, labels=labels), replace(CASES["ce"], settings=replace(SETTINGS, learning_rate=0.03))
    expected, path, copies = stages(case, inputs)
    assert expected.done.chosen_epoch == 0
    load = checkpoint.Training.load_state_dict

    def forget(training, state):
        fresh = {**training.state_dict(), "best_weights": state["model"]}
        load(training, state | {entry: fresh[entry]})

    shutil.copy(copies[2], path)
    assert faults(expected, run(case, path, inputs=inputs)) == []
    shutil.copy(copies[2], path)
    monkeypatch.setattr(checkpoint.Training, "load_state_dict", forget)
    assert faults(expected, run(case, path, inputs=inputs)) != []


def test_a_generator_forgotten_by_its_loss_changes_the_masks(stages, monkeypatch):
    case = CASES["cdgkd"]
    expected, path, copies = stages(case)
    shutil.copy(copies[1], path)
    monkeypatch.setattr(
        DenseGuidance,
        "load_state_dict",
        lambda self, state: setattr(self, "kept_history", list(state["kept_history"])),
    )
    assert any(fault.startswith("kept") for fault in faults(expected, run(case, path)))


# ---- files that must not be gone on from ---------------------------------------------------------


@pytest.fixture
def after_two(stages):
    """The path of ``cdgkd``'s checkpoint with two epochs in it."""
    _, path, copies = stages(CASES["cdgkd"])
    shutil.copy(copies[2], path)
    return path


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named_and_the_training_starts_again(part, after_two):
    content = after_two.read_bytes()
    after_two.write_bytes(content[: int(part * len(content))])
    with pytest.warns(UserWarning, match=r"checkpoint run\.pt cannot be read .*starts again"):
        again = run(CASES["cdgkd"], after_two)
    assert again.done.n_resumed == 0
    assert faults(undisturbed("cdgkd"), again) == []
    assert run(CASES["cdgkd"], after_two).done.n_resumed == N_EPOCHS  # it was replaced


@pytest.mark.filterwarnings("ignore:checkpoint")
def test_no_flipped_bit_gets_into_the_weights(after_two):
    content = bytearray(after_two.read_bytes())
    belongs_to = torch.load(after_two, weights_only=True)["belongs_to"]
    intact = CheckpointFile(after_two, belongs_to).read()
    n_refused = 0
    places = np.random.default_rng(0).integers(len(content), size=60)
    for place in places:
        content[place] ^= 16
        after_two.write_bytes(content)
        content[place] ^= 16
        try:
            state = CheckpointFile(after_two, belongs_to).read()
        except CheckpointError:
            state = None
        n_refused += state is None
        assert state is None or differences(intact, state) == []
    assert n_refused > 30  # the rest hit padding between the arrays


def test_a_file_that_would_run_code_is_not_run(tmp_path):
    path = tmp_path / "run.pt"
    torch.save({"belongs_to": {}, "made_with": {}, "training": Path("x")}, path)
    with pytest.warns(UserWarning, match="cannot be read .*plain values"):
        assert CheckpointFile(path, {}).read() is None


def other(**changes):
    return lambda: run(**{"case": CASES["cdgkd"], "inputs": INPUTS} | changes)


ANOTHER = {
    "seed": {"seed": 12},
    "settings": {"case": replace(CASES["cdgkd"], settings=replace(SETTINGS, epochs=9))},
    "initial weights": {"prepare": lambda model, loss: nn.init.zeros_(model.classifier.weight)},
    "model": {"case": replace(CASES["cdgkd"], model="ta2")},
    "loss": {"case": CASES["ce"]},
    "options of the loss": {"prepare": lambda model, loss: setattr(loss, "temperature", 3.0)},
    "rows and labels": {"inputs": replace(INPUTS, train=INPUTS.train.flip(0))},
}


@pytest.mark.parametrize("what", ANOTHER)
def test_the_checkpoint_of_another_training_is_refused_and_kept(what, after_two):
    before, touched = after_two.read_bytes(), []
    prepare = ANOTHER[what].get("prepare", lambda model, loss: None)

    def watch(model, loss):
        prepare(model, loss)
        touched.append((model, {name: value.clone() for name, value in model.state_dict().items()}))

    options = {"case": CASES["cdgkd"]} | ANOTHER[what] | {"prepare": watch}
    with pytest.raises(CheckpointError, match=rf"run\.pt belongs to another training: {what} is .* delete it"):
        run(path=after_two, **options)
    assert after_two.read_bytes() == before
    ((model, start),) = touched
    assert differences(start, model.state_dict()) == []


def test_a_renamed_checkpoint_is_refused(after_two):
    renamed = after_two.rename(after_two.with_name("another.pt"))
    with pytest.raises(CheckpointError, match="name is 'run' there and 'another' here"):
        run(CASES["cdgkd"], renamed)


@pytest.mark.parametrize("changed", ["format", "torch", "cpu"])
def test_what_rounds_differently_starts_again(changed, after_two, monkeypatch):
    elsewhere = checkpoint.made_with(checkpoint.CPU) | {changed: "other"}
    monkeypatch.setattr(checkpoint, "made_with", lambda device: elsewhere)
    # Also where the other version draws other initial weights.
    zeros = CheckpointFile(after_two, {"initial weights": 0})
    with pytest.warns(UserWarning, match="starts again"):
        assert zeros.read() is None
    with pytest.warns(UserWarning, match=f"{changed}.*other.*starts again"):
        assert run(CASES["cdgkd"], after_two).done.n_resumed == 0


def test_a_checkpoint_that_cannot_be_written_stops_no_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"run\.pt cannot be written .*goes on"):
        outcome = run(CASES["cdgkd"], tmp_path / "file" / "run.pt")
    assert faults(undisturbed("cdgkd"), outcome) == []


def test_a_full_disk_leaves_the_checkpoint_before_and_no_temporary_file(after_two, monkeypatch):
    siblings = set(after_two.parent.iterdir())
    before = after_two.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        outcome = run(CASES["cdgkd"], after_two)
    assert faults(undisturbed("cdgkd"), outcome) == []
    assert set(after_two.parent.iterdir()) == siblings and after_two.read_bytes() == before


# ---- cost --------------------------------------------------------------------------------------


def test_writing_takes_a_twentieth_of_the_time(tmp_path, monkeypatch):
    """On a clock of our own: epochs of 1 s, writes of 0.3 s."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(checkpoint, "time", clock)
    monkeypatch.setattr(checkpoint, "WRITE_SHARE", 0.05)
    save = torch.save

    def slow_save(*args):
        clock.now += 0.3
        save(*args)

    monkeypatch.setattr(checkpoint.torch, "save", slow_save)
    file, written = CheckpointFile(tmp_path / "run.pt", {}), []
    for epoch in range(1, 40):
        clock.now += 1.0
        if file.due:
            file.write({"epoch": epoch})
            written.append(epoch)
    # After the first; then whenever a twentieth of the time, writes included, covers those before: once in 6 s.
    assert written == [1, 6, 12, 18, 23, 29, 35]
    assert CheckpointFile(tmp_path / "run.pt", {}).read() == {"epoch": 35}


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.torch, "save", None)
    run(CASES["ce"])
    with pytest.raises(TypeError):
        run(CASES["ce"], tmp_path / "run.pt")


def test_a_folder_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    file = checkpoint.CheckpointFile(tmp_path / "unfinished" / "run.pt", {"seed": 0})
    make, removed = tempfile.mkstemp, []

    def remove_once(*args, **options):
        if not removed:
            removed.append(True)
            file.path.parent.rmdir()
        return make(*args, **options)

    monkeypatch.setattr("cdgkd_utils.training.checkpoint.tempfile.mkstemp", remove_once)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file.write({"epoch": 3})
    assert removed and [path.name for path in file.path.parent.iterdir()] == ["run.pt"]
