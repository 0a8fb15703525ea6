"""Connections that do not end, against a real server on loopback."""

import asyncio
import http.client
import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sweep.errors import ConfigError
from sweep.service.connections import GuardedProtocol, guarded, raise_file_limit
from sweep.service.security import LOOPBACK_NAMES, Access, Guard
from sweep.service.server import listening
from sweep.service.settings import ServiceSettings

PATIENCE = 60.0


async def echo(request: Request) -> Response:
    return JSONResponse({"size": len(await request.body())})


async def events(_request: Request) -> Response:
    async def pieces() -> Any:
        yield b"data: first\n\n"
        while True:
            await asyncio.sleep(0.2)
            yield b": still here\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def flood(_request: Request) -> Response:
    async def pieces() -> Any:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)  # to hear of a client that has left

    return StreamingResponse(pieces())


class Running:
    """A server on a free port of loopback."""

    def __init__(self, protocol: type[GuardedProtocol], **limits: Any) -> None:
        self.protocol = protocol
        app = Starlette(
            routes=[
                Route("/events", events),
                Route("/flood", flood),
                Route("/{path:path}", echo, methods=["GET", "POST"]),
            ]
        )
        limits = {"requests_per_second": 1e6, "burst": 1_000_000, **limits}
        access = Access(hosts=LOOPBACK_NAMES, token=None, **limits)
        self.server = uvicorn.Server(
            uvicorn.Config(
                Guard(app, access),
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=1,
            )
        )
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True
        )

    def __enter__(self) -> "Running":
        self.thread.start()
        wait_for(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    @property
    def connections(self) -> int:
        return len(self.protocol.room)

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection from an address of loopback."""
        there = ("127.0.0.1", self.port)
        return socket.create_connection(there, timeout=PATIENCE, source_address=(source, 0))

    def ask(self, body: bytes | None = None) -> int:
        """The status of a whole request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection):
            kind = {"Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", "/api/v1/studies", body, kind)
            response = connection.getresponse()
            response.read()
            return response.status


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers, and stops them."""
    with ExitStack() as stack:
        yield lambda protocol, **limits: stack.enter_context(Running(protocol, **limits))


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    """Closes what is entered."""
    with ExitStack() as stack:
        yield stack


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds; the bound only keeps a broken test from hanging."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, sooner or later."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def part_of_a_head(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")


def test_a_thousand_slow_connections_are_bounded_and_others_are_answered(
    start: Start, sockets: ExitStack
) -> None:
    limit = raise_file_limit()
    if limit is not None and limit < 4096:
        pytest.skip("this machine allows too few open files for both ends of 1,000 connections")
    server = start(guarded(head_seconds=PATIENCE * 10))
    slow = []
    for number in range(1000):
        connection = sockets.enter_context(server.connect())
        part_of_a_head(connection)
        slow.append(connection)
        if number % 100 == 99:
            assert server.ask() == 200
            assert server.ask(b"{}") == 200
    # The latest stay; the oldest made room for them. The healthy ones came from this address too.
    assert server.connections <= 600
    assert all(is_closed(connection) for connection in slow[:400])
    wait_for(lambda: len(server.server.server_state.connections) <= 600)
    slow[-1].sendall(b"x\r\nConnection: close\r\n\r\n")
    assert slow[-1].recv(12) == b"HTTP/1.1 200"


@pytest.mark.skipif(sys.platform != "linux", reason="loopback has one address elsewhere")
def test_slow_connections_of_many_addresses_are_bounded_in_all(
    start: Start, sockets: ExitStack
) -> None:
    server = start(guarded(max_connections=50, max_per_address=30, head_seconds=PATIENCE * 10))
    for number in range(200):
        part_of_a_head(sockets.enter_context(server.connect(f"127.0.1.{number % 40 + 1}")))
        if number % 50 == 49:
            assert server.ask() == 200
    assert server.connections <= 50


def test_an_address_with_its_full_number_makes_room_itself(
    start: Start, sockets: ExitStack
) -> None:
    if sys.platform != "linux":
        pytest.skip("loopback has one address elsewhere")
    server = start(guarded(max_connections=50, max_per_address=5, head_seconds=PATIENCE * 10))
    patient = sockets.enter_context(server.connect())
    part_of_a_head(patient)
    wait_for(lambda: server.connections == 1)
    greedy = [sockets.enter_context(server.connect("127.0.0.2")) for _ in range(40)]
    assert all(is_closed(connection) for connection in greedy[:35])
    assert server.connections == 6
    patient.sendall(b"x\r\n\r\n")
    assert patient.recv(12) == b"HTTP/1.1 200"


def test_an_open_stream_of_events_is_never_closed_for_a_newcomer(
    start: Start, sockets: ExitStack
) -> None:
    server = start(guarded(max_connections=5, max_per_address=5, head_seconds=PATIENCE * 10))
    viewer = sockets.enter_context(server.connect())
    viewer.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    read = viewer.makefile("rb")
    while read.readline() != b"data: first\n":
        pass
    for _ in range(30):
        part_of_a_head(sockets.enter_context(server.connect()))
    assert server.ask() == 200
    for _ in range(3):
        while read.readline() != b": still here\n":
            pass


def test_beyond_the_limit_of_busy_connections_a_newcomer_is_closed_at_once(
    start: Start, sockets: ExitStack
) -> None:
    server = start(guarded(max_connections=2, max_per_address=2))
    viewers = []
    for _ in range(2):
        viewer = sockets.enter_context(server.connect())
        viewer.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert viewer.recv(12) == b"HTTP/1.1 200"
        viewers.append(viewer)
    assert is_closed(sockets.enter_context(server.connect()))
    assert server.connections == 2
    viewers[0].close()
    wait_for(lambda: server.connections == 1)
    assert server.ask() == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET",
    ],
    ids=["nothing", "a byte", "no end of the head", "part of a second request"],
)
def test_a_head_that_does_not_arrive_closes_the_connection(
    sent: bytes, start: Start, sockets: ExitStack
) -> None:
    server = start(guarded(head_seconds=0.2))
    connection = sockets.enter_context(server.connect())
    connection.sendall(sent)
    assert is_closed(connection)
    wait_for(lambda: server.connections == 0)


def test_a_head_that_trickles_in_is_not_given_more_time(start: Start, sockets: ExitStack) -> None:
    server = start(guarded(head_seconds=0.5))
    connection = sockets.enter_context(server.connect())
    part_of_a_head(connection)

    def trickles() -> bool:
        try:
            connection.sendall(b"x")
        except ConnectionError:
            return False
        time.sleep(0.02)
        return True

    end = time.monotonic() + PATIENCE
    while trickles():
        assert time.monotonic() < end
    assert server.connections == 0


def test_a_body_that_trickles_in_is_answered_by_408_and_closed(
    start: Start, sockets: ExitStack
) -> None:
    server = start(guarded(), body_seconds=0.2)
    connection = sockets.enter_context(server.connect())
    connection.sendall(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{"
    )
    assert connection.recv(12) == b"HTTP/1.1 408"
    assert is_closed(connection)


def test_what_remains_of_a_refused_body_may_not_trickle_in_either(
    start: Start, sockets: ExitStack
) -> None:
    server = start(guarded(head_seconds=0.3))
    connection = sockets.enter_context(server.connect())
    connection.sendall(
        b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10000\r\n\r\n{"
    )
    assert connection.recv(12) == b"HTTP/1.1 421"
    assert is_closed(connection)


def test_slow_bodies_make_room_as_well(start: Start, sockets: ExitStack) -> None:
    server = start(guarded(max_connections=20, max_per_address=20), body_seconds=PATIENCE * 10)
    for _ in range(60):
        connection = sockets.enter_context(server.connect())
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
    assert server.ask(b"{}") == 200
    assert server.connections <= 20


def test_a_client_that_reads_nothing_is_let_go(start: Start, sockets: ExitStack) -> None:
    server = start(guarded(write_seconds=0.3))
    connection = sockets.enter_context(server.connect())
    connection.sendall(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: server.connections == 1)
    wait_for(lambda: server.connections == 0)
    assert server.ask() == 200


def test_a_large_declared_body_is_refused_with_a_sentence_that_arrives(start: Start) -> None:
    assert start(guarded()).ask(b"x" * 1_000_000) == 413


def test_a_head_without_end_is_refused(start: Start, sockets: ExitStack) -> None:
    server = start(guarded())
    connection = sockets.enter_context(server.connect())
    part_of_a_head(connection)
    try:
        for _ in range(100):
            connection.sendall(b"x" * 10_000)
    except ConnectionError:
        pass
    assert is_closed(connection)
    assert server.ask() == 200


def test_requests_one_after_the_other_share_a_connection(start: Start) -> None:
    server = start(guarded(max_connections=1, max_per_address=1))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with closing(connection):
        for size in (0, 10, 70_000, 200_000):
            body = b"x" * size
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            assert json.loads(connection.getresponse().read()) == {"size": size}
        assert server.connections == 1


def test_a_refused_request_leaves_its_connection_fit_for_the_next(start: Start) -> None:
    server = start(guarded(), max_body=100_000)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    kind = {"Content-Type": "application/json"}
    with closing(connection):
        for _ in range(20):
            headers = {**kind, "Origin": "http://evil.example"}
            connection.request("POST", "/", b"x" * 90_000, headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 403
            connection.request("POST", "/", b"x" * 90_000, kind)
            assert json.loads(connection.getresponse().read()) == {"size": 90_000}


def test_requests_that_come_at_once_are_answered_in_order(start: Start, sockets: ExitStack) -> None:
    server = start(guarded())
    connection = sockets.enter_context(server.connect())
    one = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    connection.sendall(one * 3 + last)
    answers = b""
    while part := connection.recv(65_536):
        answers += part
    assert answers.count(b"HTTP/1.1 200") == 4


def test_a_websocket_is_not_spoken(start: Start, sockets: ExitStack) -> None:
    server = start(guarded())
    connection = sockets.enter_context(server.connect())
    connection.sendall(
        b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert connection.recv(12) == b"HTTP/1.1 200"
    assert server.connections == 1


def test_counts_are_not_shared_between_protocols(start: Start, sockets: ExitStack) -> None:
    one, other = start(guarded()), start(guarded())
    sockets.enter_context(one.connect())
    wait_for(lambda: one.connections == 1)
    assert other.connections == 0


def test_the_limit_of_open_files_is_raised_as_far_as_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
        limit = raise_file_limit(2048)
        assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert limit == (2048 if before[1] == resource.RLIM_INFINITY else min(2048, before[1]))
        assert raise_file_limit(1024) == limit  # never lowered
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_answer_waits_for_an_acknowledgement(host: str, tmp_path: Path) -> None:
    settings = ServiceSettings(storage="sqlite://", studies=tmp_path, host=host, port=0)
    try:
        listener = listening(settings)
    except ConfigError:
        pytest.skip("this machine has no such address")
    with listener, socket.create_connection(listener.getsockname()[:2], PATIENCE):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
