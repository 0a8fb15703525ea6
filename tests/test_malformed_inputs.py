"""Whatever a user gets wrong: one message that says where and what to do, and exit code 2.

Every case goes through the command line as the shell would call it. Nothing is left behind.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import sys
from pathlib import Path

import pandas as pd
import pytest

from sweep import cli

STUDY = """
name = "small"
[dataset]
name = "synthetic"
[search_space]
rating_weight = { low = 0.1, high = 10.0 }
retrieval_weight = { low = 0.1, high = 10.0 }
[budget]
trials = 3
"""

FILE_STUDY = STUDY.replace(
    'name = "synthetic"',
    'name = "ratings.csv"\nquery = "user"\ncandidate = "item"\nlabel = "stars"',
)

GOOD_ROWS = "user,item,stars\na,x,1\nb,y,2\na,y,3\n"


@pytest.fixture
def fail(tmp_path, monkeypatch, capsys):
    """Runs a command that must fail; gives its message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SWEEP_STORAGE", raising=False)
    (tmp_path / "small.toml").write_text(STUDY)

    def call(*arguments: str) -> str:
        before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        assert stopped.value.code == 2, captured.err
        assert "Traceback" not in captured.err
        assert captured.out == ""
        after = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
        assert after == before, "something was left behind"
        # What Typer says is in a box, folded to the width of the terminal.
        return re.sub(r"[\s│]+", " ", captured.err)

    return call


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "name: required, but not there"),
        ("name = ", "not valid TOML"),
        (STUDY.replace('"small"', '"a b/c"'), "name: found 'a b/c'"),
        (STUDY.replace('"small"', "3"), "name: found 3; allowed: string"),
        (STUDY.replace("[budget]", "[bugdet]"), "bugdet: unknown key"),
        (STUDY.replace("trials = 3", "trials = 0"), "budget.trials: found 0"),
        (STUDY.replace("trials = 3", 'trials = "3"'), "budget.trials: found '3'; allowed: integer"),
        (STUDY.replace("trials = 3", "minutes = -1"), "budget.minutes: found -1"),
        (STUDY.replace("trials = 3", ""), "none of trials, minutes and patience"),
        (STUDY.replace("low = 0.1", "low = 100", 1), "is not below high"),
        (STUDY.replace("low = 0.1", "low = inf", 1), "rating_weight.low: found inf"),
        (STUDY.replace("low = 0.1", "lo = 0.1", 1), "did you mean 'low'?"),
        (STUDY.replace('"synthetic"', '"movielens/100m"'), "did you mean 'movielens/100k'?"),
        (STUDY + '[sampler]\nname = "bayes"', "sampler.name: found 'bayes'"),
        (STUDY + "[training]\nlearning_rate = 0", "training.learning_rate: found 0"),
        (STUDY + "[model]\nrating_layers = [16, -1]", "model.rating_layers.1: found -1"),
        (STUDY + "[split]\ntest_fraction = 1.5", "split.test_fraction: found 1.5"),
        (STUDY + "[split]\ntest_fraction = 0", "split: test_fraction is 0"),
        (STUDY + '[split]\nmethod = "last"', "split.method: found 'last'"),
        (
            STUDY + '[split]\nmethod = "column"\nvalidation_fraction = 0.1',
            'validation_fraction = 0.1 has no meaning for method = "column"',
        ),
        (
            STUDY.replace('"synthetic"', '"movielens/100k"\nsplit = "side"'),
            "split = 'side' is a column of a file",
        ),
        (FILE_STUDY.replace('"stars"', '"stars"\nsplit = "user"'), "one column is named twice"),
        (STUDY + '[[objectives]]\nmetric = "mae"\ndirection = "minimize"', "metric 'mae'"),
        (STUDY + "[dataset.synthetic]\nqueries = 1", "dataset"),
    ],
)
def test_study_files(fail, tmp_path, text, told):
    (tmp_path / "bad.toml").write_text(text)
    message = fail("launch", "bad.toml")
    assert "bad.toml" in message
    assert told in message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"user,item,stars\n", "no rows"),
        (b"user,film,stars\na,x,1\n", "item"),
        (GOOD_ROWS.encode() + b"b,x,five\n", "row 4"),
        (GOOD_ROWS.encode() + b"b,x,nan\n", "row 4"),
        (GOOD_ROWS.encode() + b"b,x,inf\n", "row 4"),
        (GOOD_ROWS.encode() + b"b,x,\n", "row 4"),
        (GOOD_ROWS.encode() + b",x,4\n", "row 4"),
        (GOOD_ROWS.encode() + b"b,x,4,9,9\n", "CSV"),
        (b"user,item,stars\na,x,1\na,y,2\n", "single query"),
        (b"user,item,stars\na,x,1\nb,x,2\n", "single candidate"),
        (b"\xff\xfe\x00\x00", "UTF-8"),
    ],
)
def test_csv_files(fail, tmp_path, content, told):
    (tmp_path / "bad.toml").write_text(FILE_STUDY)
    if content is not None:
        (tmp_path / "ratings.csv").write_bytes(content)
    message = fail("data", "show", "bad.toml")
    assert "ratings.csv" in message
    assert told in message


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("time", "ratings.csv has none; name their column as dataset.timestamp"),
        ("column", "ratings.csv has none; name it as dataset.split"),
    ],
)
def test_splits_that_the_data_does_not_allow(fail, tmp_path, method, told):
    (tmp_path / "bad.toml").write_text(FILE_STUDY + f'[split]\nmethod = "{method}"\n')
    (tmp_path / "ratings.csv").write_text(GOOD_ROWS)
    assert told in fail("launch", "bad.toml")


def test_columns_that_do_not_split(fail, tmp_path):
    study = FILE_STUDY.replace('"stars"', '"stars"\nsplit = "side"')
    (tmp_path / "bad.toml").write_text(study + '[split]\nmethod = "column"\n')
    rows = "user,item,stars,side\na,x,1,train\nb,y,2,test\na,y,3,dev\n"
    (tmp_path / "ratings.csv").write_text(rows)
    message = fail("launch", "bad.toml")
    assert "ratings.csv: split: row 3 is 'dev'" in message
    assert "allowed: train, validation, test" in message
    (tmp_path / "ratings.csv").write_text(rows.replace("dev", "train"))
    assert "2 to train on, 0 to validate on and 1 to test on" in fail("launch", "bad.toml")


def test_a_list_as_long_as_the_catalogue(fail, tmp_path):
    (tmp_path / "tiny.toml").write_text(STUDY + "[dataset.synthetic]\ncandidates = 60\n")
    message = fail("launch", "tiny.toml")
    assert "has 60 candidates" in message
    assert "K of 1 or 5 or 10 or 50" in message


def test_parquet_files(fail, tmp_path):
    (tmp_path / "bad.toml").write_text(FILE_STUDY.replace("ratings.csv", "ratings.parquet"))
    (tmp_path / "ratings.parquet").write_bytes(b"PAR1 but not really")
    assert "ratings.parquet" in fail("data", "show", "bad.toml")
    mixed = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "stars": ["good", "bad"]})
    mixed.to_parquet(tmp_path / "ratings.parquet")
    assert "good" in fail("data", "show", "bad.toml")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sweep.db", "write sqlite:///sweep.db"),
        ("mysqlite:///x.db", "unknown kind of database"),
        ("sqlite://", "nothing would be kept"),
        ("sqlite:///no/such/folder/x.db", "no directory"),
        ("sqlite:///small.toml", "name another file"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "***"),
    ],
)
def test_storage_urls(fail, url, told):
    for command in (["launch", "small.toml"], ["list"]):
        message = fail(*command, "--storage", url)
        assert told in message
        assert "secret" not in message


def test_a_database_of_another_program(fail, tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table songs (name text)")
    other.close()
    assert "songs" in fail("launch", "small.toml", "--storage", "sqlite:///other.db")


def test_a_store_that_is_not_there(fail):
    for command in (["list"], ["show", "x"], ["front", "x"], ["report", "x"]):
        assert "launch a study first" in fail(*command)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store with one study of three references."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "small.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["sweep", "launch", "small.toml"])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    assert not stopped.value.code
    return folder / "sweep.db"


@pytest.fixture
def stored(store, tmp_path) -> None:
    shutil.copy(store, tmp_path / "sweep.db")


@pytest.mark.usefixtures("stored")
def test_a_study_that_is_not_there(fail):
    assert "small" in fail("front", "smal")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "is not understood"),
        ("best", "is not understood"),
        ("kne", "did you mean 'knee'?"),
        ("min:", "not a recorded metric"),
        ("min:rsme", "did you mean 'rmse'?"),
        ("max:rmse", "use min:rmse"),
        ("min:top_100_accuracy", "use max:top_100_accuracy"),
        ("trial:99", "complete trials are 0, 1, 2"),
        ("trial:one", "not the number of a trial"),
        ("rmse<=0", "the closest is trial"),
        ("rmse<=abc", "not a finite number"),
        ("rmse=1", "is not understood"),
        ("top_100_accuracy>=2", "trials satisfies it"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_rules(fail, rule, told):
    assert told in fail("export", "small", "--pick", rule, "--output", "best.json")


@pytest.mark.usefixtures("stored")
def test_a_changed_study(fail):
    message = fail("launch", "small.toml", "--set", "training.epochs=4", "--set", "seeds.model=9")
    assert "training.epochs: 3 → 4" in message
    assert "seeds.model: 0 → 9" in message


@pytest.mark.usefixtures("stored")
def test_outputs_that_cannot_be_written(fail, tmp_path):
    (tmp_path / "taken").write_text("a file")
    assert "taken" in fail("report", "small", "--output", "taken")
    assert "taken" in fail("export", "small", "--pick", "knee", "--output", "taken/best.json")
    exporting = ("export", "small", "--pick", "knee", "--output", "best.json", "--model", "taken")
    assert "exists already" in fail(*exporting)


def test_models_and_questions(fail, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no model there" in fail("predict", "empty", "--user", "1", "--top", "3")
    assert "one of the two" in fail("predict", "empty", "--user", "1")
    assert "one of the two" in fail("predict", "empty", "--user", "1", "--top", "3", "--movie", "x")


def test_arguments(fail):
    assert "Missing argument 'FILE'" in fail("launch")
    assert "No such command" in fail("lanch")
    assert "Missing option '--pick'" in fail("export", "small", "--output", "best.json")
    assert "not a dataset" in fail("data", "show", "movielens")
    assert "named in a study file" in fail("data", "show", "ratings.csv")
    assert "budget.trials: found -3" in fail("launch", "small.toml", "--trials", "-3")
    assert "not of the form key=value" in fail("launch", "small.toml", "--set", "training.epochs")
