"""How sure the figures are: means over seeds, their intervals, and who is truly on the front.

Replicates are trainings of one trial with fresh seeds, so their spread is what a seed does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.front.pareto import FloatArray
from sweep.results import Replicate

DRAWS = 10_000
"""Draws of the true means: enough for two digits of a probability."""

NEAR = 0.1
"""Members of a front are expected about this near to a curve, in parts of the front's extent."""

LEAST = 5
"""Fewer members do not tell whether they lie along a curve."""

EVER = 0.01
"""Members that are on the front in fewer of the plain draws say nothing about its curve."""


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds, uncertain by `half_width`; None where one seed tells no spread."""

    mean: float
    half_width: float | None
    n: int


def estimate(values: Sequence[float], confidence: float = 0.9) -> Estimate:
    """The mean of a metric over seeds, with Student's t interval (Student, Biometrika 6(1), 1908).

    Args:
        values: one for each seed, at least one.
        confidence: how often the interval covers the true mean, if the noise is normal; 0 … 1.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Estimate(mean, None, n)
    # SciPy is slow to import, and not every command shows an interval.
    from scipy.special import stdtrit

    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, float(stdtrit(n - 1, (1 + confidence) / 2)) * error, n)


def difference(
    ones: Sequence[Replicate], others: Sequence[Replicate], metric: str
) -> Estimate | None:
    """How much higher a metric is in the first replicates, seed by seed; None if no seed is shared.

    What a seed does to both cancels out, so that this tells apart what two means would not.
    """
    by_seed = {other.seed: other.metrics[metric] for other in others}
    gaps = [one.metrics[metric] - by_seed[one.seed] for one in ones if one.seed in by_seed]
    return estimate(gaps) if gaps else None


def probability_on_front(
    samples: Sequence[FloatArray], rng: np.random.Generator, draws: int = DRAWS
) -> FloatArray:
    """The probability that each member is on the front of the members' true means.

    A parametric bootstrap: the true means are drawn many times, as `_draw_means` tells, and counted
    is how often no other member dominates. Both objectives are drawn together, so that what they
    have in common in a training is kept.

    `tests/benchmarks/bench_calibration.py` measures how often members are truly on the front that
    are said to be so with a probability p. Where 6 … 12 members lie along a curve or somewhat off
    it, and a mean has a standard error of up to 3 % of the front's extent, that is p mostly within
    0.1, and on average within 0.05. It is worse

    - where most members lie on the curve and a few far off, as among all that a search found: of
      those below 0.8, more are on the front, by 0.1 to 0.25;
    - with a standard error of 5 %: more are on the front, by 0.05 on average, 0.1 after a search;
    - where members differ by no more than the noise and lie along nothing: fewer are on the front,
      by up to 0.3.

    Args:
        samples: for each member its replicates, float64 [n_replicates, 2], lower is better. Members
            may have unlike numbers of replicates, and some but one.
        rng: where the draws come from.
        draws: how many.

    Returns:
        float64 [n_members], 0 … 1.

    Raises:
        ValueError: a shape is wrong, a value is not finite, or no member has two replicates, so
            that nothing is known of the noise.
    """
    means = _draw_means(samples, rng, draws)
    return np.array([1 - _dominating(means, i).any(axis=1).mean() for i in range(len(samples))])


def robust_front(
    samples: Sequence[FloatArray],
    rng: np.random.Generator,
    confidence: float = 0.9,
    draws: int = DRAWS,
) -> NDArray[np.bool_]:
    """Which members no other beats with confidence.

    One member beats another with confidence if it dominates it in at least that fraction of the
    draws, which are those of `probability_on_front`. Takes and raises what that does.

    Returns:
        bool [n_members].
    """
    means = _draw_means(samples, rng, draws)
    return np.array(
        [_dominating(means, i).mean(axis=0).max() < confidence for i in range(len(samples))]
    )


def _dominating(means: FloatArray, member: int) -> NDArray[np.bool_]:
    """In which draws which members dominate this one: bool [draws, n_members]."""
    own = means[:, member : member + 1]
    return np.logical_and((means <= own).all(axis=2), (means < own).any(axis=2))


def _draw_means(samples: Sequence[FloatArray], rng: np.random.Generator, draws: int) -> FloatArray:
    """Draw the members' true means, given their replicates: float64 [draws, n_members, 2].

    The noise has one covariance, pooled over the members: of a few replicates of one member alone
    the spread is badly known, and resampling them makes it too small, by a fifth of the variance
    for five. The pooled covariance is an estimate too, so each draw is wider or narrower by the
    root of its degrees of freedom over chi-squared, which makes the noise Student's t.

    Members that may be on the front are then drawn by `_draw_near_curve`.
    """
    means, counts, covariance, freedom = _noise(samples)
    scatter = freedom / rng.chisquare(freedom, draws)[:, np.newaxis] / counts
    noise = rng.multivariate_normal(np.zeros(2), covariance, scatter.shape, method="svd")
    drawn: FloatArray = means + np.sqrt(scatter)[:, :, np.newaxis] * noise
    dominated = [_dominating(drawn, i).any(axis=1).mean() for i in range(len(means))]
    near = np.flatnonzero(np.array(dominated) < 1 - EVER)
    if len(near) >= LEAST and covariance.any():
        drawn[:, near] = _draw_near_curve(means[near], covariance, scatter[:, near], rng)
    return drawn


def _noise(
    samples: Sequence[FloatArray],
) -> tuple[FloatArray, NDArray[np.int64], FloatArray, int]:
    """What the replicates tell: means and counts by member, the noise's covariance and its freedom.

    The covariance is that of one replicate; its degrees of freedom are at least 1.
    """
    members = [np.asarray(sample, dtype=np.float64) for sample in samples]
    for i, member in enumerate(members):
        if member.ndim != 2 or member.shape[1] != 2 or not len(member):
            raise ValueError(f"member {i} has shape {member.shape}; expected [n_replicates, 2]")
        if not np.isfinite(member).all():
            raise ValueError(f"member {i} has a replicate that is not finite")
    counts = np.array([len(member) for member in members])
    # From the first replicate on, so that equal replicates have exactly their value as mean.
    means = np.array([m[0] + (m - m[0]).mean(axis=0) for m in members]).reshape(-1, 2)
    residuals = [member - mean for member, mean in zip(members, means, strict=True)]
    freedom = int((counts - 1).sum())
    if len(members) > 1 and len(set(counts.tolist())) == 1:
        # Replicates in the same place have the same seed: what it does to all alike moves no front.
        common = np.mean(residuals, axis=0)
        residuals = [residual - common for residual in residuals]
        freedom -= int(counts[0]) - 1
    if freedom < 1:
        raise ValueError("no member has two replicates, so nothing is known of the noise")
    pooled = np.concatenate(residuals)
    return means, counts, pooled.T @ pooled / freedom, freedom


def _draw_near_curve(
    means: FloatArray, covariance: FloatArray, scatter: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Draw true means that lie near a smooth curve, as far as the measured ones do.

    Plain draws scatter about measured means that are scattered already, so that members which are
    all on the front seem to dominate each other. Here the position across the front, the sum of the
    objectives on axes scaled to the members' extent, has a normal hierarchical model (Gelman et
    al., "Bayesian Data Analysis", 3rd edition 2013, section 5.4): it is normal about a parabola in
    the position along the front, which is their difference. The parabola's coefficients have a flat
    prior, the standard deviation about it a half-Cauchy one of scale `NEAR` (Gelman, "Prior
    distributions for variance parameters in hierarchical models", Bayesian Analysis 1(3), 2006).
    The position along the front has a flat prior; the noise that both share moves it along.

    Args:
        means: float64 [n, 2].
        covariance: float64 [2, 2], of one replicate.
        scatter: float64 [draws, n], by how much of the covariance a mean is scattered.
        rng: where the draws come from.

    Returns:
        float64 [draws, n, 2].
    """
    draws, n = scatter.shape
    extent = np.ptp(means, axis=0)
    turn = np.array([[1, 1], [1, -1]]) / np.where(extent > 0, extent, 1.0)
    across, along = turn @ means.T
    turned = turn @ covariance @ turn.T
    noise = max(float(turned[0, 0]), 0.0)
    basis = np.linalg.qr(np.vander(along, 3))[0]
    # Draws from the prior, resampled by their likelihood (Rubin, "Using the SIR algorithm to
    # simulate posterior distributions", Bayesian Statistics 3, 1988).
    off = NEAR * np.abs(rng.standard_cauchy(draws))[:, np.newaxis]
    variance = off**2 + noise * scatter
    precision, best = _weighted_fit(basis, across, variance)
    misfit = (((across - best @ basis.T) ** 2) / variance).sum(axis=1)
    likelihood = -(np.log(variance).sum(axis=1) + np.linalg.slogdet(precision)[1] + misfit) / 2
    weights = np.exp(likelihood - likelihood.max())
    chosen = rng.choice(draws, draws, p=weights / weights.sum())
    off, scatter, variance = off[chosen], scatter[chosen], variance[chosen]
    precision, best = precision[chosen], best[chosen]

    spread = np.linalg.cholesky(np.linalg.inv(precision))
    curve = (best + (spread @ rng.standard_normal((draws, 3, 1)))[:, :, 0]) @ basis.T
    share = off**2 / variance  # of its distance from the curve that a member keeps
    kept = curve + share * (across - curve)
    true_across = kept + off * np.sqrt(1 - share) * rng.standard_normal((draws, n))
    slope = turned[0, 1] / noise if noise else 0.0
    rest = np.sqrt(max(turned[1, 1] - slope * turned[0, 1], 0.0) * scatter)
    true_along = along + slope * (true_across - across) + rest * rng.standard_normal((draws, n))
    turned_back: FloatArray = np.stack([true_across, true_along], axis=2) @ np.linalg.inv(turn).T
    return turned_back


def _weighted_fit(
    basis: FloatArray, values: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares, once for each draw: the coefficients' precision, and the best ones.

    `basis` is float64 [n, k], `values` [n], `variance` [draws, n]; gives [draws, k, k], [draws, k].
    """
    precision = np.einsum("dn,nj,nk->djk", 1 / variance, basis, basis)
    projected = (values / variance) @ basis
    return precision, np.linalg.solve(precision, projected[:, :, np.newaxis])[:, :, 0]
