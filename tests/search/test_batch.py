"""Trials asked for together: the same study, however many workers train it."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import optuna
import pytest
from null_training import REFERENCES, null_train, pairs, run, small_study

from builders import MOVIELENS_100K
from sweep.errors import WorkerError
from sweep.results import StudyRecord, TrialResult
from sweep.search.executors import Executor, TrialSpec
from sweep.search.records import load_study_record
from sweep.search.study import run_study


@pytest.fixture
def memory() -> optuna.storages.BaseStorage:
    return optuna.storages.InMemoryStorage()


class Jittered(Executor):
    """Threads that end in any order; notes which trials have been submitted together."""

    def __init__(self, slots: int, seed: int) -> None:
        self.submitted: list[int] = []
        self._slots = slots
        self._random = random.Random(seed)
        self._pool = ThreadPoolExecutor(slots)
        self._lock = threading.Lock()

    @property
    def slots(self) -> int:
        return self._slots

    def prepare(self) -> None:
        pass

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        self.submitted.append(spec.number)
        return self._pool.submit(self._train, spec, self._random.uniform(0, 0.01))

    def _train(self, spec: TrialSpec, seconds: float) -> TrialResult:
        time.sleep(seconds)
        return null_train(spec)

    def close(self) -> None:
        self._pool.shutdown()


def study_with(workers: int, seed: int, sampler: str) -> StudyRecord:
    config = small_study(21, sampler=sampler, batch=3)
    with Jittered(workers, seed) as executor:
        return run_study(config, optuna.storages.InMemoryStorage(), executor, MOVIELENS_100K)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_in_batches_the_study_does_not_depend_on_who_trains_or_who_is_first(sampler: str) -> None:
    config = small_study(21, sampler=sampler, batch=3)
    alone = pairs(run(config, optuna.storages.InMemoryStorage()))
    assert len(alone) == 21
    for workers, seed in ((1, 0), (2, 1), (3, 2), (5, 3)):
        assert pairs(study_with(workers, seed, sampler)) == alone


def test_a_batch_is_told_only_when_all_of_it_is_done(memory: optuna.storages.BaseStorage) -> None:
    seen: list[int] = []

    def train(spec: TrialSpec) -> TrialResult:
        study_id = memory.get_study_id_from_name("small")
        seen.append(
            len(memory.get_all_trials(study_id, states=(optuna.trial.TrialState.COMPLETE,)))
        )
        return null_train(spec)

    run(small_study(8, sampler="random", batch=3), memory, train)
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]


def test_the_last_batch_is_no_larger_than_what_is_left(memory: optuna.storages.BaseStorage) -> None:
    record = run(small_study(7, sampler="random", batch=4), memory)
    assert len(record.trials) == len(record.complete) == 7
    assert [t.reference for t in record.trials[:3]] == list(REFERENCES)


def test_when_a_launch_is_to_stop_what_of_a_batch_has_not_begun_is_left_to_the_next(
    memory: optuna.storages.BaseStorage,
) -> None:
    stop, trained = threading.Event(), []

    def train(spec: TrialSpec) -> TrialResult:
        trained.append(spec.weights)
        if len(trained) == 5:
            stop.set()
        return null_train(spec)

    config = small_study(12, sampler="random", batch=4)
    record = run(config, memory, train, stop=stop)
    assert [trial.state for trial in record.trials] == ["complete"] * 5 + ["failed"] * 3
    record = run(config, memory, train)
    assert len(record.complete) == len(trained) == 12
    cut = {trial.weights for trial in record.trials[5:8]}
    assert cut <= {trial.weights for trial in record.complete}


def test_what_has_ended_of_a_batch_is_recorded_when_no_worker_can_be_had(
    memory: optuna.storages.BaseStorage,
) -> None:
    def train(spec: TrialSpec) -> TrialResult:
        if spec.number == 6:
            raise WorkerError("the cluster is gone")
        return null_train(spec)

    with pytest.raises(WorkerError):
        run(small_study(12, sampler="random", batch=4), memory, train)
    record = load_study_record(memory, "small")
    assert [trial.state for trial in record.trials] == [*["complete"] * 6, "failed", "complete"]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (3, 4, "in batches of 3 before, and is in batches of 4 now"),
        (None, 4, "one by one before, and is in batches of 4 now"),
        (3, 3, None),
    ],
)
def test_a_launch_that_asks_for_other_batches_than_before_says_so(memory, before, now, words):
    said: list[str] = []
    run(small_study(6, batch=before), memory)
    run(small_study(9, batch=now), memory, say=said.append)
    told = [line for line in said if "was asked" in line]
    assert told == [] if words is None else words in told[0]
