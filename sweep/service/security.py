"""Who may ask what of the service: an ASGI wrapper that refuses before the application is called.

The checks go from cheap to dear, and the body is read last, so that nobody without the token can
make the service read one. What stands against what:

* a foreign ``Host``: a page whose name was rebound to this address by DNS;
* ``Origin`` and ``Sec-Fetch-Site``: another site's page that launches or deletes;
* ``Content-Encoding``: a small body that unpacks to a large one;
* limits of size, time and rate: whoever wants the service to be busy;
* the token: everybody else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

from sweep.service.schemas import Problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    Reader = Callable[[], Awaitable[Message]]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
SESSION_COOKIE = "sweep_session"
SESSION_PATH = "/api/v1/session"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC_PATHS = frozenset({"/", "/healthz", "/readyz", "/login", "/launch", "/compare"})
PUBLIC_FOLDERS = ("/static/", "/studies/")

WRONG_TOKENS = 10
"""Different wrong tokens that one address may try at once; they come back over a minute."""
WRONG_TOKENS_SECONDS = 60.0
SESSION_BODY = 4096
"""Bytes of a body at `SESSION_PATH`, which is read from anybody: a token of 500 characters."""
REMEMBERED_ADDRESSES = 10_000
DRAINED_BYTES = 2_097_152
DRAINED_SECONDS = 2.0

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)(?::(\d{1,5}))?")
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


@dataclass(frozen=True)
class Access:
    """Who may reach the service, and how much of it.

    Attributes:
        hosts: Allowed `Host` values, lower case, without port; `allowed_hosts` makes them.
        token: The token that requests must bring, or None where none is needed (loopback).
        max_body: Bytes of a request's body.
        requests_per_second: Of one client address, in the long run.
        burst: Requests that one address may send at once.
        body_seconds: Within which a body must have arrived.
        https: Whether users reach the service by https, through a proxy in front of it.
        any_address: Whether `Host` may be any IP address. DNS can rebind a name, never an
            address, so this is sound wherever the service has a token.
    """

    hosts: frozenset[str]
    token: str | None = field(repr=False)
    max_body: int = 262_144
    requests_per_second: float = 100
    burst: int = 400
    body_seconds: float = 10
    https: bool = False
    any_address: bool = False


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, and not an error of the service
    """A request that is answered by a problem, and not by the application.

    Attributes:
        status: The HTTP status.
        detail: What was found, what is allowed, what to do.
        headers: More headers of the answer, names in lower case.
    """

    def __init__(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def response(self) -> Response:
        """The answer, as `application/problem+json`."""
        problem = Problem(
            title=HTTPStatus(self.status).phrase, status=self.status, detail=self.detail
        )
        response = Response(
            problem.model_dump_json(), self.status, media_type="application/problem+json"
        )
        for name, value in self.headers:
            response.headers.append(name, value)
        return response


async def refusal_response(request: Request, refusal: Exception) -> Response:  # noqa: ARG001
    """Answer a `Refusal` that a route raised: `app.add_exception_handler(Refusal, …)`."""
    if not isinstance(refusal, Refusal):
        raise refusal
    return refusal.response()


# --- rates ---------------------------------------------------------------------------------------


class Buckets:
    """A token bucket for each client address, in bounded memory.

    The address unheard of for longest is forgotten first. Its bucket has had the most time to
    fill, so forgetting gives the least away.

    Args:
        rate: Tokens that come back a second.
        size: Tokens of a full bucket.
        clock: Seconds, never going back.
        addresses: Buckets that are kept.
    """

    def __init__(
        self,
        rate: float,
        size: float,
        clock: Callable[[], float],
        addresses: int = REMEMBERED_ADDRESSES,
    ) -> None:
        self._rate = rate
        self._size = size
        self._clock = clock
        self._addresses = addresses
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def wait(self, address: str) -> float:
        """Seconds until `address` may take a token: 0 where it may now."""
        return max(0.0, (1.0 - self._level(address)) / self._rate)

    def take(self, address: str) -> float:
        """Take a token; where there is none, the seconds until there is one, else 0."""
        wait = self.wait(address)
        if wait == 0:
            self._levels[address] = (self._level(address) - 1.0, self._clock())
            self._levels.move_to_end(address)
            while len(self._levels) > self._addresses:
                self._levels.popitem(last=False)
        return wait

    def _level(self, address: str) -> float:
        now = self._clock()
        level, when = self._levels.get(address, (self._size, now))
        return min(self._size, level + (now - when) * self._rate)


class Tokens:
    """Compares tokens in constant time, and slows down whoever guesses.

    An address has ten guesses, which come back over a minute; without one left nothing that it
    offers is compared. The same wrong token again is not another guess: a page left open with the
    cookie of yesterday shuts nobody out.

    Args:
        token: The right one; None where none is needed.
        clock: Seconds, never going back.
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = None if token is None else token.encode()
        self._session = b"" if token is None else session_value(token).encode()
        self._guesses = Buckets(WRONG_TOKENS / WRONG_TOKENS_SECONDS, WRONG_TOKENS, clock)
        self._refused: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._key = secrets.token_bytes(16)

    @property
    def needed(self) -> bool:
        """Whether requests must bring a token."""
        return self._token is not None

    def check(self, address: str, offered: str | bytes) -> None:
        """Compare a token.

        Args:
            address: The client's, for its number of guesses.
            offered: What it brought.

        Raises:
            Refusal: 401 for a wrong one, 429 where the address has no guess left.
        """
        self._check(address, offered, self._token, "The token is wrong")

    def check_session(self, address: str, offered: str | bytes) -> None:
        """Compare the value of a session cookie, as `check` does a token."""
        self._check(
            address, offered, self._session, "The session of this browser has ended: log in again"
        )

    def _check(self, address: str, offered: str | bytes, right: bytes | None, wrong: str) -> None:
        if self._token is None or right is None:
            return
        given = offered.encode("utf-8", "surrogateescape") if isinstance(offered, str) else offered
        address = address_key(address)
        # Not kept itself: what was mistyped may be the password of something else.
        seen = (address, hashlib.blake2b(given, key=self._key, digest_size=16).digest())
        if seen not in self._refused:
            wait = self._guesses.wait(address)
            if wait:
                raise Refusal(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    f"Too many wrong tokens came from this address ({WRONG_TOKENS} a minute are "
                    f"allowed): wait {_seconds(wait)} s and try again.",
                    ("retry-after", _seconds(wait)),
                )
            if hmac.compare_digest(given, right):
                return
            self._guesses.take(address)
            self._refused[seen] = None
            while len(self._refused) > REMEMBERED_ADDRESSES:
                self._refused.popitem(last=False)
        raise _unauthorised(wrong)


def _unauthorised(found: str) -> Refusal:
    return Refusal(
        HTTPStatus.UNAUTHORIZED,
        f"{found}. Send the token that `sweep serve` was started with, or printed when it "
        "started, as `Authorization: Bearer …`, or log in at /login.",
        ("www-authenticate", 'Bearer realm="sweep"'),
    )


def _seconds(wait: float) -> str:
    return str(max(1, math.ceil(wait)))


# --- the wrapper ---------------------------------------------------------------------------------


class Guard:
    """Refuses what `access` does not allow, and gives every answer its security headers.

    Answers pass through as they come. A request's body is read whole, within its limits, before
    the application is called.

    Args:
        app: The application.
        access: What is allowed.
        clock: Seconds, never going back.
        tokens: Who compares tokens, to share it with the route that logs in; one for
            `access.token` where it is not given.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        clock: Callable[[], float] = time.monotonic,
        tokens: Tokens | None = None,
    ) -> None:
        self.app = app
        self.access = access
        self.tokens = Tokens(access.token, clock) if tokens is None else tokens
        self._rates = Buckets(access.requests_per_second, access.burst, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            # The service has no WebSocket; a close before the handshake is answered by 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_security_headers(scope, send)
        try:
            headers = _Headers(scope)
            limit = self._check(scope, headers)
            if headers.has_body or scope["method"] not in SAFE_METHODS:
                receive = await _read_body(receive, limit, self.access.body_seconds)
        except Refusal as refusal:
            if refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                # Closed while the client still sends, it would see a reset and not the answer.
                await _drain(receive)
            await refusal.response()(scope, receive, send)
        except _Disconnected:
            pass
        else:
            await self.app(scope, receive, send)

    def _check(self, scope: Scope, headers: _Headers) -> int:
        """Check all but the body, and give the most bytes that the body may have."""
        access, path, method = self.access, scope["path"], scope["method"]
        unsafe = method not in SAFE_METHODS
        address = client_address(scope)
        host = _check_host(headers, access)
        _check_encoding(headers)
        limit = min(access.max_body, SESSION_BODY) if path == SESSION_PATH else access.max_body
        _check_length(headers, limit)
        wait = self._rates.take(address_key(address))
        if wait:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many requests came from this address ({access.requests_per_second:g} a "
                f"second are allowed): wait {_seconds(wait)} s and try again.",
                ("retry-after", _seconds(wait)),
            )
        scheme = "https" if access.https else scope.get("scheme", "http")
        _check_origin(headers, f"{scheme}://{host}", unsafe=unsafe, path=path)
        if unsafe and headers.has_body:
            _check_content_type(headers)
        if self.tokens.needed and not is_public(method, path):
            self._check_token(address, headers)
        return limit

    def _check_token(self, address: str, headers: _Headers) -> None:
        bearer = _bearer(headers)
        if bearer is not None:
            self.tokens.check(address, bearer)
            return
        session = _cookie(headers, SESSION_COOKIE)
        if session is None:
            raise _unauthorised("The request has no token")
        try:
            self.tokens.check_session(address, session)
        except Refusal as refusal:
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                refusal.headers += (("set-cookie", ended_session(self.access.https)),)
            raise


class _Headers:
    """The headers of a request, by name; a name may come more than once."""

    def __init__(self, scope: Scope) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self._values.setdefault(name.lower(), []).append(value.strip())

    def all(self, name: bytes) -> list[bytes]:
        return self._values.get(name, [])

    def text(self, name: bytes) -> str | None:
        """The value of a header, all of them joined where it came more than once."""
        values = self.all(name)
        return b", ".join(values).decode("latin-1") if values else None

    @property
    def has_body(self) -> bool:
        return bool(self.all(b"transfer-encoding")) or any(
            value != b"0" for value in self.all(b"content-length")
        )


def is_public(method: str, path: str) -> bool:
    """Whether anybody may ask this: the empty pages, what they are made of, health, logging in."""
    if path == SESSION_PATH:
        return method == "POST"
    if method not in {"GET", "HEAD"} or ".." in path.split("/"):
        return False
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)


def _check_host(headers: _Headers, access: Access) -> str:
    """The `Host` as `name` or `name:port`, once it is an allowed one."""
    hosts = headers.all(b"host")
    match = _HOST.fullmatch(hosts[0].decode("latin-1").lower()) if len(hosts) == 1 else None
    if match is None:
        found = "no Host header" if not hosts else f"the Host {_quoted(headers.text(b'host'))}"
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"The request has {found}; one is needed, as name or name:port.",
        )
    name, port = match.groups()
    if name not in access.hosts and not (access.any_address and _is_address(name)):
        raise Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"This service does not answer to the Host {_quoted(name)}. Use the address that it "
            f"printed when it started, or start it with --allow-host {name} as well.",
        )
    return name if port is None else f"{name}:{int(port)}"


def _check_encoding(headers: _Headers) -> None:
    encoding = headers.text(b"content-encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"The body has the Content-Encoding {_quoted(encoding)}; bodies are read as they are: "
            "send it uncompressed.",
            ("accept-encoding", "identity"),
        )


def _check_length(headers: _Headers, limit: int) -> None:
    values = headers.all(b"content-length")
    if not values:
        return
    if len(set(values)) > 1 or not re.fullmatch(rb"[0-9]{1,19}", values[0]):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"The Content-Length is {_quoted(headers.text(b'content-length'))}; it must be one "
            "whole number of bytes.",
        )
    if int(values[0]) > limit:
        raise _too_large(f"{int(values[0]):,} bytes", limit)


def _too_large(found: str, limit: int) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The body has {found}; at most {limit:,} bytes are read here: send less.",
        ("connection", "close"),
    )


def _check_origin(headers: _Headers, here: str, *, unsafe: bool, path: str) -> None:
    site = headers.text(b"sec-fetch-site")
    if not unsafe:
        # A link from elsewhere may be followed; what a foreign page asks for itself may not.
        navigates = headers.text(b"sec-fetch-mode") == "navigate"
        if site == "cross-site" and path.startswith("/api/") and not navigates:
            raise _foreign("The request comes from a page of another site", here)
        return
    origins = headers.all(b"origin")
    if not origins and headers.all(b"cookie"):
        raise _foreign("The request has a cookie and no Origin", here)
    if origins and (
        len(origins) > 1 or _origin(origins[0].decode("latin-1").lower()) != _origin(here)
    ):
        raise _foreign(f"The request has the Origin {_quoted(headers.text(b'origin'))}", here)
    if site is not None and site not in {"same-origin", "none"}:
        raise _foreign(f"The request comes from elsewhere (Sec-Fetch-Site: {_quoted(site)})", here)


def _foreign(found: str, here: str) -> Refusal:
    return Refusal(
        HTTPStatus.FORBIDDEN,
        f"{found}; only pages of {here}, or programs that send neither Origin nor cookie, may "
        "change anything: open the page there, or use the token in the Authorization header.",
    )


def _origin(text: str) -> str:
    """An origin without the port that its scheme implies."""
    for scheme, port in (("http://", ":80"), ("https://", ":443")):
        if text.startswith(scheme):
            return text.removesuffix(port)
    return text


def _check_content_type(headers: _Headers) -> None:
    found = headers.text(b"content-type")
    if found is None or found.split(";")[0].strip().lower() != "application/json":
        told = "no Content-Type" if found is None else f"the Content-Type {_quoted(found)}"
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"The body has {told}; only application/json is read: send JSON, and say so.",
            ("accept", "application/json"),
        )


def _bearer(headers: _Headers) -> bytes | None:
    for value in headers.all(b"authorization"):
        scheme, _, token = value.partition(b" ")
        if scheme.lower() == b"bearer":
            return token.strip()
    return None


def _cookie(headers: _Headers, wanted: str) -> bytes | None:
    for header in headers.all(b"cookie"):
        for pair in header.split(b";"):
            name, equals, value = pair.strip().partition(b"=")
            if equals and name == wanted.encode():
                return value.strip().strip(b'"')
    return None


def _quoted(text: str | None) -> str:
    """What a client sent, for a sentence: printable and short."""
    shown = ascii(text or "")[1:-1]
    return f"'{shown[:97]}…'" if len(shown) > 100 else f"'{shown}'"


class _Disconnected(Exception):  # noqa: N818 - nothing went wrong
    """The client went away before its body had arrived."""


async def _read_body(receive: Reader, limit: int, seconds: float) -> Reader:
    """Read a body of at most `limit` bytes within `seconds`, and give a `receive` that tells it."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Disconnected
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise _too_large("more bytes than allowed", limit)
    except TimeoutError:
        raise Refusal(
            HTTPStatus.REQUEST_TIMEOUT,
            f"The body had not arrived after {seconds:g} s: send it at once.",
            ("connection", "close"),
        ) from None
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return replay


async def _drain(receive: Reader) -> None:
    """Read and forget the rest of a body, as far as that is worth it."""
    size = 0
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            while size < DRAINED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _with_security_headers(scope: Scope, send: Send) -> Send:
    """A `send` that adds the headers; a policy or caching that the application chose stays."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            forced = {name for name, _ in _ALWAYS}
            headers = [pair for pair in message.get("headers", []) if pair[0].lower() not in forced]
            given = {name.lower() for name, _ in headers}
            headers += _ALWAYS
            if b"content-security-policy" not in given:
                headers.append((b"content-security-policy", CONTENT_SECURITY_POLICY.encode()))
            if b"cache-control" not in given and scope["path"].startswith("/api"):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await send(message)

    return sending


# --- addresses, tokens and cookies ---------------------------------------------------------------


def client_address(scope: Scope) -> str:
    """The address that a request comes from; empty where the server does not tell."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def address_key(address: str) -> str:
    """What limits count by: an IPv4 address, or the /64 network of an IPv6 one.

    A single IPv6 host commonly owns a whole /64 and could come from a new address every time.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) & ~((1 << 64) - 1), 64)))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine alone."""
    name = host.strip().lower().strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def allowed_hosts(host: str, extra: Iterable[str] = ()) -> frozenset[str]:
    """The `Host` values of a server bound to `host`.

    Args:
        host: The address or name that it is bound to.
        extra: More names, as `--allow-host` gives them; a port is left away.

    Returns:
        The loopback names always (health is asked for there); beyond loopback `host` and this
        machine's name as well; and `extra`.
    """
    names = {_host_name(name) for name in extra}
    if not is_loopback(host):
        names.add(socket.gethostname().lower())
    if host not in {"", "0.0.0.0", "::", "[::]"}:
        names.add(_host_name(host))
    return LOOPBACK_NAMES | names


def _host_name(text: str) -> str:
    """A name as `Host` has it: lower case, no port, brackets around IPv6."""
    name = text.strip().lower()
    if not name.startswith("[") and name.count(":") > 1:
        return f"[{name}]"
    match = _HOST.fullmatch(name)
    return name if match is None else match[1]


def new_token(rng: Callable[[int], str] = secrets.token_urlsafe) -> str:
    """A token of 256 random bits."""
    return rng(32)


def session_value(token: str) -> str:
    """The value of the session cookie: made from the token, which it does not give away."""
    digest = hmac.digest(token.encode(), b"sweep session", "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def session_cookie(token: str, https: bool) -> str:
    """A `Set-Cookie` value that logs a browser in until it is closed.

    Args:
        token: The token of the service.
        https: Whether browsers come by https; the cookie is then sent by nothing else.
    """
    return _set_cookie(session_value(token), https)


def ended_session(https: bool) -> str:
    """A `Set-Cookie` value that logs a browser out."""
    return _set_cookie("", https) + "; Max-Age=0"


def _set_cookie(value: str, https: bool) -> str:
    secure = "; Secure" if https else ""
    return f"{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"
