"""Where data, recommender and search are joined: launching a study, and training one trial again.

TensorFlow is imported only once something is to be trained.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweep.cache import cache_directory
from sweep.config import KS, StudyConfig, list_length
from sweep.data.batches import Stage, TrainingData, load_training_data
from sweep.data.datasets import load_dataset
from sweep.data.interactions import Interactions
from sweep.errors import ConfigError, ExportError
from sweep.export import ExportedWeights, require_free_folder
from sweep.results import DatasetSummary, LossWeights, StudyRecord, TrialResult

if TYPE_CHECKING:
    from sweep.recommender.training import Trainer
    from sweep.search.study import Progress, StopSignal

Say = Callable[[str], None]

PACKAGES = (
    "sweep",
    "tensorflow",
    "tf-keras",
    "tensorflow-recommenders",
    "tensorflow-datasets",
    "optuna",
    "numpy",
)
"""Packages whose versions a trial records."""

TOLERANCE: Mapping[str, float] = {"rmse": 0.01}
"""How far a metric may move when a trial is trained again, elsewhere; 0.005 where not named.

On the same machine and versions the metrics are equal. Another processor rounds differently, and
three epochs of training carry that into the third digit.
"""


def _ignore(_: object) -> None:
    """For a caller that wants to hear nothing."""


def launch(
    config: StudyConfig,
    storage: str = "sqlite:///sweep.db",
    *,
    cache: Path | None = None,
    say: Say = _ignore,
    on_progress: Callable[[Progress], None] = _ignore,
    stop: StopSignal | None = None,
) -> StudyRecord:
    """Run a study to the end of its budget, or on from where it stopped.

    Args:
        config: a checked study; see `load_study`.
        storage: an Optuna storage URL.
        cache: folder for prepared data; the user's cache folder by default.
        say: told of every stage.
        on_progress: told before the first trial, and after every trial.
        stop: a `threading.Event` or the like; once it is set, the running trial is finished and
            recorded, and no other begins.

    Raises:
        SweepError: of the kind that tells what is wrong; see `sweep.errors`.
    """
    from sweep.search.executors import InProcessExecutor
    from sweep.search.storage import open_storage
    from sweep.search.study import run_study

    interactions, data = prepare(config, cache or cache_directory(), say)
    say(repr(interactions))
    _require_lists_shorter_than_the_catalogue(config, interactions)
    store = open_storage(storage)  # makes the store: not before the study is known to be sound

    @functools.cache
    def trainer() -> Trainer:
        return _build_trainer(config, data, say)

    def train(weights: LossWeights, seed: int) -> TrialResult:
        return trainer().train(weights, seed)

    with InProcessExecutor(train, prepare=trainer) as executor:
        return run_study(
            config,
            store,
            executor,
            summarize(interactions, data, config),
            versions=installed_versions(),
            on_progress=on_progress,
            say=say,
            stop=stop,
            clock=time.monotonic,
        )


def _require_lists_shorter_than_the_catalogue(
    config: StudyConfig, interactions: Interactions
) -> None:
    size = interactions.n_catalogue
    for objective in config.objectives:
        k = list_length(objective.metric)
        if k is not None and k >= size:
            shorter = [str(other) for other in KS if other < size]
            raise ConfigError(
                f"objective {objective.metric}: {interactions.name} has {size} candidates, so that "
                f"every list of {k} holds them all and every trial would score 1; allowed here: "
                f"top-K with K of {' or '.join(shorter)}; name it in [[objectives]]"
            )


def prepare(
    config: StudyConfig, cache: Path, say: Say, stage: Stage = "search"
) -> tuple[Interactions, TrainingData]:
    """Load, split and batch a study's data; cached, so that only the first call takes time."""
    interactions = load_dataset(config.dataset, cache, say)
    data = load_training_data(
        interactions,
        config.split,
        config.seeds.split,
        config.training,
        config.seeds.batches,
        cache,
        say,
        stage,
    )
    return interactions, data


def summarize(
    interactions: Interactions, data: TrainingData, config: StudyConfig
) -> DatasetSummary:
    """What a study records about its data, as the search sees it."""
    validates = config.split.validation_fraction > 0
    rest = len(interactions) - len(data.train)
    return DatasetSummary(
        name=interactions.name,
        fingerprint=interactions.fingerprint,
        interactions=len(interactions),
        queries=interactions.n_queries,
        candidates=interactions.n_candidates,
        train=len(data.train),
        validation=len(data.held_out) if validates else 0,
        test=rest - len(data.held_out) if validates else rest,
        label_deviation=float(np.std(data.held_out.labels, dtype=np.float64)),
    )


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a trial's result."""
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
    }


def refit(
    exported: ExportedWeights,
    model: Path | None = None,
    *,
    cache: Path | None = None,
    say: Say = _ignore,
) -> ExportedWeights:
    """Train the exported trial again, for its model and for its score on the test rows.

    Where the study has validation rows, the model is trained on training and validation rows
    together and scored, once, on the test rows. Where it has none, the test rows were seen by the
    search: the same model is trained again, and must come out with the recorded metrics.

    Args:
        exported: what to train.
        model: a new folder for the SavedModel, which answers raw ids by plain TensorFlow (see
            `sweep.recommender.serving.Recommender`), with the export beside it as `sweep.json`.
        cache: folder for prepared data; the user's cache folder by default.
        say: told of every stage.

    Returns:
        The export, with `test_metrics` where there are validation rows.

    Raises:
        ExportError: the data has changed, the metrics do not come out as recorded, or the folder
            is not free.
    """
    if model is not None:
        require_free_folder(model)
    config, cache = exported.config, cache or cache_directory()
    interactions, data = prepare(config, cache, say)
    if interactions.fingerprint != exported.dataset.fingerprint:
        raise ExportError(
            f"study {exported.study!r}: the dataset {config.dataset.name} has changed since its "
            f"trials were trained (fingerprint {exported.dataset.fingerprint[:12]}… then, "
            f"{interactions.fingerprint[:12]}… now); restore it, or launch a new study"
        )
    trainer = _build_trainer(config, data, say)
    say(f"Training trial {exported.trial} again")
    moved = _require_recorded(exported, trainer.train(exported.weights, exported.seed))
    say(f"No metric moved by more than {moved:.2g}")
    if config.split.validation_fraction > 0:
        say("Training on training and validation rows together, for the score on the test rows")
        _, data = prepare(config, cache, _ignore, "final")
        trainer = _build_trainer(config, data, _ignore)
        final = trainer.train(exported.weights, exported.seed)
        exported = exported.model_copy(update={"test_metrics": dict(final.metrics)})
    if model is not None:
        from sweep.recommender.serving import Recommender, write_saved_model

        write_saved_model(
            Recommender(trainer.model, interactions, data),
            model,
            files={"sweep.json": exported.model_dump_json(indent=2) + "\n"},
        )
    return exported


def _require_recorded(exported: ExportedWeights, result: TrialResult) -> float:
    """The largest difference of a metric from what was recorded; an error if it is too large."""
    moved = {name: abs(result.metrics[name] - value) for name, value in exported.metrics.items()}
    worst = max(moved, key=lambda name: moved[name] / TOLERANCE.get(name, 0.005))
    if moved[worst] > TOLERANCE.get(worst, 0.005):
        raise ExportError(
            f"study {exported.study!r}, trial {exported.trial}: trained again, its {worst} is "
            f"{result.metrics[worst]:.4f}, not {exported.metrics[worst]:.4f} as recorded; the "
            f"versions then were {dict(exported.versions)}; install these, or launch a new study"
        )
    return max(moved.values())


def _build_trainer(config: StudyConfig, data: TrainingData, say: Say) -> Trainer:
    say("Starting TensorFlow")
    from sweep.recommender.training import Trainer

    return Trainer(config, data)
