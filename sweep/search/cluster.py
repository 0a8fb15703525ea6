"""Workers that are Ray actors: other machines, or the same, as the cluster has room.

The data goes once into Ray's object store, from where every actor of a machine reads the same
memory. A cluster that grows by itself sees the actors that wait for room; those that have it begin.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from sweep.errors import WorkerError
from sweep.results import TrialResult
from sweep.search.executors import Train, TrialSpec
from sweep.search.workers import Worker, WorkerLostError


class _Actor:
    """What an actor does: build the trainer, then train what comes."""

    def build(self, build: Callable[..., Train], *shared: object) -> None:
        self._train = build(*shared)

    def train(self, spec: TrialSpec) -> TrialResult:
        return self._train(spec)


class RayWorker(Worker):
    """One actor."""

    def __init__(
        self,
        build: Callable[..., Train],
        shared: Sequence[Any],
        num_cpus: float,
        num_gpus: float,
    ) -> None:
        """Starts nothing yet.

        Args:
            build: called once in the actor with what is shared; gives the function to train with.
            shared: references into the object store.
            num_cpus: cores that Ray sets aside.
            num_gpus: likewise.
        """
        self._build, self._shared = build, tuple(shared)
        self._options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_restarts": 0}
        self._actor: Any = None

    def start(self) -> Future[None]:
        """Ask for the actor; the future waits until there is room for it."""
        import ray

        self._actor = ray.remote(_Actor).options(**self._options).remote()
        return _future(self._actor.build.remote(self._build, *self._shared))

    def train(self, spec: TrialSpec) -> Future[TrialResult]:
        """Send the trial to the actor."""
        return _future(self._actor.train.remote(spec))

    def stop(self) -> None:
        """Kill the actor."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)


def _future(reference: Any) -> Future[Any]:
    """What a reference will hold; errors as they were raised in the actor."""
    from ray.exceptions import RayError, RayTaskError

    future: Future[Any] = Future()

    def settle(done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        elif isinstance(error, RayTaskError) and error.cause is not None:
            future.set_exception(error.cause)
        elif isinstance(error, RayError):  # the actor, its machine, or its data is gone
            future.set_exception(WorkerLostError(_first_line(error)))
        else:
            future.set_exception(error)

    reference.future().add_done_callback(settle)
    return future


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to a cluster; to one that is started here, where no address is given.

    Raises:
        WorkerError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise WorkerError(
            'execution.executor = "ray" needs Ray, and it is not installed; run '
            "pip install 'sweep[ray]', or take local workers"
        ) from None
    # Not when a worker merely has more cores than it set aside, which Ray would say each time.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    here = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {} if here else {"include_dashboard": False}
    try:
        ray.init(
            address=address,
            namespace="sweep",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise WorkerError(
            f"no Ray cluster at {here or 'this machine'} ({_first_line(error)}); start one with "
            "ray start --head, and give its address as --address HOST:6379"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def share(values: Sequence[object]) -> tuple[Any, ...]:
    """Put values into the object store; gives their references."""
    import ray

    return tuple(ray.put(value) for value in values)


def room(num_cpus: float, num_gpus: float) -> int:
    """How many workers the cluster has room for today, at least 1."""
    import ray

    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    rooms = [there.get("CPU", 0) // num_cpus]
    if num_gpus:
        rooms.append(there.get("GPU", 0) / num_gpus)
    return max(int(min(rooms)), 1)
