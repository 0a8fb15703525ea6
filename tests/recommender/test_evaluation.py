"""RMSE and top-k accuracy, against Keras, TFRS and counting by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from small_data import make_data
from sweep.config import METRICS, ModelConfig, TrainingConfig
from sweep.data import ranking
from sweep.data.batches import Rows
from sweep.recommender import evaluation
from sweep.recommender.evaluation import Evaluator
from sweep.recommender.model import build_model, initialize

KS = (1, 5, 10, 20)


@pytest.fixture
def model():
    model = build_model(
        ModelConfig(embedding_dimension=8, rating_layers=(16,)), TrainingConfig(), make_data()
    )
    initialize(model, seed=0)
    # Small whole numbers make every score exact in float32, and many of them tie.
    rng = np.random.default_rng(0)
    for tower in (model.query_model, model.candidate_model):
        tower.embeddings.assign(rng.integers(-2, 3, tower.embeddings.shape).astype(np.float32))
    return model


def tfrs_top_k(model, data) -> list[float]:
    corpus = tf.data.Dataset.from_tensor_slices(data.catalogue).batch(7).map(model.candidate_model)
    metric = tfrs.metrics.FactorizedTopK(candidates=corpus, ks=KS)
    metric.update_state(
        model.query_model(data.held_out.query_ids),
        model.candidate_model(data.held_out.candidate_ids),
    )
    return [float(value) for value in metric.result()]


def test_top_k_equals_tfrs_with_ties_and_with_copies_in_the_catalogue(model, data):
    assert len(data.catalogue) > data.n_candidates
    measured = Evaluator(model, data, KS).evaluate()
    assert [measured[f"top_{k}_accuracy"] for k in KS] == pytest.approx(tfrs_top_k(model, data))


def test_copies_in_the_catalogue_matter(model, data):
    single = replace(data, catalogue=np.arange(30, dtype=np.int32))
    copied = Evaluator(model, data, KS).evaluate()
    alone = Evaluator(model, single, KS).evaluate()
    assert copied["top_5_accuracy"] < alone["top_5_accuracy"]


def test_unseen_accuracy_leaves_out_training_pairs_but_never_the_positive_itself(model, data):
    scores = model.query_model.embeddings.numpy() @ model.candidate_model.embeddings.numpy().T
    seen = set(zip(data.train.query_ids, data.train.candidate_ids, strict=True))
    hits = dict.fromkeys(KS, 0)
    for query, candidate in zip(data.held_out.query_ids, data.held_out.candidate_ids, strict=True):
        better = sum(
            scores[query, other] > scores[query, candidate]
            for other in data.catalogue
            if (query, other) not in seen
        )
        for k in KS:
            hits[k] += better < k
    measured = Evaluator(model, data, KS).evaluate()
    for k in KS:
        assert measured[f"unseen_top_{k}_accuracy"] == pytest.approx(hits[k] / 50)
    assert measured["unseen_top_5_accuracy"] > measured["top_5_accuracy"]


def test_scoring_a_few_queries_and_rows_at_a_time_changes_nothing(model, data, monkeypatch):
    whole = Evaluator(model, data, KS).evaluate()
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 3 * len(data.catalogue))
    monkeypatch.setattr(evaluation, "ROWS_AT_ONCE", 7)
    assert Evaluator(model, data, KS).evaluate() == pytest.approx(whole, rel=1e-6)


def test_every_metric_is_measured(model, data):
    assert Evaluator(model, data).evaluate().keys() == METRICS.keys()


def test_a_list_longer_than_the_catalogue_always_hits(model, data):
    measured = Evaluator(model, data, (5, 100)).evaluate()
    assert measured["top_100_accuracy"] == measured["unseen_top_100_accuracy"] == 1.0


def test_rmse_equals_keras(model, data):
    predictions = model.predict_ratings(
        model.query_side(data.held_out.query_ids), model.candidate_side(data.held_out.candidate_ids)
    )
    metric = tf.keras.metrics.RootMeanSquaredError()
    metric.update_state(data.held_out.labels, predictions)
    assert Evaluator(model, data).evaluate()["rmse"] == pytest.approx(
        float(metric.result()), rel=1e-6
    )


def test_evaluation_follows_the_model_without_tracing_again(model, data):
    evaluator = Evaluator(model, data)
    before = evaluator.evaluate()
    initialize(model, seed=1)
    after = evaluator.evaluate()
    assert before["rmse"] != after["rmse"]
    assert evaluator.evaluate() == after


def test_a_test_set_of_one_row_is_scored(model, data):
    one = Rows(
        *(
            column[:1]
            for column in (
                data.held_out.query_ids,
                data.held_out.candidate_ids,
                data.held_out.labels,
            )
        )
    )
    measured = Evaluator(model, replace(data, held_out=one), KS).evaluate()
    assert measured["top_20_accuracy"] in (0.0, 1.0)
