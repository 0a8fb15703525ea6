"""Held-out rows and a model's predictions or scores → metrics; the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
    `queries`; `seen_row` and `seen_column` int64 [s]: pairs as position in `queries` and column of
    the catalogue; `shares` float64 [t]: each row's part in its query's held-out rows.
    """

    queries: Ints
    row: NDArray[np.int64]
    candidate: Ints
    seen_row: NDArray[np.int64]
    seen_column: NDArray[np.int64]
    shares: NDArray[np.float64]


class Ranking:
    """Held-out rows sorted by query once, to be ranked by one model after another.

    A row is a hit at k if fewer than k rows of the catalogue score above its own candidate:
    ties count for it, as in `tfrs.metrics.FactorizedTopK`. Queries are scored once each, however
    many rows they have, and some at a time so that memory stays bounded.
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
        self._chunks = tuple(_chunks(data, self._copies))
        self._n_rows = len(data.held_out)
        self._n_queries = sum(len(chunk.queries) for chunk in self._chunks)

    def accuracies(self, score: Callable[[Ints], Floats]) -> dict[str, float]:
        """Every accuracy in `sweep.config.METRICS`.

        Args:
            score: distinct queries int32 [b] → scores float32 [b, n_candidates], higher is better.
        """
        hits = np.zeros((2, 2, len(self._ks)))
        for chunk in self._chunks:
            hits += _count_hits(score(chunk.queries), chunk, self._copies, self._ks)
        hits[0] /= self._n_rows
        hits[1] /= self._n_queries
        return {
            f"{mean}{among}top_{k}_accuracy": float(accuracy)
            for mean, tables in zip(("", "per_user_"), hits, strict=True)
            for among, accuracies in zip(("", "unseen_"), tables, strict=True)
            for k, accuracy in zip(self._ks, accuracies, strict=True)
        }


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
    hits = []
    for table in (every, unseen):
        table.partition(places, axis=1)
        hit = (positive[:, np.newaxis] >= table[:, places][chunk.row]) | always
        hits.append([hit.sum(axis=0), chunk.shares @ hit])
    return np.stack(hits, axis=1)


def _chunks(data: TrainingData, copies: Ints) -> Iterator[_Chunk]:
    queries, counts = np.unique(data.held_out.query_ids, return_counts=True)
    size = max(1, SCORES_AT_ONCE // len(data.catalogue))
    order = np.argsort(data.held_out.query_ids, kind="stable")
    train_order = np.argsort(data.train.query_ids, kind="stable")
    ordered = data.held_out.query_ids[order]
    train_sorted = data.train.query_ids[train_order]
    for start in range(0, len(queries), size):
        some = queries[start : start + size]
        held_out = order[slice(*np.searchsorted(ordered, [some[0], some[-1] + 1]))]
        train = train_order[slice(*np.searchsorted(train_sorted, [some[0], some[-1] + 1]))]
        train = train[np.isin(data.train.query_ids[train], some)]
        row = np.searchsorted(some, data.held_out.query_ids[held_out])
        seen_row = np.searchsorted(some, data.train.query_ids[train])
        seen = data.train.candidate_ids[train]
        # A copy of a seen candidate is seen as well.
        pair, copy = np.nonzero(seen[:, np.newaxis] == copies[np.newaxis, :])
        yield _Chunk(
            queries=some,
            row=row,
            candidate=np.asarray(data.held_out.candidate_ids[held_out]),
            seen_row=np.concatenate([seen_row, seen_row[pair]]),
            seen_column=np.concatenate([seen, data.n_candidates + copy]),
            shares=1 / counts[start : start + size][row],
        )
