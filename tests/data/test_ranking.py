"""RMSE and top-k accuracy, over rows and over queries, against counting one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from small_data import N_CANDIDATES, N_QUERIES, make_data
from sweep.data import ranking
from sweep.data.batches import Floats, Ints, Rows, TrainingData
from sweep.data.ranking import Ranking, rating_errors

KS = (1, 5, 10)


def scores_with_ties() -> Floats:
    return np.random.default_rng(0).integers(0, 8, (N_QUERIES, N_CANDIDATES)).astype(np.float32)


def accuracies(data: TrainingData, scores: Floats, ks: tuple[int, ...] = KS) -> dict[str, float]:
    return Ranking(data, ks).accuracies(lambda queries: scores[queries])


def counted(data: TrainingData, scores: Floats) -> dict[str, float]:
    """Row by row and query by query, as `sweep.config.METRICS` says it."""
    seen = set(zip(data.train.query_ids.tolist(), data.train.candidate_ids.tolist(), strict=True))
    hits: dict[tuple[str, int], dict[int, list[bool]]] = {}
    rows = zip(data.held_out.query_ids.tolist(), data.held_out.candidate_ids.tolist(), strict=True)
    for query, candidate in rows:
        for among in ("", "unseen_"):
            better = sum(
                scores[query, other] > scores[query, candidate]
                for other in data.catalogue.tolist()
                if not (among and (query, other) in seen)
            )
            for k in KS:
                hits.setdefault((among, k), {}).setdefault(query, []).append(better < k)
    results = {}
    for (among, k), by_query in hits.items():
        results[f"{among}top_{k}_accuracy"] = np.mean(np.concatenate([*by_query.values()]))
        results[f"per_user_{among}top_{k}_accuracy"] = np.mean(
            [np.mean(own) for own in by_query.values()]
        )
    return results


def test_accuracies_are_what_counting_gives_with_ties_and_copies_in_the_catalogue() -> None:
    data, scores = make_data(), scores_with_ties()
    assert len(data.catalogue) > N_CANDIDATES
    measured = accuracies(data, scores)
    assert measured == pytest.approx(counted(data, scores))
    assert measured["top_5_accuracy"] != pytest.approx(measured["per_user_top_5_accuracy"])


def test_each_query_counts_alike_however_many_rows_it_has() -> None:
    held_out = Rows(
        np.array([0, 1, 0, 0], np.int32), np.array([0, 0, 1, 2], np.int32), np.ones(4, np.float32)
    )
    scores = np.zeros((N_QUERIES, N_CANDIDATES), np.float32)
    scores[0, [0, 5]] = 2, 1  # of query 0, candidate 0 is first and the others are behind 5
    scores[1, 0] = 1
    data = replace(
        make_data(), held_out=held_out, catalogue=np.arange(N_CANDIDATES, dtype=np.int32)
    )
    measured = accuracies(data, scores, (1, N_CANDIDATES))
    assert measured["top_1_accuracy"] == 2 / 4
    assert measured["per_user_top_1_accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert measured[f"per_user_top_{N_CANDIDATES}_accuracy"] == pytest.approx(1)


def test_scoring_a_few_queries_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data, scores = make_data(), scores_with_ties()
    whole = accuracies(data, scores)
    asked: list[Ints] = []

    def score(queries: Ints) -> Floats:
        asked.append(queries)
        return scores[queries]

    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 3 * len(data.catalogue))
    assert Ranking(data, KS).accuracies(score) == pytest.approx(whole)
    assert max(map(len, asked)) == 3
    assert np.concatenate(asked).tolist() == sorted(set(data.held_out.query_ids.tolist()))


def test_a_few_queries_at_a_time_are_right_where_most_candidates_have_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, scores = make_data(), scores_with_ties()
    catalogue = np.sort(np.tile(np.arange(1, N_CANDIDATES), 3)[:-5]).astype(np.int32)
    data = replace(data, catalogue=np.r_[np.int32(0), catalogue].astype(np.int32))
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 7 * len(data.catalogue))
    assert accuracies(data, scores) == pytest.approx(counted(data, scores))


def test_scores_are_read_and_left_as_they_were() -> None:
    scores = scores_with_ties()
    before = scores.copy()
    Ranking(make_data(), KS).accuracies(lambda queries: scores[: len(queries)])
    assert np.array_equal(scores, before)


def test_rating_errors_by_hand() -> None:
    rows = Rows(
        np.array([4, 2, 4, 4], np.int32), np.zeros(4, np.int32), np.array([1, 2, 3, 4], np.float32)
    )
    errors = rating_errors(rows, np.array([2, 5, 3, 6], np.float32))
    # The errors of query 4 are 1, 0 and 2, that of query 2 is 3.
    assert errors["rmse"] == pytest.approx((14 / 4) ** 0.5)
    assert errors["per_user_rmse"] == pytest.approx(((5 / 3) ** 0.5 + 3) / 2)
