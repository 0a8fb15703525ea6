"""One launch in a process of its own: `python -m sweep.service.child STUDY LAUNCH`.

It outlives the service that began it. A lock beside the study's spill file says that it lives, and
is gone when it dies, however that is. How the launch ended is written into the store.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.config import check_study
from sweep.errors import StorageLockedError, SweepError
from sweep.search.lock import exclusive
from sweep.search.replication import is_cut_short
from sweep.search.requests import Ended, Outcome, load_asked, write_outcome
from sweep.search.spill import spill_path
from sweep.search.storage import ENVIRONMENT_VARIABLE, open_storage
from sweep.terminal import Stop, say

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

TAKEN = 3
"""Exit code where another process has the study already."""


def lock_path(storage: BaseStorage | str, study: str) -> Path:
    """The file that is locked while a launch of the study runs on this machine."""
    return spill_path(storage, study).with_suffix(".lock")


def log_path(storage: BaseStorage | str, study: str) -> Path:
    """Where what a launch says goes."""
    return spill_path(storage, study).with_suffix(".log")


def run(url: str, study: str, launch: str) -> int:
    """Carry out a launch; gives the exit code."""
    lock = lock_path(url, study)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(lock, f"study {study!r}: is launched", "wait for it to end", patience=1.0):
            return _launch(url, study, launch)
    except StorageLockedError as error:  # the other process says how it ends
        say(str(error))
        return TAKEN
    except SweepError as error:
        say(f"Error: {error}")
        return 1


def _launch(url: str, study: str, launch: str) -> int:
    store = open_storage(url, must_exist=True)
    asked = load_asked(store, study)
    if asked.launch is None or asked.launch.id != launch or asked.ended:
        return 0  # asked for anew in the meantime, or over
    stop, message = Stop(), None
    state: Ended = "complete"
    try:
        with stop.on_signals():
            from sweep import pipeline

            config = check_study(asked.launch.config, f"study {study!r}")

            def on_progress(_: object) -> None:
                stop.trial_runs = True

            record = pipeline.launch(config, url, say=say, on_progress=on_progress, stop=stop)
        if stop.is_set() and is_cut_short(record):
            state = "stopped"
    except KeyboardInterrupt:
        state = "stopped"
    except StorageLockedError:  # no outcome: it is begun again once the study is free
        raise
    except SweepError as error:
        state, message = "failed", str(error)
        say(f"Error: {error}")
    now = datetime.now(UTC).isoformat()
    write_outcome(store, study, Outcome(launch, state, message, now))
    return 0


if __name__ == "__main__":
    sys.exit(run(os.environ[ENVIRONMENT_VARIABLE], *sys.argv[1:3]))
