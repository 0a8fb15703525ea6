from __future__ import annotations

import itertools
import subprocess
import sys

import moocore
import numpy as np
import optuna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builders import OBJECTIVES, make_trial
from sweep.front import (
    front_of,
    hypervolume,
    hypervolume_history,
    judged_values,
    minimised,
    non_dominated,
    non_dominated_rank,
    normalised_hypervolume,
    objective_values,
)

# Small whole numbers make ties, duplicates and points on the edge of the box common.
whole_points = arrays(
    np.float64, st.tuples(st.integers(0, 9), st.just(2)), elements=st.integers(-3, 6).map(float)
)
real_points = arrays(
    np.float64,
    st.tuples(st.integers(0, 12), st.just(2)),
    elements=st.floats(-1e3, 1e3, allow_subnormal=False),
)


def brute_front(points: np.ndarray) -> list[bool]:
    return [
        not any(
            all(a <= b for a, b in zip(other, point, strict=True))
            and any(a < b for a, b in zip(other, point, strict=True))
            for other in points.tolist()
        )
        for point in points.tolist()
    ]


def brute_hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Cut the space at every coordinate and add up the cells that some point dominates."""
    cuts = [sorted({*points[:, i], reference[i]}) for i in range(points.shape[1])]
    volume = 0.0
    for cell in itertools.product(*(itertools.pairwise(c) for c in cuts)):
        lows, highs = np.array(cell).T
        if (highs <= reference).all() and (points <= lows).all(axis=1).any():
            volume += float(np.prod(highs - lows))
    return volume


@given(whole_points | real_points)
def test_the_front_is_what_brute_force_finds(points: np.ndarray) -> None:
    assert non_dominated(points).tolist() == brute_front(points)


@given(whole_points)
def test_the_hypervolume_is_the_sum_of_the_dominated_cells(points: np.ndarray) -> None:
    reference = np.array([4.0, 3.0])
    assert hypervolume(points, reference) == pytest.approx(brute_hypervolume(points, reference))


@given(real_points)
def test_the_hypervolume_of_real_points_is_the_sum_of_the_dominated_cells(
    points: np.ndarray,
) -> None:
    reference = np.array([100.0, 50.0])
    expected = brute_hypervolume(points, reference)
    assert hypervolume(points, reference) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 40, 1000])
@pytest.mark.parametrize("kind", ["random", "tied", "duplicated", "front", "beyond"])
def test_a_peer_library_finds_the_same(kind: str, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.random((count, 2))
    if kind == "tied":
        points[:, rng.integers(2)] = rng.integers(0, 5, count) / 5
    elif kind == "duplicated":
        points = points[rng.integers(0, count // 2 + 1, count)]
    elif kind == "front":
        points[:, 1] = 1 - points[:, 0]
    reference = [0.3, 0.4] if kind == "beyond" else [0.9, 0.8]
    assert (non_dominated(points) == moocore.is_nondominated(points, keep_weakly=True)).all()
    assert hypervolume(points, reference) == pytest.approx(
        moocore.hypervolume(points, ref=reference), rel=1e-12
    )
    assert hypervolume_history(points, reference)[-1] == pytest.approx(
        moocore.hypervolume(points, ref=reference), rel=1e-11
    )


@given(whole_points)
def test_the_front_is_the_one_optuna_calls_its_best_trials(points: np.ndarray) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.add_trials([optuna.trial.create_trial(values=row) for row in points.tolist()])
    best = {trial.number for trial in study.best_trials}
    assert set(np.flatnonzero(non_dominated(points)).tolist()) == best


@given(whole_points | real_points)
@example(np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
def test_the_history_is_the_hypervolume_of_every_beginning(points: np.ndarray) -> None:
    reference = np.array([4.0, 3.0])
    history = hypervolume_history(points, reference)
    assert history.tolist() == pytest.approx(
        [brute_hypervolume(points[: i + 1], reference) for i in range(len(points))],
        rel=1e-9,
        abs=1e-9,
    )
    assert (np.diff(history) >= 0).all()


def test_a_front_computed_by_hand() -> None:
    points = [[1, 5], [2, 3], [2, 4], [4, 1], [4, 1], [5, 5], [3, 3]]
    assert non_dominated(points).tolist() == [True, True, False, True, True, False, False]
    # Boxes up to (6, 6): 5×1 for the first, 4×2 more for the second, 2×2 more for the third.
    assert hypervolume(points, [6, 6]) == 5 + 8 + 4
    assert hypervolume_history(points, [6, 6]).tolist() == [5, 13, 13, 17, 17, 17, 17]


def test_a_point_equal_in_one_objective_and_worse_in_the_other_is_dominated() -> None:
    assert non_dominated([[1, 1], [1, 2], [2, 1]]).tolist() == [True, False, False]


@given(whole_points | real_points)
def test_the_ranks_are_found_by_peeling_fronts_off(points: np.ndarray) -> None:
    ranks = non_dominated_rank(points)
    assert ranks.shape == (len(points),)
    left = list(range(len(points)))
    for rank in itertools.count():
        if not left:
            break
        front = [i for i, member in zip(left, brute_front(points[left]), strict=True) if member]
        assert {i for i in range(len(points)) if ranks[i] == rank} == set(front)
        left = [i for i in left if i not in front]


def test_ranks_computed_by_hand() -> None:
    points = [[1, 5], [2, 3], [2, 4], [4, 1], [4, 1], [5, 5], [3, 3]]
    assert non_dominated_rank(points).tolist() == [0, 0, 1, 0, 0, 2, 1]


def test_the_normalised_hypervolume_is_a_share_of_the_box_up_to_the_ideal() -> None:
    # Of the box from (0, -1) to (2, 0), worth 2, these cover 1 × 0.5 and 0.5 × 0.25 more.
    points = [[1.0, -0.5], [0.5, -0.25]]
    assert normalised_hypervolume(points, [2, 0], [0, -1]) == pytest.approx((0.5 + 0.125) / 2)
    assert normalised_hypervolume([[0, -1]], [2, 0], [0, -1]) == 1
    assert normalised_hypervolume([[3, -1]], [2, 0], [0, -1]) == 0
    assert normalised_hypervolume(np.empty((0, 2)), [2, 0], [0, -1]) == 0
    with pytest.raises(ValueError, match="not below the reference point"):
        normalised_hypervolume(points, [2, 0], [0, 0])


def test_no_points_and_one_point() -> None:
    empty = np.empty((0, 2))
    assert non_dominated(empty).shape == (0,)
    assert hypervolume(empty, [1, 1]) == 0
    assert hypervolume_history(empty, [1, 1]).shape == (0,)
    assert non_dominated([[3.0, 4.0]]).tolist() == [True]
    assert hypervolume([[3.0, 4.0]], [5, 5]) == 2


def test_points_beyond_the_reference_contribute_nothing() -> None:
    assert hypervolume([[0, 6], [6, 0], [5, 5]], [5, 5]) == 0
    assert hypervolume([[0, 6], [3, 3]], [5, 5]) == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float) -> None:
    for function in (
        non_dominated,
        lambda v: hypervolume(v, [1, 1]),
        lambda v: hypervolume_history(v, [1, 1]),
    ):
        with pytest.raises(ValueError, match=r"row 1 .* not finite"):
            function([[0.0, 0.0], [0.0, bad]])
    with pytest.raises(ValueError, match="reference point is not finite"):
        hypervolume([[0.0, 0.0]], [1, bad])


def test_a_wrong_shape_is_refused() -> None:
    for values in ([1.0, 2.0], [[1.0]], [[1.0, 2.0, 3.0]], np.empty((0, 3))):
        for function in (
            non_dominated,
            lambda v: hypervolume(v, [1, 1]),
            lambda v: hypervolume_history(v, [1, 1]),
        ):
            with pytest.raises(ValueError, match=r"expected \[n_trials, 2\]"):
                function(values)
    with pytest.raises(ValueError, match="expected \\(2,\\)"):
        hypervolume([[1.0, 2.0]], [1, 2, 3])


def test_objectives_are_turned_so_that_lower_is_better_and_back() -> None:
    trials = [make_trial(0, 1.1, 0.3), make_trial(1, 0.9, 0.2)]
    values = objective_values(trials, OBJECTIVES)
    assert values.tolist() == [[1.1, -0.3], [0.9, -0.2]]
    assert minimised(values, OBJECTIVES).tolist() == [[1.1, 0.3], [0.9, 0.2]]
    assert objective_values([], OBJECTIVES).shape == (0, 2)


def test_a_trial_without_the_metric_has_no_objective_values() -> None:
    with pytest.raises(ValueError, match="trial 4 is failed"):
        objective_values([make_trial(4, state="failed")], OBJECTIVES)


def test_trials_with_replicates_are_judged_by_their_means_and_searched_by_their_results() -> None:
    lucky = make_trial(0, 0.9, 0.5, replicates=[(1.0, 0.2), (1.2, 0.3)])
    assert objective_values([lucky], OBJECTIVES).tolist() == [[0.9, -0.5]]
    assert judged_values([lucky], OBJECTIVES)[0].tolist() == pytest.approx([1.1, -0.25])
    once = make_trial(1, 1.0, 0.2)
    assert judged_values([once], OBJECTIVES).tolist() == [[1.0, -0.2]]
    with pytest.raises(ValueError, match="trial 4 is waiting"):
        judged_values([make_trial(4, state="waiting")], OBJECTIVES)


def test_the_front_of_trials_begins_with_the_best_rmse_and_keeps_equal_ones() -> None:
    trials = [
        make_trial(0, 1.2, 0.4),
        make_trial(2, 1.0, 0.2),
        make_trial(3, 1.3, 0.3),
        make_trial(4, 1.0, 0.2),
    ]
    assert [trial.number for trial in front_of(trials, OBJECTIVES)] == [2, 4, 0]
    assert front_of([], OBJECTIVES) == ()


def test_the_front_of_trials_is_that_of_their_means() -> None:
    trials = [
        make_trial(0, 0.8, 0.9, replicates=[(1.2, 0.1), (1.3, 0.1)]),  # its result was lucky
        make_trial(1, 1.5, 0.1, replicates=[(1.0, 0.2), (1.1, 0.2)]),
        make_trial(2, 1.5, 0.1, replicates=[(1.2, 0.3), (1.1, 0.5)]),
    ]
    assert [trial.number for trial in front_of(trials, OBJECTIVES)] == [1, 2]


def test_a_long_history_is_quick_and_ends_at_the_hypervolume() -> None:
    points = np.random.default_rng(0).random((3000, 2))
    assert hypervolume_history(points, [1, 1])[-1] == pytest.approx(hypervolume(points, [1, 1]))


def test_importing_the_front_loads_no_heavy_library() -> None:
    heavy = {"tensorflow", "optuna", "pandas", "matplotlib", "plotly", "scipy", "moocore"}
    code = f"import sys, sweep.front; print(sorted({heavy!r} & set(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
