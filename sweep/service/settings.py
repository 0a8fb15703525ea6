"""How a service is started, as one checked value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.errors import ConfigError

MAX_RUNNING = 64


@dataclass(frozen=True)
class ServiceSettings:
    """What `sweep serve` is told.

    Attributes:
        storage: URL of the store, with its password.
        studies: Folder of study files; datasets that are files must lie below it.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        token: What requests must bring; None on loopback alone.
        running: How many studies run at once; the others wait.
        hosts: More names that the service is called by, as behind a proxy.
        log_format: Of the log.
        https: Whether browsers come by https, through a proxy.
        requests_per_second: Of one client address, in the long run.
        burst: Requests that one address may send at once.

    Raises:
        ConfigError: the folder of study files is not one, or a number is out of range.
    """

    storage: str
    studies: Path
    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    running: int = 1
    hosts: tuple[str, ...] = ()
    log_format: Literal["json", "text"] = "text"
    https: bool = False
    requests_per_second: float = 100
    burst: int = 400

    def __post_init__(self) -> None:
        if not self.studies.is_dir():
            raise ConfigError(
                f"--studies {self.studies}: not a folder; name the one that holds the study files"
            )
        for option, value, low, high in (
            ("--port", self.port, 0, 65535),
            ("--running", self.running, 1, MAX_RUNNING),
            ("--rate", self.requests_per_second, 1, 1_000_000),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{option}: found {value}; allowed: {low} to {high}")
        if self.token is not None and len(self.token) < 16:
            raise ConfigError(
                f"--token or SWEEP_TOKEN: has {len(self.token)} characters, so that it can be "
                "guessed; give 16 or more, such as `openssl rand -hex 16` draws"
            )
