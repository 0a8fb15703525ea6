"""Exports: `sweep export` itself, in a process of its own, and the files that it wrote.

It may train for minutes, so an export is asked for and then looked at. Each has a folder in the
state directory, named by an id that is drawn here: no path comes from a request.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile

from sweep.errors import ExportError
from sweep.files import write_text
from sweep.search.spill import state_directory
from sweep.search.storage import ENVIRONMENT_VARIABLE
from sweep.service.schemas import Export

KEPT: Final = 50
"""So many exports are kept, the latest."""

_ID: Final = re.compile(r"[0-9a-f]{32}")
_LOG_LINES: Final = 20


class Exports:
    """The exports of one service; one at a time is made, since each may use all cores."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        """Makes nothing yet.

        Args:
            url: of the store, with its password: an export gets it by its environment.
            folder: where to keep the files; in the state directory by default.
        """
        self._url = url
        self._folder = (folder or state_directory() / "exports").absolute()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._running: dict[str, subprocess.Popen[bytes] | None] = {}
        self._closed = False

    def start(
        self, study: str, rule: str, model: bool, on_change: Callable[[str], None] = lambda _: None
    ) -> Export:
        """Ask for an export.

        Args:
            study: its name.
            rule: as `--pick` takes it.
            model: whether to write the model too.
            on_change: told the study's name once it is over, as its score may be new.

        Raises:
            ExportError: there can be no files.
        """
        key = uuid.uuid4().hex
        request = {"study": study, "rule": rule, "model": model}
        try:
            self._forget()
            write_text(self._folder / key / "request.json", json.dumps(request))
        except OSError as error:
            raise ExportError(
                f"{self._folder}: cannot be written ({error.strerror}); make room, or set "
                "SWEEP_STATE to another directory"
            ) from None
        self._running[key] = None
        self._pool.submit(self._make, key, study, rule, model, on_change)
        return self.read(key)

    @property
    def waiting(self) -> int:
        """How many are being made, or wait to be."""
        return len(self._running)

    def read(self, key: str) -> Export:
        """How far an export is.

        Raises:
            ExportError: there is none of that id.
        """
        folder = self.folder(key)
        is_running = key in self._running  # asked first: it may end meanwhile
        try:
            request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
            log = folder / "log.txt"
            lines = _lines(log) if log.exists() else []
        except FileNotFoundError:  # a later one took its place meanwhile
            raise _no_export(key) from None
        state = "failed"
        message: str | None = "the service was ended meanwhile; ask again"
        if is_running:
            state, message = "running", None
        elif (folder / "error.txt").exists():
            message = (folder / "error.txt").read_text(encoding="utf-8")
        elif (folder / "done").exists():
            state, message = "ready", None
        base = f"/api/v1/exports/{key}"
        files = {"weights": f"{base}/weights.json"} if state == "ready" else {}
        if files and request["model"]:
            files["model"] = f"{base}/model.zip"
        return Export.model_validate(
            {
                **request,
                "id": key,
                "state": state,
                "message": message,
                "log": lines[-_LOG_LINES:],
                "files": files,
            }
        )

    def folder(self, key: str) -> Path:
        """Where the files of an export are.

        Raises:
            ExportError: there is none of that id.
        """
        if not _ID.fullmatch(key) or not (self._folder / key / "request.json").is_file():
            raise _no_export(key)
        return self._folder / key

    def close(self) -> None:
        """End what is being made; it is to be asked for again."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running.values()):
            if process is not None and process.poll() is None:
                process.terminate()

    def _make(
        self, key: str, study: str, rule: str, model: bool, on_change: Callable[[str], None]
    ) -> None:
        folder = self._folder / key
        command = [sys.executable, "-m", "sweep.cli", "export", study, f"--pick={rule}"]
        command += ["--output", str(folder / "weights.json")]
        command += ["--model", str(folder / "model")] if model else []
        try:
            with (folder / "log.txt").open("wb") as log:
                process = subprocess.Popen(
                    command,
                    env=os.environ | {ENVIRONMENT_VARIABLE: self._url, "NO_COLOR": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                self._running[key] = process
                if self._closed:  # a moment ago, before it could be ended with the others
                    process.terminate()
                code = process.wait()
            if code and self._closed:
                return  # `read` says that it was ended
            if code:
                lines = _lines(folder / "log.txt")
                errors = [line for line in lines if line.startswith("Error: ")]
                last = (errors or lines or [f"it ended with exit code {code}"])[-1]
                write_text(folder / "error.txt", last.removeprefix("Error: "))
            else:
                if model:
                    _zip(folder / "model", folder / "model.zip")
                write_text(folder / "done", "")
        except OSError as error:
            write_text(folder / "error.txt", f"its files cannot be written ({error.strerror})")
        finally:
            del self._running[key]
            on_change(study)

    def _forget(self) -> None:
        folders = [one for one in self._folder.glob("*") if _ID.fullmatch(one.name)]
        idle = [one for one in folders if one.name not in self._running]
        idle.sort(key=_age, reverse=True)
        for old in idle[KEPT - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def _age(folder: Path) -> float:
    """When a folder was written; long ago where it has just been removed."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _lines(log: Path) -> list[str]:
    """What an export said; where its files are, is the service's affair."""
    return log.read_text("utf-8", "replace").replace(f"{log.parent}/", "").splitlines()


def _no_export(key: str) -> ExportError:
    return ExportError(f"no export {key[:40]!r}; the latest {KEPT} are kept")


def _zip(folder: Path, target: Path) -> None:
    """A folder as a zip file, whole or not at all."""
    with (
        tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file,
        ZipFile(file, "w", ZIP_DEFLATED) as archive,
    ):
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path("model") / path.relative_to(folder))
    Path(file.name).replace(target)
