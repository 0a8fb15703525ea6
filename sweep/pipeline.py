"""Where data, recommender and search are joined: launching a study, and training one trial again.

TensorFlow is imported only once something is to be trained.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweep.baselines import baselines
from sweep.cache import cache_directory
from sweep.config import KS, ModelConfig, Setting, StudyConfig, TrainingConfig, list_length
from sweep.data.batches import (
    Stage,
    StoredData,
    TrainingData,
    batching,
    load_training_data,
    open_training_data,
    rebatch,
)
from sweep.data.datasets import load_dataset
from sweep.data.interactions import Interactions
from sweep.errors import ConfigError, ExportError, TrainingError
from sweep.export import ExportedWeights, require_free_folder
from sweep.quiet import limit_threads, quiet_tensorflow
from sweep.results import (
    Ablation,
    DatasetSummary,
    FinalScore,
    Replicate,
    StudyRecord,
    Trial,
    TrialResult,
    references,
)

if TYPE_CHECKING:
    from sweep.recommender.training import Trainer
    from sweep.search.executors import Executor, StopSignal, Train, TrialSpec
    from sweep.search.study import Progress

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
    from sweep.search.storage import open_storage
    from sweep.search.study import run_study

    cache = cache or cache_directory()
    execution = config.execution
    if execution.num_cpus and execution.executor == "local" and execution.workers == 0:
        limit_threads(execution.num_cpus)  # before data is prepared, which may start TensorFlow
    interactions, data = prepare(config, cache, say)
    say(repr(interactions))
    _require_lists_shorter_than_the_catalogue(config, interactions)
    store = open_storage(storage)  # makes the store: not before the study is known to be sound
    with executor_of(config, data, say) as executor:
        return run_study(
            config,
            store,
            executor,
            summarize(interactions, data, config),
            versions=installed_versions(),
            baselines=lambda: baselines(data),
            on_progress=on_progress,
            say=say,
            stop=stop,
            clock=time.monotonic,
        )


@contextmanager
def executor_of(config: StudyConfig, data: TrainingData, say: Say) -> Iterator[Executor]:
    """Where a study's trials train, as its `execution` says.

    Raises:
        WorkerError: there is no Ray cluster.
    """
    from sweep.search.executors import InProcessExecutor
    from sweep.search.workers import WorkerPool

    execution = config.execution
    if execution.executor == "ray":
        from sweep.search.cluster import RayWorker, connected, ray_address, room, share

        cores, gpus, address = (
            execution.num_cpus or 1,
            execution.num_gpus,
            ray_address(execution.address),
        )
        say(f"Joining the Ray cluster at {address}" if address else "Starting Ray on this machine")
        with connected(address):
            shared = share([data])
            fit = room(cores, gpus)
            named = execution.workers if isinstance(execution.workers, int) else 0
            size = named or max(fit, 1)
            if size > fit:
                say(
                    f"The cluster has room for {fit} of {size} workers with {_cores(cores)} and "
                    f"{gpus:g} GPUs each; the others wait for it to grow"
                )
            build = functools.partial(_train_function, config, cores)
            note = f", with {_cores(cores)} each"
            # One is enough to begin with: a cluster may still be growing.
            with WorkerPool(
                lambda: RayWorker(build, shared, cores, gpus),
                size,
                "Ray worker",
                note,
                quorum=1,
                say=say,
            ) as pool:
                yield pool
        return
    there = available_cores()
    size = there if execution.workers == "auto" else execution.workers
    if size == 0:
        trainers = Trainers(config, data, say)
        with InProcessExecutor(trainers.train, prepare=trainers.prepare) as executor:
            yield executor
        return
    from sweep.search.processes import ProcessWorker

    cores = execution.num_cpus or max(there // size, 1)
    assert data.stored is not None  # every worker maps the same files
    build = functools.partial(_train_on_stored, config, cores, data.stored)
    note = f", with {cores} of {_cores(there)} each"
    if size * cores > there:
        say(
            f"{size} × {cores} threads are more than the {_cores(there)} of this machine, and will "
            "wait for each other; fewer workers, or a smaller --num-cpus, are faster"
        )
    with WorkerPool(lambda: ProcessWorker(build), size, note=note, say=say) as pool:
        yield pool


def _cores(number: int) -> str:
    return "1 core" if number == 1 else f"{number} cores"


def available_cores() -> int:
    """The cores that this process may use, by its affinity and its container's quota."""
    import joblib

    return int(joblib.cpu_count())


def _train_on_stored(config: StudyConfig, cores: int, stored: StoredData) -> Train:
    return _train_function(config, cores, open_training_data(stored))


def _train_function(config: StudyConfig, cores: int, data: TrainingData) -> Train:
    """What a worker trains with, ready to go."""
    limit_threads(cores)
    trainers = Trainers(config, data, _ignore)
    trainers.prepare()
    return trainers.train


class Trainers:
    """The trainers of a study: one for every form of the graph that its trials need.

    Weights, seeds, epochs and learning rates are inputs of a graph. What else a study searches, an
    embedding dimension or a batch size, needs a graph for each value, and batches of its own. The
    latest few are kept.
    """

    KEPT = 4

    def __init__(self, config: StudyConfig, data: TrainingData, say: Say) -> None:
        """Builds nothing yet.

        Args:
            config: the study.
            data: its rows, in batches as the study file says.
            say: told when TensorFlow starts, which takes a while.
        """
        self._config, self._data, self._say = config, data, say
        self._trainer = functools.lru_cache(maxsize=self.KEPT)(self._build)

    def prepare(self) -> Trainer:
        """The trainer of the first reference."""
        point = next(iter(references(self._config.search_space).values()))
        return self.of(point.settings)

    def of(self, settings: Mapping[str, Setting]) -> Trainer:
        """The trainer for these settings."""
        if "tensorflow" not in sys.modules:
            self._say("Starting TensorFlow")
        from sweep.recommender.training import compiled

        config = self._config.with_settings(settings)
        return self._trainer(config.model, compiled(config.training))

    def train(self, spec: TrialSpec) -> TrialResult:
        """Train a trial."""
        training = self._config.with_settings(spec.settings).training
        return self.of(spec.settings).train(
            spec.weights, spec.seed, training, spec.halving, spec.seconds or math.inf
        )

    def replicate(self, trial: Trial, seed: int) -> Replicate:
        """Train a trial with another seed."""
        assert trial.weights is not None
        training = self._config.with_settings(trial.settings).training
        result = self.of(trial.settings).train(trial.weights, seed, training)
        return Replicate(seed, result.metrics, result.training_seconds + result.evaluation_seconds)

    def _build(self, model: ModelConfig, training: TrainingConfig) -> Trainer:
        from sweep.recommender.training import Trainer

        config = self._config.model_copy(update={"model": model, "training": training})
        data = self._data
        if batching(training) != batching(self._config.training):
            data = rebatch(data, training)
        # Many graphs are no mistake here, of which TensorFlow would warn.
        with quiet_tensorflow():
            return Trainer(config, data)


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
    validates = config.split.validates
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


def score_final(
    record: StudyRecord,
    trial: Trial,
    *,
    cache: Path | None = None,
    say: Say = _ignore,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> FinalScore:
    """Train a chosen trial on training and validation rows together, and score it on the test rows.

    As often as the study replicates, with the seeds of its replicates; with the trial's own seed
    where it does not replicate.

    Args:
        record: a study with validation rows.
        trial: one of its complete trials.
        cache: folder for prepared data; the user's cache folder by default.
        say: told of every stage.
        on_progress: told how many seeds are done, of how many.

    Raises:
        ExportError: the data has changed, or the trial lacks its weights.
    """
    config, cache = record.config, cache or cache_directory()
    if trial.weights is None or trial.seed is None:
        raise ExportError(
            f"study {record.name!r}, trial {trial.number}: its weights or seed are not recorded; "
            "choose a trial that sweep has trained"
        )
    _require_same_data(record.name, config, record.dataset, cache, say)
    say("Training on training and validation rows together, for the score on the test rows")
    _, data = prepare(config, cache, _ignore, "final")
    trainers = Trainers(config, data, say)
    first, number = config.seeds.model + 1, config.budget.replicates
    seeds = range(first, first + number) if number else [trial.seed]
    replicates = []
    for seed in seeds:
        replicates.append(trainers.replicate(trial, seed))
        on_progress(len(replicates), len(seeds))
    return FinalScore(trial.number, tuple(replicates), baselines(data))


def ablate(
    record: StudyRecord,
    trial: Trial,
    seeds: int,
    *,
    cache: Path | None = None,
    say: Say = _ignore,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Ablation, ...]:
    """What each key of `model` and `training` is worth: the trial without it.

    Every key that the study sets away from its default, in the file or by searching it, is put back
    to the default, one at a time, and the trial's weights are trained again; and once with all as
    they are. Scored as the search scores, so that no test row is looked at. A key is left out where
    training fails with its default.

    Args:
        record: the study.
        trial: one of its complete trials.
        seeds: how many seeds each is trained with, at least 1.
        cache: folder for prepared data; the user's cache folder by default.
        say: told of every stage.
        on_progress: told how many trainings are done, of how many.

    Raises:
        ExportError: the data has changed.
        TrainingError: the trial as it is cannot be trained with one of the seeds.
    """
    config, cache = record.config, cache or cache_directory()
    _require_same_data(record.name, config, record.dataset, cache, say)
    chosen = config.with_settings(trial.settings)
    changed = [
        (f"{table}.{key}", getattr(section, key), field.default)
        for table, section in (("model", chosen.model), ("training", chosen.training))
        for key, field in type(section).model_fields.items()
        if getattr(section, key) != field.default
    ]
    total = (1 + len(changed)) * seeds
    trainers = Trainers(config, prepare(config, cache, say)[1], say)
    done = 0

    def trained(settings: Mapping[str, Setting]) -> Iterator[Replicate]:
        nonlocal done
        for number in range(1, seeds + 1):
            yield trainers.replicate(replace(trial, settings=settings), config.seeds.model + number)
            done += 1
            on_progress(done, total)

    ablation = [Ablation(trial.number, None, None, None, tuple(trained(trial.settings)))]
    for key, value, default in changed:
        try:
            replicates = tuple(trained({**trial.settings, key: default}))
        except TrainingError as error:
            say(f"{key} is left out, the trial cannot be trained with its default: {error}")
            continue
        ablation.append(Ablation(trial.number, key, value, default, replicates))
    return tuple(ablation)


def refit(
    exported: ExportedWeights, model: Path, *, cache: Path | None = None, say: Say = _ignore
) -> None:
    """Train the exported model again, and write it as a SavedModel.

    Where the study has validation rows it is trained on these too. It answers raw ids by plain
    TensorFlow; see `sweep.recommender.serving.Recommender`.

    Args:
        exported: what to train.
        model: a new folder for the SavedModel, with the export beside it as `sweep.json`.
        cache: folder for prepared data; the user's cache folder by default.
        say: told of every stage.

    Raises:
        ExportError: the data has changed, the metrics do not come out as exported, or the folder
            is not free.
    """
    require_free_folder(model)
    config, cache = exported.config, cache or cache_directory()
    interactions = _require_same_data(exported.study, config, exported.dataset, cache, say)
    stage: Stage = "final" if config.split.validates else "search"
    _, data = prepare(config, cache, _ignore, stage)
    trainers = Trainers(config, data, say)
    say(f"Training trial {exported.trial} with seed {exported.seed} again, for its model")
    training = config.with_settings(exported.settings).training
    trainer = trainers.of(exported.settings)
    moved = _require_recorded(exported, trainer.train(exported.weights, exported.seed, training))
    say(f"No metric moved by more than {moved:.2g}")
    from sweep.recommender.serving import Recommender, write_saved_model

    write_saved_model(
        Recommender(trainer.model, interactions, data),
        model,
        files={"sweep.json": exported.model_dump_json(indent=2) + "\n"},
    )


def _require_same_data(
    study: str, config: StudyConfig, dataset: DatasetSummary | None, cache: Path, say: Say
) -> Interactions:
    """The study's interactions; an error if they are not those that it was trained on."""
    interactions = load_dataset(config.dataset, cache, say)
    before = dataset.fingerprint if dataset else "not recorded"
    if interactions.fingerprint != before:
        raise ExportError(
            f"study {study!r}: the dataset {config.dataset.name} has changed since its "
            f"trials were trained (fingerprint {before[:12]}… then, "
            f"{interactions.fingerprint[:12]}… now); restore it, or launch a new study"
        )
    return interactions


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
