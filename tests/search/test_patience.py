from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from null_training import small_study
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import IntegrityError, OperationalError

from postgresql import PostgreSQL
from sweep.errors import StorageError, StorageLostError
from sweep.search.lease import LeaseLostError
from sweep.search.mirror import MARK, MirroredStorage
from sweep.search.patience import Patience, is_lost
from sweep.search.storage import open_storage, storage_errors


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, **options: Any) -> Patience:
        return Patience(say=self.said.append, sleep=self.sleep, clock=self, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lost() -> OperationalError:
    """What SQLAlchemy raises where nobody listens."""
    import psycopg

    original = psycopg.OperationalError("server closed the connection")
    error = OperationalError("SELECT 1", {}, original)
    error.__cause__ = original
    return error


class Failing:
    """A call that fails as often as it is told, and keeps the times of its calls."""

    def __init__(self, clock: Clock, times: float, error: Callable[[], Exception] = lost) -> None:
        self._clock, self._times, self._error = clock, times, error
        self.called: list[float] = []

    def __call__(self, value: int) -> int:
        self.called.append(self._clock())
        if len(self.called) <= self._times:
            raise self._error()
        return value + 1


def test_a_call_that_works_is_made_once_and_nothing_is_said(clock: Clock) -> None:
    function = Failing(clock, 0)
    assert clock.patience().call(function, 4) == 5
    assert (function.called, clock.said) == ([0.0], [])


def test_pauses_double_up_to_ten_seconds_and_a_word_says_that_it_waits(clock: Clock) -> None:
    function = Failing(clock, 9)
    assert clock.patience().call(function, 4) == 5
    assert function.called == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5, 45.5, 55.5])
    reason = "The store does not answer (server closed the connection); trying again for another"
    assert clock.said == [
        f"{reason} 300 s",
        f"{reason} 264 s",
        "The store answers again, after 56 s",
    ]


def test_a_store_that_stays_away_is_given_up_after_the_time_asked(clock: Clock) -> None:
    function = Failing(clock, float("inf"))
    with pytest.raises(StorageLostError) as caught:
        clock.patience(seconds=20, store="the base").call(function, 4)
    assert function.called == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 20])
    assert str(caught.value) == (
        "the base: has not answered for 20 s (server closed the connection); see that it runs and "
        "can be reached, then launch again to go on"
    )
    with pytest.raises(StorageLostError, match=r"^the store: does not answer"):
        clock.patience(seconds=0).call(function, 4)


def test_what_was_waited_for_is_not_waited_for_again(clock: Clock) -> None:
    patience, function = clock.patience(seconds=20), Failing(clock, float("inf"))
    with pytest.raises(StorageLostError):
        patience.call(patience.call, function, 4)
    assert clock.now == pytest.approx(20)


def test_a_launch_that_is_to_stop_does_not_wait(clock: Clock) -> None:
    stop = threading.Event()
    function = Failing(clock, float("inf"))
    patience = Patience(
        say=lambda _: stop.set() if clock.now else None, sleep=clock.sleep, clock=clock, stop=stop
    )
    with pytest.raises(StorageLostError, match="has not answered for 36 s"):
        patience.call(function, 4)
    with pytest.raises(StorageLostError, match="does not answer"):
        patience.call(function, 4)


def sqlite_locked() -> Exception:
    return OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))


def sqlstate(name: str) -> Callable[[], Exception]:
    def error() -> Exception:
        from psycopg import errors

        original = getattr(errors, name)("from the server")
        kind = IntegrityError if name == "UniqueViolation" else OperationalError
        return kind("INSERT", {}, original)

    return error


def connecting(words: str) -> Callable[[], Exception]:
    def error() -> Exception:
        import psycopg

        return OperationalError(
            None, None, psycopg.OperationalError(f"connection failed: FATAL: {words}")
        )

    return error


@pytest.mark.parametrize(
    "error",
    [
        lost,
        sqlstate("AdminShutdown"),
        sqlstate("CrashShutdown"),
        sqlstate("CannotConnectNow"),
        sqlstate("ConnectionFailure"),
        connecting("the database system is starting up"),
        connecting("the database system is shutting down"),
        connecting("could not translate host name"),
    ],
)
def test_a_lost_connection_is_told_also_within_other_errors(error: Callable[[], Exception]) -> None:
    assert is_lost(error())
    try:
        with storage_errors("postgresql://h/x"):
            raise StorageInternalError("during the commit") from error()
    except StorageError as wrapped:
        assert is_lost(wrapped)  # noqa: PT017


@pytest.mark.parametrize(
    "error",
    [
        sqlite_locked,
        sqlstate("DiskFull"),
        sqlstate("UniqueViolation"),
        sqlstate("DeadlockDetected"),
        sqlstate("ReadOnlySqlTransaction"),
        connecting('password authentication failed for user "me"'),
        connecting('database "x" does not exist'),
        lambda: OSError("No space left on device"),
        KeyboardInterrupt,
    ],
)
def test_other_errors_are_not_tried_again(clock: Clock, error: Callable[[], Exception]) -> None:
    assert not is_lost(error())
    function = Failing(clock, 1, error)
    with pytest.raises(type(error())):
        clock.patience().call(function, 4)
    assert (len(function.called), clock.said) == (1, [])


class Cutter:
    """Passes bytes on between a client and a server, and cuts the line after a commit.

    The server gets the commit and carries it out; its answer never reaches the client.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.commits_to_cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                cut = threading.Event()
                for source, sink in ((client, server), (server, client)):
                    pump = self._to_server if source is client else self._to_client
                    threading.Thread(target=pump, args=(source, sink, cut), daemon=True).start()

    def _to_server(
        self, client: socket.socket, server: socket.socket, cut: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT" in data and self.commits_to_cut:
                    self.commits_to_cut -= 1
                    cut.set()
                server.sendall(data)
        _close(client, server)

    def _to_client(
        self, server: socket.socket, client: socket.socket, cut: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := server.recv(65536)) and not cut.is_set():
                client.sendall(data)
        _close(client, server)

    def close(self) -> None:
        _close(self._listener)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@pytest.fixture
def cutter(postgresql: PostgreSQL) -> Iterator[Cutter]:
    line = Cutter(postgresql.port)
    yield line
    line.close()


@pytest.fixture
def store(postgresql: PostgreSQL, cutter: Cutter) -> BaseStorage:
    storage = open_storage(postgresql.url(postgresql.new_database(), port=cutter.port))
    optuna.create_study(storage=storage, study_name="small", directions=["minimize", "maximize"])
    return storage


def mirror(store: BaseStorage, clock: Clock) -> MirroredStorage:
    study = store.get_study_id_from_name("small")
    trials = store.get_all_trials(study)
    space = small_study().search_space
    return MirroredStorage(store, "small", trials, space, clock.patience())


class Study:
    """Asks as the coordinator does: what is asked for is published."""

    def __init__(self, mirrored: MirroredStorage) -> None:
        self._mirrored = mirrored
        self._study = optuna.load_study(study_name="small", storage=mirrored)
        self.enqueue_trial, self.tell = self._study.enqueue_trial, self._study.tell
        self.numbers: dict[int, int] = {}

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.trials

    def ask(self, distributions: Any = None) -> optuna.Trial:
        trial = self._study.ask(distributions)
        self.numbers[trial.number] = self._mirrored.publish(trial.number, {})
        return trial


def stored_trials(store: BaseStorage) -> list[optuna.trial.FrozenTrial]:
    return store.get_all_trials(store.get_study_id_from_name("small"))


def test_a_trial_whose_making_was_not_answered_is_adopted(
    store: BaseStorage, cutter: Cutter, clock: Clock
) -> None:
    study = Study(mirror(store, clock))
    assert study.ask().number == 0
    cutter.commits_to_cut = 1
    trial = study.ask()
    assert (trial.number, cutter.commits_to_cut) == (1, 0)
    assert clock.said[0].startswith("The store does not answer (")
    assert clock.said[1].startswith("The store answers again")
    study.tell(trial, [1.0, 2.0])
    assert study.ask().number == 2
    states = [trial.state.name for trial in stored_trials(store)]
    assert states == ["RUNNING", "COMPLETE", "RUNNING"]


def test_a_trial_that_was_enqueued_without_an_answer_is_adopted_with_its_parameters(
    store: BaseStorage, cutter: Cutter, clock: Clock
) -> None:
    study = Study(mirror(store, clock))
    study.enqueue_trial({"x": 0.25}, user_attrs={"reference": "rating only"})
    cutter.commits_to_cut = 1
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    assert (trial.number, trial.params, cutter.commits_to_cut) == (0, {"x": 0.25}, 0)
    (stored,) = stored_trials(store)
    assert (stored.state, stored.params) == (TrialState.RUNNING, {"x": 0.25})
    assert stored.user_attrs == {"reference": "rating only"}


def test_the_end_of_a_trial_that_was_not_answered_is_not_set_twice(
    store: BaseStorage, cutter: Cutter, clock: Clock
) -> None:
    study = Study(mirror(store, clock))
    trial = study.ask()
    cutter.commits_to_cut = 1
    study.tell(trial, [1 / 3, 2e-301])
    assert cutter.commits_to_cut == 0
    (stored,) = stored_trials(store)
    assert (stored.state, stored.values) == (TrialState.COMPLETE, [1 / 3, 2e-301])
    assert len(clock.said) == 2


def test_attributes_and_parameters_that_were_not_answered_are_written_once_more(
    store: BaseStorage, cutter: Cutter, clock: Clock
) -> None:
    study = Study(mirror(store, clock))
    trial = study.ask()
    cutter.commits_to_cut = 1
    trial.suggest_float("x", 0, 1)
    cutter.commits_to_cut = 1
    trial.set_user_attr("metrics", {"rmse": 1 / 3})
    (stored,) = stored_trials(store)
    assert (stored.params, stored.user_attrs) == (trial.params, {"metrics": {"rmse": 1 / 3}})
    assert cutter.commits_to_cut == 0


def test_a_trial_that_ended_otherwise_meanwhile_is_an_error(
    store: BaseStorage, clock: Clock
) -> None:
    study = Study(mirror(store, clock))
    trial = study.ask()
    store.set_trial_state_values(stored_trials(store)[0]._trial_id, TrialState.FAIL)
    with pytest.raises(StorageError, match="another process has ended a trial"):  # noqa: SIM117
        with storage_errors(store):
            study.tell(trial, [1.0, 2.0])


def test_a_trial_made_twice_is_failed_once_and_not_planned_again(
    store: BaseStorage, clock: Clock
) -> None:
    """As a proxy does that tries again by itself, or a server that is slow with a commit."""
    study_id = store.get_study_id_from_name("small")
    mirrored = mirror(store, clock)
    study = Study(mirrored)
    study.ask()
    mark = stored_trials(store)[0].system_attrs[MARK]
    template = create_trial(
        state=TrialState.WAITING, system_attrs={MARK: mark}, user_attrs={"reference": "one"}
    )
    store.create_new_trial(study_id, template)
    trial = study.ask()
    study.tell(trial, [1.0, 2.0])
    assert study.ask().number == 3
    assert study.numbers == {0: 0, 1: 2, 3: 3}
    trials = stored_trials(store)
    assert [trial.state.name for trial in trials] == ["RUNNING", "FAIL", "COMPLETE", "RUNNING"]
    assert trials[1].user_attrs == {
        "reason": "made twice, since the store did not answer",
        "reference": None,
    }
    # A complete trial without parameters is one that samplers are to pass over.
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL", "FAIL", "RUNNING"]


def test_of_a_trial_made_twice_without_an_answer_one_is_adopted(
    store: BaseStorage, cutter: Cutter, clock: Clock
) -> None:
    study_id = store.get_study_id_from_name("small")
    study = Study(mirror(store, clock))
    study.ask()
    mark = stored_trials(store)[0].system_attrs[MARK].replace(":0", ":1")
    twin = create_trial(state=TrialState.RUNNING, system_attrs={MARK: mark})
    store.create_new_trial(study_id, twin)  # carried out, though it was given up
    cutter.commits_to_cut = 1
    study.ask()
    study.ask()
    assert study.numbers == {0: 0, 1: 1, 2: 3}
    states = [trial.state.name for trial in stored_trials(store)]
    assert states == ["RUNNING", "RUNNING", "FAIL", "RUNNING"]


def test_a_trial_of_another_launch_is_still_noticed(store: BaseStorage, clock: Clock) -> None:
    study = Study(mirror(store, clock))
    store.create_new_trial(store.get_study_id_from_name("small"))
    with pytest.raises(StorageError, match="has 1 trials, this launch knows 0: another launch"):
        study.ask()
    assert [trial.state.name for trial in stored_trials(store)] == ["RUNNING", "FAIL"]


def test_trials_in_sqlite_carry_no_mark(tmp_path: Path, clock: Clock) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    optuna.create_study(storage=storage, study_name="small", directions=["minimize", "maximize"])
    Study(mirror(storage, clock)).ask()
    assert stored_trials(storage)[0].system_attrs == {}


def test_a_server_that_restarts_is_waited_for(postgresql: PostgreSQL) -> None:
    storage = open_storage(postgresql.url(postgresql.new_database()))
    optuna.create_study(storage=storage, study_name="small", directions=["minimize", "maximize"])
    said: list[str] = []

    def sleep(_: float) -> None:
        if not postgresql.running:
            postgresql.start()

    patience = Patience(say=said.append, sleep=sleep, seconds=60)
    store = MirroredStorage(storage, "small", [], small_study().search_space, patience)
    study = Study(store)
    study.ask()
    try:
        postgresql.stop("immediate")
        assert study.ask().number == 1
    finally:
        if not postgresql.running:
            postgresql.start()
    assert len(said) == 2
    assert [trial.state.name for trial in stored_trials(storage)] == ["RUNNING", "RUNNING"]


def test_nothing_is_tried_again_once_another_has_taken_the_study_over(clock: Clock) -> None:
    tried: list[int] = []

    def write() -> None:
        tried.append(len(tried))
        original = Exception("server closed the connection")
        raise OperationalError("INSERT", {}, original, connection_invalidated=True)

    def check() -> None:
        raise LeaseLostError("taken over")

    patience = replace(clock.patience(), check=check)
    with pytest.raises(LeaseLostError):
        patience.call(write)
    assert tried == [0]
