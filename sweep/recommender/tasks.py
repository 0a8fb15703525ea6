"""Retrieval as a TFRS task, on distinct queries and distinct candidates."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf
from tensorflow_recommenders.tasks import base


class DeduplicatedRetrieval(tf.keras.layers.Layer, base.Task):
    """The in-batch softmax of `tfrs.tasks.Retrieval`, without its repeated work.

    The score of a pair depends on its query and its candidate alone, so for a batch of n rows

        logsumexp over rows j of s(i, j) = logsumexp over distinct c of [s(i, c) + log count(c)]

    and rows with the same query share it. Scores of q distinct queries by c distinct candidates
    stand for n by n; the value and its gradients are the same.
    """

    def __init__(
        self,
        reduction: Literal["sum", "mean"] = "sum",
        temperature: float = 1.0,
        l2: float = 0.0,
        name: str | None = None,
    ) -> None:
        """Initializes the task.

        Args:
            reduction: over the rows of the batch; `tfrs.tasks.Retrieval` sums.
            temperature: above 0; scores are divided by it.
            l2: at least 0; factor of the squared lengths of every row's two embeddings.
            name: of the layer.
        """
        super().__init__(name=name)
        self._reduction = reduction
        self._temperature = temperature
        self._l2 = l2

    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        positive_scores: tf.Tensor,
        query_counts: tf.Tensor,
        candidate_counts: tf.Tensor,
        log_sampling_probability: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the loss of one batch.

        Args:
            query_embeddings: [q, d], one row for each distinct query.
            candidate_embeddings: [c, d], one row for each distinct candidate. The first is real;
                any may be padding.
            positive_scores: [n], the dot product of every row's own query and candidate. It is
                an argument because the rating tower has gathered both embeddings already.
            query_counts: [q], how many of the n rows have this query; 0 marks padding.
            candidate_counts: [c], how many of the n rows have this candidate; 0 marks padding.
            log_sampling_probability: [c], logarithm of the probability that a row drawn at random
                has this candidate. If given it is taken out of the scores, as
                `candidate_sampling_probability` is in `tfrs.tasks.Retrieval`.

        Returns:
            The scalar loss: sum or mean over the n rows of -log softmax(positive), and of `l2`
            times the squared lengths.
        """
        # Padding must not decide the maximum that keeps the exponentials in range, so that a
        # padded candidate repeats a real one; its count of 0 then takes it out of the sum.
        real = candidate_counts > 0
        candidate_embeddings = tf.where(
            real[:, tf.newaxis], candidate_embeddings, candidate_embeddings[:1]
        )
        scores = tf.linalg.matmul(query_embeddings, candidate_embeddings, transpose_b=True)
        multiplicity = tf.math.log(candidate_counts)
        positives = tf.reduce_sum(positive_scores)
        if self._temperature != 1:
            scores, positives = scores / self._temperature, positives / self._temperature
        if log_sampling_probability is not None:
            multiplicity -= log_sampling_probability
            positives -= tf.reduce_sum(candidate_counts * log_sampling_probability)
        normalizers = tf.reduce_logsumexp(scores + multiplicity, axis=1)
        total = tf.reduce_sum(query_counts * normalizers) - positives
        if self._l2:
            for embeddings, counts in (
                (query_embeddings, query_counts),
                (candidate_embeddings, candidate_counts),
            ):
                lengths = tf.reduce_sum(tf.square(embeddings), axis=1)
                total += self._l2 * tf.reduce_sum(counts * lengths)
        if self._reduction == "sum":
            return total
        return total / tf.cast(tf.size(positive_scores), total.dtype)
