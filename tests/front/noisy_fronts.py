"""Fronts whose true members are known, measured with noise, and how well a method finds them.

On each the objectives extend over about 1, so that an error is in parts of the front's extent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.front import non_dominated

Method = Callable[[Sequence[NDArray[np.float64]], np.random.Generator], NDArray[np.float64]]
"""From replicates by member, [n_replicates, 2] each, to probabilities [n_members]."""


@dataclass(frozen=True)
class Noise:
    """How replicates scatter: `error` is the standard error of a mean of all of them.

    `shared` is the part of the variance that a seed does to all members alike; `uneven` is the
    standard deviation of the logarithm of a member's own noise.
    """

    error: float
    replicates: int = 5
    shared: float = 0.0
    uneven: float = 0.0

    def draw(self, members: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Noise of replicates, [n_members, n_replicates, 2], its objectives correlated."""
        correlation = rng.uniform(-0.8, 0.8)
        root = np.linalg.cholesky([[1, correlation], [correlation, 1]])
        own = rng.standard_normal((members, self.replicates, 2))
        own *= np.exp(rng.normal(0, self.uneven, (members, 1, 1)))
        common = rng.standard_normal((1, self.replicates, 2))
        mixed = np.sqrt(1 - self.shared) * own + np.sqrt(self.shared) * common
        noise: NDArray[np.float64] = self.error * np.sqrt(self.replicates) * mixed @ root.T
        return noise


def convex(rng: np.random.Generator, _: Noise) -> NDArray[np.float64]:
    """Members that lie on a convex curve or somewhat above it."""
    x = rng.random(rng.integers(6, 13))
    off = rng.choice([0.01, 0.03, 0.08]) * np.abs(rng.standard_normal(len(x)))
    return np.column_stack([x + off, (1 - x) ** 2 + off])


def straight(rng: np.random.Generator, _: Noise) -> NDArray[np.float64]:
    """Members about a straight line."""
    x = rng.random(rng.integers(6, 13))
    return np.column_stack([x, 1 - x]) + rng.normal(0, 0.03, (len(x), 2))


def with_references(rng: np.random.Generator, noise: Noise) -> NDArray[np.float64]:
    """A convex front and three models far behind it."""
    return np.vstack([convex(rng, noise), [[1.5, 0.6], [0.8, 1.4], [2.0, 2.0]]])


def searched(rng: np.random.Generator, noise: Noise) -> NDArray[np.float64]:
    """At most 12 of the trials that are on the front of single results.

    The objectives are distances from two points in a plane of weights, to a power; half of the
    trials lie anywhere, half near the best weights.
    """
    count = int(rng.integers(30, 60))
    ends = np.array([[-0.5, 0.0], [0.5, 0.0]])
    weights = rng.uniform(-1, 1, (count, 2))
    place = rng.random((count // 2, 1))
    near = ends[0] * place + ends[1] * (1 - place)
    weights[: count // 2] = near + rng.normal(0, 0.12, near.shape)
    distances = np.linalg.norm(weights[:, np.newaxis] - ends, axis=2)
    truth: NDArray[np.float64] = distances ** rng.uniform(1.2, 2.5)
    single = truth + noise.draw(count, rng)[:, 0]
    found = truth[non_dominated(single)]
    return found[rng.permutation(len(found))[:12]]


def cloud(rng: np.random.Generator, _: Noise) -> NDArray[np.float64]:
    """Members anywhere in a square."""
    return rng.random((rng.integers(6, 13), 2))


def blob(rng: np.random.Generator, _: Noise) -> NDArray[np.float64]:
    """Members that differ little and in no order."""
    return rng.normal(0, 0.05, (rng.integers(6, 13), 2))


Truth = Callable[[np.random.Generator, Noise], NDArray[np.float64]]


@dataclass(frozen=True)
class Bin:
    """Members with about the same prediction: its mean, and how many are truly on the front."""

    predicted: float
    observed: float
    count: int


Outcomes = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""Of many members: the predicted probability, and whether they are truly on the front."""


def outcomes(
    truth: Truth, noise: Noise, method: Method, problems: int, rng: np.random.Generator
) -> Outcomes:
    """Predict that many problems of a kind; the same ones for every method."""
    of_problems, of_method = rng.spawn(2)
    predicted, observed = [], []
    for _ in range(problems):
        members = truth(of_problems, noise)
        scattered = members[:, np.newaxis] + noise.draw(len(members), of_problems)
        predicted.append(method(list(scattered), of_method))
        observed.append(non_dominated(members))
    return np.concatenate(predicted), np.concatenate(observed)


def binned(found: Iterable[Outcomes]) -> list[Bin]:
    """Ten bins of predictions, less those that are empty."""
    predicted, observed = (np.concatenate(parts) for parts in zip(*found, strict=True))
    place = np.minimum((10 * predicted).astype(int), 9)
    return [
        Bin(float(predicted[inside].mean()), float(observed[inside].mean()), int(inside.sum()))
        for inside in (place == i for i in range(10))
        if inside.any()
    ]


def plain_bootstrap(
    samples: Sequence[NDArray[np.float64]], rng: np.random.Generator, draws: int = 400
) -> NDArray[np.float64]:
    """The textbook way: every member's replicates resampled with replacement."""
    return _on_front(
        [
            sample[rng.integers(0, len(sample), (draws, len(sample)))].mean(axis=1)
            for sample in samples
        ]
    )


def bayesian_bootstrap(
    samples: Sequence[NDArray[np.float64]], rng: np.random.Generator, draws: int = 400
) -> NDArray[np.float64]:
    """Every member's replicates with random weights (Rubin, Annals of Statistics 9(1), 1981)."""
    return _on_front([rng.dirichlet(np.ones(len(sample)), draws) @ sample for sample in samples])


def pooled_student(
    samples: Sequence[NDArray[np.float64]], rng: np.random.Generator, draws: int = 400
) -> NDArray[np.float64]:
    """Student's t about the measured means, with one covariance of all members."""
    residuals = np.concatenate([sample - sample.mean(axis=0) for sample in samples])
    freedom = len(residuals) - len(samples)
    root = np.linalg.cholesky(residuals.T @ residuals / freedom)
    wider = np.sqrt(freedom / rng.chisquare(freedom, (draws, 1)))
    return _on_front(
        [
            sample.mean(axis=0)
            + wider * (rng.standard_normal((draws, 2)) @ root.T) / np.sqrt(len(sample))
            for sample in samples
        ]
    )


def _on_front(means: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """From draws by member, [draws, 2] each, the fraction in which each is on the front."""
    found: NDArray[np.float64] = np.mean(
        [non_dominated(draw) for draw in np.stack(means, axis=1)], axis=0
    )
    return found
