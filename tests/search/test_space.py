from __future__ import annotations

import math

import optuna
import pytest

from sweep.config import Range, SearchSpaceConfig
from sweep.results import LossWeights
from sweep.search.space import contains, distributions, from_parameters, grid, suggest

SPACE = SearchSpaceConfig(
    rating_weight=Range(low=0.01, high=100, log=True),
    retrieval_weight=Range(low=1, high=5, log=False),
)


def test_ranges_become_optuna_distributions() -> None:
    assert distributions(SPACE) == {
        "rating_weight": optuna.distributions.FloatDistribution(0.01, 100, log=True),
        "retrieval_weight": optuna.distributions.FloatDistribution(1, 5, log=False),
    }


def test_suggested_weights_are_the_parameters_of_the_trial() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    weights = suggest(trial, SPACE)
    assert trial.params == {
        "rating_weight": weights.rating_weight,
        "retrieval_weight": weights.retrieval_weight,
    }
    assert from_parameters(trial.params) == weights


def test_half_of_the_parameters_are_no_weights() -> None:
    assert from_parameters({"rating_weight": 1.0}) is None


@pytest.mark.parametrize(
    ("weights", "inside"),
    [((0.01, 1), True), ((100, 5), True), ((1, 0.99), False), ((101, 2), False), ((0, 2), False)],
)
def test_ranges_include_their_ends_and_never_zero(
    weights: tuple[float, float], inside: bool
) -> None:
    assert contains(SPACE, LossWeights(*weights)) is inside


def test_a_grid_is_even_on_the_scale_of_each_range() -> None:
    points = list(grid(SPACE, 3, seed=0))
    assert len(points) == len(set(points)) == 9
    ratings = sorted({point.rating_weight for point in points})
    assert [math.log10(value) for value in ratings] == pytest.approx([-2, 0, 2])
    assert sorted({point.retrieval_weight for point in points}) == [1, 3, 5]
    assert all(contains(SPACE, point) for point in points)


def test_the_order_of_a_grid_follows_its_seed() -> None:
    assert list(grid(SPACE, 4, seed=1)) == list(grid(SPACE, 4, seed=1))
    assert list(grid(SPACE, 4, seed=1)) != list(grid(SPACE, 4, seed=2))
