"""The SavedModel: raw ids in, both tasks out, and plain TensorFlow is enough to read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from small_data import N_CANDIDATES, make_data, make_interactions
from sweep.config import ModelConfig, TrainingConfig
from sweep.errors import ExportError
from sweep.recommender.model import MultiTaskModel, Side, build_model, initialize
from sweep.recommender.serving import Recommender, load_recommender, write_saved_model

DATA = make_data()


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    model = build_model(
        ModelConfig(
            embedding_dimension=8,
            rating_layers=(16,),
            biases=True,
            dot_product=True,
            clip_ratings=True,
        ),
        TrainingConfig(),
        DATA,
    )
    initialize(model, seed=0)
    rng = np.random.default_rng(0)
    for tower in (
        model.query_model,
        model.candidate_model,
        model.query_bias,
        model.candidate_bias,
    ):
        tower.embeddings.assign(rng.normal(size=tower.embeddings.shape).astype(np.float32))
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model"
    write_saved_model(Recommender(model, make_interactions(), DATA), path, {"sweep.json": "{}"})
    return path


def scores_of(model: MultiTaskModel, query: int) -> np.ndarray:
    return model.candidate_model.embeddings.numpy() @ model.query_model.embeddings.numpy()[query]


def test_rating_equals_the_models_own(model, folder):
    expected = model.predict_ratings(
        model.query_side(np.array([7])), model.candidate_side(np.array([11]))
    )
    rating = load_recommender(folder).rating("007", "Amélie 11, the (2001)")
    assert rating == pytest.approx(float(expected[0]), rel=1e-6)


def test_recommendations_are_the_best_unseen_candidates_in_order(model, folder):
    seen = set(DATA.train.candidate_ids[DATA.train.query_ids == 3])
    assert seen
    best = [i for i in np.argsort(-scores_of(model, 3)) if i not in seen]
    recommended = load_recommender(folder).recommend("003", top=5)
    assert [int(one.candidate[7:9]) for one in recommended] == best[:5]
    assert [one.score for one in recommended] == pytest.approx(
        scores_of(model, 3)[best[:5]].tolist(), rel=1e-5
    )


def test_a_list_ends_where_unseen_candidates_run_out(folder):
    seen = set(DATA.train.candidate_ids[DATA.train.query_ids == 3])
    recommended = load_recommender(folder).recommend("003", top=N_CANDIDATES)
    assert len(recommended) == N_CANDIDATES - len(seen)


def test_places_beyond_the_unseen_candidates_are_blank_in_the_signature(folder):
    unseen = N_CANDIDATES - len(set(DATA.train.candidate_ids[DATA.train.query_ids == 3]))
    recommend = tf.saved_model.load(str(folder)).signatures["recommend"]
    answer = recommend(query=tf.constant(["003"]))
    texts = answer["candidate"].numpy()[0].tolist()
    assert texts[unseen:] == [b""] * (N_CANDIDATES - unseen)
    assert b"" not in texts[:unseen]


def test_seen_candidates_are_recommended_when_asked_for(model, folder):
    recommended = load_recommender(folder).recommend("003", top=N_CANDIDATES, seen=True)
    order = [int(one.candidate[7:9]) for one in recommended]
    assert order == np.argsort(-scores_of(model, 3)).tolist()


def test_unknown_ids_are_errors_that_name_the_nearest(folder):
    recommender = load_recommender(folder)
    with pytest.raises(ExportError, match=r"query '00' is not among the 40 .*nearest: '0"):
        recommender.recommend("00", top=3)
    with pytest.raises(ExportError, match="candidate 'Amelie 11' is not among the 30"):
        recommender.rating("007", "Amelie 11")
    with pytest.raises(ExportError, match="1 to 30"):
        recommender.recommend("007", top=31)


def test_plain_tensorflow_answers_without_sweep_or_tfrs(model, folder):
    code = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("sweep", "tensorflow_recommenders", "tf_keras"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
rate, recommend = model.signatures["rate"], model.signatures["recommend"]
title = tf.constant(["Amélie 11, the (2001)"])
best = recommend(query=tf.constant(["003", "007"]))["candidate"].numpy()
print(json.dumps({
    "rating": rate(query=tf.constant(["007"]), candidate=title)["rating"].numpy().tolist(),
    "unknown": rate(query=tf.constant(["nobody"]), candidate=title)["rating"].numpy().tolist(),
    "top": [row[0].decode() for row in best],
}))
"""
    plain = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    answer = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=plain,
    )
    found = json.loads(answer.stdout)
    recommender = load_recommender(folder)
    assert found["rating"] == [recommender.rating("007", "Amélie 11, the (2001)")]
    assert found["top"] == [recommender.recommend(q, 1)[0].candidate for q in ("003", "007")]
    # An unknown query is rated as the mean query.
    mean = Side(
        model.query_model.embeddings.numpy().mean(axis=0, keepdims=True),
        model.query_bias.embeddings.numpy().mean(axis=0),
    )
    expected = model.predict_ratings(mean, model.candidate_side(np.array([11])))
    assert found["unknown"] == pytest.approx([float(expected[0])], rel=1e-5)


def test_a_model_is_never_written_over_something_else(model, folder):
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(ExportError, match="exists already"):
        write_saved_model(Recommender(model, make_interactions(), DATA), folder, {})
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_without_a_model_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(ExportError, match=r"no saved_model\.pb.*sweep export"):
        load_recommender(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ExportError, match="not a model that sweep has written"):
        load_recommender(tmp_path)


def test_a_query_that_has_seen_everything_gets_an_empty_list(model, tmp_path):
    rows = replace(
        DATA.train,
        query_ids=np.full(N_CANDIDATES, 5, np.int32),
        candidate_ids=np.arange(N_CANDIDATES, dtype=np.int32),
        labels=np.ones(N_CANDIDATES, np.float32),
    )
    data = replace(DATA, train=rows)
    write_saved_model(Recommender(model, make_interactions(), data), tmp_path / "model", {})
    assert load_recommender(tmp_path / "model").recommend("005", top=3) == []
