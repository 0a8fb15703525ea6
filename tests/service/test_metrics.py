"""What Prometheus reads, parsed by its own parser."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from sweep.service.metrics import NO_ROUTE, Measured, Metrics
from sweep.service.security import LOOPBACK_NAMES, Access, Guard


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Values of one metric by its labels, without the buckets."""
    return {
        tuple(value for label, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render()[0].decode())
        for sample in family.samples
        if sample.name == name
    }


def test_the_figures_are_in_the_text_format_of_prometheus() -> None:
    body, kind = Metrics().render()
    assert kind.startswith("text/plain; version=")
    assert body.endswith(b"\n")


def test_studies_launches_and_viewers_are_gauges() -> None:
    metrics = Metrics()
    metrics.set_studies({"running": 2, "complete": 5})
    metrics.set_studies({"running": 1})
    metrics.set_launches(running=1, queued=3)
    with metrics.viewer(), metrics.viewer():
        assert samples(metrics, "sweep_viewers") == {(): 2}
    studies = samples(metrics, "sweep_studies")
    assert studies[("running",)] == 1
    assert sum(studies.values()) == 1
    assert ("idle",) in studies
    assert samples(metrics, "sweep_studies_running") == {(): 1}
    assert samples(metrics, "sweep_studies_queued") == {(): 3}
    assert samples(metrics, "sweep_viewers") == {(): 0}


def test_a_viewer_that_fails_is_counted_no_longer() -> None:
    metrics = Metrics()
    with pytest.raises(RuntimeError), metrics.viewer():
        raise RuntimeError
    assert samples(metrics, "sweep_viewers") == {(): 0}


def application() -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/api/v1")

    @router.get("/studies/{name}")
    def study(name: str) -> dict[str, str]:
        if name == "bad":
            raise RuntimeError
        return {"name": name}

    @router.get("/events")
    def events() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]))

    app.include_router(router)
    return app


def ask(metrics: Metrics, *requests: tuple[str, str], inside: Any = None) -> None:
    async def send() -> None:
        ticks = iter(float(number) * 0.2 for number in range(1000))
        app = Measured(inside or application(), metrics, clock=lambda: next(ticks))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for method, path in requests:
                await client.request(method, path)

    asyncio.run(send())


def test_requests_are_counted_by_the_template_of_their_route() -> None:
    metrics = Metrics()
    ask(
        metrics,
        ("GET", "/api/v1/studies/a"),
        ("GET", "/api/v1/studies/b"),
        ("GET", "/api/v1/studies/bad"),
        ("DELETE", "/api/v1/studies/a"),
        ("GET", "/api/v1/events"),
    )
    template = "/api/v1/studies/{name}"
    assert samples(metrics, "sweep_requests_total") == {
        ("GET", template, "200"): 2,
        ("GET", template, "500"): 1,
        ("DELETE", template, "405"): 1,
        ("GET", "/api/v1/events", "200"): 1,
    }
    assert samples(metrics, "sweep_request_seconds_count")[("GET", template)] == 3
    assert samples(metrics, "sweep_request_seconds_sum")[("GET", template)] == pytest.approx(0.6)


def test_refusals_are_counted_where_the_guard_is_inside() -> None:
    metrics = Metrics()
    guard = Guard(application(), Access(hosts=LOOPBACK_NAMES, token="a-token-of-the-tests"))
    ask(metrics, ("GET", "/api/v1/studies/a"), ("GET", "/healthz"), inside=guard)
    assert samples(metrics, "sweep_requests_total") == {
        ("GET", NO_ROUTE, "401"): 1,
        ("GET", NO_ROUTE, "404"): 1,
    }
    guard = Guard(application(), Access(hosts=LOOPBACK_NAMES, token=None))
    ask(metrics, ("GET", "/api/v1/studies/a"), inside=guard)
    assert samples(metrics, "sweep_requests_total")[("GET", "/api/v1/studies/{name}", "200")] == 1


def test_clients_cannot_make_up_labels() -> None:
    metrics = Metrics()
    ask(metrics, *((f"M{number}", f"/made/up/{number}") for number in range(30)))
    assert samples(metrics, "sweep_requests_total") == {("other", NO_ROUTE, "404"): 30}


def test_each_service_has_a_registry_of_its_own() -> None:
    one, other = Metrics(), Metrics()
    one.observe("GET", "/", 200, 0.1)
    assert samples(other, "sweep_requests_total") == {}
    assert not any(family.name.startswith("sweep") for family in REGISTRY.collect())


def test_what_is_not_http_passes() -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(Measured(app, Metrics())({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
