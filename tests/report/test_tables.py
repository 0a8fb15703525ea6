from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest

from builders import OBJECTIVES, make_record, make_trial, whole_record
from sweep.config import METRICS
from sweep.front.uncertainty import Estimate
from sweep.report import front_records, front_table, trials_table
from sweep.report.tables import (
    ablation_table,
    figure,
    probability_text,
    signed_figure,
    worth,
)
from sweep.results import LossWeights

TRIALS = [
    make_trial(0, 1.1, 0.1, weights=LossWeights(1, 0), reference="rating only"),
    make_trial(1, 1.0, 0.05, weights=(0.5, 2)),
    make_trial(2, 1.5, 0.05),
    make_trial(3, state="failed", reason="rmse is not a number"),
    make_trial(4, state="waiting"),
]


def test_every_trial_has_one_row_with_weights_metrics_state_and_times() -> None:
    table = trials_table(make_record(TRIALS))
    assert table["trial"].tolist() == [0, 1, 2, 3, 4]
    assert table["state"].tolist() == ["complete"] * 3 + ["failed", "waiting"]
    assert table["on_front"].tolist() == [True, True, False, False, False]
    assert table["ratio"].tolist() == [math.inf, 0.25, 1, 1, 1]
    assert table["reason"].tolist()[3] == "rmse is not a number"
    assert set(METRICS) <= set(table.columns)
    assert table.loc[1, "rmse"] == 1.0
    assert table.loc[3:, "rmse"].isna().all()
    assert table.loc[0, "started"] == "2025-01-01T12:00:00+00:00"
    assert pd.isna(table.loc[4, "finished"])


def test_the_front_table_begins_with_the_best_of_the_first_objective() -> None:
    assert front_table(make_record(TRIALS))["trial"].tolist() == [1, 0]
    reverse = make_record(TRIALS, objectives=OBJECTIVES[::-1])
    assert front_table(reverse)["trial"].tolist() == [0, 1]


def test_an_empty_study_has_empty_tables_with_all_columns() -> None:
    record = make_record([])
    assert len(trials_table(record)) == len(front_table(record)) == 0
    assert set(METRICS) <= set(trials_table(record).columns)
    assert front_records(record) == []


def test_front_records_hold_what_was_searched_and_every_metric_with_its_interval() -> None:
    records = front_records(make_record(TRIALS))
    assert [record["trial"] for record in records] == [1, 0]
    assert records[0]["rating_weight"] == 0.5
    assert records[0]["retrieval_weight"] == 2
    assert records[0]["settings"] == {}
    assert records[0]["n"] == 1
    assert records[0]["metrics"]["rmse"] == 1.0
    assert records[0]["half_widths"]["rmse"] is None
    assert records[0]["probability_on_front"] is records[0]["robust"] is None
    assert set(records[0]["metrics"]) == set(records[0]["half_widths"]) == set(METRICS)


def test_replicated_members_are_means_with_half_width_n_and_probability() -> None:
    records = {record["trial"]: record for record in front_records(whole_record())}
    assert list(records) == [5, 3, 7]
    knee = next(trial for trial in whole_record().trials if trial.number == 3)
    values = [one.metrics["rmse"] for one in knee.replicates]
    assert records[3]["n"] == 5
    assert records[3]["metrics"]["rmse"] == pytest.approx(statistics.fmean(values))
    # Student's t with 4 degrees of freedom: 2.1318.
    expected = 2.1318 * statistics.stdev(values) / math.sqrt(5)
    assert records[3]["half_widths"]["rmse"] == pytest.approx(expected, rel=1e-4)
    assert records[3]["settings"] == {"training.epochs": 12}
    assert 0.9 < records[3]["probability_on_front"] <= 1
    assert records[3]["robust"] is True


def test_the_trials_table_has_settings_intervals_and_what_the_search_saw() -> None:
    table = trials_table(whole_record()).set_index("trial")
    assert table["training.epochs"].tolist()[:4] == [10, 10, 10, 12]
    assert table.loc[3, "n"] == 5
    assert table.loc[3, "rmse_in_search"] == 0.912 != table.loc[3, "rmse"]
    assert table.loc[3, "rmse_half_width"] > 0
    assert table.loc[3, "replicate_seconds"] == 7.5
    assert table.loc[6, "n"] == 1
    assert pd.isna(table.loc[6, "rmse_half_width"])
    assert pd.isna(table.loc[6, "probability_on_front"])
    assert table.loc[8, "state"] == "pruned"
    assert table.loc[8, "epochs"] == 4
    assert not table.loc[8, "on_front"]


def test_the_front_table_ends_with_references_and_baselines() -> None:
    table = front_table(whole_record())
    assert table["kind"].tolist() == ["front"] * 3 + ["reference"] * 3 + ["baseline"] * 4
    assert table["name"].tolist()[3:] == [
        "rating only", "retrieval only", "equal weights",
        "global mean", "user and item bias", "popularity", "EASE",
    ]  # fmt: skip
    assert table["trial"].tolist()[:6] == [5, 3, 7, 0, 1, 2]
    bias = table.iloc[7]
    assert bias["rmse"] == 0.943
    assert pd.isna(bias["top_100_accuracy"])
    assert pd.isna(bias["trial"])


def test_a_reference_on_the_front_is_there_once() -> None:
    table = front_table(make_record(TRIALS))
    assert table["trial"].tolist() == [1, 0]
    assert table["name"].fillna("").tolist() == ["", "rating only"]


@pytest.mark.parametrize(
    ("estimate", "plain", "signed"),
    [
        (Estimate(0.90433, 0.00207, 5), "0.9043 ± 0.0021", "+0.9043 ± 0.0021"),
        (Estimate(0.90433, None, 1), "0.9043", "+0.9043"),
        (Estimate(-0.0123, 0.001, 2), "-0.0123 ± 0.0010", "−0.0123 ± 0.0010"),
        (None, "–", "–"),
    ],
)
def test_figures_have_four_digits_and_their_interval(
    estimate: Estimate | None, plain: str, signed: str
) -> None:
    assert figure(estimate) == plain
    assert signed_figure(estimate) == signed


def test_a_probability_by_simulation_is_never_0_or_1() -> None:
    texts = [probability_text(p) for p in (0.0, 0.004, 0.25, 0.994, 1.0, None)]
    assert texts == ["< 0.01", "< 0.01", "0.25", "> 0.99", "> 0.99", "–"]


def test_the_ablation_is_sorted_by_what_leaving_a_key_out_costs() -> None:
    record = whole_record()
    table = ablation_table(record, record.ablation)
    assert list(table) == [
        "left out", "value", "default", "RMSE ↓", "change of RMSE", "top-100 accuracy ↑",
        "change of top-100 accuracy", "earns its place",
    ]  # fmt: skip
    assert table["left out"].tolist() == [
        "nothing",
        "training.sampling_correction",  # 0.13 of the accuracy's range of 1
        "model.biases",  # 0.021 of the error's range of 2.25, and 0.004
        "training.learning_rate_schedule",
        "model.embedding_dimension",
    ]
    assert table["value"].tolist() == ["–", "log_q", "yes", "linear", "64"]
    assert table["default"].tolist() == ["–", "none", "no", "constant", "32"]
    # Seeds 1 … 5 change by 0.021 + 0.0003 · (1, −1, 1, −1, 1), where the means differ by 0.02106.
    assert table["change of RMSE"].tolist()[2] == "+0.0211 ± 0.0003"
    assert table["earns its place"].tolist() == [
        "–",
        "yes, for top-100 accuracy",
        "yes, for RMSE and top-100 accuracy",
        "not shown: no clear change",
        "no, RMSE and top-100 accuracy are better without",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (((0.02, 0.01), (0.02, 0.01)), "a trade: for RMSE, against top-100 accuracy"),
        (((0.02, 0.01), (0.02, 0.03)), "yes, for RMSE"),
        (((0.02, 0.03), (0.02, 0.01)), "no, top-100 accuracy is better without"),
        (((0.02, None), (0.02, None)), "one seed cannot tell"),
    ],
)
def test_a_key_earns_its_place_only_by_a_change_beyond_chance(
    changes: tuple[tuple[float, float | None], ...], expected: str
) -> None:
    assert worth([Estimate(*change, 3) for change in changes], OBJECTIVES) == expected
