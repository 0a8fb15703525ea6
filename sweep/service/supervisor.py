"""Launches as child processes: begun when there is room, begun again when they were killed.

What is to run is in the store (`sweep.search.requests`), and whether it runs is a lock on this
machine (`sweep.service.child`): so the supervisor may be killed at any moment, and the next one
finds everything as it is. A child outlives it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sweep.errors import StorageError, SweepError
from sweep.search.lock import locked_by
from sweep.search.requests import Asked, Outcome, list_asked, load_asked, write_outcome
from sweep.search.storage import ENVIRONMENT_VARIABLE, is_held, storage_errors
from sweep.service.child import TAKEN, lock_path, log_path

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

DEATHS: Final = 5
"""So many deaths in a row of a study's children, without a trial done in between, fail it."""

_LOG = logging.getLogger("sweep.service")


class Supervisor:
    """Keeps what was asked for running; one thread."""

    def __init__(
        self,
        storage: BaseStorage,
        url: str,
        running: int,
        on_change: Callable[[str], None] = lambda _: None,
        seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts nothing yet.

        Args:
            storage: what `open_storage` gave for `url`.
            url: of the store, with its password: children get it by their environment.
            running: how many studies may run at once, at least 1.
            on_change: told the name of a study that began or ended.
            seconds: between two looks at the store.
            clock: seconds, never going back.
        """
        self._storage, self._url, self._running = storage, url, running
        self._on_change, self._seconds, self._clock = on_change, seconds, clock
        self._children: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}
        self._deaths: dict[str, tuple[int, int]] = {}  # by launch: how often, at how many trials
        self._not_before: dict[str, float] = {}  # by launch: when it may be begun again
        self._told: set[str] = set()  # launches that were told to stop
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the store now."""
        self._wake.set()

    def close(self) -> None:
        """Look no more; children go on."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def process_of(self, name: str) -> int | None:
        """The process that runs a launch of that study on this machine, if there is one."""
        child = self._children.get(name)
        if child is not None and child[1].poll() is None:
            return child[1].pid
        return locked_by(lock_path(self._storage, name))

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.step()
            except SweepError as error:
                _LOG.warning("the store cannot be looked at: %s", error)
            except Exception:  # one bad look must not be the last
                _LOG.exception("the supervisor failed")
            self._wake.wait(self._seconds)
            self._wake.clear()

    def step(self) -> None:
        """Do what is to be done now."""
        studies = list_asked(self._storage)
        open_ = [one for one in studies if one.is_open]
        alive = {one.name for one in studies if self._reap(one)}
        # By another machine, or by a process that was killed and whose lease still runs.
        elsewhere = {
            one.name
            for one in open_
            if one.name not in alive
            and is_held(self._storage, one.name, {"lease": one.lease}, time.time())
        }
        for one in open_:
            assert one.launch is not None
            if one.launch.wanted == "stop" and one.name not in elsewhere:
                self._stop(one, one.name in alive)
        waiting = [o for o in open_ if o.launch and o.launch.wanted == "run"]
        waiting = [o for o in waiting if o.name not in alive | elsewhere and self._may_begin(o)]
        room = max(self._running - len(alive), 0)
        for one in sorted(waiting, key=lambda one: one.launch.at if one.launch else "")[:room]:
            self._begin(one)

    def _reap(self, asked: Asked) -> bool:
        """Whether a process runs the study; takes note of one that has died."""
        child = self._children.get(asked.name)
        if child is not None and (code := child[1].poll()) is not None:
            del self._children[asked.name]
            if code in (0, TAKEN):
                _LOG.info("study %s: its process has ended", asked.name)
            else:
                self._count_death(asked, child[0], code)
            self._tell(asked.name)
        return self.process_of(asked.name) is not None

    def _count_death(self, asked: Asked, launch: str, code: int) -> None:
        with storage_errors(self._storage):
            study_id = self._storage.get_study_id_from_name(asked.name)
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
        done = sum(trial.state.is_finished() for trial in trials)
        times, before = self._deaths.get(launch, (0, -1))
        times = times + 1 if done == before else 1
        self._deaths[launch] = times, done
        self._not_before[launch] = self._clock() + 2.0 * (times - 1)
        _LOG.warning("study %s: its process ended with code %d", asked.name, code)
        if times >= DEATHS and asked.launch is not None and asked.launch.id == launch:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            message = (
                f"its process died {times} times in a row, the last time with {how}; "
                f"its last words are in {log_path(self._storage, asked.name)}"
            )
            self._end(asked, message)

    def _stop(self, asked: Asked, is_alive: bool) -> None:
        assert asked.launch is not None
        if not is_alive:
            # It may have ended since the store was read, and then has said how itself.
            if load_asked(self._storage, asked.name).ended is None:
                self._end(asked, None)
            return
        if asked.launch.id not in self._told and (process := self.process_of(asked.name)):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGTERM)
                self._told.add(asked.launch.id)

    def _end(self, asked: Asked, message: str | None) -> None:
        assert asked.launch is not None
        now = datetime.now(UTC).isoformat()
        outcome = Outcome(asked.launch.id, "failed" if message else "stopped", message, now)
        write_outcome(self._storage, asked.name, outcome)
        self._tell(asked.name)

    def _may_begin(self, asked: Asked) -> bool:
        """Whether enough time has passed since its process died."""
        assert asked.launch is not None
        return self._clock() >= self._not_before.get(asked.launch.id, 0.0)

    def _tell(self, name: str) -> None:
        with suppress(SweepError):  # a study that cannot be read is no reason to stop here
            self._on_change(name)

    def _begin(self, asked: Asked) -> None:
        assert asked.launch is not None
        log = log_path(self._storage, asked.name)
        command = [sys.executable, "-m", "sweep.service.child", asked.name, asked.launch.id]
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                process = subprocess.Popen(
                    command,
                    env=os.environ | {ENVIRONMENT_VARIABLE: self._url},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # it outlives this process, and its Ctrl-C
                )
        except OSError as error:
            raise StorageError(
                f"{log}: a launch cannot begin ({error.strerror}); make room there, or set "
                "SWEEP_STATE to another directory"
            ) from None
        self._children[asked.name] = asked.launch.id, process
        _LOG.info("study %s: begun as process %d", asked.name, process.pid)
        self._tell(asked.name)
