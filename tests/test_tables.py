"""The long table, the paired comparisons, the readable forms and the paper's numbers."""

import numpy as np
import pandas as pd
import pytest
from cdgkd_utils.results.display import as_text, caption, readable
from cdgkd_utils.results.paired import paired, side_by_side
from scipy import stats

from cdgkd_utils.results import tables
from cdgkd_utils.results.metrics import METRICS
from cdgkd_utils.results.paper import METHODS, PAPER, POSTER_ROWS, ROWS, VARIANTS, paper_accuracy
from cdgkd_utils.results.statistics import effect_size, holm, independent_repeats, mean_interval, paired_test

RAN = {  # rows with runs here; the others stay empty
    1: ("ce", "ce_last", "ce_ls", "kd", "kd_drop", "takd", "dense", "cdgkd"),
    2: ("eeg", "video", "fusion", "fusion_constant", "fusion_rebalanced"),
}
KIND = {"profile": "smoke", "data": "made up"}


def make_runs(table=2, methods=None, targets=tables.TARGETS, n=3, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {"table": table, "dataset": "deap", "target": target, "protocol": protocol, "method": method}
        | {"repeat": fold // 2, "fold": fold % 2, "metric": metric, "value": rng.uniform(0.5, 0.7)}
        | {"n_train": 300, "n_test": 100 if protocol == "trial" else 200}
        | KIND
        for target in targets
        for protocol in tables.PROTOCOLS
        for method in methods or RAN[table]
        for fold in range(n)
        for metric in METRICS
    ]
    return pd.DataFrame(rows)


def summarise(runs, table=2, n_expected=3, **changes):
    return tables.results_table(runs, table, n_expected, **(KIND | changes))


def pick(long_table, **values):
    for column, value in values.items():
        long_table = long_table[long_table[column] == value]
    assert len(long_table) == 1
    return long_table.iloc[0]


def test_columns_and_one_cell_by_hand():
    runs = make_runs()
    long_table = summarise(runs)
    assert list(long_table.columns) == [
        *("table", "dataset", "target", "protocol", "method", "metric", "mean", "sd", "n_runs", "n_expected"),
        *("low", "high", "paper", "profile", "data", "interval"),
    ]
    cell = {"target": "arousal", "protocol": "subject", "method": "fusion", "metric": "accuracy"}
    mine = runs
    for column, value in cell.items():
        mine = mine[mine[column] == value]
    expected = mean_interval(100 * mine["value"], 300, 200)
    row = pick(long_table, dataset="deap", **cell)
    assert (row["mean"], row["sd"], row["n_runs"]) == pytest.approx((expected.mean, expected.sd, 3))
    assert (row["low"], row["high"]) == pytest.approx((max(expected.low, 0), min(expected.high, 100)))
    assert row["paper"] == 60.93
    assert (row["profile"], row["data"], row["n_expected"]) == ("smoke", "made up", 3)


def test_intervals_over_repetitions_that_share_no_data():
    runs = make_runs(n=6)  # three repetitions of two folds
    cell = {"dataset": "deap", "target": "arousal", "protocol": "subject", "method": "fusion", "metric": "accuracy"}
    mine = runs
    for column, value in cell.items():
        mine = mine[mine[column] == value]
    means = [100 * mine.loc[mine["repeat"] == repeat, "value"].sum() / 2 for repeat in range(3)]
    half = 4.302653 * np.std(means, ddof=1) / np.sqrt(3)
    row = pick(summarise(runs, n_expected=6, own_data=True), **cell)
    assert (row["low"], row["high"]) == pytest.approx((np.mean(means) - half, np.mean(means) + half), abs=1e-4)
    assert (row["interval"], row["n_runs"], row["mean"]) == ("repetitions", 6, pytest.approx(np.mean(means)))
    shared = pick(summarise(runs, n_expected=6), **cell)
    assert shared["interval"] == "corrected" and shared["high"] - shared["low"] > row["high"] - row["low"]
    few = runs[runs["repeat"] < 2]
    pd.testing.assert_frame_equal(summarise(few, n_expected=6, own_data=True), summarise(few, n_expected=6))


def test_rows_of_the_poster_that_nobody_ran_stand_as_zero_of_n():
    long_table = summarise(make_runs())
    accuracy = long_table[long_table["metric"] == "accuracy"]
    assert len(accuracy) == 2 * 2 * 2 * len(ROWS[2])
    row = pick(accuracy, dataset="deap", target="valence", protocol="trial", method="cnn_svm")
    assert row["n_runs"] == 0 and row["paper"] == 64.32
    assert np.isnan([row["mean"], row["sd"], row["low"], row["high"]].copy()).all()
    assert (accuracy[accuracy["dataset"] == "mahnob"]["n_runs"] == 0).all()


def test_the_paper_stands_on_accuracy_rows_only():
    long_table = summarise(make_runs())
    assert long_table.loc[long_table["metric"] != "accuracy", "paper"].isna().all()
    assert pick(long_table, dataset="deap", target="valence", protocol="trial", method="eeg", metric="macro_f1")["mean"]


def test_the_table_does_not_depend_on_the_order_of_the_runs():
    runs = make_runs()
    pd.testing.assert_frame_equal(summarise(runs), summarise(runs.sample(frac=1, random_state=1)))


def test_no_runs_at_all_still_gives_the_table():
    assert (summarise(make_runs().iloc[:0])["n_runs"] == 0).all()


def test_a_score_that_is_undefined_is_not_counted():
    runs = make_runs()
    runs.loc[runs.index[(runs["metric"] == "macro_f1") & (runs["fold"] == 1)], "value"] = np.nan
    long_table = summarise(runs)
    cell = {"dataset": "deap", "target": "valence", "protocol": "trial", "method": "eeg"}
    assert pick(long_table, metric="macro_f1", **cell)["n_runs"] == 2
    assert pick(long_table, metric="accuracy", **cell)["n_runs"] == 3


def faults():
    runs = make_runs()
    yield "repeat the same run", pd.concat([runs, runs.iloc[[4]]]), {}
    yield "profile 'quick'", pd.concat([runs, runs.iloc[[4]].assign(profile="quick", fold=7)]), {}
    yield "data 'DEAP'", pd.concat([runs, runs.iloc[[4]].assign(data="DEAP", fold=7)]), {}
    yield "unknown method 'fusionn'", runs.replace({"method": {"fusion": "fusionn"}}), {}
    yield "unknown protocol 'window'", runs.replace({"protocol": {"trial": "window"}}), {}
    yield "unknown metric 'acc'", runs.replace({"metric": {"accuracy": "acc"}}), {}
    yield "expected a share", runs.assign(value=60.0), {}
    yield "column n_train, data is missing", runs.drop(columns=["n_train", "data"]), {}
    yield "n_expected is 2", runs, {"n_expected": 2}
    yield "dataset deap is not among mahnob", runs, {"datasets": ("mahnob",)}
    yield "table: expected one of 1, 2", runs, {"table": 3}


@pytest.mark.parametrize(("message", "runs", "changes"), list(faults()), ids=lambda v: v if isinstance(v, str) else "")
def test_planted_faults_are_named(message, runs, changes):
    with pytest.raises(ValueError, match=message):
        summarise(runs, **changes)


def test_paired_differences_by_hand():
    runs = make_runs()
    result = paired(runs, 2, "fusion_rebalanced")
    assert len(result) == 2 * 2 * 4
    cell = runs[(runs["target"] == "valence") & (runs["protocol"] == "subject") & (runs["metric"] == "accuracy")]
    value = {m: g.sort_values(["repeat", "fold"])["value"].to_numpy() for m, g in cell.groupby("method")}
    expected = paired_test(100 * (value["fusion_rebalanced"] - value["eeg"]), 300, 200)
    family = result[(result["target"] == "valence") & (result["protocol"] == "subject")]
    row = family[family["method"] == "eeg"].iloc[0]
    assert row[list(expected)].to_dict() == pytest.approx(expected)
    assert family["p_holm"].to_numpy() == pytest.approx(holm(family["p"]))
    differences = 100 * (value["fusion_rebalanced"] - value["eeg"])
    assert row[["dz", "dz_low", "dz_high"]].tolist() == pytest.approx(effect_size(differences, 300, 200))
    assert row["p_repeats"] == pytest.approx(independent_repeats(differences, [0, 0, 1])["p"])


def test_paired_compares_shared_runs_only_and_is_antisymmetric():
    runs = make_runs(methods=("eeg", "video"))
    runs = runs[~((runs["method"] == "video") & (runs["repeat"] == 1))]
    one = paired(runs, 2, "eeg")
    other = paired(runs, 2, "video")
    assert (one["n"] == 2).all()
    assert one["mean"].to_numpy() == pytest.approx(-other["mean"].to_numpy())
    assert one["p"].to_numpy() == pytest.approx(other["p"].to_numpy())


def test_one_comparison_under_three_ideas_of_what_is_independent():
    runs = make_runs(n=6)
    where = {"dataset": "deap", "target": "valence", "protocol": "trial"}
    table = side_by_side(runs, 2, "fusion_rebalanced", "fusion", "accuracy", **where)
    assert list(table.index) == ["runs", "runs, corrected", "repetitions"]
    mine = runs[(runs[["target", "protocol", "metric"]] == ["valence", "trial", "accuracy"]).all(axis=1)]
    by_run = mine.pivot(index=["repeat", "fold"], columns="method", values="value")
    difference = 100 * (by_run["fusion_rebalanced"] - by_run["fusion"]).to_numpy()
    naive, corrected = stats.ttest_1samp(difference, 0), paired_test(difference, 300, 100)
    assert table.loc["runs", "p"] == pytest.approx(naive.pvalue)
    assert tuple(table.loc["runs", ["low", "high"]]) == pytest.approx(tuple(naive.confidence_interval(0.95)))
    assert table.loc["runs, corrected", "p"] == pytest.approx(corrected["p"])
    assert table.loc["runs, corrected", "dz"] == table.loc["runs", "dz"] == pytest.approx(corrected["dz"])
    means = difference.reshape(3, 2).mean(axis=1)
    assert table.loc["repetitions", ["n", "p"]].tolist() == pytest.approx([3, stats.ttest_1samp(means, 0).pvalue])
    assert table.loc["repetitions", "dz"] == pytest.approx(means.mean() / means.std(ddof=1))
    assert table["difference"].tolist() == pytest.approx([difference.mean()] * 3)
    assert "repetitions" not in side_by_side(runs[runs["repeat"] == 0], 2, "eeg", "fusion", "accuracy", **where).index
    with pytest.raises(ValueError, match="no run of cnn_svm in table 2"):
        side_by_side(runs, 2, "fusion", "cnn_svm", "accuracy", **where)


def test_paired_names_a_reference_without_runs():
    with pytest.raises(ValueError, match="no run of 'cdgkd'"):
        paired(make_runs(), 2, "cdgkd")


def test_readable_cells():
    runs = make_runs(methods=("eeg", "fusion"), targets=("valence",))
    where = (runs["metric"] == "accuracy") & (runs["method"] == "eeg") & (runs["protocol"] == "trial")
    runs.loc[where, "value"] = [0.60, 0.62, 0.64]
    runs.loc[runs["metric"] == "majority", "value"] = 0.55
    runs = runs[~((runs["method"] == "fusion") & ~((runs["repeat"] == 0) & (runs["fold"] == 0)))]
    shown = readable(summarise(runs))
    # half width 4.302653 * 2 * sqrt(1/3 + 1/3) = 7.0262
    assert shown.loc["EEG alone", ("valence", "unseen trials")] == "62.0 ± 2.0 [55.0, 69.0] n=3/3"
    assert shown.loc["EEG alone", ("valence", "paper")] == "61.27"
    assert shown.loc["Plain fusion", ("valence", "unseen trials")].endswith(" n=1/3")
    assert "±" not in shown.loc["Plain fusion", ("valence", "unseen trials")]
    assert shown.loc["Video alone", ("valence", "unseen trials")] == "0 of 3"
    assert shown.loc["EEG alone", ("arousal", "unseen subjects")] == "0 of 3"
    assert shown.loc["majority class", ("valence", "unseen trials")] == "55.0"
    assert shown.loc["Constant EEG weight *", ("valence", "paper")] == "–"


def test_text_is_narrow_even_for_wide_numbers_and_says_what_it_is():
    for table in (1, 2):
        runs = make_runs(table, n=24).assign(data="synthetic twin (world complementary), a longer name than usual " * 2)
        runs["value"] = np.where(runs["fold"] == 0, 0.0, 1.0)
        runs.loc[runs["method"] == "eeg", "value"] = 1.0
        long_table = summarise(runs, table, 24, data=runs["data"].iloc[0])
        text = as_text(long_table)
        assert max(map(len, text.splitlines())) <= 140
        assert "profile: smoke" in text and "longer name" in text.replace("\n", " ")
        for method in ROWS[table]:
            assert METHODS[method].name in text


def test_a_caption_needs_one_table():
    both = pd.concat([summarise(make_runs()), summarise(make_runs(1), 1)])
    with pytest.raises(ValueError, match="expected rows of one table"):
        caption(both)
    with pytest.raises(ValueError, match="'seed'"):
        readable(both, dataset="seed")


def test_csv_round_trip_and_no_part_is_ever_left(tmp_path, monkeypatch):
    long_table = summarise(make_runs())
    path = tables.write_csv(long_table, tmp_path / "new" / "table2.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), long_table, rtol=1e-5, check_dtype=False)
    before = path.read_bytes()

    def broken(*args, **kwargs):
        args[1].write("half a ta")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", broken)
    with pytest.raises(OSError, match="disk full"):
        tables.write_csv(long_table, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["table2.csv"]


def test_the_posters_numbers():
    assert len(PAPER) == 7 * 4 + 5 * 4 - 2 + 5 * 2
    assert paper_accuracy(1, "cdgkd", "deap", "arousal") == 65.97
    assert paper_accuracy(1, "nst", "deap", "arousal") == 57.36
    assert paper_accuracy(1, "ambokd", "mahnob", "valence") == 61.98
    assert paper_accuracy(2, "dgc_jca", "deap", "valence") == 57.75
    assert paper_accuracy(2, "emotionkd", "mahnob", "arousal") == 60.66
    assert np.isnan(paper_accuracy(2, "cnn_lstm", "mahnob", "valence"))
    assert np.isnan(paper_accuracy(1, "ce_ls", "deap", "valence"))
    # two columns of the poster, summed by hand
    column = [paper_accuracy(1, method, "deap", "arousal") for method in POSTER_ROWS[1]]
    assert sum(column) == pytest.approx(439.28)
    column = [paper_accuracy(2, method, "deap", "valence") for method in POSTER_ROWS[2]]
    assert sum(column) == pytest.approx(320.83)


def test_the_ablation_names_rows_that_the_poster_prints():
    for name, (table, method) in VARIANTS.items():
        assert method in ROWS[table] and not np.isnan(paper_accuracy(table, method, "deap", "valence")), name
    assert [paper_accuracy(*place, "deap", "arousal") for place in VARIANTS.values()] == [
        60.93,
        68.68,
        61.47,
        64.42,
        65.97,
    ]


def test_every_row_is_known_and_only_controls_lack_a_paper_row():
    for table in (1, 2):
        assert set(POSTER_ROWS[table]) <= set(ROWS[table])
        assert len(set(ROWS[table])) == len(ROWS[table])
        for method in ROWS[table]:
            printed = not np.isnan(paper_accuracy(table, method, "deap", "valence"))
            assert printed == (METHODS[method].paper_row is not None) == (not METHODS[method].control)
