"""A storm over one study: coordinators and workers killed at random moments until enough are dead.

What must hold is looked at after every death of a coordinator, and at the end:

- a trial that was seen complete in the store is there for good, and unchanged;
- what a coordinator has announced as done is in the store;
- at the end there are exactly as many complete trials as asked, none recorded twice: no two of the
  same number, and no two of the same weights, since the quasi-random sequence never repeats itself;
- every result is that of its own weights.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from null_training import null_result, pairs, start_python

from sweep.errors import StorageError
from sweep.results import StudyRecord, Trial
from sweep.search.executors import TrialSpec
from sweep.search.records import load_study_record
from sweep.search.storage import open_storage

WORKERS = 3

COORDINATOR = """
import sys
from null_training import small_study
from storm import WORKERS, build
from sweep.search.processes import ProcessWorker
from sweep.search.storage import open_storage
from sweep.search.study import run_study
from sweep.search.workers import WorkerPool
from builders import MOVIELENS_100K

url, trials = sys.argv[1], int(sys.argv[2])
execution = {"lease_seconds": 1, "storage_seconds": 30}
config = small_study(trials, sampler="qmc", execution=execution)
with WorkerPool(lambda: ProcessWorker(build), WORKERS) as pool:
    run_study(
        config, open_storage(url), pool, MOVIELENS_100K,
        on_progress=lambda progress: print(progress.done, flush=True),
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
"""


def build():
    """What a worker trains with: a null trial that takes 0.1 to 0.2 s."""

    def train(spec: TrialSpec):
        time.sleep(0.1 + 0.1 * random.random())
        return null_result(spec.weights)

    return train


@dataclass(frozen=True)
class Storm:
    """What a storm has been, and what is left of the study."""

    coordinators_killed: int
    workers_killed: int
    launches: int
    asked: int
    record: StudyRecord
    confirmed: int
    repeated: int
    seconds: float

    @property
    def complete(self) -> int:
        return len(self.record.complete)

    @property
    def failed(self) -> int:
        return len(self.record.trials) - self.complete


def storm(url: str, asked: int, coordinators: int, workers: int, seed: int) -> Storm:
    """Run a study to its end through so many deaths.

    Args:
        url: of an empty store.
        asked: trials; they must last for longer than the storm.
        coordinators: how many of them to kill.
        workers: likewise.
        seed: of the moments, and of who is next.
    """
    generator = random.Random(seed)
    began = time.monotonic()
    seen: dict[int, Trial] = {}
    killed = {"coordinator": 0, "worker": 0}
    victims = ["coordinator"] * (coordinators - 1) + ["worker"] * workers
    generator.shuffle(victims)
    victims.insert(0, "coordinator")  # the last to die
    launches = 0
    while victims:
        launches += 1
        with _launched(url, asked) as process:
            longest = 8.0  # some die while they start, most amid their trials
            while victims:
                time.sleep(generator.uniform(0.05, longest))
                longest = 1.0
                if process.poll() is not None:
                    break
                victim = victims.pop()
                if victim == "coordinator":
                    process.kill()
                    process.wait()
                    killed[victim] += 1
                    break
                alive = psutil.Process(process.pid).children()
                if not alive:  # it has not got so far yet
                    victims.insert(generator.randint(1, len(victims)), victim)
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(generator.choice(alive).pid, signal.SIGKILL)
                    killed[victim] += 1
            output, errors = process.communicate()
            announced = [int(line) for line in output.split()]
            # So soon after the last was killed, its lease may still hold.
            killed_here = process.returncode == -signal.SIGKILL
            assert killed_here or "its lease expires in" in errors, errors
        seen = _check(url, seen, announced)
    launches += 1
    with _launched(url, asked) as process:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    confirmed = len(seen)
    _check(url, seen, [asked])
    record = load_study_record(open_storage(url, must_exist=True), "small")
    done = pairs(record)
    for trial in record.complete:
        assert trial.weights is not None
        assert trial.result is not None
        assert trial.result.metrics == null_result(trial.weights).metrics
    return Storm(
        killed["coordinator"],
        killed["worker"],
        launches,
        asked,
        record,
        confirmed,
        len(done) - len(set(done)),
        time.monotonic() - began,
    )


@contextlib.contextmanager
def _launched(url: str, asked: int) -> Iterator[subprocess.Popen[str]]:
    """A coordinator; killed at the end, unless it has ended."""
    with start_python(COORDINATOR, url, str(asked)) as process:
        try:
            yield process
        finally:
            process.kill()


def _check(url: str, seen: dict[int, Trial], announced: list[int]) -> dict[int, Trial]:
    """See that nothing is lost that was confirmed; gives what is complete now."""
    try:
        record = load_study_record(open_storage(url, must_exist=True), "small")
    except StorageError:
        if seen:
            raise
        return {}  # it was killed before the study had begun
    complete = {trial.number: trial for trial in record.complete}
    assert len({trial.number for trial in record.trials}) == len(record.trials)
    for number, trial in seen.items():
        assert complete.get(number) == trial
    assert len(complete) >= max(announced, default=0)
    return complete


def table(storms: dict[str, Storm]) -> str:
    """The counts, as text."""
    lines = [
        f"{'store':<12}{'coordinators':>13}{'workers':>9}{'launches':>10}{'asked':>7}"
        f"{'complete':>10}{'repeated':>10}{'confirmed, kept':>17}{'cut short':>11}{'seconds':>9}"
    ]
    for name, one in storms.items():
        lines.append(
            f"{name:<12}{one.coordinators_killed:>13}{one.workers_killed:>9}{one.launches:>10}"
            f"{one.asked:>7}{one.complete:>10}{one.repeated:>10}{one.confirmed:>17}"
            f"{one.failed:>11}{one.seconds:>9.0f}"
        )
    return "\n".join(lines)
