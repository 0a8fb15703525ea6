"""What the service says to whoever runs it: one line for each event, on standard error.

Tokens, cookies and passwords are never logged: no header and no query is, and what else might hold
one (the URL of a store within an error) is masked on its way out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import optuna

from sweep.service.security import client_address

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGGERS = ("sweep", "uvicorn")
PATH_LENGTH = 1000
"""Characters of a path that are logged."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is being served; every event in the course of it is logged with it."""

# Bounded, so that no text takes long to search. The last @ counts: a password may hold one.
_IN_URL = re.compile(r"(://[^\s:/@]{0,200}):\S{0,500}@")
_NAMED = re.compile(
    r"""(?i)(password|passwd|token|session|secret)(["']?\s{0,4}[=:]\s{0,4}["']?)[^\s"',;&]+"""
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s{1,4}[a-z0-9._~+/=-]{12,}")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def masked(text: str) -> str:
    """The text without passwords in URLs, and without what is called a password or a token."""
    text = _IN_URL.sub(r"\1:***@", text)
    text = _BEARER.sub(r"\1 ***", text)
    return _NAMED.sub(r"\1\2***", text)


def escaped(text: str) -> str:
    """The text on one line: what cannot be printed (line ends, terminal codes) is escaped."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


class MaskSecrets(logging.Filter):
    """Masks the message of an event, its fields and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask `record` in place; nothing is held back."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # wrong arguments: no reason to lose the event
            message = str(record.msg)
        record.msg, record.args = masked(message), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = masked("".join(traceback.format_exception(*record.exc_info)).rstrip())
        for name, value in _fields(record).items():
            if isinstance(value, str):
                setattr(record, name, masked(value))
        return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra=`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """An event as one line of JSON: time, level, logger, event, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= _fields(record)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """An event as one line for a person; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {"request_id": request_id.get(), **_fields(record)}
        parts = [_time(record), record.levelname.lower(), escaped(record.getMessage())]
        parts += [
            f"{name}={escaped(str(value))}" for name, value in fields.items() if value is not None
        ]
        line = " ".join(parts)
        if record.exc_info and record.exc_info[0] is not None:
            error = record.exc_text or self.formatException(record.exc_info)
            line += "".join(f"\n  | {escaped(row)}" for row in error.splitlines())
        return line


class StandardError(logging.StreamHandler[Any]):
    """Writes to standard error as it is at the time; known by its type when it is replaced."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.addFilter(MaskSecrets())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event."""
        self.stream = sys.stderr
        super().emit(record)


def configure(format: Literal["json", "text"] = "json") -> None:  # noqa: A002 - as the option
    """Log the service, uvicorn and the warnings of everything else, on standard error.

    Call it before uvicorn starts, with `uvicorn.Config(log_config=None, access_log=False)`;
    `AccessLog` logs requests. Calling it again changes the format.

    Args:
        format: `json` for programs, `text` for people.
    """
    handler = StandardError()
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    root = logging.getLogger()
    for other in [each for each in root.handlers if isinstance(each, StandardError)]:
        root.removeHandler(other)
    root.addHandler(handler)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.disable_default_handler()  # it has a handler of its own
    optuna.logging.enable_propagation()


class AccessLog:
    """Logs each request once its answer has ended, and gives the answer an `X-Request-ID`.

    It goes outermost, so that refusals are logged as well. The id is also in
    `scope["state"]["request_id"]`. A status of null says that the client left before an answer.

    Args:
        app: The application.
        logger: Where to log; `sweep.access` where it is not given.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        app: ASGIApp,
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.app = app
        self.logger = logging.getLogger("sweep.access") if logger is None else logger
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identity
        started = self.clock()
        status: int | None = None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [
                    pair
                    for pair in message.get("headers", [])
                    if pair[0].lower() != b"x-request-id"
                ]
                headers.append((b"x-request-id", identity.encode()))
                message = {**message, "headers": headers}
            await send(message)

        token = request_id.set(identity)
        try:
            await self.app(scope, receive, sending)
        except Exception:
            # The server answers 500, and logs the error itself.
            status = 500 if status is None else status
            raise
        finally:
            self.logger.info(
                "request",
                extra={
                    "method": escaped(scope["method"]),
                    "path": escaped(scope["path"][:PATH_LENGTH]),
                    "status": status,
                    "milliseconds": round(1000 * (self.clock() - started), 1),
                    "client": client_address(scope),
                },
            )
            request_id.reset(token)
