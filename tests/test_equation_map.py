"""The README's table of equations names what exists, and leaves no loss and no row of the poster out.

The poster's two whole losses, and what no other module tests of the table, are tested here.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import cdgkd_utils.methods
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER
from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.methods.rebalancing import RebalancedCrossEntropy
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.results.paper import METHODS, POSTER_ROWS

TESTS = Path(__file__).parent
README = TESTS.parent / "README.md"
HEADING = "## Equations and where they live"
HEADER = ["equation", "source", "function", "test"]


# ---- the table -----------------------------------------------------------------------------------


def table_rows(readme):
    """Cells of each row of the table, header first."""
    section = readme.split(HEADING + "\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if set(line) - set("|- ")]


def named(function):
    """What a dotted name inside the package stands for, or None."""
    parts = function.split(".")
    for n in range(len(parts), 0, -1):
        name = ".".join(["cdgkd_utils", *parts[:n]])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise
            continue
        for part in parts[n:]:
            found = getattr(found, part, None)
        return found if callable(found) else None
    return None


def functions_of(path):
    """Test functions of a module by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}


def faults_of(rows, tests=TESTS):
    """One line for each cell that says something wrong."""
    faults = [] if rows[0] == HEADER else [f"header is {rows[0]}"]
    for row in rows[1:]:
        if len(row) != 4 or not all(row):
            faults.append(f"not four cells: {row}")
            continue
        function, test = (re.fullmatch(r"`(\S+)`", cell) for cell in row[2:])
        if not function or named(function[1]) is None:
            faults.append(f"{row[2]} does not exist")
        file, _, name = test[1].partition("::") if test else ("", "", "")
        found = functions_of(tests / file) if (tests / file).is_file() else {}
        if name not in found:
            faults.append(f"{row[3]} does not exist")
        elif any("skip" in ast.unparse(mark) or "xfail" in ast.unparse(mark) for mark in found[name].decorator_list):
            faults.append(f"{row[3]} is left out")
        elif "assert" not in ast.unparse(found[name]):
            faults.append(f"{row[3]} asserts nothing")
    return faults


def missing_from(rows):
    """Losses without an equation, and rows of the poster without a source."""
    functions = {row[2].strip("`").split(".")[2] for row in rows[1:]}
    sources = " ".join(row[1] for row in rows[1:])
    methods = (METHODS[name].name for table in POSTER_ROWS.values() for name in table)
    return sorted(losses() - functions) + [method for method in methods if method not in sources]


def losses():
    """Every loss class of the package."""
    modules = [m.name for m in pkgutil.iter_modules(cdgkd_utils.methods.__path__, "cdgkd_utils.methods.")]
    members = (value for name in modules for value in vars(importlib.import_module(name)).values())
    return {m.__name__ for m in members if inspect.isclass(m) and issubclass(m, CrossEntropy)}


@pytest.fixture(scope="module")
def rows():
    return table_rows(README.read_text(encoding="utf-8"))


def test_everything_the_table_names_exists(rows):
    assert faults_of(rows) == []


def test_every_loss_and_every_row_of_the_poster_has_an_equation(rows):
    assert {"DenseGuidance", "PMR", "AMBOKDLoss"} <= losses()
    assert missing_from(rows) == []


GOOD = ["x", "PMR", "`methods.prototypes.class_means`", "`test_a.py::test_good`"]


@pytest.mark.parametrize(
    ("column", "cell", "fault"),
    [
        (2, "`methods.prototypes.class_mean`", "`methods.prototypes.class_mean` does not exist"),
        (2, "`methods.prototype.class_means`", "`methods.prototype.class_means` does not exist"),
        (2, "`methods.prototypes`", "`methods.prototypes` does not exist"),
        (2, "`methods.pmr.RULES`", "`methods.pmr.RULES` does not exist"),
        (2, "`methods.pmr.PMR.papers`", "`methods.pmr.PMR.papers` does not exist"),
        (2, "methods.pmr.PMR", "methods.pmr.PMR does not exist"),
        (3, "`test_a.py::test_gone`", "`test_a.py::test_gone` does not exist"),
        (3, "`test_b.py::test_good`", "`test_b.py::test_good` does not exist"),
        (3, "`test_a.py::helper`", "`test_a.py::helper` does not exist"),
        (3, "`test_a.py::test_skipped`", "`test_a.py::test_skipped` is left out"),
        (3, "`test_a.py::test_empty`", "`test_a.py::test_empty` asserts nothing"),
        (1, "", "not four cells"),
    ],
)
def test_each_planted_fault_of_the_table_is_said(column, cell, fault, tmp_path):
    (tmp_path / "test_a.py").write_text(
        "def test_good():\n    assert 1\n\ndef helper():\n    assert 1\n\ndef test_empty():\n    pass\n\n"
        "@pytest.mark.skip\ndef test_skipped():\n    assert 1\n"
    )
    assert faults_of([HEADER, GOOD], tmp_path) == []
    row = [cell if i == column else kept for i, kept in enumerate(GOOD)]
    (said,) = faults_of([HEADER, row], tmp_path)
    assert said.startswith(fault)


def test_a_loss_or_a_row_that_is_left_out_is_noticed(rows):
    assert missing_from([row for row in rows if "NSTLoss" not in row[2]]) == ["NSTLoss"]
    assert missing_from([row for row in rows if "AMBOKD" not in row[1]]) == ["AMBOKDLoss", "AMBOKD"]


# ---- equations that no other module tests whole ----------------------------------------------------


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_softmax(row):
    return row - np.log(np.exp(row).sum())


def test_the_posters_teacher_loss_by_loops():
    """CE + alpha (beta L_video + gamma L_eeg): the ratio of all training windows, the losses of a mini-batch."""
    y = torch.arange(20) % 2
    ahead = 2.0 * torch.stack([1 - y, y], dim=1)
    features = {"video": numbers(1, 20, 2) + ahead, "eeg": numbers(2, 20, 2)}
    everything = ModelOutput(numbers(3, 20, 2), features)
    batch = torch.tensor([0, 3, 4, 11, 15])
    loss = RebalancedCrossEntropy(strength=1.7)
    loss.begin_epoch(0, lambda: (everything, y))
    part = ModelOutput(everything.logits[batch], {m: z[batch] for m, z in features.items()})
    found = loss(part, y[batch], batch).total.item()

    own = {}
    for m, z in features.items():
        prototypes = [np.mean([a for a, k in zip(z.numpy(), y, strict=True) if k == c], axis=0) for c in (0, 1)]
        log_p = [log_softmax(np.array([-np.linalg.norm(a - c) for c in prototypes])) for a in z.numpy()]
        own[m] = np.array([row[k] for row, k in zip(log_p, y, strict=True)])
    ratio = np.exp(own["video"]).sum() / np.exp(own["eeg"]).sum()
    beta, gamma = np.clip(1 / ratio - 1, 0, 1), np.clip(ratio - 1, 0, 1)
    assert beta == 0 < gamma < 1
    rows = batch.tolist()
    ce = -np.mean([log_softmax(everything.logits[i].numpy())[y[i]] for i in rows])
    expected = ce + 1.7 * (beta * -own["video"][rows].mean() + gamma * -own["eeg"][rows].mean())
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_posters_student_loss_by_loops():
    """(1 - lambda) CE + lambda T² sum_j b_j KL(q_j || q_n), with the mask b that this mini-batch drew."""
    temperature, kd_weight = 3.0, 0.7
    guides = {name: numbers(seed, 9, 2) for seed, name in enumerate(("teacher", "ta1", "ta2"), start=1)}
    rows, y = torch.tensor([8, 1, 5, 2]), torch.tensor([0, 1, 1, 0])
    output = ModelOutput(numbers(9, 4, 2), {})
    switches = {"kd_weight": kd_weight, "temperature": temperature, "drop_prob": 0.5}
    loss = DenseGuidance(guides, generator=torch.Generator().manual_seed(0), **switches)
    masks = set()
    for _ in range(30):
        found = loss(output, y, rows).total.item()
        kept = loss.kept_history[-1].tolist()
        expected = 0.0
        for i, row in enumerate(rows):
            expected -= (1 - kd_weight) * log_softmax(output.logits[i].numpy())[y[i]] / len(rows)
            learner = log_softmax(output.logits[i].numpy() / temperature)
            for logits, b in zip(guides.values(), kept, strict=True):
                guide = log_softmax(logits[row].numpy() / temperature)
                divergence = sum(np.exp(guide[k]) * (guide[k] - learner[k]) for k in (0, 1))
                expected += kd_weight * temperature**2 * b * divergence / len(rows)
        assert found == pytest.approx(expected, rel=1e-9)
        masks.add(tuple(kept))
    assert len(masks) == 8  # every subset of three guides spoke, the empty one too


def test_takd_is_a_chain_and_cdgkd_hears_all_larger_networks():
    chain, name = [], "takd"
    while name != TEACHER:
        (guide,) = RECIPES[name].guides  # one guide per stage: the next larger network
        chain.append(RECIPES[name].model)
        assert RECIPES[name].loss == "dense" and "drop_prob" not in RECIPES[name].options
        name = guide
    assert chain == ["student", "ta2", "ta1"]
    for stage, n_guides in (("ta1_drop", 1), ("ta2_drop", 2), ("cdgkd", 3)):
        assert RECIPES[stage].guides == (TEACHER, "ta1_drop", "ta2_drop")[:n_guides]
        assert RECIPES[stage].options["drop_prob"] == 0.5


def test_mdf_is_the_sum_of_the_scored_levels():
    model = build_model("emotionkd_student", 0, "reference").eval()
    video = numbers(0, 3, 5, 768).float()
    with torch.no_grad():
        a, b, c = model.video(video)
        expected = (model.scores[0](a) + model.scores[1](b) + model.scores[2](c)).reshape(3, 61 * 64)
        found = model(video).features["classifier_input"]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(model.scores[0](a), model.scores[1](a))  # three scores of their own
