"""How long one trial takes, here and in plain TensorFlow Recommenders, and a whole study.

    make bench        (or: PYTHONPATH=tests python tests/benchmarks/bench_trial.py)

Everything is measured in one run, on the reference case (the tutorial on MovieLens 100K), and
printed as a table with the ratios. Takes about five minutes on 2 cores.

- *one trial*: training and evaluation of one pair of loss weights, after the first; evaluated
  after each of the three epochs. Median of 7.
- *its matrix products*: the products of the same shapes that a trial's training needs (three
  forward and six backward in the rating tower, one and two in the retrieval loss, for every
  batch) and nothing else, in the same process. Median of 7, in turn with the trials.
- *plain TFRS, no training metrics*: the same model on integer ids by `Model.fit` and
  `Model.evaluate`, top-k metrics in evaluation only.
- *the tutorial as written*: text ids, look-up layers, top-k metrics in training too.
- *a whole study*: `sweep launch` and `sweep report` as a user calls them, start-up included, but
  without replicates.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# isort: off
import sweep.recommender  # noqa: F401  # chooses Keras 2 before TensorFlow is imported
import tensorflow as tf
# isort: on

from rich.console import Console
from rich.table import Table

from plain_tfrs import PlainModel, fit
from sweep.cache import cache_directory
from sweep.config import load_study
from sweep.data.batches import Batch, TrainingData
from sweep.data.interactions import Interactions
from sweep.pipeline import prepare
from sweep.recommender.training import Trainer
from sweep.results import LossWeights

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "tutorial.toml"
REPEATS = 7


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def matrix_products(data: TrainingData, epochs: int) -> Callable[[], None]:
    """A function that multiplies what training multiplies, on arrays of the same shapes."""
    assert data.fixed is not None
    dimension, first, second = 32, 256, 128

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)] * 3)
    def multiply(n: tf.Tensor, q: tf.Tensor, c: tf.Tensor) -> list[tf.Tensor]:
        x, h1, h2, y = (tf.fill([n, width], 0.5) for width in (2 * dimension, first, second, 1))
        w1, w2, w3 = (
            tf.fill(shape, 0.5) for shape in ((2 * dimension, first), (first, second), (second, 1))
        )
        queries, candidates = (tf.fill([rows, dimension], 0.5) for rows in (q, c))
        scores = tf.fill([q, c], 0.5)
        return [
            *(tf.matmul(a, b) for a, b in ((x, w1), (h1, w2), (h2, w3))),
            *(tf.matmul(g, w, transpose_b=True) for g, w in ((h1, w1), (h2, w2), (y, w3))),
            *(tf.matmul(a, g, transpose_a=True) for a, g in ((x, h1), (h1, h2), (h2, y))),
            tf.matmul(queries, candidates, transpose_b=True),
            tf.matmul(scores, candidates),
            tf.matmul(scores, queries, transpose_a=True),
        ]

    sizes = [
        tuple(tf.constant(len(part)) for part in (b.labels, b.query_ids, b.candidate_ids))
        for b in data.fixed
    ]

    def run() -> None:
        for _ in range(epochs):
            for size in sizes:
                last = multiply(*size)
        last[-1].numpy()

    return run


def plain_trial(data: TrainingData, interactions: Interactions, as_written: bool) -> None:
    """One trial by Keras; `as_written` with text ids and top-k metrics in training."""
    assert data.fixed is not None

    def ids(rows: object, vocabulary: object) -> object:
        return vocabulary[rows].astype(str) if as_written else rows

    def columns(query_ids: object, candidate_ids: object, labels: object) -> dict[str, object]:
        return {
            "user_id": ids(query_ids, interactions.queries),
            "movie_title": ids(candidate_ids, interactions.candidates),
            "user_rating": labels,
        }

    def decode(batch: Batch) -> dict[str, object]:
        return columns(
            batch.query_ids[batch.query_index],
            batch.candidate_ids[batch.candidate_index],
            batch.labels,
        )

    parts = [tf.data.Dataset.from_tensors(decode(batch)) for batch in data.fixed]
    train = parts[0]
    for part in parts[1:]:
        train = train.concatenate(part)
    rows = columns(data.held_out.query_ids, data.held_out.candidate_ids, data.held_out.labels)
    test = tf.data.Dataset.from_tensor_slices(rows).batch(4096).cache()
    corpus = tf.data.Dataset.from_tensor_slices(ids(data.catalogue, interactions.candidates))
    model = PlainModel(
        1.0,
        1.0,
        list(interactions.queries.astype(str)) if as_written else data.n_queries,
        list(interactions.candidates.astype(str)) if as_written else data.n_candidates,
        corpus,
        training_metrics=as_written,
    )
    fit(model, train.cache(), test, epochs=3)


def whole_study(trials: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/sweep.db"
        sweep_command = [sys.executable, "-m", "sweep.cli"]
        for arguments in (
            [
                *("launch", str(STUDY), "--trials", str(trials), "--storage", storage),
                *("--set", "budget.replicates=0"),
            ],
            ["report", "tutorial", "--output", f"{folder}/report", "--storage", storage],
        ):
            subprocess.run(
                [*sweep_command, *arguments],
                check=True,
                capture_output=True,
                env=os.environ | {"SWEEP_CACHE": str(cache_directory())},
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="*", default=[40, 60], help="sizes of studies")
    parser.add_argument("--quick", action="store_true", help="leave out plain TFRS and studies")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    config = load_study(STUDY)
    interactions, data = prepare(config, cache_directory(), console.print)
    trainer = Trainer(config, data)
    products = matrix_products(data, config.training.epochs)
    weights = LossWeights(1.0, 1.0)
    trainer.train(weights, seed=0)
    products()
    results, product_seconds = [], []
    for seed in range(REPEATS):
        results.append(trainer.train(weights, seed))
        product_seconds.append(timed(products))
    trial = statistics.median(r.training_seconds + r.evaluation_seconds for r in results)
    training = statistics.median(r.training_seconds for r in results)
    bare = statistics.median(product_seconds)
    ratio = statistics.median(
        r.training_seconds / p for r, p in zip(results, product_seconds, strict=True)
    )

    table = Table(
        "what", "seconds", "ratio", title="Tutorial on MovieLens 100K", title_justify="left"
    )
    table.add_row("one trial: training and evaluation", f"{trial:.2f}", "1×")
    table.add_row("  its training", f"{training:.2f}", f"{ratio:.2f}× its matrix products")
    table.add_row("  its matrix products alone", f"{bare:.2f}", "")
    if not arguments.quick:
        for name, as_written in (
            ("plain TFRS, no training metrics", False),
            ("the tutorial as written", True),
        ):
            console.print(f"Running {name} …")
            seconds = timed(lambda written=as_written: plain_trial(data, interactions, written))
            table.add_row(name, f"{seconds:.1f}", f"{seconds / trial:.0f}× one trial")
        written_seconds = seconds
        for trials in arguments.trials:
            console.print(f"Running a study of {trials} trials …")
            seconds = timed(lambda count=trials: whole_study(count))
            table.add_row(
                f"a whole study of {trials} trials, report included",
                f"{seconds:.1f}",
                f"{seconds / written_seconds:.2f}× the tutorial as written",
            )
    console.print(table)


if __name__ == "__main__":
    main()
