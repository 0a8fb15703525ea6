"""What workers build and train in tests: a trial does what its setting `do` says.

The folder tells what has happened, in whatever process it happened.
"""

from __future__ import annotations

import functools
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from null_training import null_result

from sweep.errors import DataError, TrainingError
from sweep.results import TrialResult
from sweep.search.executors import Train, TrialSpec

SECONDS = 60.0
"""After which a test that waits for another process gives up."""

Build = Literal["well", "raising", "dying", "printing", "slow"]


class UnpicklableError(Exception):
    """Cannot be written."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class UnreadableError(Exception):
    """Can be written, but not read: it takes other arguments than it keeps."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


@dataclass(frozen=True)
class Folder:
    """A folder as a notice board between processes."""

    path: Path

    def note(self, name: str, text: str = "") -> None:
        """Put up a line; one write, so that lines of several processes do not mix."""
        with (self.path / name).open("a") as file:
            file.write(f"{text}\n")

    def lines(self, name: str) -> list[str]:
        """What has been put up; nothing yet if it is not there."""
        try:
            return (self.path / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def await_lines(self, name: str, count: int = 1) -> list[str]:
        """Wait for so many lines."""
        eventually(lambda: len(self.lines(name)) >= count, f"{count} lines in {name}")
        return self.lines(name)

    def read(self, name: str) -> Any:
        """What has been pickled."""
        return pickle.loads((self.path / name).read_bytes())

    def pids(self, number: int) -> list[int]:
        """The processes that have begun to train a trial, in their order."""
        return [int(line) for line in self.lines(f"began-{number}")]

    @property
    def built(self) -> list[int]:
        """The processes that have built their trainer."""
        return [int(line) for line in self.lines("built")]


def eventually(is_so: Callable[[], bool], what: str = "it") -> None:
    """Wait until something is so."""
    until = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < until, f"{what} did not come about in {SECONDS:g} s"
        time.sleep(0.005)


def build(path: Path, how: Build = "well", *_: object) -> Train:
    folder = Folder(path)
    folder.note("built", str(os.getpid()))
    match how:
        case "raising":
            raise DataError("the data is not there; put it there")
        case "dying":
            os.kill(os.getpid(), signal.SIGKILL)
        case "printing":
            print("garbage", flush=True)
            print("garbage", file=sys.stderr, flush=True)
            os.write(1, b"\x00\x00\x00\x04junk\n")
        case "slow":
            folder.await_lines("go")
    return functools.partial(train, folder)


def train(folder: Folder, spec: TrialSpec) -> TrialResult:
    folder.note(f"began-{spec.number}", str(os.getpid()))
    result = null_result(spec.weights)
    match spec.settings.get("do"):
        case "fail":
            raise TrainingError("rmse is nan after epoch 2; smaller weights may help")
        case "raise":
            raise KeyError("no such layer")
        case "raise what cannot be written":
            raise UnpicklableError("holds a lock")
        case "raise what cannot be read":
            raise UnreadableError("takes", "two")
        case "return what cannot be written":
            return TrialResult({"rmse": threading.Lock()}, (), 1.0, 1.0)  # type: ignore[dict-item]
        case "write":
            (folder.path / "spec").write_bytes(pickle.dumps(spec))
        case "meet":  # as many trials as `together` says are here at the same time
            folder.note("met")
            folder.await_lines("met", int(str(spec.settings["together"])))
        case "wait":
            folder.await_lines("go")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once" if len(folder.lines(f"began-{spec.number}")) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            while True:
                time.sleep(1)
        case "compute":  # without ever waiting
            while True:
                pass
    return result
