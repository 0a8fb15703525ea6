"""What successive halving saves, and what it costs: the same study with and without it.

    python tests/benchmarks/bench_pruning.py [--seeds 5]

For each sampler seed the default study's search, with a smaller model, runs twice. Compared are the
epochs that were trained, the seconds, and the normalised hypervolume of all complete trials at the
end.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from sweep import pipeline
from sweep.config import load_study
from sweep.front.pareto import hypervolume, minimised, objective_values
from sweep.results import StudyRecord

STUDY = Path(__file__).parents[2] / "studies" / "movielens-100k.toml"
SMALL = [
    "model.embedding_dimension=16",
    "model.rating_layers=[16]",
    "model.history=false",
    "training.batch_size=8192",
    "training.epochs=9",
    "budget.trials=40",
    "budget.replicates=0",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], help="more keys, as for launch")
    options = parser.parse_args()
    print(f"{'seed':>4} {'pruned':>6} {'epochs saved':>12} {'time saved':>10} {'hypervolume':>23}")
    rows = []
    for seed in range(options.seeds):
        without, halved = (
            search(seed, [f"pruner.name={name}", *options.set])
            for name in ("none", "successive_halving")
        )
        row = (
            sum(trial.state == "pruned" for trial in halved.trials),
            1 - epochs(halved) / epochs(without),
            1 - seconds(halved) / seconds(without),
            volume(without),
            volume(halved),
        )
        rows.append(row)
        print(f"{seed:4} {row[0]:6} {row[1]:12.0%} {row[2]:10.0%} {row[3]:.4f} → {row[4]:.4f}")
    change = np.array([row[4] - row[3] for row in rows])
    error = change.std(ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.nan
    saved = np.mean([row[1:3] for row in rows], axis=0)
    print(
        f"mean: {saved[0]:.0%} of the epochs and {saved[1]:.0%} of the time saved, "
        f"hypervolume {change.mean():+.4f} (standard error {error:.4f})"
    )


def search(seed: int, overrides: list[str]) -> StudyRecord:
    config = load_study(STUDY, [*SMALL, f"seeds.sampler={seed}", *overrides])
    with tempfile.TemporaryDirectory() as folder:
        return pipeline.launch(config, f"sqlite:///{folder}/one.db")


def epochs(record: StudyRecord) -> int:
    return sum(len(trial.result.history) for trial in record.trials if trial.result)


def seconds(record: StudyRecord) -> float:
    results = [trial.result for trial in record.trials if trial.result]
    return sum(result.training_seconds + result.evaluation_seconds for result in results)


def volume(record: StudyRecord) -> float:
    """The normalised hypervolume of the complete trials."""
    objectives = record.config.objectives
    reference, ideal = (
        minimised(point, objectives) for point in (record.reference_point, record.ideal_point)
    )
    values = objective_values(record.complete, objectives)
    return hypervolume(values, reference) / float(np.prod(reference - ideal))


if __name__ == "__main__":
    main()
