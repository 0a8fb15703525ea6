"""The coordinator: it alone asks Optuna for loss weights and tells it what they gave.

Executors only train. So the store has a single writer, a trial is never lost to a lock, one worker
gives the same study every time, and a worker is disposable.

**What is stored when.** A trial is in the store, running, before it is trained; its result is
written before it is marked complete. A coordinator that is killed leaves running trials behind:
the next launch marks them failed and trains their weights again, in a trial of a new number. A
result that the store does not take goes into a file on this machine (`sweep.search.spill`), which
the next launch reads first.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.config import Objective, StudyConfig
from sweep.errors import IncomparableStudyError, StorageError, TrainingError
from sweep.front.halving import halving
from sweep.front.pareto import hypervolume, minimised
from sweep.results import (
    Baseline,
    DatasetSummary,
    Point,
    StudyRecord,
    TrialResult,
    references,
)
from sweep.search.executors import Executor, StopSignal, TrialSpec, own_failure
from sweep.search.held import HeldStudy, hold_study, store_failures
from sweep.search.lease import ATTRIBUTE as LEASE
from sweep.search.lease import LeaseLostError
from sweep.search.mirror import MirroredStorage
from sweep.search.records import (
    header,
    is_complete,
    is_done,
    load_study_record,
    read_header,
    result_attributes,
    stored_point,
    stored_seconds,
    write_baselines,
)
from sweep.search.replication import train_replicates
from sweep.search.requests import ARCHIVED
from sweep.search.requests import ATTRIBUTES as REQUESTS
from sweep.search.sampler import build_sampler, check_sampler
from sweep.search.space import (
    contains,
    distributions,
    from_parameters,
    grid,
    to_attributes,
    to_parameters,
)
from sweep.search.spill import STATES, SpilledTrial, record_spill
from sweep.search.storage import storage_errors

STOPPED: Final = "coordinator stopped"
INTERRUPTED: Final = "interrupted"

Ending = Literal["trials", "minutes", "converged", "stopped", "exhausted"]

REPLICATES_SHARE: Final = 0.25
"""Of a study's minutes, what the search leaves for the replicates."""


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    `done` of `total` trials are complete or pruned, earlier launches included; `total` is None
    where no number is set, and never more than a grid still allows. Once `doing` is "replicates",
    both count these. `best` maps each objective to its best value so far. `seconds_left` is None
    until a trial has been timed.
    """

    doing: Literal["trials", "replicates"]
    done: int
    total: int | None
    failed: int
    best: Mapping[str, float]
    hypervolume: float
    seconds_left: float | None


@dataclass(frozen=True)
class _Planned:
    """A point that no sampler draws, and the attributes its trial starts with."""

    point: Point
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    """A trial that Optuna knows as running."""

    number: int
    trial: optuna.Trial
    point: Point
    began: float


def run_study(
    config: StudyConfig,
    storage: BaseStorage,
    executor: Executor,
    dataset: DatasetSummary,
    *,
    versions: Mapping[str, str] = MappingProxyType({}),
    baselines: Callable[[], Sequence[Baseline]] = tuple,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    stop: StopSignal | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StudyRecord:
    """Run a study to its end: begin it, or do what is left of it.

    The references come first, in their order; then trials that were cut short; then what the
    sampler draws; when the search is over, the replicates (`sweep.search.replication`).
    `budget.trials` is the number of complete and pruned trials of the study; one below what is done
    trains no trial, and is stored as what is done.

    `budget.minutes` are spent while at least one trial of the study runs, by the wall clock, over
    all its launches. Failed and interrupted trials count; getting ready to train, the time between
    launches and a trial whose coordinator was killed do not. The trial that runs when the minutes
    are over is still finished.

    A trial whose objective is not a finite number, or whose training raises an exception, is
    recorded as failed with its reason, and is not tried again. Where no worker can be had, and with
    Ctrl-C, the launch ends once what runs is recorded as failed; the next launch repeats it.

    Args:
        config: the study.
        storage: what `open_storage` gave.
        executor: trains the trials.
        dataset: what they are trained on.
        versions: of the software, recorded with every trial.
        baselines: fits and scores the baselines; called once in the life of a study.
        on_progress: told when all is ready for the first trial, and as every trial ends.
        say: told in words how it begins and why it ends.
        stop: once it is set no trial begins, and what runs is finished.
        clock: seconds.

    Raises:
        IncomparableStudyError: the study is stored, with settings that give other results.
        ConfigError: the sampler needs a package that is not installed.
        StorageError: the store fails, holds a foreign study of that name, or another launch of the
            study is at work.
        TrainingError: `execution.failures_in_a_row` trials in a row have failed.
        WorkerError: no worker can be had.
    """
    check_sampler(config.sampler, config.search_space)
    with _quiet(), storage_errors(storage):
        _create(config, storage)
        with hold_study(storage, config.name, config.execution, say, stop) as held:
            asked = config.budget.trials
            config = _begin(config, storage, dataset, say)
            held.call(record_spill, held.spill, storage, config.name, say)
            held.call(_fail_leftovers, storage, config.name)
            if not held.call(load_study_record, storage, config.name).baselines:
                fitted = baselines()  # takes a while, in which the store may go away
                held.call(write_baselines, storage, config.name, fitted)
            coordinator = _Coordinator(config, held, executor, versions, on_progress, clock)
            before = coordinator.done
            if before:
                say(f"Study {config.name!r} goes on: {before} trials are done")
            ending = coordinator.run(stop)
            say(_last_words(config, asked, before, coordinator.done, ending))
            if ending != "stopped":
                coordinator.replicate(stop)
            return held.patience.call(load_study_record, storage, config.name)


def _last_words(
    config: StudyConfig, asked: int | None, before: int, done: int, ending: Ending
) -> str:
    name, budget = config.name, config.budget
    match ending:
        case "trials" if asked is not None and asked < done:
            return (
                f"Study {name!r} has {done} complete trials, more than the {asked} asked: nothing "
                f"to train; to go on, ask for more than {done}"
            )
        case "stopped":
            return f"Study {name!r} stopped with {done} trials; launch it again to go on"
        case "exhausted":
            return (
                f"Study {name!r} has tried all points of its grid: {done} trials; "
                "for more, raise sampler.points"
            )
        case "converged":
            return (
                f"Study {name!r} has converged: the normalised hypervolume gained less than "
                f"{budget.min_delta:g} in the last {budget.patience} of {done} trials"
            )
        case "trials" | "minutes" if done == before:
            return (
                f"Study {name!r} is already complete: nothing to train; to go on, raise its budget"
            )
        case "minutes":
            return f"Study {name!r} is complete: its time is over after {done} trials"
        case "trials":
            return f"Study {name!r} is complete: {done} trials"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's report of every trial; sweep has its own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _create(config: StudyConfig, storage: BaseStorage) -> None:
    """See that there is a study of that name: without one, nobody can hold its lease."""
    try:
        storage.get_study_id_from_name(config.name)
    except KeyError:
        with suppress(DuplicatedStudyError):  # another launch was first; one of them will hold it
            optuna.create_study(
                storage=storage,
                study_name=config.name,
                directions=[objective.direction for objective in config.objectives],
            )


def _begin(
    config: StudyConfig, storage: BaseStorage, dataset: DatasetSummary, say: Callable[[str], None]
) -> StudyConfig:
    """Write the header of a new study, or see that an old one may go on.

    Returns:
        The configuration as the store has it afterwards: the one given, with a budget of at least
        the trials that are complete.
    """
    study_id = storage.get_study_id_from_name(config.name)
    study = optuna.load_study(study_name=config.name, storage=storage)
    attributes = storage.get_study_user_attrs(study_id)
    # New, or killed between its creation and its header, a study is still empty.
    unbegun = "sweep_schema" not in attributes and not study.get_trials(deepcopy=False)
    if not (unbegun and set(attributes) <= {"config", "dataset", LEASE, *REQUESTS}):
        if attributes.get(ARCHIVED):
            raise StorageError(f"study {config.name!r} is archived; sweep restore it first")
        before, dataset_before = read_header(storage, config.name)
        _refuse(config.name, _comparable(before, dataset_before), _comparable(config, dataset))
        if before.sampler.batch != config.sampler.batch:
            say(
                f"Study {config.name!r} was asked {_asked_in(before)} before, and is "
                f"{_asked_in(config)} now: it will not be the study that one of both alone gives"
            )
    elif [d.name.lower() for d in study.directions] != [o.direction for o in config.objectives]:
        raise StorageError(
            f"study {config.name!r} is an empty Optuna study with other objectives; "
            "choose another name"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([objective.metric for objective in config.objectives])
    done = sum(is_done(trial) for trial in study.get_trials(deepcopy=False))
    if config.budget.trials is not None and config.budget.trials < done:
        budget = config.budget.model_copy(update={"trials": done})
        config = config.model_copy(update={"budget": budget})
    stored = storage.get_study_user_attrs(study_id)
    for key, value in header(config, dataset).items():
        if stored.get(key) != value:
            study.set_user_attr(key, value)
    return config


def _asked_in(config: StudyConfig) -> str:
    batch = config.sampler.batch
    return f"in batches of {batch}" if batch else "one by one"


def check_settings(config: StudyConfig, stored: StudyConfig) -> None:
    """Check that trials of a study file would compare with those that are stored.

    The data are left out: what has changed in them is known once they are read.

    Raises:
        IncomparableStudyError: they would not; it says what differs.
    """
    _refuse(config.name, _settings(stored), _settings(config))


def _refuse(name: str, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    differences = [
        f"  {key}: {before.get(key)} → {now.get(key)}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise IncomparableStudyError(
            f"study {name!r} has trials that would not compare with new ones "
            "(stored → now):\n"
            + "\n".join(differences)
            + "\ngive the study another name, or set these back; the budget, the sampler and the "
            "bounds of the search space may change"
        )


def _settings(config: StudyConfig) -> dict[str, object]:
    """What must stay the same of a study file for trials to compare, by dotted key."""
    document = config.model_dump(mode="json", exclude={"budget", "sampler", "pruner", "execution"})
    del document["seeds"]["sampler"]
    space = document["search_space"]
    for span in (*space.values(), *space["variables"].values()):
        if span and "low" in span:
            del span["low"], span["high"]
    for objective in document["objectives"]:
        del objective["reference"]  # read from the trials' metrics, at any time
    if config.dataset.is_file:
        del document["dataset"]["name"]  # a file may move; its fingerprint tells whether it changed
    return _flatten(document)


def _comparable(config: StudyConfig, dataset: DatasetSummary) -> dict[str, object]:
    """What must stay the same for trials to compare, by dotted key."""
    measured = asdict(dataset)
    # The deviation is a float, summed in an order that may differ; the fingerprint covers it.
    del measured["name"], measured["label_deviation"]
    return _settings(config) | {f"dataset.{key}": value for key, value in measured.items()}


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            flat |= _flatten({str(i): item for i, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _fail_leftovers(storage: BaseStorage, name: str) -> None:
    """Mark as failed what a coordinator that was killed has left running or waiting."""
    study_id = storage.get_study_id_from_name(name)
    unfinished = (TrialState.RUNNING, TrialState.WAITING)
    for trial in storage.get_all_trials(study_id, deepcopy=False, states=unfinished):
        storage.set_trial_user_attr(trial._trial_id, "reason", STOPPED)
        storage.set_trial_user_attr(trial._trial_id, "retry", True)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _plan(config: StudyConfig, trials: list[FrozenTrial]) -> Iterator[_Planned]:
    """What to train before the sampler is asked: references, repetitions, the points of a grid."""
    retried = [t for t in trials if t.state == TrialState.FAIL and t.user_attrs.get("retry")]
    settled = {t.number for t in trials} - {t.number for t in retried}
    done = {t.user_attrs.get("reference") for t in trials if t.number in settled}
    space = config.search_space
    for name, point in references(space).items():
        if name not in done:
            yield _Planned(point, {"reference": name})
    replaced = {t.user_attrs.get("replaces") for t in trials}
    for trial in retried:
        again = stored_point(trial, space)
        if again and "reference" not in trial.user_attrs and trial.number not in replaced:
            yield _Planned(again, {"replaces": trial.number})
    if config.sampler.name == "grid":
        before = [*references(space).values(), *(stored_point(trial, space) for trial in trials)]
        visited = {_key(point) for point in before if point}
        points = grid(space, config.sampler.points, config.seeds.sampler)
        yield from (_Planned(point) for point in points if _key(point) not in visited)


def _key(point: Point) -> frozenset[tuple[str, object]]:
    """What equal points have in common, and can be looked up by."""
    return frozenset(to_attributes(point).items())


class _Score:
    """Best values, front and hypervolume of the trials so far, kept up to date one by one."""

    def __init__(self, objectives: tuple[Objective, ...], reference: tuple[float, ...]) -> None:
        self._objectives = objectives
        self._reference = minimised(reference, objectives)
        self._front = np.empty((0, len(objectives)))
        self.best: Mapping[str, float] = {}
        self.hypervolume = 0.0

    def add(self, values: list[float]) -> None:
        self.best = {
            o.metric: o.sign * min(o.sign * value, o.sign * self.best.get(o.metric, value))
            for o, value in zip(self._objectives, values, strict=True)
        }
        point = minimised(values, self._objectives)
        if not (self._front <= point).all(axis=1).any():
            kept = self._front[~(point <= self._front).all(axis=1)]
            self._front = np.vstack([kept, point])
            self.hypervolume = hypervolume(self._front, self._reference)


class _Coordinator:
    """One launch: what is planned, what runs, what has been done."""

    def __init__(
        self,
        config: StudyConfig,
        held: HeldStudy,
        executor: Executor,
        versions: Mapping[str, str],
        on_progress: Callable[[Progress], None],
        clock: Callable[[], float],
    ) -> None:
        storage = held.storage
        study_id = storage.get_study_id_from_name(config.name)
        trials = storage.get_all_trials(study_id, deepcopy=False)
        self._config = config
        self._held = held
        self._executor = executor
        self._on_progress = on_progress
        self._clock = clock
        self._versions = dict(versions)
        self._mirror = MirroredStorage(
            storage, config.name, trials, config.search_space, held.patience
        )
        self._study = optuna.load_study(
            study_name=config.name,
            storage=self._mirror,
            sampler=build_sampler(
                config.sampler,
                config.search_space,
                config.seeds.sampler,
                asked=len(trials),
                together=config.sampler.batch or executor.slots,
            ),
        )
        self._plan = _plan(config, trials)
        self._next = next(self._plan, None)
        # Only a grid has nothing to train after what is planned.
        self._to_come = (
            sum(1 for _ in _plan(config, trials)) if config.sampler.name == "grid" else None
        )
        record = load_study_record(storage, config.name)
        self._score = _Score(config.objectives, record.reference_point)
        ideal = minimised(record.ideal_point, config.objectives)
        self._box = float(np.prod(minimised(record.reference_point, config.objectives) - ideal))
        self._hypervolumes: list[float] = []  # normalised, after each trial that is done
        # Only the pruner looks back at curves; without it, memory need not grow with the trials.
        self._results: list[TrialResult] | None = (
            [trial.result for trial in record.trials if trial.result]
            if config.pruner.name != "none"
            else None
        )
        self._durations: deque[float] = deque(maxlen=25)
        self._spent: float = sum(
            stored_seconds(t.user_attrs).get("budget", 0) for t in trials
        ) + sum(replicate.seconds for trial in record.trials for replicate in trial.replicates)
        self._spent_until = clock()  # what goes by later, with a trial running, is not in it yet
        self.done = self._failed = self._failures_in_a_row = 0
        for trial in trials:
            if is_done(trial):
                seconds = stored_seconds(trial.user_attrs)
                self._durations.append(seconds["training"] + seconds["evaluation"])
                self._count(trial.values if is_complete(trial) else None)
            else:
                self._failed += 1
        self._asked: dict[int, _Asked] = {}
        self._waiting: deque[TrialSpec] = deque()  # asked, for a batch, and not yet submitted
        self._futures: dict[Future[TrialResult], int] = {}
        self._unrecorded: SpilledTrial | None = None  # has ended, and is being written

    def _count(self, values: list[float] | None) -> None:
        """Count a trial that is done; `values` are its objectives unless it was pruned."""
        self.done += 1
        if values is not None:
            self._score.add(values)
        self._hypervolumes.append(self._score.hypervolume / self._box)

    def run(self, stop: StopSignal | None) -> Ending:
        """Do the search: trials until something ends it."""
        batch = self._config.sampler.batch
        if self._ending(stop) is None:
            self._executor.prepare()
        self._report()
        try:
            while True:
                ending = None
                if not (batch and self._asked):  # a batch is over before the next begins
                    while len(self._asked) < (batch or self._executor.slots) and (
                        (ending := self._ending(stop)) is None
                    ):
                        self._start()
                if not self._asked:
                    assert ending is not None
                    return ending
                self._submit(stop)
                running = [future for future in self._futures if not future.done()]
                if running:
                    wait(running, return_when=FIRST_COMPLETED)
                over = [future for future in self._futures if future.done()]
                if batch and len(over) < len(self._asked):
                    continue
                for future in sorted(over, key=self._futures.__getitem__):
                    self._finish(future)
                    self._report()
        except LeaseLostError:
            self._asked.clear()  # they are another launch's
            raise
        except store_failures():
            try:
                self._held.keep(self._results_at_hand(), len(self._asked))
            finally:
                self._asked.clear()  # the next launch finds them running
            raise
        finally:
            # Nothing is left unless another exception, Ctrl-C included, is on its way.
            for future in [future for future in self._futures if future.done()]:
                with suppress(Exception):
                    self._record(self._ended(self._asked[self._futures[future]], future)[0])
            for asked in list(self._asked.values()):
                with suppress(Exception):
                    self._fail(asked, INTERRUPTED, retry=True)

    def _n_running(self) -> int:
        return sum(not future.done() for future in self._futures)

    def _submit(self, stop: StopSignal | None) -> None:
        """Begin what there is room for; the rest of a batch, if the launch is to stop, is left."""
        batch = self._config.sampler.batch
        while self._waiting and self._n_running() < self._executor.slots:
            if batch and stop is not None and stop.is_set():
                while self._waiting:
                    self._fail(self._asked[self._waiting.popleft().number], INTERRUPTED, retry=True)
                return
            spec = self._waiting.popleft()
            self._futures[self._executor.submit(spec)] = spec.number

    def _results_at_hand(self) -> Iterator[SpilledTrial]:
        """What has ended without being stored, and what still runs, as it ends."""
        if self._unrecorded is not None:
            yield self._unrecorded
        for future in as_completed(self._futures):
            asked = self._asked[self._futures[future]]
            with suppress(Exception):  # then its weights are trained again
                yield self._ended(asked, future)[0]

    def _ending(self, stop: StopSignal | None) -> Ending | None:
        """Why no trial should begin now; None if one should."""
        budget = self._config.budget
        if budget.trials is not None and self.done + len(self._asked) >= budget.trials:
            return "trials"
        if stop is not None and stop.is_set():
            return "stopped"
        if budget.minutes is not None and self._time_left(self._search_minutes()) <= 0:
            return "minutes"
        if budget.patience is not None and self._gain(budget.patience) < budget.min_delta:
            return "converged"
        if self._config.sampler.name == "grid" and self._next is None:
            return "exhausted"
        return None

    def _gain(self, patience: int) -> float:
        """What the last trials added to the normalised hypervolume; infinite for too few trials."""
        if len(self._hypervolumes) <= patience:
            return math.inf
        return self._hypervolumes[-1] - self._hypervolumes[-1 - patience]

    def _search_minutes(self) -> float:
        budget = self._config.budget
        assert budget.minutes is not None
        return budget.minutes * (1 - REPLICATES_SHARE if budget.replicates else 1)

    def _time_left(self, minutes: float) -> float:
        running = self._clock() - self._spent_until if self._asked else 0.0
        return minutes * 60 - self._spent - running

    def _spend(self) -> float:
        """Count the time up to now, when a trial ends, as spent; returns the seconds added."""
        now = self._clock()
        seconds, self._spent_until = now - self._spent_until, now
        self._spent += seconds
        return seconds

    def _start(self) -> None:
        self._held.check()
        planned, self._next = self._next, None
        if planned is not None:
            self._next = next(self._plan, None)
            if self._to_come is not None:
                self._to_come -= 1
        if not self._asked:
            self._spent_until = self._clock()
        asked = self._ask(planned)
        number = asked.number
        self._asked[number] = asked
        is_reference = planned is not None and "reference" in planned.attributes
        spec = TrialSpec(
            number,
            asked.point.weights,
            self._config.seeds.model,
            asked.point.settings,
            None
            if is_reference or self._results is None
            else halving(self._config.pruner, self._config.objectives, self._results),
            self._config.execution.trial_seconds,
        )
        self._waiting.append(spec)

    def _ask(self, planned: _Planned | None) -> _Asked:
        space, began = self._config.search_space, self._clock()
        known = distributions(space)
        if planned is None:
            trial = self._study.ask(known)
            point = from_parameters(trial.params, space)
            assert point is not None
        else:
            point = planned.point
            parameters = to_parameters(point, space)
            inside = contains(space, parameters)
            # Outside its search space, a log range above all, Optuna would not take them: a
            # specialist is a trial without parameters, whose weights are attributes alone.
            self._study.enqueue_trial(
                parameters if inside else {},
                user_attrs={**to_attributes(point), **planned.attributes},
            )
            # With the distributions, the parameters enqueued are registered as the trial's.
            trial = self._study.ask(known if inside else None)
        common = {"seed": self._config.seeds.model, "versions": self._versions}
        return _Asked(self._mirror.publish(trial.number, common), trial, point, began)

    def _finish(self, future: Future[TrialResult]) -> None:
        asked = self._asked[self._futures.pop(future)]
        try:
            ended, result = self._ended(asked, future)
        except Exception as error:
            self._fail(asked, f"{type(error).__name__}: {error}", retry=True)
            raise
        self._record(ended)
        if result is None:
            self._count_failure(asked, ended.attributes["reason"])
            return
        self._durations.append(result.training_seconds + result.evaluation_seconds)
        self._failures_in_a_row = 0
        if self._results is not None:
            self._results.append(result)
        self._count(None if ended.values is None else list(ended.values))

    def _ended(
        self, asked: _Asked, future: Future[TrialResult]
    ) -> tuple[SpilledTrial, TrialResult | None]:
        """How a trial ended, as the store is to have it; its result, unless it failed by itself.

        Raises:
            SweepError: no worker can be had.
            CancelledError: it was given up.
        """
        try:
            result = future.result()
        except Exception as error:
            reason = own_failure(error)
            if reason is None:
                raise
            return self._failed_trial(asked, reason), None
        values = [float(result.metrics[o.metric]) for o in self._config.objectives]
        wrong = [
            f"{objective.metric} is {value}, not a finite number"
            for objective, value in zip(self._config.objectives, values, strict=True)
            if not math.isfinite(value)
        ]
        if wrong:
            return self._failed_trial(asked, "; ".join(wrong)), None
        attributes = result_attributes(result, self._spend())
        number = asked.number
        if result.pruned:
            attributes["reason"] = f"pruned after epoch {result.history[-1].epoch}"
            return SpilledTrial(number, attributes, "pruned"), result
        return SpilledTrial(number, attributes, "complete", tuple(values)), result

    def _count_failure(self, asked: _Asked, reason: str) -> None:
        self._failed += 1
        self._failures_in_a_row += 1
        most = self._config.execution.failures_in_a_row
        if self._failures_in_a_row >= most:
            raise TrainingError(
                f"study {self._config.name!r}: {most} trials in a row have failed, "
                f"the last (trial {asked.number}, rating_weight "
                f"{asked.point.weights.rating_weight:g}, retrieval_weight "
                f"{asked.point.weights.retrieval_weight:g}) because {reason}; lower "
                "training.learning_rate or the bounds of the search space, under another study name"
            )

    def _fail(self, asked: _Asked, reason: str, *, retry: bool) -> None:
        self._record(self._failed_trial(asked, reason, retry=retry))

    def _failed_trial(self, asked: _Asked, reason: str, *, retry: bool = False) -> SpilledTrial:
        attributes: dict[str, Any] = {"reason": reason, "seconds": {"budget": self._spend()}}
        if retry:
            attributes["retry"] = True
        return SpilledTrial(asked.number, attributes, "fail")

    def _record(self, ended: SpilledTrial) -> None:
        """Write how a trial ended; its state comes last, and confirms the rest."""
        self._unrecorded = ended
        trial = self._asked[ended.number].trial
        self._held.check()
        for key, value in ended.attributes.items():
            # Not by the trial, which would keep its curve in memory.
            self._mirror.set_trial_user_attr(trial.number, key, value)
        self._study.tell(trial, ended.values, STATES[ended.state])
        del self._asked[ended.number]
        self._unrecorded = None

    def _report(self) -> None:
        self._on_progress(
            Progress(
                doing="trials",
                done=self.done,
                total=self._total(),
                failed=self._failed,
                best=self._score.best,
                hypervolume=self._score.hypervolume,
                seconds_left=self._seconds_left(),
            )
        )

    def _total(self) -> int | None:
        bounds = [self._config.budget.trials]
        if self._to_come is not None:
            bounds.append(self.done + len(self._asked) + self._to_come)
        return min((bound for bound in bounds if bound is not None), default=None)

    def _seconds_left(self) -> float | None:
        """Seconds to go, as if every trial took as long as the median of the last ones."""
        bounds = []
        total = self._total()
        if total is not None and self._durations:
            bounds.append(
                (total - self.done) * statistics.median(self._durations) / self._executor.slots
            )
        if self._config.budget.minutes is not None:
            bounds.append(max(self._time_left(self._search_minutes()), 0.0))
        return min(bounds, default=None)

    def replicate(self, stop: StopSignal | None) -> None:
        """Train the contenders again; see `sweep.search.replication.train_replicates`."""
        minutes = self._config.budget.minutes

        def on_progress(done: int, total: int, seconds_left: float) -> None:
            best, volume = self._score.best, self._score.hypervolume
            self._on_progress(
                Progress("replicates", done, total, self._failed, best, volume, seconds_left)
            )

        train_replicates(
            self._held.patience.call(load_study_record, self._held.storage, self._config.name),
            self._held,
            self._executor,
            seconds=math.inf if minutes is None else minutes * 60 - self._spent,
            on_progress=on_progress,
            stop=stop,
            clock=self._clock,
        )
