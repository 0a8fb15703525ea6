"""One trainer for all trials: the same steps as plain Keras, from a fresh start each time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from plain_tfrs import PlainModel, fit
from small_data import make_data
from sweep.config import METRICS, TrainingConfig
from sweep.data.batches import TrainingData
from sweep.errors import TrainingError
from sweep.front.halving import STARTUP, Halving
from sweep.recommender.model import MultiTaskModel, initialize
from sweep.recommender.training import Trainer, build_optimizer, compiled, learning_rate
from sweep.results import LossWeights

WEIGHTS = LossWeights(0.7, 0.2)


def variables(trainer: Trainer) -> list[np.ndarray]:
    return [variable.numpy() for variable in trainer.model.trainable_variables]


def plain_twin(trainer: Trainer, data: TrainingData, weights: LossWeights) -> PlainModel:
    """A plain TFRS model with the trainer's present variables."""
    corpus = tf.data.Dataset.from_tensor_slices(data.catalogue)
    dimension = trainer.model.query_model.output_dim
    layers = [layer.units for layer in trainer.model.rating_model.layers[:-1]]
    plain = PlainModel(
        weights.rating_weight,
        weights.retrieval_weight,
        data.n_queries,
        data.n_candidates,
        corpus,
        dimension=dimension,
        layers=layers,
    )
    plain.task_losses(plain_batches(data)[0], training=True)  # creates the variables
    for theirs, ours in zip(
        plain.trainable_variables, trainer.model.trainable_variables, strict=True
    ):
        theirs.assign(ours)
    return plain


def plain_batches(data: TrainingData) -> list[dict[str, tf.Tensor]]:
    assert data.fixed is not None
    return [
        {
            "user_id": tf.constant(batch.query_ids[batch.query_index]),
            "movie_title": tf.constant(batch.candidate_ids[batch.candidate_index]),
            "user_rating": tf.constant(batch.labels),
        }
        for batch in data.fixed
    ]


@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_every_step_of_an_epoch_equals_plain_tfrs(make_config, data, optimizer):
    config = make_config(epochs=1, optimizer=optimizer, learning_rate=0.05)
    trainer = Trainer(config, data)
    initialize(trainer.model, seed=3)
    plain = plain_twin(trainer, data, WEIGHTS)
    plain.compile(optimizer=build_optimizer(config.training))
    for batch in plain_batches(data):
        plain.train_step(batch)
    trainer.train(WEIGHTS, seed=3)
    for ours, theirs in zip(variables(trainer), plain.trainable_variables, strict=True):
        assert np.abs(ours - theirs.numpy()).max() <= 1e-4 * np.abs(theirs.numpy()).max()


def test_recorded_losses_are_the_means_over_the_batches_of_plain_tfrs(make_config, data):
    trainer = Trainer(make_config(epochs=1, learning_rate=1e-9), data)
    result = trainer.train(WEIGHTS, seed=3)
    plain = plain_twin(trainer, data, WEIGHTS)
    losses = np.array([plain.task_losses(batch, training=True) for batch in plain_batches(data)])
    [epoch] = result.history
    assert [epoch.rating_loss, epoch.retrieval_loss] == pytest.approx(losses.mean(axis=0), rel=1e-4)


def test_a_linear_schedule_falls_from_the_whole_rate_to_the_last_part():
    config = TrainingConfig(learning_rate=0.4, epochs=4, learning_rate_schedule="linear")
    rates = [learning_rate(config, epoch) for epoch in (1, 2, 3, 4)]
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_the_schedule_reaches_the_optimizer(make_config, data):
    constant = make_config(epochs=1, learning_rate=0.05)
    linear = make_config(epochs=2, learning_rate=0.1, learning_rate_schedule="linear")
    # The second linear epoch has the rate of the constant one.
    trainer = Trainer(linear, data)
    trainer.train(WEIGHTS, 0)
    assert float(trainer._optimizer.learning_rate) == pytest.approx(0.05)
    # And the next trial begins at the whole rate again.
    first = trainer.train(WEIGHTS, 0).history[0]
    assert first == Trainer(linear, data).train(WEIGHTS, 0).history[0]
    assert first != Trainer(constant, data).train(WEIGHTS, 0).history[0]


def rating_by_hand(model: MultiTaskModel, data: TrainingData, query: int, candidate: int) -> float:
    """Mean label + both biases + scaled dot product + dense layers, in NumPy."""
    u = model.query_model.embeddings.numpy()[query]
    v = model.candidate_model.embeddings.numpy()[candidate]
    hidden = np.concatenate([u, v])
    *inner, last = model.rating_model.layers
    for layer in inner:
        hidden = np.maximum(hidden @ layer.kernel.numpy() + layer.bias.numpy(), 0)
    rating = (hidden @ last.kernel.numpy() + last.bias.numpy())[0]
    rating += data.train.labels.mean() + float(model.dot_scale) * (u @ v)
    rating += model.query_bias.embeddings.numpy()[query, 0]
    return float(rating + model.candidate_bias.embeddings.numpy()[candidate, 0])


def test_a_rating_is_mean_plus_biases_plus_scaled_dot_product_plus_layers(make_config, data):
    config = make_config(epochs=3, retrieval_reduction="mean")
    terms = {"biases": True, "dot_product": True}
    config = config.model_copy(update={"model": config.model.model_copy(update=terms)})
    trainer = Trainer(config, data)
    trainer.train(LossWeights(3.0, 1.0), seed=0)
    model = trainer.model
    assert np.abs(model.query_bias.embeddings.numpy()).max() > 0.01
    assert float(model.dot_scale) != 1.0
    ids = [(3, 4), (7, 11)]
    predicted = model.predict_ratings(
        model.query_side(np.array([q for q, _ in ids])),
        model.candidate_side(np.array([c for _, c in ids])),
    )
    expected = [rating_by_hand(model, data, *pair) for pair in ids]
    assert predicted.numpy() == pytest.approx(expected, rel=1e-5)


def test_clipped_ratings_stay_within_the_training_labels_and_training_is_the_same(
    make_config, data
):
    config = make_config(epochs=2, learning_rate=1.0)
    clipped = config.model_copy(
        update={"model": config.model.model_copy(update={"clip_ratings": True})}
    )
    free, held = Trainer(config, data), Trainer(clipped, data)
    free.train(WEIGHTS, 0)
    held.train(WEIGHTS, 0)
    ratings = [
        t.model.predict_ratings(
            t.model.query_side(data.train.query_ids),
            t.model.candidate_side(data.train.candidate_ids),
        ).numpy()
        for t in (free, held)
    ]
    assert ratings[0].max() > 5 or ratings[0].min() < 1
    np.testing.assert_allclose(ratings[1], np.clip(ratings[0], 1, 5), rtol=1e-5)


def test_sampling_correction_uses_the_candidates_shares_of_the_training_rows(make_config, data):
    config = make_config(epochs=1, learning_rate=1e-9, sampling_correction="log_q")
    trainer = Trainer(config, data)
    [epoch] = trainer.train(WEIGHTS, seed=3).history
    share = np.bincount(data.train.candidate_ids, minlength=data.n_candidates) / len(data.train)
    losses = [
        float(
            tfrs.tasks.Retrieval()(
                trainer.model.query_model(batch.query_ids[batch.query_index]),
                trainer.model.candidate_model(batch.candidate_ids[batch.candidate_index]),
                candidate_sampling_probability=share[
                    batch.candidate_ids[batch.candidate_index]
                ].astype(np.float32),
            )
        )
        for batch in data.fixed
    ]
    assert epoch.retrieval_loss == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("reshuffle", [False, True])
def test_a_trial_depends_on_its_weights_and_seed_alone(make_config, reshuffle):
    config = make_config(reshuffle=reshuffle)
    data = make_data(reshuffle=reshuffle)
    trainer = Trainer(config, data)
    first = trainer.train(WEIGHTS, seed=1)
    trainer.train(LossWeights(5.0, 0.0), seed=2)
    tf.random.set_seed(99)
    again = trainer.train(WEIGHTS, seed=1)
    assert again.history == first.history
    assert Trainer(config, data).train(WEIGHTS, seed=1).history == first.history
    assert trainer.train(WEIGHTS, seed=2).history != first.history
    assert trainer.train(LossWeights(0.7, 0.3), seed=1).history != first.history


def test_no_trial_traces_the_step_again(make_config, data):
    trainer = Trainer(make_config(), data)
    assert trainer.step.experimental_get_tracing_count() == 1
    for weights in (LossWeights(1, 0), LossWeights(0, 1), LossWeights(1, 1), WEIGHTS):
        trainer.train(weights, seed=0)
    assert trainer.step.experimental_get_tracing_count() == 1


def test_every_metric_and_every_epoch_is_recorded(make_config, data):
    result = Trainer(make_config(epochs=3), data).train(WEIGHTS, 0)
    assert result.metrics.keys() == METRICS.keys()
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3]
    assert result.history[-1].metrics == result.metrics


def test_times_come_from_the_clock_that_is_given(make_config, data):
    ticks = itertools.count()
    result = Trainer(make_config(epochs=2), data, clock=lambda: next(ticks)).train(WEIGHTS, 0)
    assert (result.training_seconds, result.evaluation_seconds) == (2, 2)


def test_a_specialist_leaves_the_other_tasks_own_variables_alone(make_config, data):
    trainer = Trainer(make_config(), data)
    initialize(trainer.model, seed=0)
    fresh = [variable.numpy() for variable in trainer.model.rating_model.trainable_variables]
    trainer.train(LossWeights(0.0, 1.0), seed=0)
    for before, after in zip(fresh, trainer.model.rating_model.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


def test_reshuffled_epochs_cover_every_row_once_in_a_new_order():
    data = make_data(reshuffle=True)

    def rows(seed: int, epoch: int) -> np.ndarray:
        return np.concatenate(
            [
                np.stack(
                    [
                        batch.query_ids[batch.query_index],
                        batch.candidate_ids[batch.candidate_index],
                        batch.labels,
                    ]
                )
                for batch in data.epoch(seed, epoch)
            ],
            axis=1,
        )

    every = np.stack([data.train.query_ids, data.train.candidate_ids, data.train.labels])
    first, second = rows(0, 1), rows(0, 2)
    for shuffled in (first, second):
        np.testing.assert_array_equal(np.sort(shuffled.T, axis=0), np.sort(every.T, axis=0))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, rows(0, 1))
    assert not np.array_equal(first, rows(1, 1))


def test_weights_that_blow_up_fail_the_trial_and_leave_the_trainer_usable(make_config, data):
    trainer = Trainer(make_config(epochs=3), data)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) after epoch"):
        trainer.train(LossWeights(1e39, 1.0), seed=0)  # beyond float32: infinite gradients
    fresh = Trainer(make_config(epochs=3), data)
    assert trainer.train(WEIGHTS, seed=0).history == fresh.train(WEIGHTS, seed=0).history


@pytest.mark.slow
@pytest.mark.movielens
def test_three_tutorial_epochs_equal_plain_tfrs_on_movielens(movielens_data):
    config, data = movielens_data
    trainer = Trainer(config, data)
    initialize(trainer.model, seed=0)
    plain = plain_twin(trainer, data, LossWeights(1.0, 1.0))
    ours = trainer.train(LossWeights(1.0, 1.0), seed=0).metrics

    def batches(parts: list[dict[str, tf.Tensor]]) -> tf.data.Dataset:
        dataset = tf.data.Dataset.from_generator(
            lambda: iter(parts),
            output_signature={
                "user_id": tf.TensorSpec([None], tf.int32),
                "movie_title": tf.TensorSpec([None], tf.int32),
                "user_rating": tf.TensorSpec([None], tf.float32),
            },
        )
        return dataset.cache()

    test = [
        {
            "user_id": tf.constant(data.held_out.query_ids[start : start + 4096]),
            "movie_title": tf.constant(data.held_out.candidate_ids[start : start + 4096]),
            "user_rating": tf.constant(data.held_out.labels[start : start + 4096]),
        }
        for start in range(0, len(data.held_out), 4096)
    ]
    rmse, top_100 = fit(
        plain, batches(plain_batches(data)), batches(test), epochs=config.training.epochs
    )
    assert ours["rmse"] == pytest.approx(rmse, abs=0.01)
    assert ours["top_100_accuracy"] == pytest.approx(top_100, abs=0.005)


@pytest.mark.parametrize(
    "changed",
    [{"epochs": 3}, {"learning_rate": 0.03}, {"learning_rate_schedule": "linear"}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_trial_with_its_own_setting_is_trained_as_by_a_trainer_of_that_setting(
    make_config, data, changed
):
    whole, own = make_config(), make_config(**changed)
    one = Trainer(whole, data).train(WEIGHTS, 3, training=own.training)
    other = Trainer(own, data).train(WEIGHTS, 3)
    assert one.metrics == other.metrics
    assert len(one.history) == own.training.epochs
    assert compiled(whole.training) == compiled(own.training)


def test_what_is_built_into_the_graph_tells_two_trainings_apart(make_config):
    for changed in ({"batch_size": 32}, {"temperature": 2.0}, {"l2": 0.1}, {"optimizer": "adam"}):
        assert compiled(make_config(**changed).training) != compiled(make_config().training)


def test_a_hopeless_trial_stops_at_the_rung_and_never_after_the_last_epoch(make_config, data):
    config = make_config(epochs=4)
    trainer = Trainer(config, data)
    unbeatable = np.array([[0.0, -1.0]] * STARTUP)
    for rung, pruned in ((2, True), (4, False)):
        halving = Halving(config.objectives, 3, {rung: unbeatable})
        result = trainer.train(WEIGHTS, 3, halving=halving)
        assert (len(result.history), result.pruned) == (rung, pruned)
        assert result.metrics == result.history[-1].metrics


def test_a_trial_whose_time_is_over_is_stopped_and_says_where(make_config, data):
    ticks = itertools.count()
    trainer = Trainer(make_config(epochs=3), data, clock=lambda: next(ticks))
    assert data.fixed is not None
    first_epoch = 1 + len(data.fixed) + 2  # its start, its batches, the ends of both its halves
    with pytest.raises(TrainingError, match=r"did not end within \d+ s .* stopped in epoch 2"):
        trainer.train(WEIGHTS, 0, seconds=first_epoch + 1)
    assert len(trainer.train(WEIGHTS, 0).history) == 3
