"""What is measured on held-out rows: RMSE and top-k accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.config import KS
from sweep.data.batches import Rows, TrainingData
from sweep.recommender.model import MultiTaskModel

SCORES_AT_ONCE = 1 << 24
"""Largest number of scores held at a time: 64 MiB of float32."""


class _Chunk(NamedTuple):
    """Some distinct queries with their test rows and the pairs that they have in training.

    `queries` int32 [b]; `row` int32 [t] and `candidate` int32 [t]: the test rows, by position in
    `queries`; `seen` int32 [s, 2]: pairs (position in `queries`, candidate).
    """

    queries: NDArray[np.int32]
    row: NDArray[np.int32]
    candidate: NDArray[np.int32]
    seen: NDArray[np.int32]


class Evaluator:
    """Scores one model on the test rows, again and again, by one compiled function.

    A test row is a hit at k if fewer than k rows of the catalogue score above its own candidate:
    ties count for it, as in `tfrs.metrics.FactorizedTopK`. Queries are scored once each, however
    many test rows they have, and some at a time so that memory stays bounded.
    """

    def __init__(self, model: MultiTaskModel, data: TrainingData, ks: Sequence[int] = KS) -> None:
        """Sorts the test rows by query, once.

        Args:
            model: read anew in every `evaluate`.
            data: whose test rows are scored, and whose training rows are the pairs already seen.
            ks: lengths of the list; one longer than the catalogue is always a hit.
        """
        self._model = model
        self._ks = tuple(ks)
        self._n_test = len(data.test)
        self._chunks = [_Chunk(*(tf.constant(part) for part in chunk)) for chunk in _chunks(data)]
        self._rows = Rows(
            *(
                tf.constant(np.asarray(part))
                for part in (data.test.query_ids, data.test.candidate_ids, data.test.labels)
            )
        )
        has_copies = len(data.catalogue) > data.n_candidates
        self._catalogue = tf.constant(data.catalogue) if has_copies else None
        self._n_catalogue = len(data.catalogue)
        self._squared_error = tf.function(self._sum_squared_error)
        self._hits = tf.function(self._count_hits, reduce_retracing=True)

    def evaluate(self) -> Mapping[str, float]:
        """Every metric in `sweep.config.METRICS` for the model's present weights."""
        squared = self._squared_error(
            self._rows.query_ids, self._rows.candidate_ids, self._rows.labels
        )
        hits = np.zeros((2, len(self._ks)))
        for chunk in self._chunks:
            hits += self._hits(*chunk).numpy()
        accuracy = hits / self._n_test
        return {
            "rmse": float(np.sqrt(float(squared) / self._n_test)),
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
            self._model.query_model(query_ids), self._model.candidate_model(candidate_ids)
        )
        return tf.reduce_sum(tf.cast(tf.math.squared_difference(predictions, labels), tf.float64))

    def _count_hits(
        self, queries: tf.Tensor, row: tf.Tensor, candidate: tf.Tensor, seen: tf.Tensor
    ) -> tf.Tensor:
        """Hits [2, len(ks)] of a chunk: among all candidates, and among unseen ones."""
        scores = tf.linalg.matmul(
            self._model.query_model(queries),
            self._model.candidate_model.embeddings,
            transpose_b=True,
        )
        # The positive is read from the same matrix, so that a tie is exact whatever the rounding.
        positive = tf.gather_nd(scores, tf.stack([row, candidate], axis=1))
        lowest = tf.fill([tf.shape(seen)[0]], -np.inf)
        unseen = tf.tensor_scatter_nd_update(scores, seen, lowest)
        return tf.stack(
            [self._hits_at_ks(scores, positive, row), self._hits_at_ks(unseen, positive, row)]
        )

    def _hits_at_ks(self, scores: tf.Tensor, positive: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        if self._catalogue is not None:
            scores = tf.gather(scores, self._catalogue, axis=1)
        longest = min(max(self._ks), self._n_catalogue)
        best = tf.math.top_k(scores, k=longest).values
        hits = []
        for k in self._ks:
            if k > self._n_catalogue:
                hits.append(tf.size(row))
                continue
            threshold = tf.gather(best[:, k - 1], row)
            hits.append(tf.math.count_nonzero(positive >= threshold, dtype=tf.int32))
        return tf.stack(hits)


def _chunks(data: TrainingData) -> list[_Chunk]:
    queries = np.unique(data.test.query_ids)
    size = max(1, SCORES_AT_ONCE // data.n_candidates)
    test_order = np.argsort(data.test.query_ids, kind="stable")
    train_order = np.argsort(data.train.query_ids, kind="stable")
    test_sorted = data.test.query_ids[test_order]
    train_sorted = data.train.query_ids[train_order]
    chunks = []
    for start in range(0, len(queries), size):
        some = queries[start : start + size]
        test = test_order[slice(*np.searchsorted(test_sorted, [some[0], some[-1] + 1]))]
        train = train_order[slice(*np.searchsorted(train_sorted, [some[0], some[-1] + 1]))]
        train = train[np.isin(data.train.query_ids[train], some)]
        pairs = np.stack(
            [np.searchsorted(some, data.train.query_ids[train]), data.train.candidate_ids[train]],
            axis=1,
        )
        chunks.append(
            _Chunk(
                queries=some,
                row=np.searchsorted(some, data.test.query_ids[test]).astype(np.int32),
                candidate=np.asarray(data.test.candidate_ids[test]),
                seen=np.unique(pairs, axis=0).astype(np.int32),
            )
        )
    return chunks
