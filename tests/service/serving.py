"""A service as its users have it: `sweep serve` in a process of its own, on 127.0.0.1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from command_line import SMALL_STUDY

LONG_STUDY = SMALL_STUDY.replace('name = "small"', 'name = "long"').replace("= 6", "= 5000")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Served:
    """A running service, its client, and how to begin it again."""

    folder: Path
    port: int
    client: httpx.Client
    process: subprocess.Popen[bytes]
    begin: Callable[[], subprocess.Popen[bytes]]
    storage: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **options: Any) -> Any:
        answer = self.client.get(f"/api/v1{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(f"/api/v1{path}", json=body if body is not None else {})
        assert answer.status_code == status, answer.text
        return answer.json()

    def await_state(self, study: str, *states: str, seconds: float = 120) -> Any:
        return self.await_study(study, lambda found: found["state"] in states, seconds)

    def await_study(self, study: str, is_so: Callable[[Any], bool], seconds: float = 120) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.get(f"/studies/{study}")
            if is_so(found):
                return found
            time.sleep(0.1)
        raise AssertionError(f"after {seconds} s {study} is {found['state']}: {found['message']}")

    def child(self) -> int | None:
        """The process that runs a launch."""
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if "sweep.service.child" in command and self._is_ours(process):
                return int(process.pid)
        return None

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("SWEEP_STORAGE") == self.storage
        except psutil.Error:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def restart(self) -> None:
        self.process = self.begin()
        await_answer(self.client, self.process)


def await_answer(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended"
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the service does not answer")


@contextmanager
def serving(
    folder: Path, *options: str, token: str | None = None, storage: str | None = None
) -> Iterator[Served]:
    """A service over a folder with two study files, `small.toml` and `long.toml`."""
    studies = folder / "studies"
    studies.mkdir(exist_ok=True)
    (studies / "small.toml").write_text(SMALL_STUDY)
    (studies / "long.toml").write_text(LONG_STUDY)
    storage = storage or f"sqlite:///{folder}/sweep.db"
    port = free_port()
    command = [sys.executable, "-m", "sweep.cli", "serve", "--port", str(port)]
    command += ["--storage", storage, "--studies", str(studies), *options]
    environment = os.environ | {
        "SWEEP_STATE": str(folder / "state"),
        "SWEEP_CACHE": os.environ.get("SWEEP_CACHE", str(folder / "cache")),
    }
    environment.pop("SWEEP_TOKEN", None)
    if token is not None:
        environment["SWEEP_TOKEN"] = token

    def begin() -> subprocess.Popen[bytes]:
        with (folder / "service.log").open("ab") as log:
            return subprocess.Popen(command, cwd=folder, env=environment, stderr=log, stdout=log)

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False
    ) as client:
        served = Served(folder, port, client, begin(), begin, storage)
        try:
            await_answer(client, served.process)
            yield served
        finally:
            if served.process.poll() is None:
                served.process.send_signal(signal.SIGTERM)
                served.process.wait(30)
            while (child := served.child()) is not None:
                psutil.Process(child).kill()
                time.sleep(0.2)
