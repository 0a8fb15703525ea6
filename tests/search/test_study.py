from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from null_training import REFERENCES, null_result, null_train, pairs, run, small_study

from builders import MOVIELENS_100K
from sweep.config import StudyConfig
from sweep.errors import IncomparableStudyError, StorageError, TrainingError, WorkerError
from sweep.front.pareto import hypervolume, objective_values
from sweep.results import LossWeights, StudyRecord, TrialResult
from sweep.search.executors import Executor, InProcessExecutor, TrialSpec
from sweep.search.records import load_study_record, stored_seconds
from sweep.search.storage import open_storage
from sweep.search.study import Progress, run_study


@pytest.fixture
def memory() -> optuna.storages.BaseStorage:
    return optuna.storages.InMemoryStorage()


class Counter:
    """A null trainer that counts, and does something else at chosen calls."""

    def __init__(self, **special: Callable[[LossWeights], TrialResult]) -> None:
        self.calls = 0
        self._special = {int(name.removeprefix("at_")): do for name, do in special.items()}

    def __call__(self, spec: TrialSpec) -> TrialResult:
        self.calls += 1
        return self._special.get(self.calls, null_result)(spec.weights)


def raising(error: BaseException) -> Callable[[LossWeights], TrialResult]:
    def train(_: LossWeights) -> TrialResult:
        raise error

    return train


def states(record: StudyRecord) -> list[str]:
    return [trial.state for trial in record.trials]


# Totals and resuming


def test_trials_is_the_total_and_a_second_launch_does_what_is_left(
    memory: optuna.storages.BaseStorage,
) -> None:
    train = Counter()
    said: list[str] = []
    first = run(small_study(7), memory, train, say=said.append)
    assert (len(first.trials), train.calls) == (7, 7)
    second = run(small_study(12), memory, train, say=said.append)
    assert (states(second), train.calls) == (["complete"] * 12, 12)
    assert second.trials[:7] == first.trials
    assert said == [
        "Study 'small' is complete: 7 trials",
        "Study 'small' goes on: 7 trials are done",
        "Study 'small' is complete: 12 trials",
    ]


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        (7, "is already complete: nothing to train; to go on, raise its budget"),
        (
            4,
            "has 7 complete trials, more than the 4 asked: nothing to train; to go on, "
            "ask for more than 7",
        ),
    ],
)
def test_a_complete_study_trains_nothing_and_says_so(
    memory: optuna.storages.BaseStorage, trials: int, words: str
) -> None:
    run(small_study(7), memory)
    train = Counter()
    said: list[str] = []
    seen: list[Progress] = []
    record = run(small_study(trials), memory, train, say=said.append, on_progress=seen.append)
    assert (train.calls, len(record.complete)) == (0, 7)
    assert said[-1] == f"Study 'small' {words}"
    assert [(p.done, p.total, p.seconds_left) for p in seen] == [(7, 7, 0.0)]
    assert load_study_record(memory, "small").config.budget.trials == 7


def test_a_budget_below_the_references_trains_the_first_of_them(
    memory: optuna.storages.BaseStorage,
) -> None:
    assert [t.reference for t in run(small_study(2), memory).trials] == list(REFERENCES)[:2]


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_minutes_count_trials_of_all_launches_and_nothing_else(
    memory: optuna.storages.BaseStorage,
) -> None:
    clock = FakeClock()

    def prepare() -> None:
        clock.now += 500

    def train(spec: TrialSpec) -> TrialResult:
        weights = spec.weights
        clock.now += 30
        # Less than it took, as starting and saving are neither training nor evaluation.
        return replace(null_result(weights), training_seconds=12.0, evaluation_seconds=5.0)

    def launch(**budget: float) -> int:
        clock.now += 1e6  # time between launches is nobody's
        config = small_study(budget=budget)
        return len(run(config, memory, train, prepare=prepare, clock=clock).complete)

    assert launch(minutes=1.2) == 3  # at 0, 30, 60 s; not at 90
    assert launch(minutes=1.2) == 3
    assert launch(minutes=1.5) == 3
    assert launch(minutes=3.2) == 7
    assert launch(minutes=60, trials=8) == 8


def test_minutes_count_failed_and_interrupted_trials(memory: optuna.storages.BaseStorage) -> None:
    clock = FakeClock()

    def taking(seconds: float, error: BaseException) -> Callable[[LossWeights], TrialResult]:
        def train(_: LossWeights) -> TrialResult:
            clock.now += seconds
            raise error

        return train

    config = small_study(budget={"minutes": 1})
    train = Counter(
        at_1=taking(25, TrainingError("diverged")), at_2=taking(35, KeyboardInterrupt())
    )
    with pytest.raises(KeyboardInterrupt):
        run(config, memory, train, clock=clock)
    assert states(run(config, memory, train, clock=clock)) == ["failed", "failed"]
    assert train.calls == 2


# Getting ready


def test_it_gets_ready_once_and_only_if_there_is_something_to_train(
    memory: optuna.storages.BaseStorage,
) -> None:
    calls: list[str] = []

    def train(spec: TrialSpec) -> TrialResult:
        weights = spec.weights
        calls.append("train")
        return null_result(weights)

    for trials in (2, 2, 3):
        run(
            small_study(trials),
            memory,
            train,
            prepare=lambda: calls.append("prepare"),
            on_progress=lambda progress: calls.append(f"{progress.done} done"),
        )
    assert calls == [
        *("prepare", "0 done", "train", "1 done", "train", "2 done"),
        "2 done",
        *("prepare", "2 done", "train", "3 done"),
    ]


def test_getting_ready_counts_for_no_trial(memory: optuna.storages.BaseStorage) -> None:
    clock = FakeClock()

    def prepare() -> None:
        clock.now += 100

    def train(spec: TrialSpec) -> TrialResult:
        weights = spec.weights
        clock.now += 2
        return null_result(weights)

    seen: list[Progress] = []
    run(small_study(4), memory, train, prepare=prepare, clock=clock, on_progress=seen.append)
    assert [p.seconds_left for p in seen] == [None, 4.5, 3.0, 1.5, 0.0]  # by its own account
    trials = optuna.load_study(study_name="small", storage=memory).trials
    assert [stored_seconds(trial.user_attrs)["budget"] for trial in trials] == [2.0] * 4


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ImportError("no TensorFlow")])
def test_nothing_is_recorded_if_getting_ready_ends_in_an_error(
    memory: optuna.storages.BaseStorage, error: BaseException
) -> None:
    def prepare() -> None:
        raise error

    with pytest.raises(type(error)):
        run(small_study(4), memory, prepare=prepare)
    assert load_study_record(memory, "small").trials == ()


def test_a_stop_while_getting_ready_begins_no_trial(memory: optuna.storages.BaseStorage) -> None:
    stop = threading.Event()
    assert run(small_study(4), memory, prepare=stop.set, stop=stop).trials == ()


def test_a_stop_finishes_what_runs_and_begins_no_other(memory: optuna.storages.BaseStorage) -> None:
    stop = threading.Event()

    def stopping(weights: LossWeights) -> TrialResult:
        stop.set()
        return null_result(weights)

    said: list[str] = []
    record = run(small_study(9), memory, Counter(at_5=stopping), stop=stop, say=said.append)
    assert states(record) == ["complete"] * 5
    assert said == ["Study 'small' stopped with 5 trials; launch it again to go on"]
    assert len(run(small_study(9), memory).complete) == 9


# Failures


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", ["rmse", "top_100_accuracy"])
def test_an_objective_that_is_not_finite_fails_its_trial_alone(
    memory: optuna.storages.BaseStorage, metric: str, value: float
) -> None:
    train = Counter(at_5=lambda weights: null_result(weights, **{metric: value}))
    record = run(small_study(8), memory, train)
    assert states(record) == ["complete"] * 4 + ["failed"] + ["complete"] * 4
    failed = record.trials[4]
    assert failed.reason == f"{metric} is {value}, not a finite number"
    assert (failed.result, failed.seed) == (None, 0)
    assert failed.weights is not None
    assert len(run(small_study(10), memory).trials) == 11  # its weights are not tried again


def test_a_training_error_fails_its_trial_alone(memory: optuna.storages.BaseStorage) -> None:
    train = Counter(at_1=raising(TrainingError("the loss is NaN in epoch 2")))
    record = run(small_study(6), memory, train)
    assert states(record) == ["failed"] + ["complete"] * 6
    assert record.trials[0].reason == "the loss is NaN in epoch 2"
    assert record.trials[0].reference == "rating only"
    again = run(small_study(8), memory)
    assert [trial.reference for trial in again.trials[7:]] == [None, None]


def test_five_failures_in_a_row_stop_the_study(memory: optuna.storages.BaseStorage) -> None:
    def train(_: TrialSpec) -> TrialResult:
        raise TrainingError("diverged")

    with pytest.raises(TrainingError, match=r"5 trials in a row.*\(trial 4.*because diverged; "):
        run(small_study(20), memory, train)
    record = load_study_record(memory, "small")
    assert states(record) == ["failed"] * 5
    assert [trial.reason for trial in record.trials] == ["diverged"] * 5


def test_failures_that_are_not_in_a_row_do_not_stop_it(memory: optuna.storages.BaseStorage) -> None:
    failing = {f"at_{i}": raising(TrainingError("diverged")) for i in (2, 3, 4, 5, 7, 8, 9, 10)}
    record = run(small_study(6), memory, Counter(**failing))
    assert states(record).count("failed") == 8
    assert len(record.complete) == 6


def test_a_trial_whose_training_raises_anything_is_failed_and_not_tried_again(
    memory: optuna.storages.BaseStorage,
) -> None:
    record = run(small_study(8), memory, Counter(at_6=raising(ValueError("shapes not aligned"))))
    assert (states(record).count("failed"), len(record.complete)) == (1, 8)
    assert record.trials[5].reason == "ValueError: shapes not aligned"
    assert len({*pairs(record)}) == 8
    assert run(small_study(8), memory).trials == record.trials


def test_where_no_worker_can_be_had_the_launch_ends_and_the_trial_is_repeated(
    memory: optuna.storages.BaseStorage,
) -> None:
    with pytest.raises(WorkerError):
        run(small_study(8), memory, Counter(at_6=raising(WorkerError("the cluster is gone"))))
    failed = load_study_record(memory, "small").trials[5]
    assert (failed.state, failed.reason) == ("failed", "WorkerError: the cluster is gone")
    record = run(small_study(8), memory)
    assert len(record.complete) == 8
    assert record.trials[6].weights == failed.weights


def test_a_result_without_an_objective_is_a_bug(memory: optuna.storages.BaseStorage) -> None:
    with pytest.raises(KeyError):
        run(small_study(8), memory, Counter(at_2=lambda _: TrialResult({}, (), 1.0, 1.0)))
    assert states(load_study_record(memory, "small")) == ["complete", "failed"]


@pytest.mark.parametrize("call", [1, 3, 6])
def test_an_interrupted_trial_is_recorded_and_repeated_once(tmp_path: Path, call: int) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(KeyboardInterrupt):
        run(small_study(8), storage, Counter(**{f"at_{call}": raising(KeyboardInterrupt())}))
    before = load_study_record(storage, "small")
    assert states(before) == ["complete"] * (call - 1) + ["failed"]
    cut = before.trials[-1]
    assert cut.reason == "interrupted"
    after = run(small_study(8), storage)
    assert after.trials[: call - 1] == before.trials[:-1]
    repeated = after.trials[call]
    assert (repeated.weights, repeated.reference) == (cut.weights, cut.reference)
    assert len(after.complete) == 8
    assert len(set(pairs(after))) == 8
    assert len(run(small_study(10), storage).trials) == 11


def test_an_interrupt_between_trials_loses_nothing(memory: optuna.storages.BaseStorage) -> None:
    def on_progress(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small_study(8), memory, on_progress=on_progress)
    assert states(load_study_record(memory, "small")) == ["complete"] * 5
    assert len(run(small_study(8), memory).complete) == 8


@pytest.mark.parametrize("state", ["running", "waiting"])
def test_trials_left_behind_are_failed_and_repeated(
    memory: optuna.storages.BaseStorage, state: str
) -> None:
    run(small_study(5), memory)
    study = optuna.load_study(study_name="small", storage=memory)
    study.enqueue_trial({"rating_weight": 3.0, "retrieval_weight": 4.0})
    if state == "running":
        study.ask(
            {
                name: optuna.distributions.FloatDistribution(0.01, 100, log=True)
                for name in ("rating_weight", "retrieval_weight")
            }
        )
    for trials in (8, 9):
        record = run(small_study(trials), memory)
        assert (record.trials[5].state, record.trials[5].reason) == (
            "failed",
            "coordinator stopped",
        )
        assert pairs(record).count((3.0, 4.0)) == 1
        assert len(record.complete) == trials


def test_a_trial_left_without_weights_is_failed_alone(memory: optuna.storages.BaseStorage) -> None:
    run(small_study(5), memory)
    optuna.load_study(study_name="small", storage=memory).ask()  # killed before it had weights
    record = run(small_study(7), memory)
    assert states(record) == ["complete"] * 5 + ["failed"] + ["complete"] * 2
    assert record.trials[5].weights is None


def test_a_trial_ended_by_another_process_is_an_error(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"

    def meddling(weights: LossWeights) -> TrialResult:
        study = optuna.load_study(study_name="small", storage=url)
        study.tell(4, state=optuna.trial.TrialState.FAIL)
        return null_result(weights)

    with pytest.raises(StorageError, match="another process has ended a trial"):
        run(small_study(8), open_storage(url), Counter(at_5=meddling))
    assert len(run(small_study(8), open_storage(url)).complete) == 8


def test_a_trial_that_another_launch_began_stops_this_one(
    memory: optuna.storages.BaseStorage,
) -> None:
    def meddling(weights: LossWeights) -> TrialResult:
        optuna.load_study(study_name="small", storage=memory).ask()
        return null_result(weights)

    train = Counter(at_5=meddling)
    with pytest.raises(StorageError, match=r"'small' has 6 trials, this launch knows 5: another"):
        run(small_study(8), memory, train)
    assert train.calls == 5
    assert states(load_study_record(memory, "small")) == ["complete"] * 5 + ["running", "failed"]
    assert len(run(small_study(8), memory).complete) == 8


def test_of_two_launches_without_a_lock_one_goes_on_and_the_other_says_why_not(
    memory: optuna.storages.BaseStorage,
) -> None:
    def launching(weights: LossWeights) -> TrialResult:
        assert len(run(small_study(8), memory).complete) == 8
        return null_result(weights)

    with pytest.raises(StorageError, match="another process has ended a trial"):
        run(small_study(8), memory, Counter(at_5=launching))
    record = load_study_record(memory, "small")
    assert (len(record.complete), len(set(pairs(record)))) == (8, 8)


# What may change


def test_budget_sampler_and_bounds_may_change(memory: optuna.storages.BaseStorage) -> None:
    run(small_study(5), memory)
    changed = small_study(7, sampler="nsga2", low=0.5, high=500, seeds={"sampler": 9})
    record = run(changed, memory)
    assert record.config == changed
    assert len(record.complete) == 7


def test_labels_that_are_all_the_same_leave_a_hypervolume(
    memory: optuna.storages.BaseStorage,
) -> None:
    constant = replace(MOVIELENS_100K, label_deviation=0.0)
    record = run_study(
        small_study(4, budget={"trials": 4, "patience": 2}),
        memory,
        InProcessExecutor(null_train),
        constant,
    )
    assert record.reference_point == (2.0, 0.0)
    assert len(record.complete) == 4


def test_the_reference_of_the_hypervolume_may_change(memory: optuna.storages.BaseStorage) -> None:
    run(small_study(4), memory)
    objectives = [
        {"metric": "rmse", "direction": "minimize", "reference": 2.0},
        {"metric": "top_100_accuracy", "direction": "maximize"},
    ]
    config = StudyConfig.model_validate(small_study(5).model_dump() | {"objectives": objectives})
    assert run(config, memory).reference_point == (2.0, 0.0)


@pytest.mark.parametrize(
    ("tables", "difference"),
    [
        ({"training": {"epochs": 7}}, "training.epochs: 3 → 7"),
        ({"training": {"learning_rate": 0.2}}, "training.learning_rate: 0.1 → 0.2"),
        ({"split": {"test_fraction": 0.3}}, "split.test_fraction: 0.2 → 0.3"),
        ({"model": {"rating_layers": [8]}}, r"model.rating_layers: \[256, 128\] → \[8\]"),
        ({"seeds": {"model": 1}}, "seeds.model: 0 → 1"),
        ({"seeds": {"split": 1}}, "seeds.split: 42 → 1"),
        ({"seeds": {"batches": 1}}, "seeds.batches: 42 → 1"),
        ({"dataset": {"name": "movielens/1m"}}, "dataset.name: movielens/100k → movielens/1m"),
        (
            {
                "search_space": {
                    "rating_weight": {"low": 0.01, "high": 100.0, "log": False},
                    "retrieval_weight": {"low": 0.01, "high": 100.0},
                }
            },
            "search_space.rating_weight.log: True → False",
        ),
    ],
)
def test_what_makes_trials_incomparable_is_refused_with_the_difference(
    memory: optuna.storages.BaseStorage, tables: dict[str, Any], difference: str
) -> None:
    base = {"split": {}, "training": {}}
    run(small_study(4, **base), memory)
    train = Counter()
    with pytest.raises(IncomparableStudyError, match=difference) as caught:
        run(small_study(6, **{**base, **tables}), memory, train)
    assert train.calls == 0
    assert str(caught.value).count("→") == 2  # the heading and the one difference
    assert "another name" in str(caught.value)
    assert load_study_record(memory, "small").config == small_study(4, **base)


def test_other_objectives_are_refused(memory: optuna.storages.BaseStorage) -> None:
    run(small_study(4), memory)
    objectives = [
        {"metric": "rmse", "direction": "minimize"},
        {"metric": "top_10_accuracy", "direction": "maximize"},
    ]
    config = StudyConfig.model_validate(small_study(6).model_dump() | {"objectives": objectives})
    with pytest.raises(
        IncomparableStudyError, match=r"objectives\.1\.metric: top_100_accuracy → top_10_accuracy"
    ):
        run(config, memory)


def test_other_data_of_the_same_name_is_refused(memory: optuna.storages.BaseStorage) -> None:
    run(small_study(4), memory)
    changed = replace(MOVIELENS_100K, fingerprint="sha256:feed", interactions=99_999)
    with pytest.raises(IncomparableStudyError) as caught:
        run(small_study(6), memory, dataset=changed)
    assert "dataset.fingerprint: sha256:0123456789abcdef → sha256:feed" in str(caught.value)
    assert "dataset.interactions: 100000 → 99999" in str(caught.value)


def test_a_file_may_move_but_not_change(memory: optuna.storages.BaseStorage) -> None:
    def study_of(path: str, trials: int) -> StudyConfig:
        columns = {"query": "user", "candidate": "item", "label": "stars"}
        return small_study(trials, dataset={"name": path, **columns})

    here = replace(MOVIELENS_100K, name="/here/r.csv")
    there = replace(MOVIELENS_100K, name="/there/r.csv")
    run(study_of("/here/r.csv", 4), memory, dataset=here)
    record = run(study_of("/there/r.csv", 5), memory, dataset=there)
    assert (record.config.dataset.name, record.dataset) == ("/there/r.csv", there)
    with pytest.raises(IncomparableStudyError, match=r"dataset\.fingerprint"):
        run(study_of("/there/r.csv", 6), memory, dataset=replace(there, fingerprint="other"))


def test_a_study_killed_before_its_header_begins_again(memory: optuna.storages.BaseStorage) -> None:
    optuna.create_study(
        storage=memory, study_name="small", directions=["minimize", "maximize"]
    ).set_user_attr("config", {"half": "written"})
    assert len(run(small_study(4), memory).complete) == 4


def test_an_empty_foreign_study_with_other_objectives_is_refused(
    memory: optuna.storages.BaseStorage,
) -> None:
    optuna.create_study(storage=memory, study_name="small", direction="minimize")
    with pytest.raises(StorageError, match="other objectives; choose another name"):
        run(small_study(4), memory)


# Progress


def test_progress_counts_and_scores_like_the_record(memory: optuna.storages.BaseStorage) -> None:
    config = small_study(10)
    clock = FakeClock()

    def train(spec: TrialSpec) -> TrialResult:
        clock.now += 2
        if seen and seen[-1].done == 5 and seen[-1].failed == 0:
            raise TrainingError("diverged")
        return null_train(spec)

    seen: list[Progress] = []
    record = run(config, memory, train, on_progress=seen.append, clock=clock)
    assert [p.done for p in seen] == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    assert [p.failed for p in seen] == [0] * 6 + [1] * 6
    assert {p.total for p in seen} == {10}
    assert seen[0].seconds_left is None
    assert [p.seconds_left for p in seen[1:]] == [1.5 * (10 - p.done) for p in seen[1:]]
    for progress in seen:
        done = record.complete[: progress.done]
        if done:
            values = objective_values(done, config.objectives)
            rating, accuracy = record.reference_point
            expected = hypervolume(values, [rating, -accuracy])
            assert progress.hypervolume == pytest.approx(expected, rel=1e-12)
            assert progress.best == {
                "rmse": values[:, 0].min(),
                "top_100_accuracy": -values[:, 1].min(),
            }
    assert (seen[0].hypervolume, seen[0].best) == (0.0, {})


def test_progress_of_a_resumed_study_starts_where_it_stopped(
    memory: optuna.storages.BaseStorage,
) -> None:
    last: list[Progress] = []
    run(small_study(6), memory, on_progress=last.append)
    seen: list[Progress] = []
    run(small_study(8), memory, on_progress=seen.append)
    assert (seen[0].done, seen[0].total) == (6, 8)
    assert (seen[0].best, seen[0].hypervolume) == (last[-1].best, last[-1].hypervolume)
    assert seen[0].seconds_left == 2 * 1.5  # as long as the stored trials took


@pytest.mark.parametrize("budget", [{"trials": 30}, {"minutes": 1e6}, {"trials": 6}])
def test_progress_counts_no_trial_that_the_grid_does_not_have(
    memory: optuna.storages.BaseStorage, budget: dict[str, float]
) -> None:
    seen: list[Progress] = []
    train = Counter(at_5=raising(TrainingError("diverged")))
    config = small_study(budget=budget, sampler="grid")
    run(config, memory, train, on_progress=seen.append)
    if budget == {"trials": 6}:
        assert [p.total for p in seen] == [6] * 8
    else:  # 3 references and 4 × 4 points, of which the second fails
        assert [p.total for p in seen] == [19] * 5 + [18] * 15
        assert (seen[-1].done, seen[-1].failed) == (18, 1)
    again: list[Progress] = []
    run(config, memory, train, on_progress=again.append)
    assert [(p.done, p.total) for p in again] == [(seen[-1].done, seen[-1].done)]


# Several at a time


class ThreadExecutor(Executor):
    """Trains in threads, to see that the coordinator does not count on one trial at a time."""

    slots = 3

    def __init__(self) -> None:
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.slots + 3)
        self._together = threading.Barrier(self.slots, timeout=20)

    def prepare(self) -> None:
        assert not self._together.n_waiting

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        return self._pool.submit(self._train, spec)

    def _train(self, spec: TrialSpec) -> TrialResult:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        if spec.number < self.slots:
            self._together.wait()  # passed only if so many train at the same time
        time.sleep(0.01 * (spec.number * 7 % 5))
        with self._lock:
            self._running -= 1
        if spec.number == 6:
            raise TrainingError("diverged")
        return null_result(spec.weights)

    def close(self) -> None:
        self._pool.shutdown()


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "qmc", "grid"])
def test_as_many_trials_run_at_once_as_the_executor_has_slots(tmp_path: Path, sampler: str) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    with ThreadExecutor() as executor:
        record = run_study(small_study(15, sampler=sampler), storage, executor, MOVIELENS_100K)
        assert executor.most == 3
    assert len(record.complete) == 15
    assert states(record).count("failed") == 1
    assert [t.reference for t in record.trials[:3]] == list(REFERENCES)
