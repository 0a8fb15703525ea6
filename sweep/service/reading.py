"""Studies as the service reads them: kept in memory, and only what is new is read.

A study that somebody looks at is read again every second. What follows from it, as its front, is
computed once for each state that it was in; readers get the last state that is whole, so they never
wait for the next.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from sweep.config import DatasetConfig, check_study
from sweep.errors import ConfigError, StorageError, StudyNotFoundError, SweepError
from sweep.front.pareto import front_of
from sweep.report.summary import Summary, summarise
from sweep.results import StudyRecord, Trial
from sweep.search.records import not_found, read_header, study_record, to_trial
from sweep.search.replication import is_cut_short
from sweep.search.requests import Asked, list_asked, read_asked
from sweep.search.storage import cached, storage_errors

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_LOG = logging.getLogger("sweep.service")

LEVEL: Final = 4
"""Of gzip: a tenth of the time of the highest, and hardly larger."""

KEPT_EVENTS: Final = 5000
"""Of one study; who missed more than these reads the study anew."""

IDLE_SECONDS: Final = 300.0
"""After which a study that nobody looks at is forgotten."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A study in one state; `version` is another one in any other state."""

    version: str
    asked: Asked
    record: StudyRecord
    revisions: tuple[int, ...]  # of each trial: grows with its replicates, once it has ended
    made: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def summary(self) -> Summary | None:
        """What follows from the trials; None while none is complete."""
        with self._lock:  # whoever comes second waits for the first
            return self._summary

    @cached_property
    def _summary(self) -> Summary | None:
        return summarise(self.record) if self.record.complete else None

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The Pareto front."""
        return front_of(self.record.contenders, self.record.config.objectives)

    @cached_property
    def is_whole(self) -> bool:
        """Whether there is all that the study file asks for."""
        return not is_cut_short(self.record)

    def document(self, name: str, make: Callable[[Snapshot], Any]) -> bytes:
        """A JSON document about this state, compressed by gzip; made once."""
        with self._lock:
            if name not in self.made:
                text = make(self).model_dump_json().encode()
                self.made[name] = gzip.compress(text, LEVEL)
            return self.made[name]


@dataclass(frozen=True)
class Seen:
    """A study as it was read last, and whether a coordinator had it."""

    snapshot: Snapshot
    runs: bool


Tell = Callable[[Seen, Seen], Iterable[tuple[str, str]]]
Runs = Callable[[Asked], bool]


@dataclass(frozen=True)
class Event:
    """Something that viewers are told; `number` counts up by one."""

    number: int
    name: str
    data: str


class Watch:
    """One study that somebody looks at."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        tell: Tell,
        runs: Runs,
        clock: Callable[[], float],
    ) -> None:
        """Reads nothing yet; for the arguments see `Reader`."""
        self.name = name
        self._storage, self._tell, self._runs, self._clock = storage, tell, runs, clock
        self._converted: dict[int, tuple[Any, Trial]] = {}
        self._lock = threading.Lock()
        self._makers: dict[str, Callable[[Snapshot], Any]] = {}
        self._events: tuple[Event, ...] = ()
        self.boot = uuid.uuid4().hex[:8]  # events of another watch have other numbers
        self.seen: Seen | None = None
        self.is_gone = False  # its study was removed
        self.used = clock()

    def look(self) -> Seen:
        """The study as it was read last; it is read now where it never was.

        Raises:
            StudyNotFoundError: there is no such study.
            StorageError: the store cannot be read.
        """
        self.used = self._clock()
        if self.seen is None:
            self.refresh()
        assert self.seen is not None
        return self.seen

    def read(self) -> Snapshot:
        """The state that was read last; see `look`."""
        return self.look().snapshot

    def document(self, name: str, make: Callable[[Snapshot], Any]) -> tuple[str, bytes]:
        """The version and a JSON document of the last state, compressed by gzip."""
        self._makers[name] = make
        snapshot = self.read()
        return snapshot.version, snapshot.document(name, make)

    @property
    def last_event(self) -> int:
        """The number of the last event; 0 before the first."""
        events = self._events
        return events[-1].number if events else 0

    def events_after(self, number: int) -> tuple[Event, ...] | None:
        """The events after that one; None where some of them are forgotten already."""
        self.used = self._clock()
        events = self._events
        first = events[0].number if events else 1
        return events[number - first + 1 :] if number + 1 >= first else None

    def refresh(self) -> bool:
        """Read what is new; says whether anything is."""
        with self._lock:
            before = self.seen
            now = self._see()
            if before is not None and now.snapshot.version == before.snapshot.version:
                now = Seen(before.snapshot, now.runs)
                if now == before:
                    return False
            if before is not None:
                for name, make in tuple(
                    self._makers.items()
                ):  # before readers see it: they never wait
                    if name in before.snapshot.made:
                        now.snapshot.document(name, make)
                told = self._tell(before, now)
            else:
                told = ()
            last = self.last_event
            found = tuple(Event(last + i, name, data) for i, (name, data) in enumerate(told, 1))
            self.seen = now  # before its events: who reads it then misses none
            self._events = (self._events + found)[-max(KEPT_EVENTS, len(found)) :]
            return True

    def _see(self) -> Seen:
        now = self._read()
        runs = self._runs(now.asked)
        if now.asked.is_open and not runs:  # it may have ended a moment ago
            now = self._read()
            runs = self._runs(now.asked)
        return Seen(now, runs)

    def _read(self) -> Snapshot:
        with storage_errors(self._storage):
            try:
                study_id = self._storage.get_study_id_from_name(self.name)
            except KeyError:
                raise not_found(self._storage, self.name) from None
            attributes = self._storage.get_study_user_attrs(study_id)
            asked = read_asked(self.name, attributes)
            if asked is None:
                raise not_found(self._storage, self.name)
            if asked.is_sweeps:
                config, dataset = read_header(self._storage, self.name)
            else:
                assert asked.launch is not None
                try:
                    config = check_study(asked.launch.config, f"study {self.name!r}")
                except ConfigError as error:
                    raise StorageError(str(error)) from None
                dataset = None
            frozen = self._storage.get_all_trials(study_id, deepcopy=False)
            trials = []
            for one in frozen:
                replicates = attributes.get(f"replicates:{one.number}", ())
                mark = (one.state, len(replicates), asked.is_sweeps)
                known = self._converted.get(one.number)
                if known is None or known[0] != mark:
                    known = mark, to_trial(one, config, replicates)
                    self._converted[one.number] = known
                trials.append(known[1])
        revisions = tuple(
            1 + len(t.replicates) if t.state not in ("running", "waiting") else 0 for t in trials
        )
        others = {k: v for k, v in attributes.items() if not k.startswith(("replicates:", "lease"))}
        text = json.dumps([self.name, revisions, others], sort_keys=True, default=str)
        version = hashlib.sha256(text.encode()).hexdigest()[:16]
        record = (
            study_record(self.name, config, dataset, attributes, tuple(trials))
            if dataset is not None
            else StudyRecord(self.name, config, None, tuple(trials))
        )
        return Snapshot(version, asked, record, revisions)


class Reader:
    """All studies of a store, for readers in many threads."""

    def __init__(
        self,
        storage: BaseStorage,
        tell: Tell,
        runs: Runs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads nothing yet.

        Args:
            storage: what `open_storage` gave.
            tell: gives the names and the data of events, from a study before and now.
            runs: whether a coordinator has a study.
            clock: seconds.
        """
        self._storage = cached(storage)
        self._tell, self._runs, self._clock = tell, runs, clock
        self._watches: dict[str, Watch] = {}
        self._lock = threading.Lock()
        self.boot = uuid.uuid4().hex[:8]
        self.changes = 0  # counts up with every change of any study
        self.list_viewers = 0
        self._listing: tuple[Asked, ...] = ()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def watch(self, name: str) -> Watch:
        """The watch of a study; made if there is none.

        Raises:
            StudyNotFoundError: there is no such study.
        """
        with self._lock:
            watch = self._watches.get(name)
            if watch is not None:
                watch.used = self._clock()  # so that it is not forgotten before it is read
        if watch is None:
            watch = Watch(self._storage, name, self._tell, self._runs, self._clock)
            watch.refresh()
            with self._lock:
                watch = self._watches.setdefault(name, watch)
        return watch

    @contextmanager
    def listing(self) -> Iterator[None]:
        """Forget no study in the meantime: somebody looks at the list."""
        with self._lock:
            self.list_viewers += 1
        try:
            yield
        finally:
            with self._lock:
                self.list_viewers -= 1

    def on_dataset(self, dataset: DatasetConfig) -> Iterator[StudyRecord]:
        """The studies on a dataset that can be read, from the last by name to the first."""
        for asked in reversed(self.names()):
            with suppress(SweepError):
                with self._lock:
                    watch = self._watches.get(asked.name)
                seen = None if watch is None else watch.seen  # it is not looked at for this
                if seen is not None:
                    if seen.snapshot.record.config.dataset == dataset:
                        yield seen.snapshot.record
                elif asked.is_sweeps:
                    config, _ = read_header(self._storage, asked.name)
                    if config.dataset == dataset:
                        yield self.watch(asked.name).read().record

    def names(self) -> tuple[Asked, ...]:
        """All studies, by name."""
        return list_asked(self._storage)

    def refresh(self, name: str | None = None) -> None:
        """Read again what is looked at, or one study; forget what nobody looks at.

        Raises:
            StorageError: the store cannot be read.
        """
        # First, since it fails where the store does not answer, before anything has been noticed.
        listing = self._listing if name else tuple(replace(o, lease=None) for o in self.names())
        with self._lock:
            now = self._clock()
            idle = [w for w in self._watches.values() if now - w.used > IDLE_SECONDS]
            for one in idle if not self.list_viewers else ():
                del self._watches[one.name]
            watches = [w for w in self._watches.values() if name in (None, w.name)]
        changed = name is not None or listing != self._listing
        self._listing = listing
        for watch in watches:
            try:
                changed |= watch.refresh()
            except StudyNotFoundError:  # removed by another program
                watch.is_gone = True
                with self._lock:
                    self._watches.pop(watch.name, None)
                changed = True
            except Exception:  # one that cannot be read must not keep others from being read
                _LOG.exception("study %s cannot be read", watch.name)
        if changed:
            self.tell()

    def tell(self) -> None:
        """Wake those who wait for a change."""
        with self._lock:
            self.changes += 1
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(event.set)

    async def next_change(self, seconds: float) -> None:
        """Wait until something has changed, or for so many seconds."""
        event = asyncio.Event()
        entry = asyncio.get_running_loop(), event
        with self._lock:
            self._waiting.add(entry)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)
        finally:
            with self._lock:
                self._waiting.discard(entry)
