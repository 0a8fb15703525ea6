"""The tutorial study with two workers against one, and what each trial gives.

Run `python tests/benchmarks/bench_workers.py [ROUNDS]`; two rounds unless told, a quarter of an
hour on 2 cores. Whole `sweep launch` processes, start-up and replicates included, one after the
other, round by round:

- one worker with one thread, the measure;
- one worker with all cores, and the same without a worker, in the launching process;
- a worker for each core, with one thread each, with and without batches.

Printed are the median seconds, and the medians of the ratios within a round. The sampler is the
quasi-random one, so that all train the same weights: the last column is the largest difference of
any metric from the first launch, trial by trial and replicate by replicate.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep.pipeline import available_cores
from sweep.results import StudyRecord
from sweep.search.records import load_study_record

STUDY = Path(__file__).parents[2] / "studies" / "tutorial.toml"
CORES = str(available_cores())
LAUNCHES = {
    "1 worker, 1 thread": ("--workers", "1", "--num-cpus", "1"),
    f"1 worker, {CORES} threads": ("--workers", "1"),
    f"in process, {CORES} threads": (),
    f"{CORES} workers, 1 thread each": ("--workers", CORES),
    f"the same, --batch {CORES}": ("--workers", CORES, "--batch", CORES),
}


def launch(folder: str, name: str, options: tuple[str, ...]) -> tuple[float, StudyRecord]:
    url = f"sqlite:///{folder}/{name.replace(' ', '-')}-{time.monotonic_ns()}.db"
    command = [sys.executable, "-c", "from sweep.cli import main; main()", "launch", str(STUDY)]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--storage", url, "--set", "sampler.name=qmc", *options],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "200"},
    )
    return time.perf_counter() - began, load_study_record(url, "tutorial")


def largest_difference(one: StudyRecord, other: StudyRecord) -> float:
    """Of any metric of any trial or replicate; infinite if they did not train the same."""

    def figures(record: StudyRecord) -> dict[tuple[object, ...], float]:
        found = {}
        for trial in record.complete:
            assert trial.result is not None
            runs = {None: trial.result.metrics} | {r.seed: r.metrics for r in trial.replicates}
            for seed, metrics in runs.items():
                for name, value in metrics.items():
                    found[trial.number, trial.weights, seed, name] = value
        return found

    ours, theirs = figures(one), figures(other)
    if ours.keys() != theirs.keys():
        return float("inf")
    return max(abs(ours[key] - theirs[key]) for key in ours)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    seconds: dict[str, list[float]] = {name: [] for name in LAUNCHES}
    records: dict[str, StudyRecord] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, options in LAUNCHES.items():
                took, records[name] = launch(folder, name, options)
                seconds[name].append(took)
                print(f"{name}: {took:.1f} s", file=sys.stderr, flush=True)
    first = next(iter(LAUNCHES))
    head = "launch", "seconds", "faster", "trials", "replicates", "difference"
    print("{:<26}{:>9}{:>9}{:>8}{:>12}{:>13}".format(*head))
    for name, record in records.items():
        ratios = [a / b for a, b in zip(seconds[first], seconds[name], strict=True)]
        print(
            f"{name:<26}{statistics.median(seconds[name]):>9.1f}"
            f"{statistics.median(ratios):>8.2f}×{len(record.complete):>8}"
            f"{sum(len(trial.replicates) for trial in record.trials):>12}"
            f"{largest_difference(records[first], record):>13.2g}"
        )


if __name__ == "__main__":
    main()
