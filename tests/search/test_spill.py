from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import optuna
import pytest
from null_training import null_result, small_study
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from builders import MOVIELENS_100K
from sweep.errors import StorageError
from sweep.results import LossWeights, Replicate
from sweep.search.records import header, load_study_record, result_attributes
from sweep.search.spill import (
    SpilledReplicate,
    SpilledTrial,
    append_spill,
    read_spill,
    record_spill,
    spill_path,
)

RESULT = null_result(LossWeights(1 / 3, 2e-301), top_1_accuracy=float("nan"))
ATTRIBUTES = {"seed": 0, "versions": {"sweep": "9"}, **result_attributes(RESULT, 1 / 7)}
COMPLETE = SpilledTrial(1, ATTRIBUTES, "complete", (1 / 3, 5e-324))
PRUNED = SpilledTrial(2, {**ATTRIBUTES, "reason": "pruned after epoch 2"}, "pruned")
FAILED = SpilledTrial(3, {"reason": "the loss is ∞\nof old"}, "fail")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "small.jsonl"


@pytest.fixture
def storage() -> InMemoryStorage:
    """A study with four running trials."""
    store = InMemoryStorage()
    study = optuna.create_study(
        storage=store, study_name="small", directions=["minimize", "maximize"]
    )
    for key, value in header(small_study(), MOVIELENS_100K).items():
        study.set_user_attr(key, value)
    for _ in range(4):
        study.ask()
    return store


def trials_in(storage: BaseStorage) -> list[FrozenTrial]:
    return storage.get_all_trials(storage.get_study_id_from_name("small"))


def replicate(seed: int) -> Replicate:
    return Replicate(seed, {"rmse": 1 / (seed + 3), "top_1_accuracy": float("inf")}, 0.1)


def test_records_are_read_back_as_they_were_written(path: Path) -> None:
    records = (COMPLETE, SpilledReplicate(1, replicate(1)), PRUNED, FAILED)
    assert read_spill(path) == ()
    for record in records:
        append_spill(path, record)
    assert read_spill(path) == records


def test_a_last_line_cut_short_is_passed_over_and_the_next_is_whole(path: Path) -> None:
    append_spill(path, COMPLETE)
    whole = path.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        assert read_spill(path) == (COMPLETE,)
        append_spill(path, PRUNED)
        assert read_spill(path) == (COMPLETE, PRUNED)


@pytest.mark.parametrize("line", ["{", "3", "[]", "null", '{"trial": {}}', '{"other": 1}'])
def test_another_damaged_line_is_an_error_that_names_it(path: Path, line: str) -> None:
    append_spill(path, COMPLETE)
    content = path.read_text()
    path.write_text(content + line + "\n" + content)
    with pytest.raises(StorageError, match=r"small\.jsonl: line 2 is damaged"):
        read_spill(path)


def test_the_file_is_on_the_disk_before_the_call_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        flush(descriptor)
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append(-1 if is_folder else os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    append_spill(path, COMPLETE)
    assert flushed == [path.stat().st_size, -1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    full = tmp_path / "full.jsonl"
    full.symlink_to("/dev/full")
    with pytest.raises(StorageError) as caught:
        append_spill(full, COMPLETE)
    assert "a result of trial 1 is lost" in str(caught.value)
    assert "SWEEP_STATE" in str(caught.value)


def test_a_place_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be written .* a result of trial 1 is lost"):
        append_spill(tmp_path / "file" / "spill.jsonl", COMPLETE)


def test_a_disk_that_fills_up_keeps_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_spill(path, COMPLETE)
    before = path.read_bytes()

    def fsync(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left on device"):
        append_spill(path, PRUNED)
    assert path.read_bytes() == before


def test_the_name_tells_studies_and_stores_apart_and_holds_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_STATE", str(tmp_path))
    url = "postgresql+psycopg://me:s3cret@host:5432/x"
    same = {
        spill_path(other, "small")
        for other in (url, url.replace("+psycopg", ""), url.replace("me:s3cret", "you:other"))
    }
    assert len(same) == 1
    (path,) = same
    assert path.parent == tmp_path
    assert path.name.startswith("small-")
    assert "cret" not in str(path)
    others = {
        spill_path(url, "small2"),
        spill_path(url.replace("/x", "/y"), "small"),
        spill_path(url.replace("host", "host2"), "small"),
        spill_path("sqlite:///s.db", "small"),
        spill_path("journal:///s.db", "small"),
        spill_path("grpc://host:5432", "small"),
        spill_path(url, "a/b"),
        spill_path(url, "a_b"),
        path,
    }
    assert len(others) == 9
    assert {other.parent for other in others} == {tmp_path}
    monkeypatch.chdir(tmp_path)
    assert spill_path("sqlite:///s.db", "x") == spill_path(f"sqlite:///{tmp_path}/s.db", "x")
    monkeypatch.delenv("SWEEP_STATE")
    assert spill_path(url, "small").parent.name == "sweep"


def test_spilled_results_are_recorded_in_trials_that_still_run(
    path: Path, storage: InMemoryStorage
) -> None:
    for record in (COMPLETE, PRUNED, FAILED, SpilledReplicate(1, replicate(1))):
        append_spill(path, record)
    said: list[str] = []
    assert record_spill(path, storage, "small", said.append) == 4
    assert said == ["Recorded 4 results that an earlier launch could not store"]
    assert not path.exists()
    running, complete, pruned, failed = trials_in(storage)
    assert (running.state, running.user_attrs) == (TrialState.RUNNING, {})
    assert (complete.state, complete.values) == (TrialState.COMPLETE, [1 / 3, 5e-324])
    assert complete.user_attrs == ATTRIBUTES
    assert (pruned.state, pruned.values) == (TrialState.PRUNED, None)
    assert (failed.state, failed.user_attrs) == (
        TrialState.FAIL,
        {"reason": "the loss is ∞\nof old"},
    )
    trial = load_study_record(storage, "small").trials[1]
    assert trial.result is not None
    assert trial.result.history[0].rating_loss == 1 / 3
    assert trial.replicates == (replicate(1),)
    assert record_spill(path, storage, "small", said.append) == 0


def test_replicates_are_merged_never_two_of_a_seed(path: Path, storage: InMemoryStorage) -> None:
    study = optuna.load_study(study_name="small", storage=storage)
    first = {"seed": 2, "metrics": {"rmse": 9.0}, "seconds": 1.0}
    study.set_user_attr("replicates:1", [first])
    study.set_user_attr("replicates:2", [first])
    for seed in (3, 2, 1, 3):
        append_spill(path, SpilledReplicate(1, replicate(seed)))
    append_spill(path, SpilledReplicate(2, replicate(2)))
    append_spill(path, SpilledReplicate(7, replicate(2)))
    assert record_spill(path, storage, "small") == 2
    trials = load_study_record(storage, "small").trials
    assert trials[1].replicates == (replicate(1), Replicate(**first), replicate(3))
    assert trials[2].replicates == (Replicate(**first),)


def test_what_came_too_late_is_passed_over_with_a_word(
    path: Path, storage: InMemoryStorage
) -> None:
    ids = [trial._trial_id for trial in trials_in(storage)]
    storage.set_trial_state_values(ids[1], TrialState.FAIL)
    storage.set_trial_state_values(ids[2], TrialState.PRUNED)
    storage.set_trial_state_values(ids[3], TrialState.FAIL)
    for record in (COMPLETE, PRUNED, FAILED, SpilledTrial(9, {}, "fail")):
        append_spill(path, record)
    said: list[str] = []
    assert record_spill(path, storage, "small", said.append) == 0
    assert said == [
        "Trial 1 was failed by another launch, which trains its weights again; its result is "
        "passed over",
        "Trial 9 is not in the store any more; its result is passed over",
    ]
    assert [trial.user_attrs for trial in trials_in(storage)] == [{}] * 4
    assert not path.exists()


class Killed(BaseException):
    """Ends a launch as SIGKILL would."""


class Dying(InMemoryStorage):
    """A store whose user is killed after so many writes."""

    writes_left = 10**9

    def _write(self) -> None:
        if self.writes_left == 0:
            raise Killed
        self.writes_left -= 1

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write()
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_state_values(self, *arguments: Any) -> bool:
        self._write()
        return super().set_trial_state_values(*arguments)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write()
        super().set_study_user_attr(study_id, key, value)


def test_killed_after_any_write_the_next_launch_records_the_rest(path: Path) -> None:
    survived = None
    for writes in range(40):
        store = Dying()
        study = optuna.create_study(
            storage=store, study_name="small", directions=["minimize", "maximize"]
        )
        for _ in range(4):
            study.ask()
        for record in (COMPLETE, SpilledReplicate(1, replicate(1)), PRUNED, FAILED):
            append_spill(path, record)
        store.writes_left = writes
        try:
            record_spill(path, store, "small")
            survived = writes
        except Killed:
            assert path.exists()
            store.writes_left = 10**9
            record_spill(path, store, "small")
        assert not path.exists()
        _, complete, pruned, failed = trials_in(store)
        assert (complete.state, complete.values) == (TrialState.COMPLETE, [1 / 3, 5e-324])
        assert (complete.user_attrs, pruned.user_attrs) == (ATTRIBUTES, PRUNED.attributes)
        assert (pruned.state, failed.state) == (TrialState.PRUNED, TrialState.FAIL)
        assert json.dumps(study.user_attrs["replicates:1"]).count('"seed"') == 1
        if survived:
            break
    # Five attributes and a state, six and a state, one and a state, the replicates.
    assert survived == (len(ATTRIBUTES) + 1) + (len(PRUNED.attributes) + 1) + 2 + 1
