from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builders import (
    MOVIELENS_100K,
    OBJECTIVES,
    make_config,
    make_record,
    make_trial,
    reference_trials,
    small_study,
)
from sweep.config import load_study
from sweep.errors import SweepError
from sweep.report.summary import AtEdge, counts_text, edge_text, headline, protocol, summarise

FRONT = [*small_study(), make_trial(4, state="failed", reason="rmse is not a number")]


def test_the_headline_says_how_large_the_front_is_its_bests_and_the_knee() -> None:
    assert headline(summarise(make_record(FRONT))) == (
        "The front of 4 trained models has 3 members: the best RMSE 1 (trial 0) and the best "
        "top-100 accuracy 0.3 (trial 2).",
        "The knee is trial 1 with rating weight 0.2 and retrieval weight 0.09: RMSE 1.1 with "
        "top-100 accuracy 0.28.",
    )


def test_a_single_model_is_called_that() -> None:
    first, _ = headline(summarise(make_record([make_trial(0, 1.1, 0.2)])))
    assert first.startswith("One model has been trained so far: the best RMSE 1.1 (trial 0)")


def test_the_hypervolume_is_measured_from_the_records_reference_point() -> None:
    summary = summarise(make_record(FRONT))
    # The box ends at RMSE 2 × 1.125 and accuracy 0; the figures are worked out by hand.
    expected = 0.10 * (2.25 - 1.0) + 0.18 * (2.25 - 1.1) + 0.02 * (2.25 - 1.4)
    assert summary.hypervolume == pytest.approx(expected)
    assert summary.history.tolist() == pytest.approx([0.125, 0.332, expected, expected])


def test_values_stay_as_measured_whatever_the_order_of_the_objectives() -> None:
    summary = summarise(make_record(FRONT, objectives=OBJECTIVES[::-1]))
    assert summary.value(FRONT[1]) == (0.28, 1.1)
    assert [trial.number for trial in summary.front] == [2, 1, 0]
    assert summary.on_front.tolist() == [True, True, True, False]


def test_references_are_found_by_name() -> None:
    summary = summarise(make_record(reference_trials()))
    assert {name: trial.number for name, trial in summary.references.items()} == {
        "rating only": 0,
        "retrieval only": 1,
        "equal weights": 2,
    }


def test_published_points_are_there_only_where_they_compare() -> None:
    assert summarise(make_record(FRONT)).published["rating only"] == (1.113, 0.06)
    swapped = summarise(make_record(FRONT, objectives=OBJECTIVES[::-1]))
    assert swapped.published["rating only"] == (0.06, 1.113)
    other_data = make_record(FRONT, dataset={"name": "movielens/1m"}, summary=MOVIELENS_100K)
    assert summarise(other_data).published == {}
    unseen = OBJECTIVES[1].model_copy(update={"metric": "unseen_top_100_accuracy"})
    assert summarise(make_record(FRONT, objectives=(OBJECTIVES[0], unseen))).published == {}


@pytest.mark.parametrize(
    "tables",
    [
        {"dataset": {"name": "movielens/100k", "candidate": "movie_id"}},
        {"split": {"method": "random"}},
        {"split": {"method": "tutorial", "test_fraction": 0.1}},
        {"seeds": {"split": 1}},
        {"model": {"embedding_dimension": 64}},
        {"model": {"rating_layers": [64]}},
        {"training": {}},
        *(
            {"training": {"reshuffle": False, "retrieval_reduction": "sum", **change}}
            for change in (
                {"epochs": 4},
                {"batch_size": 4096},
                {"optimizer": "adam"},
                {"learning_rate": 0.05},
                {"reshuffle": True},
                {"retrieval_reduction": "mean"},
            )
        ),
    ],
    ids=str,
)
def test_published_points_are_left_out_under_another_protocol(tables: dict) -> None:
    assert summarise(make_record(FRONT, **tables)).published == {}


def test_the_tutorials_columns_may_be_named() -> None:
    columns = {"query": "user_id", "candidate": "movie_title", "label": "user_rating"}
    record = make_record(FRONT, dataset={"name": "movielens/100k", **columns})
    assert len(summarise(record).published) == 3


def test_the_tutorials_study_file_is_the_tutorials_protocol() -> None:
    tutorial = load_study(Path(__file__).parents[2] / "studies" / "tutorial.toml")
    record = replace(make_record(FRONT), config=tutorial)
    assert len(summarise(record).published) == 3


def log_place(place: float) -> float:
    """The weight at that fraction of the search space, 0.01 … 100."""
    return 10 ** (4 * place - 2)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((log_place(0.981), 1.0), [("rating_weight", "high", 100.0)]),
        ((log_place(0.979), 1.0), []),
        ((100.0, 1.0), [("rating_weight", "high", 100.0)]),
        ((1.0, log_place(0.019)), [("retrieval_weight", "low", 0.01)]),
        ((1.0, log_place(0.021)), []),
        ((0.01, 100), [("rating_weight", "low", 0.01), ("retrieval_weight", "high", 100.0)]),
        ((1.0, 0.0), []),  # 0 is outside every search space, not at its edge
        ((0.0, 1.0), []),
        ((1000.0, 1.0), []),
    ],
)
def test_a_member_of_the_front_within_two_percent_of_a_bound_is_at_the_edge(
    weights: tuple[float, float], expected: list
) -> None:
    found = summarise(make_record([make_trial(7, weights=weights)])).at_edge
    assert [(at.weight, at.bound, at.limit) for at in found] == expected
    assert {at.trial for at in found} <= {7}


@pytest.mark.parametrize(("value", "at_edge"), [(99.0, True), (97.9, False), (3.1, False)])
def test_a_linear_range_is_measured_linearly(value: float, at_edge: bool) -> None:
    linear = {"low": 1.0, "high": 100.0, "log": False}
    log = make_config().search_space.retrieval_weight.model_dump()
    space = {"rating_weight": linear, "retrieval_weight": log}
    record = make_record([make_trial(0, weights=(value, 1.0))], search_space=space)
    assert bool(summarise(record).at_edge) is at_edge


def test_a_dominated_trial_at_the_edge_is_not_mentioned() -> None:
    trials = [*FRONT, make_trial(5, 1.6, 0.1, weights=(100, 1))]
    assert summarise(make_record(trials)).at_edge == ()


def test_the_headline_says_that_the_knee_is_at_the_edge() -> None:
    trials = [make_trial(39, 1.0, 0.3, weights=(98, 0.4))]
    assert headline(summarise(make_record(trials)))[2] == (
        "Trial 39 (rating weight 98 of at most 100) is at the edge of the search space: "
        "a wider range may do better."
    )


def test_several_trials_at_the_edge_are_one_sentence() -> None:
    found = [
        AtEdge(3, "rating_weight", 98.0, "high", 100.0),
        AtEdge(3, "retrieval_weight", 0.0101, "low", 0.01),
        AtEdge(5, "rating_weight", 99.0, "high", 100.0),
        AtEdge(8, "rating_weight", 0.01, "low", 0.01),
    ]
    assert edge_text(found) == (
        "Trials 3 (rating weight 98 of at most 100, retrieval weight 0.0101 of at least 0.01), "
        "5 (rating weight 99 of at most 100) and 8 (rating weight 0.01 of at least 0.01) "
        "are at the edge of the search space: a wider range may do better."
    )
    assert edge_text([]) == ""


def test_the_protocol_tells_rows_and_that_the_search_sees_the_test_rows() -> None:
    text = protocol(make_record(FRONT))
    assert "trained on 80,000 rows, scored on 20,000 test rows" in text
    assert "The search sees the test rows, as in the tutorial" in text
    assert "as in the tutorial" not in protocol(make_record(FRONT, split={"method": "random"}))
    assert "size was not recorded" in protocol(make_record(FRONT, summary=None))


def test_with_validation_rows_the_protocol_says_that_the_test_rows_are_untouched() -> None:
    data = replace(MOVIELENS_100K, train=70_000, validation=10_000)
    split = {"method": "tutorial", "validation_fraction": 0.1}
    text = protocol(make_record(FRONT, summary=data, split=split))
    assert "trained on 70,000 rows, scored on 10,000 validation rows" in text
    assert "The 20,000 test rows are untouched" in text
    assert "sees the test rows" not in text


def test_trials_are_counted_by_state() -> None:
    assert counts_text(make_record(FRONT)) == "4 complete, 1 failed"


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], "(it has no trials)"),
        (
            [make_trial(0, state="failed", reason="rmse is inf"), make_trial(1, state="waiting")],
            "(1 failed, 1 waiting); the first failure: rmse is inf",
        ),
    ],
)
def test_a_study_without_complete_trials_is_a_clear_error(trials: list, expected: str) -> None:
    with pytest.raises(SweepError) as error:
        summarise(make_record(trials))
    assert "study 'tutorial' has no complete trial to report" in str(error.value)
    assert expected in str(error.value)


def test_a_complete_trial_without_weights_is_a_clear_error() -> None:
    with pytest.raises(SweepError, match="trial 0 is complete, but its loss weights are not"):
        headline(summarise(make_record([make_trial(0, weights=None)])))
