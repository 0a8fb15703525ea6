from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from null_training import null_result, run, small_study

from builders import MOVIELENS_100K, make_config
from sweep.config import METRICS
from sweep.errors import StorageError, StudyNotFoundError
from sweep.results import Epoch, LossWeights, TrialResult
from sweep.search.executors import TrialSpec
from sweep.search.records import list_studies, load_study_record, result_attributes
from sweep.search.storage import open_storage, storage_url


def sqlite_url(folder: Path, name: str = "s.db") -> str:
    return f"sqlite:///{folder / name}"


def test_storage_is_the_option_then_the_environment_then_a_file_here() -> None:
    environ = {"SWEEP_STORAGE": "sqlite:///env.db"}
    assert storage_url("sqlite:///option.db", environ) == "sqlite:///option.db"
    assert storage_url(None, environ) == "sqlite:///env.db"
    assert storage_url(None, {"SWEEP_STORAGE": ""}) == "sqlite:///sweep.db"
    assert storage_url(None, {}) == "sqlite:///sweep.db"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sweep.db", "not a URL.*write sqlite:///sweep.db"),
        ("", "not a URL"),
        ("://", "not a database URL"),
        ("postgresql://host:port/x", "not a database URL"),
        ("mongodb://host/x", "unknown kind of database 'mongodb'.*allowed: sqlite"),
        ("redis://host", "unknown kind of database 'redis'"),
        ("sqlite+nosuch:///s.db", "unknown driver 'sqlite\\+nosuch'"),
        ("sqlite://", "not a file on disk.*three slashes"),
        ("sqlite:///:memory:", "not a file on disk"),
        ("sqlite:///file:s.db?mode=ro&uri=true", "not a file on disk"),
        ("sqlite:////no/such/folder/s.db", "there is no directory /no/such/folder"),
        ("sqlite:////tmp", "/tmp is a directory"),
        ("sqlite:////proc/s.db", "/proc/s.db"),
    ],
)
@pytest.mark.parametrize("must_exist", [False, True])
def test_wrong_urls_say_what_is_wrong(url: str, words: str, must_exist: bool) -> None:
    with pytest.raises(StorageError, match=words):
        open_storage(url, must_exist=must_exist)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@127.0.0.1:1/x",
        "postgresql://me:s3@cret@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?user=me&password=s3cret",
        "mysql://me:s3cret@127.0.0.1:1/x",
        "oracle://me:s3cret@host/x",
        "me:s3cret@host/x",
        "postgresql://me:s3cret@host:port/x",
    ],
)
def test_no_message_shows_a_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(url)
    assert "cret" not in str(caught.value)


def test_a_missing_driver_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(StorageError, match="pip install 'psycopg2-binary'"):
        open_storage("postgresql+psycopg2://me@127.0.0.1:1/x")


def test_reading_does_not_create_a_store(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such store; launch a study first"):
        open_storage(sqlite_url(tmp_path), must_exist=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.db").touch()
    with pytest.raises(StorageError, match="no such store"):
        open_storage(sqlite_url(tmp_path), must_exist=True)
    assert (tmp_path / "s.db").stat().st_size == 0


def test_reading_leaves_a_store_as_it_is(tmp_path: Path) -> None:
    run(small_study(4), open_storage(sqlite_url(tmp_path)))
    before = (tmp_path / "s.db").read_bytes()
    storage = open_storage(sqlite_url(tmp_path), must_exist=True)
    assert len(load_study_record(storage, "small").complete) == 4
    list_studies(storage)
    assert (tmp_path / "s.db").read_bytes() == before
    assert os.listdir(tmp_path) == ["s.db"]  # noqa: PTH208


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("rating,retrieval\n" * 10)
    with pytest.raises(StorageError, match="file is not a database; name another file"):
        open_storage(sqlite_url(tmp_path))
    assert (tmp_path / "s.db").read_text() == "rating,retrieval\n" * 10


@pytest.mark.parametrize("must_exist", [False, True])
def test_the_database_of_another_program_is_refused_and_kept(
    tmp_path: Path, must_exist: bool
) -> None:
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(StorageError, match=r"another program's database.*songs|holds no studies"):
        open_storage(sqlite_url(tmp_path), must_exist=must_exist)
    with sqlite3.connect(tmp_path / "s.db") as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("songs",)]


def test_a_damaged_store_is_an_error_with_advice(tmp_path: Path) -> None:
    run(small_study(4), open_storage(sqlite_url(tmp_path)))
    path = tmp_path / "s.db"
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xa5" * (len(content) - 100))
    with pytest.raises(StorageError, match="restore it from a copy"):
        open_storage(sqlite_url(tmp_path), must_exist=True)


def test_a_store_cut_short_is_an_error_with_advice(tmp_path: Path) -> None:
    run(small_study(4), open_storage(sqlite_url(tmp_path)))
    path = tmp_path / "s.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StorageError, match=r"s\.db: .*damaged"):
        load_study_record(open_storage(sqlite_url(tmp_path), must_exist=True), "small")


def test_a_read_only_store_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_storage(sqlite_url(tmp_path))
    # As root every file is writable, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    with pytest.raises(StorageError, match="is read-only"):
        open_storage(sqlite_url(tmp_path))
    open_storage(sqlite_url(tmp_path), must_exist=True)


def test_a_store_locked_by_another_program_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.search.storage._BUSY_SECONDS", 0.05)
    storage = open_storage(sqlite_url(tmp_path))
    connection = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match="locked; another program holds the store"):
        run(small_study(4), storage)
    connection.close()


def test_braces_and_spaces_in_a_path_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "a{b} c"
    folder.mkdir()
    run(small_study(3), open_storage(sqlite_url(folder)))
    assert [path.name for path in folder.iterdir()] == ["s.db"]


def test_a_store_is_one_file_again_after_a_launch(tmp_path: Path) -> None:
    seen = set()
    storage = open_storage(sqlite_url(tmp_path))
    run(small_study(4), storage, on_progress=lambda _: seen.update(os.listdir(tmp_path)))  # noqa: PTH208
    assert seen == {"s.db", "s.db-wal", "s.db-shm", "s.db.small.lock"}
    assert os.listdir(tmp_path) == ["s.db"]  # noqa: PTH208


def test_a_study_is_read_back_as_it_was_recorded(tmp_path: Path) -> None:
    config = small_study(5)
    results: list[TrialResult] = []

    def train(spec: TrialSpec) -> TrialResult:
        weights = spec.weights
        # An irrelevant metric may be anything; objectives are checked by the coordinator.
        results.append(null_result(weights, top_1_accuracy=[0.1, float("inf")][len(results) % 2]))
        return results[-1]

    run(config, open_storage(sqlite_url(tmp_path)), train, versions={"sweep": "9.9"})
    record = load_study_record(open_storage(sqlite_url(tmp_path), must_exist=True), "small")
    assert (record.name, record.config, record.dataset) == ("small", config, MOVIELENS_100K)
    assert [trial.number for trial in record.trials] == [0, 1, 2, 3, 4]
    assert [trial.result for trial in record.trials] == results
    for trial in record.trials:
        assert (trial.state, trial.seed, trial.versions) == ("complete", 0, {"sweep": "9.9"})
        assert trial.started is not None
        assert trial.finished is not None
        assert trial.started.tzinfo is not None
        assert trial.started <= trial.finished


def test_a_long_history_fits_what_mysql_holds_in_an_attribute() -> None:
    epochs = [Epoch(i, 1 / i, 2 / i, dict.fromkeys(METRICS, 1 / (i + 3))) for i in range(1, 121)]
    attributes = result_attributes(TrialResult({}, tuple(epochs), 1, 1), 1)
    assert len(json.dumps(attributes["result"])) < 2**16


def test_studies_are_listed_with_counts_and_bests(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path))
    assert list_studies(storage) == ()
    run(small_study(6), storage)
    optuna.create_study(storage=storage, study_name="foreign")
    (line,) = list_studies(storage)
    record = load_study_record(storage, "small")
    results = [trial.result for trial in record.complete if trial.result]
    assert (line.name, line.complete, line.failed, line.asked) == ("small", 6, 0, 6)
    assert line.best == {
        "rmse": min(result.metrics["rmse"] for result in results),
        "top_100_accuracy": max(result.metrics["top_100_accuracy"] for result in results),
    }
    assert line.last_activity == record.trials[-1].finished


def test_a_study_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path))
    with pytest.raises(StudyNotFoundError, match="there are none; launch one first"):
        load_study_record(storage, "small")
    run(small_study(3), storage)
    with pytest.raises(StudyNotFoundError, match=r"there are: small; did you mean 'small'\?"):
        load_study_record(storage, "smal")


def test_a_study_of_another_program_is_refused(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path))
    study = optuna.create_study(storage=storage, study_name="small", direction="minimize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(StorageError, match="was not written by sweep"):
        load_study_record(storage, "small")
    with pytest.raises(StorageError, match="was not written by sweep"):
        run(small_study(3), storage)
    assert len(study.trials) == 2


def test_a_study_of_a_newer_sweep_is_refused(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path))
    run(small_study(3), storage)
    optuna.load_study(study_name="small", storage=storage).set_user_attr("sweep_schema", 9)
    remedies = "install the version of sweep.*or launch under another name.*or remove it with"
    with pytest.raises(StorageError, match=f"has layout 9, this sweep reads 2 and 3; {remedies}"):
        load_study_record(storage, "small")


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("sweep_schema", 9, "has layout 9"),
        ("config", {"name": "small"}, "cannot be read by this version"),
        ("dataset", {"size": 3}, "cannot be read by this version"),
    ],
)
def test_a_study_that_cannot_be_read_is_listed_with_its_problem_among_the_others(
    tmp_path: Path, attribute: str, value: object, words: str
) -> None:
    storage = open_storage(sqlite_url(tmp_path))
    run(small_study(4), storage)
    run(make_config("well", budget={"trials": 3, "replicates": 0}), storage)
    optuna.load_study(study_name="small", storage=storage).set_user_attr(attribute, value)
    small, well = list_studies(storage)
    assert (small.name, small.complete, small.asked, small.best) == ("small", 4, None, {})
    assert small.problem is not None
    assert words in small.problem
    assert (well.name, well.complete, well.asked, well.problem) == ("well", 3, 3, None)


def test_a_trial_told_by_hand_does_not_count_as_complete(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path))
    run(small_study(3), storage)
    study = optuna.load_study(study_name="small", storage=storage)
    study.tell(study.ask(), [1.0, 0.5])
    trial = load_study_record(storage, "small").trials[-1]
    assert (trial.state, trial.result) == ("failed", None)
    assert trial.reason == "completed by another program, without a result of sweep"
    assert len(run(small_study(5), storage).complete) == 5


def test_optuna_reads_a_study_as_any_other(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    record = run(small_study(6), open_storage(url))
    study = optuna.load_study(study_name="small", storage=url)
    assert study.metric_names == ["rmse", "top_100_accuracy"]
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    specialist, searched = study.trials[0], study.trials[4]
    assert specialist.params == {}
    assert specialist.user_attrs["reference"] == "rating only"
    assert specialist.user_attrs["rating_weight"] == 1.0
    assert specialist.user_attrs["retrieval_weight"] == 0.0
    assert set(searched.params) == {"rating_weight", "retrieval_weight"}
    result = null_result(LossWeights(**searched.params))
    assert searched.values == [result.metrics["rmse"], result.metrics["top_100_accuracy"]]
    stored = searched.user_attrs["result"]
    assert stored["metrics"] == result.metrics
    seconds = stored["seconds"]
    assert (seconds["training"], seconds["evaluation"]) == (1.25, 0.25)
    assert 0 < seconds["budget"] < 10
    history = stored["history"]
    assert history["epoch"] == [1, 2]
    assert history["metrics"]["rmse"] == [result.metrics["rmse"]] * 2
    assert {t.number for t in study.best_trials} <= {t.number for t in record.complete}
    assert len(study.trials_dataframe()) == 6


def test_a_study_of_the_layout_before_is_read_and_goes_on(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path))
    before = run(small_study(6), storage)
    study_id = storage.get_study_id_from_name("small")
    table = sqlite3.connect(tmp_path / "s.db")
    with table:  # as it was written then: three attributes in place of one
        for trial in storage.get_all_trials(study_id):
            for key, value in trial.user_attrs["result"].items():
                table.execute(
                    "insert into trial_user_attributes (trial_id, key, value_json) "
                    "values (?, ?, ?)",
                    (trial._trial_id, key, json.dumps(value)),
                )
        table.execute("delete from trial_user_attributes where key = 'result'")
        table.execute(
            "update study_user_attributes set value_json = '2' where key = 'sweep_schema'"
        )
    table.close()
    storage = open_storage(sqlite_url(tmp_path))
    assert load_study_record(storage, "small") == before
    after = run(small_study(8), storage)
    assert after.trials[:6] == before.trials
    assert len(after.complete) == 8
    assert storage.get_study_user_attrs(study_id)["sweep_schema"] == 3


def test_the_optuna_command_shows_a_study(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    run(small_study(5), open_storage(url))
    command = [sys.executable, "-c", "from optuna.cli import main; main()", "trials"]
    arguments = ["--study-name", "small", "--storage", url, "-f", "json"]
    shown = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    assert len(json.loads(shown.stdout)) == 5
