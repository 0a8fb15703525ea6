from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
from null_training import null_result, pairs, run, small_study, start_python

from builders import make_config
from sweep import cli
from sweep.errors import StorageError
from sweep.results import LossWeights, TrialResult
from sweep.search.executors import TrialSpec
from sweep.search.lock import exclusive
from sweep.search.records import load_study_record
from sweep.search.storage import open_storage

# Prints a line before its first trial, which is not done before the file exists.
HELD = """
import sys, time
from pathlib import Path
from null_training import null_train, run
from builders import make_config
from sweep.search.storage import open_storage

url, name, trials, file = sys.argv[1:]

def train(spec):
    while not Path(file).exists():
        time.sleep(0.01)
    return null_train(spec)

run(
    make_config(name, budget={"trials": int(trials), "replicates": 0}), open_storage(url), train,
    on_progress=lambda progress: print(progress.done, flush=True),
)
"""

TOGETHER = """
import pathlib, sys, time
from sweep.search.storage import open_storage
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.001)
open_storage(sys.argv[1])
"""


def test_a_second_launch_is_refused_with_who_holds_the_study(tmp_path: Path) -> None:
    url, go = f"sqlite:///{tmp_path}/s.db", tmp_path / "go"
    calls: list[LossWeights] = []

    def train(spec: TrialSpec) -> TrialResult:
        weights = spec.weights
        calls.append(weights)
        return null_result(weights)

    with start_python(HELD, url, "small", "12", str(go)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        with pytest.raises(StorageError) as caught:
            run(
                make_config("small", budget={"trials": 12, "replicates": 0}),
                open_storage(url),
                train,
            )
        go.touch()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, calls) == (0, "", [])
    message = str(caught.value)
    assert message.startswith(f"study 'small' in {tmp_path}/s.db is being launched by process ")
    assert f"by process {process.pid} on {os.uname().nodename} since 20" in message
    assert "or end that process (with sweep stop, where a service runs it)" in message
    record = load_study_record(open_storage(url), "small")
    assert [trial.state for trial in record.trials] == ["complete"] * 12
    assert len(set(pairs(record))) == 12
    assert not (tmp_path / "s.db.small.lock").exists()


STUDY = """
name = "small"
dataset.name = "synthetic"
search_space.rating_weight = { low = 0.1, high = 10.0 }
search_space.retrieval_weight = { low = 0.1, high = 10.0 }
budget.trials = 3
"""


def test_the_command_line_refuses_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["sweep", "launch", "small.toml"])
    with (
        exclusive(tmp_path / "sweep.db.small.lock", "", ""),
        pytest.raises(SystemExit) as caught,
    ):
        cli.main()
    assert caught.value.code == 2
    assert f"is being launched by process {os.getpid()} on" in capsys.readouterr().err


def test_a_killed_launch_lets_go(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    with start_python(HELD, url, "small", "9", str(tmp_path / "never")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        os.kill(process.pid, signal.SIGKILL)
    assert (tmp_path / "s.db.small.lock").exists()
    assert (
        len(
            run(
                make_config("small", budget={"trials": 4, "replicates": 0}), open_storage(url)
            ).complete
        )
        == 4
    )
    assert os.listdir(tmp_path) == ["s.db"]  # noqa: PTH208


def test_two_studies_of_one_store_run_at_the_same_time(tmp_path: Path) -> None:
    url, go = f"sqlite:///{tmp_path}/s.db", tmp_path / "go"
    with start_python(HELD, url, "long", "20", str(go)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        assert (
            len(
                run(
                    make_config("short", budget={"trials": 8, "replicates": 0}), open_storage(url)
                ).trials
            )
            == 8
        )
        go.touch()
        assert (
            len(
                run(
                    make_config("next", budget={"trials": 8, "replicates": 0}), open_storage(url)
                ).trials
            )
            == 8
        )
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    storage = open_storage(url)
    for name, trials in {"short": 8, "long": 20, "next": 8}.items():
        record = load_study_record(storage, name)
        assert [trial.state for trial in record.trials] == ["complete"] * trials


def test_launches_that_begin_together_create_a_store_once(tmp_path: Path) -> None:
    processes = []
    for _ in range(2):
        process = start_python(TOGETHER, f"sqlite:///{tmp_path}/s.db", str(tmp_path / "go"))
        processes.append(process)
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 2
    assert sorted(os.listdir(tmp_path)) == ["go", "s.db"]  # noqa: PTH208


def test_a_link_to_the_store_has_the_same_lock(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "s.db")

    def train(spec: TrialSpec) -> TrialResult:
        weights = spec.weights
        with pytest.raises(StorageError, match="is being launched by process"):
            run(small_study(3), open_storage(f"sqlite:///{tmp_path}/link.db"))
        return null_result(weights)

    assert len(run(small_study(3), open_storage(f"sqlite:///{tmp_path}/s.db"), train).trials) == 3


def test_one_thread_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    inside = most = turns = 0

    def hold() -> None:
        nonlocal inside, most, turns
        for _ in range(20):
            with exclusive(path, "the lock is held", "wait", patience=30):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                turns += 1
                inside -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns, path.exists()) == (1, 80, False)


def test_a_lock_where_no_file_can_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"/no/lock: cannot be locked \(No such file"),
        exclusive(tmp_path / "no" / "lock", "", ""),
    ):
        pass
