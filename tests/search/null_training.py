"""Studies without training: a trial's result is a plain function of its weights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from builders import MOVIELENS_100K, make_config
from sweep.config import METRICS, StudyConfig
from sweep.results import Epoch, LossWeights, StudyRecord, TrialResult, references
from sweep.search.executors import InProcessExecutor, TrialSpec
from sweep.search.study import run_study

SAMPLERS = ("tpe", "nsga2", "nsga3", "qmc", "random", "grid")
"""Those that need no extra package."""


def null_result(weights: LossWeights, **changed: float) -> TrialResult:
    """More rating weight lowers RMSE, more retrieval weight raises accuracy; `changed` wins."""
    x, y = weights.rating_weight, weights.retrieval_weight
    metrics = dict.fromkeys(METRICS, y / (1 + x + y)) | {"rmse": 1 + 1 / (1 + x) + 0.01 * y}
    metrics |= changed
    history = tuple(Epoch(i, x / i, y / i, metrics) for i in (1, 2))
    return TrialResult(metrics, history, training_seconds=1.25, evaluation_seconds=0.25)


def null_train(spec: TrialSpec) -> TrialResult:
    assert spec.seed == 0
    return null_result(spec.weights)


def small_study(
    trials: int = 12,
    *,
    sampler: str = "tpe",
    low: float = 0.01,
    high: float = 100.0,
    batch: int | None = None,
    **tables: Any,
) -> StudyConfig:
    """A study without replicates, unless its budget asks for them."""
    span = {"low": low, "high": high, "log": True}
    budget = tables.pop("budget", {"trials": trials})
    return make_config(
        "small",
        **{
            "search_space": {"rating_weight": span, "retrieval_weight": span},
            "sampler": {
                "name": sampler,
                "startup_trials": 4,
                "population": 4,
                "points": 4,
                "batch": batch,
            },
            "budget": {"replicates": 0, **budget},
            **tables,
        },
    )


def run(
    config: StudyConfig,
    storage: BaseStorage,
    train: Callable[[TrialSpec], TrialResult] = null_train,
    **options: Any,
) -> StudyRecord:
    dataset = options.pop("dataset", MOVIELENS_100K)
    prepare = options.pop("prepare", lambda: None)
    with InProcessExecutor(train, prepare) as executor:
        return run_study(config, storage, executor, dataset, **options)


REFERENCES = {name: point.weights for name, point in references(small_study().search_space).items()}
"""The references of every small study."""


def start_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that can import what tests can; its output and errors are pipes."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests), str(tests / "search")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )


def pairs(record: StudyRecord) -> list[tuple[float, float]]:
    """Both weights of every complete trial."""
    weights = [trial.weights for trial in record.complete]
    return [(w.rating_weight, w.retrieval_weight) for w in weights if w is not None]
