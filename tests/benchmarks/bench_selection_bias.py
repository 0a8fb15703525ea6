"""How far the chosen trial's figures hold: the gap to the test rows, and what intervals cover.

    python tests/benchmarks/bench_selection_bias.py [--splits 20]

Runs a small study on each of many random splits of MovieLens 100K, chooses the knee by the means of
its replicates, and trains it again with many seeds that nothing has looked at. Their means stand
for the truth. An interval covers if the truth of its own rows is within it: that of the validation
replicates, which the choice has looked at, and that of the seeds scored on the test rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from sweep import pipeline
from sweep.cache import cache_directory
from sweep.config import load_study
from sweep.front.selection import choose
from sweep.front.uncertainty import estimate

STUDY = Path(__file__).parents[2] / "studies" / "movielens-100k.toml"
SMALL = [
    "split.method=random",
    "model.embedding_dimension=16",
    "model.rating_layers=[16]",
    "model.history=false",
    "training.batch_size=8192",
    "training.epochs=3",
    "budget.trials=9",
]
METRICS = ("rmse", "unseen_top_100_accuracy")
FRESH = 500  # the seeds that stand for the truth are so far from those of the study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--truth", type=int, default=20, help="seeds that stand for the truth")
    options = parser.parse_args()
    found = defaultdict(list)
    for split in range(options.splits):
        for key, value in measure(split, options.truth).items():
            found[key].append(value)
        print(f"split {split} done", flush=True)
    print(f"\n{options.splits} splits, 90 % intervals, truth: means of {options.truth} seeds\n")
    print(f"{'':24} {'rows':10} {'coverage':>8}")
    covers = []
    for metric in METRICS:
        for rows in ("validation", "test"):
            hits = found[metric, rows, "covers"]
            covers += hits
            print(f"{metric:24} {rows:10} {np.mean(hits):8.0%}")
    print(f"{'all':24} {'':10} {np.mean(covers):8.0%}\n")
    for metric in METRICS:
        gap, optimism = found[metric, "gap"], found[metric, "optimism"]
        print(
            f"{metric}: test − validation of the chosen trial {np.mean(gap):+.4f} "
            f"(sd over splits {np.std(gap, ddof=1):.4f}); "
            f"validation as chosen − its truth {np.mean(optimism):+.4f} "
            f"(standard error {np.std(optimism, ddof=1) / np.sqrt(len(optimism)):.4f})"
        )


def measure(split: int, truth: int) -> dict[tuple[str, ...], float]:
    """Everything that is counted about one split."""
    # Seeds of its own for every split: five lucky ones, shared by all, would look like a bias.
    seeds = [f"seeds.split={split}", f"seeds.model={1000 * split}"]
    config = load_study(STUDY, [*SMALL, f"name=split-{split}", *seeds])
    with tempfile.TemporaryDirectory() as folder:
        record = pipeline.launch(config, f"sqlite:///{folder}/one.db")
    trial = choose(record, "knee").trial
    final = pipeline.score_final(record, trial)
    found: dict[tuple[str, ...], float] = {}
    for rows, stage, replicates in (
        ("validation", "search", trial.replicates),
        ("test", "final", final.replicates),
    ):
        _, data = pipeline.prepare(config, cache_directory(), lambda _: None, stage)
        trainers = pipeline.Trainers(config, data, lambda _: None)
        first = config.seeds.model + FRESH
        fresh = [trainers.replicate(trial, first + i).metrics for i in range(truth)]
        for metric in METRICS:
            interval = estimate([one.metrics[metric] for one in replicates])
            true = float(np.mean([one[metric] for one in fresh]))
            found[metric, rows, "covers"] = abs(interval.mean - true) <= interval.half_width
            found[metric, rows, "mean"], found[metric, rows, "truth"] = interval.mean, true
    for metric in METRICS:
        validation, test = found[metric, "validation", "mean"], found[metric, "test", "mean"]
        found[metric, "gap"] = test - validation
        found[metric, "optimism"] = validation - found[metric, "validation", "truth"]
    return found


if __name__ == "__main__":
    main()
