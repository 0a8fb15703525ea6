"""Serving: `sweep serve`."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from sweep.errors import ConfigError
from sweep.search.lock import exclusive
from sweep.search.spill import spill_path
from sweep.search.storage import store_name
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
        self, config: uvicorn.Config, closing: threading.Event, on_bound: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._closing, self._on_bound = closing, on_bound

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_bound()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._closing.set()
        super().handle_exit(sig, frame)


def serve(settings: ServiceSettings, on_bound: Callable[[int], None] = lambda _: None) -> None:
    """Serve until a signal says to stop; what runs goes on without the service.

    Args:
        settings: what it is told.
        on_bound: told the port, once connections are taken.

    Raises:
        StorageError: there can be no store at that URL, or another service has it.
        ConfigError: nothing can listen at that address.
    """
    configure(settings.log_format)
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    with (
        exclusive(
            _service_lock(settings.storage),
            f"{store_name(settings.storage)} is served",
            "end that service first, or serve another store",
            patience=2.0,  # one that ends takes a moment
        ),
        listening(settings) as listener,
    ):
        service = create_service(settings)
        config = uvicorn.Config(
            guarded_app(service),
            http=guarded(),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=settings.https,  # without a proxy they are the client's own word
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        port = int(listener.getsockname()[1])
        _Server(config, service.closing, lambda: on_bound(port)).run([listener])


def _service_lock(storage: str) -> Path:
    """The file that is locked on this machine while the store of that URL is served."""
    path = spill_path(storage, "").with_suffix(".service")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{path.parent}: cannot be made ({error.strerror}); set SWEEP_STATE to a directory "
            "that you may write in"
        ) from None
    return path


def listening(settings: ServiceSettings) -> socket.socket:
    """A socket that takes connections at the address of the settings.

    Raises:
        ConfigError: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"--host {settings.host} --port {settings.port}: nothing can listen there "
            f"({error.strerror}); choose another port, such as --port {settings.port + 1}"
        ) from None
    # Connections have it from here. asyncio sets it only where a socket names its protocol, and
    # without it an answer in two pieces waits 40 ms for the first to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
