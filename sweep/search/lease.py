"""One coordinator at a time on stores without file locks: a lease, which ends unless renewed.

The lease of a study is its user attribute `lease`, as any Optuna storage can hold it::

    {"id": "…", "holder": "process 12 on host", "since": "2026-11-24T13:00:00+00:00",
     "renewed": 1795525200.0, "seconds": 30.0}

`renewed` is by the clock of the holder, in seconds since 1970; `None` in place of the whole is a
lease that was given back. A store only knows that the last writer wins. So whoever writes a lease
waits a moment and reads it again: of launches that begin at the same time one finds itself, the
others find who was last.

A holder that dies leaves its lease behind. A launch that finds one which looks expired watches it
first: clocks of two machines may differ, and a lease that changes is alive, whatever its time says.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from optuna.storages import BaseStorage

from sweep.errors import StorageError, StorageLockedError, StudyNotFoundError

ATTRIBUTE: Final = "lease"
_SETTLE_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0


def is_leased(attributes: Mapping[str, Any], now: float) -> bool:
    """Whether a study's attributes hold a lease that has not expired at `now`, s since 1970."""
    lease = attributes.get(ATTRIBUTE)
    if not isinstance(lease, Mapping):
        return False
    return now < _number(lease, "renewed") + _number(lease, "seconds")


class LeaseLostError(StorageError):
    """Another launch has taken the study over."""


class Lease:
    """A lease that this launch holds, until another takes over."""

    def __init__(
        self,
        storage: BaseStorage,
        study: str,
        study_id: int,
        *,
        seconds: float,
        who: str,
        clock: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._study = study
        self._study_id = study_id
        self._seconds = seconds
        self._clock = clock
        self._terms = {
            "id": uuid.uuid4().hex,
            "holder": who,
            "since": datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"),
            "seconds": seconds,
        }
        self._renewed = clock()
        self._taken_by: Mapping[str, Any] | None = None
        self._answers = True
        self._writing = threading.Lock()

    def check(self) -> None:
        """See that nobody has taken over.

        Costs nothing as long as the lease is renewed in time. Where it was not, since this process
        was suspended, or the store was away, the store is asked; if it does not answer, that is for
        the next call to find out.

        Raises:
            LeaseLostError: somebody has.
        """
        if self._taken_by is None and abs(self._clock() - self._renewed) >= self._seconds:
            self._try_to_renew()
        if self._taken_by is not None:
            raise LeaseLostError(
                f"study {self._study!r} has been taken over by {_holder(self._taken_by)}, since "
                "this launch had not renewed its lease in time; let that one go on, or end it and "
                "launch again"
            )

    def write(self) -> None:
        """Write the lease into the store, as renewed now."""
        now = self._clock()
        self._storage.set_study_user_attr(
            self._study_id, ATTRIBUTE, {**self._terms, "renewed": now}
        )
        self._renewed = now

    def is_ours(self, found: Mapping[str, Any] | None) -> bool:
        """Whether what the store holds is this lease."""
        return found is not None and found.get("id") == self._terms["id"]

    def keep(self, stop: threading.Event) -> None:
        """Renew the lease, three times in its duration, until told to stop or taken over."""
        while not stop.wait(
            self._seconds / 3 if self._answers else min(self._seconds / 3, _RETRY_SECONDS)
        ):
            self._try_to_renew()
            if self._taken_by is not None:
                return

    def give_back(self) -> None:
        """End the lease, if it is still ours and the store answers."""
        # A store that is away would be waited for; the lease ends by itself.
        if self._answers and self._taken_by is None:
            with suppress(Exception), self._writing:
                if self.is_ours(_read(self._storage, self._study_id)):
                    self._storage.set_study_user_attr(self._study_id, ATTRIBUTE, None)

    def _try_to_renew(self) -> None:
        try:
            with self._writing:
                found = _read(self._storage, self._study_id)
                if self.is_ours(found):
                    self.write()
                else:  # given back, too: by a launch that has come and gone
                    self._taken_by = found or {"holder": "a launch that has ended"}
            self._answers = True
        except Exception:  # whatever a store raises: it may be away for a while
            self._answers = False


@contextmanager
def hold_lease(
    storage: BaseStorage,
    study: str,
    *,
    seconds: float,
    who: str,
    clock: Callable[[], float] = time.time,
    say: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Hold the lease of a study; a thread renews it, and it is given back at the end.

    The study must exist. That several launches create it at once is no danger: its name is unique
    in the store, so one succeeds, and the others get Optuna's `DuplicatedStudyError`.

    Args:
        storage: what `open_storage` gave.
        study: its name.
        seconds: how long the lease holds after it was last renewed; renewed every third of it.
        who: the holder, as others are to read it.
        clock: seconds since 1970.
        say: told when a lease that has expired is watched, and taken over.
        sleep: waits so many seconds.

    Raises:
        StudyNotFoundError: there is no such study.
        StorageError: another launch holds the lease; says who, since when, and when it ends.
    """
    try:
        study_id = storage.get_study_id_from_name(study)
    except KeyError:
        raise StudyNotFoundError(
            f"no study {study!r} in this store, so nobody can hold its lease; create it first"
        ) from None
    lease = Lease(storage, study, study_id, seconds=seconds, who=who, clock=clock)
    found = _read(storage, study_id)
    if found is not None:
        _see_that_it_ended(storage, study, study_id, found, clock, say, sleep)
    stop = threading.Event()
    thread = threading.Thread(
        target=lease.keep, args=(stop,), name=f"lease of {study}", daemon=True
    )
    try:
        lease.write()
        sleep(min(_SETTLE_SECONDS, seconds / 4))
        other = _read(storage, study_id)
        if not lease.is_ours(other):
            raise _is_held(study, other or {}, clock())
        if found is not None:
            say(f"Took study {study!r} over from {_holder(found)}, which renews its lease no more")
        thread.start()
        yield lease
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join(timeout=_RETRY_SECONDS)  # it may hang in a store that is away
        if not thread.is_alive():
            lease.give_back()


def _see_that_it_ended(
    storage: BaseStorage,
    study: str,
    study_id: int,
    found: Mapping[str, Any],
    clock: Callable[[], float],
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """Raise unless a lease has expired, and is renewed no more."""
    duration, renewed = _number(found, "seconds"), _number(found, "renewed")
    if abs(clock() - renewed) < duration:
        raise _is_held(study, found, clock())
    watched = duration / 2  # a renewal period, and half of one more
    say(
        f"Study {study!r} is held by {_holder(found)}, whose lease has expired; watching for "
        f"{watched:.3g} s whether it is renewed"
    )
    sleep(watched)
    now = _read(storage, study_id)
    if now is not None and any(now.get(key) != found.get(key) for key in ("id", "renewed")):
        raise _is_held(study, now, clock())


def _read(storage: BaseStorage, study_id: int) -> Mapping[str, Any] | None:
    found = storage.get_study_user_attrs(study_id).get(ATTRIBUTE)
    return found if isinstance(found, Mapping) else None


def _number(found: Mapping[str, Any], key: str) -> float:
    value = found.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _holder(found: Mapping[str, Any]) -> str:
    since = str(found.get("since", "an unknown time"))
    with suppress(ValueError):
        since = datetime.fromisoformat(since).astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{found.get('holder', 'another process')} since {since}"


def _is_held(study: str, found: Mapping[str, Any], now: float) -> StorageLockedError:
    age = max(now - _number(found, "renewed"), 0.0)  # its clock may be ahead
    left = max(_number(found, "seconds") - age, 0.0)
    return StorageLockedError(
        f"study {study!r} is being launched by {_holder(found)}, which renewed its lease "
        f"{age:.0f} s ago; wait until it is done, or end that process "
        "(with sweep stop, where a service runs it), then launch again "
        f"to go on; if it has died, its lease expires in {left:.0f} s: launch again then"
    )
