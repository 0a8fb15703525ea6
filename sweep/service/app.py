"""The service put together: the API, the page, and what guards them."""

from __future__ import annotations

import importlib.metadata
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from sweep.errors import (
    ConfigError,
    ExportError,
    IncomparableStudyError,
    SelectionError,
    StorageError,
    StudyNotFoundError,
    SweepError,
)
from sweep.search.storage import open_storage
from sweep.service import views
from sweep.service.api import ConflictError, Service, health, router
from sweep.service.dashboard import PAGE, dashboard_routes
from sweep.service.exports import Exports
from sweep.service.logs import AccessLog
from sweep.service.metrics import Measured, Metrics
from sweep.service.reading import LEVEL, Reader
from sweep.service.schemas import Problem
from sweep.service.security import (
    Access,
    Guard,
    Refusal,
    Tokens,
    allowed_hosts,
    refusal_response,
)
from sweep.service.settings import ServiceSettings
from sweep.service.supervisor import Supervisor

STATIC = Path(str(files("sweep.service"))) / "static"
READ_SECONDS = 1.0
MOST_SECONDS = 30.0
"""Between two looks at the store, at least and at most."""

_STATUSES: dict[type[SweepError], int] = {
    StudyNotFoundError: 404,
    ExportError: 404,
    ConflictError: 409,
    IncomparableStudyError: 409,
    ConfigError: 422,
    SelectionError: 422,
    StorageError: 503,
}


class _Static(StaticFiles):
    """Files that browsers ask about each time: modules of two versions must not mix."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """See `StaticFiles.file_response`."""
        response = super().file_response(*arguments, **options)
        response.headers["cache-control"] = "no-cache"
        return response


def problem(status: int, detail: str) -> Response:
    """An error by RFC 9457."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(body.model_dump_json(), status, media_type="application/problem+json")


def create_service(settings: ServiceSettings) -> Service:
    """Open the store, and get ready to run what is in it.

    Raises:
        StorageError: there can be no store at that URL.
    """
    storage = open_storage(settings.storage)
    reader = Reader(storage, views.events, lambda asked: service.runs(asked))
    service = Service(
        settings=settings,
        storage=storage,
        reader=reader,
        supervisor=Supervisor(storage, settings.storage, settings.running, reader.refresh),
        exports=Exports(settings.storage),
        metrics=Metrics(),
        tokens=Tokens(settings.token),
    )
    return service


def create_app(service: Service) -> FastAPI:
    """The application, unguarded."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.supervisor.start()
        closed = threading.Event()

        def read() -> None:
            seconds = READ_SECONDS
            while not closed.wait(seconds):
                began = time.monotonic()
                with suppress(SweepError):  # readers get the last state, and /readyz says why
                    service.reader.refresh()
                # A front of thousands takes a moment: most of the time is for those who look.
                spent = time.monotonic() - began
                seconds = min(max(READ_SECONDS, 4 * spent), MOST_SECONDS)

        threading.Thread(target=read, name="reader", daemon=True).start()
        yield
        closed.set()
        service.closing.set()
        service.supervisor.close()
        service.exports.close()

    app = FastAPI(
        title="sweep",
        version=importlib.metadata.version("sweep"),
        description="Launch studies of loss weights, watch their fronts grow, choose and export.",
        lifespan=lifespan,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.service = service
    app.state.routes = [
        (route.path_regex, route.methods)
        for route in (*router.routes, *health.routes)
        if isinstance(route, APIRoute)
    ]
    app.include_router(router)
    app.include_router(health)
    app.add_exception_handler(Refusal, refusal_response)
    app.add_exception_handler(SweepError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)

    @app.get("/static/plotly.min.js", include_in_schema=False)
    def plotly() -> FileResponse:
        path = Path(str(files("plotly"))) / "package_data" / "plotly.min.js"
        cache = {"Cache-Control": "public, max-age=86400"}
        return FileResponse(path, media_type="text/javascript", headers=cache)

    dashboard = dashboard_routes(service.storage)
    app.routes.extend(dashboard)
    app.mount("/static", _Static(directory=STATIC))
    html = (STATIC / "index.html").read_text("utf-8")
    if dashboard:
        html = html.replace('name="dashboard" content=""', f'name="dashboard" content="{PAGE}"')

    def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Cache-Control": "no-cache"})

    for path in ("/", "/studies/{name}", "/launch", "/compare", "/login"):
        app.add_api_route(path, page, include_in_schema=False)
    return app


def guarded_app(service: Service) -> Any:
    """The application as it is served: counted, logged, compressed and guarded."""
    settings = service.settings
    access = Access(
        hosts=allowed_hosts(settings.host, settings.hosts),
        token=settings.token,
        requests_per_second=settings.requests_per_second,
        burst=settings.burst,
        https=settings.https,
        any_address=settings.token is not None,
    )
    app = GZipMiddleware(create_app(service), minimum_size=2048, compresslevel=LEVEL)
    return AccessLog(Measured(Guard(app, access, tokens=service.tokens), service.metrics))


async def _on_error(_: Request, error: Exception) -> Response:
    status = next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), 422)
    return problem(status, str(error))


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = []
    for one in error.errors():
        if one["type"] == "json_invalid":
            return problem(400, "the body is not JSON")
        place, *rest = (str(part) for part in one["loc"])
        lines.append(f"{'.'.join(rest) or place}: {one['msg']}")
    return problem(422, "\n".join(lines))


async def _on_fault(_: Request, error: Exception) -> Response:
    del error  # uvicorn logs it, with its traceback
    return problem(500, "the service failed; its log says why")


def _methods(request: Request) -> list[str]:
    """What may be done at the path of a request."""
    routes = request.app.state.routes
    path = request.url.path
    return sorted({m for pattern, methods in routes if pattern.fullmatch(path) for m in methods})


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = problem(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):
        answer.headers["allow"] = ", ".join(methods)  # the first route of the path alone was asked
    return answer
