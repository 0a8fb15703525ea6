"""What a study found: computed once, for every picture, table and page of its report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sweep.config import (
    MOVIELENS,
    ModelConfig,
    Objective,
    Range,
    SplitConfig,
    StudyConfig,
    TrainingConfig,
)
from sweep.errors import SweepError
from sweep.front.pareto import (
    FloatArray,
    front_of,
    hypervolume_history,
    minimised,
    objective_values,
)
from sweep.front.selection import Choice, Knee, metric_label, select
from sweep.results import LossWeights, StudyRecord, Trial, TrialResult, TrialState

PUBLISHED: Mapping[str, tuple[float, float]] = {
    "rating only": (1.113, 0.060),
    "retrieval only": (3.773, 0.235),
    "equal weights": (1.131, 0.235),
}
"""RMSE and top-100 accuracy that the TensorFlow Recommenders multi-task tutorial prints.

Keyed like `sweep.results.REFERENCES`; see
https://www.tensorflow.org/recommenders/examples/multitask.
"""

EDGE = 0.02
"""How near a bound of the search space counts as at it, as a fraction of the range."""


@dataclass(frozen=True)
class AtEdge:
    """A weight of a trial that lies at a bound of the search space: `limit` is that bound."""

    trial: int
    weight: Literal["rating_weight", "retrieval_weight"]
    value: float
    bound: Literal["low", "high"]
    limit: float


@dataclass(frozen=True)
class Summary:
    """A study's complete trials and what follows from them.

    `values` are the objectives as measured, float64 [n_complete, 2]; `on_front` is bool
    [n_complete]; `front` is sorted, the best of the first objective first; `history` is the
    hypervolume after each complete trial, float64 [n_complete]. `references` holds the complete
    reference trials by name, `published` the tutorial's own figures for them in the order of the
    objectives, where the study does as the tutorial does. `at_edge` are the members of the front
    that a wider search space might improve on, in the order of the front.
    """

    record: StudyRecord
    complete: tuple[Trial, ...]
    values: FloatArray
    on_front: NDArray[np.bool_]
    front: tuple[Trial, ...]
    references: Mapping[str, Trial]
    published: Mapping[str, tuple[float, float]]
    knee: Choice
    history: FloatArray
    at_edge: tuple[AtEdge, ...]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The two objectives of the study."""
        return self.record.config.objectives

    @property
    def hypervolume(self) -> float:
        """The hypervolume of the whole front against `StudyRecord.reference_point`."""
        return float(self.history[-1])

    @property
    def unit(self) -> str:
        """The unit of the label and of RMSE, where it has a name."""
        return "stars" if self.record.config.dataset.name in MOVIELENS else ""

    def value(self, trial: Trial) -> tuple[float, float]:
        """The two objectives of a complete trial, as measured."""
        x, y = minimised(objective_values([trial], self.objectives), self.objectives)[0].tolist()
        return x, y

    def best(self, index: int) -> Trial:
        """The front's best trial in one objective."""
        return self.front[0] if index == 0 else self.front[-1]


def summarise(record: StudyRecord) -> Summary:
    """Compute the front, the knee and the hypervolume of a study.

    Raises:
        SweepError: no trial is complete, so there is nothing to report, or the loss weights of one
            on the front are not recorded.
    """
    objectives = record.config.objectives
    complete = record.complete
    if not complete:
        raise SweepError(_nothing_to_report(record))
    values = objective_values(complete, objectives)
    front = front_of(complete, objectives)
    members = {trial.number for trial in front}
    return Summary(
        record=record,
        complete=complete,
        values=minimised(values, objectives),
        on_front=np.array([trial.number in members for trial in complete], dtype=np.bool_),
        front=front,
        references={trial.reference: trial for trial in complete if trial.reference is not None},
        published=_published(record.config),
        knee=select(Knee(), record),
        history=hypervolume_history(values, minimised(record.reference_point, objectives)),
        at_edge=tuple(found for trial in front for found in _at_edge(trial, record.config)),
    )


def headline(summary: Summary) -> tuple[str, ...]:
    """What the study found, in a few plain sentences; the first one says most."""
    first, second = (metric_label(objective.metric) for objective in summary.objectives)
    count, size = len(summary.complete), len(summary.front)
    members = (
        f"The front of {_count(count, 'trained model')} has {_count(size, 'member')}"
        if count > 1
        else "One model has been trained so far"
    )
    bests = " and ".join(
        f"the best {label} {summary.value(trial)[index]:.4g} (trial {trial.number})"
        for index, label, trial in ((0, first, summary.best(0)), (1, second, summary.best(1)))
    )
    knee = summary.knee.trial
    x, y = summary.value(knee)
    edge = edge_text([found for found in summary.at_edge if found.trial == knee.number])
    return (
        f"{members}: {bests}.",
        f"The knee is trial {knee.number} with {weights_text(weights_of(knee))}: "
        f"{first} {x:.4g} with {second} {y:.4g}.",
        *([edge] if edge else []),
    )


def edge_text(found: Sequence[AtEdge]) -> str:
    """A sentence on the trials that lie at the edge of the search space; empty if none does."""
    if not found:
        return ""
    places: dict[int, list[str]] = {}
    for at in found:
        most = "most" if at.bound == "high" else "least"
        places.setdefault(at.trial, []).append(
            f"{at.weight.replace('_', ' ')} {at.value:.3g} of at {most} {at.limit:.3g}"
        )
    named = [f"{number} ({', '.join(texts)})" for number, texts in places.items()]
    trials = f"Trial {named[0]} is"
    if len(named) > 1:
        trials = f"Trials {', '.join(named[:-1])} and {named[-1]} are"
    return f"{trials} at the edge of the search space: a wider range may do better."


def protocol(record: StudyRecord) -> str:
    """What the models were trained and scored on, in plain sentences."""
    data = record.dataset
    if data is None:
        return f"Dataset: {record.config.dataset.name}; its size was not recorded."
    about = (
        f"Dataset {data.name}: {data.interactions:,} interactions of {data.queries:,} queries with "
        f"{data.candidates:,} candidates; trained on {data.train:,} rows, scored on"
    )
    if data.validation:
        return (
            f"{about} {data.validation:,} validation rows. The search sees the validation rows, so "
            "the figures of the chosen trials are a little optimistic. The "
            f"{data.test:,} test rows are untouched: sweep export trains the chosen trial again on "
            "training and validation rows together and scores it on them."
        )
    as_in_tutorial = ", as in the tutorial" if record.config.split.method == "tutorial" else ""
    return (
        f"{about} {data.test:,} test rows. The search sees the test rows{as_in_tutorial}, so the "
        "figures of the chosen trials are a little optimistic."
    )


def counts_text(record: StudyRecord) -> str:
    """How many trials there are in each state: "40 complete, 2 failed"."""
    counts = Counter(trial.state for trial in record.trials)
    return ", ".join(f"{counts[state]} {state}" for state in get_args(TrialState) if counts[state])


def weights_of(trial: Trial) -> LossWeights:
    """The loss weights of a complete trial.

    Raises:
        SweepError: they are not recorded, as may be in a store that something else has written to.
    """
    if trial.weights is None:
        raise SweepError(
            f"trial {trial.number} is complete, but its loss weights are not recorded; "
            "sweep did not train it: delete it from the store, or report another study"
        )
    return trial.weights


def result_of(trial: Trial) -> TrialResult:
    """The result of a complete trial; `ValueError` if it is not complete."""
    if trial.result is None:
        raise ValueError(f"trial {trial.number} is {trial.state}, not complete")
    return trial.result


def weights_text(weights: LossWeights) -> str:
    """A pair of weights for a person: "rating weight 0.2 and retrieval weight 0.09"."""
    return (
        f"rating weight {weights.rating_weight:.3g} and "
        f"retrieval weight {weights.retrieval_weight:.3g}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _published(config: StudyConfig) -> Mapping[str, tuple[float, float]]:
    """The tutorial's figures, where data, split, model and training are the tutorial's."""
    dataset = config.dataset
    columns = (dataset.query, dataset.candidate, dataset.label)
    if not (
        dataset.name == "movielens/100k"
        and all(
            given in (None, own)  # what the study file leaves out is the tutorial's
            for given, own in zip(columns, ("user_id", "movie_title", "user_rating"), strict=True)
        )
        and config.seeds.split == 42
        and config.split == SplitConfig(method="tutorial", test_fraction=0.2)
        and config.model == ModelConfig(embedding_dimension=32, rating_layers=(256, 128))
        and config.training
        == TrainingConfig(
            optimizer="adagrad",
            learning_rate=0.1,
            epochs=3,
            batch_size=8192,
            reshuffle=False,
            retrieval_reduction="sum",
        )
    ):
        return {}
    metrics = [objective.metric for objective in config.objectives]
    if metrics == ["rmse", "top_100_accuracy"]:
        return PUBLISHED
    if metrics == ["top_100_accuracy", "rmse"]:
        return {name: (accuracy, rmse) for name, (rmse, accuracy) in PUBLISHED.items()}
    return {}


def _at_edge(trial: Trial, config: StudyConfig) -> Sequence[AtEdge]:
    """Which weights of a trial are at a bound; 0 never is, it is outside every search space."""
    weights, space = weights_of(trial), config.search_space
    pairs: tuple[tuple[Literal["rating_weight", "retrieval_weight"], float, Range], ...] = (
        ("rating_weight", weights.rating_weight, space.rating_weight),
        ("retrieval_weight", weights.retrieval_weight, space.retrieval_weight),
    )
    found: list[AtEdge] = []
    for name, value, searched in pairs:
        if value == 0:
            continue
        scale = math.log if searched.log else float
        low, high = scale(searched.low), scale(searched.high)
        place = (scale(value) - low) / (high - low)
        if abs(place) <= EDGE:
            found.append(AtEdge(trial.number, name, value, "low", searched.low))
        elif abs(place - 1) <= EDGE:
            found.append(AtEdge(trial.number, name, value, "high", searched.high))
    return found


def _nothing_to_report(record: StudyRecord) -> str:
    counts = counts_text(record) or "it has no trials"
    reason = next((trial.reason for trial in record.trials if trial.reason), None)
    because = f"; the first failure: {reason}" if reason else ""
    return (
        f"study {record.name!r} has no complete trial to report ({counts}){because}; "
        "launch it again, then report"
    )
