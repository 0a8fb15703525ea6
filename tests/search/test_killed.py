from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from null_training import REFERENCES, pairs, run, small_study, start_python

from sweep.search.records import load_study_record
from sweep.search.storage import open_storage

LAUNCH = """
import sys, time
from null_training import null_train, run, small_study
from sweep.search.storage import open_storage

def train(spec):
    time.sleep(0.004)
    return null_train(spec)

run(
    small_study(60), open_storage(sys.argv[1]), train,
    on_progress=lambda progress: print(progress.done, flush=True),
)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_study_killed_again_and_again_ends_with_exactly_what_was_asked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    generator = random.Random(0)
    kept: dict[int, object] = {}
    complete = 0
    for after in (0, 1, 3, 5, 9):
        with start_python(LAUNCH, url) as process:
            assert process.stdout is not None
            for _ in range(after + 1):  # the first line comes before the first trial
                assert process.stdout.readline()
            time.sleep(generator.uniform(0, 0.03))
            os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        record = load_study_record(open_storage(url, must_exist=True), "small")
        assert kept.items() <= {trial.number: trial for trial in record.complete}.items()
        kept = {trial.number: trial for trial in record.complete}
        assert len(kept) >= complete + after
        complete = len(kept)

    record = run(small_study(24), open_storage(url))
    assert kept.items() <= {trial.number: trial for trial in record.complete}.items()
    assert len(record.complete) == max(24, len(kept))
    assert {trial.state for trial in record.trials} == {"complete", "failed"}
    assert len(kept) < 24
    assert sorted(t.reference for t in record.complete if t.reference) == sorted(REFERENCES)
    cut = [trial for trial in record.trials if trial.state == "failed"]
    assert cut
    assert {trial.reason for trial in cut} == {"coordinator stopped"}
    # Every cut trial that had its weights was repeated, once.
    done = pairs(record)
    for trial in cut:
        if trial.weights is not None:
            assert done.count((trial.weights.rating_weight, trial.weights.retrieval_weight)) == 1
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
