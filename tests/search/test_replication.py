"""Which trials get fresh seeds, in which order, and what is stored of them."""

from __future__ import annotations

import threading

import optuna
import pytest
from null_training import null_result, run, small_study

from builders import MOVIELENS_100K, make_record, make_trial
from sweep.errors import TrainingError
from sweep.results import Replicate, StudyRecord, TrialResult
from sweep.search.executors import InProcessExecutor, TrialSpec
from sweep.search.replication import LEAST, MOST, contenders, replication_plan
from sweep.search.study import run_study


@pytest.fixture
def memory() -> optuna.storages.BaseStorage:
    return optuna.storages.InMemoryStorage()


def noisy(spec: TrialSpec) -> TrialResult:
    """A null trial whose metrics move a little with the seed."""
    result = null_result(spec.weights)
    return null_result(spec.weights, rmse=result.metrics["rmse"] + 0.001 * spec.seed)


def numbers(record: StudyRecord) -> list[int]:
    return [trial.number for trial in contenders(record)]


def test_the_front_comes_first_from_its_middle_then_the_next_rank_then_the_references() -> None:
    trials = [
        make_trial(0, 1.0, 0.1, reference="rating only"),
        make_trial(1, 1.00, 0.10),  # an end of the front: scaled sum 1
        make_trial(2, 1.10, 0.28),  # the middle: 0.25 + 0.1
        make_trial(3, 1.40, 0.30),  # the other end: 1
        make_trial(4, 1.12, 0.27),  # next to the front
        make_trial(5, 1.45, 0.29),
        make_trial(6, 1.60, 0.05),  # behind all others: not worth it
    ]
    assert numbers(make_record(trials)) == [2, 1, 3, 4, 5, 0]
    assert LEAST == 5


def test_of_a_long_front_the_outermost_are_left_out() -> None:
    trials = [make_trial(i, 1 + 0.01 * i, 0.1 + 0.2 * (1 - (1 - i / 11) ** 2)) for i in range(12)]
    chosen = numbers(make_record(trials))
    assert len(chosen) == MOST
    assert not {0, 11} & set(chosen)


def test_every_contender_has_a_first_replicate_before_one_has_a_second() -> None:
    trials = [make_trial(0, 1.0, 0.1), make_trial(1, 1.1, 0.2)]
    record = make_record(trials, budget={"trials": 2, "replicates": 2}, seeds={"model": 7})
    plan = [(trial.number, seed) for trial, seed in replication_plan(record)]
    assert plan == [(0, 8), (1, 8), (0, 9), (1, 9)]


def test_what_is_stored_is_not_trained_again() -> None:
    done = make_trial(0, 1.0, 0.1)
    record = make_record(
        [
            type(done)(**{**vars(done), "replicates": (Replicate(1, {"rmse": 1.0}),)}),
            make_trial(1, 1.1, 0.2),
        ],
        budget={"trials": 2, "replicates": 1},
    )
    assert [(trial.number, seed) for trial, seed in replication_plan(record)] == [(1, 1)]


def test_replicates_are_stored_with_their_seeds_and_trials_are_judged_by_their_means(
    memory: optuna.storages.BaseStorage,
) -> None:
    record = run(small_study(budget={"trials": 8, "replicates": 3}), memory, noisy)
    replicated = [trial for trial in record.trials if trial.replicates]
    assert len(replicated) >= LEAST + 3
    for trial in replicated:
        assert [one.seed for one in trial.replicates] == [1, 2, 3]
        assert trial.result is not None
        assert trial.metrics["rmse"] == pytest.approx(trial.result.metrics["rmse"] + 0.002)
    assert record.contenders == tuple(replicated)


def test_a_launch_that_is_stopped_goes_on_with_the_replicates_that_are_left(
    memory: optuna.storages.BaseStorage,
) -> None:
    config = small_study(budget={"trials": 5, "replicates": 2})
    stop, said, seen = threading.Event(), [], []

    def train(spec: TrialSpec) -> TrialResult:
        seen.append((spec.number, spec.seed))
        if len(seen) == 5 + 4:
            stop.set()
        return noisy(spec)

    run(config, memory, train, stop=stop, say=said.append)
    assert said[-1] == "6 replicates are left for the next launch"
    record = run(config, memory, train)
    assert len(seen) == len(set(seen)) == 5 + 5 * 2
    assert all(len(trial.replicates) == 2 for trial in record.trials)


def test_a_replicate_that_fails_is_missing_and_the_others_are_there(
    memory: optuna.storages.BaseStorage,
) -> None:
    said: list[str] = []

    def train(spec: TrialSpec) -> TrialResult:
        if (spec.number, spec.seed) == (3, 1):
            raise TrainingError("diverged")
        return noisy(spec)

    record = run(small_study(budget={"trials": 5, "replicates": 2}), memory, train, say=said.append)
    assert [len(trial.replicates) for trial in record.trials] == [2, 2, 2, 1, 2]
    assert "Trial 3 with seed 1 failed, one replicate less: diverged" in said


class Clock:
    """Goes on by 1.5 s with every replicate, and stands still while the search trains."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def train(self, spec: TrialSpec) -> TrialResult:
        self.now += 1.5 if spec.seed else 0.0
        return noisy(spec)


SHORT = small_study(budget={"trials": 5, "minutes": 0.2, "replicates": 5})
"""0.2 minutes are 12 s: enough for 8 replicates of 25."""


def test_replicates_count_as_time_spent_and_end_with_the_minutes(
    memory: optuna.storages.BaseStorage,
) -> None:
    clock, said = Clock(), []
    record = run(SHORT, memory, clock.train, clock=clock, say=said.append)
    assert sum(len(trial.replicates) for trial in record.trials) == 8
    assert said[-1] == "17 replicates are left out: the study's minutes are over"


def test_where_the_minutes_are_over_nothing_is_made_ready_for_replicates(
    memory: optuna.storages.BaseStorage,
) -> None:
    clock = Clock()
    run(SHORT, memory, clock.train, clock=clock)
    prepared: list[str] = []
    executor = InProcessExecutor(clock.train, prepare=lambda: prepared.append("prepared"))
    run_study(SHORT, memory, executor, MOVIELENS_100K, clock=clock)
    assert prepared == []


def test_without_replicates_all_complete_trials_are_contenders(
    memory: optuna.storages.BaseStorage,
) -> None:
    record = run(small_study(4), memory, noisy)
    assert record.contenders == record.trials
