"""What judges the benchmark's figures: goals, turns, exponents, the table, sections that fail."""

import importlib
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cdgkd_utils.models.output import ModelOutput

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts import each other by their bare names."""
    monkeypatch.syspath_prepend(str(BENCH))


def module(name):
    return importlib.import_module(name)


def measured(name="a", value=2.0, **more):
    return module("measurement").Measurement(name, value, **more)


def section(*measurements, problem=""):
    return {"about": "Text.", "measurements": list(measurements), "problem": problem, "seconds": 1.0}


@pytest.mark.parametrize(
    ("value", "goal", "held"),
    [
        (2.0, {"at_least": 2.0}, True),
        (1.999, {"at_least": 2.0}, False),
        (1.05, {"at_most": 1.05}, True),
        (1.051, {"at_most": 1.05}, False),
        (1.5, {"at_least": 1.0, "at_most": 2.0}, True),
        (2.5, {"at_least": 1.0, "at_most": 2.0}, False),
        (None, {"at_least": 2.0}, None),
        (float("nan"), {"at_least": 2.0}, None),
        (1.0, {}, None),
    ],
)
def test_a_goal_is_held_up_to_its_limit(value, goal, held):
    assert measured(value=value, **goal).held is held


def test_the_table_marks_a_missed_goal_and_one_that_was_not_measured():
    sections = {
        "steps": section(
            measured("fast enough", 3.2, at_least=3.0),
            measured("planted", 2.6, low=2.5, high=2.8, at_least=3.0),
            measured("information", 1234.5, unit="ms"),
        ),
        "data": section(measured("rival", None, at_least=8.0, note="TorchEEG is not installed")),
        "grid": section(problem="took longer than 5 s"),
    }
    page = module("table").markdown(sections, {"quiet": True, "commit": "abc"})
    rows = {cells[1]: cells[2:-1] for line in page.splitlines() if (cells := [c.strip() for c in line.split("|")])[1:]}
    assert rows["fast enough"] == ["3.2 ×", "", "≥ 3 ×", "yes", ""]
    assert rows["planted"] == ["2.6 ×", "2.5 to 2.8", "≥ 3 ×", "**no**", ""]
    assert rows["information"] == ["1,234 ms", "", "", "", ""]
    assert rows["rival"] == ["not measured", "", "≥ 8 ×", "not measured", "TorchEEG is not installed"]
    assert "1 of 3 goals reached, 1 missed (planted), 1 not measured; section grid did not finish." in page.splitlines()
    assert "Did not finish: took longer than 5 s" in page and "unreliable" not in page
    assert "unreliable" in module("table").markdown(sections, {"quiet": False})


def test_cases_take_turns_and_the_first_turn_does_not_count():
    now, calls = [0.0], []

    def case(name, costs):
        costs = iter(costs)

        def run():
            calls.append(name)
            now[0] += next(costs)

        return run

    seconds = module("measurement").rounds([case("a", [9, 1, 2]), case("b", [9, 4, 3])], 2, clock=lambda: now[0])
    assert calls == ["a", "b"] * 3
    assert seconds.tolist() == [[1, 4], [2, 3]]


def test_ratio_is_the_median_over_rounds():
    ratio = module("measurement").ratio("r", np.array([4.0, 6.0, 30.0]), np.array([2.0, 2.0, 3.0]), at_least=3.0)
    assert (ratio.value, ratio.low, ratio.high, ratio.held) == (3.0, 2.0, 10.0, True)


def power(exponent, fixed=0.0, sizes=(1, 2, 4, 8, 16, 32)):
    cpu = tuple(fixed + 0.1 * size**exponent for size in sizes)
    return module("scaling").Curve("c", "things", sizes, cpu, cpu, tuple(300 + fixed + 2 * n**exponent for n in sizes))


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_the_exponent_of_a_power_law_is_found_and_certain(exponent):
    np.testing.assert_allclose(power(exponent).exponent(), exponent, atol=1e-6)


def test_a_fixed_cost_is_not_linear_until_it_is_small():
    assert power(1.0).linear_from == 1
    assert power(2.0).linear_from is None
    one = power(1.0, fixed=0.5)  # slope of the last three points: about 0.8, 1 only far beyond them
    slope, low, high = one.exponent()
    assert low < slope < high < 1 and one.linear_from is None
    start = power(1.0, fixed=0.5, sizes=tuple(2**k for k in range(12))).linear_from
    assert 8 <= start <= 64  # where 0.5 is a small part of 0.1 · size


def with_memory(*memory):
    one = power(1.0)
    return module("scaling").Curve(one.name, one.axis, one.sizes, one.cpu, one.wall, memory)


def test_what_every_process_holds_is_no_part_of_the_growth_of_memory():
    one = with_memory(*(300 + 2 * n for n in (1, 2, 4, 8, 16, 32)))
    assert [list(values) for values in one.growth] == [[1, 3, 7, 15, 31], [2, 6, 14, 30, 62]]
    np.testing.assert_allclose(one.memory_exponent, 1, atol=1e-6)  # the logarithms of 302, 304, .. have slope .04
    squares = with_memory(*(300 + (n - 1) ** 2 for n in (1, 2, 4, 8, 16, 32)))
    np.testing.assert_allclose(squares.memory_exponent, 2, atol=1e-6)


def test_memory_that_grows_by_less_than_the_scatter_is_flat():
    assert with_memory(300.0, 301.2, 297.6, 302.7, 300.3, 301.5).memory_exponent is None
    assert with_memory(300.0, 301.2, 297.6, 302.7, 306.3, 313.5).memory_exponent is None  # a line needs three points
    assert with_memory(300.0, 301.2, 297.6, 305.7, 312.3, 325.5).memory_exponent is not None


def hold(n_megabytes):
    """A workload; at module level, so that another process finds it."""
    return lambda: np.ones((n_megabytes, 125_000))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process can hand its own peak to its children")
def test_the_peak_of_a_process_is_its_own():
    workloads = module("workloads")
    here = np.ones((800, 125_000))  # what the asking process holds must not count
    (small, large), (other, _) = workloads.peaks([workloads.Workload("hold", "MB", (20, 220), hold)] * 2)
    assert here.nbytes == 8e8 and small < 800
    np.testing.assert_allclose([large - small, other - small], [200, 0], atol=8)


@pytest.mark.parametrize("place", range(6))
def test_every_workload_is_known_to_another_process(place, tmp_path):
    one = module("workloads").workloads(tmp_path)[place]
    again = pickle.loads(pickle.dumps(one.work))
    assert (again.func, again.args) == (one.work.func, one.work.args) if hasattr(again, "func") else again is one.work
    assert list(one.sizes) == sorted(one.sizes) and len(one.sizes) > module("scaling").LEAST_POINTS


def has_ended(pid):
    """Whether a process ends within five seconds; one that nobody waits for may stay as a zombie."""
    state = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes by /proc")
def test_a_section_that_fails_or_hangs_keeps_its_figures_and_says_why(tmp_path, monkeypatch):
    command = module("all")
    figure = '{"name": "before", "value": 1.0}'
    head = f"import sys, time\nopen(sys.argv[2], 'w').write('[{figure}]')\n"
    (tmp_path / "steps.py").write_text(head + "raise SystemExit('no file /some/where/secret/x.dat')\n")
    child = "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    note = f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
    (tmp_path / "grid.py").write_text(head + child + note + "time.sleep(60)\n")
    (tmp_path / "data.py").write_text(head)
    monkeypatch.setattr(command, "HERE", tmp_path)
    failed = command.run_section("steps", 30, None)
    assert failed["problem"] == "no file …/x.dat"
    assert [m.name for m in failed["measurements"]] == ["before"]
    hung = command.run_section("grid", 2, None)
    assert hung["problem"] == "took longer than 2 s" and len(hung["measurements"]) == 1
    assert has_ended(int((tmp_path / "child").read_text()))  # what it started
    assert command.run_section("data", 30, None)["problem"] == ""


def test_results_are_written_with_provenance_and_the_status_tells_a_miss(tmp_path, monkeypatch):
    command = module("all")
    value = [1.8]
    monkeypatch.setattr(command, "run_section", lambda *_: section(measured("x", value[0], at_least=1.8)))
    monkeypatch.setattr("sys.argv", ["all.py", "--only", "grid, steps", "--out", str(tmp_path)])
    assert command.main() == 0
    value[0] = 1.7
    assert command.main() == 1
    stored = json.loads((tmp_path / "results.json").read_text())
    assert [list(stored["sections"]), stored["sections"]["grid"]["measurements"][0]["held"]] == [
        ["grid", "steps"],
        False,
    ]
    assert {"commit", "date", "torch", "cores", "processor", "quiet"} <= stored["provenance"].keys()
    assert "**no**" in (tmp_path / "results.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md"]


@pytest.mark.parametrize(
    ("paces", "quiet", "spread", "verdict"),
    [
        ([0.08, 0.1, 0.09], True, 1.25, True),
        ([0.08, 0.112], True, 1.4, False),
        ([0.08, 0.08], False, 1.0, False),
        ([0.08, 0.16], None, 2.0, None),
    ],
)
def test_a_machine_is_quiet_when_nothing_else_ran_and_its_speed_did_not_change(paces, quiet, spread, verdict):
    assert module("provenance").steadiness(paces, quiet) == {"slowest_over_fastest": spread, "quiet": verdict}


def test_the_pace_is_taken_before_and_after_each_section(tmp_path, monkeypatch):
    command, paces = module("all"), iter([0.1, 0.1, 0.2])
    monkeypatch.setattr(command, "run_section", lambda *_: section(measured("x", 2.0)))
    monkeypatch.setattr(command, "pace", lambda: next(paces))
    monkeypatch.setattr("sys.argv", ["all.py", "--only", "grid, steps", "--out", str(tmp_path)])
    assert command.main() == 0
    where = json.loads((tmp_path / "results.json").read_text())["provenance"]
    assert (where["slowest_over_fastest"], where["quiet"]) == (2.0, False)
    assert next(paces, None) is None
    assert "slowest over fastest 2.0" in (tmp_path / "results.md").read_text()


def test_an_unknown_section_is_named():
    with pytest.raises(SystemExit, match="no section stepps; there are prototypes, steps,"):
        module("all").chosen_sections("grid,stepps")


def test_every_section_is_a_script_and_is_described():
    command = module("all")
    assert command.SECTIONS.keys() == command.ABOUT.keys()
    assert all((BENCH / f"{name}.py").is_file() for name in command.SECTIONS)


def test_every_goal_of_the_reference_family_is_asked_of_a_figure(monkeypatch):
    reference = module("reference")
    spent = {"port": 3.0, "ours": 1.5}
    monkeypatch.setattr(reference, "check_equal", lambda network: None)
    monkeypatch.setattr(reference, "bfloat16", lambda network: ())
    monkeypatch.setattr(
        reference,
        "compare",
        lambda network, sides, works: {(*side, what): np.full(5, spent[side[0]]) for side in sides for what in works},
    )
    figures = {one.name: one for one in reference.measurements()}
    assert {name: one.at_least for name, one in figures.items() if one.goal} == reference.GOALS
    assert {one.name: one.held for one in figures.values() if one.goal} == {
        "temporal convolutions, training step: port over ours, both with the default settings": True,
        "teacher, training step: port over ours": True,
        "teacher, evaluation: port over ours": False,
    }


def test_the_port_and_the_loops_compute_what_ours_do():
    for network in ("temporal convolutions", "student"):
        module("reference").check_equal(network)
    loops, ours = module("prototypes"), importlib.import_module("cdgkd_utils.methods.prototypes")
    x, labels = torch.randn(7, 5, dtype=torch.float32), torch.tensor([0, 1, 0, 2, 2, 2, 0])
    means = loops.looped_means(x, labels, 3)
    torch.testing.assert_close(means, torch.stack([x[labels == k].mean(0) for k in range(3)]))
    torch.testing.assert_close(loops.looped_distances(x, means), ours.distances(x, means))


def test_the_work_of_a_window_is_that_of_its_products_counted_by_hand():
    chain = module("reference_chain")
    inputs = chain.random_inputs(6, with_signal=False)

    class Two(torch.nn.Module):
        inputs = ("video",)

        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Linear(768, 10), torch.nn.Linear(10, 2)

        def forward(self, video):
            return ModelOutput(self.last(self.first(video.mean(1))), {}, {})

    # Forward, gradients of both weights, and of the last layer's inputs, where alone one is asked for.
    expected = 2 * (768 * 10 + 10 * 2) * 2 + 2 * 10 * 2
    assert chain.flop_per_window(Two(), inputs, "float32") == expected


def test_the_chain_on_any_device_adds_up(monkeypatch):
    chain = module("reference_chain")
    monkeypatch.setenv("CDGKD_DEVICE", "cpu")
    monkeypatch.setattr(chain, "peak", lambda *_: 1e11)
    product, *networks, whole = chain.measurements(6, (3,), 1)
    assert product.value == pytest.approx(0.1) and whole.unit == "h"
    training, share = networks[::2], networks[1::2]
    assert [one.name.split(",")[0] for one in training] == ["fusion_rebalanced", "ta1_drop", "ta2_drop", "cdgkd"]
    assert whole.value == pytest.approx(13_200 * 100 / 3600 * sum(1 / one.value for one in training))
    for speed, part in zip(training, share, strict=True):
        gflop = float(speed.note.split()[0])
        assert part.value == pytest.approx(100 * 1e9 * gflop * speed.value / 1e11, rel=0.01)
