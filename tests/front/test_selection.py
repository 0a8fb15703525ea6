from __future__ import annotations

import pytest

from builders import OBJECTIVES, make_record, make_trial, small_study
from sweep.config import Objective
from sweep.errors import SelectionError
from sweep.front import Choice, choose, parse_rule
from sweep.front.selection import Best, Bound, Knee, Numbered, metric_label
from sweep.results import Trial

TRIALS = [
    *small_study(),
    make_trial(4, state="failed", reason="rmse is not a number"),
    make_trial(5, state="running"),
]


def pick(text: str, trials: list[Trial] = TRIALS) -> Choice:
    return choose(make_record(trials), text)


def refusal(text: str, trials: list[Trial] = TRIALS) -> str:
    with pytest.raises(SelectionError) as error:
        pick(text, trials)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "rule", "canonical"),
    [
        ("knee", Knee(), "knee"),
        (" Knee ", Knee(), "knee"),
        ("min:rmse", Best("rmse"), "min:rmse"),
        ("max : top_5_accuracy", Best("top_5_accuracy"), "max:top_5_accuracy"),
        ("trial:17", Numbered(17), "trial:17"),
        ("rmse<=1.1", Bound("rmse", "<=", 1.1), "rmse<=1.1"),
        ("RMSE  <  1.10", Bound("rmse", "<", 1.1), "rmse<1.1"),
        (
            "top_100_accuracy >= 3e-1",
            Bound("top_100_accuracy", ">=", 0.3),
            "top_100_accuracy>=0.3",
        ),
        (
            "unseen_top_1_accuracy>0",
            Bound("unseen_top_1_accuracy", ">", 0),
            "unseen_top_1_accuracy>0",
        ),
    ],
)
def test_a_rule_is_read_and_written_back(text: str, rule: object, canonical: str) -> None:
    assert parse_rule(text, OBJECTIVES) == rule
    assert str(rule) == canonical
    assert parse_rule(canonical, OBJECTIVES) == rule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not understood; allowed: knee, min:rmse, max:top_100_accuracy, trial:17"),
        ("kne", "did you mean 'knee'?"),
        ("best", "is not understood"),
        ("rmse=1.1", 'such as "rmse<=1.1"'),
        ("rmse", "is not understood"),
        ("min:rsme", "did you mean 'rmse'?"),
        ("max:top_100_acuracy", "did you mean 'top_100_accuracy'?"),
        ("min:", "'' is not a recorded metric"),
        ("min:top_100_accuracy", "use max:top_100_accuracy"),
        ("max:rmse", "better when lower, so this would pick the worst trial; use min:rmse"),
        ("trial:", "'' is not the number of a trial"),
        ("trial:-1", "'-1' is not the number"),
        ("trial:1.5", "'1.5' is not the number"),
        ("trial:²", "is not the number"),
        ("rmse<=", "'' is not a finite number; write for example rmse<=1.1"),
        ("rmse<=nan", "'nan' is not a finite number"),
        ("rmse<inf", "'inf' is not a finite number"),
        ("rmse<=one", "'one' is not a finite number"),
        ("<=1", "'' is not a recorded metric"),
        ("accuracy>=0.3", "'accuracy' is not a recorded metric; allowed: rmse, top_1_accuracy"),
        ("1<rmse<2", "is not understood"),
    ],
)
def test_a_wrong_rule_says_what_is_allowed(text: str, expected: str) -> None:
    message = refusal(text)
    assert expected in message
    assert repr(text) in message
    assert "\n" not in message


def test_the_knee_is_furthest_from_the_line_between_the_ends() -> None:
    choice = pick("knee")
    assert choice.trial.number == 1
    assert choice.rule == Knee()
    assert choice.reason == (
        "Trial 1 (rating weight 0.2, retrieval weight 0.09) is the knee of the front of 3: "
        "RMSE 1.1 (0.1 above the best, trial 0) and top-100 accuracy 0.28 "
        "(0.02 below the best, trial 2)."
    )


def test_the_knee_does_not_depend_on_the_units_of_an_objective() -> None:
    scaled = [
        make_trial(t.number, 1e-3 * t.result.metrics["rmse"], t.result.metrics["top_100_accuracy"])
        for t in TRIALS[:4]
        if t.result
    ]
    assert pick("knee", scaled).trial.number == 1


def test_a_member_beyond_the_reference_point_does_not_move_the_knee() -> None:
    # RMSE counts up to 2 × 1.125. With trial 6 as an end, RMSE 1.0 … 1.4 shrinks to a tenth of the
    # scaled axis, and accuracy decides alone: trial 1 is at (0.03, 0.11), trial 2 at (0.11, 0.01).
    far = make_trial(6, 4.8, 0.302)
    choice = pick("knee", [*TRIALS, far])
    assert choice.trial.number == 1
    assert (
        "is the knee of the front of 4 (1 beyond the reference point left out): " in choice.reason
    )
    wide = (OBJECTIVES[0].model_copy(update={"reference": 4.8}), OBJECTIVES[1])
    within = choose(make_record([*TRIALS, far], objectives=wide), "knee")
    assert within.trial.number == 2
    assert "is the knee of the front of 4: " in within.reason


def test_where_every_member_is_beyond_the_reference_point_all_count() -> None:
    strict = (OBJECTIVES[0].model_copy(update={"reference": 0.9}), OBJECTIVES[1])
    choice = choose(make_record(TRIALS, objectives=strict), "knee")
    assert choice.trial.number == 1
    assert "is the knee of the front of 3: " in choice.reason


def test_a_single_member_within_the_reference_point_is_the_knee() -> None:
    strict = (OBJECTIVES[0], OBJECTIVES[1].model_copy(update={"reference": 0.29}))
    choice = choose(make_record(TRIALS, objectives=strict), "knee")
    assert choice.trial.number == 2
    assert (
        "is the best in both objectives (2 beyond the reference point left out): RMSE 1.4 "
        "(0.4 above the best, trial 0)" in choice.reason
    )


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        ([(1.0, 0.3)], 0, "is the best in both objectives: RMSE 1 (the best)"),
        ([(1.2, 0.2), (1.0, 0.3)], 1, "is the best in both objectives"),
        ([(1.0, 0.3)] * 3, 0, "as 2 more on the front"),
        ([(1.2, 0.3), (1.0, 0.2)], 1, "best RMSE of a front of 2 that has no knee"),
        ([(1.2, 0.3), (1.0, 0.1), (1.1, 0.2)], 1, "no knee between its ends"),  # straight
        ([(1.2, 0.3), (1.0, 0.1), (1.15, 0.15)], 1, "no knee between its ends"),  # hollow
        ([(1.2, 0.3), (1.0, 0.1), (1.05, 0.29), (1.05, 0.29)], 2, "knee of the front of 4"),
    ],
)
def test_small_straight_hollow_and_repeated_fronts_have_a_defined_knee(
    values: list[tuple[float, float]], expected: int, said: str
) -> None:
    choice = pick("knee", [make_trial(i, *pair) for i, pair in enumerate(values)])
    assert choice.trial.number == expected
    assert said in choice.reason


def test_the_best_in_one_metric() -> None:
    choice = pick("min:rmse")
    assert choice.trial.number == 0
    assert choice.reason == (
        "Trial 0 (rating weight 1, retrieval weight 1) has the lowest RMSE of 4 complete trials, "
        "1, with top-100 accuracy 0.1 (0.2 below the best, trial 2)."
    )
    assert pick("max:top_100_accuracy").trial.number == 2


def test_the_best_in_a_metric_that_is_no_objective_tells_both_objectives() -> None:
    trials = [*TRIALS, make_trial(6, 1.6, 0.05, metrics={"unseen_top_10_accuracy": 0.9})]
    choice = pick("max:unseen_top_10_accuracy", trials)
    assert choice.trial.number == 6
    assert "highest unseen top-10 accuracy of 5 complete trials, 0.9" in choice.reason
    assert "RMSE 1.6" in choice.reason
    assert "top-100 accuracy 0.05" in choice.reason


def test_ties_go_to_the_other_objective_and_then_to_the_lower_number() -> None:
    tied = [make_trial(i, *pair) for i, pair in enumerate([(1, 0.1), (1, 0.2), (1, 0.2), (2, 0.2)])]
    assert pick("min:rmse", tied).trial.number == 1
    assert pick("max:top_100_accuracy", tied).trial.number == 1
    assert pick("rmse<=5", tied).trial.number == 1
    assert pick("knee", tied).trial.number == 1


def test_a_trial_by_its_number() -> None:
    assert "it is on the front of 3" in pick("trial:1").reason
    dominated = pick("trial:3")
    assert dominated.trial.number == 3
    assert "not on the front, trial 1 is better: RMSE 1.5 (0.5 above" in dominated.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trial:17", "there is no such trial; complete trials are 0, 1, 2, 3"),
        ("trial:4", "that trial is failed (rmse is not a number); complete trials are 0, 1, 2, 3"),
        ("trial:5", "that trial is running; complete trials are 0, 1, 2, 3"),
    ],
)
def test_a_trial_that_is_not_complete_cannot_be_chosen(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_a_bound_on_an_objective_gives_the_best_in_the_other() -> None:
    choice = pick("rmse<=1.4")
    assert choice.trial.number == 2
    assert choice.reason == (
        "Trial 2 (rating weight 1, retrieval weight 1) has the best top-100 accuracy among the 3 "
        "of 4 complete trials with RMSE <= 1.4: top-100 accuracy 0.3 (the best) and RMSE 1.4 "
        "(0.4 above the best, trial 0)."
    )
    assert pick("rmse<1.4").trial.number == 1
    assert pick("top_100_accuracy>=0.2").trial.number == 1
    assert pick("top_100_accuracy>0.28").trial.number == 2


def test_a_bound_on_another_metric_gives_the_knee_of_the_trials_within_it() -> None:
    trials = [
        make_trial(0, 1.0, 0.10, metrics={"top_1_accuracy": 0.02}),
        make_trial(1, 1.1, 0.28, metrics={"top_1_accuracy": 0.01}),  # the knee of all
        make_trial(2, 1.2, 0.26, metrics={"top_1_accuracy": 0.02}),
        make_trial(3, 1.4, 0.30, metrics={"top_1_accuracy": 0.03}),
    ]
    assert pick("knee", trials).trial.number == 1
    choice = pick("top_1_accuracy>=0.02", trials)
    assert choice.trial.number == 2
    assert "among the 3 of 4 complete trials with top-1 accuracy >= 0.02" in choice.reason
    assert choice.reason.endswith("; top-1 accuracy 0.02.")


def test_a_bound_that_nothing_satisfies_tells_the_closest_value() -> None:
    message = refusal("rmse<=0.9")
    assert "no complete trial satisfies it" in message
    assert "closest is trial 0 with rmse = 1" in message
    assert "closest is trial 2 with top_100_accuracy = 0.3" in refusal("top_100_accuracy>0.3")


@pytest.mark.parametrize("text", ["knee", "min:rmse", "trial:0", "rmse<=1.1"])
def test_a_study_without_complete_trials_has_nothing_to_choose_from(text: str) -> None:
    assert "no complete trial to choose from (0 in other states)" in refusal(text, [])
    assert "(1 in other states)" in refusal(text, [make_trial(0, state="failed")])


def test_a_metric_that_a_trial_lacks_is_a_clear_error() -> None:
    trial = make_trial(7)
    assert trial.result is not None
    del trial.result.metrics["top_1_accuracy"]  # type: ignore[attr-defined]
    assert "trial 7 did not record top_1_accuracy" in refusal("max:top_1_accuracy", [trial])


def test_examples_name_the_objectives_of_the_study() -> None:
    objectives = (
        Objective(metric="top_5_accuracy", direction="maximize"),
        Objective(metric="rmse", direction="minimize"),
    )
    with pytest.raises(
        SelectionError, match=r'max:top_5_accuracy, min:rmse, .*"top_5_accuracy>=0.3"'
    ):
        parse_rule("?", objectives)
    # With the objectives exchanged the ends change places, so the hollow front's answer does too.
    hollow = [make_trial(0, 1.2, 0.3), make_trial(1, 1.0, 0.1)]
    assert choose(make_record(hollow, objectives=objectives), "knee").trial.number == 0


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("rmse", "RMSE"),
        ("top_100_accuracy", "top-100 accuracy"),
        ("unseen_top_5_accuracy", "unseen top-5 accuracy"),
    ],
)
def test_metrics_have_names_for_people(metric: str, label: str) -> None:
    assert metric_label(metric) == label
