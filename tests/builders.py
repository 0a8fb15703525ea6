"""Values for tests: trials and whole study records, without any training."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sweep.config import KS, Objective, Setting, StudyConfig, check_study
from sweep.results import (
    EQUAL_WEIGHTS,
    RATING_ONLY,
    RETRIEVAL_ONLY,
    Ablation,
    Baseline,
    DatasetSummary,
    Epoch,
    FinalScore,
    LossWeights,
    Replicate,
    StudyRecord,
    Trial,
    TrialResult,
    TrialState,
)

OBJECTIVES = (
    Objective(metric="rmse", direction="minimize"),
    Objective(metric="top_100_accuracy", direction="maximize"),
)

MOVIELENS_100K = DatasetSummary(
    name="movielens/100k",
    fingerprint="sha256:0123456789abcdef",
    interactions=100_000,
    queries=943,
    candidates=1664,
    train=80_000,
    test=20_000,
    label_deviation=1.125,
)


def make_trial(
    number: int = 0,
    rmse: float = 1.0,
    top_100_accuracy: float = 0.2,
    *,
    weights: LossWeights | tuple[float, float] | None = (1.0, 1.0),
    state: TrialState = "complete",
    reference: str | None = None,
    reason: str | None = None,
    epochs: int = 3,
    metrics: Mapping[str, float] | None = None,
    settings: Mapping[str, Setting] | None = None,
    replicates: Sequence[tuple[float, float]] = (),
) -> Trial:
    """A trial with every metric and a learning curve that ends in them.

    The other accuracies follow from top-100; `metrics` replaces any of them. `replicates` are RMSE
    and top-100 accuracy of seeds 1, 2, …. A pruned trial's curve ends where it was stopped.
    """
    if isinstance(weights, tuple):
        weights = LossWeights(*weights)
    started = datetime(2025, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=2 * number)
    done = state in ("complete", "pruned", "failed")
    result = None
    if state in ("complete", "pruned"):
        final = all_metrics(rmse, top_100_accuracy) | (metrics or {})
        history = tuple(
            Epoch(
                epoch=epoch,
                rating_loss=final["rmse"] ** 2 * (1 + left**2),
                retrieval_loss=58_000 - 5000 * top_100_accuracy + 8000 * left**2,
                metrics={
                    name: value * (1 + (0.15 if name.endswith("rmse") else -0.6) * left**2)
                    for name, value in final.items()
                },
            )
            for epoch in range(1, epochs + 1)
            for left in [1 - epoch / epochs]
        )
        result = TrialResult(
            final,
            history,
            training_seconds=1.3,
            evaluation_seconds=0.14,
            pruned=state == "pruned",
        )
    return Trial(
        number=number,
        state=state,
        weights=weights,
        seed=0,
        result=result,
        reason=reason,
        reference=reference,
        started=None if state == "waiting" else started,
        finished=started + timedelta(seconds=1.5) if done else None,
        versions={"sweep": "0.1.0"},
        settings=settings or {},
        replicates=make_replicates(*replicates),
    )


def all_metrics(rmse: float, top_100_accuracy: float) -> dict[str, float]:
    """Every metric of a model, the other accuracies as they follow from top-100."""
    return _per_user_too({"rmse": rmse, **all_accuracies(top_100_accuracy)})


def all_accuracies(top_100_accuracy: float) -> dict[str, float]:
    """Every accuracy over rows, as it follows from top-100."""
    return {
        **{f"top_{k}_accuracy": top_100_accuracy * (k / 100) ** 0.8 for k in KS},
        **{
            f"unseen_top_{k}_accuracy": min(1.0, 1.4 * top_100_accuracy * (k / 100) ** 0.7)
            for k in KS
        },
    }


def _per_user_too(metrics: Mapping[str, float]) -> dict[str, float]:
    return {**metrics, **{f"per_user_{name}": value for name, value in metrics.items()}}


def make_replicates(*scores: tuple[float, float], first_seed: int = 1) -> tuple[Replicate, ...]:
    """Replicates with these pairs of RMSE and top-100 accuracy, of successive seeds."""
    return tuple(
        Replicate(seed, all_metrics(*score), seconds=1.5)
        for seed, score in enumerate(scores, start=first_seed)
    )


BASELINES = (
    Baseline("global mean", _per_user_too({"rmse": 1.125}), "The mean training label."),
    Baseline("user and item bias", _per_user_too({"rmse": 0.943}), "Mean and two biases."),
    Baseline("popularity", _per_user_too(all_accuracies(0.298)), "The same list for all."),
    Baseline("EASE", _per_user_too(all_accuracies(0.44)), "Item-item weights, closed form."),
)
"""The four baselines with about the figures that they have on MovieLens 100K."""


REFERENCES = {
    RATING_ONLY: LossWeights(1.0, 0.0),
    RETRIEVAL_ONLY: LossWeights(0.0, 1.0),
    EQUAL_WEIGHTS: LossWeights(1.0, 1.0),
}


def reference_trials() -> list[Trial]:
    """The three references with about the figures that the tutorial publishes."""
    figures = {
        RATING_ONLY: (1.1198, 0.0612),
        RETRIEVAL_ONLY: (3.8127, 0.2347),
        EQUAL_WEIGHTS: (1.1342, 0.2331),
    }
    return [
        make_trial(i, *figures[name], weights=weights, reference=name)
        for i, (name, weights) in enumerate(REFERENCES.items())
    ]


def tutorial_trials(count: int = 40, seed: int = 0, epochs: int = 3) -> list[Trial]:
    """A study shaped like the tutorial's: the references, then weights all over the search space.

    Retrieval helps up to a point and then overfits; a small rating weight leaves RMSE unlearned.
    As a sampler would, the second half looks where the first half did well.
    """
    rng = random.Random(seed)
    trials = reference_trials()[:count]
    for number in range(len(trials), count):
        if number < count // 2:
            x, y = rng.uniform(-2, 2), rng.uniform(-2, 2)
        else:
            x, y = rng.uniform(-0.5, 1.5), rng.uniform(-2, 0)
        rmse = (
            1.06
            + 0.012 * (x - 0.4) ** 2
            + 2.2 / (1 + math.exp(4 * (x + 1.5)))
            + 0.12 / (1 + math.exp(-1.5 * (y - x + 1)))
            + rng.gauss(0, 0.006)
        )
        accuracy = (
            0.06
            + 0.25 * math.exp(-(((y + 0.9) / 0.9) ** 2) - 0.12 * (x + 0.5) ** 2)
            + 0.17 / (1 + math.exp(-3 * y))
            + rng.gauss(0, 0.004)
        )
        trials.append(make_trial(number, rmse, accuracy, weights=(10**x, 10**y), epochs=epochs))
    return trials


def small_study() -> list[Trial]:
    """A front of three and a dominated trial.

    Scaled, trial 1 is at (0.25, 0.1): the knee, 0.65/√2 inside the line between trials 0 and 2.
    """
    return [
        make_trial(0, 1.00, 0.10),
        make_trial(1, 1.10, 0.28, weights=(0.2, 0.09)),
        make_trial(2, 1.40, 0.30),
        make_trial(3, 1.50, 0.20),
    ]


def make_config(
    name: str = "tutorial", objectives: Sequence[Objective] = OBJECTIVES, **tables: object
) -> StudyConfig:
    """The tutorial's study file; `tables` replaces whole tables of it."""
    weight = {"low": 0.01, "high": 100.0, "log": True}
    return check_study(
        {
            "name": name,
            "dataset": {"name": "movielens/100k"},
            "split": {"method": "tutorial"},
            "training": {"reshuffle": False, "retrieval_reduction": "sum"},
            "search_space": {"rating_weight": weight, "retrieval_weight": weight},
            "objectives": [objective.model_dump() for objective in objectives],
            "budget": {"trials": 40},
            **tables,
        },
        source="tests",
    )


def make_record(
    trials: Iterable[Trial] | None = None,
    *,
    name: str = "tutorial",
    objectives: Sequence[Objective] = OBJECTIVES,
    summary: DatasetSummary | None = MOVIELENS_100K,
    baselines: Sequence[Baseline] = (),
    ablation: Sequence[Ablation] = (),
    finals: Sequence[FinalScore] = (),
    **tables: object,
) -> StudyRecord:
    """A whole study; by default 40 trials of the tutorial's, without anything measured beside them.

    `summary` is what it records about its data; `tables` replaces tables of its study file.
    """
    return StudyRecord(
        name=name,
        config=make_config(name, objectives, **tables),
        dataset=summary,
        trials=tuple(tutorial_trials() if trials is None else trials),
        baselines=tuple(baselines),
        ablation=tuple(ablation),
        finals=tuple(finals),
    )


def replicated(
    trials: Iterable[Trial], numbers: Iterable[int], seeds: int = 5, noise: float = 0.004
) -> list[Trial]:
    """The trials, those of these numbers with replicates about their own result.

    All share the seeds 1, 2, …; half of the noise, a standard deviation of RMSE and of accuracy, is
    the seed's own and the same for all trials.
    """
    chosen = set(numbers)
    shared = random.Random(0)
    of_seed = [(shared.gauss(0, noise / 2), shared.gauss(0, noise / 2)) for _ in range(seeds)]

    def scores(trial: Trial) -> Iterable[tuple[float, float]]:
        own = random.Random(1 + trial.number)
        assert trial.result is not None
        for error, accuracy in of_seed:
            yield (
                trial.result.metrics["rmse"] + error + own.gauss(0, noise / 2),
                trial.result.metrics["top_100_accuracy"] + accuracy + own.gauss(0, noise / 2),
            )

    return [
        replace(trial, replicates=make_replicates(*scores(trial)))
        if trial.number in chosen
        else trial
        for trial in trials
    ]


def whole_record() -> StudyRecord:
    """A study with validation rows and all that can be recorded.

    It has baselines, replicates, pruned and failed trials, a searched setting, and of its knee,
    trial 3, an ablation and a score on the test rows. RMSE and top-100 accuracy are the objectives.
    Trial 4 is so close behind trial 3 that the replicates cannot tell them apart; trial 6 has been
    trained once only.
    """
    points = [
        (0, (0.931, 0.105), (3.0, 0.0), RATING_ONLY, 10),
        (1, (2.9, 0.450), (0.0, 3.0), RETRIEVAL_ONLY, 10),
        (2, (0.948, 0.310), (1.0, 1.0), EQUAL_WEIGHTS, 10),
        (3, (0.912, 0.448), (30.0, 20.0), None, 12),
        (4, (0.9125, 0.446), (28.0, 21.0), None, 12),
        (5, (0.908, 0.390), (60.0, 5.0), None, 19),
        (6, (0.960, 0.300), (2.0, 9.0), None, 6),
        (7, (0.925, 0.455), (12.0, 60.0), None, 20),
    ]
    trials = [
        make_trial(
            number,
            *score,
            weights=weights,
            reference=reference,
            epochs=epochs,
            settings={"training.epochs": epochs},
        )
        for number, score, weights, reference, epochs in points
    ]
    trials = replicated(trials, {0, 1, 2, 3, 4, 5, 7})
    trials += [
        make_trial(
            number,
            1.02,
            0.2,
            weights=(0.2, 5.0),
            state="pruned",
            epochs=4,
            settings={"training.epochs": 12},
            reason="dominated after epoch 4 by 6 of 8 trials",
        )
        for number in (8, 9)
    ]
    trials.append(make_trial(10, state="failed", reason="rmse is not a number"))
    seeds = range(5)
    whole = make_replicates(*((0.912 + 0.001 * i, 0.448 + 0.001 * i) for i in seeds))
    without = {
        ("model.biases", True, False): (0.021, -0.004),
        ("training.sampling_correction", "log_q", "none"): (0.0, -0.13),
        ("training.learning_rate_schedule", "linear", "constant"): (0.0, 0.0),
        ("model.embedding_dimension", 64, 32): (-0.004, 0.006),
    }
    ablation = [Ablation(3, None, None, None, whole)]
    for (key, value, default), (worse, lower) in without.items():
        changed = make_replicates(
            *(
                (
                    0.912 + 0.001 * i + worse + 0.0003 * (-1) ** i,
                    0.448 + 0.001 * i + lower - 0.0002 * (-1) ** i,
                )
                for i in seeds
            )
        )
        ablation.append(Ablation(3, key, value, default, changed))
    final = FinalScore(
        3,
        make_replicates(*((0.905 + 0.001 * i, 0.462 + 0.0012 * i) for i in seeds)),
        BASELINES,
    )
    return make_record(
        trials,
        name="whole",
        summary=replace(MOVIELENS_100K, train=70_000, validation=10_000),
        baselines=BASELINES,
        ablation=ablation,
        finals=[final],
        split={"method": "tutorial", "validation_fraction": 0.1},
        model={"embedding_dimension": 64, "biases": True},
        training={
            "epochs": {"low": 5, "high": 20, "log": False},
            "sampling_correction": "log_q",
            "learning_rate_schedule": "linear",
        },
        pruner={"name": "successive_halving"},
        budget={"trials": 11, "patience": 5},
    )
