"""Training on a GPU, as far as a machine without one can tell: everything that meets in an operation lies in one place.

The spy takes all tensors that were there before for the device's, and follows what is made on the host while it
looks on: by a factory without ``device`` or by ``cpu()``. Where host and device meet, a GPU would stop.
"""

import pytest
import torch
from cdgkd_utils.experiments.learner import fresh_learner
from cdgkd_utils.training.checkpoint import CPU, CheckpointFile, Training
from cdgkd_utils.training.device import VARIABLE, training_device
from smoke_runs import fresh
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from cdgkd_utils.experiments.losses import Guide
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models import FAMILIES, build_model
from cdgkd_utils.training import fit, predict
from cdgkd_utils.training.inputs import Inputs

FACTORIES = {
    *(torch.zeros, torch.ones, torch.full, torch.empty, torch.eye, torch.arange, torch.linspace, torch.tensor),
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.as_tensor, torch.scalar_tensor),
}
# What a GPU's tensor may be indexed by, and what only says something of a tensor.
MAY_MEET = {torch.Tensor.__getitem__, torch.Tensor.copy_, torch.Tensor.__setitem__}


def tensors_in(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


class Spy(TorchFunctionMode):
    """Names of the operations in which host and device met."""

    def __init__(self):
        super().__init__()
        self.on_host = WeakTensorKeyDictionary()
        self.faults = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = list(tensors_in([*args, *kwargs.values()]))
        here = [tensor for tensor in found if tensor in self.on_host]
        result = func(*args, **kwargs)
        if func is torch.Tensor.to:
            return result.clone() if here else result  # what was moved is a tensor of its own, and the device's
        if func is torch.Tensor.cpu:
            result = result.clone()
            self.on_host[result] = True
            return result
        if func is torch.Tensor.numpy and not here:
            self.faults.append("numpy() of a device's tensor")
        large = [tensor for tensor in here if tensor.dim()]
        if large and len(here) < len(found) and func not in MAY_MEET:
            self.faults.append(getattr(func, "__name__", str(func)))
        if (func in FACTORIES and kwargs.get("device") is None) or (found and len(here) == len(found)):
            for tensor in tensors_in([result]):
                self.on_host[tensor] = True
        return result


@pytest.mark.parametrize(
    ("operation", "trips"),
    [
        (lambda x: x + torch.ones(3), True),
        (lambda x: x + torch.ones(3, device=x.device), False),
        (lambda x: x + x.new_ones(3), False),
        (lambda x: x + torch.rand(3, generator=torch.Generator()).to(x.device), False),
        (lambda x: torch.stack([x, torch.zeros(3) * 2]), True),
        (lambda x: x[torch.randperm(3)], False),
        (lambda x: x.index_select(0, torch.randperm(3)), True),
        (lambda x: x * torch.tensor(2.0), False),  # a number may come from anywhere
        (lambda x: x.numpy(), True),
        (lambda x: x.cpu().numpy(), False),
        (lambda x: x + x.cpu(), True),
    ],
)
def test_the_spy_trips_where_a_gpu_would(operation, trips):
    x = torch.arange(3.0)
    with Spy() as spy:
        operation(x)
    assert bool(spy.faults) == trips


RECIPES = ["ce", "fusion_rebalanced", "pmr_paper", "ogm_ge", "cdgkd", "released_cdgkd", "fitnets"]
RECIPES += ["nst", "ambokd", "emotionkd", "face_cnn", "eeg_lstm", "dgc_jca", "emotionkd_teacher"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_keeps_to_its_device(name, trained):
    recipe = trained.recipe(name)
    teacher, own = trained.run("fusion_rebalanced"), trained.recipe("emotionkd_teacher")
    guides = {guide: Guide(teacher, trained.on_device) for guide in recipe.guides}
    if name == "emotionkd":
        record = replace_model(teacher, build_model(own.model, 0))
        guides = {"emotionkd_teacher": Guide(record, trained.on_device)}
    for view in build_model(recipe.model, 0).inputs:
        trained.inputs.view(view)  # made on the host, before it is moved
    with Spy() as spy:
        learner = fresh_learner(trained, recipe, guides)
        model, inputs, loss, settings, order = learner
        fit(model, inputs, loss, settings, seed=order)
        predict(model, inputs, inputs.val)
    assert sorted(set(spy.faults)) == []


def replace_model(record, model):
    """A record whose network is another one."""

    class Other(type(record)):
        def model(self):
            return model.eval()

    return Other(**vars(record))


@pytest.mark.parametrize("name", sorted(FAMILIES["reference"]))
def test_a_network_of_the_paper_keeps_to_its_device(name, trained):
    model = build_model(name, 0, "reference")
    rows = trained.inputs.train[:2]
    values = trained.inputs.of(model, rows)
    with Spy() as spy:
        output = model(*values)
        output.logits.sum().backward()
    assert sorted(set(spy.faults)) == []


def test_inputs_move_whole_and_views_when_asked_for():
    n = 4
    made = []

    class Views(dict):
        def __getitem__(self, name):
            made.append(name)
            return torch.ones(n, 2)

    rows = torch.arange(2)
    inputs = Inputs(*(torch.ones(n, k) for k in (1, 2, 3)), torch.arange(n), rows, rows + 2, Views(signal=None))
    assert inputs.to(torch.device("cpu")) is inputs
    moved = inputs.to(torch.device("meta"))
    assert {getattr(moved, name).device.type for name in ("eeg", "video", "frame_mask", "labels", "train", "val")} == {
        "meta"
    }
    assert made == [] and list(moved.views) == ["signal"] and moved.every_row.device.type == "meta"
    assert moved.view("signal").device.type == "meta" and moved.view("signal") is moved.view("signal")
    assert made == ["signal"]


def test_a_processor_keeps_the_models_own_chunk():
    sizes = []

    class Network(nn.Module):
        inputs, chunk = ("eeg",), 2

        def forward(self, eeg):
            sizes.append(len(eeg))
            return ModelOutput(eeg, {}, {})

    rows = torch.arange(5)
    inputs = Inputs(torch.ones(5, 2), *(torch.ones(5, 1) for _ in range(2)), rows, rows, rows)
    predict(Network(), inputs, rows)
    assert sizes == [2, 2, 1]


# ---- which device ------------------------------------------------------------------------------


def test_the_variable_names_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, expected in {"": "cuda", "auto": "cuda", "CPU": "cpu", "cuda": "cuda", "cuda:1": "cuda:1"}.items():
        monkeypatch.setenv(VARIABLE, name)
        assert training_device() == torch.device(expected)
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:2", "cuda:x"])
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ValueError, match=f"{VARIABLE}: .*{name}"):
        training_device()


def test_the_device_is_no_part_of_the_key(study, library, home, monkeypatch):
    experiment = fresh(study, library[0])
    spec = experiment.spec(experiment.recipe("ce"))
    monkeypatch.setenv(VARIABLE, "cuda")
    assert fresh(study, library[0]).spec(experiment.recipe("ce")) == spec


# ---- what a checkpoint holds of a GPU ----------------------------------------------------------


def test_a_checkpoint_holds_the_gpus_random_state_and_is_not_taken_up_elsewhere(monkeypatch, tmp_path):
    states = {}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.arange(3, dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({device: state.tolist()}))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some GPU")
    gpu = torch.device("cuda")
    model = nn.Linear(2, 2)
    training = Training(model, CrossEntropy(), torch.optim.SGD(model.parameters(), lr=0.1), torch.Generator())
    assert training.state_dict()["dropout on gpu"] is None
    monkeypatch.setattr(Training, "device", gpu)
    state = training.state_dict()
    training.load_state_dict(state)
    assert states == {gpu: [0, 1, 2]}
    path = tmp_path / "one.pt"
    CheckpointFile(path, {"name": "one"}, gpu).write(state)
    assert CheckpointFile(path, {"name": "one"}, gpu).read()["dropout on gpu"].tolist() == [0, 1, 2]
    with pytest.warns(UserWarning, match="some GPU"):
        assert CheckpointFile(path, {"name": "one"}, CPU).read() is None
