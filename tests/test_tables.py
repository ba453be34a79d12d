"""From hand-made run folders to scores, the long table and what people read, worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cdgkd_utils.config import Params
from cdgkd_utils.results import tables
from cdgkd_utils.results.paper import COLUMNS, METHODS, PAPER, POSTER_ROWS, ROWS, VARIANTS, display_name, place
from cdgkd_utils.results.tables import SCORES, collect, poster_table, readable, results_table, write_csv

TWIN, FILES = Params(profile="smoke", world="mixed"), Params(dataset="deap", data_root="x")
# Eleven windows of six trials: (subject, trial, label, logits, P(high | latent)). Trial 12 of subject 1 and trial 2 of
# subject 11 must not be taken for one, nor trial 5 of both.
WINDOWS = [
    (1, 1, 1, (0.0, 1.0), 0.9),  # 0 train
    (1, 1, 1, (0.0, 1.0), 0.9),  # 1 train
    (1, 12, 0, (2.0, 1.0), 0.1),  # 2 train
    (1, 3, 0, (0.0, 5.0), 0.2),  # 3 val: scored nowhere
    (1, 5, 1, (0.0, 3.0), 0.8),  # 4 unseen trial, right
    (1, 5, 1, (3.0, 0.0), 0.8),  # 5 unseen trial, wrong
    (11, 5, 0, (1.0, -1.0), 0.3),  # 6 unseen trial, right
    (11, 5, 0, (1.0, 1.0), 0.3),  # 7 unseen trial, a tie counts as low: right
    (11, 2, 1, (1.0, 0.5), 0.6),  # 8 train
    (2, 1, 0, (0.0, 0.1), 0.4),  # 9 unseen subject, wrong
    (2, 1, 0, (0.0, 900.0), 0.4),  # 10 unseen subject, wrong
]
PARTS = {"train": [0, 1, 2, 8], "val": [3], "test_trial": [4, 5, 6, 7], "test_subject": [9, 10]}
S3, S2, S01 = (1 / (1 + np.exp(-z)) for z in (-3.0, -2.0, np.float32(0.1)))
NAN = np.nan
EXPECTED = {
    # predicted 1 0 0 0 for labels 1 1 0 0: recalls 1/2 and 1; F1 of high 2/3, of low 4/5;
    # P(prediction | latent) 0.8, 0.2, 0.7, 0.7. AUC: P(high) is s(3), s(-3) against s(-2), s(0): 2 of 4 pairs.
    # Trial 1/5 means 1/2, a tie, so low and wrong; trial 11/5 means under 1/2, right. Each window has its own bin.
    # Subject 1 said high 2 of 3 times in training, subject 11 the one time: high, high for labels 1 1 0 0.
    "trial": {"accuracy": 0.75, "balanced_accuracy": 0.75, "macro_f1": (2 / 3 + 4 / 5) / 2, "auc": 0.5}
    | {"vote_accuracy": 0.5, "worst_subject": NAN, "ece": (1 + S2 + 0.5) / 4, "majority": 0.5, "who": 0.5}
    | {"brier": (S3**2 + (1 - S3) ** 2 + S2**2 + 0.25) / 4, "expected_accuracy": 0.6},
    # One class only, one trial, two windows at s(0.1) and 1, of somebody unknown.
    "subject": {"accuracy": 0.0, "balanced_accuracy": NAN, "macro_f1": NAN, "auc": NAN, "vote_accuracy": 0.0}
    | {"worst_subject": NAN, "ece": (S01 + 1) / 2, "brier": (S01**2 + 1) / 2, "majority": 1.0, "who": NAN}
    | {"expected_accuracy": 0.4},
}


def write_run(folder, name="ce", target="valence", fold=0, posterior=True, **result):
    subject, trial, labels, logits, truth = (np.array(column) for column in zip(*WINDOWS, strict=True))
    folder.mkdir(parents=True)
    spec = {"recipe": {"name": name}, "target": target, "fold": fold, "seed": 7}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "result.json").write_text(json.dumps({"data": "hand-made"} | result))
    stored = {"labels": labels, "subject": subject, "trial": trial, "logits": logits.astype(np.float32)}
    stored |= {"posterior": truth if posterior else np.zeros(0)}
    np.savez(folder / "outputs.npz", **stored, **{part: np.array(rows) for part, rows in PARTS.items()})
    return folder


def made_up(methods, table=1, n=4, world="mixed", targets=("valence", "arousal"), seed=0, folds=1):
    """Tidy scores with random accuracies."""
    rng, rows = np.random.default_rng(seed), []
    for target in targets:
        for protocol in ("trial", "subject"):
            for method in methods:
                for run in range(n):
                    cell = (world, "deap", target, protocol, table, method, run // folds, run % folds)
                    floors = {"majority": 0.56, "who": 0.58 if protocol == "trial" else NAN, "auc": 0.6}
                    for metric, value in ({"accuracy": rng.uniform(0.5, 0.7)} | floors).items():
                        rows.append((*cell, metric, value, 300, 100, n, "smoke", "made up", run, f"{method}-{run}"))
    return pd.DataFrame(rows, columns=SCORES)


def test_scores_by_hand(tmp_path):
    scores = collect([(TWIN, 4, write_run(tmp_path / "run", fold=2))])
    for protocol, expected in EXPECTED.items():
        got = scores[scores["protocol"] == protocol].set_index("metric")["value"]
        assert got.to_dict() == pytest.approx(expected, nan_ok=True)
    constant = scores.drop(columns=["protocol", "metric", "value", "n_test"]).drop_duplicates().to_dict("records")
    about = {"world": "mixed", "dataset": "deap", "target": "valence", "table": 1, "method": "ce", "repeat": 4}
    about |= {"fold": 2, "n_train": 3, "n_expected": 1, "profile": "smoke", "data": "hand-made", "seed": 7}
    assert constant == [about | {"run": "run"}]  # trials 1/1, 1/12 and 11/2, not four windows
    unknown = collect([(FILES, 0, write_run(tmp_path / "files", posterior=False))])
    assert "expected_accuracy" not in set(unknown["metric"]) and set(unknown["world"]) == {""}
    assert scores.groupby("protocol")["n_test"].unique().map(list).to_dict() == {"trial": [2], "subject": [1]}


def test_a_guide_by_name_and_a_method_of_ones_own_stand_in_a_table_and_an_assistant_in_none(tmp_path):
    runs = [
        (TWIN, 0, write_run(tmp_path / "a", name="ta1")),
        (TWIN, 0, write_run(tmp_path / "b", name="kd@eeg")),
        (TWIN, 0, write_run(tmp_path / "c", name="mine", table=2, row="mine")),
        (TWIN, 0, write_run(tmp_path / "d", name="emotionkd_teacher")),
        (TWIN, 0, write_run(tmp_path / "e", name="ce", table=2, row="elsewhere")),  # shown where it stands now
    ]
    scores = collect(runs)
    placed = scores[["table", "method"]].drop_duplicates().to_records(index=False).tolist()
    assert placed == [(1, "ce"), (1, "kd@eeg"), (2, "emotionkd"), (2, "mine")]
    for table, method in ((1, "kd@eeg"), (2, "mine")):
        wide = readable(results_table(scores, table))
        assert wide.loc[display_name(method), ("valence", "unseen trials")] == "75.0 n=1/1"
    assert collect(runs[:1]).empty and collect([]).empty


def test_what_cannot_be_collected_is_named(tmp_path):
    folder = write_run(tmp_path / "ce-1234")
    with pytest.raises(ValueError, match="ce-1234 repeats"):
        collect([(TWIN, 0, folder), (TWIN, 0, folder)])
    with pytest.raises(ValueError, match="several profiles"):
        collect([(TWIN, 0, folder), (Params(profile="quick", world="mixed"), 1, write_run(tmp_path / "b"))])
    with np.load(folder / "outputs.npz") as outputs:
        stored = dict(outputs)
    stored["logits"][6] = np.nan
    np.savez(folder / "outputs.npz", **stored)
    with pytest.raises(ValueError, match="run ce-1234, test part 'test_trial': probability"):
        collect([(TWIN, 0, folder)])


def test_one_path_from_folders_to_the_table(tmp_path):
    runs = [
        (TWIN, 0, write_run(tmp_path / f"{target}{f}", target=target, fold=f))
        for target in ("valence", "arousal")
        for f in (0, 1)
    ]
    scores = collect(reversed(runs), {("mixed", "deap"): 3})
    assert scores.equals(collect(runs, {("mixed", "deap"): 3}))
    row = results_table(scores, 1).query("method == 'ce' and target == 'valence' and protocol == 'trial'").iloc[0]
    assert (row["metric"], row["mean"], row["sd"], row["n_runs"], row["n_expected"]) == ("accuracy", 75, 0, 2, 3)
    assert row["paper"] == PAPER[1, "ce", "deap", "valence"]
    behind = tables.runs_behind(scores, 1, "ce", "deap", "valence", "trial")
    assert behind["run"].tolist() == ["valence0", "valence1"] and behind["value"].mean() == row["mean"]


@pytest.mark.parametrize(("world", "kind"), [("mixed", "repetitions"), ("", "corrected")])
def test_intervals_are_those_of_scipy_and_allow_for_what_the_runs_share(world, kind):
    scores = made_up(("ce",), n=12, folds=3, world=world)
    row = results_table(scores, 1).query("method == 'ce' and target == 'valence' and protocol == 'trial'").iloc[0]
    mine = scores.query("metric == 'accuracy' and target == 'valence' and protocol == 'trial'")
    values = 100 * mine["value"].to_numpy()
    assert row["interval"] == kind and row["mean"] == pytest.approx(values.mean())
    if kind == "repetitions":
        low, high = stats.ttest_1samp(values.reshape(4, 3).mean(axis=1), 0).confidence_interval(0.95)
    else:
        half = stats.t.ppf(0.975, 11) * values.std(ddof=1) * np.sqrt(1 / 12 + 1 / 3)
        low, high = values.mean() - half, values.mean() + half
    assert (row["low"], row["high"]) == pytest.approx((max(low, 0), min(high, 100)))


def test_floors_stand_under_every_table_of_known_people():
    long = results_table(made_up(("ce", "kd")), 1)
    wide = readable(long)
    assert wide.loc["majority class"].tolist() == ["56.0", "56.0", "–"] * 2
    assert wide.loc["knows only who it is"].tolist() == ["58.0", "–", "–"] * 2  # nobody knows unseen people
    assert poster_table(long).loc["knows only who it is", ("DEAP", "valence")] == "58.0"


def test_the_posters_layout():
    scores = pd.concat([made_up(("ce", "kd", "cdgkd")), made_up(("fusion_rebalanced",), table=2)])
    table = poster_table(results_table(scores, 1))
    assert list(table.columns) == [(data, t) for data in ("DEAP", "MAHNOB-HCI") for t in ("arousal", "valence")]
    kd = scores.query("method == 'kd' and target == 'valence' and protocol == 'trial' and metric == 'accuracy'")
    values = 100 * kd["value"]
    assert table.loc["KD", ("DEAP", "valence")] == f"{values.mean():.1f} ± {values.std():.1f} (64.34)"
    assert table["MAHNOB-HCI", "valence"][["KD", "CE (no guide)"]].tolist() == ["– (61.58)", "–"]
    both = [poster_table(results_table(scores, number)) for number in (2, 1)]
    assert sum(len(one) + 4 for one in both) + 9 + 4 <= 45  # what `make run` prints, nine notebooks and places included
    assert "unseen trials" in tables.poster_caption(results_table(scores, 2))


def test_cells_and_the_ablation():
    row = results_table(made_up(("ce",)), 1).query("metric == 'accuracy' and method == 'ce'")
    row = next(row.itertuples())
    assert tables.cell_text(row, 4) == f"{row.mean:.1f} ± {row.sd:.1f} [{row.low:.1f}, {row.high:.1f}] n=4/4"
    assert tables.cell_text(None, 3) == "0 of 3"
    both = pd.concat([results_table(made_up(("ce", "dense", "cdgkd")), 1), results_table(made_up(("fusion",), 2), 2)])
    five = tables.ablation(both, "deap")
    assert list(five.index) == list(VARIANTS)
    assert five.loc["Variant 3: student alone", ("valence", "paper")] == "63.02"
    one = readable(results_table(made_up(("ce", "kd"), targets=("valence",)), 1))  # hides no row that ran
    assert one.loc["KD"].str.contains("n=4/4").sum() == 2 and (one.loc["NST"].iloc[:2] == "0 of 4").all()
    assert "0 of 4" in tables.as_markdown(one)


def test_the_printed_numbers_and_names():
    assert PAPER[1, "cdgkd", "mahnob", "valence"] == 63.97 and PAPER[2, "fusion_rebalanced", "deap", "arousal"] == 68.68
    assert len(PAPER) == 7 * 4 + 4 * 4 + 2 + 5 * 2  # the poster's two tables and the slides' ablation
    for table, rows in POSTER_ROWS.items():
        assert set(rows) <= set(ROWS[table]) <= set(METHODS)
        for row in rows:
            assert place(row)[0] == table or row == "emotionkd"
    assert place("ta1_drop") == (0, "ta1_drop") and place("ce#8") == (1, "ce#8")
    assert (
        display_name("cdgkd") == "CDGKD" and display_name("kd@eeg") == "KD @eeg *" and display_name("mine") == "mine *"
    )
    assert COLUMNS[0] == ("deap", "arousal")


def test_a_file_is_whole_and_equal_tables_give_equal_bytes(tmp_path):
    table = results_table(made_up(("ce",)), 1)
    path = write_csv(table, tmp_path / "deep" / "table.csv")
    before = path.read_bytes()
    assert write_csv(table.copy(), path).read_bytes() == before
    broken = pd.DataFrame({"a": [object()]})
    broken["a"] = broken["a"].map(lambda _: Unwritable())
    with pytest.raises(RuntimeError):
        write_csv(broken, path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["table.csv"]


class Unwritable:
    def __str__(self):
        raise RuntimeError("no")
