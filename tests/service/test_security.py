"""What the guard refuses, and what it lets through, on a small application."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sweep.service import security
from sweep.service.schemas import Problem
from sweep.service.security import (
    CONTENT_SECURITY_POLICY,
    LOOPBACK_NAMES,
    SESSION_COOKIE,
    Access,
    Buckets,
    Guard,
    Refusal,
    Tokens,
    address_key,
    allowed_hosts,
    ended_session,
    is_loopback,
    is_public,
    new_token,
    refusal_response,
    session_cookie,
    session_value,
)

TOKEN = "a-right-token-0123456789"
OPEN = Access(hosts=LOOPBACK_NAMES, token=None)
CLOSED = replace(OPEN, token=TOKEN)
HERE = "http://localhost:8000"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def echo(request: Request) -> Response:
    return JSONResponse({"path": request.url.path, "size": len(await request.body())})


async def own_headers(_request: Request) -> Response:
    headers = {"Cache-Control": "max-age=60", "X-Frame-Options": "ALLOWALL"}
    return PlainTextResponse("mine", headers=headers)


async def log_in(request: Request) -> Response:
    tokens: Tokens = request.app.state.tokens
    tokens.check(request.client.host if request.client else "", (await request.json())["token"])
    return Response(status_code=204, headers={"Set-Cookie": session_cookie(TOKEN, https=False)})


async def fails(_request: Request) -> Response:
    raise RuntimeError("inside")


def application(tokens: Tokens) -> Starlette:
    methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    app = Starlette(
        routes=[
            Route("/api/v1/own", own_headers),
            Route("/api/v1/fails", fails),
            Route("/api/v1/session", log_in, methods=["POST"]),
            Route("/{path:path}", echo, methods=methods),
        ],
        exception_handlers={Refusal: refusal_response},
    )
    app.state.tokens = tokens
    return app


@asynccontextmanager
async def client_of(
    access: Access, clock: Callable[[], float] | None = None, address: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    clock = Clock() if clock is None else clock
    tokens = Tokens(access.token, clock)
    guard = Guard(application(tokens), access, clock, tokens)
    transport = httpx.ASGITransport(guard, raise_app_exceptions=False, client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
        yield client


def answers(
    access: Access,
    *requests: dict[str, Any],
    clock: Clock | None = None,
) -> list[httpx.Response]:
    """Send requests one after the other; `tick` seconds pass before a request that has it."""
    clock = Clock() if clock is None else clock

    async def send_all() -> list[httpx.Response]:
        async with client_of(access, clock) as client:
            got = []
            for request in requests:
                clock.now += request.pop("tick", 0.0)
                request = {"method": "GET", "url": "/api/v1/studies", **request}
                got.append(await client.request(**request))
                client.cookies.clear()
            return got

    return asyncio.run(send_all())


def answer(access: Access, **request: Any) -> httpx.Response:
    return answers(access, request)[0]


def refused(response: httpx.Response, status: int, *told: str) -> None:
    """The answer is a problem of that status which tells `told`, and never the token."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert problem.status == status
    for words in told:
        assert words in problem.detail
    assert TOKEN not in response.text
    assert_secure(response)


def assert_secure(response: httpx.Response) -> None:
    headers = response.headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"


# --- Host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1:8000", "[::1]:8000", "[::1]"]
)
def test_loopback_names_are_allowed_hosts(host: str) -> None:
    assert answer(OPEN, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "localhost.evil:80", "192.168.1.5", "0.0.0.0"],
)
def test_a_foreign_host_is_misdirected(host: str) -> None:
    refused(answer(OPEN, headers={"Host": host}), 421, host.split(":")[0], "--allow-host")


@pytest.mark.parametrize(
    "host",
    ["", "a b", "localhost:port", "localhost:123456", "http://localhost", "[::1", b"\xe9", "a/b"],
)
def test_a_malformed_host_is_a_bad_request(host: str | bytes) -> None:
    refused(answer(OPEN, headers={"Host": host}), 400, "Host")


def test_a_host_given_twice_or_never_is_a_bad_request() -> None:
    for headers in ([], [(b"host", b"localhost"), (b"host", b"evil.example")]):
        sent = asyncio.run(raw(OPEN, headers=headers))
        assert sent[0]["status"] == 400


def test_any_ip_address_is_a_host_only_where_that_is_allowed() -> None:
    outside = replace(CLOSED, any_address=True)
    for host in ("192.168.1.5:8000", "[fe80::1]:8000"):
        assert answer(outside, headers={"Host": host, **BEARER}).status_code == 200
        refused(answer(CLOSED, headers={"Host": host, **BEARER}), 421)
    refused(answer(outside, headers={"Host": "evil.example", **BEARER}), 421)


# --- Origin --------------------------------------------------------------------------------------


def post(**headers: str) -> dict[str, Any]:
    return {"method": "POST", "json": {}, "headers": headers}


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost:8001",
        "https://localhost:8000",
        "http://localhost:8000.evil.example",
        "http://127.0.0.1:8000",
        "null",
        "",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_foreign_origin_changes_nothing(origin: str, method: str) -> None:
    request = {**post(Origin=origin, **BEARER), "method": method}
    refused(answer(CLOSED, **request), 403, "Origin", HERE)


def test_the_own_origin_and_programs_without_one_may_post() -> None:
    assert answer(OPEN, **post(Origin=HERE)).status_code == 200
    assert answer(OPEN, **post()).status_code == 200
    assert answer(OPEN, **post(Origin=HERE, Cookie="a=b")).status_code == 200
    # The port that a scheme implies may be written or not.
    for origin, host in [
        ("http://localhost", "localhost:80"),
        ("http://localhost:80", "localhost"),
    ]:
        assert answer(OPEN, **post(Origin=origin, Host=host)).status_code == 200


def test_behind_a_proxy_with_https_the_origin_is_https() -> None:
    proxied = replace(OPEN, https=True)
    assert answer(proxied, **post(Origin="https://localhost:8000")).status_code == 200
    refused(answer(proxied, **post(Origin=HERE)), 403)


def test_a_cookie_without_an_origin_changes_nothing() -> None:
    cookie = f"{SESSION_COOKIE}={session_value(TOKEN)}"
    refused(answer(CLOSED, **post(Cookie=cookie)), 403, "cookie")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_a_request_of_another_site_changes_nothing(site: str) -> None:
    refused(answer(OPEN, **post(**{"Sec-Fetch-Site": site})), 403, site)
    refused(answer(OPEN, **post(**{"Sec-Fetch-Site": site, "Origin": HERE})), 403, site)


def test_another_site_may_link_to_a_file_but_not_read_the_api() -> None:
    foreign = {"Sec-Fetch-Site": "cross-site"}
    refused(answer(OPEN, headers={**foreign, "Sec-Fetch-Mode": "no-cors"}), 403)
    assert answer(OPEN, headers={**foreign, "Sec-Fetch-Mode": "navigate"}).status_code == 200


# --- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "text/json", ""]
)
def test_a_body_that_does_not_say_it_is_json_is_refused(kind: str) -> None:
    request = {"method": "POST", "content": b"{}", "headers": {"Content-Type": kind}}
    refused(answer(OPEN, **request), 415, "application/json")


def test_a_body_without_a_content_type_is_refused() -> None:
    refused(answer(OPEN, method="POST", content=b"{}"), 415, "no Content-Type")


def test_json_with_a_charset_and_a_delete_without_a_body_are_fine() -> None:
    kind = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert answer(OPEN, method="POST", content=b"{}", headers=kind).json()["size"] == 2
    assert answer(OPEN, method="DELETE").status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "x"])
def test_a_compressed_body_is_refused(encoding: str) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    refused(answer(OPEN, method="POST", content=b"{}", headers=headers), 415, encoding)


def in_parts(size: int, part: int = 1000) -> Callable[[], AsyncIterator[bytes]]:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, size, part):
            yield b"x" * min(part, size - start)

    return parts


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_just_the_limit_is_read_whole_and_one_more_byte_is_refused(
    declared: bool,
) -> None:
    access = replace(OPEN, max_body=5000)
    headers = {"Content-Type": "application/json"}
    sizes = (5000, 5001, 1_000_000)
    bodies = [b"x" * size if declared else in_parts(size)() for size in sizes]
    fits, *over = answers(
        access,
        *({"method": "POST", "content": body, "headers": dict(headers)} for body in bodies),
    )
    assert fits.json()["size"] == 5000
    for response in over:
        refused(response, 413, "5,000")
        assert response.headers["connection"] == "close"


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "5, 6", "9" * 30, ""])
def test_a_malformed_content_length_is_a_bad_request(length: str) -> None:
    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"content-length", length.encode()),
    ]
    sent = asyncio.run(raw(OPEN, method="POST", headers=headers))
    assert sent[0]["status"] == 400


def test_a_body_that_does_not_arrive_is_timed_out() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = answer(
        replace(OPEN, body_seconds=0.05),
        method="POST",
        content=never(),
        headers={"Content-Type": "application/json"},
    )
    refused(response, 408, "0.05 s")


def test_logging_in_reads_a_small_body_only() -> None:
    headers = {"Content-Type": "application/json"}
    response = answer(
        CLOSED, method="POST", url="/api/v1/session", content=b"x" * 4097, headers=headers
    )
    refused(response, 413, "4,096")


def test_a_body_is_not_read_for_whoever_has_no_token() -> None:
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x", "more_body": True}

    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"transfer-encoding", b"chunked"),
    ]
    sent = asyncio.run(raw(CLOSED, method="POST", headers=headers, receive=receive))
    assert (sent[0]["status"], read) == (401, 0)


def test_a_client_that_leaves_within_its_body_gets_no_answer_and_reaches_no_route() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    assert asyncio.run(raw(OPEN, method="POST", headers=headers, receive=receive)) == []


# --- rates ---------------------------------------------------------------------------------------


def test_an_address_is_slowed_down_after_its_burst_and_served_again_later() -> None:
    access = replace(OPEN, requests_per_second=2, burst=3)
    got = answers(access, {}, {}, {}, {}, {"tick": 0.5}, {}, {"tick": 100.0}, {}, {}, {})
    statuses = [response.status_code for response in got]
    assert statuses == [200, 200, 200, 429, 200, 429, 200, 200, 200, 429]
    refused(got[3], 429, "2 a second")
    assert got[3].headers["retry-after"] == "1"


def test_one_address_does_not_slow_down_another() -> None:
    buckets = Buckets(rate=1, size=1, clock=Clock())
    assert buckets.take("10.0.0.1") == 0
    assert buckets.take("10.0.0.1") == 1
    assert buckets.take("10.0.0.2") == 0


def test_rates_of_a_million_addresses_take_bounded_memory() -> None:
    buckets = Buckets(rate=1, size=1, clock=Clock(), addresses=100)
    for number in range(10_000):
        buckets.take(str(number))
    assert len(buckets) == 100
    assert buckets.take("9999") == 1  # the latest are the ones that are kept


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_client_cannot_take_a_new_address_for_each_request(address: str, key: str) -> None:
    assert address_key(address) == key


# --- tokens --------------------------------------------------------------------------------------


def test_without_a_token_nothing_of_the_api_is_told() -> None:
    for path in ("/api/v1/studies", "/metrics", "/openapi.json", "/docs", "/dashboard/", "/nope"):
        response = answer(CLOSED, url=path)
        refused(response, 401, "no token", "/login")
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_token_opens_by_header_and_by_cookie() -> None:
    cookie = f"other=1; {SESSION_COOKIE}={session_value(TOKEN)}"
    assert answer(CLOSED, headers=BEARER).status_code == 200
    assert answer(CLOSED, headers={"Authorization": f"bearer  {TOKEN} "}).status_code == 200
    assert answer(CLOSED, headers={"Cookie": cookie}).status_code == 200
    assert answer(CLOSED, **post(Cookie=cookie, Origin=HERE)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN.upper()}"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Cookie": f"{SESSION_COOKIE}=wrong"},
        {"Cookie": f"{SESSION_COOKIE}={TOKEN}"},  # the cookie is made from it, and is not it
        {"Cookie": f"x{SESSION_COOKIE}={session_value(TOKEN)}"},
    ],
)
def test_a_wrong_token_is_refused(headers: dict[str, Any]) -> None:
    refused(answer(CLOSED, headers=headers), 401)


def test_a_token_in_the_query_is_no_token() -> None:
    refused(answer(CLOSED, url=f"/api/v1/studies?token={TOKEN}"), 401)


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, right: bytes) -> bool:
        compared.append((given, right))
        return given == right

    monkeypatch.setattr(security.hmac, "compare_digest", compare)
    answer(CLOSED, headers=BEARER)
    answer(CLOSED, headers={"Authorization": "Bearer no"})
    assert compared == [(TOKEN.encode(), TOKEN.encode()), (b"no", TOKEN.encode())]


def test_anybody_sees_the_empty_pages_health_and_what_pages_are_made_of() -> None:
    for path in (
        "/",
        "/studies/movielens-100k",
        "/launch",
        "/compare",
        "/login",
        "/healthz",
        "/readyz",
        "/static/app.js",
    ):
        response = answer(CLOSED, url=path)
        assert response.status_code == 200, path
        assert_secure(response)
        refused(answer(CLOSED, method="DELETE", url=path), 401)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/static/../api/v1/studies"),
        ("GET", "/studies/../api/v1/studies"),
        ("GET", "/static"),
        ("GET", "/healthz/"),
        ("GET", "//"),
        ("GET", "/api/v1/session"),
        ("DELETE", "/api/v1/session"),
        ("POST", "/api/v1/session/"),
        ("POST", "/login"),
    ],
)
def test_a_path_that_only_resembles_a_public_one_is_not_public(method: str, path: str) -> None:
    assert not is_public(method, path)


def guess(number: int, **more: Any) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer guess-{number}"}, **more}


def test_after_ten_wrong_tokens_nothing_is_compared_for_a_while() -> None:
    clock = Clock()
    got = answers(
        CLOSED,
        *(guess(number) for number in range(12)),
        {"headers": dict(BEARER)},  # else 429 would say that a guess was wrong
        {},
        guess(100, tick=6.0),
        guess(101),
        {"headers": dict(BEARER), "tick": 6.0},
        clock=clock,
    )
    statuses = [response.status_code for response in got]
    assert statuses == [401] * 10 + [429] * 2 + [429, 401, 401, 429, 200]
    refused(got[10], 429, "wrong tokens", "10 a minute")
    assert got[10].headers["retry-after"] == "6"


def test_the_same_stale_cookie_shuts_nobody_out_and_is_taken_away() -> None:
    stale = {"headers": {"Cookie": f"{SESSION_COOKIE}=of-yesterday"}}
    got = answers(CLOSED, *({**stale} for _ in range(50)), {"headers": dict(BEARER)})
    assert [response.status_code for response in got] == [401] * 50 + [200]
    assert got[0].headers["set-cookie"] == ended_session(https=False)


def test_guesses_at_logging_in_are_counted_as_well() -> None:
    def log_in_with(token: str) -> dict[str, Any]:
        return {"method": "POST", "url": "/api/v1/session", "json": {"token": token}}

    got = answers(
        CLOSED, *(log_in_with(f"guess-{number}") for number in range(11)), {"headers": dict(BEARER)}
    )
    assert [response.status_code for response in got] == [401] * 10 + [429, 429]
    refused(got[0], 401)

    fine = answer(CLOSED, **log_in_with(TOKEN))
    assert fine.status_code == 204
    assert session_value(TOKEN) in fine.headers["set-cookie"]


def test_without_a_token_to_check_any_is_as_good() -> None:
    assert answer(OPEN, headers={"Authorization": "Bearer anything"}).status_code == 200


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(CLOSED)


def test_session_cookies_are_strict_and_do_not_give_the_token_away() -> None:
    plain, secure = session_cookie(TOKEN, https=False), session_cookie(TOKEN, https=True)
    assert TOKEN not in plain
    assert plain.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert secure == plain + "; Secure"
    assert ended_session(https=False).startswith(f"{SESSION_COOKIE}=;")
    odd = session_cookie("ü; Domain=evil.example", https=False)
    assert odd.isascii()
    assert "evil" not in odd


def test_new_tokens_are_long_and_differ() -> None:
    assert len(new_token()) >= 43
    assert new_token() != new_token()
    assert new_token(lambda size: "x" * size) == "x" * 32


# --- answers -------------------------------------------------------------------------------------


def test_answers_of_the_api_are_not_stored_unless_the_application_says_so() -> None:
    assert answer(OPEN).headers["cache-control"] == "no-store"
    own = answer(OPEN, url="/api/v1/own")
    assert own.headers["cache-control"] == "max-age=60"
    assert own.headers.get_list("x-frame-options") == ["DENY"]
    assert "cache-control" not in answer(OPEN, url="/static/app.js").headers


def test_even_a_failure_has_its_security_headers_and_tells_nothing() -> None:
    response = answer(OPEN, url="/api/v1/fails")
    assert response.status_code == 500
    assert "inside" not in response.text
    assert_secure(response)


def test_what_a_client_sent_is_quoted_short_and_printable() -> None:
    response = answer(OPEN, **post(Origin="http://<script>" + "x" * 5000))
    refused(response, 403, "<script>")  # as JSON, with nosniff
    assert len(response.text) < 1000
    assert json.loads(response.text)["title"] == "Forbidden"


async def raw(
    access: Access,
    method: str = "GET",
    headers: list[tuple[bytes, bytes]] | None = None,
    receive: Callable[[], Awaitable[Any]] | None = None,
    app: Any = None,
    kind: str = "http",
) -> list[dict[str, Any]]:
    """What the guard sends for a request that httpx would not write."""
    sent: list[dict[str, Any]] = []

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "method": method,
        "path": "/api/v1/studies",
        "raw_path": b"/api/v1/studies",
        "query_string": b"",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost")] if headers is None else headers,
    }
    guard = Guard(application(Tokens(None)) if app is None else app, access, Clock())
    await guard(scope, nothing if receive is None else receive, send)
    return sent


NAMES = [
    b"host",
    b"origin",
    b"cookie",
    b"authorization",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"transfer-encoding",
    b"sec-fetch-site",
]
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"localhost",
            b"localhost:8080",
            b"http://localhost",
            b"application/json",
            b"2",
            b"chunked",
            f"Bearer {TOKEN}".encode(),
            f"{SESSION_COOKIE}=;;=".encode(),
            b"same-origin",
        ]
    ),
)


@given(
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "X"]),
    headers=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8),
)
@settings(max_examples=500, deadline=None)
def test_no_headers_make_the_guard_fail_or_let_a_request_without_the_token_through(
    method: str, headers: list[tuple[bytes, bytes]]
) -> None:
    reached = False

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal reached
        reached = True
        await PlainTextResponse("reached")({"type": "http"}, _receive, send)

    sent = asyncio.run(raw(CLOSED, method=method, headers=headers, app=app))
    if reached:
        assert (b"authorization", f"Bearer {TOKEN}".encode()) in headers
        assert any(name == b"host" and value.startswith(b"localhost") for name, value in headers)
    else:
        assert sent[0]["status"] in {400, 401, 403, 413, 415, 421}


def test_a_websocket_is_closed() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    sent = asyncio.run(raw(OPEN, kind="websocket", receive=receive))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_stream_passes_piece_by_piece_and_hears_that_its_viewer_left() -> None:
    """The second piece is only made once the first has been sent: a buffer would wait for ever."""
    arrived = asyncio.Event()
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await arrived.wait()
        yield b"second"
        closed.set()
        await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(pieces())(scope, receive, send)

    async def watch() -> list[bytes]:
        got: list[bytes] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body" and message["body"]:
                got.append(message["body"])
                arrived.set()

        async def receive() -> dict[str, Any]:
            await closed.wait()
            return {"type": "http.disconnect"}

        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.3"},
            "method": "GET",
            "path": "/api/v1/studies/a/events",
            "headers": [(b"host", b"localhost")],
        }
        await asyncio.wait_for(Guard(app, OPEN, Clock())(scope, receive, send), 30)
        return got

    assert asyncio.run(watch()) == [b"first", b"second"]


# --- addresses to bind to ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "[::1]"]
)
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "192.168.1.5", "example.com", "localhost.example.com", "127.0.0"]
)
def test_what_others_can_reach_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_allowed_hosts_are_loopback_what_is_bound_to_and_what_was_named() -> None:
    assert allowed_hosts("127.0.0.1") == LOOPBACK_NAMES
    assert allowed_hosts("localhost", ["Sweep.Example:443"]) == LOOPBACK_NAMES | {"sweep.example"}
    outside = allowed_hosts("0.0.0.0", ["sweep.example"])
    assert outside > LOOPBACK_NAMES | {"sweep.example"}
    assert "0.0.0.0" not in outside
    assert "[fe80::1]" in allowed_hosts("fe80::1")
