from __future__ import annotations

import math

import pandas as pd

from builders import OBJECTIVES, make_record, make_trial
from sweep.config import METRICS
from sweep.report import front_records, front_table, trials_table
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


def test_front_records_hold_number_weights_and_metrics_and_nothing_else() -> None:
    records = front_records(make_record(TRIALS))
    assert [record["trial"] for record in records] == [1, 0]
    assert list(records[0]) == ["trial", "rating_weight", "retrieval_weight", "metrics"]
    assert records[0]["rating_weight"] == 0.5
    assert records[0]["retrieval_weight"] == 2
    assert records[0]["metrics"]["rmse"] == 1.0
    assert set(records[0]["metrics"]) == set(METRICS)
