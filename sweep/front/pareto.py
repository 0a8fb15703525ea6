"""The Pareto front and its hypervolume.

A point dominates another if it is no worse in every objective and better in one. The front is what
no other point dominates. The hypervolume is the size of the region that a set of points dominates
and that the reference point bounds (Zitzler and Thiele, "Multiobjective evolutionary algorithms: a
comparative case study and the strength Pareto approach", IEEE Transactions on Evolutionary
Computation 3(4), 1999).

A study has exactly two objectives, and in the plane one sort gives everything: read from left to
right, the front is the points that are lower than all before them, and the hypervolume is the sum
of the slabs between one of them and the next. All of it takes O(n log n).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep.config import Objective
from sweep.results import Trial

FloatArray = NDArray[np.float64]


def objective_values(trials: Sequence[Trial], objectives: Sequence[Objective]) -> FloatArray:
    """The objectives of trials by their single results, which is what the search saw.

    Returns:
        float64 [n_trials, n_objectives], lower is better.

    Raises:
        ValueError: a trial has no result, or its result lacks an objective's metric.
    """
    return _values(trials, [t.result.metrics if t.result else {} for t in trials], objectives)


def judged_values(trials: Sequence[Trial], objectives: Sequence[Objective]) -> FloatArray:
    """The objectives of trials by `Trial.metrics`, which is what a trial is judged by.

    Returns and raises what `objective_values` does.
    """
    return _values(trials, [trial.metrics for trial in trials], objectives)


def minimised(values: ArrayLike, objectives: Sequence[Objective]) -> FloatArray:
    """Turn measured values, float [..., n_objectives], so that lower is better.

    Applied twice it gives the measured values back.
    """
    signs = np.array([objective.sign for objective in objectives], dtype=np.float64)
    return np.asarray(values, dtype=np.float64) * signs


def non_dominated(values: ArrayLike) -> NDArray[np.bool_]:
    """Which points are on the Pareto front.

    Args:
        values: float64 [n, 2], lower is better.

    Returns:
        bool [n]. Of equal points on the front, all are.

    Raises:
        ValueError: `values` has another shape, or holds a NaN or an infinity.
    """
    points = _checked(values)
    order = np.lexsort((points[:, 1], points[:, 0]))
    ordered = points[order]
    # From left to right, a point that is lower than all before it is on the front; each other one
    # is dominated by the latest such point, unless it equals it.
    lowest_before = np.minimum.accumulate(np.append(np.inf, ordered[:, 1]))[:-1]
    lower = ordered[:, 1] < lowest_before
    latest = np.maximum.accumulate(np.where(lower, np.arange(len(points)), 0))
    members = np.empty(len(points), dtype=np.bool_)
    members[order] = (ordered == ordered[latest]).all(axis=1)
    return members


def non_dominated_rank(values: ArrayLike) -> NDArray[np.int64]:
    """The rank of each point: 0 on the front, 1 on what would be the front without it, and so on.

    Goldberg's ranking ("Genetic Algorithms in Search, Optimization, and Machine Learning", 1989),
    as in NSGA-II. Takes and raises what `non_dominated` does; int64 [n].
    """
    points = _checked(values)
    ranks = np.full(len(points), -1, dtype=np.int64)
    rank = 0
    while (left := np.flatnonzero(ranks < 0)).size:
        ranks[left[non_dominated(points[left])]] = rank
        rank += 1
    return ranks


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """The size of the region between the points and the reference point.

    Args:
        values: float64 [n, 2], lower is better.
        reference: float64 [2], lower is better. A point that is not below it in every objective
            contributes nothing.

    Returns:
        At least 0, in the product of the objectives' units.

    Raises:
        ValueError: a shape is wrong, or a value is a NaN or an infinity.
    """
    points = _checked(values)
    bound = _checked_reference(reference)
    # A point beyond the reference becomes one on the border, whose slab has no width or no height.
    x, y = np.minimum(points, bound)[np.argsort(points[:, 0])].T
    floor = np.minimum.accumulate(np.append(bound[1], y))
    return float((bound[0] - x) @ (floor[:-1] - floor[1:]))


def normalised_hypervolume(values: ArrayLike, reference: ArrayLike, ideal: ArrayLike) -> float:
    """The hypervolume as a fraction of what the ideal point alone would have.

    Takes and raises what `hypervolume` does.

    Args:
        values: float64 [n, 2], lower is better.
        reference: float64 [2], lower is better.
        ideal: float64 [2], the best conceivable value of each objective, lower is better.

    Returns:
        0 … 1, where no point is better than the ideal in any objective.

    Raises:
        ValueError: also where the ideal is not below the reference in both objectives.
    """
    box = hypervolume([np.asarray(ideal, dtype=np.float64)], reference)
    if box == 0:
        raise ValueError(
            f"the ideal point {ideal!r} is not below the reference point {reference!r} in both "
            "objectives: no hypervolume is possible"
        )
    return hypervolume(values, reference) / box


def hypervolume_history(values: ArrayLike, reference: ArrayLike) -> FloatArray:
    """The hypervolume of the first 1, 2, …, n points.

    Takes and raises what `hypervolume` does.

    Returns:
        float64 [n], never falling.
    """
    points = _checked(values)
    right, top = _checked_reference(reference).tolist()
    # The front so far from left to right, that is from top to bottom, between two sentinels.
    xs, ys = [-math.inf, right], [top, -math.inf]
    gains = np.zeros(len(points))
    for i, (x, y) in enumerate(points.tolist()):
        start = end = bisect_right(xs, x)
        if ys[start - 1] <= y:
            continue  # covered by an earlier point, or beyond the reference
        while ys[end] >= y:  # each point leaves the front once: O(n log n) in all
            end += 1
        # What is new lies below the old stairs, one slab for each of their steps.
        gains[i] = np.diff([x, *xs[start : end + 1]]) @ (np.array(ys[start - 1 : end]) - y)
        xs[start:end], ys[start:end] = [x], [y]
    return np.cumsum(gains)


def front_of(trials: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[Trial, ...]:
    """The trials that are on the front of `judged_values`, the best of the first objective first.

    Trials with equal objectives are all kept, in order of their numbers. Trials with replicates and
    trials without do not compare: give `StudyRecord.contenders`, or some of them.

    Raises:
        ValueError: a trial has no result, or lacks an objective's metric.
    """
    values = judged_values(trials, objectives)
    members = [
        (*row, trial.number, trial)
        for row, trial, on_front in zip(values.tolist(), trials, non_dominated(values), strict=True)
        if on_front
    ]
    return tuple(member[-1] for member in sorted(members, key=lambda member: member[:-1]))


def _values(
    trials: Sequence[Trial],
    scores: Sequence[Mapping[str, float]],
    objectives: Sequence[Objective],
) -> FloatArray:
    rows = []
    for trial, metrics in zip(trials, scores, strict=True):
        if not metrics:
            raise ValueError(f"trial {trial.number} is {trial.state}, not complete: no metrics")
        missing = [o.metric for o in objectives if o.metric not in metrics]
        if missing:
            raise ValueError(f"trial {trial.number} has no metric {', '.join(missing)}")
        rows.append([metrics[objective.metric] for objective in objectives])
    return minimised(np.array(rows, dtype=np.float64).reshape(-1, len(objectives)), objectives)


def _checked(values: ArrayLike) -> FloatArray:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"objective values have shape {points.shape}; expected [n_trials, 2]")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise ValueError(f"row {row} of the objective values is not finite: {points[row]}")
    return points


def _checked_reference(reference: ArrayLike) -> FloatArray:
    bound = np.asarray(reference, dtype=np.float64)
    if bound.shape != (2,):
        raise ValueError(
            f"the reference point has shape {bound.shape}; expected (2,), one value for each "
            "objective"
        )
    if not np.isfinite(bound).all():
        raise ValueError(f"the reference point is not finite: {bound}")
    return bound
