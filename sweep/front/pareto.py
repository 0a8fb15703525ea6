"""The Pareto front and its hypervolume.

A point dominates another if it is no worse in every objective and better in one. The front is what
no other point dominates. The hypervolume is the size of the region that a set of points dominates
and that the reference point bounds (Zitzler and Thiele, "Multiobjective evolutionary algorithms: a
comparative case study and the strength Pareto approach", IEEE Transactions on Evolutionary
Computation 3(4), 1999). Both are computed by moocore: O(n log n) for two or three objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep.config import Objective
from sweep.results import Trial

FloatArray = NDArray[np.float64]


def objective_values(trials: Sequence[Trial], objectives: Sequence[Objective]) -> FloatArray:
    """The objectives of complete trials, turned so that lower is better.

    Returns:
        float64 [n_trials, n_objectives].

    Raises:
        ValueError: a trial has no result, or its result lacks an objective's metric.
    """
    rows = []
    for trial in trials:
        if trial.result is None:
            raise ValueError(f"trial {trial.number} is {trial.state}, not complete: no metrics")
        missing = [o.metric for o in objectives if o.metric not in trial.result.metrics]
        if missing:
            raise ValueError(f"trial {trial.number} has no metric {', '.join(missing)}")
        rows.append([trial.result.metrics[objective.metric] for objective in objectives])
    return minimised(np.array(rows, dtype=np.float64).reshape(-1, len(objectives)), objectives)


def minimised(values: ArrayLike, objectives: Sequence[Objective]) -> FloatArray:
    """Turn measured values, float [..., n_objectives], so that lower is better.

    Applied twice it gives the measured values back.
    """
    signs = np.array([objective.sign for objective in objectives], dtype=np.float64)
    return np.asarray(values, dtype=np.float64) * signs


def non_dominated(values: ArrayLike) -> NDArray[np.bool_]:
    """Which points are on the Pareto front.

    Args:
        values: float64 [n, n_objectives], lower is better.

    Returns:
        bool [n]. Of equal points on the front, all are.

    Raises:
        ValueError: `values` is not two-dimensional, or holds a NaN or an infinity.
    """
    points = _checked(values)
    if not len(points):
        return np.zeros(0, dtype=np.bool_)
    return cast("NDArray[np.bool_]", moocore.is_nondominated(points, keep_weakly=True))


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """The size of the region between the points and the reference point.

    Args:
        values: float64 [n, n_objectives], lower is better.
        reference: float64 [n_objectives], lower is better. A point that is not below it in every
            objective contributes nothing.

    Returns:
        At least 0, in the product of the objectives' units.

    Raises:
        ValueError: a shape is wrong, or a value is a NaN or an infinity.
    """
    points = _checked(values)
    bound = _checked_reference(reference, points)
    return float(moocore.hypervolume(points, ref=bound)) if len(points) else 0.0


def hypervolume_history(values: ArrayLike, reference: ArrayLike) -> FloatArray:
    """The hypervolume of the first 1, 2, …, n points.

    Takes and raises what `hypervolume` does.

    Returns:
        float64 [n], never falling.
    """
    points = _checked(values)
    bound = _checked_reference(reference, points)
    front = np.empty((0, points.shape[1]))
    history = np.zeros(len(points))
    volume = 0.0
    for i, point in enumerate(points):
        # Most trials change nothing; only a point that no earlier one covers costs a computation.
        if not (front <= point).all(axis=1).any():
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
            volume = max(volume, hypervolume(front, bound))  # max: rounding may not lower it
        history[i] = volume
    return history


def front_of(trials: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[Trial, ...]:
    """The complete trials that are on the front, the best of the first objective first.

    Trials with equal objectives are all kept, in order of their numbers.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    values = objective_values(complete, objectives)
    members = [
        (*row, trial.number, trial)
        for row, trial, on_front in zip(
            values.tolist(), complete, non_dominated(values), strict=True
        )
        if on_front
    ]
    return tuple(member[-1] for member in sorted(members, key=lambda member: member[:-1]))


def _checked(values: ArrayLike) -> FloatArray:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or not points.shape[1]:
        raise ValueError(
            f"objective values have shape {points.shape}; expected [n_trials, n_objectives]"
        )
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise ValueError(f"row {row} of the objective values is not finite: {points[row]}")
    return points


def _checked_reference(reference: ArrayLike, points: FloatArray) -> FloatArray:
    bound = np.asarray(reference, dtype=np.float64)
    if bound.shape != points.shape[1:]:
        raise ValueError(
            f"the reference point has shape {bound.shape}; expected {points.shape[1:]}, "
            "one value for each objective"
        )
    if not np.isfinite(bound).all():
        raise ValueError(f"the reference point is not finite: {bound}")
    return bound
