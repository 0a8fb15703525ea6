"""The values that flow between the parts: loss weights in, trial results out.

Everything here is frozen, free of TensorFlow and of Optuna, and cheap to import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Self

from sweep.config import (
    Choices,
    SearchSpaceConfig,
    Setting,
    StudyConfig,
    Variable,
    is_whole,
)

TrialState = Literal["complete", "pruned", "failed", "running", "waiting"]


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

    @classmethod
    def from_ratio(cls, ratio: float, scale: float) -> Self:
        """The weights of a ratio and a scale, both above 0."""
        root = math.sqrt(ratio)
        return cls(scale * root, scale / root)

    @property
    def ratio(self) -> float:
        """`rating_weight / retrieval_weight`; infinite for the rating-only model."""
        return self.rating_weight / self.retrieval_weight if self.retrieval_weight else math.inf

    @property
    def scale(self) -> float:
        """The common size of the weights, the square root of their product; 0 for a specialist."""
        return math.sqrt(self.rating_weight * self.retrieval_weight)


@dataclass(frozen=True)
class Point:
    """One point of the search space: the loss weights, and the keys searched beside them.

    `settings` maps dotted names, as `training.epochs`, to values.
    """

    weights: LossWeights
    settings: Mapping[str, Setting] = field(default_factory=dict)


RATING_ONLY: Final = "rating only"
RETRIEVAL_ONLY: Final = "retrieval only"
EQUAL_WEIGHTS: Final = "equal weights"


def references(space: SearchSpaceConfig) -> Mapping[str, Point]:
    """The models that every study trains first, by name: two specialists and the naive joint model.

    A specialist has one weight at the centre of its range and the other at 0; the joint model has
    both weights at 1. What else is searched is at its centre, or at the first of its choices. Where
    one weight is fixed at 0, the study is about one specialist, which is its only reference.
    """
    spans = [span.centre for span in space.weights.values()]
    centre = LossWeights(*spans) if space.ratio is None else LossWeights.from_ratio(*spans)
    settings = {name: _centre(name, variable) for name, variable in space.variables.items()}
    weights = {
        RATING_ONLY: (centre.rating_weight, 0.0),
        RETRIEVAL_ONLY: (0.0, centre.retrieval_weight),
        EQUAL_WEIGHTS: (1.0, 1.0),
    }
    if centre.retrieval_weight == 0:
        weights = {RATING_ONLY: weights[RATING_ONLY]}
    elif centre.rating_weight == 0:
        weights = {RETRIEVAL_ONLY: weights[RETRIEVAL_ONLY]}
    return {name: Point(LossWeights(*pair), settings) for name, pair in weights.items()}


def _centre(name: str, variable: Variable) -> Setting:
    if isinstance(variable, Choices):
        return variable.choices[0]
    return round(variable.centre) if is_whole(name) else variable.centre


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

    `metrics` maps every name in `sweep.config.METRICS` to its value after the last epoch: no epoch
    is picked by its score. `training_seconds` and `evaluation_seconds` are wall-clock times summed
    over all epochs. `pruned` tells that the last epoch of the curve is not the last that was asked.
    """

    metrics: Mapping[str, float]
    history: tuple[Epoch, ...]
    training_seconds: float
    evaluation_seconds: float
    pruned: bool = False


@dataclass(frozen=True)
class Replicate:
    """One more training of the same model, from another seed: every metric by name.

    `seconds` is how much of the study's time it took, by the wall clock: where several train beside
    each other, what went by since the one before ended.
    """

    seed: int
    metrics: Mapping[str, float]
    seconds: float = 0.0


@dataclass(frozen=True)
class Baseline:
    """A model without loss weights, scored on the same rows as the trials.

    `metrics` holds what it can be scored on: RMSE, or accuracies. `note` says how it was fitted,
    or why it was left out, when `metrics` is empty.
    """

    name: str
    metrics: Mapping[str, float]
    note: str


@dataclass(frozen=True)
class Ablation:
    """A trial trained again with one key of the study file put back to its default.

    `key` is dotted, as in `model.biases`; None is the trial as it is, on the same seeds.
    """

    trial: int
    key: str | None
    value: Setting | None
    default: Setting | None
    replicates: tuple[Replicate, ...]


@dataclass(frozen=True)
class FinalScore:
    """A chosen trial on the test rows: trained on training and validation rows together.

    One replicate for each seed; `baselines` are fitted and scored on the same rows.
    """

    trial: int
    replicates: tuple[Replicate, ...]
    baselines: tuple[Baseline, ...]


@dataclass(frozen=True)
class Trial:
    """One trial as the store holds it.

    `settings` are the values of the keys that are searched beside the weights, by dotted name.
    `result` is there if `state` is "complete" or "pruned"; a pruned trial's is of the epoch after
    which it was stopped. `reason` says why a trial failed or was pruned. `reference` is the name of
    the reference that the trial stands for, if it does. `replicates` have seeds of their own, never
    the trial's.
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
    settings: Mapping[str, Setting] = field(default_factory=dict)
    replicates: tuple[Replicate, ...] = ()

    @property
    def metrics(self) -> Mapping[str, float]:
        """What a trial is judged by: means over its replicates, or its own result without any.

        The result itself is left out of the means: the search has looked at it, and the trials that
        were chosen to be replicated are those whose result was lucky. Empty unless complete.
        """
        if not self.replicates:
            return self.result.metrics if self.result else {}
        return {
            name: math.fsum(r.metrics[name] for r in self.replicates) / len(self.replicates)
            for name in self.replicates[0].metrics
        }


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
    baselines: tuple[Baseline, ...] = ()
    ablation: tuple[Ablation, ...] = ()
    finals: tuple[FinalScore, ...] = ()

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The trials that have a result."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def contenders(self) -> tuple[Trial, ...]:
        """The trials to choose among: those with replicates, or all complete ones without any.

        One lucky seed would beat a mean, so the two kinds are not compared.
        """
        replicated = tuple(trial for trial in self.complete if trial.replicates)
        return replicated or self.complete

    @property
    def best(self) -> Mapping[str, float]:
        """The best value of each objective among the contenders; empty while there are none."""
        contenders = self.contenders
        return {
            o.metric: o.sign * min(o.sign * trial.metrics[o.metric] for trial in contenders)
            for o in self.config.objectives
            if contenders
        }

    @property
    def reference_point(self) -> tuple[float, ...]:
        """The worst value of each objective that counts towards the hypervolume, as measured.

        An objective's own `reference` where the study file gives one; else 0 for an accuracy, and
        for RMSE twice the error of always predicting the mean label, or 2 where the labels are all
        the same.
        """
        deviation = (self.dataset.label_deviation if self.dataset else 0.0) or 1.0
        return tuple(
            objective.reference
            if objective.reference is not None
            else (2 * deviation if objective.direction == "minimize" else 0.0)
            for objective in self.config.objectives
        )

    @property
    def ideal_point(self) -> tuple[float, ...]:
        """The best conceivable value of each objective: an RMSE of 0 and an accuracy of 1."""
        return tuple(
            0.0 if objective.direction == "minimize" else 1.0
            for objective in self.config.objectives
        )
