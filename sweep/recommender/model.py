"""The shared model factory: two towers and a rating, trained on two tasks at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from sweep.config import ModelConfig, TrainingConfig
from sweep.data.batches import TrainingData
from sweep.data.ranking import by_query
from sweep.recommender.tasks import SCORES_AT_ONCE, DeduplicatedRetrieval


class BatchTensors(NamedTuple):
    """A `sweep.data.batches.Batch` inside the graph; same fields, same shapes."""

    query_ids: tf.Tensor
    query_counts: tf.Tensor
    query_index: tf.Tensor
    candidate_ids: tf.Tensor
    candidate_counts: tf.Tensor
    candidate_index: tf.Tensor
    labels: tf.Tensor


class WeightTensors(NamedTuple):
    """The two loss weights inside the graph: float32 scalars."""

    rating_weight: tf.Tensor
    retrieval_weight: tf.Tensor


class TaskLosses(NamedTuple):
    """Both losses of one batch, not yet weighted: float32 scalars."""

    rating: tf.Tensor
    retrieval: tf.Tensor


class Side(NamedTuple):
    """What one tower says of n ids, for the rating: `embeddings` [n, d], `biases` [n] if any."""

    embeddings: tf.Tensor
    biases: tf.Tensor | None

    def at(self, index: tf.Tensor) -> Side:
        """The rows of an index [m]."""
        biases = None if self.biases is None else tf.gather(self.biases, index)
        return Side(tf.gather(self.embeddings, index), biases)


class History:
    """The candidates of every query in the training rows, for the sum of their embeddings."""

    def __init__(self, data: TrainingData, dense: bool | None = None) -> None:
        """Counts the pairs of the training rows, once.

        Args:
            data: the training rows.
            dense: whether to keep a table of all pairs, which multiplies several times faster than
                rows of varying length; where it takes at most 64 MiB, unless told otherwise.
        """
        rows = by_query(data.train, data.n_queries)
        counts = np.diff(rows.begins)
        self.counts = tf.constant(counts, tf.float32)
        shape = data.n_queries, data.n_candidates
        if dense is None:
            dense = math.prod(shape) <= 1 << 24
        self._table = None
        if dense:
            cells = np.repeat(np.arange(data.n_queries), counts) * data.n_candidates
            table = np.bincount(cells + rows.candidates, minlength=math.prod(shape))
            self._table = tf.constant(table.reshape(shape), tf.float32)
        else:
            # A pair that occurs twice stands there twice.
            self._candidates = tf.RaggedTensor.from_row_splits(rows.candidates, rows.begins)

    def sums(self, query_ids: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """For ids [q]: the sum [q, d] of their candidates' rows of a table [n_candidates, d]."""
        if self._table is not None:
            return tf.linalg.matmul(tf.gather(self._table, query_ids), candidates)
        columns = tf.gather(self._candidates, query_ids)
        # Sums while it gathers: the gathered rows, one for every pair, are never all there.
        return tf.sparse.segment_sum(
            candidates, columns.values, columns.value_rowids(), num_segments=columns.nrows()
        )


def weigh(weights: WeightTensors, losses: TaskLosses) -> tf.Tensor:
    """The scalar that training minimizes: `sum of weight · loss`."""
    return weights.rating_weight * losses.rating + weights.retrieval_weight * losses.retrieval


class MultiTaskModel(tfrs.Model):
    """A query tower, a candidate tower, and a rating from the two; see `ModelConfig`.

    Ids are rows of the vocabularies, from 0: raw ids are looked up once when the data is encoded,
    and again only in the exported model (`sweep.recommender.serving`).
    """

    def __init__(self, config: ModelConfig, training: TrainingConfig, data: TrainingData) -> None:
        """Builds the layers, with variables in place; see `build_model`."""
        super().__init__()
        dimension = config.embedding_dimension
        self.query_model = tf.keras.layers.Embedding(data.n_queries, dimension, name="query")
        self.candidate_model = tf.keras.layers.Embedding(
            data.n_candidates, dimension, name="candidate"
        )
        self.rating_model = tf.keras.Sequential(
            [
                *(
                    tf.keras.layers.Dense(units, activation="relu")
                    for units in config.rating_layers
                ),
                tf.keras.layers.Dense(1),
            ],
            name="rating",
        )
        self.query_model.build(())
        self.candidate_model.build(())
        self.rating_model.build((None, 2 * dimension))
        self.query_bias = self.candidate_bias = None
        if config.biases:
            self.query_bias, self.candidate_bias = (
                tf.keras.layers.Embedding(size, 1, "zeros", name=name)
                for size, name in (
                    (data.n_queries, "query_bias"),
                    (data.n_candidates, "candidate_bias"),
                )
            )
            self.query_bias.build(())
            self.candidate_bias.build(())
        self.dot_scale = tf.Variable(0.0, name="dot_scale") if config.dot_product else None
        self._mean_label = float(np.mean(data.train.labels, dtype=np.float64))
        self._label_range = (
            (float(data.train.labels.min()), float(data.train.labels.max()))
            if config.clip_ratings
            else None
        )
        self.rating_task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())
        largest = math.prod(
            min(training.batch_size, size) for size in (data.n_queries, data.n_candidates)
        )
        self.retrieval_task = DeduplicatedRetrieval(
            training.retrieval_reduction,
            training.temperature,
            training.l2,
            SCORES_AT_ONCE if largest > SCORES_AT_ONCE else None,
        )
        self._history = History(data) if config.history else None
        self._log_sampling_probability = None
        if training.sampling_correction == "log_q":
            drawn = np.bincount(data.train.candidate_ids, minlength=data.n_candidates)
            # One that is never drawn has no score to correct; 1 keeps its logarithm finite.
            self._log_sampling_probability = tf.constant(
                np.log(np.maximum(drawn, 1) / len(data.train)), tf.float32
            )

    def query_side(self, ids: tf.Tensor) -> Side:
        """What the query tower says of ids [n]."""
        return _side(self.query_model, self.query_bias, ids)

    def candidate_side(self, ids: tf.Tensor) -> Side:
        """What the candidate tower says of ids [n]."""
        return _side(self.candidate_model, self.candidate_bias, ids)

    def retrieval_queries(self, ids: tf.Tensor, batch: BatchTensors | None = None) -> tf.Tensor:
        """The embeddings [n, d] by which queries of ids [n] are matched with candidates'.

        While training on a batch, whose own distinct ids these are, its rows count as not seen.
        """
        queries = self.query_model(ids)
        if self._history is None:
            return queries
        candidates = self.candidate_model.embeddings
        sums, counts = self._history.sums(ids, candidates), tf.gather(self._history.counts, ids)
        if batch is not None:
            own = self.candidate_model(tf.gather(batch.candidate_ids, batch.candidate_index))
            sums -= tf.math.unsorted_segment_sum(own, batch.query_index, tf.shape(ids)[0])
            counts -= batch.query_counts
        return queries + sums * tf.math.rsqrt(tf.maximum(counts, 1.0))[:, tf.newaxis]

    def predict_ratings(self, queries: Side, candidates: Side) -> tf.Tensor:
        """Ratings [n] of n pairs."""
        dot = _dot(queries.embeddings, candidates.embeddings)
        ratings = self._ratings(queries, candidates, dot)
        if self._label_range is None:
            return ratings
        return tf.clip_by_value(ratings, *self._label_range)

    def _ratings(self, queries: Side, candidates: Side, dot: tf.Tensor) -> tf.Tensor:
        both = tf.concat([queries.embeddings, candidates.embeddings], axis=1)
        ratings = tf.squeeze(self.rating_model(both), axis=1)
        if queries.biases is not None:
            ratings += self._mean_label + queries.biases + candidates.biases
        if self.dot_scale is not None:
            ratings += self.dot_scale * dot
        return ratings

    def task_losses(self, batch: BatchTensors) -> TaskLosses:
        """Both losses of a batch; embeddings are looked up once for each distinct id."""
        queries = self.query_side(batch.query_ids)
        candidates = self.candidate_side(batch.candidate_ids)
        row_queries = queries.at(batch.query_index)
        row_candidates = candidates.at(batch.candidate_index)
        dot = _dot(row_queries.embeddings, row_candidates.embeddings)
        retrieved = self.retrieval_queries(batch.query_ids, batch)
        corrected = self._log_sampling_probability is not None
        return TaskLosses(
            rating=self.rating_task(
                labels=batch.labels,
                predictions=self._ratings(row_queries, row_candidates, dot),
                compute_metrics=False,
            ),
            retrieval=self.retrieval_task(
                retrieved,
                candidates.embeddings,
                positive_scores=(
                    dot
                    if self._history is None
                    else _dot(tf.gather(retrieved, batch.query_index), row_candidates.embeddings)
                ),
                query_counts=batch.query_counts,
                candidate_counts=batch.candidate_counts,
                log_sampling_probability=(
                    tf.gather(self._log_sampling_probability, batch.candidate_ids)
                    if corrected
                    else None
                ),
            ),
        )

    def compute_loss(
        self, inputs: tuple[WeightTensors, BatchTensors], training: bool = False
    ) -> tf.Tensor:
        """The weighted sum of both losses, for a pair of weights and a batch."""
        del training  # no layer behaves differently in training
        weights, batch = inputs
        return weigh(weights, self.task_losses(batch))


def _side(tower: tf.keras.layers.Layer, bias: tf.keras.layers.Layer | None, ids: tf.Tensor) -> Side:
    return Side(tower(ids), None if bias is None else tf.squeeze(bias(ids), axis=1))


def _dot(queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(queries * candidates, axis=1)


def build_model(
    config: ModelConfig, training: TrainingConfig, data: TrainingData
) -> MultiTaskModel:
    """The one model that all trials share.

    Args:
        config: the form of the rating tower and the size of the embeddings.
        training: the form of the retrieval loss is read.
        data: for the sizes of the vocabularies, and for mean and range of the training labels and
            the candidates' shares of the training rows where these are used.
    """
    return MultiTaskModel(config, training, data)


def initialize(model: MultiTaskModel, seed: int) -> None:
    """Give every variable a fresh initial value that depends on the seed alone.

    Each variable keeps the distribution of its own Keras initializer. Values do not depend on
    TensorFlow's global seed, nor on what was drawn before.
    """
    biases = [layer for layer in (model.query_bias, model.candidate_bias) if layer is not None]
    layers = [model.query_model, model.candidate_model, *model.rating_model.layers, *biases]
    for position, layer in enumerate(layers):
        if isinstance(layer, tf.keras.layers.Embedding):
            layer.embeddings.assign(
                _draw(layer.embeddings_initializer, layer.embeddings, seed, position)
            )
        else:
            layer.kernel.assign(_draw(layer.kernel_initializer, layer.kernel, seed, position))
            layer.bias.assign(tf.zeros_like(layer.bias))
    if model.dot_scale is not None:
        model.dot_scale.assign(1.0)


def _draw(
    initializer: tf.keras.initializers.Initializer, variable: tf.Variable, seed: int, position: int
) -> tf.Tensor:
    settings = initializer.get_config()
    if "seed" in settings:
        # Keras seeds are single integers: positions get far-apart ones so that no two variables of
        # neighbouring seeds share their numbers.
        settings["seed"] = (seed + position * 1_000_003) % 2**31
    return type(initializer).from_config(settings)(variable.shape, dtype=variable.dtype)
