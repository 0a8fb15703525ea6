"""The baselines against dense linear algebra, and their order on planted and on real data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from small_data import N_CANDIDATES, N_QUERIES, make_data, make_rows
from sweep import baselines as module
from sweep.baselines import baselines, fit_biases, fit_ease
from sweep.config import METRICS, SplitConfig, SyntheticConfig, TrainingConfig
from sweep.data.batches import Rows, TrainingData, load_training_data
from sweep.data.datasets import synthetic
from sweep.results import Baseline


def by_name(data: TrainingData) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in baselines(data)}


def make_rows_of(triples: list[tuple[int, int, float]]) -> Rows:
    queries, candidates, labels = zip(*triples, strict=True)
    return Rows(
        np.array(queries, np.int32), np.array(candidates, np.int32), np.array(labels, np.float32)
    )


def test_each_metric_is_given_by_the_two_baselines_that_can_be_scored_on_it() -> None:
    found = by_name(make_data())
    assert list(found) == ["global mean", "user and item bias", "popularity", "EASE"]
    ratings = {name for name in METRICS if name.endswith("rmse")}
    for name in ("global mean", "user and item bias"):
        assert found[name].metrics.keys() == ratings
    for name in ("popularity", "EASE"):
        assert found[name].metrics.keys() == METRICS.keys() - ratings


def test_the_global_mean_is_that_of_the_training_labels() -> None:
    data = replace(
        make_data(),
        train=make_rows_of([(0, 0, 1), (0, 1, 2), (1, 0, 6)]),
        held_out=make_rows_of([(0, 0, 5), (1, 0, 2), (1, 1, 3)]),
    )
    metrics = by_name(data)["global mean"].metrics
    assert metrics["rmse"] == pytest.approx(((4 + 1 + 0) / 3) ** 0.5)
    assert metrics["per_user_rmse"] == pytest.approx((2 + 0.5**0.5) / 2)


@pytest.mark.parametrize("penalty", [0.5, 4.0])
def test_biases_solve_the_normal_equations(penalty: float) -> None:
    rows = make_rows(200, seed=1)
    design = np.zeros((200, N_QUERIES + N_CANDIDATES))
    design[np.arange(200), rows.query_ids] = 1
    design[np.arange(200), N_QUERIES + rows.candidate_ids] = 1
    mean = rows.labels.astype(np.float64).mean()
    expected = np.linalg.solve(
        design.T @ design + penalty * np.eye(N_QUERIES + N_CANDIDATES),
        design.T @ (rows.labels - mean),
    )
    found_mean, of_queries, of_candidates = fit_biases(rows, N_QUERIES, N_CANDIDATES, penalty)
    assert found_mean == pytest.approx(mean)
    np.testing.assert_allclose(np.r_[of_queries, of_candidates], expected, atol=1e-8)
    unseen = np.setdiff1d(np.arange(N_CANDIDATES), rows.candidate_ids)
    assert len(unseen)
    assert not of_candidates[unseen].any()


def test_biases_are_held_within_the_training_labels() -> None:
    # Query 0 and candidate 0 are far above the mean: together they are past the greatest label.
    loved = [(0, j, 5.0) for j in range(N_CANDIDATES)] + [(i, 0, 5.0) for i in range(1, N_QUERIES)]
    other = [(i, j, 1.0) for i in range(1, N_QUERIES) for j in range(1, N_CANDIDATES)]
    data = replace(
        make_data(), train=make_rows_of(loved + other), held_out=make_rows_of([(0, 0, 5)])
    )
    mean, of_queries, of_candidates = fit_biases(data.train, N_QUERIES, N_CANDIDATES, 4)
    assert mean + of_queries[0] + of_candidates[0] > 6
    assert by_name(data)["user and item bias"].metrics["rmse"] == 0


def constrained_ridge(pairs: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Each column by least squares on all other columns, so that its own weight is 0."""
    size = pairs.shape[1]
    weights = np.zeros((size, size))
    for j in range(size):
        others = np.arange(size) != j
        design = np.vstack([pairs[:, others], np.sqrt(penalty) * np.eye(size - 1)])
        target = np.r_[pairs[:, j], np.zeros(size - 1)]
        weights[others, j] = np.linalg.lstsq(design, target, rcond=None)[0]
    return weights


@pytest.mark.parametrize("penalty", [0.5, 300.0])
def test_ease_solves_the_constrained_ridge_problem_for_each_candidate(penalty: float) -> None:
    rows = make_rows(200, seed=1)
    pairs = np.zeros((N_QUERIES, N_CANDIDATES))
    pairs[rows.query_ids, rows.candidate_ids] = 1
    assert pairs.sum() < 200  # some pairs occur twice
    np.testing.assert_allclose(
        fit_ease(rows, N_QUERIES, N_CANDIDATES, penalty),
        constrained_ridge(pairs, penalty),
        atol=1e-10,
    )


def test_ease_does_not_look_at_labels() -> None:
    data = make_data()
    changed = replace(data, train=replace(data.train, labels=data.train.labels[::-1]))
    assert by_name(data)["EASE"] == by_name(changed)["EASE"]


def lists_of_five(data: TrainingData, name: str, query: int) -> list[int]:
    """The candidates that one query finds among its best five of all."""
    hits = []
    for candidate in range(data.n_candidates):
        asked = replace(data, held_out=make_rows_of([(query, candidate, 1)]))
        if by_name(asked)[name].metrics["top_5_accuracy"]:
            hits.append(candidate)
    return hits


def small(train: list[tuple[int, int, float]]) -> TrainingData:
    rows = make_rows_of(train)
    return replace(
        make_data(),
        n_queries=4,
        n_candidates=9,
        catalogue=np.arange(9, dtype=np.int32),
        train=rows,
        held_out=rows,
    )


COUNTS = [(i, j, 1.0) for j, times in enumerate([3, 0, 2, 0, 3, 1, 0, 0, 0]) for i in range(times)]


def test_a_list_of_five_by_popularity_holds_five_even_where_counts_tie() -> None:
    # Five candidates have no rows; one of them is needed.
    assert lists_of_five(small(COUNTS), "popularity", query=0) == [0, 2, 4, 5, 8]


def test_ease_recommends_what_is_popular_to_a_query_without_training_rows() -> None:
    data = small(COUNTS)
    assert 3 not in data.train.query_ids
    assert lists_of_five(data, "EASE", query=3) == [0, 2, 4, 5, 8]


def test_ease_is_left_out_with_a_word_where_the_catalogue_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EASE_LIMIT", N_CANDIDATES - 1)
    ease = by_name(make_data())["EASE"]
    assert ease.metrics == {}
    assert "30 × 30 candidates; the limit is 29" in ease.note
    monkeypatch.setattr(module, "EASE_LIMIT", N_CANDIDATES)
    assert by_name(make_data())["EASE"].metrics


def test_baselines_are_the_same_every_time() -> None:
    assert baselines(make_data()) == baselines(make_data())


def test_on_planted_data_more_knowledge_scores_better(tmp_path) -> None:
    interactions = synthetic(SyntheticConfig()).interactions
    data = load_training_data(interactions, SplitConfig(), 0, TrainingConfig(), 0, tmp_path, print)
    found = by_name(data)
    assert found["user and item bias"].metrics["rmse"] < found["global mean"].metrics["rmse"]
    k = "unseen_top_10_accuracy"
    assert found["EASE"].metrics[k] > found["popularity"].metrics[k] > 10 / 200


@pytest.mark.movielens
def test_on_movielens_the_baselines_reach_what_is_known_of_them(movielens_data) -> None:
    """Known of another 80/20 split: Surprise's bias model, counting, and EASE at λ = 300."""
    found = by_name(movielens_data[1])
    assert found["global mean"].metrics["rmse"] == pytest.approx(1.13, abs=0.01)
    assert found["user and item bias"].metrics["rmse"] == pytest.approx(0.943, abs=0.01)
    popularity, ease = found["popularity"].metrics, found["EASE"].metrics
    assert popularity["top_100_accuracy"] == pytest.approx(0.298, abs=0.01)
    assert popularity["unseen_top_100_accuracy"] == pytest.approx(0.413, abs=0.01)
    assert ease["unseen_top_100_accuracy"] == pytest.approx(0.622, abs=0.01)
