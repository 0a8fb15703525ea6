"""The pool's order of events, with workers that do nothing but what the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from misbehaving import eventually
from null_training import null_result

from sweep.errors import DataError, TrainingError, WorkerError
from sweep.results import LossWeights, TrialResult
from sweep.search.executors import TrialSpec, own_failure
from sweep.search.workers import FAILED_STARTS, WorkerLostError, WorkerPool

RESULT = null_result(LossWeights(1, 1))


def spec(number: int, seconds: float | None = None) -> TrialSpec:
    return TrialSpec(number, LossWeights(1, 1), 0, seconds=seconds)


class FakeWorker:
    """Does what the test says: `ready` ends its start, `answer` what it was given last."""

    def __init__(self) -> None:
        self.ready: Future[None] = Future()
        self.answer: Future[TrialResult] = Future()
        self.given: list[int] = []
        self.stopped = False

    def start(self) -> Future[None]:
        return self.ready

    def train(self, spec: TrialSpec) -> Future[TrialResult]:
        self.answer = Future()
        self.given.append(spec.number)
        return self.answer

    def stop(self) -> None:
        self.stopped = True
        for future in (self.ready, self.answer):
            if not future.done():
                future.set_exception(WorkerLostError("killed by SIGKILL"))

    def die(self) -> None:
        self.answer.set_exception(WorkerLostError("killed by SIGSEGV"))


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pool:
    """A pool of fakes, and those that it has hired."""

    def __init__(self, size: int, **options: Any) -> None:
        self.hired: list[FakeWorker] = []
        self.said: list[str] = []
        self.pool = WorkerPool(self._hire, size, **{"say": self.said.append, **options})
        self._starting = ThreadPoolExecutor(1)

    def _hire(self) -> FakeWorker:
        self.hired.append(FakeWorker())
        return self.hired[-1]

    def prepare(self) -> Future[None]:
        """Begin to; returns once the workers are hired."""
        preparing = self._starting.submit(self.pool.prepare)
        self.await_hired(self.pool.slots)
        return preparing

    def await_hired(self, count: int) -> None:
        eventually(lambda: len(self.hired) >= count, f"{count} workers hired")

    def started(self) -> WorkerPool:
        """The pool with all of its workers ready."""
        preparing = self.prepare()
        for worker in tuple(self.hired):
            worker.ready.set_result(None)
        preparing.result(10)
        eventually(lambda: self.pool.slots == len(self.hired))
        return self.pool

    def await_given(self, worker: int, *numbers: int) -> None:
        eventually(lambda: self.hired[worker].given == [*numbers], f"trials {numbers}")


@pytest.fixture
def pools() -> Iterator[Callable[..., Pool]]:
    opened: list[Pool] = []

    def open_pool(size: int, **options: Any) -> Pool:
        opened.append(Pool(size, **options))
        return opened[-1]

    yield open_pool
    for one in opened:
        one.pool.close()
        assert all(worker.stopped for worker in one.hired)


# Trials and workers


def test_trials_go_to_workers_in_the_order_they_were_submitted(pools) -> None:
    fakes = pools(2)
    pool = fakes.started()
    futures = [pool.submit(spec(number)) for number in range(4)]
    fakes.await_given(0, 0)
    fakes.await_given(1, 1)
    fakes.hired[1].answer.set_result(RESULT)
    fakes.await_given(1, 1, 2)
    fakes.hired[0].answer.set_result(RESULT)
    fakes.await_given(0, 0, 3)
    assert [future.done() for future in futures] == [True, True, False, False]


def test_a_trial_whose_worker_died_goes_before_those_that_wait(pools) -> None:
    fakes = pools(1)
    pool = fakes.started()
    futures = [pool.submit(spec(number)) for number in range(2)]
    fakes.await_given(0, 0)
    fakes.hired[0].die()
    fakes.await_hired(2)
    assert not fakes.hired[1].given  # not before it is ready
    fakes.hired[1].ready.set_result(None)
    fakes.await_given(1, 0)
    fakes.hired[1].answer.set_result(RESULT)
    assert futures[0].result(10) is RESULT
    fakes.await_given(1, 0, 1)
    assert fakes.said[1:] == [
        "The worker of trial 0 died (killed by SIGSEGV); training it again on another"
    ]


def test_a_trial_whose_third_worker_dies_fails_and_says_how(pools) -> None:
    fakes = pools(1)
    future = fakes.started().submit(spec(7))
    for number in range(3):
        fakes.await_given(number, 7)
        fakes.hired[number].die()
        fakes.await_hired(number + 2)
        fakes.hired[number + 1].ready.set_result(None)
    with pytest.raises(TrainingError, match=r"its worker died 3 times, .* killed by SIGSEGV"):
        future.result(10)
    again = fakes.pool.submit(spec(8))
    fakes.await_given(3, 8)
    fakes.hired[3].answer.set_result(RESULT)
    assert again.result(10) is RESULT


def test_workers_that_died_idle_cost_a_trial_nothing(pools) -> None:
    fakes = pools(3)
    future = fakes.started().submit(spec(0))
    idle = WorkerLostError("killed by SIGKILL", began=False)
    for number in range(3):  # all of them died, as when their machine goes
        fakes.await_given(number, 0)
        fakes.hired[number].answer.set_exception(idle)
    fakes.await_hired(6)
    for number in range(3, 5):  # what its own workers do still counts
        fakes.hired[number].ready.set_result(None)
        fakes.await_given(number, 0)
        fakes.hired[number].die()
    fakes.hired[5].ready.set_result(None)
    fakes.await_given(5, 0)
    fakes.hired[5].answer.set_result(RESULT)
    assert future.result(10) is RESULT


def test_workers_that_always_die_before_they_begin_are_not_taken_for_ever(pools) -> None:
    fakes = pools(1)
    future = fakes.started().submit(spec(0))
    for number in range(4):  # one may have died idle; three more did not
        fakes.await_given(number, 0)
        fakes.hired[number].answer.set_exception(WorkerLostError("gone", began=False))
        fakes.await_hired(number + 2)
        fakes.hired[number + 1].ready.set_result(None)
    with pytest.raises(TrainingError, match="its worker died 3 times, the last was gone"):
        future.result(10)


@pytest.mark.parametrize("error", [TrainingError("diverged"), KeyError("x")])
def test_a_trial_that_fails_by_itself_is_not_tried_again(pools, error: Exception) -> None:
    fakes = pools(1)
    future = fakes.started().submit(spec(0))
    fakes.await_given(0, 0)
    fakes.hired[0].answer.set_exception(error)
    assert future.exception(10) is error
    fakes.pool.submit(spec(1))
    fakes.await_given(0, 0, 1)


# Time


def test_a_late_trial_is_stopped_by_the_clock_and_not_tried_again(pools) -> None:
    clock = FakeClock()
    fakes = pools(2, grace=5, clock=clock)
    pool = fakes.started()
    late, timely = pool.submit(spec(0, seconds=20)), pool.submit(spec(1, seconds=30))
    fakes.await_given(1, 1)
    clock.now += 25  # its seconds and the grace
    waiting = pool.submit(spec(2))
    with pytest.raises(TrainingError, match=r"did not end within 20 s \(execution.trial_seconds\)"):
        late.result(10)
    assert (fakes.hired[0].stopped, fakes.hired[1].stopped) == (True, False)
    fakes.await_hired(3)
    fakes.hired[2].ready.set_result(None)
    fakes.await_given(2, 2)
    for worker in fakes.hired[1:]:
        worker.answer.set_result(RESULT)
    assert (timely.result(10), waiting.result(10)) == (RESULT, RESULT)
    assert fakes.said == ["Starting 2 workers"]


def test_time_begins_when_a_trial_is_trained_and_begins_anew_on_another_worker(pools) -> None:
    clock = FakeClock()
    fakes = pools(1, grace=5, clock=clock)
    pool = fakes.started()
    first, second = pool.submit(spec(0)), pool.submit(spec(1, seconds=20))
    fakes.await_given(0, 0)
    clock.now += 100
    fakes.hired[0].answer.set_result(RESULT)
    first.result(10)
    fakes.await_given(0, 0, 1)
    clock.now += 24
    fakes.hired[0].die()
    fakes.await_hired(2)
    clock.now += 24
    fakes.hired[1].ready.set_result(None)
    fakes.await_given(1, 1)
    clock.now += 24
    fakes.hired[1].answer.set_result(RESULT)
    assert second.result(10) is RESULT


def test_an_answer_that_comes_as_its_worker_is_stopped_is_taken_and_the_worker_is_not(
    pools, monkeypatch
) -> None:
    def stop(worker: FakeWorker) -> None:
        worker.stopped = True
        if worker.given and not worker.answer.done():
            worker.answer.set_result(RESULT)

    monkeypatch.setattr(FakeWorker, "stop", stop)
    clock = FakeClock()
    fakes = pools(1, grace=5, clock=clock)
    pool = fakes.started()
    late = pool.submit(spec(0, seconds=20))
    fakes.await_given(0, 0)
    clock.now += 25
    pool.submit(spec(1))
    assert late.result(10) is RESULT
    fakes.await_hired(2)
    fakes.hired[1].ready.set_result(None)
    fakes.await_given(1, 1)
    assert fakes.hired[0].given == [0]


# Coming and going


def test_prepare_waits_for_the_quorum_and_slots_are_the_workers_that_are_there(pools) -> None:
    fakes = pools(3, quorum=2, kind="Ray worker")
    preparing = fakes.prepare()
    assert fakes.said == ["Starting 3 Ray workers"]
    assert fakes.pool.slots == 3  # are to be
    fakes.hired[2].ready.set_result(None)
    eventually(lambda: fakes.pool.slots == 1)
    assert not preparing.done()
    fakes.hired[0].ready.set_result(None)
    preparing.result(10)
    assert fakes.pool.slots == 2
    future = fakes.pool.submit(spec(0))
    fakes.await_given(2, 0)  # was ready first
    fakes.hired[2].die()
    fakes.await_given(0, 0)
    assert fakes.pool.slots == 1
    fakes.await_hired(4)
    for worker in (fakes.hired[1], fakes.hired[3]):
        worker.ready.set_result(None)
    eventually(lambda: fakes.pool.slots == 3)
    fakes.hired[0].answer.set_result(RESULT)
    assert future.result(10) is RESULT


def test_prepare_returns_at_once_the_second_time(pools) -> None:
    fakes = pools(2)
    fakes.started().prepare()
    assert len(fakes.hired) == 2


@pytest.mark.parametrize("size", [1, 2])
def test_workers_that_die_while_they_get_ready_end_it(pools, size: int) -> None:
    fakes = pools(size)
    preparing = fakes.prepare()
    for number in range(FAILED_STARTS * size):
        fakes.await_hired(number + 1)
        fakes.hired[number].ready.set_exception(WorkerLostError("killed by SIGKILL"))
    with pytest.raises(
        WorkerError,
        match=r"in a row died .* the last was killed by SIGKILL; if it is for memory, take",
    ):
        preparing.result(10)
    with pytest.raises(WorkerError):
        fakes.pool.submit(spec(0))


def test_one_that_gets_ready_in_between_is_a_new_start(pools) -> None:
    fakes = pools(1)
    preparing = fakes.prepare()
    for number in range(2 * FAILED_STARTS - 1):
        fakes.await_hired(number + 1)
        if number == FAILED_STARTS - 1:
            fakes.hired[number].ready.set_result(None)
            preparing.result(10)
            future = fakes.pool.submit(spec(0))
            fakes.await_given(number, 0)
            fakes.hired[number].die()
        else:
            fakes.hired[number].ready.set_exception(WorkerLostError("killed"))
    fakes.await_hired(2 * FAILED_STARTS)
    fakes.hired[-1].ready.set_result(None)
    fakes.await_given(-1, 0)
    assert not future.done()


def test_an_error_of_getting_ready_is_raised_as_it_is_and_its_worker_stopped(pools) -> None:
    fakes = pools(2)
    preparing = fakes.prepare()
    error = DataError("no data")
    fakes.hired[0].ready.set_exception(error)
    assert preparing.exception(10) is error
    assert len(fakes.hired) == 2
    eventually(lambda: fakes.hired[0].stopped)


def test_once_no_worker_can_be_had_what_runs_ends_and_what_waits_or_comes_fails(pools) -> None:
    fakes = pools(3, quorum=2)
    preparing = fakes.prepare()
    for worker in fakes.hired[:2]:
        worker.ready.set_result(None)
    preparing.result(10)
    futures = [fakes.pool.submit(spec(number)) for number in range(3)]
    fakes.await_given(1, 1)
    error = DataError("the disk is gone")
    fakes.hired[2].ready.set_exception(error)
    assert futures[2].exception(10) is error
    assert fakes.pool.submit(spec(3)).exception(10) is error
    fakes.hired[0].answer.set_result(RESULT)
    assert futures[0].result(10) is RESULT
    fakes.hired[1].die()  # and nobody is left to train it again
    assert futures[1].exception(10) is error
    assert len(fakes.hired) == 3


def test_what_a_worker_raises_when_it_is_asked_reaches_the_coordinator(pools, monkeypatch) -> None:
    def refuse(*_: object) -> Future[Any]:
        raise OSError("no more processes")

    fakes = pools(1)
    pool = fakes.started()
    monkeypatch.setattr(FakeWorker, "train", refuse)
    with pytest.raises(OSError, match="no more processes"):
        pool.submit(spec(0)).result(10)
    monkeypatch.setattr(FakeWorker, "start", refuse)
    with pytest.raises(OSError, match="no more processes"):
        pools(1).prepare().result(10)


def test_an_error_in_the_pool_itself_leaves_nobody_waiting(pools) -> None:
    def say(text: str) -> None:
        if "died" in text:
            raise BrokenPipeError("nobody reads")

    fakes = pools(2, say=say)
    pool = fakes.started()
    futures = [pool.submit(spec(number)) for number in range(3)]
    fakes.await_given(1, 1)
    fakes.hired[0].die()
    for future in futures:
        error = future.exception(10)
        assert isinstance(error, WorkerError)  # of no trial a failure of its own
        assert isinstance(error.__cause__, BrokenPipeError)


@pytest.mark.parametrize("error", [ValueError("shapes not aligned"), TrainingError("diverged")])
def test_a_worker_that_cannot_be_replaced_is_no_failure_of_the_trials(pools, error) -> None:
    fakes = pools(1)
    pool = fakes.started()
    futures = [pool.submit(spec(number)) for number in range(2)]
    fakes.await_given(0, 0)
    fakes.hired[0].die()
    fakes.await_hired(2)
    fakes.hired[1].ready.set_exception(error)
    for future in futures:
        found = future.exception(10)
        assert isinstance(found, WorkerError)
        assert str(error) in str(found)
        assert own_failure(found) is None


# The end


def test_closing_stops_all_workers_even_if_one_resists_and_cancels_what_is_not_done(
    pools, monkeypatch
) -> None:
    stop = FakeWorker.stop

    def resist(worker: FakeWorker) -> None:
        stop(worker)
        raise ConnectionError("the cluster is gone")

    monkeypatch.setattr(FakeWorker, "stop", resist)
    fakes = pools(2)
    pool = fakes.started()
    futures = [pool.submit(spec(number)) for number in range(3)]
    fakes.await_given(1, 1)
    fakes.hired[1].answer.set_result(RESULT)
    fakes.await_given(1, 1, 2)
    pool.close()
    assert wait(futures, 10).not_done == set()
    assert [future.cancelled() for future in futures] == [True, False, True]
    pool.close()


def test_closing_while_workers_get_ready_wakes_who_waits_for_them(pools) -> None:
    fakes = pools(2)
    preparing = fakes.prepare()
    fakes.pool.close()
    with pytest.raises(CancelledError):
        preparing.result(10)


def test_a_pool_that_was_never_used_hires_nobody(pools) -> None:
    fakes = pools(2)
    fakes.pool.close()
    assert fakes.hired == []


def test_a_trial_that_was_cancelled_does_not_harm_the_others(pools) -> None:
    fakes = pools(1)
    pool = fakes.started()
    futures = [pool.submit(spec(number)) for number in range(2)]
    fakes.await_given(0, 0)
    futures[0].cancel()
    fakes.hired[0].answer.set_result(RESULT)
    fakes.await_given(0, 0, 1)
    fakes.hired[0].answer.set_result(RESULT)
    assert futures[1].result(10) is RESULT
