"""Retrieval as a TFRS task, on distinct queries and distinct candidates."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf
from tensorflow_recommenders.tasks import base

SCORES_AT_ONCE = 1 << 21
"""Scores that are held at a time where a batch may have more: 8 MiB, which a cache holds."""


class DeduplicatedRetrieval(tf.keras.layers.Layer, base.Task):
    """The in-batch softmax of `tfrs.tasks.Retrieval`, without its repeated work.

    The score of a pair depends on its query and its candidate alone, so for a batch of n rows

        logsumexp over rows j of s(i, j) = logsumexp over distinct c of [s(i, c) + log count(c)]

    and rows with the same query share it. Scores of q distinct queries by c distinct candidates
    stand for n by n; the value and its gradients are the same.

    Where q by c is large the scores are computed for some queries at a time, each with its gradient
    in the same pass, so that they need not be kept: memory is then bounded whatever q and c, and
    what is no longer read from main memory makes it about twice as fast.
    """

    def __init__(
        self,
        reduction: Literal["sum", "mean"] = "sum",
        temperature: float = 1.0,
        l2: float = 0.0,
        scores_at_once: int | None = None,
        name: str | None = None,
    ) -> None:
        """Initializes the task.

        Args:
            reduction: over the rows of the batch; `tfrs.tasks.Retrieval` sums.
            temperature: above 0; scores are divided by it.
            l2: at least 0; factor of the squared lengths of every row's two embeddings.
            scores_at_once: how many scores to hold at a time, or those of one query if these are
                more; all q by c at once by default.
            name: of the layer.
        """
        super().__init__(name=name)
        self._reduction = reduction
        self._temperature = temperature
        self._l2 = l2
        self._scores_at_once = scores_at_once

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
        multiplicity = tf.math.log(candidate_counts)
        positives = tf.reduce_sum(positive_scores)
        if self._temperature != 1:
            positives = positives / self._temperature
        if log_sampling_probability is not None:
            multiplicity -= log_sampling_probability
            positives -= tf.reduce_sum(candidate_counts * log_sampling_probability)
        if self._scores_at_once is None:
            scores = tf.linalg.matmul(query_embeddings, candidate_embeddings, transpose_b=True)
            if self._temperature != 1:
                scores = scores / self._temperature
            normalizers = tf.reduce_logsumexp(scores + multiplicity, axis=1)
            total = tf.reduce_sum(query_counts * normalizers) - positives
        else:
            total = (
                normalize_in_chunks(
                    query_embeddings / self._temperature,
                    candidate_embeddings,
                    query_counts,
                    multiplicity,
                    self._scores_at_once,
                )
                - positives
            )
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


def normalize_in_chunks(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    query_counts: tf.Tensor,
    multiplicity: tf.Tensor,
    scores_at_once: int,
) -> tf.Tensor:
    """The scalar `sum over q of query_counts · logsumexp over c of [queries · candidates + m]`.

    With respect to `queries` and `candidates` alone it has a gradient. As it is a scalar, that can
    be computed along with the value, while a chunk's exponentials are at hand.

    Args:
        queries: [q, d].
        candidates: [c, d].
        query_counts: [q].
        multiplicity: [c], the m above; -inf takes a candidate out, but not all may be out.
        scores_at_once: at least 1; of the queries so many are taken at a time that their scores
            with all candidates are no more than that, but at least one.
    """

    @tf.custom_gradient
    def normalize(queries: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, object]:
        n = tf.shape(queries)[0]
        size = tf.maximum(scores_at_once // tf.shape(candidates)[0], 1)
        n_chunks = (n + size - 1) // size

        def add_chunk(
            i: tf.Tensor, total: tf.Tensor, of_queries: tf.TensorArray, of_candidates: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray, tf.Tensor]:
            rows = slice(i * size, tf.minimum((i + 1) * size, n))
            some, counts = queries[rows], query_counts[rows]
            scores = tf.linalg.matmul(some, candidates, transpose_b=True) + multiplicity
            highest = tf.reduce_max(scores, axis=1, keepdims=True)
            exponentials = tf.exp(scores - highest)
            sums = tf.reduce_sum(exponentials, axis=1)
            total += tf.reduce_sum(counts * (highest[:, 0] + tf.math.log(sums)))
            # The gradient by scores is exponentials · factors; the factors go to the smaller side.
            factors = (counts / sums)[:, tf.newaxis]
            of_queries = of_queries.write(i, factors * tf.linalg.matmul(exponentials, candidates))
            of_candidates += tf.linalg.matmul(exponentials, factors * some, transpose_a=True)
            return i + 1, total, of_queries, of_candidates

        chunks = tf.TensorArray(
            queries.dtype, n_chunks, infer_shape=False, element_shape=[None, queries.shape[1]]
        )
        # One chunk after another: iterations in parallel would hold the scores of each.
        _, total, chunks, of_candidates = tf.while_loop(
            lambda i, *_: i < n_chunks,
            add_chunk,
            (0, tf.zeros([], queries.dtype), chunks, tf.zeros_like(candidates)),
            parallel_iterations=1,
        )
        of_queries = chunks.concat()
        return total, lambda upstream: (upstream * of_queries, upstream * of_candidates)

    return normalize(queries, candidates)
