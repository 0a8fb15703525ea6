"""What coordinator and storage cost a trial, beside its training.

Run `python tests/benchmarks/bench_coordinator.py [TRIALS]`. A study of the given number of trials
(1000 unless told) is run for each of some samplers, with a trainer that returns at once, into a new
SQLite file. Printed are medians over the first and the last 100 trials, in milliseconds: a trial by
the wall clock, its processor time, and the part of that in which Optuna's sampler proposes.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna import samplers

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "search")]

from null_training import null_train, small_study  # noqa: E402

from builders import MOVIELENS_100K  # noqa: E402
from sweep.search.executors import InProcessExecutor  # noqa: E402
from sweep.search.storage import open_storage  # noqa: E402
from sweep.search.study import run_study  # noqa: E402

CLASSES = {
    "random": samplers.RandomSampler,
    "tpe": samplers.TPESampler,
    "nsga2": samplers.NSGAIISampler,
    "qmc": samplers.QMCSampler,
}


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        began = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[-1] += time.process_time() - began

    return call


def measure(sampler: str, trials: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each trial: by the wall clock, of the processor, of the sampler."""
    moments: list[tuple[float, float]] = []
    proposing = [0.0]
    cls = CLASSES[sampler]
    original = cls.sample_relative
    cls.sample_relative = timed(original, proposing)  # type: ignore[method-assign]

    def on_progress(_: object) -> None:
        moments.append((time.perf_counter(), time.process_time()))
        proposing.append(0.0)

    try:
        with tempfile.TemporaryDirectory() as folder, InProcessExecutor(null_train) as executor:
            storage = open_storage(f"sqlite:///{folder}/s.db")
            config = small_study(trials, sampler=sampler)
            run_study(config, storage, executor, MOVIELENS_100K, on_progress=on_progress)
    finally:
        cls.sample_relative = original  # type: ignore[method-assign]
    wall, processor = (
        [after - before for before, after in itertools.pairwise(clock)]
        for clock in zip(*moments, strict=True)
    )
    return wall, processor, proposing[1:]


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{'sampler':<8} {'trials':<12} {'wall':>6} {'processor':>10} {'sampler':>8}")
    for sampler in CLASSES:
        measured = measure(sampler, trials)
        for start in (0, trials - 100):
            chosen = slice(start, start + 100)
            figures = [1000 * statistics.median(s[chosen]) for s in measured]
            span = f"{start}–{start + 100}"
            print(
                f"{sampler:<8} {span:<12} {figures[0]:>6.1f} {figures[1]:>10.1f} {figures[2]:>8.1f}"
            )


if __name__ == "__main__":
    main()
