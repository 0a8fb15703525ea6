from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from builders import OBJECTIVES, make_record, make_trial, small_study
from sweep.config import Objective
from sweep.errors import SelectionError
from sweep.front import Choice, choose
from sweep.front.rules import Knee
from sweep.front.selection import metric_label
from sweep.results import StudyRecord, Trial

TRIALS = [
    *small_study(),
    make_trial(4, state="failed", reason="rmse is not a number"),
    make_trial(5, state="running"),
]

STEPS = (-0.002, -0.001, 0.0, 0.001, 0.002)
"""Their mean has a 90 % interval of ± 2.132 · 0.00158 / √5 = 0.0015, by a table of Student's t."""


def about(rmse: float, accuracy: float, sign: int = 1) -> list[tuple[float, float]]:
    """Five replicates; those of two trials move together, or against each other with sign -1."""
    return [(rmse + sign * step, accuracy + sign * step) for step in STEPS]


REPLICATED = [
    make_trial(0, 0.8, 0.9),  # a lucky result without replicates is no contender
    make_trial(1, 1.3, 0.1, replicates=about(0.900, 0.500)),
    make_trial(2, 1.3, 0.1, weights=(30.0, 200.0), replicates=about(0.910, 0.600)),
    make_trial(3, 1.3, 0.1, replicates=about(0.912, 0.601, -1)),
    make_trial(4, 1.3, 0.1, replicates=about(0.950, 0.620)),
    make_trial(5, 1.3, 0.1, replicates=about(0.960, 0.610)),
]


def pick(text: str, trials: list[Trial] = TRIALS) -> Choice:
    return choose(make_record(trials), text)


def refusal(text: str, trials: list[Trial] = TRIALS) -> str:
    with pytest.raises(SelectionError) as error:
        pick(text, trials)
    return str(error.value)


def numbers(choice: Choice) -> tuple[int, int | None]:
    return choice.trial.number, choice.runner_up.number if choice.runner_up else None


# Every rule once more, with loops and geometry, on plain tuples.


def brute_metric(trial: Trial, metric: str) -> float:
    if not trial.replicates:
        assert trial.result is not None
        return trial.result.metrics[metric]
    return math.fsum(r.metrics[metric] for r in trial.replicates) / len(trial.replicates)


Point = tuple[float, float]


def brute_dominates(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def brute_order(points: dict[int, Point], scores: dict[int, tuple[float, ...]]) -> list[int]:
    return sorted(scores, key=lambda number: (*scores[number], *points[number], number))


def brute_front(points: dict[int, Point]) -> list[int]:
    return [
        number
        for number, point in points.items()
        if not any(brute_dominates(other, point) for other in points.values())
    ]


def brute_ranking(record: StudyRecord, text: str) -> list[int]:
    """The numbers in the order of a rule, for the objectives RMSE and top-100 accuracy."""
    trials = [trial for trial in record.trials if trial.state == "complete"]
    if any(trial.replicates for trial in trials):
        trials = [trial for trial in trials if trial.replicates]
    kind, _, rest = text.partition(":")
    bound = next((c for c in ("<=", ">=", "<", ">") if c in text), None)
    if bound:
        metric, _, limit = text.partition(bound)
        passes = {"<=": float.__le__, ">=": float.__ge__, "<": float.__lt__, ">": float.__gt__}
        trials = [t for t in trials if passes[bound](brute_metric(t, metric), float(limit))]
    points = {
        t.number: (brute_metric(t, "rmse"), -brute_metric(t, "top_100_accuracy")) for t in trials
    }
    front = brute_front(points)
    if kind in ("min", "max") and rest not in ("rmse", "top_100_accuracy"):
        sign = 1 if kind == "min" else -1
        return brute_order(points, {t.number: (sign * brute_metric(t, rest),) for t in trials})
    if text == "min:rmse" or text.startswith("top_100_accuracy>"):
        return brute_order(points, {number: (points[number][0],) for number in front})
    if text == "max:top_100_accuracy" or text.startswith("rmse<"):
        return brute_order(points, {number: (points[number][1],) for number in front})
    front = [i for i in front if points[i][0] <= 2.25 and points[i][1] <= 0] or front
    low = [min(points[i][axis] for i in front) for axis in (0, 1)]
    high = [max(points[i][axis] for i in front) for axis in (0, 1)]
    width = [high[axis] - low[axis] or 1.0 for axis in (0, 1)]
    scores: dict[int, tuple[float, ...]] = {}
    for i in front:
        x, y = ((points[i][axis] - low[axis]) / width[axis] for axis in (0, 1))
        if kind == "utility":
            given = dict(part.split("=") for part in rest.split(","))
            a, b = (float(given.get(m, 0)) for m in ("rmse", "top_100_accuracy"))
            scores[i] = ((a * x + b * y) / (a + b),)
        elif kind == "reference":
            given = dict(part.split("=") for part in rest.split(","))
            wish = (float(given["rmse"]), -float(given["top_100_accuracy"]))
            short = [(points[i][axis] - wish[axis]) / width[axis] for axis in (0, 1)]
            scores[i] = (max(short), sum(short))
        else:
            # The left end is (0, 1) and the right end (1, 0): distance by the cross product.
            (ax, ay), (bx, by) = (0.0, 1.0), (1.0, 0.0)
            cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            scores[i] = (cross / math.hypot(bx - ax, by - ay),)
    rounded = {i: tuple(round(score, 7) for score in scores[i]) for i in front}
    return brute_order(points, rounded)


def random_record(rng: np.random.Generator) -> StudyRecord:
    """Up to 12 trials, on a coarse grid or not, with duplicates, some or all or none replicated."""
    count = int(rng.integers(1, 13))
    grid = rng.random() < 0.5
    replicated = rng.choice(["none", "some", "all"])

    def score() -> tuple[float, float]:
        if grid:
            return 0.5 + int(rng.integers(0, 6)) * 0.5, int(rng.integers(0, 6)) * 0.125
        if rng.random() < 0.6:  # near a front
            x = rng.random()
            return 0.9 + x + 0.05 * rng.random(), 0.7 - 0.6 * (1 - x) ** 2 - 0.05 * rng.random()
        return rng.uniform(0.5, 3), rng.uniform(0, 0.7)

    trials = []
    for number in range(count):
        if trials and rng.random() < 0.15:
            trials.append(replace(trials[int(rng.integers(len(trials)))], number=number))
            continue
        seeds = int(rng.integers(1, 4)) if replicated != "none" else 0
        if replicated == "some" and rng.random() < 0.4:
            seeds = 0
        trials.append(
            make_trial(
                number,
                *score(),
                epochs=1,
                replicates=[score() for _ in range(seeds)],
                state="failed" if number and rng.random() < 0.1 else "complete",
            )
        )
    return make_record(trials)


def rules_for(record: StudyRecord, rng: np.random.Generator) -> list[str]:
    some = record.contenders[int(rng.integers(len(record.contenders)))]
    grid = bool(rng.random() < 0.5)
    wish = rng.integers(1, 6) * 0.5 if grid else rng.uniform(0.5, 3)
    weights = rng.integers(0, 3, 2) if grid else rng.random(2)
    if not weights.any():
        weights[0] = 1
    return [
        "knee",
        "min:rmse",
        "max:top_100_accuracy",
        "max:unseen_top_10_accuracy",
        f"rmse<={brute_metric(some, 'rmse') + float(rng.choice([0, 0.3]))!r}",
        f"top_100_accuracy>{brute_metric(some, 'top_100_accuracy') - 0.05!r}",
        f"top_1_accuracy>={brute_metric(some, 'top_1_accuracy') - 1e-9!r}",
        f"reference:rmse={float(wish)!r},top_100_accuracy={float(rng.integers(0, 6) * 0.125)!r}",
        f"utility:rmse={float(weights[0])!r},top_100_accuracy={float(weights[1])!r}",
    ]


@pytest.mark.parametrize("seed", range(8))
def test_every_rule_chooses_what_brute_force_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        record = random_record(rng)
        for text in rules_for(record, rng):
            first, second, *_ = [*brute_ranking(record, text), None, None]
            if first is None:
                with pytest.raises(SelectionError, match="satisfies it"):
                    choose(record, text)
                continue
            choice = choose(record, text)
            assert numbers(choice) == (first, second), text
            assert choice.reason.startswith(f"Trial {first} (")
            after = "There is no next best by this rule."
            if second is not None:
                after = f"Next best by this rule is trial {second}"
            assert after in choice.reason


def test_the_knee_is_furthest_from_the_line_between_the_ends() -> None:
    choice = pick("knee")
    assert numbers(choice) == (1, 0)
    assert choice.rule == Knee()
    assert choice.reason == (
        "Trial 1 (rating weight 0.2, retrieval weight 0.09) is the knee of the front of 3: "
        "RMSE 1.1 (0.1 above the best, trial 0) and top-100 accuracy 0.28 "
        "(0.02 below the best, trial 2). Next best by this rule is trial 0: RMSE lower by 0.1 and "
        "top-100 accuracy lower by 0.18. Figures are of one seed."
    )


def test_means_of_replicates_are_judged_and_told_with_their_intervals() -> None:
    choice = pick("knee", REPLICATED)
    assert numbers(choice) == (2, 3)
    assert choice.reason == (
        "Trial 2 (rating weight 30, retrieval weight 200) is the knee of the front of 4: "
        "RMSE 0.9100 ± 0.0015 (0.01 above the best, trial 1) and top-100 accuracy 0.6000 ± 0.0015 "
        "(0.02 below the best, trial 4). Next best by this rule is trial 3: RMSE higher by 0.002 "
        "and top-100 accuracy higher by 0.001; with so few seeds the two cannot be told apart. "
        "Figures are means of 5 seeds, ± their 90 % intervals."
    )


def test_two_trials_whose_seeds_move_together_are_told_apart() -> None:
    near = make_trial(3, replicates=about(0.912, 0.601))
    choice = pick("knee", [*REPLICATED[:3], near, *REPLICATED[4:]])
    assert numbers(choice) == (2, 3)
    assert "top-100 accuracy higher by 0.001. Figures" in choice.reason


def test_a_difference_in_one_objective_tells_two_trials_apart() -> None:
    near = make_trial(3, replicates=about(0.9101, 0.606, -1))
    choice = pick("min:rmse", [REPLICATED[2], near])
    assert numbers(choice) == (2, 3)
    assert "RMSE higher by 0.0001 and top-100 accuracy higher by 0.006. Figures" in choice.reason


def test_one_replicate_is_one_seed_and_tells_nothing_apart() -> None:
    trials = [make_trial(i, replicates=[(1.0 + i, 0.2 + i / 10)]) for i in range(2)]
    reason = pick("knee", trials).reason
    assert "RMSE 1 (the best)" in reason
    assert reason.endswith("top-100 accuracy higher by 0.1. Figures are of one seed.")


def test_what_was_searched_beside_the_weights_is_told() -> None:
    settings = {
        "training.epochs": 12,
        "training.learning_rate": 0.123456,
        "model.biases": True,
        "model.rating_layers": (64, 32),
        "training.optimizer": "adam",
    }
    assert pick("knee", [make_trial(3, settings=settings)]).reason.startswith(
        "Trial 3 (rating weight 1, retrieval weight 1, training.epochs 12, training.learning_rate "
        "0.1235, model.biases yes, model.rating_layers 64-32, training.optimizer adam) is the only "
        "complete trial: RMSE 1 (the best)"
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
        "is the knee of the front of 4 (1 beyond the hypervolume's reference point left out): "
        in choice.reason
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
    assert numbers(choice) == (2, None)
    assert choice.reason == (
        "Trial 2 (rating weight 1, retrieval weight 1) is alone on the front of 3 (2 beyond the "
        "hypervolume's reference point left out): RMSE 1.4 (0.4 above the best, trial 0) and "
        "top-100 accuracy 0.3 (the best). There is no next best by this rule. Figures are of one "
        "seed."
    )


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        ([(1.0, 0.3)], (0, None), "is the only complete trial: RMSE 1 (the best)"),
        ([(1.2, 0.2), (1.0, 0.3)], (1, None), "is the best in both objectives"),
        ([(1.0, 0.3)] * 3, (0, 1), "Next best by this rule is trial 1, with the same figures."),
        ([(1.2, 0.3), (1.0, 0.2)], (1, 0), "best RMSE of a front of 2 that has no knee"),
        # Straight, and hollow: there the other end is as far from the line as the first.
        ([(1.2, 0.3), (1.0, 0.1), (1.1, 0.2)], (1, 2), "no knee between its ends"),
        ([(1.2, 0.3), (1.0, 0.1), (1.15, 0.15)], (1, 0), "no knee between its ends"),
        ([(1.2, 0.3), (1.0, 0.1), (1.05, 0.29), (1.05, 0.29)], (2, 3), "knee of the front of 4"),
    ],
)
def test_small_straight_hollow_and_repeated_fronts_have_a_defined_knee(
    values: list[tuple[float, float]], expected: tuple[int, int | None], said: str
) -> None:
    choice = pick("knee", [make_trial(i, *pair) for i, pair in enumerate(values)])
    assert numbers(choice) == expected
    assert said in choice.reason


def test_with_the_objectives_exchanged_a_hollow_front_gives_its_other_end() -> None:
    objectives = (
        Objective(metric="top_5_accuracy", direction="maximize"),
        Objective(metric="rmse", direction="minimize"),
    )
    hollow = [make_trial(0, 1.2, 0.3), make_trial(1, 1.0, 0.1)]
    assert choose(make_record(hollow, objectives=objectives), "knee").trial.number == 0


def test_the_best_in_one_metric() -> None:
    choice = pick("min:rmse")
    assert numbers(choice) == (0, 1)
    assert choice.reason == (
        "Trial 0 (rating weight 1, retrieval weight 1) has the lowest RMSE of 4 complete trials: "
        "RMSE 1 (the best) and top-100 accuracy 0.1 (0.2 below the best, trial 2). Next best by "
        "this rule is trial 1: RMSE higher by 0.1 and top-100 accuracy higher by 0.18. Figures are "
        "of one seed."
    )
    assert numbers(pick("max:top_100_accuracy")) == (2, 1)


def test_the_best_in_a_metric_that_is_no_objective_tells_both_objectives() -> None:
    trials = [*TRIALS, make_trial(6, 1.6, 0.05, metrics={"unseen_top_10_accuracy": 0.9})]
    choice = pick("max:unseen_top_10_accuracy", trials)
    assert numbers(choice) == (6, 2)
    assert (
        "has the highest unseen top-10 accuracy of 5 complete trials: unseen top-10 accuracy 0.9 "
        "(the best), RMSE 1.6 (0.6 above the best, trial 0) and top-100 accuracy 0.05 (0.25 below "
        "the best, trial 2). Next best by this rule is trial 2: unseen top-10 accuracy lower by "
        "0.82, RMSE lower by 0.2 and top-100 accuracy higher by 0.25." in choice.reason
    )


def test_ties_go_to_the_other_objective_and_then_to_the_lower_number() -> None:
    tied = [make_trial(i, *pair) for i, pair in enumerate([(1, 0.1), (1, 0.2), (1, 0.2), (2, 0.2)])]
    for rule in (
        "min:rmse",
        "max:top_100_accuracy",
        "rmse<=5",
        "knee",
        "utility:rmse=1",
        "utility:top_100_accuracy=1",
        "reference:rmse=0,top_100_accuracy=1",
    ):
        assert numbers(pick(rule, tied)) == (1, 2)


def test_the_reference_point_weighs_the_worse_shortfall() -> None:
    # The front's ranges are 0.4 and 0.2: trial 1 falls short by (0.25, 0.1), the ends by 1 in one.
    choice = pick("reference:rmse=1.0,top_100_accuracy=0.3")
    assert numbers(choice) == (1, 0)
    assert (
        "is nearest to the wished-for RMSE 1 and top-100 accuracy 0.3 on the front of 3, which "
        "does not reach it: RMSE 1.1" in choice.reason
    )
    # Now trial 1 has 0.2 / 0.4 more than the wish in RMSE and 0.06 / 0.2 in accuracy; trial 2 would
    # fall short by 0.1 / 0.4 and trial 0 by 0.12 / 0.2.
    choice = pick("reference:rmse=1.3,top_100_accuracy=0.22")
    assert numbers(choice) == (1, 2)
    assert (
        "is furthest beyond the wished-for RMSE 1.3 and top-100 accuracy 0.22 on the front of 3: "
        in choice.reason
    )
    # A wish that trial 2 just reaches is reached.
    choice = pick("reference:rmse=1.4,top_100_accuracy=0.3")
    assert numbers(choice) == (2, 1)
    assert "is furthest beyond the wished-for" in choice.reason


def test_a_utility_weighs_the_scaled_objectives() -> None:
    # Trial 1 is at (0.25, 0.1), the ends at (0, 1) and (1, 0).
    assert numbers(pick("utility:rmse=1,top_100_accuracy=1")) == (1, 0)
    assert numbers(pick("utility:rmse=19,top_100_accuracy=1")) == (0, 1)
    choice = pick("utility:rmse=1,top_100_accuracy=3")
    assert numbers(choice) == (1, 2)
    assert (
        "has the best utility of the front of 3 with weights 0.25 for RMSE and 0.75 for top-100 "
        "accuracy: RMSE 1.1" in choice.reason
    )
    assert numbers(pick("utility:top_100_accuracy=0.2")) == (2, 1)


def test_a_utility_never_takes_what_lies_in_a_hollow_but_a_reference_point_does() -> None:
    hollow = [make_trial(0, 1.0, 0.1), make_trial(1, 1.12, 0.18), make_trial(2, 1.2, 0.3)]
    for weight in (0.01, 0.4, 0.5, 0.6, 0.99):
        rule = f"utility:rmse={weight},top_100_accuracy={1 - weight}"
        assert pick(rule, hollow).trial.number != 1
    assert pick("reference:rmse=1.05,top_100_accuracy=0.25", hollow).trial.number == 1


def test_a_trial_by_its_number() -> None:
    member = pick("trial:1")
    assert numbers(member) == (1, None)
    assert "was named by its number; it is on the front of 3: RMSE 1.1 (0.1 above" in member.reason
    dominated = pick("trial:3")
    assert numbers(dominated) == (3, None)
    assert dominated.reason == (
        "Trial 3 (rating weight 1, retrieval weight 1) was named by its number; it is not on the "
        "front: RMSE 1.5 (0.5 above the best, trial 0) and top-100 accuracy 0.2 (0.1 below the "
        "best, trial 2). Trial 1 dominates it: RMSE lower by 0.4 and top-100 accuracy higher by "
        "0.08. Figures are of one seed."
    )


def test_a_trial_without_replicates_is_not_compared_with_those_that_have() -> None:
    choice = pick("trial:0", REPLICATED)
    assert choice.reason == (
        "Trial 0 (rating weight 1, retrieval weight 1) was named by its number; it has no "
        "replicates, so it does not compare with the 5 replicated trials: RMSE 0.8 and top-100 "
        "accuracy 0.9. Figures are of one seed."
    )
    assert "cannot be told apart" not in pick("trial:5", REPLICATED).reason
    assert "Trial 4 dominates it: RMSE lower by 0.01" in pick("trial:5", REPLICATED).reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trial:17", "there is no such trial; complete trials are 0, 1, 2, 3"),
        ("trial:4", "that trial is failed (rmse is not a number); complete trials are 0, 1, 2, 3"),
        ("trial:5", "that trial is running; complete trials are 0, 1, 2, 3"),
        ("trial:6", "that trial is pruned; complete trials are 0, 1, 2, 3"),
    ],
)
def test_a_trial_that_is_not_complete_cannot_be_chosen(text: str, expected: str) -> None:
    assert expected in refusal(text, [*TRIALS, make_trial(6, state="pruned")])


def test_a_bound_on_an_objective_gives_the_best_in_the_other() -> None:
    choice = pick("rmse<=1.4")
    assert numbers(choice) == (2, 1)
    assert choice.reason == (
        "Trial 2 (rating weight 1, retrieval weight 1) has the best top-100 accuracy among the 3 "
        "of 4 complete trials with RMSE <= 1.4: RMSE 1.4 (0.4 above the best, trial 0) and top-100 "
        "accuracy 0.3 (the best). Next best by this rule is trial 1: RMSE lower by 0.3 and top-100 "
        "accuracy lower by 0.02. Figures are of one seed."
    )
    assert numbers(pick("rmse<1.4")) == (1, 0)
    assert numbers(pick("top_100_accuracy>=0.2")) == (1, 2)
    assert numbers(pick("top_100_accuracy>0.28")) == (2, None)


def test_a_bound_on_another_metric_gives_the_knee_of_the_trials_within_it() -> None:
    trials = [
        make_trial(0, 1.0, 0.10, metrics={"top_1_accuracy": 0.02}),
        make_trial(1, 1.1, 0.28, metrics={"top_1_accuracy": 0.01}),  # the knee of all
        make_trial(2, 1.2, 0.26, metrics={"top_1_accuracy": 0.02}),
        make_trial(3, 1.4, 0.30, metrics={"top_1_accuracy": 0.03}),
    ]
    assert pick("knee", trials).trial.number == 1
    choice = pick("top_1_accuracy>=0.02", trials)
    assert numbers(choice) == (2, 0)
    assert (
        "is the knee of the front of 3 among the 3 of 4 complete trials with top-1 accuracy >= "
        "0.02: top-1 accuracy 0.02 (0.01 below the best, trial 3), RMSE 1.2" in choice.reason
    )
    assert "trial 0: the same top-1 accuracy, RMSE lower by 0.2 and" in choice.reason


def test_a_bound_that_nothing_satisfies_tells_the_closest_value() -> None:
    message = refusal("rmse<=0.9")
    assert "none of the 4 complete trials satisfies it" in message
    assert "closest is trial 0 with rmse = 1; loosen the bound" in message
    assert "closest is trial 2 with top_100_accuracy = 0.3" in refusal("top_100_accuracy>0.3")
    # The one result below the bound is not judged: its trial has no replicates.
    message = refusal("rmse<=0.85", REPLICATED)
    assert "none of the 5 replicated trials satisfies it; the closest is trial 1" in message


@pytest.mark.parametrize(
    "text",
    ["knee", "min:rmse", "trial:0", "rmse<=1.1", "reference:rmse=1,top_100_accuracy=1"],
)
def test_a_study_without_complete_trials_has_nothing_to_choose_from(text: str) -> None:
    assert "no complete trial to choose from (0 in other states)" in refusal(text, [])
    assert "(1 in other states)" in refusal(text, [make_trial(0, state="failed")])


def test_a_metric_that_a_trial_lacks_is_a_clear_error() -> None:
    trial = make_trial(7)
    assert trial.result is not None
    del trial.result.metrics["top_1_accuracy"]  # type: ignore[attr-defined]
    assert "trial 7 did not record top_1_accuracy" in refusal("max:top_1_accuracy", [trial])
    assert "trial 7 did not record top_1_accuracy" in refusal("top_1_accuracy>0.1", [trial])


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("rmse", "RMSE"),
        ("top_100_accuracy", "top-100 accuracy"),
        ("unseen_top_5_accuracy", "unseen top-5 accuracy"),
        ("per_user_rmse", "per-user RMSE"),
        ("per_user_unseen_top_10_accuracy", "per-user unseen top-10 accuracy"),
    ],
)
def test_metrics_have_names_for_people(metric: str, label: str) -> None:
    assert metric_label(metric) == label
