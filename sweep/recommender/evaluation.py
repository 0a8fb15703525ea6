"""What is measured on held-out rows: RMSE and top-k accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from sweep.config import KS
from sweep.data.batches import Floats, Ints, TrainingData
from sweep.data.ranking import Ranking, rating_errors
from sweep.recommender.model import MultiTaskModel

ROWS_AT_ONCE = 1 << 16
"""Largest number of rows that pass through the rating tower at a time."""


class Evaluator:
    """Scores one model on the held-out rows, again and again; `Ranking` says what is a hit."""

    def __init__(self, model: MultiTaskModel, data: TrainingData, ks: Sequence[int] = KS) -> None:
        """Sorts the held-out rows by query, once.

        Args:
            model: read anew in every `evaluate`.
            data: held-out rows are scored, training rows are the pairs already seen.
            ks: lengths of the list; one longer than the catalogue is always a hit.
        """
        self._model = model
        self._held_out = data.held_out
        self._ranking = Ranking(data, ks)
        self._pairs = [
            (
                tf.constant(np.asarray(data.held_out.query_ids[start : start + ROWS_AT_ONCE])),
                tf.constant(np.asarray(data.held_out.candidate_ids[start : start + ROWS_AT_ONCE])),
            )
            for start in range(0, len(data.held_out), ROWS_AT_ONCE)
        ]
        self._ratings = tf.function(self._rate, autograph=False, reduce_retracing=True)
        self._scores = tf.function(
            self._score_all,
            input_signature=[tf.TensorSpec([None], tf.int32)],
            autograph=False,
        )

    def trace(self) -> None:
        """Build both graphs on a few rows, so that no evaluation has to."""
        for pairs in (self._pairs[0], self._pairs[-1]):  # full, and what is left over
            self._ratings(*pairs)
        self._scores(self._pairs[0][0][:1])

    def evaluate(self) -> Mapping[str, float]:
        """Every metric in `sweep.config.METRICS` for the model's present weights."""
        predictions = np.concatenate([self._ratings(*pairs).numpy() for pairs in self._pairs])

        def score(queries: Ints) -> Floats:
            scores: Floats = self._scores(queries).numpy()
            return scores

        return rating_errors(self._held_out, predictions) | self._ranking.accuracies(score)

    def _rate(self, query_ids: tf.Tensor, candidate_ids: tf.Tensor) -> tf.Tensor:
        """Predicted labels [n] of some pairs, ids [n] and [n]."""
        return self._model.predict_ratings(
            self._model.query_side(query_ids), self._model.candidate_side(candidate_ids)
        )

    def _score_all(self, queries: tf.Tensor) -> tf.Tensor:
        """Scores [b, n_candidates] of some queries [b] and every candidate."""
        return tf.linalg.matmul(
            self._model.retrieval_queries(queries),
            self._model.candidate_model.embeddings,
            transpose_b=True,
        )
