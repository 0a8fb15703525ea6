"""What every kind of store does alike: SQLite, PostgreSQL, journal file, gRPC proxy."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from null_training import null_result, pairs, run, small_study, start_python
from optuna.storages import BaseStorage

from builders import make_config
from postgresql import PostgreSQL, free_port
from sweep.errors import StorageError, StudyNotFoundError
from sweep.results import Replicate, StudyRecord, TrialResult
from sweep.search.executors import TrialSpec
from sweep.search.records import list_studies, load_study_record, write_replicates
from sweep.search.storage import open_storage, single_writer, store_identity, store_name

KINDS = ("sqlite", "postgresql", "journal", "grpc")

PROXY = """
import sys
import optuna
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def proxy(postgresql: PostgreSQL) -> Iterator[int]:
    """The port of Optuna's proxy in front of a database of its own."""
    port = free_port()
    database = postgresql.url(postgresql.new_database())
    process = start_python(PROXY, database, str(port))
    try:
        open_storage(f"grpc://127.0.0.1:{port}")
        yield port
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/s.db"
        case "journal":
            return f"journal:///{tmp_path}/s.log"
        case "postgresql":
            server = request.getfixturevalue("postgresql")
            return str(server.url(server.new_database()))
    port = request.getfixturevalue("proxy")
    address = f"grpc://127.0.0.1:{port}"
    storage = open_storage(address)
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)
    return address


def without_times(record: StudyRecord) -> StudyRecord:
    trials = [dataclasses.replace(trial, started=None, finished=None) for trial in record.trials]
    return dataclasses.replace(record, trials=tuple(trials))


def test_a_study_is_run_resumed_and_read_back_the_same_in_every_store(
    url: str, tmp_path: Path
) -> None:
    reference = open_storage(f"sqlite:///{tmp_path}/reference.db")
    records = []
    for storage in (reference, open_storage(url)):
        run(small_study(6), storage, versions={"sweep": "9"})
        records.append(run(small_study(10), storage, versions={"sweep": "9"}))
    again = load_study_record(open_storage(url, must_exist=True), "small")
    assert without_times(again) == without_times(records[0])
    assert without_times(again) == without_times(records[1])
    for trial in again.trials:
        assert trial.started is not None
        assert trial.finished is not None
        assert trial.started.tzinfo is not None
        assert trial.started <= trial.finished
    (first,), (second,) = list_studies(reference), list_studies(open_storage(url))
    assert (second.complete, second.best) == (first.complete, first.best)
    assert second.last_activity == again.trials[-1].finished


def test_a_study_that_is_not_there_names_those_that_are(url: str) -> None:
    storage = open_storage(url)
    with pytest.raises(StudyNotFoundError, match="there are none; launch one first"):
        load_study_record(storage, "small")
    run(small_study(3), storage)
    with pytest.raises(StudyNotFoundError, match="did you mean 'small'"):
        load_study_record(storage, "smal")


def test_replicates_are_stored_in_every_store(url: str) -> None:
    storage = open_storage(url)
    run(small_study(3), storage)
    replicates = [Replicate(seed, {"rmse": 1 / seed}, 0.5) for seed in (1, 2)]
    write_replicates(storage, "small", 2, replicates)
    record = load_study_record(open_storage(url), "small")
    assert record.trials[2].replicates == tuple(replicates)


def test_every_store_has_a_name_and_an_identity_without_a_password(url: str) -> None:
    storage = open_storage(url)
    assert store_name(storage) == url.replace("s3cret", "***")
    assert store_identity(storage) == store_identity(url)
    assert "s3cret" not in store_identity(url)


HELD = """
import sys, time
from pathlib import Path
from sweep.search.storage import open_storage, single_writer
with single_writer(open_storage(sys.argv[1]), "small", lease_seconds=float(sys.argv[2])) as check:
    check()
    print("held", flush=True)
    time.sleep(60)  # until it is killed
"""


def create(url: str) -> BaseStorage:
    storage = open_storage(url)
    optuna.create_study(storage=storage, study_name="small", directions=["minimize", "maximize"])
    return storage


def hold(url: str, seconds: float = 30.0) -> subprocess.Popen[str]:
    process = start_python(HELD, url, str(seconds))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n", process.communicate()
    return process


def test_one_at_a_time_holds_a_study_and_the_other_is_told_who(url: str) -> None:
    storage = create(url)
    with hold(url) as process:
        with pytest.raises(StorageError) as caught, single_writer(storage, "small"):
            pass
        message = str(caught.value)
        assert "is being launched by " in message
        assert f"process {process.pid} on {os.uname().nodename} since 20" in message
        process.kill()


TOGETHER = """
import pathlib, sys, time
from sweep.errors import StorageError
from sweep.search.storage import open_storage, single_writer
storage = open_storage(sys.argv[1])
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.001)
try:
    with single_writer(storage, "small"):
        print("held", flush=True)
        time.sleep(60)  # until it is killed
except StorageError as error:
    print(error, flush=True)
"""


def test_of_many_that_begin_together_one_holds_the_study(url: str, tmp_path: Path) -> None:
    create(url)
    processes = [start_python(TOGETHER, url, str(tmp_path / "go")) for _ in range(3)]
    outputs = [process.stdout for process in processes if process.stdout is not None]
    assert [output.readline() for output in outputs] == ["ready\n"] * 3
    (tmp_path / "go").touch()
    said = sorted(output.readline() for output in outputs)
    for process in processes:
        process.kill()
        process.communicate()
    assert said[0] == "held\n"
    assert all(line.startswith("study 'small'") for line in said[1:])
    assert all("is being launched by process " in line for line in said[1:])


def test_a_study_is_free_at_once_when_its_holder_has_ended(url: str) -> None:
    storage = create(url)
    for _ in range(2):
        with single_writer(storage, "small") as check:
            check()


def test_a_killed_holder_is_succeeded(url: str) -> None:
    storage = create(url)
    said: list[str] = []
    with hold(url, seconds=1.5) as process:
        os.kill(process.pid, signal.SIGKILL)
    for _ in range(100):
        try:
            with single_writer(storage, "small", lease_seconds=1.5, say=said.append) as check:
                check()
            break
        except StorageError as error:
            assert "it has died, its lease expires in" in str(error)  # noqa: PT017
            time.sleep(0.1)
    else:
        pytest.fail("never free")
    assert all(word.startswith(("Study 'small' is held by", "Took study 'small'")) for word in said)
    assert bool(said) != url.startswith("sqlite")


def test_a_study_must_exist_where_its_holder_is_written_into_it(url: str) -> None:
    storage = open_storage(url)
    if url.startswith("sqlite"):
        with single_writer(storage, "small"):
            pass
    else:
        with (
            pytest.raises(StudyNotFoundError, match="no study 'small' in this store"),
            single_writer(storage, "small"),
        ):
            pass


def test_two_studies_of_one_store_are_held_apart(url: str) -> None:
    storage = create(url)
    optuna.create_study(storage=storage, study_name="other")
    with single_writer(storage, "small"), single_writer(storage, "other") as check:
        check()


def test_a_second_launch_explains_and_leaves_the_first_alone(url: str) -> None:
    storage, refused = open_storage(url), []

    def train(spec: TrialSpec) -> TrialResult:
        if spec.number == 2:
            with pytest.raises(StorageError, match="is being launched by process") as caught:
                run(small_study(5), open_storage(url))
            refused.append(caught.value)
        return null_result(spec.weights)

    record = run(small_study(5), storage, train)
    assert len(refused) == 1
    assert [trial.state for trial in record.trials] == ["complete"] * 5
    assert len(set(pairs(record))) == 5


# Journal files.


def test_a_journal_may_be_named_right_here_or_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(small_study(3), open_storage("journal:///sweep.log"))
    whole = open_storage(f"journal:///{tmp_path}/sweep.log", must_exist=True)
    assert len(load_study_record(whole, "small").complete) == 3
    assert os.listdir(tmp_path) == ["sweep.log"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("journal://sweep.log", "names no file; write journal:///sweep.log"),
        ("journal:///", "names no file"),
        ("journal:////no/such/folder/s.log", "there is no directory /no/such/folder"),
        ("journal:////tmp", "/tmp is a directory"),
        ("grpc://", "write grpc://HOST:PORT"),
        ("grpc://host", "write grpc://HOST:PORT"),
        ("grpc://host:port", "write grpc://HOST:PORT"),
        ("grpc://host:13000/x", "write grpc://HOST:PORT"),
        ("grpc://me:s3cret@host:13000", "write grpc://HOST:PORT"),
    ],
)
def test_wrong_urls_say_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught:
        open_storage(url)
    assert "s3cret" not in str(caught.value)


def test_reading_does_not_create_a_journal(tmp_path: Path) -> None:
    url = f"journal:///{tmp_path}/s.log"
    with pytest.raises(StorageError, match="no such store; launch a study first"):
        open_storage(url, must_exist=True)
    assert list(tmp_path.iterdir()) == []
    run(small_study(3), open_storage(url))
    before = (tmp_path / "s.log").read_bytes()
    list_studies(open_storage(url, must_exist=True))
    assert (tmp_path / "s.log").read_bytes() == before


@pytest.mark.parametrize("content", ["rating,retrieval\n", '{"a": 1}\n', "3\n", "\x00\n"])
def test_the_file_of_another_program_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.log").write_text(content)
    with pytest.raises(StorageError, match="is another program's file"):
        open_storage(f"journal:///{tmp_path}/s.log")
    assert (tmp_path / "s.log").read_text() == content


def test_a_journal_cut_short_anywhere_in_its_last_line_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    storage = open_storage(f"journal:///{path}")
    run(small_study(3), storage)
    study = optuna.load_study(study_name="small", storage=storage)
    whole = path.read_bytes()
    line = json.dumps({"op_code": 8, "text": "cut short"}).encode()
    for cut in (1, len(line) // 2, len(line)):
        path.write_bytes(whole + line[:cut])
        assert len(load_study_record(f"journal:///{path}", "small").complete) == 3
        study.set_user_attr("note", cut)
        again = open_storage(f"journal:///{path}")
        assert again.get_study_user_attrs(study._study_id)["note"] == cut
        assert path.read_bytes().startswith(whole)


def test_a_journal_damaged_in_its_middle_is_an_error_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    run(small_study(3), open_storage(f"journal:///{path}"))
    lines = path.read_bytes().split(b"\n")
    lines[4] = lines[4][:-3]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(StorageError, match=r"s\.log: .*; the file is damaged: restore it"):
        load_study_record(f"journal:///{path}", "small")


def test_a_full_disk_leaves_a_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.log"
    storage = open_storage(f"journal:///{path}")
    run(small_study(3), storage)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device; make room, then launch"):
            write_replicates(storage, "small", 0, [])
    assert path.read_bytes() == before
    assert (
        len(run(make_config("small2", budget={"trials": 3, "replicates": 0}), storage).trials) == 3
    )


def test_a_proxy_that_does_not_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.search.storage._CONNECT_SECONDS", 0.2)
    with pytest.raises(StorageError, match="does not answer; see that optuna"):
        open_storage(f"grpc://127.0.0.1:{free_port()}")


def test_a_lost_proxy_is_a_lost_store(postgresql: PostgreSQL) -> None:
    from sweep.search.patience import can_be_lost, is_lost

    port = free_port()
    database = postgresql.url(postgresql.new_database())
    with start_python(PROXY, database, str(port)) as process:
        storage = open_storage(f"grpc://127.0.0.1:{port}")
        process.kill()
    assert can_be_lost(storage)
    with pytest.raises(StorageError, match=f"grpc://127.0.0.1:{port}: ") as caught:
        list_studies(storage)
    assert is_lost(caught.value)
