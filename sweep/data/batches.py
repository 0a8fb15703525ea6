"""Training rows → cached, deduplicated batches, built once and memory-mapped by every worker.

A batch of `n` interactions holds `q <= n` distinct queries and `c <= n` distinct candidates. The
in-batch softmax needs scores of distinct pairs only, so a `Batch` carries the distinct ids, how
often each occurs, and for each row where its ids stand among the distinct ones.

Files are written as a stream, a piece or a batch at a time, so that the data stands in memory once
while they are built. A process that trains needs no `Interactions`: `TrainingData.stored` is a
small value that tells another process which files to map, and what is mapped is shared by all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
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

ROWS_AT_ONCE = 1 << 20
"""Most rows that are gathered before they are written."""


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


@dataclass(frozen=True, eq=False)
class StoredData:
    """Where `TrainingData` lies on disk: all that another process needs to map the same files.

    A quarter of a megabyte for 60,000 candidates, however many rows there are.
    """

    folder: Path
    n_queries: int
    n_candidates: int
    catalogue: Ints
    batch_size: int
    batch_seed: int
    reshuffle: bool


@dataclass(frozen=True)
class TrainingData:
    """What a trainer reads: rows to train on and rows held out, and how they are batched.

    `catalogue` int32 [n_catalogue] lists the candidate of every catalogue row: a candidate that
    stands there twice is recommended twice, as duplicate titles are in the tutorial. `fixed` are
    the batches that every epoch repeats, or None where each epoch draws its own from `batch_seed`.
    `stored` says where it is mapped from, or is None where the arrays were made in memory.
    """

    n_queries: int
    n_candidates: int
    catalogue: Ints
    train: Rows
    held_out: Rows
    batch_size: int
    batch_seed: int
    fixed: tuple[Batch, ...] | None
    stored: StoredData | None = field(default=None, compare=False)

    def epoch(self, seed: int, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch of one trial.

        Args:
            seed: the trial's seed; it changes the order of reshuffled batches only.
            epoch: counts from 1.
        """
        if self.fixed is not None:
            yield from self.fixed
            return
        rng = np.random.default_rng([self.batch_seed, seed, epoch])
        parts = _shuffled(rng, len(self.train), self.batch_size)

        def build(part: NDArray[Any]) -> Batch:
            return deduplicate(_take(self.train, part))

        # One batch ahead: the next is deduplicated while TensorFlow, outside the interpreter's
        # lock, trains on the current one.
        with ThreadPoolExecutor(max_workers=1) as executor:
            ahead = executor.submit(build, parts[0])
            for part in parts[1:]:
                batch, ahead = ahead.result(), executor.submit(build, part)
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
    stored = StoredData(
        folder=folder,
        n_queries=interactions.n_queries,
        n_candidates=interactions.n_candidates,
        catalogue=np.repeat(
            np.arange(interactions.n_candidates, dtype=np.int32), interactions.catalogue_counts
        ),
        batch_size=training.batch_size,
        batch_seed=batch_seed,
        reshuffle=training.reshuffle,
    )
    if folder.exists():
        try:
            return open_training_data(stored)
        except (OSError, EOFError, ValueError) as error:
            say(f"The cached batches in {folder} are damaged ({error}); building them again")
            shutil.rmtree(folder, ignore_errors=True)
    say(f"Batching {len(interactions):,} interactions (once)")
    train, held_out = _sides(split_rows(interactions, split, split_seed), stage)
    _write(folder, interactions, train, held_out, stored)
    return open_training_data(stored)


def _sides(split: Split, stage: Stage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on and the rows held out."""
    if not len(split.validation):
        return split.train, split.test
    if stage == "search":
        return split.train, split.validation
    return np.concatenate([split.train, split.validation]), split.test


def _take(rows: Rows, index: NDArray[Any]) -> Rows:
    return Rows(rows.query_ids[index], rows.candidate_ids[index], rows.labels[index])


def _shuffled(rng: np.random.Generator, n: int, size: int) -> list[NDArray[Any]]:
    """`rng.permutation(n)` in parts of a size, in half the memory where row numbers fit."""
    order = rng.permutation(np.arange(n, dtype=np.int32 if n < 2**31 else np.int64))
    return [order[start : start + size] for start in range(0, n, size)]


class _Column:
    """A .npy file of one dimension that grows; `np.save` of the whole would write the same bytes.

    Plain writes rather than a writable map: a full disk is then an `OSError`, not a signal that
    ends the process.
    """

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self._dtype, self._length = np.dtype(dtype), 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, values: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._length += len(values)

    def _write_header(self) -> None:
        # NumPy leaves room in the header for the length to grow.
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._length,),
            },
        )

    def __enter__(self) -> _Column:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()


_DTYPES: dict[str, type[np.generic]] = {
    name: np.int32 if name.endswith(("ids", "index")) else np.float32
    for name in (column.name for kind in (Rows, Batch) for column in fields(kind))
}


def _write(
    folder: Path,
    interactions: Interactions,
    train_rows: NDArray[np.int64],
    held_out_rows: NDArray[np.int64],
    stored: StoredData,
) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
    except OSError as error:
        raise DataError(
            f"{folder.parent}: cannot write the batch cache ({error.strerror}); "
            "point SWEEP_CACHE to a folder that can be written"
        ) from None
    every = Rows(interactions.query_ids, interactions.candidate_ids, interactions.labels)
    try:
        for part, rows in (("train", train_rows), ("held_out", held_out_rows)):
            _write_rows(temporary, part, every, rows)
        if not stored.reshuffle:
            _write_batches(temporary, every, train_rows, stored.batch_size, stored.batch_seed)
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


def _write_rows(folder: Path, part: str, every: Rows, rows: NDArray[np.int64]) -> None:
    for name in (column.name for column in fields(Rows)):
        with _Column(folder / f"{part}_{name}.npy", _DTYPES[name]) as column:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                column.append(getattr(every, name)[rows[start : start + ROWS_AT_ONCE]])


def _write_batches(
    folder: Path, every: Rows, rows: NDArray[np.int64], batch_size: int, seed: int
) -> None:
    """For each field of `Batch`, all batches end to end, and where each begins."""
    names = [column.name for column in fields(Batch)]
    offsets: dict[str, list[int]] = {name: [0] for name in names}
    with ExitStack() as stack:
        columns = {
            name: stack.enter_context(_Column(folder / f"batch_{name}.npy", _DTYPES[name]))
            for name in names
        }
        for part in _shuffled(np.random.default_rng(seed), len(rows), batch_size):
            batch = deduplicate(_take(every, rows[part]))
            for name, column in columns.items():
                values = getattr(batch, name)
                column.append(values)
                offsets[name].append(offsets[name][-1] + len(values))
    for name, places in offsets.items():
        np.save(folder / f"offset_{name}.npy", np.array(places))


def open_training_data(stored: StoredData) -> TrainingData:
    """Map the files that `load_training_data` has written, in this process or another.

    Raises:
        OSError, ValueError: a file is missing or damaged.
    """

    def array(name: str) -> NDArray[Any]:
        # A plain view of the map: subclasses of ndarray are slower to slice.
        return np.asarray(np.load(stored.folder / f"{name}.npy", mmap_mode="r"))

    train, held_out = (
        Rows(**{column.name: array(f"{part}_{column.name}") for column in fields(Rows)})
        for part in ("train", "held_out")
    )
    fixed = None
    if not stored.reshuffle:
        columns = []
        for column in fields(Batch):
            offsets = array(f"offset_{column.name}").astype(int)
            columns.append(np.split(array(f"batch_{column.name}"), offsets[1:-1]))
        fixed = tuple(Batch(*parts) for parts in zip(*columns, strict=True))
    return TrainingData(
        n_queries=stored.n_queries,
        n_candidates=stored.n_candidates,
        catalogue=stored.catalogue,
        train=train,
        held_out=held_out,
        batch_size=stored.batch_size,
        batch_seed=stored.batch_seed,
        fixed=fixed,
        stored=stored,
    )


def batching(training: TrainingConfig) -> tuple[bool, int]:
    """What of a training decides its batches."""
    return training.reshuffle, training.batch_size


def rebatch(data: TrainingData, training: TrainingConfig) -> TrainingData:
    """The same rows in batches of another size, or fixed where they were reshuffled, or not.

    Equal to what `load_training_data` gives for that training. Fixed batches are held in memory.
    """
    fixed = None
    if not training.reshuffle:
        rng = np.random.default_rng(data.batch_seed)
        parts = _shuffled(rng, len(data.train), training.batch_size)
        fixed = tuple(deduplicate(_take(data.train, part)) for part in parts)
    return replace(data, batch_size=training.batch_size, fixed=fixed, stored=None)
