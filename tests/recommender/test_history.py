"""Queries that are retrieved by what they have, checked against loops over the training rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from small_data import make_data, make_interactions
from sweep.config import ModelConfig, TrainingConfig
from sweep.data.batches import TrainingData, deduplicate
from sweep.recommender.evaluation import Evaluator
from sweep.recommender.model import BatchTensors, History, MultiTaskModel, build_model, initialize
from sweep.recommender.serving import Recommender
from sweep.recommender.tasks import DeduplicatedRetrieval

TRAINING = TrainingConfig(batch_size=64)


@pytest.fixture
def data() -> TrainingData:
    """Training rows with a pair that occurs twice."""
    made = make_data()
    rows = replace(
        made.train,
        query_ids=np.append(made.train.query_ids, made.train.query_ids[:1]),
        candidate_ids=np.append(made.train.candidate_ids, made.train.candidate_ids[:1]),
        labels=np.append(made.train.labels, made.train.labels[:1]),
    )
    return replace(made, train=rows)


def built(data: TrainingData, *, history: bool = True) -> MultiTaskModel:
    config = ModelConfig(embedding_dimension=4, rating_layers=(8,), history=history)
    model = build_model(config, TRAINING, data)
    initialize(model, 3)
    return model


def by_loop(
    model: MultiTaskModel, data: TrainingData, query: int, left_out: list[int]
) -> np.ndarray:
    """A query's retrieval embedding; `left_out` are the training rows that do not count."""
    table = model.candidate_model.embeddings.numpy()
    has = [
        candidate
        for row, (other, candidate) in enumerate(
            zip(data.train.query_ids, data.train.candidate_ids, strict=True)
        )
        if other == query and row not in left_out
    ]
    own = model.query_model.embeddings.numpy()[query]
    return own + sum(table[candidate] for candidate in has) / np.sqrt(max(len(has), 1))


def test_a_query_is_its_embedding_and_the_scaled_sum_of_what_it_has(data: TrainingData) -> None:
    model = built(data)
    found = model.retrieval_queries(tf.range(data.n_queries)).numpy()
    expected = [by_loop(model, data, query, []) for query in range(data.n_queries)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_in_training_the_rows_of_the_batch_are_left_out(data: TrainingData) -> None:
    model = built(data)
    rows = [0, 1, 2, 5, 8, 13, len(data.train) - 1]  # the first and the last are one pair
    batch = deduplicate(
        type(data.train)(
            data.train.query_ids[rows], data.train.candidate_ids[rows], data.train.labels[rows]
        )
    )
    tensors = BatchTensors(*(tf.constant(getattr(batch, name)) for name in BatchTensors._fields))
    found = model.retrieval_queries(tensors.query_ids, tensors).numpy()
    expected = [by_loop(model, data, query, rows) for query in batch.query_ids]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_table_of_all_pairs_and_rows_of_varying_length_give_the_same(data: TrainingData) -> None:
    candidates = tf.Variable(tf.random.stateless_normal([data.n_candidates, 3], seed=(1, 2)))
    ids = tf.constant([4, 0, 2])
    found = []
    for dense in (True, False):
        history = History(data, dense)
        with tf.GradientTape() as tape:
            sums = history.sums(ids, candidates)
            loss = tf.reduce_sum(sums * tf.reshape(tf.range(9.0), (3, 3)))
        found.append((sums.numpy(), tape.gradient(loss, candidates).numpy()))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)


def test_the_rating_does_not_see_the_history(data: TrainingData) -> None:
    ids = tf.constant([0, 1, 2])
    ratings = []
    for history in (True, False):
        model = built(data, history=history)
        ratings.append(
            model.predict_ratings(model.query_side(ids), model.candidate_side(ids)).numpy()
        )
    np.testing.assert_array_equal(*ratings)


def test_a_list_of_the_exported_model_is_scored_as_in_evaluation(data: TrainingData) -> None:
    interactions, model = make_interactions(), built(data)
    recommender = Recommender(model, interactions, data)
    lists = recommender.recommend_all(tf.constant(interactions.queries[:5].astype(str)))
    scores = Evaluator(model, data)._score_all(tf.range(5)).numpy()
    best = -np.sort(-scores, axis=1)[:, : lists["score"].shape[1]]
    np.testing.assert_allclose(lists["score"].numpy(), best, atol=1e-5)


def test_l2_adds_the_squared_length_of_both_embeddings_of_every_row() -> None:
    queries = tf.constant([[3.0, 4.0], [1.0, 0.0]])  # squared lengths 25 and 1
    candidates = tf.constant([[0.0, 2.0], [1.0, 1.0]])  # 4 and 2
    counts = tf.constant([2.0, 1.0]), tf.constant([1.0, 2.0])

    def loss(l2: float, reduction: str) -> float:
        task = DeduplicatedRetrieval(reduction, l2=l2)
        return float(task(queries, candidates, tf.zeros(3), *counts))

    added = 0.1 * (2 * 25 + 1 * 1 + 1 * 4 + 2 * 2)
    assert loss(0.1, "sum") - loss(0.0, "sum") == pytest.approx(added, rel=1e-5)
    assert loss(0.1, "mean") - loss(0.0, "mean") == pytest.approx(added / 3, rel=1e-5)
