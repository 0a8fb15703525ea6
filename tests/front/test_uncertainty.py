from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from noisy_fronts import (
    Method,
    Noise,
    binned,
    convex,
    outcomes,
    plain_bootstrap,
    straight,
    with_references,
)
from scipy import stats

from sweep.front import (
    Estimate,
    difference,
    estimate,
    non_dominated,
    probability_on_front,
    robust_front,
)
from sweep.results import Replicate


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def about(mean: tuple[float, float], covariance: object, replicates: int = 5) -> np.ndarray:
    """Replicates with exactly this mean and exactly this sample covariance, [n, 2]."""
    raw = rng(replicates).standard_normal((replicates, 2))
    raw -= raw.mean(axis=0)
    whitened = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return np.array(mean) + whitened @ np.linalg.cholesky(np.array(covariance)).T


def test_an_estimate_computed_by_hand() -> None:
    # Of 1 … 5: mean 3, standard deviation 1.5811; t with 4 degrees of freedom 2.1318 at 95 %.
    found = estimate([5, 1, 4, 2, 3])
    assert found.mean == 3
    assert found.half_width == pytest.approx(2.1318 * 1.5811 / math.sqrt(5), rel=1e-4)
    assert found.n == 5
    assert estimate([2.5]) == Estimate(2.5, None, 1)
    assert estimate([2.5, 2.5]) == Estimate(2.5, 0.0, 2)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [2, 3, 20])
def test_the_interval_is_the_one_that_scipy_gives(n: int, confidence: float) -> None:
    values = rng(n).normal(3, 2, n)
    low, high = stats.t.interval(confidence, n - 1, values.mean(), stats.sem(values))
    found = estimate(values.tolist(), confidence)
    assert found.half_width is not None
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (low, high)
    )


@pytest.mark.parametrize("n", [2, 5])
def test_nine_in_ten_intervals_cover_the_true_mean(n: int) -> None:
    found = [estimate(values) for values in rng(n).normal(7, 3, (4000, n)).tolist()]
    covering = [abs(one.mean - 7) <= (one.half_width or 0) for one in found]
    # Four standard errors of a frequency of 0.9 over 4000 are 0.019.
    assert np.mean(covering) == pytest.approx(0.9, abs=0.019)


def test_a_difference_is_taken_seed_by_seed() -> None:
    ones = [Replicate(seed, {"rmse": value}) for seed, value in ((1, 5.0), (2, 7.0), (9, 0.0))]
    others = [Replicate(seed, {"rmse": value}) for seed, value in ((2, 4.0), (1, 4.0), (3, 50.0))]
    assert difference(ones, others, "rmse") == estimate([1.0, 3.0])
    assert difference(ones, others[2:], "rmse") is None
    assert difference([], [], "rmse") is None


def test_members_that_are_far_apart_are_on_the_front_for_certain_or_not() -> None:
    samples = [
        about(mean, np.eye(2) * 1e-6)
        for mean in [(0, 1), (0.2, 0.5), (0.5, 0.2), (1, 0), (0.3, 0.3), (0.6, 0.6)]
    ]
    assert probability_on_front(samples, rng()).tolist() == [1, 1, 1, 1, 1, 0]
    assert robust_front(samples, rng()).tolist() == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("correlation", "expected"),
    [(0.0, 1 / 4), (0.999999, 1 / 2), (-0.999999, 0.0), (0.5, 1 / 3)],
)
def test_of_two_equal_means_one_dominates_as_often_as_the_noise_is_in_one_quadrant(
    correlation: float, expected: float
) -> None:
    # The orthant probability of two correlated normals is 1/4 + arcsin(correlation) / 2π.
    one = about((0, 0), [[1, correlation], [correlation, 1]])
    samples = [one, -one]  # so that no seed does the same to both
    found = probability_on_front(samples, rng())
    assert found.tolist() == pytest.approx([1 - expected] * 2, abs=0.02)


def test_a_few_replicates_give_the_probability_of_students_t() -> None:
    # In the first objective the members are far apart, in the second by one standard error of the
    # difference: with 2 × 2 replicates at unlike places the noise has one degree of freedom.
    step = math.sqrt(2)
    samples = [
        np.array([[0.0, -1.0], [0.0, 1.0]]),
        np.array([[9.0, 1.0 - step], [9.0, -1.0 - step]]),
    ]
    # Residuals less what the two share are ±1: a pooled variance of 4, 2 of a mean, 4 of the
    # difference of the two means.
    expected = stats.t.cdf(step / 2, 1)
    assert probability_on_front(samples, rng())[1] == pytest.approx(expected, abs=0.02)


def test_what_a_seed_does_to_all_members_alike_is_no_noise() -> None:
    seeds = rng(1).normal(0, 5, (5, 2))
    samples = [
        about(mean, np.eye(2) * 1e-4) + seeds for mean in [(0, 1), (0.5, 0.5), (0.6, 0.6), (1, 0)]
    ]
    assert probability_on_front(samples, rng()).tolist() == [1, 1, 0, 1]


def test_a_member_of_one_replicate_borrows_the_noise_of_the_others() -> None:
    # Mean against single: variances 1/4 and 1 in the second objective, the first far apart.
    samples = [about((0, 0), np.eye(2), 1000), np.array([[50.0, -1.0]])]
    wide = probability_on_front([*samples, np.array([[99.0, 99.0]])], rng())
    assert wide[1] == pytest.approx(stats.norm.cdf(1 / math.sqrt(1 + 1 / 1000)), abs=0.02)
    assert wide[[0, 2]].tolist() == [1, 0]


def test_more_replicates_of_a_member_narrow_its_draws() -> None:
    rival = about((0.0, 0.0), np.eye(2), 400)
    found = [
        probability_on_front([rival, about((50.0, -0.5), np.eye(2), n)], rng())[1] for n in (4, 100)
    ]
    expected = [stats.norm.cdf(0.5 / math.sqrt(1 / 400 + 1 / n)) for n in (4, 100)]
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("members", [3, 9])
def test_without_noise_the_probability_is_that_of_the_means_and_equal_members_share_it(
    members: int,
) -> None:
    x = np.linspace(0, 1, members - 1)
    means = np.vstack([np.column_stack([x, (1 - x) ** 2]), [[x[1], (1 - x[1]) ** 2]], [[1, 0.5]]])
    samples = [np.repeat(mean[np.newaxis], 3, axis=0) for mean in means]
    assert probability_on_front(samples, rng()).tolist() == non_dominated(means).tolist()
    assert robust_front(samples, rng()).tolist() == non_dominated(means).tolist()


def test_the_only_member_is_on_the_front() -> None:
    assert probability_on_front([about((0, 0), np.eye(2))], rng()).tolist() == [1]


def test_units_and_shifts_do_not_matter() -> None:
    truth = convex(rng(3), Noise(0.03))
    samples = list(truth[:, np.newaxis] + Noise(0.03).draw(len(truth), rng(4)))
    moved = [sample * [1000, 0.01] + [5, -7] for sample in samples]
    found = probability_on_front(samples, rng())
    assert ((found > 0.05) & (found < 0.95)).any()
    assert probability_on_front(moved, rng()) == pytest.approx(found, abs=0.03)


def test_the_draws_follow_the_generator_alone() -> None:
    truth = convex(rng(3), Noise(0.05))
    samples = list(truth[:, np.newaxis] + Noise(0.05).draw(len(truth), rng(4)))
    first = probability_on_front(samples, rng(5), 200)
    assert probability_on_front(samples, rng(5), 200).tolist() == first.tolist()
    assert probability_on_front(samples, rng(6), 200).tolist() != first.tolist()


def test_a_member_is_robust_until_another_beats_it_with_the_confidence_asked() -> None:
    # Mirrored residuals have no common part: pooled, their variance is 2 × 100, that of a mean 2,
    # that of a difference 4. So the first beats the second with probability Φ(3/√4)² = 0.87.
    one = about((0.0, 0.0), np.eye(2) * 100, 100)
    samples = [one, 3.0 - one]
    beaten = stats.norm.cdf(3 / math.sqrt(4)) ** 2
    assert probability_on_front(samples, rng())[1] == pytest.approx(1 - beaten, abs=0.02)
    assert robust_front(samples, rng(), confidence=0.9).tolist() == [True, True]
    assert robust_front(samples, rng(), confidence=0.8).tolist() == [True, False]


def test_many_rivals_that_each_may_be_better_leave_a_member_robust() -> None:
    samples = [about((1.2, 1.2), np.eye(2) * 100, 100)]
    samples += [rng(i).permutation(about((0.0, 0.0), np.eye(2) * 100, 100)) for i in range(8)]
    assert probability_on_front(samples, rng())[0] < 0.4
    assert robust_front(samples, rng())[0]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([np.zeros((1, 2)), np.ones((1, 2))], "no member has two replicates"),
        ([np.zeros((1, 2))], "no member has two replicates"),
        ([], "no member has two replicates"),
        ([np.zeros((3, 2)), np.zeros((3, 3))], r"member 1 has shape \(3, 3\)"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], r"member 1 has shape \(0, 2\)"),
        ([np.array([[0.0, 1.0], [np.nan, 1.0]])], "member 0 has a replicate that is not finite"),
    ],
)
def test_samples_that_tell_nothing_are_refused(samples: list[np.ndarray], message: str) -> None:
    for function in (probability_on_front, robust_front):
        with pytest.raises(ValueError, match=message):
            function(samples, rng())


def gaps(method: Method, problems: int = 25) -> list[float]:
    """Observed less predicted frequency, in each bin of at least 100 members."""
    found = [
        outcomes(truth, Noise(error, shared=shared), method, problems, rng(i))
        for i, (truth, error, shared) in enumerate(
            (truth, error, shared)
            for truth in (convex, straight, with_references)
            for error in (0.01, 0.02, 0.03)
            for shared in (0.0, 0.5)
        )
    ]
    return [one.observed - one.predicted for one in binned(found) if one.count >= 100]


def test_the_probability_is_calibrated_on_fronts_with_noise() -> None:
    found = gaps(partial(probability_on_front, draws=500))
    assert len(found) >= 6
    assert max(map(abs, found)) <= 0.1


def test_a_plain_bootstrap_is_not_calibrated_there() -> None:
    # Else the test above would show nothing.
    assert max(map(abs, gaps(partial(plain_bootstrap, draws=200)))) > 0.15
