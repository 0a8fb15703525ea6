"""The shared model factory: two towers and a rating tower, trained on two tasks at once."""

from __future__ import annotations

from typing import Literal, NamedTuple

import tensorflow as tf
import tensorflow_recommenders as tfrs

from sweep.config import ModelConfig
from sweep.recommender.tasks import DeduplicatedRetrieval


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


def weigh(weights: WeightTensors, losses: TaskLosses) -> tf.Tensor:
    """The scalar that training minimizes: `sum of weight · loss`."""
    return weights.rating_weight * losses.rating + weights.retrieval_weight * losses.retrieval


class MultiTaskModel(tfrs.Model):
    """A query tower, a candidate tower, and a rating tower on the two embeddings side by side.

    Ids are rows of the vocabularies, from 0: raw ids are looked up once when the data is encoded,
    and again only in the exported model (`sweep.recommender.serving`).
    """

    def __init__(
        self,
        config: ModelConfig,
        n_queries: int,
        n_candidates: int,
        retrieval_reduction: Literal["sum", "mean"],
    ) -> None:
        """Builds the layers, with variables in place; see `build_model`."""
        super().__init__()
        self.query_model = tf.keras.layers.Embedding(
            n_queries, config.embedding_dimension, name="query"
        )
        self.candidate_model = tf.keras.layers.Embedding(
            n_candidates, config.embedding_dimension, name="candidate"
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
        self.rating_task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())
        self.retrieval_task = DeduplicatedRetrieval(retrieval_reduction)
        self.query_model.build(())
        self.candidate_model.build(())
        self.rating_model.build((None, 2 * config.embedding_dimension))

    def predict_ratings(
        self, query_embeddings: tf.Tensor, candidate_embeddings: tf.Tensor
    ) -> tf.Tensor:
        """Ratings [n] of n pairs, from their embeddings [n, d] and [n, d]."""
        both = tf.concat([query_embeddings, candidate_embeddings], axis=1)
        return tf.squeeze(self.rating_model(both), axis=1)

    def task_losses(self, batch: BatchTensors) -> TaskLosses:
        """Both losses of a batch; embeddings are looked up once for each distinct id."""
        queries = self.query_model(batch.query_ids)
        candidates = self.candidate_model(batch.candidate_ids)
        row_queries = tf.gather(queries, batch.query_index)
        row_candidates = tf.gather(candidates, batch.candidate_index)
        return TaskLosses(
            rating=self.rating_task(
                labels=batch.labels,
                predictions=self.predict_ratings(row_queries, row_candidates),
                compute_metrics=False,
            ),
            retrieval=self.retrieval_task(
                queries,
                candidates,
                positive_scores=tf.reduce_sum(row_queries * row_candidates, axis=1),
                query_counts=batch.query_counts,
                candidate_counts=batch.candidate_counts,
            ),
        )

    def compute_loss(
        self, inputs: tuple[WeightTensors, BatchTensors], training: bool = False
    ) -> tf.Tensor:
        """The weighted sum of both losses, for a pair of weights and a batch."""
        del training  # no layer behaves differently in training
        weights, batch = inputs
        return weigh(weights, self.task_losses(batch))


def build_model(
    config: ModelConfig,
    n_queries: int,
    n_candidates: int,
    retrieval_reduction: Literal["sum", "mean"] = "sum",
) -> MultiTaskModel:
    """The one model that all trials share.

    Args:
        config: embedding dimension and widths of the rating tower.
        n_queries: size of the query vocabulary.
        n_candidates: size of the candidate vocabulary.
        retrieval_reduction: of the retrieval loss over a batch.
    """
    return MultiTaskModel(config, n_queries, n_candidates, retrieval_reduction)


def initialize(model: MultiTaskModel, seed: int) -> None:
    """Give every variable a fresh initial value that depends on the seed alone.

    Each variable keeps the distribution of its own Keras initializer. Values do not depend on
    TensorFlow's global seed, nor on what was drawn before.
    """
    layers = [model.query_model, model.candidate_model, *model.rating_model.layers]
    for position, layer in enumerate(layers):
        if isinstance(layer, tf.keras.layers.Embedding):
            layer.embeddings.assign(
                _draw(layer.embeddings_initializer, layer.embeddings, seed, position)
            )
        else:
            layer.kernel.assign(_draw(layer.kernel_initializer, layer.kernel, seed, position))
            layer.bias.assign(tf.zeros_like(layer.bias))


def _draw(
    initializer: tf.keras.initializers.Initializer, variable: tf.Variable, seed: int, position: int
) -> tf.Tensor:
    # Keras seeds are single integers: positions get far-apart ones so that no two variables of
    # neighbouring seeds share their numbers.
    settings = initializer.get_config() | {"seed": (seed + position * 1_000_003) % 2**31}
    return type(initializer).from_config(settings)(variable.shape, dtype=variable.dtype)
