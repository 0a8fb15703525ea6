"""What is measured on held-out rows: RMSE and top-k accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.config import KS
from sweep.data.batches import Rows, TrainingData
from sweep.recommender.model import MultiTaskModel

SCORES_AT_ONCE = 1 << 24
"""Largest number of scores held at a time: 64 MiB of float32."""

ROWS_AT_ONCE = 1 << 16
"""Largest number of rows that pass through the rating tower at a time."""


class _Chunk(NamedTuple):
    """Some distinct queries with their held-out rows and the pairs that they have in training.

    `queries` int32 [b]; `row` int64 [t] and `candidate` int32 [t]: the rows, by position in
    `queries`; `seen_row` and `seen_column` int64 [s]: pairs as position in `queries` and column of
    the catalogue.
    """

    queries: NDArray[np.int32]
    row: NDArray[np.int64]
    candidate: NDArray[np.int32]
    seen_row: NDArray[np.int64]
    seen_column: NDArray[np.int64]


class Evaluator:
    """Scores one model on the held-out rows, again and again.

    A row is a hit at k if fewer than k rows of the catalogue score above its own candidate:
    ties count for it, as in `tfrs.metrics.FactorizedTopK`. Queries are scored once each, however
    many rows they have, and some at a time so that memory stays bounded.
    """

    def __init__(self, model: MultiTaskModel, data: TrainingData, ks: Sequence[int] = KS) -> None:
        """Sorts the held-out rows by query, once.

        Args:
            model: read anew in every `evaluate`.
            data: held-out rows are scored, training rows are the pairs already seen.
            ks: lengths of the list; one longer than the catalogue is always a hit.
        """
        self._model = model
        self._ks = tuple(ks)
        self._n_rows = len(data.held_out)
        # Columns of the catalogue: every candidate once, then the copies of some.
        first = np.unique(data.catalogue, return_index=True)[1]
        self._copies = np.delete(data.catalogue, first)
        self._chunks = list(_chunks(data, self._copies))
        self._slices = [
            Rows(
                *(
                    tf.constant(np.asarray(part[start : start + ROWS_AT_ONCE]))
                    for part in (
                        data.held_out.query_ids,
                        data.held_out.candidate_ids,
                        data.held_out.labels,
                    )
                )
            )
            for start in range(0, len(data.held_out), ROWS_AT_ONCE)
        ]
        self._squared_error = tf.function(
            self._sum_squared_error, autograph=False, reduce_retracing=True
        )
        self._scores = tf.function(
            self._score_all,
            input_signature=[tf.TensorSpec([None], tf.int32)],
            autograph=False,
        )

    def evaluate(self) -> Mapping[str, float]:
        """Every metric in `sweep.config.METRICS` for the model's present weights."""
        squared = sum(
            float(self._squared_error(rows.query_ids, rows.candidate_ids, rows.labels))
            for rows in self._slices
        )
        hits = np.zeros((2, len(self._ks)))
        for chunk in self._chunks:
            hits += _count_hits(self._scores(chunk.queries).numpy(), chunk, self._copies, self._ks)
        accuracy = hits / self._n_rows
        return {
            "rmse": math.sqrt(squared / self._n_rows),
            **{f"top_{k}_accuracy": float(a) for k, a in zip(self._ks, accuracy[0], strict=True)},
            **{
                f"unseen_top_{k}_accuracy": float(a)
                for k, a in zip(self._ks, accuracy[1], strict=True)
            },
        }

    def _sum_squared_error(
        self, query_ids: tf.Tensor, candidate_ids: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        predictions = self._model.predict_ratings(
            self._model.query_side(query_ids), self._model.candidate_side(candidate_ids)
        )
        return tf.reduce_sum(tf.cast(tf.math.squared_difference(predictions, labels), tf.float64))

    def _score_all(self, queries: tf.Tensor) -> tf.Tensor:
        """Scores [b, n_candidates] of some queries [b] and every candidate."""
        return tf.linalg.matmul(
            self._model.query_model(queries),
            self._model.candidate_model.embeddings,
            transpose_b=True,
        )


def _count_hits(
    scores: NDArray[np.float32], chunk: _Chunk, copies: NDArray[np.int32], ks: Sequence[int]
) -> NDArray[np.int64]:
    """Hits [2, len(ks)] of a chunk: among all of the catalogue, and among what is unseen."""
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
        reached = positive[:, np.newaxis] >= table[:, places][chunk.row]
        hits.append((reached | always).sum(axis=0))
    return np.stack(hits)


def _chunks(data: TrainingData, copies: NDArray[np.int32]) -> Iterator[_Chunk]:
    queries = np.unique(data.held_out.query_ids)
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
        seen_row = np.searchsorted(some, data.train.query_ids[train])
        seen = data.train.candidate_ids[train]
        # A copy of a seen candidate is seen as well.
        pair, copy = np.nonzero(seen[:, np.newaxis] == copies[np.newaxis, :])
        yield _Chunk(
            queries=some,
            row=np.searchsorted(some, data.held_out.query_ids[held_out]),
            candidate=np.asarray(data.held_out.candidate_ids[held_out]),
            seen_row=np.concatenate([seen_row, seen_row[pair]]),
            seen_column=np.concatenate([seen, data.n_candidates + copy]),
        )
