"""Values for tests: trials and whole study records, without any training."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sweep.config import KS, Objective, StudyConfig, check_study
from sweep.results import (
    REFERENCES,
    DatasetSummary,
    Epoch,
    LossWeights,
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
) -> Trial:
    """A trial with every metric and a learning curve that ends in them.

    The other accuracies follow from top-100; `metrics` replaces any of them.
    """
    if isinstance(weights, tuple):
        weights = LossWeights(*weights)
    started = datetime(2025, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=2 * number)
    done = state in ("complete", "failed")
    result = None
    if state == "complete":
        final = {
            "rmse": rmse,
            **{f"top_{k}_accuracy": top_100_accuracy * (k / 100) ** 0.8 for k in KS},
            **{
                f"unseen_top_{k}_accuracy": min(1.0, 1.4 * top_100_accuracy * (k / 100) ** 0.7)
                for k in KS
            },
            **(metrics or {}),
        }
        history = tuple(
            Epoch(
                epoch=epoch,
                rating_loss=final["rmse"] ** 2 * (1 + left**2),
                retrieval_loss=58_000 - 5000 * top_100_accuracy + 8000 * left**2,
                metrics={
                    name: value * (1 + (0.15 if name == "rmse" else -0.6) * left**2)
                    for name, value in final.items()
                },
            )
            for epoch in range(1, epochs + 1)
            for left in [1 - epoch / epochs]
        )
        result = TrialResult(final, history, training_seconds=1.3, evaluation_seconds=0.14)
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
    )


def reference_trials() -> list[Trial]:
    """The three references with about the figures that the tutorial publishes."""
    figures = {
        "rating only": (1.1198, 0.0612),
        "retrieval only": (3.8127, 0.2347),
        "equal weights": (1.1342, 0.2331),
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
    **tables: object,
) -> StudyRecord:
    """A whole study; by default 40 trials of the tutorial's.

    `summary` is what it records about its data; `tables` replaces tables of its study file.
    """
    return StudyRecord(
        name=name,
        config=make_config(name, objectives, **tables),
        dataset=summary,
        trials=tuple(tutorial_trials() if trials is None else trials),
    )
