"""Held-out rows and a model's predictions or scores → metrics; the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.config import KS
from sweep.data.batches import Floats, Ints, Rows, TrainingData

SCORES_AT_ONCE = 1 << 24
"""Largest number of scores held at a time: 64 MiB of float32."""


def rating_errors(rows: Rows, predictions: Floats) -> dict[str, float]:
    """RMSE of `predictions` float32 [n] over the rows, and the mean of each query's own RMSE."""
    squared = np.square(predictions.astype(np.float64) - rows.labels)
    counts = np.bincount(rows.query_ids)
    rated = counts > 0
    of_queries = np.bincount(rows.query_ids, weights=squared)[rated] / counts[rated]
    return {
        "rmse": math.sqrt(squared.mean()),
        "per_user_rmse": float(np.sqrt(of_queries).mean()),
    }


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Some distinct queries with their held-out rows and the pairs that they have in training.

    `queries` int32 [b]; `row` int64 [t] and `candidate` int32 [t]: the rows, by position in
    `queries`; `seen_row` int64 [s] and `seen_column` int [s]: pairs as position in `queries` and
    column of the catalogue; `shares` float64 [t]: each row's part in its query's held-out rows.
    """

    queries: Ints
    row: NDArray[np.int64]
    candidate: Ints
    seen_row: NDArray[np.int64]
    seen_column: NDArray[np.integer[Any]]
    shares: NDArray[np.float64]


class Ranking:
    """Held-out rows sorted by query once, to be ranked by one model after another.

    A row is a hit at k if fewer than k rows of the catalogue score above its own candidate:
    ties count for it, as in `tfrs.metrics.FactorizedTopK`. Queries are scored once each, however
    many rows they have, and some at a time so that memory stays bounded: what is kept are 4 bytes
    for each held-out and each training row.
    """

    def __init__(self, data: TrainingData, ks: Sequence[int] = KS) -> None:
        """Sorts the rows.

        Args:
            data: held-out rows are ranked, training rows are the pairs already seen.
            ks: lengths of the list; one longer than the catalogue is always a hit.
        """
        self._ks = tuple(ks)
        # Columns of the catalogue: every candidate once, then the copies of some.
        first = np.unique(data.catalogue, return_index=True)[1]
        self._copies = np.delete(data.catalogue, first)
        self._held_out = by_query(data.held_out, data.n_queries)
        self._train = by_query(data.train, data.n_queries)
        self._queries = np.flatnonzero(np.diff(self._held_out.begins)).astype(np.int32)
        self._size = max(1, SCORES_AT_ONCE // len(data.catalogue))
        self._n_candidates = data.n_candidates

    def accuracies(self, score: Callable[[Ints], Floats]) -> dict[str, float]:
        """Every accuracy in `sweep.config.METRICS`.

        Args:
            score: distinct queries int32 [b] → scores float32 [b, n_candidates], higher is better.
        """
        hits = np.zeros((2, 2, len(self._ks)))
        for start in range(0, len(self._queries), self._size):
            chunk = self._chunk(self._queries[start : start + self._size])
            hits += _count_hits(score(chunk.queries), chunk, self._copies, self._ks)
        hits[0] /= len(self._held_out.candidates)
        hits[1] /= len(self._queries)
        return {
            f"{mean}{among}top_{k}_accuracy": float(accuracy)
            for mean, tables in zip(("", "per_user_"), hits, strict=True)
            for among, accuracies in zip(("", "unseen_"), tables, strict=True)
            for k, accuracy in zip(self._ks, accuracies, strict=True)
        }

    def _chunk(self, queries: Ints) -> _Chunk:
        row, candidate = self._held_out.of(queries)
        seen_row, seen = self._train.of(queries)
        # A copy of a seen candidate is seen as well.
        pair, copy = _matches(seen, self._copies)
        return _Chunk(
            queries=queries,
            row=row,
            candidate=candidate,
            seen_row=np.concatenate([seen_row, seen_row[pair]]),
            seen_column=np.concatenate([seen, self._n_candidates + copy]),
            shares=1 / np.bincount(row)[row],
        )


@dataclass(frozen=True, eq=False)
class ByQuery:
    """Rows sorted by query.

    `candidates` int32 [n]; those of query i are `candidates[begins[i] : begins[i + 1]]`, for
    `begins` int64 [n_queries + 1].
    """

    candidates: Ints
    begins: NDArray[np.int64]

    def of(self, queries: Ints) -> tuple[NDArray[np.int64], Ints]:
        """The rows of some queries: positions in `queries`, and candidates."""
        begins = self.begins[queries]
        counts = self.begins[queries + 1] - begins
        return np.repeat(np.arange(len(queries)), counts), self.candidates[_ranges(begins, counts)]


def by_query(rows: Rows, n_queries: int) -> ByQuery:
    """Sort some rows by query; those of one query keep their order."""
    counts = np.bincount(rows.query_ids, minlength=n_queries)
    order = np.argsort(rows.query_ids, kind="stable")
    return ByQuery(rows.candidate_ids[order], np.concatenate([[0], counts.cumsum()]))


def _ranges(begins: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`counts[i]` whole numbers from `begins[i]` on, for each i in turn."""
    return np.arange(counts.sum()) + np.repeat(begins - (counts.cumsum() - counts), counts)


def _matches(ids: Ints, copies: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of positions at which an id equals a copy, in time O((n + m) log m)."""
    by_id = np.argsort(copies, kind="stable")
    begins, ends = (np.searchsorted(copies[by_id], ids, side) for side in ("left", "right"))
    counts = ends - begins
    return np.repeat(np.arange(len(ids)), counts), by_id[_ranges(begins, counts)]


def _count_hits(
    scores: Floats, chunk: _Chunk, copies: Ints, ks: Sequence[int]
) -> NDArray[np.float64]:
    """Hits [2, 2, len(ks)] of a chunk: rows that are hit, and the sum of the queries' shares.

    Of each, first among all of the catalogue, then among what is unseen.
    """
    # The positive is read from the same matrix, so that a tie is exact whatever the rounding.
    positive = scores[chunk.row, chunk.candidate]
    every = np.concatenate([scores, scores[:, copies]], axis=1)
    unseen = every.copy()
    unseen[chunk.seen_row, chunk.seen_column] = -np.inf
    size = every.shape[1]
    # A hit at k means that the k-th best score, counted from 1, is not above the positive.
    places = np.array([max(size - k, 0) for k in ks])
    always = np.array([k > size for k in ks])
    lowest = places.min()
    hits = []
    for table in (every, unseen):
        # NumPy partitions at one place several times as fast as at five.
        table.partition(lowest, axis=1)
        best = np.sort(table[:, lowest:], axis=1)
        hit = (positive[:, np.newaxis] >= best[:, places - lowest][chunk.row]) | always
        hits.append([hit.sum(axis=0), chunk.shares @ hit])
    return np.stack(hits, axis=1)
