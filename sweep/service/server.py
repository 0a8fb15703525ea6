"""Serving: `sweep serve`."""

from __future__ import annotations

import sys

import uvicorn

from sweep.service.app import create_service, guarded_app
from sweep.service.connections import guarded, raise_file_limit
from sweep.service.logs import configure
from sweep.service.settings import ServiceSettings

GRACE_SECONDS = 5
SWITCH_SECONDS = 0.0005
"""A request would wait for ten times as long, at each step, while a front is computed."""


class _Server(uvicorn.Server):
    """Ends the streams of events first: uvicorn would wait for them."""

    def __init__(self, config: uvicorn.Config, closing: object) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: object) -> None:
        self._closing.set()  # type: ignore[attr-defined]
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def serve(settings: ServiceSettings) -> None:
    """Serve until a signal says to stop; what runs goes on without the service.

    Raises:
        StorageError: there can be no store at that URL.
    """
    configure(settings.log_format)
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    service = create_service(settings)
    config = uvicorn.Config(
        guarded_app(service),
        host=settings.host,
        port=settings.port,
        http=guarded(),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.https,  # without a proxy they are the client's own word
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, service.closing).run()
