"""Workers that are Ray actors: other machines, or the same, as the cluster has room.

The data goes once into Ray's object store, from where every actor of a machine reads the same
memory. A cluster that grows by itself sees the actors that wait for room; those that have it begin.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from sweep.errors import WorkerError
from sweep.results import TrialResult
from sweep.search.executors import Train, TrialSpec
from sweep.search.workers import Worker, WorkerLostError, attempt, outcome

CONNECT_SECONDS: Final = 10.0
"""How long a cluster's address may take to answer."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class _Actor:
    """What an actor does: build the trainer, then train what comes."""

    def build(self, build: Callable[..., Train], *shared: object) -> bytes:
        def build_once() -> None:
            self._train = build(*shared)

        return attempt(build_once)

    def wake(self) -> bytes:
        """Tells by its answer that the actor lives."""
        return attempt(lambda: None)

    def train(self, spec: TrialSpec) -> bytes:
        return attempt(lambda: self._train(spec))


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
        """Ask for the actor; the future waits until there is room for it.

        Raises:
            WorkerLostError: there is no connection.
        """
        import ray

        if not ray.is_initialized():  # else Ray would look for a cluster, or start one
            raise WorkerLostError("not to be started: the connection to the cluster is gone")
        self._actor = ray.remote(_Actor).options(**self._options).remote()
        return _future(self._actor.build.remote(self._build, *self._shared))

    def train(self, spec: TrialSpec) -> Future[TrialResult]:
        """Send the trial to the actor."""
        awake = _future(self._actor.wake.remote())  # answered before it begins with the trial
        return _future(self._actor.train.remote(spec), awake)

    def stop(self) -> None:
        """Kill the actor."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)


def _future(reference: Any, before: Future[Any] | None = None) -> Future[Any]:
    """What an actor will answer to a call.

    If it dies before it has answered `before`, it has hardly begun.
    """
    from ray.exceptions import RayError, RayTaskError

    future: Future[Any] = Future()

    def settle(done: Future[Any]) -> None:
        value, error = None, done.exception()
        if error is None:
            value, error = outcome(done.result())
        if error is None:
            future.set_result(value)
        elif isinstance(error, RayTaskError) and isinstance(error.cause, ModuleNotFoundError):
            future.set_exception(
                WorkerError(
                    f"a worker cannot begin ({error.cause}); install the same version of sweep, "
                    "and of what it needs, on every node of the cluster"
                )
            )
        elif isinstance(error, RayTaskError) and error.cause is not None:
            future.set_exception(error.cause)  # what it was called with could not be read, say
        elif isinstance(error, RayError):  # the actor, its machine, or its data is gone
            began = before is None or (before.done() and before.exception() is None)
            future.set_exception(WorkerLostError(_first_line(error), began=began))
        else:
            future.set_exception(error)

    reference.future().add_done_callback(settle)
    return future


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def ray_address(address: str | None) -> str | None:
    """Where the cluster is: as given, or else as the environment says; None to start one here."""
    return address or os.environ.get("RAY_ADDRESS")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to a cluster; to one that is started here, where no address is given.

    A program that is connected already stays so.

    Args:
        address: what `ray_address` gave.

    Raises:
        WorkerError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise WorkerError(
            'execution.executor = "ray" needs Ray, and it is not installed; run '
            "pip install ray, or take local workers"
        ) from None
    # Not when a worker merely has more cores than it set aside, which Ray would say each time.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    if address:
        _require_listener(address)
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",  # without an address Ray may find one of yesterday's
            namespace="sweep",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (OSError, ValueError, RuntimeError, RayError) as error:  # the last if its token is wrong
        raise WorkerError(
            f"no Ray cluster at {address or 'this machine'} ({_first_line(error)}); start one with "
            "ray start --head, and give its address as --address HOST:6379"
        ) from None
    if threading.current_thread() is threading.main_thread():
        # Ray puts its own in place, which ends the program where the launch would drain.
        signal.signal(signal.SIGTERM, on_termination)
    try:
        yield
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """See that somebody listens: Ray itself would try for minutes.

    Raises:
        WorkerError: nobody does.
    """
    import ray

    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        host, port = place.hostname, place.port
    except ValueError:
        return  # no address at all, as Ray will say
    if host is None or port is None:
        return
    # But for its client, Ray goes by the machine's own address where it is given the loopback's.
    own: Callable[[], str] = ray.util.get_node_ip_address
    real = own() if host in _LOOPBACK and not place.scheme else host
    try:
        socket.create_connection((real, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        hint = (
            f". Or is it one that was started with --node-ip-address={host}? Ray looks for {host} "
            f"under this machine's own address, {real}; to have it look at {host} itself, set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0"
            if real != host
            else ""
        )
        raise WorkerError(
            f"no Ray cluster at {address} ({real}:{port}: {error.strerror or error}); start one "
            f"with ray start --head, and give its address as --address HOST:6379{hint}"
        ) from None


def share(values: Sequence[object]) -> tuple[Any, ...]:
    """Put values into the object store; gives their references."""
    import ray

    return tuple(ray.put(value) for value in values)


def room(num_cpus: float, num_gpus: float) -> int:
    """How many workers the nodes of the cluster have room for today, other work left aside."""
    import ray

    def on_node(there: Mapping[str, float]) -> int:
        rooms = [there.get("CPU", 0) / num_cpus]
        if num_gpus:
            rooms.append(there.get("GPU", 0) / num_gpus)
        return int(min(rooms))

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return sum(on_node(node["Resources"]) for node in nodes if node["Alive"])
