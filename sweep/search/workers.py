"""A pool of workers that may die: each trains one trial at a time, and any can be replaced.

The pool knows neither processes nor Ray: a `Worker` is whatever can start, train and be stopped. A
single thread owns the pool's state; what happens elsewhere reaches it as an event, in a queue.

**When a worker dies** (killed, out of memory, its machine gone) its trial is trained again on
another worker, at most `RETRIES` times, and then fails with the reason. A trial that fails by
itself is not tried again. A trial that does not stop when its time is over is stopped with its
worker.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sweep.errors import TrainingError, WorkerError
from sweep.results import TrialResult
from sweep.search.executors import Executor, TrialSpec

RETRIES: Final = 2
"""How often a trial whose worker died is trained again."""

FAILED_STARTS: Final = 3
"""If workers die before they are ready, with none that gets so far in between, as often as this for
each place in the pool, the study ends."""

GRACE: Final = 10.0
"""Seconds beyond its time after which a trial that has not stopped by itself is stopped."""


class WorkerLostError(Exception):
    """A worker died; the message says how, as in "killed by SIGKILL"."""


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
        kind: str = "workers",
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
            kind: what to call them when they are started.
            quorum: how many must be ready before `prepare` returns; all unless told.
            say: told of workers that die.
            grace: see `GRACE`.
            clock: seconds.
        """
        self._hire, self._size, self._kind, self._quorum = hire, size, kind, quorum or size
        self._say, self._grace, self._clock = say, grace, clock
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ready: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, _Task] = {}
        self._waiting: deque[_Task] = deque()
        self._failed_starts = 0
        self._broken: BaseException | None = None

    @property
    def slots(self) -> int:
        """How many workers are ready; before any is, how many there are to be."""
        return len(self._idle) + len(self._busy) or self._size

    def prepare(self) -> None:
        """Start the workers, and wait for enough of them.

        Raises:
            WorkerError: they die before they are ready. An error of theirs is raised as it is.
        """
        if self._thread is None:
            self._say(f"Starting {self._size} {self._kind}")
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
                self._stop_late()
                continue
            if event is None:
                break
            event()
        for worker in self._workers:
            worker.stop()
        for task in (*self._busy.values(), *self._waiting):
            task.result.cancel()

    def _patience(self) -> float | None:
        """Seconds until the next trial is late."""
        deadlines = [task.deadline for task in self._busy.values() if task.deadline is not None]
        return max(min(deadlines) - self._clock(), 0.0) if deadlines else None

    def _stop_late(self) -> None:
        for worker, task in self._busy.items():
            if task.deadline is not None and task.deadline <= self._clock():
                task.late, task.deadline = True, None
                worker.stop()  # its future tells the rest

    def _fill(self) -> None:
        while len(self._workers) < self._size and self._broken is None:
            worker = self._hire()
            self._workers.add(worker)
            self._when_done(worker.start(), functools.partial(self._started, worker))

    def _when_done(self, future: Future[Any], then: Callable[[Future[Any]], None]) -> None:
        future.add_done_callback(lambda done: self._events.put(lambda: then(done)))

    def _started(self, worker: Worker, future: Future[None]) -> None:
        error = _error(future)
        if error is None:
            self._failed_starts = 0
            self._idle.append(worker)
            if len(self._idle) + len(self._busy) >= self._quorum and not self._ready.done():
                self._ready.set_result(None)
            self._dispatch()
            return
        self._workers.discard(worker)
        if isinstance(error, WorkerLostError):
            self._failed_starts += 1
            if self._failed_starts < FAILED_STARTS * self._size:
                self._say(f"A worker died while it got ready ({error}); starting another")
                self._fill()
                return
            error = WorkerError(
                f"{self._failed_starts} workers in a row died while they got ready, the last was "
                f"{error}; take fewer workers, or give them more memory"
            )
        self._break(error)

    def _break(self, error: BaseException) -> None:
        """No worker can be had: nothing that waits will ever be trained."""
        self._broken = error
        if not self._ready.done():
            self._ready.set_exception(error)
        while self._waiting:
            self._waiting.popleft().result.set_exception(error)

    def _accept(self, task: _Task) -> None:
        if self._broken is not None:
            task.result.set_exception(self._broken)
            return
        self._waiting.append(task)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            worker, task = self._idle.pop(0), self._waiting.popleft()
            self._busy[worker] = task
            if task.spec.seconds is not None:
                task.deadline = self._clock() + task.spec.seconds + self._grace
            self._when_done(worker.train(task.spec), functools.partial(self._finished, worker))

    def _finished(self, worker: Worker, future: Future[TrialResult]) -> None:
        task = self._busy.pop(worker)
        error = _error(future)
        if isinstance(error, WorkerLostError):
            self._workers.discard(worker)
            worker.stop()
            self._fill()
            self._bury(task, error)
        else:
            self._idle.append(worker)
            self._dispatch()
            if error is None:
                task.result.set_result(future.result())
            else:
                task.result.set_exception(error)

    def _bury(self, task: _Task, error: WorkerLostError) -> None:
        """Go on with a trial whose worker is dead."""
        task.deaths += 1
        if task.late:
            task.result.set_exception(
                TrainingError(
                    f"did not end within {task.spec.seconds:g} s (execution.trial_seconds), and "
                    "was stopped with its worker"
                )
            )
        elif task.deaths <= RETRIES:
            self._say(
                f"The worker of trial {task.spec.number} died ({error}); training it again on "
                "another"
            )
            task.deadline = None
            self._waiting.appendleft(task)
            self._dispatch()
        else:
            task.result.set_exception(
                TrainingError(f"its worker died {task.deaths} times, the last was {error}")
            )


def _error(future: Future[Any]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return WorkerLostError(str(error) or "stopped")
