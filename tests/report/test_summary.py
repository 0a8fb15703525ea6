from __future__ import annotations

import pytest

from builders import MOVIELENS_100K, OBJECTIVES, make_record, make_trial, reference_trials
from sweep.errors import SweepError
from sweep.report.summary import counts_text, headline, protocol, summarise

FRONT = [
    make_trial(0, 1.00, 0.10),
    make_trial(1, 1.10, 0.28, weights=(0.2, 0.09)),
    make_trial(2, 1.40, 0.30),
    make_trial(3, 1.50, 0.20),
    make_trial(4, state="failed", reason="rmse is not a number"),
]


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


def test_the_protocol_tells_rows_and_that_the_search_sees_the_test_rows() -> None:
    text = protocol(make_record(FRONT))
    assert "trained on 80,000 rows, scored on 20,000 test rows" in text
    assert "The search sees the test rows, as in the tutorial" in text
    assert "as in the tutorial" not in protocol(make_record(FRONT, split={"method": "random"}))
    assert "size was not recorded" in protocol(make_record(FRONT, summary=None))


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
