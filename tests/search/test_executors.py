"""What every executor owes a study: in process, in local processes, and on Ray.

What makes no sense in process, where a trial cannot die without the coordinator, is asked of the
two pools alone; see `pools`.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving import (
    Build,
    Folder,
    UnpicklableError,
    UnreadableError,
    build,
    eventually,
)
from null_training import null_result, small_study

from ray_cluster import RayCluster, require_ray
from sweep import pipeline
from sweep.config import StudyConfig, check_study
from sweep.errors import DataError, TrainingError, WorkerError
from sweep.front.halving import Halving
from sweep.results import LossWeights, TrialResult
from sweep.search.executors import Executor, InProcessExecutor, TrialSpec
from sweep.search.processes import ProcessWorker
from sweep.search.workers import Worker, WorkerPool

WEIGHTS = LossWeights(2.0, 3.0)
RESULT = null_result(WEIGHTS)

PROCESSES = "local processes"
RAY = pytest.param("ray", marks=pytest.mark.slow)  # its cluster alone takes ten seconds to start


def spec(number: int = 0, do: str | None = None, **more: Any) -> TrialSpec:
    settings = {"do": do} if do else {}
    return TrialSpec(number, WEIGHTS, 0, {**settings, **more.pop("settings", {})}, **more)


class Executors:
    """Opens executors of one kind, whose trials are those of `misbehaving`."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self._path = path
        self._stack = ExitStack()
        self.said: list[str] = []

    def open(
        self, size: int = 1, *, how: Build = "well", grace: float = 10.0
    ) -> tuple[Executor, Folder]:
        """An executor with so many workers where it has any, and the folder of its trials."""
        path = self._path / uuid.uuid4().hex
        path.mkdir()
        executor: Executor
        if self.kind == "in process":
            trainer = functools.cache(functools.partial(build, path, how))
            executor = InProcessExecutor(lambda spec: trainer()(spec), prepare=trainer)
        else:
            executor = WorkerPool(
                functools.partial(self._hire, path, how), size, say=self.said.append, grace=grace
            )
        return self._stack.enter_context(executor), Folder(path)

    def _hire(self, path: Path, how: Build) -> Worker:
        if self.kind == "ray":
            from sweep.search.cluster import RayWorker

            return RayWorker(functools.partial(build, path, how), (), 1, 0)
        return ProcessWorker(functools.partial(build, path, how))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def ray_connection() -> Iterator[str]:
    """A connection to a cluster of one node; its address."""
    require_ray()
    from sweep.search.cluster import connected

    with RayCluster(4) as cluster, connected(cluster.address):
        yield cluster.address


def opener(request: pytest.FixtureRequest) -> Iterator[Executors]:
    if request.param == "ray":
        request.getfixturevalue("ray_connection")
    executors = Executors(request.param, request.getfixturevalue("tmp_path"))
    try:
        yield executors
    finally:
        executors.close()


@pytest.fixture(params=["in process", PROCESSES, RAY])
def executors(request) -> Iterator[Executors]:
    """All three."""
    yield from opener(request)


@pytest.fixture(params=[PROCESSES, RAY])
def pools(request) -> Iterator[Executors]:
    """The two whose trials train elsewhere."""
    yield from opener(request)


def lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def suppressing(act: Callable[[], None], error: type[BaseException]) -> Callable[[], None]:
    """The same, and without a word if it ends in that error."""

    def quietly() -> None:
        with suppress(error):
            act()

    return quietly


def await_end(*pids: int) -> None:
    eventually(lambda: not any(map(lives, pids)), f"the end of {pids}")


# What goes in and comes out


def test_a_result_and_all_of_its_trial_go_through_unchanged(executors: Executors) -> None:
    executor, folder = executors.open(how="well")
    objectives = small_study().objectives
    peers = {2: np.array([[1.5, -0.25], [0.1, -1e-300]]), 4: np.empty((0, 2))}
    given = TrialSpec(
        number=2**40,
        weights=LossWeights(0.1 + 0.2, 1e-17),
        seed=2**31 - 1,
        settings={
            "do": "write",
            "training.epochs": 3,
            "training.learning_rate": 0.1,
            "model.biases": True,
            "model.rating_layers": (8, 4),
        },
        halving=Halving(objectives, 3, peers),
        seconds=12.5,
    )
    result = executor.submit(given).result()
    assert result == null_result(given.weights)
    assert isinstance(result, TrialResult)
    seen = folder.read("spec")
    for name in ("number", "weights", "seed", "settings", "seconds"):
        assert getattr(seen, name) == getattr(given, name)
        assert type(getattr(seen, name)) is type(getattr(given, name))
    assert seen.settings["model.rating_layers"] == (8, 4)
    assert (seen.halving.objectives, seen.halving.reduction_factor) == (objectives, 3)
    assert seen.halving.peers.keys() == peers.keys()
    for epoch, values in peers.items():
        np.testing.assert_array_equal(seen.halving.peers[epoch], values)
        assert seen.halving.peers[epoch].dtype == values.dtype
    assert seen.halving.stops(2, result.metrics) == given.halving.stops(2, result.metrics)


def test_a_trial_that_fails_by_itself_arrives_as_such_once_and_the_next_trains(
    executors: Executors,
) -> None:
    executor, folder = executors.open()
    error = executor.submit(spec(0, "fail")).exception()
    assert type(error) is TrainingError
    assert str(error) == "rmse is nan after epoch 2; smaller weights may help"
    assert executor.submit(spec(1)).result() == RESULT
    assert len(folder.pids(0)) == 1
    assert len(set(folder.built)) == 1


def test_any_other_exception_arrives_with_its_type_and_the_next_trains(
    executors: Executors,
) -> None:
    executor, folder = executors.open()
    error = executor.submit(spec(0, "raise")).exception()
    assert isinstance(error, KeyError)
    assert error.args == ("no such layer",)
    assert executor.submit(spec(1)).result() == RESULT
    assert len(folder.pids(0)) == 1


@pytest.mark.parametrize(
    ("do", "kind", "text"),
    [
        ("raise what cannot be written", UnpicklableError, "holds a lock"),
        ("raise what cannot be read", UnreadableError, "takes two"),
    ],
)
def test_an_exception_that_cannot_be_sent_arrives_in_words(
    executors: Executors, do: str, kind: type[Exception], text: str
) -> None:
    executor, folder = executors.open()
    error = executor.submit(spec(0, do)).exception()
    assert isinstance(error, Exception)
    assert not isinstance(error, TrainingError)
    assert text in str(error)
    if executors.kind == "in process":
        assert type(error) is kind
    else:
        assert kind.__name__ in str(error)
    assert executor.submit(spec(1)).result() == RESULT
    assert len(folder.pids(0)) == 1


def test_a_result_that_cannot_be_sent_is_an_error_that_says_why(pools: Executors) -> None:
    executor, folder = pools.open()
    error = executor.submit(spec(0, "return what cannot be written")).exception()
    assert isinstance(error, Exception)
    assert "cannot pickle '_thread.lock' object" in str(error)
    assert executor.submit(spec(1)).result() == RESULT
    assert len(folder.pids(0)) == 1


# Many at once


def test_as_many_trials_train_at_once_as_there_are_slots_and_more_wait(
    executors: Executors,
) -> None:
    executor, folder = executors.open(3)
    executor.prepare()
    eventually(lambda: executor.slots == (1 if executors.kind == "in process" else 3))
    slots = executor.slots
    meet = {"together": slots}
    futures = [executor.submit(spec(n, "meet", settings=meet)) for n in range(slots)]
    assert [future.result() for future in futures] == [RESULT] * slots
    folder.note("go")
    waiting = [executor.submit(spec(n, "wait")) for n in range(10, 10 + 3 * slots)]
    assert [future.result() for future in waiting] == [RESULT] * 3 * slots
    assert len(set(folder.built)) == slots


def test_a_trial_beyond_the_slots_begins_when_another_ends(pools: Executors) -> None:
    executor, folder = pools.open(2)
    held = [executor.submit(spec(number, "wait")) for number in range(2)]
    more = [executor.submit(spec(number)) for number in (2, 3)]
    for number in range(2):
        folder.await_lines(f"began-{number}")
    assert [folder.pids(number) for number in (2, 3)] == [[], []]
    folder.note("go")
    assert [future.result() for future in held + more] == [RESULT] * 4


# Getting ready


def test_getting_ready_builds_once(executors: Executors) -> None:
    executor, folder = executors.open()
    assert folder.built == []
    executor.prepare()
    assert len(folder.built) == 1
    executor.prepare()
    executor.submit(spec(0)).result()
    executor.prepare()
    assert len(folder.built) == 1


def test_an_error_of_the_build_is_raised_by_prepare_as_itself(executors: Executors) -> None:
    executor, folder = executors.open(how="raising")
    with pytest.raises(DataError) as raised:
        executor.prepare()
    assert str(raised.value) == "the data is not there; put it there"
    executor.close()
    if executors.kind != "in process":
        await_end(*folder.built)


def test_workers_that_die_while_they_get_ready_end_it_after_three(pools: Executors) -> None:
    executor, folder = pools.open(how="dying")
    with pytest.raises(WorkerError, match="3 workers in a row died while they got ready"):
        executor.prepare()
    assert len(set(folder.built)) == 3
    with pytest.raises(WorkerError):
        executor.submit(spec(0))


def test_what_a_build_prints_does_no_harm(executors: Executors) -> None:
    executor, _ = executors.open(how="printing")
    assert executor.submit(spec(0)).result() == RESULT


# Death


def test_a_worker_that_is_killed_costs_its_trial_alone_which_another_trains_again(
    pools: Executors,
) -> None:
    executor, folder = pools.open(2)
    executor.prepare()
    futures = [executor.submit(spec(number, "wait")) for number in range(2)]
    first = [int(folder.await_lines(f"began-{number}")[0]) for number in range(2)]
    os.kill(first[0], signal.SIGKILL)
    folder.await_lines("began-0", 2)
    folder.note("go")
    assert [future.result() for future in futures] == [RESULT] * 2
    assert folder.pids(1) == [first[1]]
    assert len(folder.pids(0)) == 2
    assert folder.pids(0)[1] not in first
    assert executor.slots == 2
    assert "The worker of trial 0 died" in pools.said[-1]


def test_a_trial_that_kills_its_worker_once_is_trained_on_the_second(pools: Executors) -> None:
    executor, folder = pools.open()
    assert executor.submit(spec(0, "die once")).result() == RESULT
    assert len(set(folder.pids(0))) == 2


def test_a_trial_that_kills_three_workers_fails_and_says_how(pools: Executors) -> None:
    executor, folder = pools.open()
    error = executor.submit(spec(0, "die")).exception()
    assert type(error) is TrainingError
    assert "its worker died 3 times" in str(error)
    if pools.kind == PROCESSES:
        assert "killed by SIGKILL" in str(error)
        assert len(set(folder.pids(0))) == 3
    else:
        # Ray tells no signal; it says of a worker that it died, and guesses at the reasons. Of one
        # that dies at once it may seem that it had not begun, which is free of charge.
        assert "died" in str(error)
        assert len(set(folder.pids(0))) in (3, 4)
    assert executor.submit(spec(1)).result() == RESULT


def test_workers_that_are_killed_idle_cost_nothing(pools: Executors) -> None:
    executor, folder = pools.open(4)
    executor.prepare()
    killed = folder.built
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    await_end(*killed)
    for number in range(4):
        assert executor.submit(spec(number)).result() == RESULT
        assert len(folder.pids(number)) == 1
        assert folder.pids(number)[0] not in killed


@pytest.mark.parametrize("do", ["hang", "compute"])
def test_a_trial_beyond_its_time_is_stopped_with_its_worker_and_the_next_trains(
    pools: Executors, do: str
) -> None:
    executor, folder = pools.open(grace=0.2)
    late = executor.submit(spec(0, do, seconds=0.5))
    after = executor.submit(spec(1))
    error = late.exception()
    assert type(error) is TrainingError
    assert str(error) == (
        "did not end within 0.5 s (execution.trial_seconds), and was stopped with its worker"
    )
    assert after.result() == RESULT
    assert len(folder.pids(0)) <= 1  # it may not have come to begin
    assert folder.pids(1) != folder.pids(0)
    await_end(*folder.pids(0))


def test_closing_amid_trials_ends_the_workers_and_cancels_what_is_not_done(
    pools: Executors,
) -> None:
    executor, folder = pools.open(2)
    executor.prepare()
    futures = [
        executor.submit(spec(number, do)) for number, do in enumerate(["hang", "compute", "wait"])
    ]
    for number in range(2):
        folder.await_lines(f"began-{number}")
    executor.close()
    assert all(future.cancelled() for future in futures)
    await_end(*folder.built)
    executor.close()


def test_closing_while_the_workers_get_ready_ends_them(pools: Executors) -> None:
    executor, folder = pools.open(2, how="slow")
    thread = threading.Thread(target=suppressing(executor.prepare, CancelledError))
    thread.start()
    folder.await_lines("built", 2)
    executor.close()
    thread.join()
    await_end(*folder.built)


# What in process alone makes sense


@pytest.mark.parametrize("error", [TrainingError("diverged"), KeyboardInterrupt()])
def test_in_process_what_training_raises_waits_in_the_future(error: BaseException) -> None:
    def train(*_: object) -> TrialResult:
        raise error

    with InProcessExecutor(train) as executor:
        future = executor.submit(spec())
    assert future.exception() is error


def test_in_process_a_trial_is_done_when_it_is_submitted() -> None:
    with InProcessExecutor(lambda spec: null_result(spec.weights)) as executor:
        assert executor.submit(spec()).done()


# A real trainer

TOLERANCE = 1e-5
"""How far metrics may differ, relative, between trainers with other numbers of threads."""


def real_study(**execution: object) -> StudyConfig:
    span = {"low": 0.1, "high": 10.0}
    return check_study(
        {
            "name": "small",
            "dataset": {
                "name": "synthetic",
                "synthetic": {"queries": 60, "candidates": 40, "interactions": 2000},
            },
            "model": {"embedding_dimension": 8, "rating_layers": [16], "biases": True},
            "training": {"epochs": 3, "batch_size": 256, "reshuffle": True},
            "search_space": {"rating_weight": span, "retrieval_weight": span},
            "objectives": [
                {"metric": "rmse", "direction": "minimize"},
                {"metric": "unseen_top_5_accuracy", "direction": "maximize"},
            ],
            "budget": {"trials": 3},
            "execution": execution,
        },
        source="tests",
    )


SPECS = [
    TrialSpec(number, LossWeights(0.5 + number, 2.0 / (1 + number)), seed=number % 2)
    for number in range(4)
]


def train_all(cache: Path, **execution: object) -> list[TrialResult]:
    config = real_study(**execution)
    _, data = pipeline.prepare(config, cache, lambda _: None)
    with pipeline.executor_of(config, data, lambda _: None) as executor:
        executor.prepare()
        return [future.result() for future in [executor.submit(one) for one in SPECS]]


def curves(results: list[TrialResult]) -> list[object]:
    """All that training decides, without the times."""
    return [(result.metrics, result.history, result.pruned) for result in results]


def numbers(results: list[TrialResult]) -> list[float]:
    return [
        value
        for result in results
        for epoch in result.history
        for value in (epoch.rating_loss, epoch.retrieval_loss, *epoch.metrics.values())
    ]


@pytest.mark.slow
def test_a_real_trial_gives_the_same_wherever_it_trains(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    one = train_all(tmp_path, workers=1, num_cpus=1)
    two = train_all(tmp_path, workers=2, num_cpus=1)
    assert curves(one) == curves(two)  # bit by bit
    assert len({result.metrics["rmse"] for result in one}) == len(SPECS)
    here = train_all(tmp_path)
    np.testing.assert_allclose(numbers(here), numbers(one), rtol=TOLERANCE)
    address = request.getfixturevalue("ray_connection")
    there = train_all(tmp_path, executor="ray", address=address, workers=2)
    np.testing.assert_allclose(numbers(there), numbers(one), rtol=TOLERANCE)
