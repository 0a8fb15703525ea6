from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from sweep.errors import StorageError, StudyNotFoundError
from sweep.search.lease import ATTRIBUTE, LeaseLostError, hold_lease

NOW = 1_800_000_000.0


class Clock:
    """Time that passes when somebody sleeps, and what happens meanwhile."""

    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []
        self.meanwhile: list[Callable[[], object]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()


@pytest.fixture
def storage() -> InMemoryStorage:
    store = InMemoryStorage()
    optuna.create_study(storage=store, study_name="small")
    return store


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease_in(storage: BaseStorage) -> dict[str, Any] | None:
    study = storage.get_study_id_from_name("small")
    lease = storage.get_study_user_attrs(study).get("lease")
    return lease and dict(lease)


def write(storage: BaseStorage, **changed: Any) -> dict[str, Any]:
    """The lease of another launch, renewed just now."""
    lease = {
        "id": "other",
        "holder": "process 7 on far",
        "since": "2027-01-15T07:00:00+00:00",
        "renewed": NOW,
        "seconds": 30.0,
    } | changed
    storage.set_study_user_attr(storage.get_study_id_from_name("small"), "lease", lease)
    return lease


def hold(storage: BaseStorage, clock: Clock, **options: Any) -> Any:
    return hold_lease(
        storage,
        "small",
        seconds=30.0,
        who="process 1 on here",
        clock=clock,
        sleep=clock.sleep,
        **options,
    )


def test_a_lease_is_in_the_study_while_it_is_held_and_given_back_at_the_end(
    storage: InMemoryStorage, clock: Clock
) -> None:
    with hold(storage, clock) as lease:
        lease.check()
        found = lease_in(storage)
        assert found is not None
        assert len(found.pop("id")) == 32
        assert found == {
            "holder": "process 1 on here",
            "since": "2027-01-15T08:00:00+00:00",
            "renewed": NOW,
            "seconds": 30.0,
        }
    assert lease_in(storage) is None
    with hold(storage, clock):
        pass
    assert clock.slept == [0.5, 0.5]


def test_an_error_in_the_launch_gives_the_lease_back(
    storage: InMemoryStorage, clock: Clock
) -> None:
    with pytest.raises(ZeroDivisionError), hold(storage, clock):
        _ = 1 / 0
    assert lease_in(storage) is None


def test_a_held_study_is_refused_with_who_since_when_and_until_when(
    storage: InMemoryStorage, clock: Clock
) -> None:
    lease = write(storage, renewed=NOW - 12)
    with pytest.raises(StorageError) as caught, hold(storage, clock):
        pass
    message = str(caught.value)
    assert message.startswith("study 'small' is being launched by process 7 on far since 2027-01-1")
    assert "which renewed its lease 12 s ago; wait until it is done, or end that process" in message
    assert message.endswith("if it has died, its lease expires in 18 s: launch again then")
    assert (lease_in(storage), clock.slept) == (lease, [])


def test_an_expired_lease_is_watched_then_taken_over_with_a_word(
    storage: InMemoryStorage, clock: Clock
) -> None:
    write(storage, renewed=NOW - 31)
    said: list[str] = []
    with hold(storage, clock, say=said.append):
        found = lease_in(storage)
        assert found is not None
        assert found["holder"] == "process 1 on here"
    assert clock.slept == [15.0, 0.5]
    assert "held by process 7 on far since" in said[0]
    assert "has expired; watching for 15 s" in said[0]
    assert said[1].startswith("Took study 'small' over from process 7 on far since")


@pytest.mark.parametrize("change", [{"renewed": NOW - 25}, {"id": "third"}])
def test_a_lease_that_changes_while_it_is_watched_is_alive(
    storage: InMemoryStorage, clock: Clock, change: dict[str, Any]
) -> None:
    write(storage, renewed=NOW - 31)
    clock.meanwhile = [lambda: write(storage, **{"renewed": NOW - 31, **change})]
    with pytest.raises(StorageError, match="is being launched by process 7"), hold(storage, clock):
        pass
    found = lease_in(storage)
    assert found is not None
    assert found["holder"] == "process 7 on far"


def test_a_holder_whose_clock_is_hours_ahead_is_watched_not_waited_for(
    storage: InMemoryStorage, clock: Clock
) -> None:
    write(storage, renewed=NOW + 7200)
    with hold(storage, clock):
        assert clock.slept[0] == 15.0


def test_a_lease_given_back_while_it_is_watched_is_free(
    storage: InMemoryStorage, clock: Clock
) -> None:
    write(storage, renewed=NOW - 31)
    study = storage.get_study_id_from_name("small")
    clock.meanwhile = [lambda: storage.set_study_user_attr(study, "lease", None)]
    with hold(storage, clock) as lease:
        lease.check()


def test_of_two_that_write_at_once_the_last_holds_the_lease(
    storage: InMemoryStorage, clock: Clock
) -> None:
    clock.meanwhile = [lambda: write(storage)]
    with pytest.raises(StorageError, match="is being launched by process 7 on far"):  # noqa: SIM117
        with hold(storage, clock):
            pass
    found = lease_in(storage)
    assert found is not None
    assert found["id"] == "other"


def test_a_lease_that_was_taken_over_is_noticed_and_not_given_back(
    storage: InMemoryStorage, clock: Clock
) -> None:
    with hold(storage, clock) as lease:
        taken = write(storage)
        lease.check()  # still within its own time
        clock.now += 30  # as if suspended
        with pytest.raises(StorageError, match="has been taken over by process 7 on far since"):
            lease.check()
    assert lease_in(storage) == taken


def test_a_lease_that_was_taken_and_given_back_meanwhile_is_lost_too(
    storage: InMemoryStorage, clock: Clock
) -> None:
    with hold(storage, clock) as lease:
        clock.now += 30  # as if suspended, while another launch came and went
        storage.set_study_user_attr(storage.get_study_id_from_name("small"), ATTRIBUTE, None)
        with pytest.raises(LeaseLostError, match="taken over by a launch that has ended"):
            lease.check()
    assert lease_in(storage) is None


def test_a_launch_that_was_suspended_renews_its_lease_before_it_goes_on(
    storage: InMemoryStorage, clock: Clock
) -> None:
    with hold(storage, clock) as lease:
        clock.now += 100
        lease.check()
        found = lease_in(storage)
        assert found is not None
        assert found["renewed"] == clock.now


class Away(InMemoryStorage):
    """A store that can be away, and says when a lease is written."""

    def __init__(self) -> None:
        super().__init__()
        self.away = threading.Event()
        self.refused = threading.Event()
        self.written = threading.Event()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        if self.away.is_set():
            self.refused.set()
            raise ConnectionError("away")
        super().set_study_user_attr(study_id, key, value)
        self.written.set()


def test_a_thread_renews_the_lease_also_after_the_store_was_away() -> None:
    store = Away()
    optuna.create_study(storage=store, study_name="small")
    with hold_lease(store, "small", seconds=0.6, who="me") as lease:
        store.away.set()
        assert store.refused.wait(30)
        lease.check()
        store.away.clear()
        store.written.clear()
        assert store.written.wait(30)
        lease.check()
        found = lease_in(store)
        assert found is not None
    assert lease_in(store) is None


def test_a_thread_notices_another_holder() -> None:
    store = Away()
    optuna.create_study(storage=store, study_name="small")
    with hold_lease(store, "small", seconds=0.6, who="me") as lease:
        write(store, id="other")
        for _ in range(3000):
            try:
                lease.check()
            except StorageError as error:
                assert "taken over by process 7 on far" in str(error)  # noqa: PT017
                break
            threading.Event().wait(0.01)
        else:
            pytest.fail("not noticed")


def test_a_lease_without_a_study_is_an_error_that_says_so(clock: Clock) -> None:
    with pytest.raises(StudyNotFoundError, match="no study 'small' in this store"):  # noqa: SIM117
        with hold(InMemoryStorage(), clock):
            pass


def test_whatever_is_in_place_of_a_lease_does_not_break_a_launch(
    storage: InMemoryStorage, clock: Clock
) -> None:
    study = storage.get_study_id_from_name("small")
    things: list[Any] = ["text", 3, [], {"seconds": "x", "renewed": None, "since": 4}]
    for rubbish in things:
        storage.set_study_user_attr(study, "lease", rubbish)
        with hold(storage, clock) as lease:
            lease.check()
