"""The confirmation's statistics by hand, its protocol against its configuration, and what is published of it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cdgkd_utils.experiments.configs import read_config
from cdgkd_utils.experiments.naming import find_recipe
from cdgkd_utils.experiments.plan import plan_config
from cdgkd_utils.experiments.records import RunError
from scipy import stats

from cdgkd_utils import publish_beyond
from cdgkd_utils.data.twin import WORLDS, find_world
from cdgkd_utils.publish import PublishError, publish, with_beyond
from cdgkd_utils.results import beyond
from cdgkd_utils.results.beyond import CHOICES, CHOSEN, HARM, HELP, HYPOTHESES, NAMED, Hypothesis
from cdgkd_utils.results.markdown import hypotheses_as_markdown

REPOSITORY = Path(__file__).parents[1]
TARGETS, SEEDS = ("valence", "arousal"), (7, 8, 9)


def scores_of(points):
    """Scores from a function of (world, target, seed, protocol, method), for all methods that a hypothesis names."""
    methods = {m for one in HYPOTHESES for m in (one.first, one.second)} | {"kd_gentle@eeg", "kd@oracle_eeg"} - {CHOSEN}
    rows = [
        (world, target, seed, protocol, method, points(world, target, seed, protocol, method))
        for world in (*NAMED, *HELP, *HARM)
        for target in TARGETS
        for seed in SEEDS
        for protocol in ("trial", "subject")
        for method in sorted(methods - {CHOSEN})
    ]
    return pd.DataFrame(rows, columns=["world", "target", "seed", "protocol", "method", "points"])


def reports_of(verdict, margin=0.1):
    units = [(w, t, s) for w in (*NAMED, *HELP, *HARM) for t in TARGETS for s in SEEDS]
    frame = pd.DataFrame(units, columns=["world", "target", "seed"])
    return frame.assign(verdict=[verdict(*unit) for unit in units], margin=margin)


def noise(seed):
    rng = np.random.default_rng(seed)
    return lambda *unit: 60 + rng.normal()


def test_seed_differences_are_paired_and_averaged_by_hand():
    def points(world, target, seed, protocol, method):
        base = 10 * seed + (5 if target == "arousal" else 0) + (1 if world == HELP[1] else 0)  # cancels in pairs
        if protocol == "subject":
            return base
        return base + ((seed if target == "valence" else 3 * seed) if method == "kd@eeg" else 0)

    found = beyond.seed_differences(scores_of(points), "kd@eeg", "ce", HELP)
    assert found.to_dict() == {7: 14.0, 8: 16.0, 9: 18.0}
    assert (beyond.seed_differences(scores_of(points), "kd@eeg", "ce", HELP, "subject") == 0).all()


def test_a_hole_is_refused_not_averaged_over():
    scores = scores_of(noise(0))
    hole = (scores["world"] == HELP[2]) & (scores["seed"] == 8) & (scores["method"] == "ce")
    with pytest.raises(ValueError, match="kd@eeg - ce: expected both in every world, target and seed"):
        beyond.seed_differences(scores[~hole], "kd@eeg", "ce", HELP)
    with pytest.raises(ValueError, match="expected both"):
        beyond.seed_differences(scores[scores["world"] != HELP[0]], "kd@eeg", "ce", HELP)
    with pytest.raises(ValueError, match="kd@eeg is missing in world mixed, seed 7"):
        beyond.with_choices(scores[scores["method"] != "kd@eeg"], reports_of(lambda *unit: "distil"))


def test_the_estimate_is_students():
    values = pd.Series([1.0, 2.0, 4.0, 3.5])
    found, test = beyond.estimate(values), stats.ttest_1samp(values, 0)
    assert found["n"] == 4 and found["mean"] == pytest.approx(2.625)
    assert found["se"] == pytest.approx(np.sqrt(sum((v - 2.625) ** 2 for v in values) / 3) / 2)
    assert found["p"] == pytest.approx(test.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_verdicts_need_the_sign_and_the_corrected_p():
    steady = np.array([-0.01, 0.0, 0.01])

    def points(world, target, seed, protocol, method):
        shift = {"kd@eeg": 2.0, "cdgkd": -2.0, "dense": 0.0, "kd_drop": 0.0}.get(method, 0.0)
        return 60 + shift + steady[seed - 7] * (method in ("kd@eeg", "cdgkd"))

    family = [
        Hypothesis("a", "", "kd@eeg", "ce", HELP),
        Hypothesis("b", "", "kd@eeg", "ce", HARM, -1),
        Hypothesis("c", "", "cdgkd", "kd_drop", NAMED),
        Hypothesis("d", "", "dense", "kd_drop", NAMED),
    ]
    table = beyond.hypothesis_table(scores_of(points), hypotheses=family)
    assert table["verdict"].to_dict() == {"a": "held", "b": "against", "c": "against", "d": "not resolved"}
    assert table["mean"].tolist() == pytest.approx([2, 2, -2, 0])
    np.testing.assert_allclose(table["p_holm"][:3], 4 * table["p"].iloc[0], rtol=1e-6)

    # p just under .05 is not enough in a family.
    weak = np.array([0.4, 1.0, 1.6])
    alone = [
        Hypothesis("x", "", "kd@eeg", "ce", HELP),
        *[Hypothesis(str(i), "", "ce", "kd_drop", HELP) for i in range(4)],
    ]
    rng = np.random.default_rng(1)
    scores = scores_of(lambda w, t, s, p, m: 60 + (weak[s - 7] if m == "kd@eeg" else 0) + 1e-6 * rng.normal())
    table = beyond.hypothesis_table(scores, hypotheses=alone)
    assert 5 * table.loc["x", "p"] > 0.05 and table.loc["x", "verdict"] == "not resolved"


def test_under_no_effect_a_family_seldom_has_a_verdict():
    wrong = sum(
        (beyond.hypothesis_table(all_choices(noise(seed)))["verdict"] != "not resolved").any() for seed in range(40)
    )
    assert wrong <= 6  # P(more) < .005 at a family-wise error of .05


def all_choices(points, verdict=lambda *unit: "do not distil"):
    # CHOSEN equal to `ce` has no spread and so no p; it counts as not resolved.
    return beyond.with_choices(scores_of(points), reports_of(verdict))


def test_the_choice_follows_the_verdict_unit_by_unit():
    verdicts = list(CHOICES)
    scores = all_choices(noise(3), lambda world, target, seed: verdicts[(seed + (target == "arousal")) % 3])
    wide = scores.pivot(index=["world", "target", "seed", "protocol"], columns="method", values="points")
    for (_, target, seed, _), row in wide.iterrows():
        assert row[CHOSEN] == row[CHOICES[verdicts[(seed + (target == "arousal")) % 3]]]


def test_policies_by_hand():
    gains = dict(zip((*HELP, *HARM), (3, 2, 1, 1, -1, -2, -3, -5), strict=True))

    def points(world, target, seed, protocol, method):
        return 60 + {"kd@eeg": gains.get(world, 0), "kd_gentle@eeg": gains.get(world, 0) / 2 + 0.5}.get(method, 0)

    def verdict(world, target, seed):
        if world == HELP[0]:
            return "distil gently"
        return "distil" if gains.get(world, 0) > 0 or (world == HARM[3] and seed == 7) else "do not distil"

    scores, reports = all_choices(points, verdict), reports_of(verdict)
    table = beyond.policy_table(scores, reports, HELP + HARM)
    best = np.array([3, 2, 1, 1, 0, 0, 0, 0])  # gently gives 2, 1.5, 1, 1, 0, -.5, -1, -2
    chosen = np.array([2, 2, 1, 1, 0, 0, 0, -5 / 3])
    assert table.loc["always distil", "gain"] == pytest.approx(np.mean(list(gains.values())))
    assert table.loc["always distil", "regret"] == pytest.approx(best.mean() + 4 / 8)
    assert table.loc["never distil"].tolist()[:2] == pytest.approx([0, best.mean()])
    assert table.loc["always gently", "regret"] == pytest.approx((best - [2, 1.5, 1, 1, 0, -0.5, -1, -2]).mean())
    assert table.loc[CHOSEN, "gain"] == pytest.approx(chosen.mean())
    assert table.loc[CHOSEN, "regret"] == pytest.approx((best - chosen).mean())
    assert table.loc[CHOSEN, "right"] == pytest.approx(40 / 42)  # 7 worlds with 6 clear verdicts, 2 of them wrong


def test_worlds_and_signs_by_hand():
    def points(world, target, seed, protocol, method):
        gain = 10 * find_world(world).margin
        return 60 + {"kd@eeg": gain, "kd@oracle_eeg": -gain, "kd@eeg#8": 4.0, "ce#8": -5.0}.get(method, 0)

    reports = reports_of(lambda world, target, seed: "distil" if find_world(world).margin > 0 else "do not distil")
    reports["margin"] = [find_world(world).margin / 2 for world in reports["world"]]
    table = beyond.world_table(scores_of(points), reports)
    assert list(table.index) == [*NAMED, *HELP, *HARM] and table["new"].sum() == 8
    assert table.loc["shared_view", "kd@eeg"] == pytest.approx(10 * WORLDS["shared_view"].margin)
    assert table.loc["shared_view", "kd@eeg#8"] == pytest.approx(9)
    assert table.loc[HELP[0], ["distil", "do not distil"]].tolist() == [6, 0]
    signs = beyond.sign_table(table).set_index(["guide", "margin", "group"])
    assert signs.loc[("kd@eeg", "margin", "new")].tolist() == [8, 8, 1.0]
    assert signs.loc[("kd@oracle_eeg", "margin", "new")].tolist() == [8, 0, -1.0]


def test_markdown_says_every_hypothesis_with_its_verdict():
    scores = all_choices(noise(5))
    text = hypotheses_as_markdown(beyond.hypothesis_table(scores), beyond.hypothesis_table(scores, "subject"))
    for one in HYPOTHESES:
        assert f"| {one.name}: {one.statement} |" in text
    assert "n = 3 seeds" in text and text.count("\n| H") == len(HYPOTHESES)


def test_the_configuration_is_that_of_the_protocol():
    config = read_config(REPOSITORY / "configs" / "beyond.yaml")
    assert config.worlds == (*NAMED, *HELP, *HARM) and config.seeds == tuple(range(100, 120))
    protocol = (REPOSITORY / "configs" / "beyond.md").read_text(encoding="utf-8")
    for one in HYPOTHESES:
        assert f"| {one.name} | {one.statement} |" in protocol
        for world in one.worlds:
            wanted = {name for method in config.recipes("twin", world) for name in with_guides(method)}
            assert {one.first, one.second} - {CHOSEN} <= wanted, (one.name, world)
    for world in (*HELP, *HARM):
        margin = find_world(world).margin
        assert (margin > 0) == (world in HELP)
        shares = "/".join(world.split("/")[:3])
        assert f"{shares} ({margin:+.2f})".replace("(+0.", "(+.").replace("(-0.", "(-.") in protocol
    # Untouched seeds: the bench's people are others.
    bench = read_config(REPOSITORY / "configs" / "bench.yaml")
    assert not set(config.seeds) & set(bench.seeds)


def with_guides(name):
    return {name}.union(*(with_guides(guide) for guide in find_recipe(name).guides))


CONFIG = REPOSITORY / "configs" / "beyond.yaml"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository to publish into, and a home without any run."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "README.md").write_text(f"before\n{publish_beyond.BEGIN}\nold\n{publish_beyond.END}\nafter\n")
    return repository


def test_one_command_writes_tables_figures_and_readme(place, monkeypatch):
    reports = reports_of(lambda world, target, seed: "distil" if find_world(world).margin > 0 else "do not distil")
    reports["margin"] = [find_world(world).margin / 2 for world in reports["world"]]
    monkeypatch.setattr(publish_beyond, "collect_worlds", lambda plan: (scores_of(noise(4)), reports))
    written = {path.name for path in publish(CONFIG, place)}
    tables = {f"beyond_{name}.csv" for name in publish_beyond.TABLES}
    pictures = {f"beyond_{name}.{ending}" for name in ("worlds", "hypotheses") for ending in ("png", "json")}
    assert written == {"README.md", "beyond.json", *tables, *pictures}
    assert {path.name for path in (place / "figures").iterdir()} == written - {"README.md"}
    text = (place / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold\n" not in text
    assert text.count("\n| H") == len(HYPOTHESES) and with_beyond(text, place / "figures") == text
    back = publish_beyond.published_tables(place)
    expected = beyond.hypothesis_table(beyond.with_choices(scores_of(noise(4)), reports))
    np.testing.assert_allclose(back["tests"]["mean"], expected["mean"], rtol=1e-4)
    assert back["tests"]["verdict"].tolist() == expected["verdict"].tolist()
    points = publish_beyond.phase_points(back["worlds"])
    assert points["world"].tolist() == [*NAMED, *HELP, *HARM] and (points["kind"] == "published").all()


def test_some_hypotheses_on_other_seeds_are_a_family_of_their_own(place, monkeypatch, tmp_path):
    few, reports = CONFIG.with_name("beyond_few.yaml"), reports_of(lambda *unit: "distil")
    monkeypatch.setattr(publish_beyond, "collect_worlds", lambda plan: (scores_of(noise(4)), reports))
    publish(CONFIG, place)
    first = (place / "README.md").read_text()
    written = {path.name for path in publish(few, place)}
    assert written == {"README.md", "beyond_few.json", "beyond_few_tests.csv", "beyond_few_tests_people.csv"}
    table = pd.read_csv(place / "figures" / "beyond_few_tests.csv", index_col=0)
    assert table.index.tolist() == ["H4a", "H4b"]
    np.testing.assert_allclose(table["p_holm"].min(), min(2 * table["p"].min(), 1), rtol=1e-4)
    text = (place / "README.md").read_text()
    assert "Again on 3 further seeds: H4a " in text and "Again" not in first
    assert not set(read_config(few).seeds) & set(read_config(CONFIG).seeds)


def test_holes_other_worlds_and_missing_files_are_refused_and_nothing_is_written(place, tmp_path):
    before = (place / "README.md").read_text()
    with pytest.raises(RunError, match=r"^8240 of 8240 runs are missing, ce-.* first: 'grid run' first"):
        publish(CONFIG, place)
    other = tmp_path / "other.yaml"
    other.write_text("world: [mixed, shared_view]\nmethods: [ce]\nprofile: smoke\n")
    with pytest.raises(RunError, match=r"^other: only hypotheses of configs/beyond\.md are published"):
        publish(other, place)
    (place / "README.md").write_text("no markers")
    with pytest.raises(PublishError, match="beyond: begin"):
        publish(CONFIG, place)
    (place / "README.md").write_text(before)
    assert {path.name for path in place.iterdir()} == {"README.md"}
    with pytest.raises(FileNotFoundError, match=r"figures/beyond_tests\.csv is missing: python -m cdgkd_utils publish"):
        publish_beyond.published_tables(place)


def test_the_committed_readme_shows_the_committed_tables():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert with_beyond(text, REPOSITORY / "figures") == text


@pytest.mark.parametrize("name", ["beyond", "beyond_few"])
def test_what_was_published_comes_from_its_configuration(name):
    config = REPOSITORY / "configs" / f"{name}.yaml"
    published, content = json.loads((REPOSITORY / "figures" / f"{name}.json").read_text()), config.read_bytes()
    plan = plan_config(read_config(config))
    assert published["configuration sha256"] == hashlib.sha256(content).hexdigest()
    assert published["runs"] == len(plan.runs)
    keys = "\n".join(sorted(run.key for run in plan.runs.values()))
    assert published["runs sha256"] == hashlib.sha256(keys.encode()).hexdigest(), "the code changed: run it again"
