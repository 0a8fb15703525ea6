from __future__ import annotations

from dataclasses import replace

import pytest

from builders import (
    BASELINES,
    OBJECTIVES,
    make_record,
    make_trial,
    reference_trials,
    replicated,
    small_study,
    tutorial_trials,
    whole_record,
)
from sweep.front.uncertainty import Estimate
from sweep.report.answer import (
    Verdict,
    certainty,
    comparisons,
    final_gaps,
    final_sentence,
    gain_verdict,
    headline,
    margin_sentence,
    specialists_sentence,
)
from sweep.report.summary import summarise


def test_the_headline_is_the_weights_the_settings_and_what_they_reach() -> None:
    assert headline(summarise(make_record(small_study()))) == (
        "Rating weight 0.2 and retrieval weight 0.09: RMSE 1.1000 with top-100 accuracy 0.2800."
    )
    pair = [(0.94, 0.22), (0.96, 0.24)]
    trial = make_trial(1, replicates=pair, settings={"training.epochs": 12})
    assert headline(summarise(make_record([trial]))) == (
        "Rating weight 1, retrieval weight 1 and training.epochs 12: "
        "RMSE 0.9500 ± 0.0631 with top-100 accuracy 0.2300 ± 0.0631."
    )


@pytest.mark.parametrize(
    ("gain", "objective", "expected"),
    [
        (Estimate(-0.02, 0.01, 5), 0, "better"),
        (Estimate(0.02, 0.01, 5), 0, "worse"),
        (Estimate(0.02, 0.01, 5), 1, "better"),
        (Estimate(-0.02, 0.01, 5), 1, "worse"),
        (Estimate(-0.02, 0.02, 5), 0, "no clear difference"),
        (Estimate(-0.02, None, 1), 0, "one training each"),
    ],
)
def test_a_gain_speaks_for_one_side_only_if_its_interval_leaves_out_0(
    gain: Estimate, objective: int, expected: Verdict
) -> None:
    assert gain_verdict(gain, OBJECTIVES[objective]) == expected


def test_the_chosen_trial_is_held_against_every_reference_and_baseline() -> None:
    found = {one.name: one for one in comparisons(summarise(whole_record()))}
    assert list(found) == [
        "rating only",
        "retrieval only",
        "equal weights",
        *(baseline.name for baseline in BASELINES),
    ]
    bias = found["user and item bias"]
    assert bias.values == (Estimate(0.943, None, 1), None)
    gain, none = bias.gains
    own = summarise(whole_record()).estimates[3]["rmse"]
    assert gain == Estimate(own.mean - 0.943, own.half_width, 5)
    assert none is None
    assert bias.verdicts == ("better", None)


def test_a_baseline_that_was_left_out_is_not_compared_with() -> None:
    left_out = replace(BASELINES[3], metrics={}, note="Left out: too many candidates.")
    record = replace(whole_record(), baselines=(left_out,))
    assert "EASE" not in [one.name for one in comparisons(summarise(record))]


def test_the_specialists_are_beaten_only_if_each_is_at_its_own_task() -> None:
    def sentence(rmse: float, accuracy: float) -> str:
        joint = make_trial(3, rmse, accuracy, weights=(2, 3))
        trials = replicated([*reference_trials(), joint], range(4), noise=0.002)
        return specialists_sentence(summarise(make_record(trials)))

    assert sentence(1.05, 0.30).startswith("This one joint model beats both specialists at once: ")
    assert sentence(1.05, 0.22).startswith("It does not beat both specialists at once: ")
    assert "against retrieval only (worse)" in sentence(1.05, 0.22)
    assert sentence(1.05, 0.2347).startswith("It is not shown to beat both specialists at once: ")


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (Estimate(-0.002, 0.0025, 5), "Its top-5 accuracy is no worse within a margin of 0.005 "
         "(90 % interval −0.0045 … +0.0005, seed by seed)."),
        (Estimate(-0.004, 0.002, 5), "That its top-5 accuracy is no worse within a margin of 0.005 "
         "is not shown (90 % interval −0.0060 … −0.0020, seed by seed)."),
        (Estimate(-0.008, 0.002, 5), "Its top-5 accuracy is worse by more than a margin of 0.005 "
         "(90 % interval −0.0100 … −0.0060, seed by seed)."),
    ],
)  # fmt: skip
def test_no_worse_needs_the_whole_interval_within_the_margin(gain: Estimate, expected: str) -> None:
    assert margin_sentence(gain, "top_5_accuracy") == expected


def test_the_margin_is_told_only_where_the_accuracy_is_not_better() -> None:
    def sentence(accuracy: float) -> str:
        joint = make_trial(3, 1.05, accuracy, weights=(2, 3))
        trials = replicated([*reference_trials(), joint], range(4), noise=0.002)
        return specialists_sentence(summarise(make_record(trials)))

    assert "margin" not in sentence(0.30)
    assert "no worse within a margin of 0.005 (90 %" in sentence(0.2347)
    assert "worse by more than a margin of 0.005" in sentence(0.22)


def test_single_trainings_are_called_that() -> None:
    sentence = specialists_sentence(summarise(make_record(tutorial_trials())))
    assert sentence.startswith("Against the specialists, by one training of each: RMSE −0.0")


def test_a_specialist_at_the_knee_is_no_joint_model() -> None:
    specialist = make_trial(0, 0.9, 0.4, weights=(1, 0), reference="rating only")
    sentence = specialists_sentence(summarise(make_record([specialist, make_trial(1, 1.0, 0.3)])))
    assert sentence.startswith("The chosen model has one loss only")
    space = {"rating_weight": {"low": 0.01, "high": 100.0, "log": True}, "retrieval_weight": 0}
    alone = specialists_sentence(summarise(make_record([specialist], search_space=space)))
    assert alone == "This study trains with one loss only, so it has no joint model."


def test_certainty_tells_probability_seeds_and_convergence() -> None:
    front, *_, convergence = certainty(summarise(whole_record()))
    assert "truly on the front of the 7 replicated trials, and no other beats it" in front
    assert "means of 5 trainings with fresh seeds" in front
    assert convergence == summarise(whole_record()).convergence.sentence


def test_the_runner_up_is_told_apart_only_where_the_seeds_do() -> None:
    def sentence(behind: tuple[float, float]) -> str:
        scores = [(0.912 + 0.001 * i, 0.448 - 0.002 * i) for i in range(3)]
        other = [(a + behind[0] + 1e-4 * i, b + behind[1] + 1e-4 * i) for i, (a, b) in
                 enumerate(scores)]  # fmt: skip
        trials = [make_trial(0, replicates=scores), make_trial(1, replicates=other)]
        summary = summarise(make_record(trials))
        assert summary.knee.trial is trials[0]
        choice = replace(summary.knee, runner_up=trials[1])
        return certainty(replace(summary, knee=choice))[1]

    assert sentence((0.02, -0.02)).endswith("they can be told apart in both objectives.")
    assert sentence((0.02, -1e-4)).endswith("they can be told apart in RMSE only.")
    near = [make_trial(0, 0.9, 0.4), make_trial(1, 0.95, 0.3)]
    summary = summarise(make_record(near))
    once = certainty(replace(summary, knee=replace(summary.knee, runner_up=near[1])))[1]
    assert once == (
        "The runner-up is trial 1 (RMSE −0.0500, top-100 accuracy +0.1000 against it): by one "
        "training of each they cannot be told apart."
    )


def test_without_replicates_the_reader_is_told_how_to_get_them() -> None:
    first, *_ = certainty(summarise(make_record(small_study())))
    assert "judged by one training only" in first
    assert "launch the study again to train the replicates" in first
    none_asked = make_record(small_study(), budget={"trials": 4, "replicates": 0})
    assert (
        "budget.replicates in the study file asks for more" in certainty(summarise(none_asked))[0]
    )


def test_an_edge_of_the_search_space_is_a_doubt() -> None:
    trials = [make_trial(39, 1.0, 0.3, weights=(98, 0.4))]
    assert certainty(summarise(make_record(trials)))[-1] == (
        "Trial 39 (rating weight 98 of at most 100) is at the edge of the search space: "
        "a wider range may do better."
    )


def test_the_test_figures_come_with_their_gap_to_validation() -> None:
    record = whole_record()
    summary = summarise(record)
    assert "reaches RMSE 0.9070 ± 0.0015 with top-100 accuracy" in final_sentence(summary)
    rmse, _ = final_gaps(summary)
    assert rmse is not None
    assert rmse.mean == pytest.approx(0.907 - summary.estimates[3]["rmse"].mean)
    assert rmse.n == 5


def test_without_test_figures_the_command_that_gives_them_is_named() -> None:
    summary = summarise(replace(whole_record(), finals=()))
    assert final_sentence(summary).endswith("sweep export whole --pick knee --output best.json")
    assert final_gaps(summary) == (None, None)
    tutorial = final_sentence(summarise(make_record(small_study())))
    assert "test rows themselves, which the search has seen" in tutorial
