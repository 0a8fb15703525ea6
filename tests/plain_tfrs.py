"""The tutorial's model in plain TensorFlow Recommenders: the oracle, and the yardstick.

It takes the tutorial's inputs (a dictionary with `user_id`, `movie_title` and `user_rating`) and
computes the retrieval loss on the whole batch by `tfrs.tasks.Retrieval`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

Inputs = dict[str, tf.Tensor]


class PlainModel(tfrs.Model):
    """Two towers and a rating tower, as in the multi-task tutorial.

    With `lookup` the ids are texts and every tower begins with a `StringLookup`, as written there;
    without it they are integers from 0. With `training_metrics` the top-k metrics over the whole
    corpus are updated in every training step, as written there.
    """

    def __init__(
        self,
        rating_weight: float,
        retrieval_weight: float,
        users: Sequence[str] | int,
        titles: Sequence[str] | int,
        corpus: tf.data.Dataset | None = None,
        training_metrics: bool = False,
        dimension: int = 32,
        layers: Sequence[int] = (256, 128),
    ) -> None:
        super().__init__()
        self.user_model = _tower(users, dimension)
        self.movie_model = _tower(titles, dimension)
        self.rating_model = tf.keras.Sequential(
            [
                *(tf.keras.layers.Dense(n, activation="relu") for n in layers),
                tf.keras.layers.Dense(1),
            ]
        )
        self.rating_task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.MeanSquaredError(),
            metrics=[tf.keras.metrics.RootMeanSquaredError(name="root_mean_squared_error")],
        )
        metrics = (
            tfrs.metrics.FactorizedTopK(candidates=corpus.batch(128).map(self.movie_model))
            if corpus is not None
            else None
        )
        self.retrieval_task = tfrs.tasks.Retrieval(metrics=metrics)
        self.rating_weight = rating_weight
        self.retrieval_weight = retrieval_weight
        self.training_metrics = training_metrics

    def task_losses(self, inputs: Inputs, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        users = self.user_model(inputs["user_id"])
        movies = self.movie_model(inputs["movie_title"])
        predictions = self.rating_model(tf.concat([users, movies], axis=1))
        metrics = self.training_metrics or not training
        return (
            self.rating_task(
                labels=inputs["user_rating"], predictions=predictions, compute_metrics=metrics
            ),
            self.retrieval_task(users, movies, compute_metrics=metrics),
        )

    def compute_loss(self, inputs: Inputs, training: bool = False) -> tf.Tensor:
        rating, retrieval = self.task_losses(inputs, training)
        return self.rating_weight * rating + self.retrieval_weight * retrieval


def _tower(ids: Sequence[str] | int, dimension: int) -> tf.keras.Model:
    if isinstance(ids, int):
        return tf.keras.Sequential([tf.keras.layers.Embedding(ids, dimension)])
    lookup = tf.keras.layers.StringLookup(vocabulary=np.asarray(ids), mask_token=None)
    return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, dimension)])


def fit(
    model: PlainModel,
    train: tf.data.Dataset,
    test: tf.data.Dataset,
    epochs: int,
    learning_rate: float = 0.1,
) -> tuple[float, float]:
    """Train and evaluate by Keras; RMSE and top-100 accuracy on the test batches."""
    model.compile(optimizer=tf.keras.optimizers.Adagrad(learning_rate))
    model.fit(train, epochs=epochs, verbose=0)
    measured = model.evaluate(test, return_dict=True, verbose=0)
    return (
        measured["root_mean_squared_error"],
        measured["factorized_top_k/top_100_categorical_accuracy"],
    )
