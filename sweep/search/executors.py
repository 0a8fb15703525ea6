"""Where trials train: anything that turns a `TrialSpec` into a future result.

In the coordinator's own process (`InProcessExecutor`, here), or in a pool of workers
(`sweep.search.workers`) that are processes of this machine (`sweep.search.processes`) or Ray actors
(`sweep.search.cluster`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from sweep.config import Setting
from sweep.errors import SweepError, TrainingError
from sweep.front.halving import Halving
from sweep.results import LossWeights, TrialResult


@dataclass(frozen=True)
class TrialSpec:
    """All that an executor needs to know to train one trial.

    `seconds` is the longest that it may train; None is without end.
    """

    number: int
    weights: LossWeights
    seed: int
    settings: Mapping[str, Setting] = field(default_factory=dict)
    halving: Halving | None = None
    seconds: float | None = None


Train = Callable[[TrialSpec], TrialResult]
"""Trains one trial, or raises `TrainingError` if it fails by itself."""


def own_failure(error: Exception) -> str | None:
    """Why a trial failed by itself, if that is what its training raised; else None."""
    if isinstance(error, TrainingError):
        return str(error)
    if isinstance(error, SweepError | CancelledError):
        return None
    return f"{type(error).__name__}: {error}"


class StopSignal(Protocol):
    """What a launch looks at before every trial; a `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


class Executor(Protocol):
    """Trains trials; the coordinator alone decides which, and keeps the record.

    A future that ends in an exception is a trial that failed by itself, and the study goes on,
    unless it is another `SweepError` than `TrainingError`, or is cancelled; see `own_failure`.
    """

    @property
    def slots(self) -> int:
        """How many trials it can train at the same time, at least 1; more wait for their turn.

        It may change from trial to trial, as workers come and go.
        """
        ...

    def prepare(self) -> None:
        """Get ready to train: called before the first trial, and only if there will be one.

        What takes long at the start belongs here, since no trial's time counts it, and an error or
        Ctrl-C leaves no failed trial behind. A second call does nothing.
        """
        ...

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        """Begin to train."""
        ...

    def close(self) -> None:
        """Let go of what was held, at once; nothing is submitted afterwards."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class InProcessExecutor(Executor):
    """Trains at once, in the thread that submits; the future is done when `submit` returns.

    That a trial takes too long only its own training can see; see `Trainer.train`.
    """

    slots = 1

    def __init__(self, train: Train, prepare: Callable[[], object] = lambda: None) -> None:
        """Takes the function to train with.

        Another, called once before, may load what that one needs; what it returns is not used.
        """
        self._train = train
        self._prepare = prepare

    def prepare(self) -> None:
        """Get ready to train."""
        self._prepare()

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        """Train now."""
        future: Future[TrialResult] = Future()
        try:
            future.set_result(self._train(spec))
        except BaseException as error:  # a future carries Ctrl-C too; `result()` raises it again
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is held."""
