from __future__ import annotations

import math

import optuna
import pytest

from builders import make_config
from sweep.config import Range, SearchSpaceConfig
from sweep.errors import ConfigError
from sweep.results import LossWeights, Point, references
from sweep.search.sampler import check_sampler
from sweep.search.space import (
    contains,
    distributions,
    from_parameters,
    grid,
    to_attributes,
    to_parameters,
)

SPACE = SearchSpaceConfig(
    rating_weight=Range(low=0.01, high=100, log=True),
    retrieval_weight=Range(low=1, high=5, log=False),
)
WIDE = make_config(
    search_space={
        "ratio": {"low": 0.01, "high": 100.0},
        "scale": {"low": 0.25, "high": 4.0},
    },
    model={"rating_layers": [[64], [128, 64]], "biases": [True, False]},
    training={
        "epochs": {"low": 2, "high": 8},
        "learning_rate": {"low": 0.05, "high": 0.2, "log": False},
    },
).search_space


def test_ranges_become_optuna_distributions() -> None:
    assert distributions(SPACE) == {
        "rating_weight": optuna.distributions.FloatDistribution(0.01, 100, log=True),
        "retrieval_weight": optuna.distributions.FloatDistribution(1, 5, log=False),
    }


def test_keys_of_whole_numbers_choices_and_layers_have_distributions_of_their_kind() -> None:
    assert distributions(WIDE) == {
        "ratio": optuna.distributions.FloatDistribution(0.01, 100, log=True),
        "scale": optuna.distributions.FloatDistribution(0.25, 4, log=True),
        "model.rating_layers": optuna.distributions.CategoricalDistribution(["64", "128-64"]),
        "model.biases": optuna.distributions.CategoricalDistribution([True, False]),
        "training.epochs": optuna.distributions.IntDistribution(2, 8, log=True),
        "training.learning_rate": optuna.distributions.FloatDistribution(0.05, 0.2),
    }


def test_the_parameters_of_a_drawn_trial_are_its_point_and_back() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask(distributions(WIDE))
        point = from_parameters(trial.params, WIDE)
        assert point is not None
        assert point.settings["model.rating_layers"] in [(64,), (128, 64)]
        assert isinstance(point.settings["training.epochs"], int)
        back = to_parameters(point, WIDE)
        assert back.pop("ratio") == pytest.approx(trial.params.pop("ratio"))
        assert back.pop("scale") == pytest.approx(trial.params.pop("scale"))
        assert back == {key: trial.params[key] for key in back}


def test_a_ratio_and_a_scale_are_two_weights() -> None:
    weights = LossWeights.from_ratio(ratio=4, scale=10)
    assert (weights.rating_weight, weights.retrieval_weight) == (20, 5)
    assert (weights.ratio, weights.scale) == (4, 10)


def test_a_ratio_and_a_fixed_scale_stay_within_their_bounds_whatever_the_rounding() -> None:
    space = SearchSpaceConfig(ratio=Range(low=0.01, high=100), scale=1.0)
    points = list(grid(space, 50, seed=0))
    assert all(contains(space, to_parameters(point, space)) for point in points)
    assert len(points) == 50


def test_attributes_keep_the_very_weights_of_a_specialist_and_its_settings() -> None:
    point = Point(LossWeights(0.3, 0), {"model.rating_layers": (128, 64), "training.epochs": 3})
    space = SearchSpaceConfig(
        ratio=WIDE.ratio,
        scale=WIDE.scale,
        variables={key: WIDE.variables[key] for key in point.settings},
    )
    assert from_parameters(to_attributes(point), space) == point
    assert not contains(space, to_parameters(point, space))


def test_half_of_the_parameters_are_no_point() -> None:
    assert from_parameters({"rating_weight": 1.0}, SPACE) is None
    assert from_parameters({"ratio": 1.0, "scale": 1.0}, WIDE) is None


@pytest.mark.parametrize(
    ("weights", "inside"),
    [((0.01, 1), True), ((100, 5), True), ((1, 0.99), False), ((101, 2), False), ((0, 2), False)],
)
def test_ranges_include_their_ends_and_never_zero(
    weights: tuple[float, float], inside: bool
) -> None:
    assert contains(SPACE, to_parameters(Point(LossWeights(*weights)), SPACE)) is inside


def test_a_grid_is_even_on_the_scale_of_each_range() -> None:
    points = [point.weights for point in grid(SPACE, 3, seed=0)]
    assert len(points) == len(set(points)) == 9
    ratings = sorted({point.rating_weight for point in points})
    assert [math.log10(value) for value in ratings] == pytest.approx([-2, 0, 2])
    assert sorted({point.retrieval_weight for point in points}) == [1, 3, 5]


def test_a_grid_takes_every_choice_and_no_whole_number_twice() -> None:
    space = make_config(
        search_space={"rating_weight": {"low": 1.0, "high": 4.0}, "retrieval_weight": 2.0},
        model={"biases": [True, False]},
        training={"epochs": {"low": 2, "high": 4}},
    ).search_space
    points = list(grid(space, 5, seed=0))
    assert {point.settings["training.epochs"] for point in points} == {2, 3, 4}
    assert {point.settings["model.biases"] for point in points} == {True, False}
    assert {point.weights.retrieval_weight for point in points} == {2.0}
    assert len(points) == 5 * 1 * 2 * 3


def test_the_order_of_a_grid_follows_its_seed() -> None:
    assert list(grid(SPACE, 4, seed=1)) == list(grid(SPACE, 4, seed=1))
    assert list(grid(SPACE, 4, seed=1)) != list(grid(SPACE, 4, seed=2))


def test_a_grid_that_nobody_could_walk_is_refused_with_its_size() -> None:
    sampler = make_config(sampler={"name": "grid", "points": 1000}).sampler
    with pytest.raises(ConfigError, match=r"sampler\.points: found 1000, which makes a grid of "):
        check_sampler(sampler, WIDE)


# References


def test_specialists_stand_at_the_centre_of_their_range_and_equal_weights_at_one() -> None:
    space = make_config(
        search_space={
            "rating_weight": {"low": 1.0, "high": 100.0},
            "retrieval_weight": {"low": 2.0, "high": 4.0, "log": False},
        },
        model={"biases": [False, True]},
        training={"epochs": {"low": 2, "high": 8}},
    ).search_space
    settings = {"model.biases": False, "training.epochs": 4}
    assert references(space) == {
        "rating only": Point(LossWeights(10, 0), settings),
        "retrieval only": Point(LossWeights(0, 3), settings),
        "equal weights": Point(LossWeights(1, 1), settings),
    }


def test_specialists_of_a_ratio_are_at_its_centre_too() -> None:
    assert {name: point.weights for name, point in references(WIDE).items()} == {
        "rating only": LossWeights(1, 0),
        "retrieval only": LossWeights(0, 1),
        "equal weights": LossWeights(1, 1),
    }


@pytest.mark.parametrize(
    ("rating", "retrieval", "name"),
    [
        ({"low": 1.0, "high": 100.0}, 0, "rating only"),
        (0, {"low": 1.0, "high": 9.0}, "retrieval only"),
    ],
)
def test_a_study_of_one_specialist_has_itself_as_its_only_reference(
    rating: object, retrieval: object, name: str
) -> None:
    space = make_config(
        search_space={"rating_weight": rating, "retrieval_weight": retrieval}
    ).search_space
    assert list(references(space)) == [name]
