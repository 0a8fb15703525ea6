"""One process at a time: a lock on a file, which the system drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from sweep.errors import StorageError, StorageLockedError


@contextmanager
def exclusive(path: Path, what: str, advice: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock that a file stands for; the file is made for this, and removed at the end.

    A process that is killed leaves the file behind, without the lock. While it is held, the file
    says by whom and since when.

    Args:
        path: the lock file, on a local disk.
        what: what is locked, as an error begins.
        advice: what to do about an error.
        patience: seconds to wait for another holder to let go.

    Raises:
        StorageLockedError: another process, or another thread of this one, holds the lock.
        StorageError: there can be no such file here.
    """
    deadline = time.monotonic() + patience
    try:
        while (descriptor := _take(path)) is None:
            if time.monotonic() >= deadline:
                raise StorageLockedError(f"{what} by {_holder(path)}; {advice}")
            time.sleep(0.02)  # the system's own wait has no end
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be locked ({error.strerror}); keep the store on a local disk, in a "
            "directory that you may write in"
        ) from None
    try:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        who = f"{this_process()} since {since}".encode()
        os.pwrite(descriptor, who, 0)
        os.truncate(descriptor, len(who))
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is dropped: then it is still ours
        os.close(descriptor)


def locked_by(path: Path) -> int | None:
    """The id of the process that holds a lock on this machine; None if nobody does.

    Raises:
        StorageError: the file cannot be looked at.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be looked at ({error.strerror}); see to its permissions"
        ) from None
    try:
        # Shared, so that many may look at once; a holder to be waits for a moment (`patience`).
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        found = re.match(r"process (\d+) ", _holder(path))
        return int(found[1]) if found else 0
    finally:
        os.close(descriptor)
    return None


def this_process() -> str:
    """What a message calls this process, on whichever machine it is read."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def _holder(path: Path) -> str:
    """Who holds the lock; the holder writes it down a moment after it has the lock."""
    for _ in range(25):
        with suppress(FileNotFoundError):
            if holder := path.read_text(encoding="utf-8"):
                return holder
        time.sleep(0.02)
    return "another process"


def _take(path: Path) -> int | None:
    """The descriptor of the locked file; None if it is locked by another."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        # A holder that ended in between has removed the file; a lock on it would keep nobody out.
        if os.fstat(descriptor).st_nlink:
            os.truncate(descriptor, 0)  # of a holder that was killed: its name must not be read
            return descriptor
        os.close(descriptor)
