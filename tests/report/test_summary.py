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
    whole_record,
)
from sweep.config import load_study
from sweep.errors import SweepError
from sweep.front.uncertainty import Estimate
from sweep.report.summary import (
    AtEdge,
    counts_text,
    ease_note,
    edge_text,
    protocol,
    summarise,
)
from sweep.results import LossWeights

FRONT = [*small_study(), make_trial(4, state="failed", reason="rmse is not a number")]


def test_the_convergence_is_the_share_of_the_box_between_the_two_points() -> None:
    convergence = summarise(make_record(FRONT)).convergence
    assert convergence.reference_point == (2.25, 0.0)  # RMSE 2 × 1.125
    assert convergence.ideal_point == (0.0, 1.0)
    # The figures are worked out by hand; the box has the size 2.25 × 1.
    volumes = [0.125, 0.332, 0.349, 0.349]
    assert convergence.history.tolist() == pytest.approx([v / 2.25 for v in volumes])
    assert convergence.converged is None
    assert convergence.sentence == (
        "4 complete or pruned trials cannot tell whether the search had converged: that takes more "
        "than 10."
    )


@pytest.mark.parametrize(("min_delta", "converged"), [(0.0001, False), (0.2, True)])
def test_a_search_has_converged_if_its_last_trials_gained_too_little(
    min_delta: float, converged: bool
) -> None:
    budget = {"trials": 5, "patience": 3, "min_delta": min_delta}
    trials = [*small_study(), make_trial(4, 3.0, 0.01, state="pruned")]
    convergence = summarise(make_record(trials, budget=budget)).convergence
    # A pruned trial is one of the last three; of the complete ones, two came before these.
    assert convergence.trials == 3
    assert convergence.gain == pytest.approx((0.349 - 0.332) / 2.25)
    assert convergence.converged is converged
    assert "had converged" in convergence.sentence or "had not converged" in convergence.sentence
    assert ("not" in convergence.sentence) is not converged


def test_with_replicates_means_decide_and_trials_without_are_no_contenders() -> None:
    lucky = make_trial(0, 0.90, 0.30)
    ahead = make_trial(1, 1.00, 0.20, replicates=[(0.94, 0.22), (0.96, 0.24)])
    behind = make_trial(2, 0.93, 0.25, replicates=[(0.97, 0.20), (0.99, 0.20)])
    summary = summarise(make_record([lucky, ahead, behind]))
    assert [trial.number for trial in summary.contenders] == [1, 2]
    assert [trial.number for trial in summary.front] == [1]
    assert summary.on_front.tolist() == [False, True, False]
    assert summary.value(ahead) == pytest.approx((0.95, 0.23))
    assert summary.values.tolist() == [[0.90, 0.30], [1.00, 0.20], [0.93, 0.25]]
    assert summary.estimates[0]["rmse"] == Estimate(0.90, None, 1)
    # Student's t with 1 degree of freedom: 6.3138 · 0.01.
    found = summary.estimates[1]["rmse"]
    assert (found.mean, found.n) == (pytest.approx(0.95), 2)
    assert found.half_width == pytest.approx(0.063138, rel=1e-4)


def test_probabilities_are_those_of_the_replicated_trials_and_repeat() -> None:
    record = whole_record()
    summary = summarise(record)
    assert summary.probability.keys() == {0, 1, 2, 3, 4, 5, 7}
    assert summary.probability[3] > 0.9 > 0.1 > summary.probability[2]
    # Trial 4 is behind trial 3, but by less than the seeds scatter.
    assert summary.robust == {3, 4, 5, 7}
    assert 0.01 < summary.probability[4] < 0.9
    assert summarise(record).probability == summary.probability
    alone = summarise(make_record(FRONT))
    assert alone.probability == {}
    assert alone.robust == frozenset()


def test_the_final_score_is_that_of_the_knee() -> None:
    record = whole_record()
    assert summarise(record).knee.trial.number == 3
    assert summarise(record).final == record.finals[0]
    other = replace(record.finals[0], trial=5)
    assert summarise(replace(record, finals=(other,))).final is None


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
        {"training": {"reshuffle": False, "retrieval_reduction": "sum", "epochs": [3]}},
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
    assert [(at.variable, at.bound, at.limit) for at in found] == expected
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


@pytest.mark.parametrize(("ratio", "expected"), [(99.0, [("ratio", "high", 100.0)]), (10.0, [])])
def test_ratio_and_scale_have_edges_of_their_own(ratio: float, expected: list) -> None:
    space = {
        "ratio": {"low": 0.01, "high": 100.0, "log": True},
        "scale": {"low": 0.1, "high": 1000.0, "log": True},
    }
    weights = LossWeights.from_ratio(ratio, 10.0)
    trials = [make_trial(0, 0.9, 0.3, weights=weights), make_trial(1, 0.8, 0.2, weights=(1, 0))]
    found = summarise(make_record(trials, search_space=space)).at_edge
    assert [(at.variable, at.bound, at.limit) for at in found] == expected


def test_other_keys_have_edges_but_choices_and_what_is_fixed_have_none() -> None:
    weight = {"low": 0.01, "high": 100.0, "log": True}
    tables = {
        "search_space": {"rating_weight": 100.0, "retrieval_weight": weight},
        "training": {
            "epochs": {"low": 5, "high": 20, "log": False},
            "batch_size": [512, 1024],
        },
    }
    settings = {"training.epochs": 20, "training.batch_size": 1024}
    trial = make_trial(0, weights=(100.0, 1.0), settings=settings)
    (found,) = summarise(make_record([trial], **tables)).at_edge
    assert found == AtEdge(0, "training.epochs", 20, "high", 20)
    assert "Trial 0 (training.epochs 20 of at most 20) is at the edge" in edge_text([found])


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
    assert "keeps the tutorial's protocol, in which the search sees the test rows" in text
    other = protocol(make_record(FRONT, split={"method": "random"}))
    assert "The search sees the test rows" in other
    assert "split at random; trained" in other
    assert "tutorial" not in other
    assert "size was not recorded" in protocol(make_record(FRONT, summary=None))


def test_with_validation_rows_the_protocol_says_that_the_test_rows_are_untouched() -> None:
    data = replace(MOVIELENS_100K, train=70_000, validation=10_000)
    split = {"method": "tutorial", "validation_fraction": 0.1}
    text = protocol(make_record(FRONT, summary=data, split=split))
    assert "trained on 70,000 rows, scored on 10,000 validation rows" in text
    assert "It never looks at the 20,000 test rows" in text
    assert "sees the test rows" not in text


def test_the_protocol_names_a_split_by_time_or_by_column() -> None:
    data = replace(MOVIELENS_100K, train=70_000, validation=10_000)
    time = {"method": "time", "test_fraction": 0.2, "validation_fraction": 0.1}
    text = protocol(make_record(FRONT, summary=data, split=time))
    assert "split by time (the last rows of each query are held out); trained" in text
    dataset = {
        "name": "rows.csv", "query": "u", "candidate": "m", "label": "r", "split": "fold"
    }  # fmt: skip
    column = make_record(FRONT, summary=data, split={"method": "column"}, dataset=dataset)
    assert "split by its column 'fold'; trained" in protocol(column)


def test_ease_is_excused_only_in_accuracies_over_all_candidates() -> None:
    record = whole_record()
    assert ease_note(record, ["rmse", "top_100_accuracy"]) == (
        "EASE puts first what a query already has, which lowers its top-100 accuracy (over all "
        "candidates); the unseen accuracies leave that out."
    )
    assert ease_note(record, ["rmse", "unseen_top_100_accuracy"]) == ""
    assert ease_note(make_record(FRONT), ["rmse", "top_100_accuracy"]) == ""


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
        summarise(make_record([make_trial(0, weights=None)]))
