"""What a study costs as its data grows to the size of MovieLens 25M.

    PYTHONPATH=tests python tests/benchmarks/bench_scale.py [--sizes 0.1M 1M 1M-wide 5M 25M]

Takes about fifteen minutes on 2 cores, 0.3 GB of disk and 3 GB of memory; without 25M, four.
The data is synthetic and long-tailed (see `sweep.data.datasets.long_tailed`), with the numbers of
users and items of MovieLens 100K, 1M and 25M, and between them for 5M. A million interactions are
drawn with 25M's users and items too, which tells what more rows cost from what a larger catalogue
does: a batch then holds more distinct pairs to score. Every line is measured in processes of its
own.

**Building.** Seconds to draw the data (no part of a study on real data), and to split and batch a
million interactions. *Memory* is the largest anonymous memory (`RssAnon`) seen while it is drawn,
and while it is batched: pages of mapped files do not count, all else does.

**Training**, in a new process that maps what was built and never sees the data set itself, as a
worker does. Seconds for a million interactions, reshuffled: the order is drawn, the batches are
deduplicated, and both losses trained on. At most the first million of an epoch's interactions are
trained on (100,000 with the history), and the time to draw the order of all counted by their share;
the fastest of three epochs. *CPU-s* is the time of all threads together, which other work on the
machine disturbs less. *Mapped* is the size of the files, shared by all workers. *Memory* is
anonymous as above, over the whole life of the worker: TensorFlow, graph, variables, training, and
in the first variant the evaluation of all held-out rows. The model has embeddings of 32, a rating
tower of 64, biases, a dot product and the log-q correction, as the default study's but for the size
and, but where it says so, the history.

**Evaluation**: seconds for every metric on all held-out rows (a fifth), once after each epoch: each
user against each item, so it grows with their product.

**The gain of deduplication**: 8,192 rows of a data set with MovieLens 25M's proportions, but with a
smaller or equal catalogue: how many scores `tfrs.tasks.Retrieval` computes for each that
`DeduplicatedRetrieval` computes, and how many times as long it takes, for loss and gradients.
Median of five batches.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from sweep.config import DatasetConfig, SplitConfig, StudyConfig, SyntheticConfig, check_study
from sweep.data.batches import Rows, StoredData, load_training_data, open_training_data
from sweep.data.datasets import load_dataset, long_tailed

SIZES: Mapping[str, tuple[int, int, int]] = {
    "0.1M": (100_000, 943, 1_682),
    "1M": (1_000_209, 6_040, 3_706),
    "1M-wide": (1_000_209, 162_541, 59_047),
    "5M": (5_000_000, 32_508, 15_000),
    "25M": (25_000_095, 162_541, 59_047),
}
"""Interactions, users and items; "1M-wide" has as many rows as 1M, but the catalogue of 25M."""

VARIANTS: Mapping[str, tuple[int, bool, int | None]] = {
    "batches of 1,024": (1_024, False, 1_000_000),
    "of 2,048": (2_048, False, 1_000_000),
    "of 8,192": (8_192, False, 1_000_000),
    "of 2,048, history": (2_048, True, 100_000),
}
"""Batch size, history, and the most rows that are trained on. The first is evaluated as well."""

CATALOGUES = (1_000, 4_000, 16_000, 59_047)
GAIN_ROWS = 8_192
MIB = 1 << 20


class Seconds(NamedTuple):
    """A moment or a time: on the wall's clock, and of the processors."""

    wall: float
    cpu: float

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def __truediv__(self, divisor: float) -> Seconds:
        return Seconds(self.wall / divisor, self.cpu / divisor)

    def plus(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)


def synthetic_config(interactions: int, queries: int, candidates: int) -> SyntheticConfig:
    return SyntheticConfig(
        shape="long-tailed", queries=queries, candidates=candidates, interactions=interactions
    )


def study(batch_size: int, history: bool) -> StudyConfig:
    return check_study(
        {
            "name": "scale",
            "dataset": {"name": "synthetic"},
            "model": {
                "embedding_dimension": 32,
                "rating_layers": [64],
                "biases": True,
                "dot_product": True,
                "clip_ratings": True,
                "history": history,
            },
            "training": {"epochs": 1, "batch_size": batch_size, "sampling_correction": "log_q"},
            "search_space": {
                "rating_weight": {"low": 0.1, "high": 10.0},
                "retrieval_weight": {"low": 0.1, "high": 10.0},
            },
            "budget": {"trials": 5},
        },
        source="bench_scale",
    )


def tell(**content: Any) -> None:
    print(json.dumps(content), flush=True)


def build(size: str, cache: Path) -> None:
    """In a process of its own: draws and batches, and leaves `stored` in the cache."""
    tell(phase="draw")
    started = time.perf_counter()
    config = DatasetConfig(name="synthetic", synthetic=synthetic_config(*SIZES[size]))
    interactions = load_dataset(config, cache, lambda _: None)
    drawn = time.perf_counter()
    tell(phase="batch")
    training = study(2_048, False).training
    data = load_training_data(interactions, SplitConfig(), 42, training, 42, cache, lambda _: None)
    assert data.stored is not None
    seconds = time.perf_counter() - drawn
    (cache / "stored").write_bytes(pickle.dumps(data.stored))
    tell(drawing=drawn - started, batching=seconds, mapped=mapped_bytes(data.stored))


def mapped_bytes(stored: StoredData) -> int:
    return sum(path.stat().st_size for path in stored.folder.iterdir())


def train(variant: str, cache: Path) -> None:
    """In a process of its own: maps what was built, trains an epoch and evaluates."""
    tell(phase="worker")
    batch_size, history, most = VARIANTS[variant]
    evaluated = variant == next(iter(VARIANTS))
    config = study(batch_size, history)

    import sweep.recommender  # noqa: F401  # chooses Keras 2 before TensorFlow is imported

    # isort: split
    import tensorflow as tf

    from sweep.recommender.evaluation import Evaluator
    from sweep.recommender.model import BatchTensors, WeightTensors
    from sweep.recommender.training import Trainer

    stored = replace(pickle.loads((cache / "stored").read_bytes()), batch_size=batch_size)
    data = open_training_data(stored)
    # Held-out rows are measured apart, below.
    few = Rows(*(column[:50] for column in vars(data.held_out).values()))
    started = time.perf_counter()
    trainer = Trainer(config, replace(data, held_out=few))
    starting = time.perf_counter() - started
    weights = WeightTensors(tf.constant(1.0), tf.constant(1.0))

    def seconds() -> Seconds:
        return Seconds(time.perf_counter(), time.process_time())

    def epoch(number: int) -> Seconds:
        """Per million interactions."""
        before = seconds()
        batches = data.epoch(0, number)
        first = next(batches)
        # The order is drawn once for all the rows, of which only some are trained on.
        ordering = (seconds() - before) / len(data.train)
        before, rows = seconds(), 0
        for batch in chain([first], batches):
            if rows >= most:
                break
            rows += len(batch.labels)
            tensors = (tf.convert_to_tensor(getattr(batch, n)) for n in BatchTensors._fields)
            loss = trainer.step(weights, BatchTensors(*tensors)).rating
        float(loss)
        return ordering.plus((seconds() - before) / rows) / 1e-6

    training = min(epoch(number) for number in range(1, 4))
    evaluating = None
    if evaluated:
        evaluator = Evaluator(trainer.model, data)
        before = seconds()
        evaluator.evaluate()
        evaluating = (seconds() - before).wall
    tell(starting=starting, wall=training.wall, cpu=training.cpu, evaluating=evaluating)


def gain(candidates: int) -> None:
    """In a process of its own: deduplicated against plain, on rows of one catalogue."""
    import numpy as np

    import sweep.recommender  # noqa: F401  # chooses Keras 2 before TensorFlow is imported

    # isort: split
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    from sweep.data.batches import deduplicate
    from sweep.recommender.tasks import SCORES_AT_ONCE, DeduplicatedRetrieval

    interactions, queries, largest = SIZES["25M"]
    data = long_tailed(
        synthetic_config(
            round(interactions * candidates / largest),
            round(queries * candidates / largest),
            candidates,
        )
    )
    tables = [
        tf.Variable(tf.random.stateless_normal([size, 32], (0, size), stddev=0.1))
        for size in (data.n_queries, data.n_candidates)
    ]

    def step_of(loss: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        def step(*tensors: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                value = loss(*tensors)
            with tf.control_dependencies(
                [gradient.values for gradient in tape.gradient(value, tables)]
            ):
                return tf.identity(value)

        return step

    task = tfrs.tasks.Retrieval()

    @step_of
    def plain(query_ids: tf.Tensor, candidate_ids: tf.Tensor) -> tf.Tensor:
        q, c = (tf.gather(*pair) for pair in zip(tables, (query_ids, candidate_ids), strict=True))
        return task(q, c, compute_metrics=False)

    def deduplicated(scores_at_once: int | None) -> Callable[..., tf.Tensor]:
        task = DeduplicatedRetrieval(scores_at_once=scores_at_once)

        @step_of
        def step(
            query_ids: tf.Tensor,
            query_counts: tf.Tensor,
            query_index: tf.Tensor,
            candidate_ids: tf.Tensor,
            candidate_counts: tf.Tensor,
            candidate_index: tf.Tensor,
        ) -> tf.Tensor:
            q, c = (
                tf.gather(*pair) for pair in zip(tables, (query_ids, candidate_ids), strict=True)
            )
            positive = tf.reduce_sum(
                tf.gather(q, query_index) * tf.gather(c, candidate_index), axis=1
            )
            return task(q, c, positive, query_counts, candidate_counts)

        return step

    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(5):
        rows = rng.choice(len(data), GAIN_ROWS, replace=False)
        drawn.append(Rows(data.query_ids[rows], data.candidate_ids[rows], data.labels[rows]))
    batches = [deduplicate(rows) for rows in drawn]
    q, c = (
        statistics.mean(len(ids) for ids in column)
        for column in zip(*((b.query_ids, b.candidate_ids) for b in batches), strict=True)
    )
    chunked = min(GAIN_ROWS, data.n_queries) * min(GAIN_ROWS, data.n_candidates) > SCORES_AT_ONCE

    def median_seconds(
        step: Callable[..., tf.Tensor], inputs: list[tuple[np.ndarray, ...]]
    ) -> tuple[float, list[float]]:
        specs = [tf.TensorSpec([None], array.dtype) for array in inputs[0]]
        graph = tf.function(step, input_signature=specs)  # TFRS needs AutoGraph
        graph(*map(tf.constant, inputs[0]))
        seconds, values = [], []
        for arrays in inputs:
            tensors = [tf.constant(array) for array in arrays]
            started = time.perf_counter()
            values.append(float(graph(*tensors)))
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds), values

    ids = [(rows.query_ids, rows.candidate_ids) for rows in drawn]
    columns = [
        (
            *(b.query_ids, b.query_counts, b.query_index),
            *(b.candidate_ids, b.candidate_counts, b.candidate_index),
        )
        for b in batches
    ]
    theirs, expected = median_seconds(plain, ids)
    whole, _ = median_seconds(deduplicated(None), columns)
    ours, found = median_seconds(deduplicated(SCORES_AT_ONCE if chunked else None), columns)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    tell(
        queries=q,
        candidates=c,
        work=GAIN_ROWS**2 / (q * c),
        plain=theirs,
        whole=whole,
        chosen=ours,
        chunked=chunked,
    )


def measured(*arguments: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Run a part of this file in a new process: what it tells, and peak bytes of each phase."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--part", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    told: dict[str, Any] = {}
    peaks: dict[str, int] = {}

    def anonymous() -> Iterator[int]:
        """Bytes now, again and again, while it runs."""
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for line in status.splitlines():
                if line.startswith("RssAnon:"):
                    yield int(line.split()[1]) * 1024
            time.sleep(0.02)

    phase = ""

    def read() -> None:
        nonlocal phase
        for line in process.stdout or ():
            content = json.loads(line)
            phase = content.pop("phase", phase)
            told.update(content)

    errors: list[str] = []
    threads = [
        threading.Thread(target=read),
        threading.Thread(target=lambda: errors.append(process.stderr.read())),
    ]
    for thread in threads:
        thread.start()
    for held in anonymous():
        peaks[phase] = max(peaks.get(phase, 0), held)
    for thread in threads:
        thread.join()
    if process.returncode:
        raise SystemExit(f"{arguments}: exit code {process.returncode}\n{errors[0][-3000:]}")
    return told, peaks


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def mebibytes(size: float) -> str:
    return f"{size / MIB:,.0f} MiB"


def main(sizes: list[str], gains: bool) -> None:
    console = Console(width=140)
    building = table(
        "Building",
        *("size", "interactions", "users", "items", "s to draw", "s to batch 1M"),
        *("memory, drawing", "memory, batching", "mapped"),
    )
    training = table(
        "Training and evaluation, in a worker",
        *("variant", "size", "s to start", "s for 1M", "against 1M"),
        *("CPU-s for 1M", "against 1M", "s to evaluate", "memory", "mapped"),
    )
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        caches = {size: Path(folder) / size for size in sizes}
        mapped = {}
        for size, cache in caches.items():
            n, users, items = SIZES[size]
            cache.mkdir()
            told, peaks = measured("build", size, str(cache))
            mapped[size] = mebibytes(told["mapped"])
            building.add_row(
                *(size, f"{n:,}", f"{users:,}", f"{items:,}"),
                f"{told['drawing']:.1f}",
                f"{told['batching'] / n * 1e6:.3f}",
                *(mebibytes(peaks[phase]) for phase in ("draw", "batch")),
                mapped[size],
            )
        console.print(building)
        # Sizes of a variant one after another: if the machine is busy, it is so for all of them.
        for variant in VARIANTS:
            base: Mapping[str, float] | None = None
            for size, cache in caches.items():
                worker, peaks = measured("train", str(cache), variant)
                print(f"{variant}, {size}: {worker}, {peaks}", file=sys.stderr, flush=True)
                base = worker if size == "1M" else base
                compared = []
                for clock in ("wall", "cpu"):
                    ratio = f"{worker[clock] / base[clock]:.2f}×" if base else ""
                    compared += [f"{worker[clock]:.2f}", ratio]
                evaluating = worker["evaluating"]
                training.add_row(
                    *(variant, size, f"{worker['starting']:.1f}", *compared),
                    "" if evaluating is None else f"{evaluating:.1f}",
                    mebibytes(peaks["worker"]),
                    mapped[size],
                )
            training.add_section()
    console.print(training)
    if gains:
        gained = table(
            f"The gain of deduplication, in batches of {GAIN_ROWS:,} rows",
            *("catalogue", "distinct users", "distinct items", "scores, ratio"),
            *("ms, plain TFRS", "ms, at once", "ms, as in training", "time, ratio"),
        )
        for candidates in CATALOGUES:
            told, _ = measured("gain", str(candidates))
            gained.add_row(
                f"{candidates:,}",
                *(f"{told[name]:,.0f}" for name in ("queries", "candidates")),
                f"{told['work']:.1f}×",
                *(f"{told[name] * 1e3:.1f}" for name in ("plain", "whole", "chosen")),
                f"{told['plain'] / told['chosen']:.1f}×",
            )
        console.print(gained)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--no-gain", action="store_true", help="leave out the last table")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    match arguments.part:
        case None:
            main(arguments.sizes, not arguments.no_gain)
        case ["build", size, cache]:
            build(size, Path(cache))
        case ["train", cache, variant]:
            train(variant, Path(cache))
        case ["gain", candidates]:
            gain(int(candidates))
