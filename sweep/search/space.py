"""The search space: ranges of the study file ⇄ Optuna's distributions and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from optuna import Trial
from optuna.distributions import BaseDistribution, FloatDistribution

from sweep.config import Range, SearchSpaceConfig
from sweep.results import LossWeights

WEIGHTS = ("rating_weight", "retrieval_weight")
"""The names of the two parameters in Optuna."""


def distributions(space: SearchSpaceConfig) -> dict[str, BaseDistribution]:
    """The search space as Optuna knows it: the name of each parameter and what it may be."""
    return {name: _distribution(getattr(space, name)) for name in WEIGHTS}


def _distribution(span: Range) -> FloatDistribution:
    return FloatDistribution(span.low, span.high, log=span.log)


def contains(space: SearchSpaceConfig, weights: LossWeights) -> bool:
    """Whether both weights are within their ranges; a weight of 0 never is."""
    return all(
        getattr(space, name).low <= value <= getattr(space, name).high
        for name, value in to_parameters(weights).items()
    )


def to_parameters(weights: LossWeights) -> dict[str, float]:
    """Loss weights as Optuna parameters."""
    return {name: getattr(weights, name) for name in WEIGHTS}


def from_parameters(parameters: Mapping[str, float]) -> LossWeights | None:
    """Optuna parameters as loss weights; None if one of the two is not there."""
    if not all(name in parameters for name in WEIGHTS):
        return None
    return LossWeights(*(float(parameters[name]) for name in WEIGHTS))


def suggest(trial: Trial, space: SearchSpaceConfig) -> LossWeights:
    """Ask Optuna for the loss weights of a trial."""
    spans = {name: getattr(space, name) for name in WEIGHTS}
    return LossWeights(
        **{name: trial.suggest_float(name, s.low, s.high, log=s.log) for name, s in spans.items()}
    )


def grid(space: SearchSpaceConfig, points: int, seed: int) -> Iterator[LossWeights]:
    """All points of the grid, shuffled, so that a search that stops early has seen all parts.

    Each axis has `points` values, ends included: evenly spaced, on a log range in the logarithm.
    """
    ratings = _axis(space.rating_weight, points)
    retrievals = _axis(space.retrieval_weight, points)
    for cell in np.random.default_rng(seed).permutation(points * points):
        row, column = divmod(int(cell), points)
        yield LossWeights(ratings[row], retrievals[column])


def _axis(span: Range, points: int) -> list[float]:
    spaced = np.geomspace if span.log else np.linspace
    # Twelve digits make 1 of 0.9999999999999999, which is then known to be a reference.
    inner = [float(f"{value:.12g}") for value in spaced(span.low, span.high, points)[1:-1]]
    return [span.low, *inner, span.high]
