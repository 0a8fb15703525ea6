"""Workers that are processes of this machine.

A worker is a fresh interpreter, not a copy of this one: TensorFlow's threads do not survive a fork.
Nor is the program that launches imported again there, so that a notebook, or a script without a
`__main__` guard, can have workers.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from sweep.results import TrialResult
from sweep.search.executors import Train, TrialSpec
from sweep.search.workers import Worker, WorkerLostError

_START: Final = (
    "import sys; sys.path[:] = {path!r}; from sweep.search.processes import work; work({number})"
)


class ProcessWorker(Worker):
    """One process. It ends when its parent does, and neither Ctrl-C nor SIGTERM reaches it."""

    def __init__(self, build: Callable[[], Train]) -> None:
        """Takes what is called once in the process, and gives the function to train with.

        It is pickled: a function of a module, or a `functools.partial` of one.
        """
        self._build = build
        self._process: subprocess.Popen[bytes] | None = None
        self._answer: Future[Any] = Future()

    @property
    def pid(self) -> int | None:
        """Of the process; None before it is started."""
        return self._process.pid if self._process else None

    def start(self) -> Future[None]:
        """Start the process, and build the trainer in it."""
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=sys.path, number=number)],
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                process_group=0,  # Ctrl-C in a terminal is for the coordinator alone
            )
        self._connection = Connection(ours.detach())
        ready: Future[None] = Future()
        self._answer = ready
        threading.Thread(target=self._listen, name="sweep worker", daemon=True).start()
        self._send(self._build)
        return ready

    def train(self, spec: TrialSpec) -> Future[TrialResult]:
        """Send the trial to the process."""
        self._answer = answer = Future[TrialResult]()
        self._send(spec)
        return answer

    def stop(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()

    def _send(self, message: object) -> None:
        with suppress(OSError):  # it is dead, as the thread that listens will tell
            self._connection.send_bytes(pickle.dumps(message))

    def _listen(self) -> None:
        """Hand on every answer, until the process is gone."""
        assert self._process is not None
        with suppress(EOFError, OSError), self._connection as connection:
            while True:
                value, error = pickle.loads(connection.recv_bytes())
                if error is None:
                    self._answer.set_result(value)
                else:
                    self._answer.set_exception(error)
        self._process.kill()  # closed its end, but lives
        code = self._process.wait()
        if not self._answer.done():
            self._answer.set_exception(WorkerLostError(_how(code)))


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
    while True:
        message = inbox.get()
        answer: tuple[object, BaseException | None]
        try:
            content = pickle.loads(message)
            if train is None:
                train = content()
                answer = None, None
            else:
                answer = train(content), None
        except BaseException as error:
            error.add_note(f"In the worker:\n{traceback.format_exc()}")
            answer = None, error
        connection.send_bytes(_pickled(*answer))


def _pickled(value: object, error: BaseException | None) -> bytes:
    try:
        content = pickle.dumps((value, error))
        pickle.loads(content)  # some exceptions can be written, but not read
        return content
    except Exception:
        return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
