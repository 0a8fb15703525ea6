"""Training rows → cached, deduplicated batches, built once and memory-mapped by every trial.

A batch of `n` interactions holds `q <= n` distinct queries and `c <= n` distinct candidates. The
in-batch softmax needs scores of distinct pairs only, so a `Batch` carries the distinct ids, how
often each occurs, and for each row where its ids stand among the distinct ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sweep.config import SplitConfig, TrainingConfig
from sweep.data.interactions import Interactions
from sweep.data.split import Split, split_rows
from sweep.errors import DataError

Stage = Literal["search", "final"]
Ints = NDArray[np.int32]
Floats = NDArray[np.float32]

FORMAT = 2
"""Part of the fingerprint: a change of the files' layout makes old caches unused, not wrong."""


@dataclass(frozen=True)
class Rows:
    """Encoded interactions: `query_ids` and `candidate_ids` int32 [n], `labels` float32 [n]."""

    query_ids: Ints
    candidate_ids: Ints
    labels: Floats

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Batch:
    """One deduplicated batch of `n` rows with `q` distinct queries and `c` distinct candidates.

    `query_ids` int32 [q] ascending, `query_counts` float32 [q] (they sum to n), `query_index`
    int32 [n] with `query_ids[query_index]` the rows' queries; likewise for candidates; `labels`
    float32 [n].
    """

    query_ids: Ints
    query_counts: Floats
    query_index: Ints
    candidate_ids: Ints
    candidate_counts: Floats
    candidate_index: Ints
    labels: Floats


def deduplicate(rows: Rows) -> Batch:
    """Find the distinct queries and candidates of some rows, in time O(n log n)."""
    query_ids, query_index, query_counts = np.unique(
        rows.query_ids, return_inverse=True, return_counts=True
    )
    candidate_ids, candidate_index, candidate_counts = np.unique(
        rows.candidate_ids, return_inverse=True, return_counts=True
    )
    return Batch(
        query_ids=query_ids,
        query_counts=query_counts.astype(np.float32),
        query_index=query_index.astype(np.int32),
        candidate_ids=candidate_ids,
        candidate_counts=candidate_counts.astype(np.float32),
        candidate_index=candidate_index.astype(np.int32),
        labels=rows.labels,
    )


@dataclass(frozen=True)
class TrainingData:
    """What a trainer reads: rows to train on and rows held out, and how they are batched.

    `catalogue` int32 [n_catalogue] lists the candidate of every catalogue row: a candidate that
    stands there twice is recommended twice, as duplicate titles are in the tutorial. `fixed` are
    the batches that every epoch repeats, or None where each epoch draws its own from `batch_seed`.
    """

    n_queries: int
    n_candidates: int
    catalogue: Ints
    train: Rows
    held_out: Rows
    batch_size: int
    batch_seed: int
    fixed: tuple[Batch, ...] | None

    def epoch(self, seed: int, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch of one trial.

        Args:
            seed: the trial's seed; it changes the order of reshuffled batches only.
            epoch: counts from 1.
        """
        if self.fixed is not None:
            yield from self.fixed
            return
        order = np.random.default_rng([self.batch_seed, seed, epoch]).permutation(len(self.train))
        starts = range(0, len(order), self.batch_size)

        def build(start: int) -> Batch:
            return deduplicate(_take(self.train, order[start : start + self.batch_size]))

        # One batch ahead: the next is deduplicated while TensorFlow, outside the interpreter's
        # lock, trains on the current one.
        with ThreadPoolExecutor(max_workers=1) as executor:
            ahead = executor.submit(build, starts[0])
            for start in starts[1:]:
                batch, ahead = ahead.result(), executor.submit(build, start)
                yield batch
            yield ahead.result()


def load_training_data(
    interactions: Interactions,
    split: SplitConfig,
    split_seed: int,
    training: TrainingConfig,
    batch_seed: int,
    cache: Path,
    say: Callable[[str], None],
    stage: Stage = "search",
) -> TrainingData:
    """Split and batch a dataset, or memory-map what an earlier call has written.

    In the stage "search" the validation rows are held out, or the test rows where a study has no
    validation rows; test rows are not looked at otherwise. In the stage "final" the test rows are
    held out, and training and validation rows are trained on together.

    Args:
        interactions: the whole dataset.
        split: how rows are divided; see `sweep.data.split.split_rows`.
        split_seed: seed of the split.
        training: batch size, and whether batches are fixed or reshuffled.
        batch_seed: seed of the order of rows in batches.
        cache: folder below which files are kept, one folder for each fingerprint.
        say: told of work that takes a moment.
        stage: what is held out.

    Raises:
        DataError: the data does not allow the split, or the cache cannot be written.
    """
    key = {
        "format": FORMAT,
        "dataset": interactions.fingerprint,
        "split": split.model_dump(),
        "split_seed": split_seed,
        "stage": stage if split.validates else "search",
        "reshuffle": training.reshuffle,
        # Only the rows are kept where batches are drawn anew in every epoch.
        "batch_size": None if training.reshuffle else training.batch_size,
        "batch_seed": None if training.reshuffle else batch_seed,
    }
    fingerprint = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache / "batches" / fingerprint
    if folder.exists():
        try:
            return _load(folder, interactions, training, batch_seed)
        except (OSError, EOFError, ValueError) as error:
            say(f"The cached batches in {folder} are damaged ({error}); building them again")
            shutil.rmtree(folder, ignore_errors=True)
    say(f"Batching {len(interactions):,} interactions (once)")
    rows = split_rows(interactions, split, split_seed)
    _write(folder, interactions, *_sides(rows, stage), training, batch_seed)
    return _load(folder, interactions, training, batch_seed)


def _sides(split: Split, stage: Stage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on and the rows held out."""
    if not len(split.validation):
        return split.train, split.test
    if stage == "search":
        return split.train, split.validation
    return np.concatenate([split.train, split.validation]), split.test


def _take(rows: Rows, index: NDArray[np.int64]) -> Rows:
    return Rows(rows.query_ids[index], rows.candidate_ids[index], rows.labels[index])


def _write(
    folder: Path,
    interactions: Interactions,
    train_rows: NDArray[np.int64],
    held_out_rows: NDArray[np.int64],
    training: TrainingConfig,
    seed: int,
) -> None:
    every = Rows(interactions.query_ids, interactions.candidate_ids, interactions.labels)
    train, held_out = _take(every, train_rows), _take(every, held_out_rows)
    arrays = {
        f"{part}_{field.name}": getattr(rows, field.name)
        for part, rows in (("train", train), ("held_out", held_out))
        for field in fields(Rows)
    }
    if not training.reshuffle:
        shuffled = _take(train, np.random.default_rng(seed).permutation(len(train)))
        batches = [
            deduplicate(
                _take(shuffled, np.arange(start, min(start + training.batch_size, len(train))))
            )
            for start in range(0, len(train), training.batch_size)
        ]
        for field in fields(Batch):
            parts = [getattr(batch, field.name) for batch in batches]
            arrays[f"batch_{field.name}"] = np.concatenate(parts)
            arrays[f"offset_{field.name}"] = np.cumsum([0] + [len(part) for part in parts])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
    except OSError as error:
        raise DataError(
            f"{folder.parent}: cannot write the batch cache ({error.strerror}); "
            "point SWEEP_CACHE to a folder that can be written"
        ) from None
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first, with the same content
                raise
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write the batch cache ({error.strerror}); free some disk space or "
            "point SWEEP_CACHE to another folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(
    folder: Path, interactions: Interactions, training: TrainingConfig, seed: int
) -> TrainingData:
    def array(name: str) -> NDArray[Any]:
        # A plain view of the map: subclasses of ndarray are slower to slice.
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))

    train, held_out = (
        Rows(**{field.name: array(f"{part}_{field.name}") for field in fields(Rows)})
        for part in ("train", "held_out")
    )
    fixed = None
    if not training.reshuffle:
        columns = []
        for field in fields(Batch):
            offsets = array(f"offset_{field.name}").astype(int)
            columns.append(np.split(array(f"batch_{field.name}"), offsets[1:-1]))
        fixed = tuple(Batch(*parts) for parts in zip(*columns, strict=True))
    return TrainingData(
        n_queries=interactions.n_queries,
        n_candidates=interactions.n_candidates,
        catalogue=np.repeat(
            np.arange(interactions.n_candidates, dtype=np.int32), interactions.catalogue_counts
        ),
        train=train,
        held_out=held_out,
        batch_size=training.batch_size,
        batch_seed=seed,
        fixed=fixed,
    )
