"""What a study found: computed once, for every picture, table and page of its report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

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
from sweep.front.rules import Knee
from sweep.front.selection import Choice, metric_label, select, setting_text
from sweep.front.uncertainty import Estimate, estimate, probability_on_front, robust_front
from sweep.results import (
    EQUAL_WEIGHTS,
    RATING_ONLY,
    RETRIEVAL_ONLY,
    FinalScore,
    LossWeights,
    Replicate,
    StudyRecord,
    Trial,
    TrialResult,
    TrialState,
    references,
)

if TYPE_CHECKING:
    from sweep.search.importance import Importances

PUBLISHED: Mapping[str, tuple[float, float]] = {
    RATING_ONLY: (1.113, 0.060),
    RETRIEVAL_ONLY: (3.773, 0.235),
    EQUAL_WEIGHTS: (1.131, 0.235),
}
"""RMSE and top-100 accuracy that the TensorFlow Recommenders multi-task tutorial prints, by the
name of the reference; see https://www.tensorflow.org/recommenders/examples/multitask.
"""

_TUTORIALS_WEIGHTS = (LossWeights(1, 0), LossWeights(0, 1), LossWeights(1, 1))

EDGE = 0.02
"""How near a bound of the search space counts as at it, as a fraction of the range."""


@dataclass(frozen=True)
class AtEdge:
    """What a trial has at a bound of the search space: `limit` is that bound.

    `variable` is the name of what is searched, as `rating_weight`, `ratio` or `training.epochs`.
    """

    trial: int
    variable: str
    value: float
    bound: Literal["low", "high"]
    limit: float


@dataclass(frozen=True)
class Convergence:
    """Whether the search was still finding better trials when it ended.

    `history`, float64 [n_complete] in 0 … 1, is the hypervolume after each complete trial, by their
    single results, divided by that of the box between `reference_point` and `ideal_point` (as
    measured, in the order of the objectives). `gain` is what the last `trials` complete and pruned
    trials added to it; with a gain below `min_delta` the search has `converged`, which is None
    where there are too few trials to tell.
    """

    history: FloatArray
    reference_point: tuple[float, ...]
    ideal_point: tuple[float, ...]
    trials: int
    gain: float
    min_delta: float
    converged: bool | None
    sentence: str


@dataclass(frozen=True)
class Summary:
    """A study's complete trials and what follows from them.

    `values` are the objectives of the single results that the search saw, as measured, float64
    [n_complete, 2]; all else is judged by `Trial.metrics`. `contenders` are the trials to choose
    among; `front` are those of them that no other dominates, the best of the first objective first;
    `on_front`, bool [n_complete], tells which trials these are. `references` holds the complete
    reference trials by name, `published` the tutorial's own figures for them in the order of the
    objectives, where the study does as the tutorial does. `at_edge` are the members of the front
    that a wider search space might improve on, in the order of the front.

    `estimates` holds every metric of every complete trial, by its number. `probability` is that of
    being truly on the front, by the number of each contender with at least two replicates; `robust`
    are the numbers of those that no other beats with confidence. `final` is the knee's score on the
    test rows, `importances` what mattered in the search; either is None where it is not known.
    """

    record: StudyRecord
    complete: tuple[Trial, ...]
    contenders: tuple[Trial, ...]
    values: FloatArray
    on_front: NDArray[np.bool_]
    front: tuple[Trial, ...]
    references: Mapping[str, Trial]
    published: Mapping[str, tuple[float, float]]
    knee: Choice
    at_edge: tuple[AtEdge, ...]
    estimates: Mapping[int, Mapping[str, Estimate]]
    probability: Mapping[int, float]
    robust: frozenset[int]
    convergence: Convergence
    final: FinalScore | None
    importances: Importances | None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The two objectives of the study."""
        return self.record.config.objectives

    @property
    def unit(self) -> str:
        """The unit of the label and of RMSE, where it has a name."""
        return "stars" if self.record.config.dataset.name in MOVIELENS else ""

    def value(self, trial: Trial) -> tuple[float, float]:
        """The two objectives that a complete trial is judged by, as measured."""
        x, y = (trial.metrics[objective.metric] for objective in self.objectives)
        return x, y

    def best(self, index: int) -> Trial:
        """The front's best trial in one objective."""
        return self.front[0] if index == 0 else self.front[-1]


def summarise(record: StudyRecord, importances: Importances | None = None) -> Summary:
    """Compute the front, the knee, the intervals and the convergence of a study.

    Raises:
        SweepError: no trial is complete, so there is nothing to report, or the loss weights of one
            on the front are not recorded.
    """
    objectives = record.config.objectives
    complete, contenders = record.complete, record.contenders
    if not complete:
        raise SweepError(_nothing_to_report(record))
    values = minimised(objective_values(complete, objectives), objectives)
    front = front_of(contenders, objectives)
    members = {trial.number for trial in front}
    knee = select(Knee(), record)
    probability, robust = _certainty(contenders, record.config)
    return Summary(
        record=record,
        complete=complete,
        contenders=contenders,
        values=values,
        on_front=np.array([trial.number in members for trial in complete], dtype=np.bool_),
        front=front,
        references={trial.reference: trial for trial in complete if trial.reference is not None},
        published=_published(record.config),
        knee=knee,
        at_edge=tuple(found for trial in front for found in _at_edge(trial, record.config)),
        estimates={trial.number: estimates(trial) for trial in complete},
        probability=probability,
        robust=robust,
        convergence=_convergence(record, values),
        final=next((one for one in record.finals if one.trial == knee.trial.number), None),
        importances=importances,
    )


def estimates(trial: Trial) -> Mapping[str, Estimate]:
    """Every metric of a complete trial: over its replicates, or its one result without any."""
    return replicate_estimates(trial.replicates) or {
        name: Estimate(value, None, 1) for name, value in result_of(trial).metrics.items()
    }


def replicate_estimates(replicates: Sequence[Replicate]) -> Mapping[str, Estimate]:
    """Every metric over replicates; nothing without any."""
    return {
        name: estimate([one.metrics[name] for one in replicates])
        for name in (replicates[0].metrics if replicates else ())
    }


def trained(trial: Trial) -> tuple[Replicate, ...]:
    """What a complete trial is judged by, as replicates: its own result without any."""
    own = Replicate(trial.seed or 0, result_of(trial).metrics)
    return trial.replicates or (own,)


def _certainty(
    contenders: Sequence[Trial], config: StudyConfig
) -> tuple[Mapping[int, float], frozenset[int]]:
    """The probability of each contender to be on the front, and the numbers of the robust front."""
    replicated = [trial for trial in contenders if len(trial.replicates) > 1]
    if not replicated:
        return {}, frozenset()
    samples = [
        minimised(
            [[one.metrics[o.metric] for o in config.objectives] for one in trial.replicates],
            config.objectives,
        )
        for trial in replicated
    ]
    seeds = config.seeds
    entropy = [seeds.split, seeds.batches, seeds.model, seeds.sampler]
    probability, robust = (
        of(samples, np.random.default_rng(entropy)) for of in (probability_on_front, robust_front)
    )
    return (
        {trial.number: float(p) for trial, p in zip(replicated, probability, strict=True)},
        frozenset(trial.number for trial, member in zip(replicated, robust, strict=True) if member),
    )


def _convergence(record: StudyRecord, values: FloatArray) -> Convergence:
    """Whether the search had converged; `values` are the single results of the complete trials."""
    objectives, budget = record.config.objectives, record.config.budget
    reference = minimised(record.reference_point, objectives)
    ideal = minimised(record.ideal_point, objectives)
    history = hypervolume_history(minimised(values, objectives), reference)
    history = history / float(np.prod(reference - ideal))
    done = [trial for trial in record.trials if trial.state in ("complete", "pruned")]
    window = budget.patience or max(10, len(done) // 4)
    before = sum(trial.state == "complete" for trial in done[:-window])
    gain = float(history[-1] - (history[before - 1] if before else 0.0))
    converged = gain < budget.min_delta if len(done) > window else None
    if converged is None:
        sentence = (
            f"{counted(len(done), 'complete or pruned trial')} cannot tell whether the search had "
            f"converged: that takes more than {window}."
        )
    elif converged:
        sentence = (
            f"The search had converged: its last {window} trials raised the normalised hypervolume "
            f"by {gain:.2g}, less than {budget.min_delta:g}."
        )
    else:
        sentence = (
            f"The search had not converged: its last {window} trials still raised the normalised "
            f"hypervolume by {gain:.2g}, where less than {budget.min_delta:g} counts as converged; "
            "more trials may do better."
        )
    return Convergence(
        history=history,
        reference_point=record.reference_point,
        ideal_point=record.ideal_point,
        trials=window,
        gain=gain,
        min_delta=budget.min_delta,
        converged=converged,
        sentence=sentence,
    )


def edge_text(found: Sequence[AtEdge]) -> str:
    """A sentence on the trials that lie at the edge of the search space; empty if none does."""
    if not found:
        return ""
    places: dict[int, list[str]] = {}
    for at in found:
        most = "most" if at.bound == "high" else "least"
        places.setdefault(at.trial, []).append(
            f"{variable_label(at.variable)} {at.value:.4g} of at {most} {at.limit:.4g}"
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
        f"{data.candidates:,} candidates, split {_split_text(record.config)}; trained on "
        f"{data.train:,} rows, scored on"
    )
    if data.validation:
        return (
            f"{about} {data.validation:,} validation rows. The search sees the validation rows, so "
            "the figures of the chosen trials are a little optimistic. It never looks at the "
            f"{data.test:,} test rows: sweep export trains the chosen trial again on training and "
            "validation rows together and scores it on them."
        )
    seen = (
        "This study keeps the tutorial's protocol, in which the search sees the test rows"
        if record.config.split.method == "tutorial"
        else "The search sees the test rows"
    )
    return (
        f"{about} {data.test:,} test rows. {seen}, so the figures of the chosen trials are a "
        "little optimistic."
    )


def _split_text(config: StudyConfig) -> str:
    match config.split.method:
        case "random":
            return "at random"
        case "tutorial":
            return "as in the tutorial"
        case "time":
            return "by time (the last rows of each query are held out)"
        case "column":
            return f"by its column {config.dataset.split!r}"


def ease_note(record: StudyRecord, metrics: Sequence[str]) -> str:
    """What lowers EASE in an accuracy over all candidates; empty where none of these is one."""
    scores = next((one.metrics for one in record.baselines if one.name == "EASE"), {})
    metric = next((m for m in metrics if m in scores and "unseen" not in m), None)
    if metric is None:
        return ""
    return (
        "EASE puts first what a query already has, which lowers its "
        f"{metric_label(metric)} (over all candidates); the unseen accuracies leave that out."
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


def point_text(trial: Trial) -> str:
    """What was searched, for a person: "rating weight 0.2, retrieval weight 0.09, …"."""
    weights = weights_of(trial)
    parts = [
        f"rating weight {weights.rating_weight:.3g}",
        f"retrieval weight {weights.retrieval_weight:.3g}",
        *(f"{name} {setting_text(value)}" for name, value in trial.settings.items()),
    ]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def variable_label(name: str) -> str:
    """What is searched, for a person: `rating_weight` is "rating weight"; dotted keys stay."""
    return name if "." in name else name.replace("_", " ")


def counted(number: int, noun: str) -> str:
    """A number of things: "1 trial", "2 trials"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _published(config: StudyConfig) -> Mapping[str, tuple[float, float]]:
    """The tutorial's figures, where data, split, model and training are the tutorial's."""
    dataset = config.dataset
    columns = (dataset.query, dataset.candidate, dataset.label)
    if not (
        dataset.name == "movielens/100k"
        and not config.search_space.variables
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
    # A specialist's weight is the centre of its range, and the optimizer feels its size.
    own = references(config.search_space)
    comparable = {
        name: point
        for name, point in PUBLISHED.items()
        if name in own and own[name].weights in _TUTORIALS_WEIGHTS
    }
    metrics = [objective.metric for objective in config.objectives]
    if metrics == ["rmse", "top_100_accuracy"]:
        return comparable
    if metrics == ["top_100_accuracy", "rmse"]:
        return {name: (accuracy, rmse) for name, (rmse, accuracy) in comparable.items()}
    return {}


def _at_edge(trial: Trial, config: StudyConfig) -> Sequence[AtEdge]:
    """What of a trial is at a bound of its range; a specialist's weight of 0 is outside of all."""
    weights, space = weights_of(trial), config.search_space
    found: list[AtEdge] = []
    for name, searched in space.all.items():
        value = trial.settings.get(name) if name in space.variables else getattr(weights, name)
        if not isinstance(searched, Range) or searched.fixed or not isinstance(value, int | float):
            continue
        if name in space.weights and not 0 < value < math.inf:
            continue
        scale = math.log if searched.log else float
        low, high = scale(searched.low), scale(searched.high)
        place = (scale(value) - low) / (high - low)
        if abs(place) <= EDGE and searched.low > 0:  # nothing searched goes below 0
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
