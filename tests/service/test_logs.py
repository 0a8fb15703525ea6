"""What is logged, in which form, and what is never logged."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sweep.service.logs import AccessLog, StandardError, configure, masked

SECRETS = ("hunter2", "a-secret-token")


class Written:
    """What was written on standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def __str__(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Standard error; the handler is taken away afterwards."""
    levels = {name: logging.getLogger(name).level for name in ("sweep", "uvicorn")}
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)  # Ray, once used, adds a field to every event
    yield Written(capsys)
    logging.setLogRecordFactory(factory)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, StandardError)]:
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


def lines(stream: Written) -> list[dict[str, Any]]:
    return [json.loads(line) for line in str(stream).splitlines()]


async def hello(_request: Request) -> Response:
    logging.getLogger("sweep.service").info("within")
    return PlainTextResponse("hello", headers={"X-Request-ID": "chosen by the application"})


async def stream(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    return StreamingResponse(pieces(), 202)


async def fails(_request: Request) -> Response:
    raise RuntimeError("no connection to postgresql://sweep:hunter2@database/sweep")


APP = Starlette(
    routes=[Route("/fails", fails), Route("/stream", stream), Route("/{p:path}", hello)]
)


def ask(url: str, app: Any = APP, **more: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        ticks = iter([10.0, 10.0125])
        log = AccessLog(app, clock=lambda: next(ticks))
        transport = httpx.ASGITransport(log, raise_app_exceptions=False, client=("10.0.0.7", 9))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(url, **more)

    return asyncio.run(send())


def test_a_request_is_one_line_of_json_with_an_id_that_the_client_gets_too(
    stderr: Written,
) -> None:
    configure("json")
    response = ask("/api/v1/studies", headers={"X-Request-ID": "chosen by the client"})
    within, line = lines(stderr)
    identity = response.headers["x-request-id"]
    assert len(identity) == 32
    assert int(identity, 16)
    assert {name: line[name] for name in line if name != "time"} == {
        "level": "info",
        "logger": "sweep.access",
        "event": "request",
        "request_id": identity,
        "method": "GET",
        "path": "/api/v1/studies",
        "status": 200,
        "milliseconds": 12.5,
        "client": "10.0.0.7",
    }
    assert line["time"].endswith("Z")
    assert (within["event"], within["request_id"]) == ("within", identity)


def test_a_stream_is_logged_once_and_passes_in_pieces(stderr: Written) -> None:
    configure()
    sent: list[Any] = []

    async def serve() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "path": "/stream", "headers": []}
        await AccessLog(APP)(scope, receive, send)

    asyncio.run(serve())
    assert [message["body"] for message in sent[1:]] == [b"a", b"b", b""]
    assert [line["status"] for line in lines(stderr)] == [202]


def test_no_query_header_cookie_or_token_is_logged(stderr: Written) -> None:
    configure("json")
    ask(
        "/api/v1/studies?token=a-secret-token",
        headers={"Authorization": "Bearer a-secret-token", "Cookie": "sweep_session=hunter2"},
    )
    assert not any(secret in str(stderr) for secret in SECRETS)


def test_an_error_is_logged_as_500_and_without_the_password_in_its_text(
    stderr: Written,
) -> None:
    configure("json")
    assert ask("/fails").status_code == 500
    try:
        raise RuntimeError("no connection to postgresql://sweep:hunter2@database/sweep")
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    request, error = lines(stderr)
    assert request["status"] == 500
    assert "postgresql://sweep:***@database/sweep" in error["error"]
    assert "Traceback" in error["error"]
    assert "hunter2" not in str(stderr)


@pytest.mark.parametrize("form", ["json", "text"])
def test_control_characters_of_a_path_cannot_forge_a_line_or_colour_the_terminal(
    form: Any, stderr: Written
) -> None:
    configure(form)
    ask("/a%0a%7B%22event%22:%22forged%22%7D%1b%5b31m%00%c2%85%e2%80%a8%7f")
    written = str(stderr)
    assert len(written.splitlines()) == 1
    assert "\x1b" not in written
    assert "\x00" not in written
    assert "\\n" in written
    assert "\\x1b" in written


def test_a_long_path_is_cut(stderr: Written) -> None:
    configure()
    ask("/" + "x" * 50_000)
    assert len(lines(stderr)[-1]["path"]) == 1000


def test_text_is_for_people_and_configuring_again_changes_the_form(stderr: Written) -> None:
    configure("json")
    configure("text")
    ask("/api/v1/studies")
    _, line = str(stderr).splitlines()
    assert " info request request_id=" in line
    assert "method=GET path=/api/v1/studies status=200 milliseconds=12.5 client=10.0.0.7" in line


def test_a_traceback_as_text_keeps_to_lines_of_its_own(stderr: Written) -> None:
    configure("text")
    try:
        raise ValueError("a\x1b[31m\nb")
    except ValueError:
        logging.getLogger("sweep").exception("failed")
    first, *rest = str(stderr).splitlines()
    assert first.endswith("error failed")
    assert all(line.startswith("  | ") for line in rest)
    assert "\x1b" not in str(stderr)


def test_fields_and_arguments_are_masked_and_odd_ones_do_not_lose_the_event(
    stderr: Written,
) -> None:
    configure("json")
    url = "postgresql://sweep:hunter2@database/sweep"
    log = logging.getLogger("sweep")
    log.warning("cannot open %s", url, extra={"store": url, "what": object()})
    # To this handler alone: that of pytest would fail.
    logging.getLogger().handlers[-1].handle(
        log.makeRecord("sweep", logging.WARNING, __file__, 1, "%d studies", ("none",), None)
    )
    first, second = lines(stderr)
    assert first["event"] == "cannot open postgresql://sweep:***@database/sweep"
    assert first["store"] == "postgresql://sweep:***@database/sweep"
    assert second["event"] == "%d studies"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://u:hunter2@h:5432/d", "postgresql+psycopg://u:***@h:5432/d"),
        ("a postgresql://u:hun@ter2@h/d here", "a postgresql://u:***@h/d here"),
        ("mysql://:hunter2@h/d", "mysql://:***@h/d"),
        ("host=h password=hunter2 user=u", "host=h password=*** user=u"),
        ('{"token": "a-secret-token"}', '{"token": "***"}'),
        (
            "SWEEP_TOKEN=hunter2 sweep serve --token=hunter2",
            "SWEEP_TOKEN=*** sweep serve --token=***",
        ),
        ("postgres_password: 'hunter2'", "postgres_password: '***'"),
        ("a basic study", "a basic study"),
        ("Authorization: Bearer a-secret-token", "Authorization: Bearer ***"),
        ("sweep_session=hunter2; Path=/", "sweep_session=***; Path=/"),
        ("sqlite:////data/sweep.db", "sqlite:////data/sweep.db"),
        ("http://127.0.0.1:8000/studies/a", "http://127.0.0.1:8000/studies/a"),
        ("the token is wrong", "the token is wrong"),
    ],
)
def test_secrets_are_masked_wherever_they_stand(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_masking_a_long_hostile_text_is_quick() -> None:
    assert len(masked("://a:" * 20_000)) == 100_000
