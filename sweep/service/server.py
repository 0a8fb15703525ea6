"""Serving: `sweep serve`."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

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

    def __init__(
        self, config: uvicorn.Config, closing: threading.Event, on_bound: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self._closing, self._on_bound = closing, on_bound

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_bound(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._closing.set()
        super().handle_exit(sig, frame)


def serve(settings: ServiceSettings, on_bound: Callable[[int], None] = lambda _: None) -> None:
    """Serve until a signal says to stop; what runs goes on without the service.

    Args:
        settings: what it is told.
        on_bound: told the port, once connections are taken.

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
    _Server(config, service.closing, on_bound).run()
