"""The search space: ranges and choices of the study file ⇄ Optuna's distributions and parameters.

A parameter has the name of what it stands for: `rating_weight` and `retrieval_weight`, or `ratio`
and `scale`, and dotted names such as `training.epochs`. Optuna can store a choice of layers as text
alone, "128-64".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweep.config import Choices, Range, SearchSpaceConfig, Setting, is_whole
from sweep.results import LossWeights, Point

Parameters = Mapping[str, bool | int | float | str]
"""What Optuna holds of a point, by the name of the parameter."""

WEIGHTS = ("rating_weight", "retrieval_weight")


def distributions(space: SearchSpaceConfig) -> dict[str, BaseDistribution]:
    """The search space as Optuna knows it: the name of each parameter and what it may be."""
    weights = {
        name: FloatDistribution(span.low, span.high, log=span.log)
        for name, span in space.weights.items()
    }
    return weights | {name: _distribution(name, space) for name in space.variables}


def _distribution(name: str, space: SearchSpaceConfig) -> BaseDistribution:
    variable = space.variables[name]
    if isinstance(variable, Choices):
        return CategoricalDistribution([_encoded(choice) for choice in variable.choices])
    if is_whole(name):
        return IntDistribution(int(variable.low), int(variable.high), log=variable.log)
    return FloatDistribution(variable.low, variable.high, log=variable.log)


def _encoded(setting: Setting) -> bool | int | float | str:
    return "-".join(map(str, setting)) if isinstance(setting, tuple) else setting


def contains(space: SearchSpaceConfig, parameters: Parameters) -> bool:
    """Whether parameters are a point of the space: all there, each within its bounds."""
    return space.all.keys() <= parameters.keys() and all(
        _admits(variable, parameters[name]) for name, variable in space.all.items()
    )


def _admits(variable: Range | Choices, value: bool | int | float | str) -> bool:
    if isinstance(variable, Choices):
        return value in [_encoded(choice) for choice in variable.choices]
    return variable.low <= float(value) <= variable.high


def to_parameters(point: Point, space: SearchSpaceConfig) -> dict[str, bool | int | float | str]:
    """A point as Optuna parameters; of a specialist too, which is outside of every space."""
    weights = point.weights
    # Worked out from the weights, a ratio or a scale may miss its bound by a rounding.
    pair: dict[str, bool | int | float | str] = (
        {"rating_weight": weights.rating_weight, "retrieval_weight": weights.retrieval_weight}
        if space.ratio is None
        else {name: _snapped(getattr(weights, name), span) for name, span in space.weights.items()}
    )
    return pair | {name: _encoded(setting) for name, setting in point.settings.items()}


def _snapped(value: float, span: Range) -> float:
    ends = (end for end in (span.low, span.high) if math.isclose(value, end, rel_tol=1e-9))
    return next(ends, value)


def to_attributes(point: Point) -> dict[str, bool | int | float | str]:
    """A point that no sampler drew, as user attributes: its very weights, and its settings."""
    settings = {name: _encoded(setting) for name, setting in point.settings.items()}
    return {name: getattr(point.weights, name) for name in WEIGHTS} | settings


def from_parameters(parameters: Parameters, space: SearchSpaceConfig) -> Point | None:
    """Optuna parameters, or the attributes of `to_attributes`, as a point; None if one lacks."""
    settings = {}
    for name, variable in space.variables.items():
        if name not in parameters:
            return None
        settings[name] = _decoded(name, parameters[name], variable)
    if parameters.keys() >= {*WEIGHTS}:
        weights = LossWeights(*(float(parameters[name]) for name in WEIGHTS))
    elif parameters.keys() >= {"ratio", "scale"}:
        weights = LossWeights.from_ratio(float(parameters["ratio"]), float(parameters["scale"]))
    else:
        return None
    return Point(weights, settings)


def _decoded(name: str, value: bool | int | float | str, variable: Range | Choices) -> Setting:
    if isinstance(variable, Choices):
        return {_encoded(choice): choice for choice in variable.choices}.get(value, value)
    return int(value) if is_whole(name) else float(value)


def grid(space: SearchSpaceConfig, points: int, seed: int) -> Iterator[Point]:
    """All points of the grid, shuffled, so that a search that stops early has seen all parts.

    Each range has `points` values, ends included: evenly spaced, on a log range in the logarithm,
    and of whole numbers no more than there are. Of choices every one is tried.
    """
    axes = grid_axes(space, points)
    sizes = [len(axis) for axis in axes.values()]
    for cell in np.random.default_rng(seed).permutation(math.prod(sizes)):
        places = np.unravel_index(cell, sizes)
        parameters = {
            name: axis[int(place)] for (name, axis), place in zip(axes.items(), places, strict=True)
        }
        point = from_parameters(parameters, space)
        assert point is not None
        yield point


def grid_axes(space: SearchSpaceConfig, points: int) -> dict[str, Sequence[bool | float | str]]:
    """The values of each parameter in a grid, by its name; see `grid`."""
    weights = {name: _axis(span, points) for name, span in space.weights.items()}
    return {**weights, **{name: _variable_axis(name, space, points) for name in space.variables}}


def _variable_axis(name: str, space: SearchSpaceConfig, points: int) -> list[bool | float | str]:
    variable = space.variables[name]
    if isinstance(variable, Choices):
        return [_encoded(choice) for choice in variable.choices]
    axis = _axis(variable, points)
    return [*dict.fromkeys(round(value) for value in axis)] if is_whole(name) else [*axis]


def _axis(span: Range, points: int) -> list[float]:
    if span.fixed:
        return [span.low]
    spaced = np.geomspace if span.log else np.linspace
    # Twelve digits make 1 of 0.9999999999999999, which is then known to be a reference.
    inner = [float(f"{value:.12g}") for value in spaced(span.low, span.high, points)[1:-1]]
    return [span.low, *inner, span.high]
