"""The HTTP API: requests → the library → the bodies of `schemas`.

Routes are thin: what they answer is made in `views`, what they change goes through
`sweep.search.requests` into the store, where the supervisor finds it.
"""

from __future__ import annotations

import gzip
import json
import logging
import shlex
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from sweep.config import METRICS, StudyConfig, check_study
from sweep.errors import (
    ConfigError,
    ExportError,
    IncomparableStudyError,
    StorageError,
    StudyNotFoundError,
    SweepError,
)
from sweep.report.compare import comparison_note
from sweep.search.records import read_header
from sweep.search.requests import (
    Asked,
    LaunchRequest,
    load_asked,
    request_launch,
    write_archived,
    write_wanted,
)
from sweep.search.storage import is_held, storage_errors, store_name
from sweep.search.study import check_settings
from sweep.service import views
from sweep.service.exports import Exports
from sweep.service.files import describe, find, listed, read_draft, study_files
from sweep.service.metrics import Metrics
from sweep.service.reading import Event, Reader, Seen
from sweep.service.schemas import (
    Checked,
    Compared,
    Draft,
    Export,
    ExportRequest,
    Front,
    Health,
    Launch,
    Points,
    Problem,
    Selection,
    Session,
    Studies,
    StudyAnswer,
    StudyFiles,
    StudyFileText,
    StudyLine,
    TrialAnswer,
    Trials,
)
from sweep.service.security import Tokens, client_address, ended_session, session_cookie
from sweep.service.settings import ServiceSettings
from sweep.service.supervisor import Supervisor

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_LOG = logging.getLogger("sweep.service")

PING_SECONDS = 15.0
STREAM_SECONDS = 1.0
"""How often an open stream looks whether the service is closing."""

MAX_EXPORTS = 10

PICTURES = {
    "front": "pareto_front",
    "weights": "weights",
    "hypervolume": "hypervolume",
    "curves": "learning_curves",
}

Name = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["tutorial"]),
]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Limit = Annotated[int, Query(ge=1, le=500)]
Number = Annotated[int, Path(ge=0, le=100_000_000)]


class ConflictError(SweepError):
    """What was asked does not fit the state of the study."""


@dataclass(eq=False)
class Service:
    """What the routes share."""

    settings: ServiceSettings
    storage: BaseStorage
    reader: Reader
    supervisor: Supervisor
    exports: Exports
    metrics: Metrics
    tokens: Tokens
    closing: threading.Event = field(default_factory=threading.Event)
    launching: threading.Lock = field(default_factory=threading.Lock)
    drawing: threading.Lock = field(default_factory=threading.Lock)

    def runs(self, asked: Asked) -> bool:
        """Whether a coordinator has the study, wherever it was launched."""
        if asked.is_open and self.supervisor.process_of(asked.name) is not None:
            return True
        return is_held(self.storage, asked.name, {"lease": asked.lease}, time.time())

    def answer(self, name: str) -> StudyAnswer:
        """All about a study but its trials."""
        return views.study_answer(self.reader.watch(name).look(), store_name(self.settings.storage))

    def busy(self, seen: Seen) -> str | None:
        """What a study is at that nothing else can be done with it meanwhile."""
        state, _ = views.state_of(seen.snapshot.asked, seen.runs)
        return state if state in ("running", "stopping", "queued") else None

    def line(self, name: str) -> StudyLine:
        """One line of the list; a study that cannot be read is listed with its problem."""
        try:
            return views.study_line(self.reader.watch(name).look())
        except StorageError as error:
            return StudyLine(
                name=name,
                state="failed",
                message=None,
                done=0,
                failed=0,
                asked=None,
                objectives=[],
                best={},
                front=[],
                last_activity=None,
                archived=None,
                problem=str(error),
            )

    def changed(self, name: str | None = None) -> None:
        """Read a study again, and look for what is to run."""
        self.supervisor.wake()
        self.reader.refresh(name)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route may answer with, for the OpenAPI document."""
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    texts = {
        400: "The request is malformed",
        401: "No token, or a wrong one",
        403: "From another site",
        404: "There is no such thing",
        408: "The body took too long",
        409: "Does not fit the state of the study",
        413: "The body is too large",
        415: "Not JSON",
        421: "Another host",
        422: "Not valid: the text says where and what is allowed",
        429: "Too many requests",
        503: "The store does not answer",
    }
    always = (400, 401, 403, 408, 413, 415, 421, 422, 429, 503)
    return {
        status: {"description": texts[status], "content": content}
        for status in sorted({*always, *statuses})
    }


router = APIRouter(prefix="/api/v1", responses=problems())
health = APIRouter()


def _json(request: Request, version: str, body: bytes) -> Response:
    """A compressed JSON answer with an ETag; 304 where the asker has it already."""
    tag = f'W/"{version}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return Response(body, media_type="application/json", headers=headers)


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed"}}


@router.get("/studies")
def list_studies(
    request: Request, archived: bool = False, offset: Offset = 0, limit: Limit = 100
) -> Studies:
    """The studies of the store, by name; or those that are archived."""
    service = service_of(request)
    asked = [one for one in service.reader.names() if (one.archived is not None) == archived]
    return Studies(
        studies=[service.line(one.name) for one in asked[offset : offset + limit]],
        total=len(asked),
        offset=offset,
        limit=limit,
    )


@router.get("/studies/{name}", responses=problems(404))
def read_study(request: Request, name: Name) -> StudyAnswer:
    """A study: its state, its study file, how far it is."""
    return service_of(request).answer(name)


@router.get("/studies/{name}/points", response_model=Points, responses=problems(404) | NOT_MODIFIED)
def read_points(request: Request, name: Name) -> Response:
    """Every trial with a result, in columns, for plots."""
    watch = service_of(request).reader.watch(name)
    return _json(request, *watch.document("points", views.points))


@router.get("/studies/{name}/front", response_model=Front, responses=problems(404) | NOT_MODIFIED)
def read_front(request: Request, name: Name) -> Response:
    """The Pareto front, and what it compares with."""
    watch = service_of(request).reader.watch(name)
    return _json(request, *watch.document("front", views.front))


SORTS = ("number", "state", "rating_weight", "retrieval_weight", "seconds", *METRICS)
Sort = Annotated[str, Query(pattern=f"^({'|'.join(SORTS)})$", examples=["rmse"])]
State = Literal["complete", "pruned", "failed", "running", "waiting"]


@router.get("/studies/{name}/trials", responses=problems(404))
def list_trials(
    request: Request,
    name: Name,
    offset: Offset = 0,
    limit: Limit = 50,
    sort: Sort = "number",
    order: Literal["asc", "desc"] = "asc",
    state: State | None = None,
) -> Trials:
    """A page of the trials, sorted."""
    snapshot = service_of(request).reader.watch(name).read()
    trials = [t for t in snapshot.record.trials if state in (None, t.state)]
    summary = snapshot.summary
    on_front = {trial.number for trial in summary.front} if summary else set()
    chosen = views.sorted_trials(trials, sort, order == "desc")[offset : offset + limit]
    return Trials(
        trials=[views.row(trial, trial.number in on_front) for trial in chosen],
        total=len(trials),
        offset=offset,
        limit=limit,
    )


@router.get("/studies/{name}/trials/{number}", responses=problems(404))
def read_trial(request: Request, name: Name, number: Number) -> TrialAnswer:
    """A trial with its learning curve and its seeds."""
    snapshot = service_of(request).reader.watch(name).read()
    if number >= len(snapshot.record.trials):
        raise StudyNotFoundError(
            f"study {name!r} has no trial {number}; it has {len(snapshot.record.trials)}"
        )
    return views.trial_answer(snapshot, snapshot.record.trials[number])


@router.get("/studies/{name}/selection", responses=problems(404, 409))
def read_selection(
    request: Request, name: Name, rule: Annotated[str, Query(max_length=300)] = "knee"
) -> Selection:
    """The trial that a rule chooses, and why."""
    snapshot = service_of(request).reader.watch(name).read()
    if not snapshot.record.complete:
        raise ConflictError(f"study {name!r} has no complete trial yet to choose from")
    return views.selection(snapshot, rule)


@router.get(
    "/studies/{name}/tables/{table}.csv",
    response_class=Response,
    responses=problems(404) | {200: {"content": {"text/csv": {}}}},
)
def read_table(request: Request, name: Name, table: Literal["trials", "front"]) -> Response:
    """A table as CSV, as `sweep report` writes it."""
    from sweep.report.tables import front_table, trials_table

    snapshot = service_of(request).reader.watch(name).read()
    make = trials_table if table == "trials" else front_table
    text = make(snapshot.record, snapshot.summary).to_csv(index=False)
    return _attachment(text.encode(), "text/csv; charset=utf-8", f"{name}-{table}.csv")


@router.get(
    "/studies/{name}/pictures/{picture}.{kind}",
    response_class=Response,
    responses=problems(404, 409) | {200: {"content": {"image/png": {}, "image/svg+xml": {}}}},
)
def read_picture(
    request: Request,
    name: Name,
    picture: Literal["front", "weights", "hypervolume", "curves"],
    kind: Literal["png", "svg"],
) -> Response:
    """A picture, as `sweep report` draws it."""
    from sweep.report.write import picture_of

    service = service_of(request)
    snapshot = service.reader.watch(name).read()
    if snapshot.summary is None:
        raise ConflictError(f"study {name!r} has no complete trial yet to draw")
    with service.drawing:  # matplotlib's style belongs to the whole process
        content = picture_of(snapshot.summary, PICTURES[picture], kind)
    media = "image/png" if kind == "png" else "image/svg+xml"
    return _attachment(content, media, f"{name}-{picture}.{kind}")


def _attachment(content: bytes, media: str, file: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return Response(content, media_type=media, headers=headers)


@router.post("/studies", status_code=201, responses=problems(409) | {200: {"model": StudyAnswer}})
def launch(request: Request, response: Response, body: Launch) -> StudyAnswer:
    """Launch a study, or go on with one that has ended; it waits if there is no room.

    The same `key` again is the same launch: nothing is begun twice.
    """
    service = service_of(request)
    config = read_draft(body, service.settings.studies)
    response.headers["Location"] = f"/api/v1/studies/{config.name}"
    if not _launch(service, config, body.key):
        response.status_code = 200
    return service.answer(config.name)


def _archived_text(name: str) -> str:
    """What is said where an archived study is to be launched."""
    return f"study {name!r} is archived; restore it first"


def _launch(service: Service, config: StudyConfig, key: str | None) -> bool:
    """Ask for a launch; False if it was asked for already, with this key."""
    wanted = config.model_dump(mode="json")
    with service.launching:
        try:
            watch = service.reader.watch(config.name)
            watch.refresh()
        except StudyNotFoundError:
            pass
        else:
            seen = watch.look()
            asked = seen.snapshot.asked
            if key is not None and asked.launch is not None and asked.launch.key == key:
                if asked.launch.config == wanted:
                    return False
                raise ConflictError(
                    f"key: was used for another launch of study {config.name!r}; draw a new one"
                )
            if state := service.busy(seen):
                raise ConflictError(f"study {config.name!r} is {state} already; stop it first")
            if asked.archived:
                raise ConflictError(_archived_text(config.name))
            if asked.is_sweeps:
                check_settings(config, seen.snapshot.record.config)
        launch = LaunchRequest(
            id=uuid.uuid4().hex,
            config=wanted,
            at=datetime.now(UTC).isoformat(),
            key=key,
        )
        request_launch(service.storage, config, launch)
        service.changed(config.name)
        return True


@router.post("/studies/{name}/stop", responses=problems(404, 409))
def stop(request: Request, name: Name) -> StudyAnswer:
    """Finish and record what trains, then stop; a launch that waits is taken back."""
    service = service_of(request)
    with service.launching:
        asked = load_asked(service.storage, name)
        if asked.launch is None or not asked.is_open:
            raise ConflictError(
                f"study {name!r} was not launched here, or has ended; a launch at a command line "
                "is stopped there, with Ctrl-C"
            )
        write_wanted(service.storage, name, asked.launch, "stop")
    service.changed(name)
    return service.answer(name)


@router.post("/studies/{name}/resume", responses=problems(404, 409))
def resume(request: Request, name: Name) -> StudyAnswer:
    """Go on with a study that was stopped, or that failed, with the study file it had."""
    service = service_of(request)
    snapshot = service.reader.watch(name).read()
    launch = snapshot.asked.launch
    config = check_study(launch.config, f"study {name!r}") if launch else snapshot.record.config
    _launch(service, config, None)
    return service.answer(name)


@router.delete("/studies/{name}", responses=problems(404, 409))
def archive(request: Request, name: Name) -> StudyAnswer:
    """Put a study away; `restore` gets it back, with all that it has."""
    service = service_of(request)
    with service.launching:
        watch = service.reader.watch(name)
        watch.refresh()
        if state := service.busy(watch.look()):
            raise ConflictError(f"study {name!r} is {state}; stop it first")
        write_archived(service.storage, name, datetime.now(UTC))
    service.changed(name)
    return service.answer(name)


@router.post("/studies/{name}/restore", responses=problems(404))
def restore(request: Request, name: Name) -> StudyAnswer:
    """Get an archived study back."""
    service = service_of(request)
    write_archived(service.storage, name, None)
    service.changed(name)
    return service.answer(name)


@router.post("/studies/{name}/exports", status_code=202, responses=problems(404, 409))
def export(request: Request, response: Response, name: Name, body: ExportRequest) -> Export:
    """Choose by a rule and export, as `sweep export` does; it may train for minutes."""
    service = service_of(request)
    snapshot = service.reader.watch(name).read()
    if not snapshot.record.complete:
        raise ConflictError(f"study {name!r} has no complete trial yet to export")
    views.selection(snapshot, body.rule)  # a wrong rule is told now
    if service.exports.waiting >= MAX_EXPORTS:
        raise ConflictError(f"{MAX_EXPORTS} exports are being made already; ask again later")
    found = service.exports.start(name, body.rule, body.model, service.changed)
    response.headers["Location"] = f"/api/v1/exports/{found.id}"
    return found


Key = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


@router.get("/exports/{key}", responses=problems(404))
def read_export(request: Request, key: Key) -> Export:
    """How far an export is."""
    return service_of(request).exports.read(key)


@router.get("/exports/{key}/weights.json", response_class=FileResponse, responses=problems(404))
def read_weights(request: Request, key: Key) -> FileResponse:
    """The exported weights, as `sweep export` writes them."""
    return _file(request, key, "weights.json", "application/json")


@router.get("/exports/{key}/model.zip", response_class=FileResponse, responses=problems(404))
def read_model(request: Request, key: Key) -> FileResponse:
    """The exported model: a TensorFlow SavedModel in a zip file."""
    return _file(request, key, "model.zip", "application/zip")


def _file(request: Request, key: str, file: str, media: str) -> FileResponse:
    exports = service_of(request).exports
    found, path = exports.read(key), exports.folder(key) / file
    if found.state != "ready" or not path.is_file():
        raise ExportError(f"export {key}: has no {file} (it is {found.state})")
    return FileResponse(path, media_type=media, filename=f"{found.study}-{file}")


@router.post("/drafts")
def check_draft(request: Request, body: Draft) -> Checked:
    """Check a study file, and estimate its time; one that is not valid is no error."""
    service = service_of(request)
    try:
        config = read_draft(body, service.settings.studies)
        there = next((one for one in service.reader.names() if one.name == config.name), None)
        if there is not None and there.archived:
            raise ConfigError(_archived_text(config.name))
        if there is not None and there.is_sweeps:
            with storage_errors(service.storage):
                stored, _ = read_header(service.storage, config.name)
            check_settings(config, stored)
    except (ConfigError, IncomparableStudyError) as error:
        return Checked(
            valid=False,
            problems=str(error).splitlines(),
            name=None,
            exists=False,
            estimate=None,
            ranges=[],
            budget={},
            objectives=[],
            dataset=None,
            command="",
        )
    options = [f"--set {shlex.quote(one)}" for one in body.overrides]
    return Checked(
        valid=True,
        problems=[],
        name=config.name,
        exists=there is not None,
        estimate=views.estimated(config, service.reader.on_dataset(config.dataset)),
        ranges=views.ranges(config),
        budget=config.budget.model_dump(exclude_none=True),
        objectives=views.objective_answers(config),
        dataset=config.dataset.name,
        command=" ".join(["sweep launch", shlex.quote(_path(service, body)), *options]),
    )


def _path(service: Service, draft: Draft) -> str:
    """A draft's file for a command line; where an absolute folder is, is the service's affair."""
    folder = service.settings.studies
    file = draft.file or "study.toml"
    return str(folder / file) if draft.file and not folder.is_absolute() else file


@router.get("/study-files")
def list_study_files(request: Request) -> StudyFiles:
    """The study files that the service has."""
    folder = service_of(request).settings.studies
    return StudyFiles(files=[listed(path) for path in study_files(folder).values()])


@router.get("/study-files/{file}", responses=problems(404))
def read_study_file(request: Request, file: Annotated[str, Path(max_length=200)]) -> StudyFileText:
    """A study file with its text."""
    try:
        return describe(find(service_of(request).settings.studies, file))
    except ConfigError as error:
        raise StudyNotFoundError(str(error)) from None


@router.get("/compare", responses=problems(404))
def compare(
    request: Request, study: Annotated[list[str], Query(min_length=1, max_length=20)]
) -> Compared:
    """Fronts and hypervolumes of studies beside each other."""
    reader = service_of(request).reader
    snapshots = [reader.watch(name).read() for name in study]
    return Compared(
        studies=[views.compared(snapshot.record) for snapshot in snapshots],
        note=comparison_note([snapshot.record for snapshot in snapshots]),
    )


STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


@router.get(
    "/studies/{name}/events",
    response_class=StreamingResponse,
    responses=problems(404) | STREAM,
)
def study_events(request: Request, name: Name) -> StreamingResponse:
    """What happens to a study, as server-sent events; `Last-Event-ID` gets what was missed."""
    service = service_of(request)
    watch = service.reader.watch(name)
    now = watch.last_event  # before it is read: an event twice does no harm
    watch.read()
    missed = _missed(request, watch.boot)
    known = missed is not None and watch.events_after(missed) is not None

    def snapshot(number: int) -> Event:
        return Event(number, "snapshot", json.dumps(views.standing(watch.look())))

    def since(number: int) -> Sequence[Event] | None:
        if watch.is_gone:
            return None
        last = watch.last_event
        found = watch.events_after(number)
        return [snapshot(last)] if found is None else found  # it fell far behind

    if known and missed is not None:
        return _stream(service, watch.boot, None, since, missed)
    return _stream(service, watch.boot, snapshot(now), since, now)


@router.get("/events", response_class=StreamingResponse, responses=STREAM)
def list_events(request: Request) -> StreamingResponse:
    """A `studies` event whenever something has changed in any study."""
    service = service_of(request)
    reader = service.reader

    def since(number: int) -> Sequence[Event]:
        now = reader.changes
        return [Event(now, "studies", json.dumps({"version": now}))] if now > number else []

    missed = _missed(request, reader.boot)
    # Who is new is told once: something may have changed since it read the list.
    start = -1 if missed is None else missed
    return _stream(service, reader.boot, None, since, start, reader.listing)


def _missed(request: Request, boot: str) -> int | None:
    """The number of the last event that a viewer has seen, if it was one of these."""
    of, _, last = request.headers.get("last-event-id", "").partition("-")
    return int(last) if of == boot and last.isdecimal() and len(last) < 12 else None


def _text(boot: str, event: Event) -> str:
    return f"id: {boot}-{event.number}\nevent: {event.name}\ndata: {event.data}\n\n"


def _stream(
    service: Service,
    boot: str,
    first: Event | None,
    since: Callable[[int], Sequence[Event] | None],
    number: int,
    present: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> StreamingResponse:
    """Events after that number, until the viewer goes, there are none to come, or it closes."""

    async def events() -> AsyncIterator[str]:
        nonlocal number
        with service.metrics.viewer(), present():
            yield "retry: 1000\n\n" + (_text(boot, first) if first else "")
            quiet = time.monotonic()
            while not service.closing.is_set():
                found = since(number)
                if found is None:
                    return
                if found:  # as one: each piece goes through all that wraps the application
                    yield "".join(_text(boot, event) for event in found)
                    number = found[-1].number
                    quiet = time.monotonic()
                elif time.monotonic() - quiet > PING_SECONDS:
                    yield ": still here\n\n"
                    quiet = time.monotonic()
                await service.reader.next_change(STREAM_SECONDS)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


@router.post("/session", status_code=204, response_class=Response)
def log_in(request: Request, body: Session) -> Response:
    """Log a browser in with the token; the answer sets a cookie."""
    service = service_of(request)
    service.tokens.check(client_address(request.scope), body.token)
    token = service.settings.token
    headers = {"Set-Cookie": session_cookie(token, service.settings.https)} if token else {}
    return Response(status_code=204, headers=headers)


@router.delete("/session", status_code=204, response_class=Response)
def log_out(request: Request) -> Response:
    """Log a browser out."""
    https = service_of(request).settings.https
    return Response(status_code=204, headers={"Set-Cookie": ended_session(https)})


@health.get("/healthz", tags=["operations"])
def is_alive() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


@health.get(
    "/readyz", tags=["operations"], responses={503: {"model": Health, "description": "Not ready"}}
)
def is_ready(request: Request, response: Response) -> Health:
    """Whether the store answers."""
    try:
        service_of(request).reader.names()
    except StorageError as error:  # anybody may ask: what the store is called is not told
        _LOG.warning("not ready: %s", error)
        response.status_code = 503
        return Health(status="unavailable", detail="the store does not answer; the log says more")
    return Health(status="ok")


@health.get("/metrics", response_class=Response, tags=["operations"])
def read_metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    service = service_of(request)
    counts: dict[Any, int] = {}
    for asked in service.reader.names():
        state, _ = views.state_of(asked, service.runs(asked))
        counts[state] = counts.get(state, 0) + 1
    service.metrics.set_studies(counts)
    service.metrics.set_launches(counts.get("running", 0), counts.get("queued", 0))
    body, media = service.metrics.render()
    return Response(body, media_type=media)
