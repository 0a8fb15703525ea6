"""Workers that are processes of this machine.

A worker is a fresh interpreter, not a copy of this one: TensorFlow's threads do not survive a fork.
Nor is the program that launches imported again there, so that a notebook, or a script without a
`__main__` guard, can have workers.
"""

from __future__ import annotations

import functools
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from sweep.results import TrialResult
from sweep.search.executors import Train, TrialSpec
from sweep.search.workers import Worker, WorkerLostError, attempt, outcome

_START: Final = (
    "import sys; sys.path[:] = {path!r}; from sweep.search.processes import work; work({number})"
)

_BEGINS: Final = b""
"""What a process answers at once: from here on it is the trial's fault if it dies."""


class ProcessWorker(Worker):
    """One process. It ends when its parent does, and neither Ctrl-C nor SIGTERM reaches it."""

    def __init__(self, build: Callable[[], Train]) -> None:
        """Takes what is called once in the process, and gives the function to train with.

        It is pickled: a function of a module, or a `functools.partial` of one.
        """
        self._build = build
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        # Guarded by the lock, since a process may die at the moment that it is given something:
        self._answer: Future[Any] = Future()
        self._began = False  # whether the process has what was sent last
        self._death: str | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None before it is started."""
        return self._process.pid if self._process else None

    def start(self) -> Future[None]:
        """Start the process, and build the trainer in it.

        Raises:
            WorkerLostError: the system gives no process.
        """
        build = pickle.dumps(self._build)
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                number = theirs.fileno()
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START.format(path=sys.path, number=number)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[number],
                    process_group=0,  # Ctrl-C in a terminal is for the coordinator alone
                )
                self._connection = Connection(ours.detach())
        except OSError as error:
            raise WorkerLostError(f"not to be started: {error}", began=False) from None
        threading.Thread(target=self._listen, name="sweep worker", daemon=True).start()
        return self._ask(build)

    def train(self, spec: TrialSpec) -> Future[TrialResult]:
        """Send the trial to the process."""
        return self._ask(pickle.dumps(spec))

    def stop(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()

    def _ask(self, message: bytes) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._lock:
            if self._death is not None:
                answer.set_exception(WorkerLostError(self._death, began=False))
                return answer
            self._answer, self._began = answer, False
            with suppress(OSError):  # it is dead, as the thread that listens will tell
                self._connection.send_bytes(message)
        return answer

    def _listen(self) -> None:
        """Hand on every answer, until the process is gone."""
        assert self._process is not None
        with suppress(EOFError, OSError):
            while True:
                content = self._connection.recv_bytes()
                if content == _BEGINS:
                    self._began = True
                    continue
                value, error = outcome(content)
                if error is None:
                    self._answer.set_result(value)
                else:
                    self._answer.set_exception(error)
        self._process.kill()  # closed its end, but lives
        death = _how(self._process.wait())
        with self._lock:
            self._connection.close()
            self._death = death
        if not self._answer.done():
            self._answer.set_exception(WorkerLostError(death, began=self._began))


def _how(code: int) -> str:
    """How a process with this return code ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", out of memory perhaps" if name == "SIGKILL" else "")
    return f"killed by signal {-code}"


def work(descriptor: int) -> None:
    """What the process does: build the trainer, then train what comes, until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the coordinator hears them, and lets us finish
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        # In a thread of its own, so that a parent's death is seen at once, amid a training too.
        with suppress(EOFError, OSError):
            while True:
                inbox.put(connection.recv_bytes())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    train: Train | None = None

    def do(message: bytes) -> TrialResult | None:
        nonlocal train
        content = pickle.loads(message)
        if train is not None:
            return train(content)
        train = content()
        return None

    while True:
        message = inbox.get()
        connection.send_bytes(_BEGINS)
        connection.send_bytes(attempt(functools.partial(do, message)))
