"""The values that flow between the parts: loss weights in, trial results out.

Everything here is frozen, free of TensorFlow and of Optuna, and cheap to import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sweep.config import StudyConfig

TrialState = Literal["complete", "failed", "running", "waiting"]


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts: `total = rating_weight·rating + retrieval_weight·retrieval`.

    Both weights are finite and at least 0, and one of them is above 0.

    Raises:
        ValueError: a weight is negative or not finite, or both are 0.
    """

    rating_weight: float
    retrieval_weight: float

    def __post_init__(self) -> None:
        for name, value in (
            ("rating_weight", self.rating_weight),
            ("retrieval_weight", self.retrieval_weight),
        ):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}; a loss weight is a finite number >= 0")
        if self.rating_weight == 0 and self.retrieval_weight == 0:
            raise ValueError("both loss weights are 0: nothing would be trained")

    @property
    def ratio(self) -> float:
        """`rating_weight / retrieval_weight`; infinite for the rating-only model."""
        return self.rating_weight / self.retrieval_weight if self.retrieval_weight else math.inf


REFERENCES: Mapping[str, LossWeights] = {
    "rating only": LossWeights(1.0, 0.0),
    "retrieval only": LossWeights(0.0, 1.0),
    "equal weights": LossWeights(1.0, 1.0),
}
"""The models every study trains first: the two specialists and the equal-weights joint model."""


@dataclass(frozen=True)
class Epoch:
    """One point of a learning curve.

    `epoch` counts from 1. `rating_loss` is the mean squared error over the epoch's training
    batches; `retrieval_loss` is the mean over its batches of the retrieval loss as reduced in
    training (sum or mean over the batch). `metrics` are measured on held-out rows after the epoch.
    """

    epoch: int
    rating_loss: float
    retrieval_loss: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrialResult:
    """What training one pair of loss weights gave.

    `metrics` maps every name in `sweep.config.METRICS` to its value after the last epoch;
    `training_seconds` and `evaluation_seconds` are wall-clock times summed over all epochs.
    """

    metrics: Mapping[str, float]
    history: tuple[Epoch, ...]
    training_seconds: float
    evaluation_seconds: float


@dataclass(frozen=True)
class Trial:
    """One trial as the store holds it.

    `result` is there if and only if `state` is "complete"; `reason` says why a trial failed.
    `reference` is the key in `REFERENCES` that the trial stands for, if it does.
    """

    number: int
    state: TrialState
    weights: LossWeights | None
    seed: int | None
    result: TrialResult | None = None
    reason: str | None = None
    reference: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetSummary:
    """What a study was measured on: counts of rows and of distinct ids, and a content hash.

    `train`, `validation` and `test` count rows; without validation rows the search sees the test
    rows. `label_deviation` is the standard deviation of the labels that the search is scored on, in
    units of the label.
    """

    name: str
    fingerprint: str
    interactions: int
    queries: int
    candidates: int
    train: int
    test: int
    label_deviation: float
    validation: int = 0


@dataclass(frozen=True)
class StudyRecord:
    """A whole study as the store holds it; `trials` are in order of their numbers."""

    name: str
    config: StudyConfig
    dataset: DatasetSummary | None
    trials: tuple[Trial, ...]

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The trials that have a result."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def reference_point(self) -> tuple[float, ...]:
        """The worst value of each objective that counts towards the hypervolume, as measured.

        An objective's own `reference` where the study file gives one; else 0 for an accuracy, and
        for RMSE twice the error of always predicting the mean label.
        """
        deviation = self.dataset.label_deviation if self.dataset else 1.0
        return tuple(
            objective.reference
            if objective.reference is not None
            else (2 * deviation if objective.metric == "rmse" else 0.0)
            for objective in self.config.objectives
        )
