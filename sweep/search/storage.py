"""The store of studies: an Optuna storage, opened with care, and held by one launch at a time.

An SQLite file, a PostgreSQL or MySQL server, Optuna's journal file or its gRPC proxy; what is in it
is for `sweep.search.records`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

import sqlalchemy
from optuna.exceptions import (
    DuplicatedStudyError,
    ExperimentalWarning,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import (
    BaseStorage,
    GrpcStorageProxy,
    InMemoryStorage,
    JournalStorage,
    RDBStorage,
    get_storage,
)
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from sweep.errors import StorageError
from sweep.search.lease import hold_lease, is_leased
from sweep.search.lock import exclusive, locked_by, this_process

DEFAULT_URL: Final = "sqlite:///sweep.db"
ENVIRONMENT_VARIABLE: Final = "SWEEP_STORAGE"
# What SQLAlchemy imports for a dialect → what pip calls it.
_DRIVERS: Final = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "psycopg[binary]",
    "MySQLdb": "mysqlclient",
    "mysqldb": "mysqlclient",
    "pymysql": "PyMySQL",
}
_DIALECTS: Final = ("sqlite", "postgresql", "mysql")
_ALLOWED: Final = (
    "allowed: sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME, "
    "mysql://USER@HOST/NAME, journal:///FILE, grpc://HOST:PORT"
)
_BUSY_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10
# Without these a server that is gone, cable and all, would be waited for for hours: TCP tries to
# send for 15 minutes, and never asks on its own. What libpq calls them; `tcp_user_timeout` is in
# milliseconds.
_POSTGRESQL_OPTIONS: Final[Mapping[str, Any]] = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_CONNECT_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "psycopg": _POSTGRESQL_OPTIONS,
    "psycopg2": _POSTGRESQL_OPTIONS,
    "mysqldb": {"connect_timeout": _CONNECT_SECONDS},
    "pymysql": {"connect_timeout": _CONNECT_SECONDS},
}


def storage_url(option: str | None, environ: Mapping[str, str]) -> str:
    """The storage to use: the option, or else `SWEEP_STORAGE`, or else `sweep.db` right here."""
    return option or environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_URL


def open_storage(url: str, *, must_exist: bool = False) -> BaseStorage:
    """Open a store of studies.

    An SQLite store is one file, on a local disk. For writers on several machines take a database
    server, best PostgreSQL, or Optuna's gRPC proxy in front of one; for a network disk, Optuna's
    journal file. On a server, connections are pooled, and each is tried before it is used.

    Args:
        url: an SQLAlchemy URL of an SQLite, PostgreSQL or MySQL database; `journal:///FILE`, with
            four slashes for an absolute path; or `grpc://HOST:PORT`. PostgreSQL is spoken to by
            psycopg, or by psycopg2 where that alone is installed, unless the URL names a driver.
        must_exist: whether to refuse a store that is not there yet, as all that only reads does.
            Nothing is created or changed then.

    Raises:
        StorageError: the URL is wrong, or nothing can be stored or read there. Passwords in the
            URL are masked in the message.
    """
    check_storage_url(url)
    match url.partition("://")[0]:
        case "journal":
            return _open_journal(url, must_exist)
        case "grpc":
            return _open_grpc(url)
    return _open_database(_parse(url), url, must_exist)


def cached(storage: BaseStorage) -> BaseStorage:
    """A storage for much reading: of a database it reads trials that have ended only once."""
    found = get_storage(storage)
    if found is not storage:
        found.url = _url(storage)  # type: ignore[attr-defined]  # for messages, as ours have
    return found


def check_storage_url(url: str) -> None:
    """See that a URL is one of a store, without looking whether there is one.

    Raises:
        StorageError: it is not.
    """
    if "://" not in url:
        raise StorageError(
            f"storage {_masked(url)!r}: not a URL; {_ALLOWED}; for a file write "
            f"sqlite:///{_masked(url)}"
        )
    match url.partition("://")[0]:
        case "journal":
            _journal_file(url)
        case "grpc":
            _grpc_address(url)
        case _:
            _parse(url)


def _open_database(parsed: sqlalchemy.URL, url: str, must_exist: bool) -> RDBStorage:
    where, is_sqlite = _masked(url), parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        _check_sqlite_file(parsed.database, url, must_exist)
        options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}}
    else:
        asked = _CONNECT_OPTIONS.get(parsed.get_dialect().driver, {})
        # What the URL says wins.
        connect = {key: value for key, value in asked.items() if key not in parsed.query}
        options = {"pool_pre_ping": True, "connect_args": connect}
    with storage_errors(url), ExitStack() as stack:
        if is_sqlite and not must_exist:
            # Two launches at once must not both create the tables.
            stack.enter_context(_moment_alone(parsed))
        tables = _tables(parsed, url, options)
        is_store = {"studies", "trials"} <= tables
        if must_exist and not is_store:
            raise StorageError(f"{where}: holds no studies; launch a study there first")
        if is_sqlite and tables and not is_store:
            raise StorageError(
                f"{where}: is another program's database, with the tables "
                f"{', '.join(sorted(tables)[:3])}; allowed: a new file, or a store of Optuna "
                "studies; name another file"
            )
        try:
            # Optuna formats the URL as a template, so braces must be doubled.
            full = url if is_sqlite else parsed.render_as_string(hide_password=False)
            template = full.replace("{", "{{").replace("}", "}}")
            return _create_tables(template, options, must_exist)
        except RuntimeError as error:
            raise StorageError(f"{where}: {error}") from None


def _create_tables(template: str, options: dict[str, Any], must_exist: bool) -> RDBStorage:
    """Optuna's storage, with its tables; launches that begin at once may all try to make them."""
    for _ in range(3):
        with suppress(ProgrammingError, IntegrityError):  # the other was quicker
            return RDBStorage(template, engine_kwargs=options, skip_table_creation=must_exist)
    return RDBStorage(template, engine_kwargs=options, skip_table_creation=must_exist)


class _JournalFile(JournalFileBackend):
    """Optuna's journal, on which a write that is cut short leaves no trace.

    Optuna would append to the torn line that a full disk or a killed process leaves, and then the
    journal could never be read again.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See `BaseJournalBackend.append_logs`."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        try:
            self._lock.acquire()
            try:
                with Path(self._file_path).open("r+b") as file:
                    end = end_of_last_line(file)
                    file.truncate(end)
                    file.seek(end)
                    try:
                        file.write(lines.encode())
                        file.flush()
                        os.fsync(file.fileno())
                    except OSError:
                        os.ftruncate(file.fileno(), end)
                        raise
            finally:
                self._lock.release()
        except OSError as error:
            raise StorageInternalError("the journal cannot be written") from error

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """See `BaseJournalBackend.read_logs`."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise StorageInternalError(f"a line of it is malformed ({error})") from None
        except OSError as error:
            raise StorageInternalError("the journal cannot be read") from error


def end_of_last_line(file: BinaryIO) -> int:
    """Where the last whole line of a file ends, in bytes."""
    position = file.seek(0, os.SEEK_END)
    while position:
        start = max(position - 65536, 0)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


class _JournalStore(JournalStorage):
    """Optuna's journal storage, with the URL that it was opened by."""

    def __init__(self, path: Path, url: str) -> None:
        self.url = url
        super().__init__(_JournalFile(str(path), JournalFileSymlinkLock(str(path))))


def _journal_file(url: str) -> Path:
    name = url.removeprefix("journal:///")
    if name == url or not name:
        raise StorageError(
            f"{_masked(url)}: names no file; write journal:///sweep.log (three slashes) for a file "
            "right here, journal:////tmp/sweep.log for an absolute path"
        )
    return Path(name)


def _open_journal(url: str, must_exist: bool) -> BaseStorage:
    where, path = _masked(url), _journal_file(url)
    _check_file(path, url, must_exist)
    if path.exists() and path.stat().st_size and not _is_journal(path):
        raise StorageError(
            f"{where}: is another program's file; allowed: a new file, or a journal of Optuna "
            "studies; name another file"
        )
    with storage_errors(url):
        return _JournalStore(path, url)


def _is_journal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first = file.readline(2**20)
        # Of the very first line a killed process may have written a part.
        return not first.endswith(b"\n") or "op_code" in json.loads(first)
    except (OSError, ValueError, TypeError):
        return False


class _GrpcStore(GrpcStorageProxy):
    """Optuna's gRPC proxy, with the URL that it was opened by."""

    def __init__(self, host: str, port: int, url: str) -> None:
        self.url = url
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(host=host, port=port)


def _grpc_address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None or parts != SplitResult("grpc", f"{host}:{port}", "", "", ""):
        raise StorageError(
            f"{_masked(url)}: not the address of a gRPC proxy; write grpc://HOST:PORT"
        )
    return host, port


def _open_grpc(url: str) -> BaseStorage:
    where, (host, port) = _masked(url), _grpc_address(url)
    try:
        storage = _GrpcStore(host, port, url)
        storage.wait_server_ready(timeout=_CONNECT_SECONDS)
    except ImportError as error:
        raise StorageError(
            f"{where}: the driver for this store is not installed ({error}); run "
            "pip install grpcio protobuf"
        ) from None
    except ConnectionError:
        raise StorageError(
            f"{where}: does not answer; see that optuna.storages.run_grpc_proxy_server runs "
            "there, and that this machine may reach it"
        ) from None
    with storage_errors(url):
        storage.get_all_studies()
    return storage


def _parse(url: str) -> sqlalchemy.URL:
    where = f"storage {_masked(url)!r}"
    try:
        parsed = sqlalchemy.make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise StorageError(f"{where}: not a database URL; {_ALLOWED}") from None
    if backend not in _DIALECTS:
        raise StorageError(f"{where}: unknown kind of database {backend!r}; {_ALLOWED}")
    if "@" in (parsed.host or ""):  # the host would be shown, with the end of the password in it
        raise StorageError(f"{where}: an @ within the user's name or password is written %40")
    if parsed.drivername == "postgresql":
        # SQLAlchemy's own choice depends on its version.
        older = not _installed("psycopg") and _installed("psycopg2")
        parsed = parsed.set(drivername=f"postgresql+{'psycopg2' if older else 'psycopg'}")
    try:
        parsed.get_dialect()
    except ArgumentError:
        raise StorageError(
            f"{where}: unknown driver {parsed.drivername!r}; write {backend}:// alone for the "
            "usual one"
        ) from None
    return parsed


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # half imported, or kept from being imported
        return False


def _check_sqlite_file(database: str | None, url: str, must_exist: bool) -> None:
    if not database or database == ":memory:" or database.startswith("file:"):
        raise StorageError(
            f"{_masked(url)}: not a file on disk, so nothing would be kept; write "
            "sqlite:///sweep.db (three slashes) for a file right here, sqlite:////tmp/sweep.db for "
            "an absolute path"
        )
    _check_file(Path(database), url, must_exist)


def _check_file(path: Path, url: str, must_exist: bool) -> None:
    """See that the file is, or can become, a store, without creating it.

    The file is looked at, never opened: closing it would drop the locks that SQLite has on it in
    this process (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    where = _masked(url)
    folder = path.absolute().parent
    try:
        if path.is_dir():
            raise StorageError(f"{where}: {path} is a directory; name a file in it")
        if not folder.is_dir():
            raise StorageError(f"{where}: there is no directory {folder}; create it first")
        if must_exist:
            if not path.exists() or path.stat().st_size == 0:
                raise StorageError(
                    f"{where}: no such store; launch a study first, or name the store with "
                    f"--storage or {ENVIRONMENT_VARIABLE}"
                )
        else:
            for place in (folder, path):
                if place.exists() and not os.access(place, os.W_OK):
                    raise StorageError(
                        f"{where}: {place} is read-only; make it writable, or store elsewhere"
                    )
    except OSError as error:
        raise StorageError(
            f"{where}: {path} cannot be read ({error.strerror}); see to its permissions, or name "
            "another file"
        ) from None


def _tables(parsed: sqlalchemy.URL, url: str, options: dict[str, Any]) -> set[str]:
    try:
        engine = sqlalchemy.create_engine(parsed, **options)
    except ImportError as error:
        module = error.name or parsed.get_dialect().driver
        raise StorageError(
            f"{_masked(url)}: the driver for this database is not installed; run "
            f"pip install '{_DRIVERS.get(module, module)}'"
        ) from None
    try:
        return set(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def store_name(store: str | BaseStorage) -> str:
    """How a message calls a store: its URL, with the password masked."""
    return _masked(_url(store) or "the store")


def store_identity(store: str | BaseStorage) -> str:
    """What stays the same for a store, however its URL is written: no user, password or driver.

    Files are told apart by their real paths; the same server under two names is two stores.
    """
    url = _url(store)
    if not url:  # in memory: no other process can mean this one
        return f"memory:{os.getpid()}-{id(store)}"
    if url.startswith("journal:///"):
        return f"journal:{Path(url.removeprefix('journal:///')).resolve()}"
    parsed = sqlalchemy.make_url(url)
    backend = parsed.get_backend_name() if parsed.drivername != "grpc" else "grpc"
    if backend == "sqlite":
        return f"sqlite:{Path(str(parsed.database)).resolve()}"
    host = parsed.host or parsed.query.get("host", "")
    port = parsed.port or parsed.query.get("port", "")
    return f"{backend}:{host}:{port}/{parsed.database or parsed.query.get('dbname', '')}"


def _url(store: str | BaseStorage) -> str:
    return store if isinstance(store, str) else str(getattr(store, "url", ""))


def _masked(url: str) -> str:
    user = r"//[^:/@]*:" if "://" in url else r"^[^:@]*:"
    hidden = re.sub(f"({user}).*@", r"\1***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden, flags=re.IGNORECASE)


@contextmanager
def storage_errors(store: str | BaseStorage) -> Iterator[None]:
    """Turn what a database raises into a `StorageError` that says which store, and what to do."""
    url = _url(store) or "the store"
    try:
        yield
    except UpdateFinishedTrialError:
        raise StorageError(
            f"{_masked(url)}: another process has ended a trial that is running here; launch a "
            "study from one place at a time, and launch it again to go on"
        ) from None
    except DuplicatedStudyError:
        raise StorageError(
            f"{_masked(url)}: another launch has created this study at the same moment; launch a "
            "study from one place at a time"
        ) from None
    except database_errors() as error:
        text = first_cause(error)
        with suppress(ArgumentError, ValueError):
            password = sqlalchemy.make_url(url).password
            text = text.replace(str(password), "***") if password else text
        raise StorageError(f"{_masked(url)}: {text}; {_advice(text)}") from error


def first_cause(error: BaseException) -> str:
    """What went wrong at the bottom of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    details = getattr(error, "details", None)  # of a gRPC call; its `str` has ten lines
    text = str(details() if callable(details) else error)
    return text.strip().partition("\n")[0] or type(error).__name__


def database_errors() -> tuple[type[Exception], ...]:
    """What the calls of a storage raise if the store behind it fails."""
    grpc = sys.modules.get("grpc")  # need not be installed, and is slow to import
    return (SQLAlchemyError, StorageInternalError, *((grpc.RpcError,) if grpc else ()))


def _advice(text: str) -> str:
    advice = {
        "locked": "another program holds the store: end it, then launch again to go on",
        "malformed": "the file is damaged: restore it from a copy, or name another file",
        "not a database": "name another file, or restore this one from a copy",
        "too long": "train fewer epochs, or take a database without that limit: SQLite, PostgreSQL",
        "is full": "make room, then launch again to go on",
        "No space left": "make room, then launch again to go on",
        "authentication failed": "see to the user's name and the password in the URL",
        "no password supplied": "see to the user's name and the password in the URL",
        "role ": "see to the user's name in the URL",
        "translate host name": "see to the host's name in the URL",
        "failed to resolve host": "see to the host's name in the URL",
        "permission denied": "let the user of the URL create tables and write there",
        "does not exist": "create that database first, or name another one in the URL",
        "refused": "see that the database runs on that host and port, and lets this machine in",
        "readonly": "make the file and its directory writable, or store elsewhere",
        "unable to open": "see that its directory exists and can be written",
    }
    return next(
        (what for sign, what in advice.items() if sign in text),
        "see that the database is there, is running, and lets you in",
    )


def _moment_alone(url: sqlalchemy.URL) -> AbstractContextManager[None]:
    """Keep other launches from creating an SQLite store, or from changing how it is written."""
    return exclusive(
        _lock_file(url),
        f"{url.database}: is being opened",
        "end that process, then launch again",
        patience=_BUSY_SECONDS,
    )


def _lock_file(url: sqlalchemy.URL, study: str = "") -> Path:
    """Where the lock of an SQLite store, or of a study in it, is: beside the database."""
    path = Path(str(url.database)).resolve()  # one lock, whatever links lead to the file
    return path.with_name(".".join(filter(None, (path.name, study, "lock"))))


@contextmanager
def single_writer(
    storage: BaseStorage,
    study: str,
    *,
    lease_seconds: float = 30.0,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Callable[[], None]]:
    """See that one coordinator writes to a study, and make its commits to an SQLite store cheap.

    In an SQLite store each study has a lock, a file that the system unlocks when its holder dies;
    other studies may be written at the same time. In any other store the study has a lease
    (`sweep.search.lease`), which is an attribute of the study: so create the study first, and look
    at nothing in it, and change nothing, before this is entered. Of launches that create it at once
    the store lets one succeed, since the name is unique; the others get `DuplicatedStudyError`, and
    find it there.

    A write-ahead log costs no disk flush for each commit, and readers do not block the writer. It
    outlives a killed process whole; a power cut may take the last trials, never the store. The log
    is folded back by the last writer, so that the store is one file that can be copied again.

    Args:
        storage: what `open_storage` gave.
        study: its name.
        lease_seconds: after which a lease that is not renewed may be taken over.
        say: told when it is.

    Yields:
        A check to make before each change: it raises `StorageError` once another launch has taken
        the study over. With SQLite, and in memory, that cannot happen.

    Raises:
        StorageError: the study is being launched already.
        StudyNotFoundError: there is no such study, in a store that is not SQLite.
    """
    engine = getattr(storage, "engine", None)
    if isinstance(storage, InMemoryStorage):  # nobody else can reach it
        yield _nothing_to_check
        return
    if engine is None or engine.dialect.name != "sqlite":
        with hold_lease(
            storage, study, seconds=lease_seconds, who=this_process(), say=say
        ) as lease:
            yield lease.check
        return

    def set_up(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    launched = exclusive(
        _lock_file(engine.url, study),
        f"study {study!r} in {engine.url.database} is being launched",
        "wait until it is done, or end that process (with sweep stop, where a service runs it), "
        "then launch again to go on",
        patience=0.2,  # whoever looks whether it is held (`is_held`) holds it for a moment
    )
    with launched:
        sqlalchemy.event.listen(engine, "connect", set_up)
        engine.dispose()  # of connections that were made before
        try:
            with _moment_alone(engine.url):
                kept = engine.connect()  # while it is open, nobody else can fold the log back
            with kept:
                yield _nothing_to_check
        finally:
            sqlalchemy.event.remove(engine, "connect", set_up)
            engine.dispose()
            # Whoever is still there, reading or writing, keeps the log alive, and SQLite says so
            # at once; the last one, or the next launch, folds it back.
            with (
                suppress(SQLAlchemyError, StorageError),
                _moment_alone(engine.url),
                engine.connect() as connection,
            ):
                connection.exec_driver_sql("PRAGMA journal_mode = DELETE")


def is_held(storage: BaseStorage, study: str, attributes: Mapping[str, Any], now: float) -> bool:
    """Whether a coordinator is at work on a study, wherever it was launched.

    Args:
        storage: what `open_storage` gave.
        study: its name.
        attributes: its user attributes.
        now: seconds since 1970.
    """
    engine = getattr(storage, "engine", None)
    if engine is not None and engine.dialect.name == "sqlite":
        return locked_by(_lock_file(engine.url, study)) is not None
    return is_leased(attributes, now)


def _nothing_to_check() -> None:
    """The check of a study that nobody can take over."""
