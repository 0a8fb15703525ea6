"""The deduplicated retrieval loss is TFRS's own, in value and in gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from hypothesis import given, settings
from hypothesis import strategies as st

import sweep.recommender.model
from small_data import make_data
from sweep.config import ModelConfig, TrainingConfig
from sweep.data.batches import Batch, Rows, deduplicate
from sweep.recommender.model import BatchTensors, build_model, initialize
from sweep.recommender.tasks import DeduplicatedRetrieval

DIMENSION = 8


def tables(seed: int, scale: float) -> tuple[tf.Variable, tf.Variable]:
    rng = np.random.default_rng(seed)
    return tuple(
        tf.Variable(rng.normal(scale=scale, size=(n, DIMENSION)).astype(np.float32))
        for n in (40, 30)
    )


def plain(
    rows: Rows,
    queries: tf.Variable,
    candidates: tf.Variable,
    temperature: float | None = None,
    probability: np.ndarray | None = None,
) -> tuple[float, list]:
    with tf.GradientTape() as tape:
        loss = tfrs.tasks.Retrieval(temperature=temperature)(
            tf.gather(queries, rows.query_ids),
            tf.gather(candidates, rows.candidate_ids),
            candidate_sampling_probability=(
                None if probability is None else probability[rows.candidate_ids]
            ),
        )
    return float(loss), dense(tape.gradient(loss, [queries, candidates]))


def deduplicated(
    batch: Batch,
    queries: tf.Variable,
    candidates: tf.Variable,
    reduction: str = "sum",
    temperature: float = 1.0,
    probability: np.ndarray | None = None,
    l2: float = 0.0,
    scores_at_once: int | None = None,
) -> tuple[float, list]:
    with tf.GradientTape() as tape:
        q = tf.gather(queries, batch.query_ids)
        c = tf.gather(candidates, batch.candidate_ids)
        positive = tf.reduce_sum(
            tf.gather(q, batch.query_index) * tf.gather(c, batch.candidate_index), axis=1
        )
        loss = DeduplicatedRetrieval(reduction, temperature, l2, scores_at_once)(
            q,
            c,
            positive_scores=positive,
            query_counts=batch.query_counts,
            candidate_counts=batch.candidate_counts,
            log_sampling_probability=(
                None if probability is None else np.log(probability[batch.candidate_ids])
            ),
        )
    return float(loss), dense(tape.gradient(loss, [queries, candidates]))


def dense(gradients: list) -> list[np.ndarray]:
    return [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def assert_same(ours: tuple[float, list], theirs: tuple[float, list]) -> None:
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    for our, their in zip(ours[1], theirs[1], strict=True):
        # Relative to the gradient's own size: single entries may cancel to almost nothing.
        assert np.abs(our - their).max() <= 1e-5 * np.abs(their).max()


def random_rows(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows(
        rng.integers(0, 40, n).astype(np.int32),
        rng.integers(0, 30, n).astype(np.int32),
        np.ones(n, np.float32),
    )


# Some scores at a time: of one query, of a few, of all; the last chunk is often a smaller one.
AT_ONCE = st.sampled_from([None, 1, 100, 300, 10_000])


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 400),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.05, 1.0, 3.0]),
    at_once=AT_ONCE,
)
def test_loss_and_gradients_equal_tfrs_on_batches_of_any_size(n, seed, scale, at_once):
    rows = random_rows(n, seed)
    pair = tables(seed, scale)
    assert_same(deduplicated(deduplicate(rows), *pair, scores_at_once=at_once), plain(rows, *pair))


@pytest.mark.parametrize("at_once", [1, 100, 300, 10_000])
def test_all_terms_together_are_the_same_in_chunks(at_once):
    batch = deduplicate(random_rows(250, seed=8))
    probability = np.random.default_rng(8).dirichlet(np.ones(30)).astype(np.float32)
    pair = tables(2, 1.0)
    whole, chunked = (
        deduplicated(batch, *pair, "mean", 0.3, probability, 0.02, scores)
        for scores in (None, at_once)
    )
    assert_same(chunked, whole)


def test_chunks_of_a_graph_with_unknown_sizes_equal_tfrs():
    queries, candidates = tables(3, 1.0)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int32)] * 2)
    def step(query_ids, candidate_ids):
        with tf.GradientTape() as tape:
            q, c = tf.gather(queries, query_ids), tf.gather(candidates, candidate_ids)
            ones = tf.ones_like(query_ids, tf.float32)
            loss = 3 * DeduplicatedRetrieval(scores_at_once=100)(
                q, c, tf.reduce_sum(q * c, axis=1), ones, ones
            )
        return loss, tape.gradient(loss, [queries, candidates])

    for n in (1, 7, 30):
        # Each id once, so that the rows are the distinct ones.
        rows = Rows(np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32)[::-1], np.ones(n))
        loss, gradients = step(rows.query_ids, rows.candidate_ids)
        expected, by = plain(rows, queries, candidates)
        assert_same(
            (float(loss), dense(gradients)), (3 * expected, [3 * gradient for gradient in by])
        )


def test_repeated_pairs_count_as_often_as_they_occur():
    once = random_rows(20, seed=3)
    rows = Rows(
        *(np.tile(column, 5) for column in (once.query_ids, once.candidate_ids, once.labels))
    )
    pair = tables(0, 1.0)
    assert_same(deduplicated(deduplicate(rows), *pair), plain(rows, *pair))


@pytest.mark.parametrize("at_once", [None, 100])
def test_padding_changes_neither_loss_nor_gradients_even_where_its_scores_are_huge(at_once):
    rows = random_rows(100, seed=4)
    batch = deduplicate(rows)
    queries, candidates = tables(0, 1.0)
    # Candidate 29 stands in for padding: real batches below never use it, and it scores above 88
    # more than the rest, where float32 exponentials overflow.
    rows = Rows(rows.query_ids, np.minimum(rows.candidate_ids, 28), rows.labels)
    batch = deduplicate(rows)
    candidates[29].assign(tf.fill([DIMENSION], 200.0))
    padded = Batch(
        query_ids=np.r_[batch.query_ids, np.zeros(7, np.int32)],
        query_counts=np.r_[batch.query_counts, np.zeros(7, np.float32)],
        query_index=batch.query_index,
        candidate_ids=np.r_[batch.candidate_ids, np.full(5, 29, np.int32)],
        candidate_counts=np.r_[batch.candidate_counts, np.zeros(5, np.float32)],
        candidate_index=batch.candidate_index,
        labels=batch.labels,
    )
    assert_same(
        deduplicated(padded, queries, candidates, scores_at_once=at_once),
        plain(rows, queries, candidates),
    )


def test_mean_reduction_divides_loss_and_gradients_by_the_rows_of_the_batch():
    rows = random_rows(100, seed=5)
    pair = tables(0, 1.0)
    loss, gradients = plain(rows, *pair)
    assert_same(
        deduplicated(deduplicate(rows), *pair, reduction="mean"),
        (loss / 100, [gradient / 100 for gradient in gradients]),
    )


@pytest.mark.parametrize("at_once", [None, 100])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_temperature_and_sampling_correction_equal_tfrs(temperature, at_once):
    rows = random_rows(200, seed=6)
    probability = np.random.default_rng(6).dirichlet(np.ones(30)).astype(np.float32)
    pair = tables(1, 1.0)
    assert_same(
        deduplicated(
            deduplicate(rows),
            *pair,
            temperature=temperature,
            probability=probability,
            scores_at_once=at_once,
        ),
        plain(rows, *pair, temperature, probability),
    )


def test_a_model_takes_chunks_only_where_a_batch_may_have_more_scores(monkeypatch):
    data, training = make_data(), TrainingConfig(batch_size=64)
    batch = BatchTensors(*(tf.constant(getattr(data.fixed[0], n)) for n in BatchTensors._fields))
    found, chunked = [], []
    # Batches of 64 have up to 40 distinct queries and all 30 candidates.
    for limit in (40 * 30, 40 * 30 - 1):
        monkeypatch.setattr(sweep.recommender.model, "SCORES_AT_ONCE", limit)
        model = build_model(ModelConfig(embedding_dimension=8, history=True), training, data)
        initialize(model, 3)
        with tf.GradientTape() as tape:
            losses = model.task_losses(batch)
        variables = [model.query_model.embeddings, model.candidate_model.embeddings]
        found.append((float(losses.retrieval), dense(tape.gradient(losses.retrieval, variables))))
        chunked.append(model.retrieval_task._scores_at_once is not None)
    assert chunked == [False, True]
    assert_same(*found)


def test_two_rows_by_hand():
    # Both rows have query [1]; candidates score 0 and log 3, so the softmax is 1/4 and 3/4.
    loss = DeduplicatedRetrieval()(
        tf.constant([[1.0]]),
        tf.constant([[0.0], [np.log(3.0)]], tf.float32),
        positive_scores=tf.constant([0.0, np.log(3.0)], tf.float32),
        query_counts=tf.constant([2.0]),
        candidate_counts=tf.constant([1.0, 1.0]),
    )
    assert float(loss) == pytest.approx(-np.log(1 / 4) - np.log(3 / 4), rel=1e-6)


def test_it_is_a_tfrs_task():
    assert isinstance(DeduplicatedRetrieval(), tfrs.tasks.Task)
