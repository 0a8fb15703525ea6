"""Connections that do not end: how many there may be, and how long they may say nothing.

A client can hold a connection for ever by sending a byte now and then, or by reading none. Such a
connection costs a socket and some memory. Here it is closed after seconds, and where there are too
many connections the one that has waited longest for a whole request makes room for the newest. So
a thousand slow connections shut out nobody, not even others from the same address.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from sweep.service.security import address_key

MAX_CONNECTIONS = 1000
MAX_PER_ADDRESS = 600
HEAD_SECONDS = 10.0
"""From the beginning of a connection, or the end of the last answer, to a whole request head."""
WRITE_SECONDS = 60.0
"""That a client may let an answer wait unread; its page then reconnects and misses nothing."""
FILE_LIMIT = 65_536


class Room:
    """The connections there are, and those that still owe a whole request.

    Args:
        max_connections: In all.
        max_per_address: Of one address (one /64 network of IPv6).
    """

    def __init__(self, max_connections: int, max_per_address: int) -> None:
        self.max_connections = max_connections
        self.max_per_address = max_per_address
        self._members: dict[GuardedProtocol, str] = {}
        self._counts: Counter[str] = Counter()
        # Each in order of how long they wait, the longest first.
        self._waiting: OrderedDict[GuardedProtocol, None] = OrderedDict()
        self._waiting_of: dict[str, OrderedDict[GuardedProtocol, None]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, connection: GuardedProtocol, address: str) -> bool:
        """Take a connection in, at the cost of a waiting one if need be; False: there is no room.

        A connection of the same address makes room where that address has its full number.
        """
        if self._counts[address] >= self.max_per_address:
            queue = self._waiting_of.get(address)
        elif len(self._members) >= self.max_connections:
            queue = self._waiting
        else:
            queue = OrderedDict()
            self._add(connection, address)
            return True
        if not queue:
            return False
        oldest = next(iter(queue))
        self.leave(oldest)
        oldest.transport.abort()
        self._add(connection, address)
        return True

    def _add(self, connection: GuardedProtocol, address: str) -> None:
        self._members[connection] = address
        self._counts[address] += 1
        self.wait(connection)

    def wait(self, connection: GuardedProtocol) -> None:
        """Note that a connection owes a request from now on."""
        address = self._members.get(connection)
        if address is not None and connection not in self._waiting:
            self._waiting[connection] = None
            self._waiting_of.setdefault(address, OrderedDict())[connection] = None

    def serve(self, connection: GuardedProtocol) -> None:
        """Note that a whole request of a connection has arrived."""
        if connection in self._waiting:
            del self._waiting[connection]
            address = self._members[connection]
            del self._waiting_of[address][connection]
            if not self._waiting_of[address]:
                del self._waiting_of[address]

    def leave(self, connection: GuardedProtocol) -> None:
        """Forget a connection; more than once is fine."""
        self.serve(connection)
        address = self._members.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP by h11, which bounds the size of a request's head, with bounds of the rest.

    Pass it as `uvicorn.Config(http=…)`. `guarded` makes one with other limits, and with a count of
    its own, which a second server in one process needs.
    """

    room: ClassVar[Room] = Room(MAX_CONNECTIONS, MAX_PER_ADDRESS)
    head_seconds: ClassVar[float] = HEAD_SECONDS
    write_seconds: ClassVar[float] = WRITE_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refused = False
        self._answering: object | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, or close it at once."""
        peer = transport.get_extra_info("peername")
        address = address_key(str(peer[0])) if isinstance(peer, tuple) and peer else ""
        if not self.room.enter(self, address):
            self._refused = True
            transport.abort()
            return
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the room back."""
        self._cancel_timers()
        self.room.leave(self)
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless the connection was refused."""
        if not self._refused:
            super().data_received(data)

    def handle_events(self) -> None:
        """Serve what arrived, and note how far the request has come."""
        super().handle_events()
        if self.cycle is None or self.cycle.response_complete:
            return
        if self.cycle is not self._answering:
            self._answering = self.cycle
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        if not self.cycle.more_body:
            self.room.serve(self)

    def on_response_complete(self) -> None:
        """Wait for the next request: what remains of this one's body does not count as such."""
        self.room.wait(self)
        self._expect_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to read, but not for ever."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _should_upgrade_to_ws(self) -> bool:
        return False

    def _expect_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _cancel_timers(self) -> None:
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._write_timer = None


def guarded(
    max_connections: int = MAX_CONNECTIONS,
    max_per_address: int = MAX_PER_ADDRESS,
    head_seconds: float = HEAD_SECONDS,
    write_seconds: float = WRITE_SECONDS,
) -> type[GuardedProtocol]:
    """A protocol for `uvicorn.Config(http=…)` with limits and a count of its own.

    Args:
        max_connections: In all.
        max_per_address: Of one address (one /64 network of IPv6).
        head_seconds: Within which a whole request head must have arrived.
        write_seconds: Within which a client must read on.
    """
    return type(
        "GuardedProtocol",
        (GuardedProtocol,),
        {
            "room": Room(max_connections, max_per_address),
            "head_seconds": head_seconds,
            "write_seconds": write_seconds,
        },
    )


def raise_file_limit(wanted: int = FILE_LIMIT) -> int | None:
    """Let this process open more files, as far as it may.

    Each connection is a file, and the usual limit of 1024 is near the number of connections.

    Args:
        wanted: How many files to allow, if the hard limit does.

    Returns:
        The limit now; None where the system has none that can be set.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return soft
