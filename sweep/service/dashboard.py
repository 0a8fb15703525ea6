"""Optuna Dashboard on the same store, to look at; there where its extra is installed.

Its page asks for paths at the root, so its routes lie beside those of the service. Only those that
read are there: what it changes would bypass what guards a study (one coordinator, archive instead
of delete).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from starlette.routing import Route

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE: Final = "/dashboard"
PATHS: Final = (
    PAGE,
    "/dashboard/{rest:path}",
    "/api/meta",
    "/api/studies",
    "/api/studies/{rest:path}",
    "/csv/{study:int}",
    "/static/bundle.js",
)
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""It makes styles while it runs, and one of its plots compiles code; no inline script."""


def dashboard_routes(storage: BaseStorage) -> list[Route]:
    """Its routes; none where the extra `dashboard` is not installed."""
    try:
        from a2wsgi import WSGIMiddleware
        from optuna_dashboard import wsgi
    except ImportError:
        return []
    app = _WithPolicy(cast("ASGIApp", WSGIMiddleware(wsgi(storage))))
    return [Route(path, app, methods=["GET"], include_in_schema=False) for path in PATHS]


class _WithPolicy:
    """An application whose answers have that policy."""  # a function would be taken for a view

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                name = b"content-security-policy"
                headers = [pair for pair in message["headers"] if pair[0].lower() != name]
                policy = (name, CONTENT_SECURITY_POLICY.encode())
                message = {**message, "headers": [*headers, policy]}
            await send(message)

        headers = scope["headers"]
        if not any(name == b"accept-encoding" for name, _ in headers):  # it fails without one
            scope = {**scope, "headers": [*headers, (b"accept-encoding", b"identity")]}
        await self._app(scope, receive, sending)
