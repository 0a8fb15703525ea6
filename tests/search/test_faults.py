"""Faults that no other file of tests is about: a full disk, and failure upon failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from null_training import null_result, run, small_study

from sweep.errors import StorageError, TrainingError
from sweep.results import TrialResult
from sweep.search.executors import TrialSpec
from sweep.search.records import load_study_record
from sweep.search.spill import read_spill, spill_path
from sweep.search.storage import open_storage


def test_a_full_disk_stops_a_study_with_advice_and_its_result_is_kept_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_STATE", str(tmp_path / "state"))
    url = f"sqlite:///{tmp_path}/s.db"
    storage: Any = open_storage(url)
    trained: list[int] = []

    def fill(connection: Any, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def train(spec: TrialSpec) -> TrialResult:
        trained.append(spec.number)
        if spec.number == 4 and len(trained) == 5:
            # SQLite says that the disk is full once the file may not grow.
            sqlalchemy.event.listen(storage.engine, "connect", fill)
            storage.engine.dispose()
        return null_result(spec.weights)

    config = small_study(60, sampler="qmc")
    with pytest.raises(StorageError, match=r"s\.db: .*full.*; make room, then launch again"):
        run(config, storage, train)
    last = trained[-1]
    kept = [record.number for record in read_spill(spill_path(url, "small"))]
    before = load_study_record(url, "small")
    assert kept in ([], [last])  # nothing is at hand if it was the next trial that found no room

    record = run(config, open_storage(url), train)
    assert len(record.complete) == 60
    unchanged = {trial.number: trial for trial in record.trials}
    assert all(unchanged[trial.number] == trial for trial in before.complete)
    assert not spill_path(url, "small").exists()
    if kept:
        assert trained.count(last) == 1


@pytest.mark.parametrize("most", [1, 3])
def test_so_many_failures_in_a_row_end_the_study_with_the_last_reason(most: int) -> None:
    trained: list[int] = []

    def train(spec: TrialSpec) -> TrialResult:
        trained.append(spec.number)
        raise TrainingError("rating loss is nan after epoch 1")

    config = small_study(12, execution={"failures_in_a_row": most})
    with pytest.raises(TrainingError, match=rf"{most} trials in a row have failed.*loss is nan"):
        run(config, optuna.storages.InMemoryStorage(), train)
    assert len(trained) == most


def test_the_time_limit_of_a_trial_goes_with_it() -> None:
    limits = set()

    def train(spec: TrialSpec) -> TrialResult:
        limits.add(spec.seconds)
        return null_result(spec.weights)

    config = small_study(budget={"trials": 5, "replicates": 1}, execution={"trial_seconds": 90.0})
    run(config, optuna.storages.InMemoryStorage(), train)
    assert limits == {90.0}
