"""What coordinator and storage cost a trial, beside its training, and how many workers that feeds.

Run `python tests/benchmarks/bench_coordinator.py [TRIALS]`; 10,000 trials unless told, an hour.
Trials train in no time, so that all that is left is overhead.

The first table: a study in one process with each of some samplers, in a new SQLite file, and with
the quasi-random sampler in a new PostgreSQL database. Medians over the first and the last 100
trials, in milliseconds: a trial by the wall clock, its processor time, and the part of that in
which Optuna's sampler proposes; the mean of all trials; and by how many KiB a trial the process has
grown, beside what Optuna's own in-memory study of the same trials takes.

The second table: the quasi-random sampler with 1, 16 and 64 workers, threads that give their result
after a pause, so that the coordinator is the limit. Trials a second, and from that how many workers
one coordinator keeps busy if a trial takes 10 s, a minute, ten minutes.
"""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna import samplers

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "search")]

from null_training import null_train, small_study  # noqa: E402

from builders import MOVIELENS_100K  # noqa: E402
from postgresql import running  # noqa: E402
from sweep.results import TrialResult  # noqa: E402
from sweep.search.executors import InProcessExecutor, TrialSpec  # noqa: E402
from sweep.search.space import distributions  # noqa: E402
from sweep.search.storage import open_storage  # noqa: E402
from sweep.search.study import run_study  # noqa: E402
from sweep.search.workers import Worker, WorkerPool  # noqa: E402

CLASSES = {
    "qmc": samplers.QMCSampler,
    "random": samplers.RandomSampler,
    "tpe": samplers.TPESampler,
    "nsga2": samplers.NSGAIISampler,
}
SLOW = ("tpe", "nsga2")
"""Samplers that grow slower with every trial, by themselves: these run a tenth of the trials."""


class InstantWorker(Worker):
    """A thread that trains nothing, in a hundredth of a second."""

    def start(self) -> Future[None]:
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def train(self, spec: TrialSpec) -> Future[TrialResult]:
        future: Future[TrialResult] = Future()
        threading.Timer(0.01, lambda: future.set_result(null_train(spec))).start()
        return future

    def stop(self) -> None:
        pass


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        began = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[-1] += time.process_time() - began

    return call


def memory() -> float:
    """Of this process, in KiB."""
    return psutil.Process().memory_info().rss / 1024


def alone(url: str, sampler: str, trials: int) -> list[str]:
    """One process: the figures of one row."""
    moments: list[tuple[float, float, float]] = []
    proposing = [0.0]
    cls = CLASSES[sampler]
    original = cls.sample_relative
    cls.sample_relative = timed(original, proposing)  # type: ignore[method-assign]

    def on_progress(_: object) -> None:
        moments.append((time.perf_counter(), time.process_time(), memory()))
        proposing.append(0.0)

    try:
        with InProcessExecutor(null_train) as executor:
            config = small_study(trials, sampler=sampler)
            run_study(config, open_storage(url), executor, MOVIELENS_100K, on_progress=on_progress)
    finally:
        cls.sample_relative = original  # type: ignore[method-assign]
    clocks = list(zip(*moments, strict=True))
    wall, processor = (
        [1000 * (after - before) for before, after in itertools.pairwise(clock)]
        for clock in clocks[:2]
    )
    columns = wall, processor, [1000 * seconds for seconds in proposing[1:]]
    cells = [
        f"{statistics.median(column[chosen]):.1f}"
        for column in columns
        for chosen in (slice(0, 100), slice(trials - 100, trials))
    ]
    start = min(500, trials // 2)  # by then all that is imported late is there
    grown = (clocks[2][-1] - clocks[2][start]) / (trials - start)
    return [*cells, f"{statistics.mean(wall):.1f}", f"{grown:.1f}"]


def optunas_own(trials: int) -> str:
    """By how many KiB a trial Optuna's in-memory study grows, that holds such trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = small_study(trials)
    study = optuna.create_study(directions=["minimize", "maximize"])
    known = distributions(config.search_space)
    before = memory()
    for number in range(trials):
        study.add_trial(
            optuna.trial.create_trial(
                params=dict.fromkeys(known, 1.0 + number / trials),
                distributions=known,
                values=[1.0, 0.5],
            )
        )
    return f"{(memory() - before) / trials:.1f}"


def together(url: str, workers: int, trials: int) -> float:
    """Trials a second with so many workers."""
    config = small_study(trials, sampler="qmc")
    moments: list[float] = []
    with WorkerPool(InstantWorker, workers) as pool:
        run_study(
            config,
            open_storage(url),
            pool,
            MOVIELENS_100K,
            on_progress=lambda _: moments.append(time.perf_counter()),
        )
    return (len(moments) - 1) / (moments[-1] - moments[0])


def in_its_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """So that one measurement leaves nothing to the next."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


@contextmanager
def stores() -> Iterator[dict[str, Callable[[], str]]]:
    """Makers of new stores, by name."""
    with running() as server, tempfile.TemporaryDirectory() as folder:
        counter = itertools.count()
        yield {
            "SQLite": lambda: f"sqlite:///{folder}/{next(counter)}.db",
            "PostgreSQL": lambda: server.url(server.new_database()),
        }


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with stores() as new:
        print(f"{'':<27}{'wall':^16}{'processor':^16}{'sampler':^16}{'wall':^8}{'KiB a trial':^16}")
        head = ["first", "last"] * 3 + ["mean", "sweep", "Optuna"]
        print(f"{'store':<11}{'sampler':<8}{'trials':>8}" + "".join(f"{h:>8}" for h in head))
        for store, sampler in [*itertools.product(["SQLite"], CLASSES), ("PostgreSQL", "qmc")]:
            number = trials // 10 if sampler in SLOW else trials
            row = in_its_own_process(alone, new[store](), sampler, number)
            row.append(in_its_own_process(optunas_own, number))
            print(f"{store:<11}{sampler:<8}{number:>8}" + "".join(f"{c:>8}" for c in row))
        print()
        print(f"{'store':<11}{'workers':>8}{'trials':>8}{'a second':>10}", end="")
        print("   workers kept busy by trials of 10 s, 1 min, 10 min")
        for store, workers in itertools.product(new, (1, 16, 64)):
            pace = in_its_own_process(partial(together, new[store](), workers, trials))
            busy = ", ".join(f"{int(pace * seconds):,}" for seconds in (10, 60, 600))
            print(f"{store:<11}{workers:>8}{trials:>8}{pace:>10.1f}   {busy}")


if __name__ == "__main__":
    main()
