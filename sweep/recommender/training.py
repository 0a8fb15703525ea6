"""One trainer for all trials: the graph is built once, and the loss weights are its inputs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from sweep.config import StudyConfig, TrainingConfig
from sweep.data.batches import Batch, TrainingData
from sweep.errors import TrainingError
from sweep.front.halving import Halving
from sweep.recommender.evaluation import Evaluator
from sweep.recommender.model import (
    BatchTensors,
    MultiTaskModel,
    TaskLosses,
    WeightTensors,
    build_model,
    initialize,
    weigh,
)
from sweep.results import Epoch, LossWeights, TrialResult


def build_optimizer(config: TrainingConfig) -> tf.keras.optimizers.Optimizer:
    """The Keras optimizer that a study file names."""
    if config.optimizer == "adam":
        return tf.keras.optimizers.Adam(config.learning_rate)
    return tf.keras.optimizers.Adagrad(
        config.learning_rate, initial_accumulator_value=config.initial_accumulator
    )


def learning_rate(config: TrainingConfig, epoch: int) -> float:
    """The rate in an epoch, counted from 1."""
    if config.learning_rate_schedule == "linear":
        return config.learning_rate * (1 - (epoch - 1) / config.epochs)
    return config.learning_rate


def compiled(config: TrainingConfig) -> TrainingConfig:
    """What of a training is built into the graph; the rest, set alike, may differ between trials.

    Two trainings that are equal after this can share one `Trainer`.
    """
    return config.model_copy(
        update={"epochs": 1, "learning_rate": 1.0, "learning_rate_schedule": "constant"}
    )


class Trainer:
    """Trains the shared model from a fresh start, as often as asked.

    Building it runs one training step and scores a few rows, so that all tracing is over; a trial
    then only assigns initial values and runs them. Not safe to use from two threads at once.
    """

    def __init__(
        self,
        config: StudyConfig,
        data: TrainingData,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Builds model, optimizer and graph.

        Args:
            config: the study's `model` and `training` tables are read.
            data: what to train and to test on.
            clock: seconds, for the recorded times.
        """
        self._data = data
        self._config = config.training
        self._clock = clock
        self.model: MultiTaskModel = build_model(config.model, config.training, data)
        self._optimizer = build_optimizer(config.training)
        self._optimizer.build(self.model.trainable_variables)
        # A fresh optimizer's own slots, Adagrad's initial accumulator among them.
        self._fresh_slots = [tf.identity(slot) for slot in self._optimizer.variables]
        self._evaluator = Evaluator(self.model, data)
        # Nothing in a step needs AutoGraph, which would rewrite Keras's code for a second or two.
        self.step = tf.function(
            self._step,
            autograph=False,
            input_signature=[
                WeightTensors(*(tf.TensorSpec([], tf.float32) for _ in range(2))),
                BatchTensors(
                    query_ids=tf.TensorSpec([None], tf.int32),
                    query_counts=tf.TensorSpec([None], tf.float32),
                    query_index=tf.TensorSpec([None], tf.int32),
                    candidate_ids=tf.TensorSpec([None], tf.int32),
                    candidate_counts=tf.TensorSpec([None], tf.float32),
                    candidate_index=tf.TensorSpec([None], tf.int32),
                    labels=tf.TensorSpec([None], tf.float32),
                ),
            ],
        )
        self.step(
            WeightTensors(tf.constant(0.0), tf.constant(0.0)), _tensors(next(data.epoch(0, 1)))
        )
        self._evaluator.trace()

    def _step(self, weights: WeightTensors, batch: BatchTensors) -> TaskLosses:
        with tf.GradientTape() as tape:
            losses = self.model.task_losses(batch)
            total = weigh(weights, losses)
        variables = self.model.trainable_variables
        self._optimizer.apply_gradients(
            zip(tape.gradient(total, variables), variables, strict=True)
        )
        return losses

    def train(
        self,
        weights: LossWeights,
        seed: int,
        training: TrainingConfig | None = None,
        halving: Halving | None = None,
        seconds: float = math.inf,
    ) -> TrialResult:
        """Train from the initial state that the seed gives, and measure after every epoch.

        Args:
            weights: of the two losses.
            seed: of the initial state, and of the order of rows where batches are reshuffled.
            training: another number of epochs, learning rate or schedule; nothing else of it is
                read, see `compiled`.
            halving: stops the trial early if its curve is not worth finishing.
            seconds: the longest that it may take; looked at before every batch.

        Raises:
            TrainingError: a loss or a metric is not a finite number, or the time is over; training
                stops there.
        """
        deadline = self._clock() + seconds if math.isfinite(seconds) else math.inf

        def step(batch: Batch) -> TaskLosses:
            if math.isfinite(deadline) and self._clock() > deadline:
                raise TrainingError(
                    f"did not end within {seconds:g} s (execution.trial_seconds), and was stopped "
                    f"in epoch {number}"
                )
            return self.step(tensors, _tensors(batch))

        initialize(self.model, seed)
        for slot, fresh in zip(self._optimizer.variables, self._fresh_slots, strict=True):
            slot.assign(fresh)
        tensors = WeightTensors(
            tf.constant(weights.rating_weight, tf.float32),
            tf.constant(weights.retrieval_weight, tf.float32),
        )
        training = training or self._config
        history: list[Epoch] = []
        training_seconds = evaluation_seconds = 0.0
        pruned = False
        for number in range(1, training.epochs + 1):
            started = self._clock()
            self._optimizer.learning_rate.assign(learning_rate(training, number))
            losses = [step(batch) for batch in self._data.epoch(seed, number)]
            rating, retrieval = (_mean(values) for values in zip(*losses, strict=True))
            trained = self._clock()
            _require_finite(number, {"rating loss": rating, "retrieval loss": retrieval})
            metrics = self._evaluator.evaluate()
            _require_finite(number, metrics)
            evaluation_seconds += self._clock() - trained
            training_seconds += trained - started
            history.append(Epoch(number, rating, retrieval, metrics))
            if halving and number < training.epochs and halving.stops(number, metrics):
                pruned = True
                break
        return TrialResult(
            history[-1].metrics, tuple(history), training_seconds, evaluation_seconds, pruned
        )


def _tensors(batch: Batch) -> BatchTensors:
    return BatchTensors(
        *(tf.convert_to_tensor(getattr(batch, name)) for name in BatchTensors._fields)
    )


def _mean(values: Sequence[tf.Tensor]) -> float:
    return float(np.mean([value.numpy() for value in values], dtype=np.float64))


def _require_finite(epoch: int, values: object) -> None:
    assert isinstance(values, dict)
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{name} is {value} after epoch {epoch}; "
                "smaller loss weights or a smaller learning rate may help"
            )
