"""A pool of workers that may die: each trains one trial at a time, and any can be replaced.

The pool knows neither processes nor Ray: a `Worker` is whatever can start, train and be stopped. A
single thread owns the pool's state; what happens elsewhere reaches it as an event, in a queue.

**When a worker dies** (killed, out of memory, its machine gone) its trial is trained again on
another worker, at most `RETRIES` times, and then fails with the reason. A trial that fails by
itself is not tried again. A trial that does not stop when its time is over is stopped with its
worker. That a worker died while it had nothing to do is seen when it is given a trial, which does
not pay for it.
"""

from __future__ import annotations

import functools
import pickle
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sweep.errors import SweepError, TrainingError, WorkerError
from sweep.results import TrialResult
from sweep.search.executors import Executor, TrialSpec

RETRIES: Final = 2
"""How often a trial whose worker died is trained again."""

FAILED_STARTS: Final = 3
"""If workers die before they are ready, with none that gets so far in between, as often as this for
each place in the pool, the study ends."""

GRACE: Final = 60.0
"""Seconds beyond its time after which a trial that has not stopped by itself is stopped.

It may have had to build a graph first, which its time does not count.
"""


class WorkerLostError(Exception):
    """A worker died; the message says how, as in "killed by SIGKILL".

    `began` tells whether it can have begun with what it was given.
    """

    def __init__(self, how: str, *, began: bool = True) -> None:
        super().__init__(how)
        self.began = began


class Worker(Protocol):
    """One place to train. Its futures end in `WorkerLostError` if it dies."""

    def start(self) -> Future[None]:
        """Begin to get ready; the future is done when `train` may be called."""
        ...

    def train(self, spec: TrialSpec) -> Future[TrialResult]:
        """Train a trial; not before the one before it is done."""
        ...

    def stop(self) -> None:
        """End it at once, whatever it does; a second call does nothing."""
        ...


def attempt(act: Callable[[], object]) -> bytes:
    """What calling gives or raises, for `outcome` in another process.

    What cannot be sent arrives as a `RuntimeError` in the same words.
    """
    value: object = None
    failure: BaseException | None = None
    try:
        value = act()
    except BaseException as error:
        error.add_note(f"In the worker:\n{traceback.format_exc()}")
        failure = error
    try:
        content = pickle.dumps((value, failure))
        pickle.loads(content)  # some exceptions can be written, but not read
        return content
    except Exception as problem:
        cause = failure or problem
        plain = RuntimeError(f"{type(cause).__name__}: {cause}")
        for note in getattr(cause, "__notes__", ()):
            plain.add_note(note)
        return pickle.dumps((None, plain))


def outcome(content: bytes) -> tuple[Any, BaseException | None]:
    """What `attempt` gave: a value, or an error."""
    try:
        value, error = pickle.loads(content)
    except Exception as problem:  # a class that only the worker knows
        return None, problem
    return value, error


@dataclass(eq=False)
class _Task:
    """A trial on its way: what the coordinator waits for, and what it has been through."""

    spec: TrialSpec
    result: Future[TrialResult] = field(default_factory=Future)
    deaths: int = 0
    deadline: float | None = None
    late: bool = False


class WorkerPool(Executor):
    """An executor of workers that are hired as others die."""

    def __init__(
        self,
        hire: Callable[[], Worker],
        size: int,
        kind: str = "worker",
        note: str = "",
        *,
        quorum: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        grace: float = GRACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts nothing yet; see `prepare`.

        Args:
            hire: makes a worker that is not started.
            size: how many, at least 1.
            kind: what to call one, when they are started.
            note: what to add then.
            quorum: how many must be ready before `prepare` returns; all unless told.
            say: told of workers that die.
            grace: see `GRACE`.
            clock: seconds.
        """
        self._hire, self._size, self._quorum = hire, size, quorum or size
        self._starting = f"Starting {size} {kind}{'' if size == 1 else 's'}{note}"
        self._say, self._grace, self._clock = say, grace, clock
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ready: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._workers: set[Worker] = set()
        self._at_work = 0  # those of them that are ready
        self._idle: list[Worker] = []
        self._busy: dict[Worker, _Task] = {}
        self._waiting: deque[_Task] = deque()
        self._tasks: set[_Task] = set()  # all that are not done
        self._failed_starts = 0
        self._died_idle = 0  # since a worker last gave an answer
        self._broken: BaseException | None = None

    @property
    def slots(self) -> int:
        """How many workers are ready; before any is, how many there are to be."""
        return self._at_work or self._size

    def prepare(self) -> None:
        """Start the workers, and wait for enough of them.

        Raises:
            WorkerError: they die before they are ready. An error of theirs is raised as it is.
        """
        if self._thread is None:
            self._say(self._starting)
            self._thread = threading.Thread(target=self._run, name="sweep workers", daemon=True)
            self._thread.start()
            self._events.put(self._fill)
        self._ready.result()

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        """Hand a trial to the next worker that is free."""
        self.prepare()
        task = _Task(spec)
        self._events.put(lambda: self._accept(task))
        return task.result

    def close(self) -> None:
        """Stop every worker, whatever it does; futures that are not done are cancelled."""
        if self._thread is not None and self._thread.is_alive():
            self._events.put(None)
            self._thread.join()

    # From here on everything runs in the pool's own thread.

    def _run(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=self._patience())
            except queue.Empty:
                event = self._stop_late
            if event is None:
                break
            try:
                event()
            except Exception as error:  # `say` could not write, perhaps: let nobody wait forever
                broken = self._break(error)
                for task in tuple(self._tasks):
                    self._fail(task, broken)
        for worker in self._workers:
            _stop(worker)
        self._ready.cancel()
        for task in self._tasks:
            if task.result.cancel():
                task.result.set_running_or_notify_cancel()  # wakes who waits for several

    def _patience(self) -> float | None:
        """Seconds until the next trial is late."""
        deadlines = [task.deadline for task in self._busy.values() if task.deadline is not None]
        return max(min(deadlines) - self._clock(), 0.0) if deadlines else None

    def _stop_late(self) -> None:
        for worker, task in self._busy.items():
            if task.deadline is not None and task.deadline <= self._clock():
                task.late, task.deadline = True, None
                _stop(worker)  # its future tells the rest

    def _fill(self) -> None:
        while len(self._workers) < self._size and self._broken is None:
            worker = self._hire()
            self._workers.add(worker)
            self._when_done(_begun(worker.start), functools.partial(self._started, worker))

    def _when_done(self, future: Future[Any], then: Callable[[Future[Any]], None]) -> None:
        future.add_done_callback(lambda done: self._events.put(lambda: then(done)))

    def _started(self, worker: Worker, future: Future[None]) -> None:
        error = _error(future)
        if error is None:
            self._failed_starts = 0
            self._at_work += 1
            self._idle.append(worker)
            if self._at_work >= self._quorum and not self._ready.done():
                self._ready.set_result(None)
            self._dispatch()
            return
        self._workers.discard(worker)
        _stop(worker)  # it may live, and be of no use
        if isinstance(error, WorkerLostError):
            self._failed_starts += 1
            if self._failed_starts < FAILED_STARTS * self._size:
                self._say(f"A worker died while it got ready ({error}); starting another")
                self._fill()
                return
            error = WorkerError(
                f"{self._failed_starts} workers in a row died while they got ready, the last was "
                f"{error}; if it is for memory, take fewer workers"
            )
        self._break(error)

    def _break(self, error: BaseException) -> BaseException:
        """No worker can be had: nothing that waits will ever be trained.

        Returns:
            How all that is asked for ends: no trial is to take it for a failure of its own.
        """
        if isinstance(error, SweepError) and not isinstance(error, TrainingError):
            self._broken = error
        else:
            self._broken = WorkerError(f"no worker can be had ({type(error).__name__}: {error})")
            self._broken.__cause__ = error
        if not self._ready.done():
            self._ready.set_exception(error)
        while self._waiting:
            self._fail(self._waiting.popleft(), self._broken)
        return self._broken

    def _accept(self, task: _Task) -> None:
        self._tasks.add(task)
        if self._broken is not None:
            self._fail(task, self._broken)
            return
        self._waiting.append(task)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            worker, task = self._idle.pop(0), self._waiting.popleft()
            self._busy[worker] = task
            if task.spec.seconds is not None:
                task.deadline = self._clock() + task.spec.seconds + self._grace
            answer = _begun(functools.partial(worker.train, task.spec))
            self._when_done(answer, functools.partial(self._finished, worker))

    def _finished(self, worker: Worker, future: Future[TrialResult]) -> None:
        task = self._busy.pop(worker)
        error = _error(future)
        lost = isinstance(error, WorkerLostError)
        if lost or task.late:  # a late trial's worker was stopped, though the answer came first
            self._workers.discard(worker)
            self._at_work -= 1
            _stop(worker)
            self._fill()
        else:
            self._idle.append(worker)
            self._dispatch()
        if isinstance(error, WorkerLostError):
            self._bury(task, error)
            return
        self._died_idle = 0
        if error is not None:
            self._fail(task, error)
            return
        self._tasks.discard(task)
        with suppress(InvalidStateError):  # whoever asked has cancelled it
            task.result.set_result(future.result())

    def _bury(self, task: _Task, error: WorkerLostError) -> None:
        """Go on with a trial whose worker is dead."""
        number = task.spec.number
        if task.late:
            late = (
                f"did not end within {task.spec.seconds:g} s (execution.trial_seconds), and was "
                "stopped with its worker"
            )
            self._fail(task, TrainingError(late))
            return
        if self._broken is not None:
            self._fail(task, self._broken)
            return
        # All that are idle may have died, but no more: others died of what they were given.
        if not error.began and self._died_idle < self._size:
            self._died_idle += 1
            text = f"A worker died before it began with trial {number} ({error}); taking another"
        else:
            task.deaths += 1
            text = f"The worker of trial {number} died ({error}); training it again on another"
        if task.deaths > RETRIES:
            dead = f"its worker died {task.deaths} times, the last was {error}"
            self._fail(task, TrainingError(dead))
            return
        task.deadline = None
        self._waiting.appendleft(task)
        self._dispatch()
        self._say(text)

    def _fail(self, task: _Task, error: BaseException) -> None:
        self._tasks.discard(task)
        with suppress(InvalidStateError):  # whoever asked has cancelled it
            task.result.set_exception(error)


def _begun(act: Callable[[], Future[Any]]) -> Future[Any]:
    """What a worker's method gives; what it raises, as it would have come later."""
    try:
        return act()
    except Exception as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _stop(worker: Worker) -> None:
    with suppress(Exception):  # a cluster that is gone cannot be told, and others are to be stopped
        worker.stop()


def _error(future: Future[Any]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return WorkerLostError(str(error) or "stopped")
