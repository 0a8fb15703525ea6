"""Waiting for a store that is away: a lost connection is tried again, anything else is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

from optuna.storages import BaseStorage, GrpcStorageProxy
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError

from sweep.errors import StorageLostError
from sweep.search.executors import StopSignal
from sweep.search.storage import database_errors, first_cause

P = ParamSpec("P")
T = TypeVar("T")

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_LOOK_SECONDS: Final = 0.25  # how often a pause looks at the stop signal
_WORD_SECONDS: Final = 30.0  # how often a launch that waits says so

# SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html: connection exceptions;
# then shut down by the administrator, crashed, starting up, too many connections.
_LOST_CLASS: Final = "08"
_LOST_STATES: Final = ("57P01", "57P02", "57P03", "53300")
# Of MySQL, https://dev.mysql.com/doc/mysql-errors/8.4/en/: cannot connect, gone away, lost during
# a query; then, of the server: too many connections, shutting down, killed, disconnected.
_LOST_NUMBERS: Final = (2002, 2003, 2006, 2013, 2055, 1040, 1053, 1927, 4031)
# While it connects, libpq gives no SQLSTATE: what it says then decides.
_DENIED: Final = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "does not exist",
    "permission denied",
    "not permitted",
)


@dataclass(frozen=True)
class Patience:
    """How long to try again when a store does not answer, and whom to tell.

    A call that is tried again may have been carried out already, the answer alone being lost: it
    must do no harm to do it twice.

    Attributes:
        seconds: in all, for one call; 0 tries once.
        say: told that the store does not answer, every half minute, and when it does again.
        stop: once it is set, nothing is tried again.
        store: its name in messages, see `sweep.search.storage.store_name`.
        check: called before anything is tried again: while the store was away, another launch may
            have taken the study over.
        sleep: waits so many seconds.
        clock: seconds.
    """

    seconds: float = 300.0
    say: Callable[[str], None] = lambda _: None
    stop: StopSignal | None = None
    store: str = "the store"
    check: Callable[[], None] = lambda: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that needs the store, until the store answers.

        Pauses double from half a second to ten.

        Raises:
            StorageLostError: it has not answered in time, or the launch is to stop.
        """
        began, word = self.clock(), -_WORD_SECONDS
        pause = _FIRST_PAUSE
        lost = False
        while True:
            if lost:
                self.check()
            try:
                result = function(*args, **kwargs)
            except Exception as error:
                if not is_lost(error):
                    raise
                gone = self.clock() - began
                if gone >= self.seconds or self._stopped():
                    raise self._given_up(error, gone) from error
                if gone - word >= _WORD_SECONDS:
                    word = gone
                    self.say(
                        f"The store does not answer ({first_cause(error)}); trying again for "
                        f"another {self.seconds - gone:.0f} s"
                    )
                lost = True
                self._pause(min(pause, self.seconds - gone))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if lost:
                    self.say(f"The store answers again, after {self.clock() - began:.0f} s")
                return result

    def _pause(self, seconds: float) -> None:
        until = self.clock() + seconds
        while (left := until - self.clock()) > 0 and not self._stopped():
            self.sleep(min(left, _LOOK_SECONDS))

    def _stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def _given_up(self, error: Exception, gone: float) -> StorageLostError:
        waited = f"has not answered for {gone:.0f} s" if gone >= 1 else "does not answer"
        return StorageLostError(
            f"{self.store}: {waited} ({first_cause(error)}); see that it runs and can be reached, "
            "then launch again to go on"
        )


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the store cannot be reached now, and may be later.

    So are a broken connection, and a server that shuts down or starts up. Not so a wrong password,
    a full disk, a constraint, or an SQLite file that another program keeps locked; nor
    `StorageLostError`, which has been waited for already.
    """
    return not isinstance(error, StorageLostError) and any(map(_is_lost, _causes(error)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, DisconnectionError):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        return isinstance(error, OperationalError | InterfaceError) and _driver_lost(error.orig)
    if isinstance(error, database_errors()):
        code = getattr(error, "code", None)  # of a gRPC call
        return callable(code) and getattr(code(), "name", None) == "UNAVAILABLE"
    return False


def _driver_lost(error: Any) -> bool:
    """Whether an operational error of a driver is that of a lost connection."""
    driver = type(error).__module__.partition(".")[0]
    if driver == "sqlite3":
        return False
    if driver in ("psycopg", "psycopg2"):
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state is not None:
            return state in _LOST_STATES or str(state).startswith(_LOST_CLASS)
        return not any(sign in str(error) for sign in _DENIED)
    number = error.args[0] if getattr(error, "args", ()) else None
    return number in _LOST_NUMBERS or (number == 0 and driver == "pymysql")


class OneAttempt:
    """Calls a function of a storage once: Optuna itself would try again when the store is lost.

    To make a trial, Optuna tries five times on its own, also after a commit whose answer was lost,
    and so makes it twice. It does so after errors of SQLAlchemy alone; what is raised within its
    handler of errors goes through.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._thread: int | None = None
        self._engine = getattr(storage, "engine", None)

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function."""
        self._thread = threading.get_ident()
        if self._engine is not None:
            event.listen(self._engine, "handle_error", self._pass_on)
        try:
            return function(*args, **kwargs)
        except _PassedOnError as passed:
            raise passed.error from getattr(passed.error, "orig", None)
        finally:
            if self._engine is not None:
                event.remove(self._engine, "handle_error", self._pass_on)
            self._thread = None

    def _pass_on(self, context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if self._thread == threading.get_ident() and error is not None and is_lost(error):
            raise _PassedOnError(error)


class _PassedOnError(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def can_be_lost(storage: BaseStorage) -> bool:
    """Whether there is a connection to the store that can break; files and memory have none."""
    engine = getattr(storage, "engine", None)
    if engine is None:
        return isinstance(storage, GrpcStorageProxy)
    return bool(engine.dialect.name != "sqlite")
