"""Stopping early by non-dominated rank, by hand-made curves."""

from __future__ import annotations

import numpy as np
import pytest

from builders import OBJECTIVES
from sweep.config import PrunerConfig
from sweep.front.halving import STARTUP, Halving, halving
from sweep.results import Epoch, TrialResult


def result(*curve: tuple[float, float]) -> TrialResult:
    """A trial with these RMSEs and top-100 accuracies, epoch by epoch."""
    history = tuple(
        Epoch(i, 1.0, 1.0, {"rmse": rmse, "top_100_accuracy": accuracy})
        for i, (rmse, accuracy) in enumerate(curve, start=1)
    )
    return TrialResult(history[-1].metrics, history, 1.0, 0.1)


def against(*points: tuple[float, float], factor: int = 3) -> Halving:
    values = np.array(points) * [1, -1]
    return Halving(OBJECTIVES, factor, {2: values})


def metrics(rmse: float, accuracy: float) -> dict[str, float]:
    return {"rmse": rmse, "top_100_accuracy": accuracy}


# Ranks: the first two are the front, the next two are dominated by it, the last by all.
FIVE = ((1.0, 0.1), (1.2, 0.3), (1.1, 0.05), (1.3, 0.25), (1.5, 0.01))


@pytest.mark.parametrize(
    ("point", "stops"),
    [
        ((0.9, 0.05), False),  # on the front: nobody is better
        ((1.05, 0.08), True),  # second rank: both of the front are better, 2 of 6 make a third
        ((1.6, 0.0), True),  # behind everybody
        ((1.0, 0.1), False),  # equal to a member of the front
    ],
)
def test_a_trial_goes_on_if_fewer_than_a_third_rank_before_it(
    point: tuple[float, float], stops: bool
) -> None:
    assert against(*FIVE).stops(2, metrics(*point)) is stops


def test_a_smaller_factor_lets_more_go_on() -> None:
    second_rank = metrics(1.05, 0.08)
    assert against(*FIVE, factor=3).stops(2, second_rank)
    assert not against(*FIVE, factor=2).stops(2, second_rank)


def test_only_at_a_rung_and_only_against_enough_trials_is_one_stopped() -> None:
    worst = metrics(9.0, 0.0)
    assert not against(*FIVE).stops(1, worst)
    assert not against(*FIVE[: STARTUP - 1]).stops(2, worst)


def test_a_tie_within_the_front_never_stops_a_member_of_it() -> None:
    crowd = [(1 + i / 100, 0.1 + i / 100) for i in range(50)]
    assert not against(*crowd).stops(2, metrics(1.255, 0.355))


def test_rungs_are_the_first_epochs_and_its_multiples_that_a_trial_has_reached() -> None:
    config = PrunerConfig(name="successive_halving", min_epochs=2, reduction_factor=2)
    curve = [(1.0 - i / 100, 0.1 + i / 100) for i in range(9)]
    short = result(*curve[:3])
    found = halving(config, OBJECTIVES, [result(*curve), short, result(*curve)])
    assert found is not None
    assert {epoch: len(values) for epoch, values in found.peers.items()} == {2: 3, 4: 2, 8: 2}
    assert found.peers[4][0] == pytest.approx([0.97, -0.13])


def test_without_a_pruner_there_is_nothing_to_be_held_against() -> None:
    assert halving(PrunerConfig(), OBJECTIVES, [result((1, 0.1))]) is None
