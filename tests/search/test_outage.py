"""A database that goes away in the middle of a study: for a while, and for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from null_training import null_result, run, small_study
from test_batch import Jittered

from builders import MOVIELENS_100K
from postgresql import PostgreSQL, programs, running
from sweep.errors import StorageError
from sweep.results import TrialResult
from sweep.search.executors import TrialSpec
from sweep.search.records import load_study_record
from sweep.search.spill import read_spill, spill_path
from sweep.search.storage import open_storage
from sweep.search.study import run_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    """A server of the test's own, to be stopped."""
    assert programs() is not None
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


LEASE_SECONDS = 2


def start_again(server: PostgreSQL) -> None:
    """Start the server, when the lease has expired that nobody could give back."""
    server.start()
    time.sleep(LEASE_SECONDS)


def study(trials: int, seconds: float, **budget: int):
    return small_study(
        sampler="qmc",
        budget={"trials": trials, **budget},
        execution={"storage_seconds": seconds, "lease_seconds": LEASE_SECONDS},
    )


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_is_away_for_a_while_is_waited_for(server: PostgreSQL, mode) -> None:
    url = server.url(server.new_database())
    away = 30 if mode == "fast" else 3
    said: list[str] = []

    def train(spec: TrialSpec) -> TrialResult:
        if spec.number == 5:
            server.stop(mode)
            threading.Timer(away, server.start).start()
        return null_result(spec.weights)

    began = time.monotonic()
    record = run(study(12, 120), open_storage(url), train, say=said.append)
    assert time.monotonic() - began >= away
    assert [trial.state for trial in record.trials] == ["complete"] * 12
    assert [text for text in said if text.startswith("The store does not answer")]
    assert [text for text in said if text.startswith("The store answers again")]
    for trial in record.trials:
        assert trial.weights is not None
        assert trial.metrics == null_result(trial.weights).metrics


def test_where_it_stays_away_what_is_at_hand_is_kept_and_the_next_launch_records_it(
    server: PostgreSQL, state: Path
) -> None:
    url = server.url(server.new_database())
    trained: list[int] = []

    def train(spec: TrialSpec) -> TrialResult:
        trained.append(spec.number)
        if spec.number == 5:
            server.stop("immediate")
        return null_result(spec.weights)

    said: list[str] = []
    store = open_storage(url)
    with pytest.raises(StorageError, match=r"has not answered for \d+ s .* launch again"):
        run(study(12, 2), store, train, say=said.append)
    assert trained == [0, 1, 2, 3, 4, 5]
    path = spill_path(url, "small")
    assert path.parent == state
    assert [record.number for record in read_spill(path)] == [5]
    assert any("1 results that the store did not take are kept in" in text for text in said)
    assert "s3cret" not in path.read_text() + str(path) + "".join(said)

    start_again(server)
    record = run(study(12, 2), open_storage(url), train, say=said.append)
    assert [trial.state for trial in record.trials] == ["complete"] * 12
    assert trained == list(range(12))  # none twice
    assert not path.exists()


def test_what_other_workers_are_training_meanwhile_is_kept_too(server: PostgreSQL) -> None:
    url = server.url(server.new_database())

    class Stopping(Jittered):
        def submit(self, spec: TrialSpec):
            if spec.number == 7:
                server.stop("immediate")
            return super().submit(spec)

    with Stopping(3, 0) as executor, pytest.raises(StorageError):
        run_study(study(12, 1), open_storage(url), executor, MOVIELENS_100K)
    path = spill_path(url, "small")
    kept = {record.number for record in read_spill(path)}
    assert kept
    assert 7 in kept

    start_again(server)
    record = run(study(12, 1), open_storage(url))
    assert len(record.complete) == len(record.trials) == 12


def test_replicates_at_hand_are_kept_too(server: PostgreSQL) -> None:
    url = server.url(server.new_database())
    trained: list[tuple[int, int]] = []

    def train(spec: TrialSpec) -> TrialResult:
        trained.append((spec.number, spec.seed))
        if len(trained) == 11:  # after 5 trials, the sixth of 10 replicates
            server.stop("immediate")
        return null_result(spec.weights)

    config = study(5, 1, replicates=2)
    with pytest.raises(StorageError):
        run(config, open_storage(url), train)
    assert len(read_spill(spill_path(url, "small"))) == 1

    start_again(server)
    record = run(config, open_storage(url), train)
    assert len(trained) == len(set(trained)) == 15
    assert [len(trial.replicates) for trial in record.trials] == [2] * 5
    assert load_study_record(url, "small") == record
