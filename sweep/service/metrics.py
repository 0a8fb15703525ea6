"""What Prometheus reads of the service.

Labels are bounded: a route is its template (`/api/v1/studies/{name}`), never a path that a client
made up, and an unknown method is `other`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from sweep.service.schemas import State

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
NO_ROUTE = "other"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The figures of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "sweep_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "sweep_request_seconds",
            "Seconds from a request to the beginning of its answer.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._studies = Gauge(
            "sweep_studies", "Studies in the store.", ["state"], registry=self.registry
        )
        self._running = Gauge(
            "sweep_studies_running",
            "Studies whose coordinator this service runs.",
            registry=self.registry,
        )
        self._queued = Gauge(
            "sweep_studies_queued", "Launches that wait for room.", registry=self.registry
        )
        self._viewers = Gauge(
            "sweep_viewers", "Streams of events that are open.", registry=self.registry
        )
        self.set_studies({})

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            method: Of the request.
            route: The template of its path, or `NO_ROUTE`.
            status: Of the answer.
            seconds: From the request to the beginning of the answer.
        """
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def set_studies(self, by_state: Mapping[State, int]) -> None:
        """Say how many studies there are of each state; a state that is left out has none."""
        for state in get_args(State):
            self._studies.labels(state).set(by_state.get(state, 0))

    def set_launches(self, running: int, queued: int) -> None:
        """Say how many coordinators this service runs, and how many launches wait for room."""
        self._running.set(running)
        self._queued.set(queued)

    @contextmanager
    def viewer(self) -> Iterator[None]:
        """Count a stream of events while it is open."""
        with self._viewers.track_inprogress():
            yield

    def render(self) -> tuple[bytes, str]:
        """The body of `GET /metrics`, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class Measured:
    """Counts and times each answer.

    Args:
        app: The application; it, or what is within, sets `scope["route"]`, as FastAPI does.
        metrics: Where to count.
        clock: Seconds, never going back.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = self.clock()
        answered = False

        def observe(status: int) -> None:
            nonlocal answered
            answered = True
            self.metrics.observe(
                scope["method"], route_template(scope), status, self.clock() - started
            )

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                observe(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception:
            # The server answers 500 itself, beyond this.
            if not answered:
                observe(500)
            raise


def route_template(scope: Scope) -> str:
    """The template of the path that answered, such as `/api/v1/studies/{name}`."""
    template = getattr(scope.get("route"), "path", None)
    return template if isinstance(template, str) and template else NO_ROUTE
