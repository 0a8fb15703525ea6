"""Studies as the store holds them, written and read as sweep's own values.

A study of sweep is an ordinary Optuna study, which `optuna` and `optuna-dashboard` show as any
other: its objectives have the names of their metrics, and `rating_weight` and `retrieval_weight`
(or `ratio` and `scale`) are its parameters, beside the keys that are searched. What sweep adds are
user attributes. Of a study: `config`, `dataset`, `sweep_schema`, the version of this layout, and as
they come `baselines`, `replicates:N` of trial N, `ablation` and `finals`; `lease`, by which stores
other than SQLite know who writes (`sweep.search.lease`). Of a trial:

================== =================================================================
`rating_weight`,   on trials that sweep chose itself, as the references, with the
`retrieval_weight` keys that are searched; a specialist has no parameters, since 0
                   is outside every range
`reference`        which reference it is
`replaces`         number of the trial cut short that it repeats
`seed`, `versions` of the model's initial state; of the software
`result`           `metrics`: every metric, by name; `history`: both losses and the metrics,
                   by name, a list with one value for each epoch; `seconds`: spent on training
                   and on evaluation, and `budget`: how much of the study's time went by from
                   the end of the trial before
`seconds`          `budget`, on failed trials
`reason`, `retry`  why it failed or was pruned; whether that was no fault of its weights
================== =================================================================

Each attribute is a transaction, some milliseconds, so values that belong together share one. Up to
layout 2 the three parts of `result` were attributes of their own; such studies are read, and go on.
MySQL holds at most 64 KiB in an attribute, a history of some 120 epochs; SQLite and PostgreSQL know
no such limit.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from optuna.storages import (
    BaseStorage,
)
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweep.config import SearchSpaceConfig, StudyConfig, check_study
from sweep.errors import ConfigError, StorageError, StudyNotFoundError
from sweep.results import (
    Ablation,
    Baseline,
    DatasetSummary,
    Epoch,
    FinalScore,
    Point,
    Replicate,
    StudyRecord,
    Trial,
    TrialResult,
    TrialState,
)
from sweep.search.space import from_parameters
from sweep.search.storage import open_storage, storage_errors

SCHEMA_VERSION: Final = 3
"""The version of the attributes that this module writes."""

_READABLE: Final = (2, SCHEMA_VERSION)

_STATES: Final[Mapping[OptunaState, TrialState]] = {
    OptunaState.COMPLETE: "complete",
    OptunaState.FAIL: "failed",
    OptunaState.PRUNED: "pruned",
    OptunaState.RUNNING: "running",
    OptunaState.WAITING: "waiting",
}


@dataclass(frozen=True)
class StudySummaryLine:
    """One line of the list of studies.

    `complete` includes what was pruned; `asked` is the number of trials that the study file asks
    for, None where only a time is set; `best` maps each objective to its best value so far, means
    over seeds where there are any; `last_activity` is when the last trial began or ended.
    `archived` is when it was put away. `problem` says why a study cannot be read: then nothing is
    known of its objectives and of what was asked.
    """

    name: str
    complete: int
    failed: int
    asked: int | None
    best: Mapping[str, float]
    last_activity: datetime | None
    problem: str | None = None
    archived: datetime | None = None


def list_studies(storage: BaseStorage) -> tuple[StudySummaryLine, ...]:
    """The studies of sweep in a store, in order of their names; others are passed over.

    Raises:
        StorageError: the store cannot be read. A study that cannot is listed with its problem.
    """
    with storage_errors(storage):
        return tuple(_summarise(storage, name) for name in _names(storage))


def _names(storage: BaseStorage) -> list[str]:
    studies = storage.get_all_studies()
    return sorted(
        study.study_name
        for study in studies
        if "sweep_schema" in study.user_attrs or _waits(study.user_attrs)
    )


def _waits(attributes: Mapping[str, Any]) -> bool:
    """Whether a launch was asked for (`sweep.search.requests`) of a study without a header."""
    launch = attributes.get("launch")
    return "sweep_schema" not in attributes and isinstance(launch, dict) and "config" in launch


def _summarise(storage: BaseStorage, name: str) -> StudySummaryLine:
    study_id = storage.get_study_id_from_name(name)
    trials = storage.get_all_trials(study_id, deepcopy=False)
    complete = [trial for trial in trials if is_complete(trial)]
    moments = (m for t in trials for m in (t.datetime_start, t.datetime_complete) if m is not None)
    attributes = storage.get_study_user_attrs(study_id)
    archived = attributes.get("archived")
    line = StudySummaryLine(
        name=name,
        complete=sum(is_done(trial) for trial in trials),
        failed=sum(_STATES[trial.state] == "failed" for trial in trials),
        asked=None,
        best={},
        last_activity=_aware(max(moments, default=None)),
        archived=datetime.fromisoformat(archived) if archived else None,
    )
    try:
        config, _ = read_header(storage, name)
    except StorageError as error:
        return replace(line, problem=str(error))
    kept = ((trial, attributes.get(f"replicates:{trial.number}")) for trial in complete)
    replicated = [to_trial(trial, config, found).metrics for trial, found in kept if found]
    names = [objective.metric for objective in config.objectives]
    judged = replicated or [dict(zip(names, trial.values, strict=True)) for trial in complete]
    best = {
        o.metric: o.sign * min(o.sign * metrics[o.metric] for metrics in judged)
        for o in config.objectives
        if judged
    }
    return replace(line, asked=config.budget.trials, best=best)


def load_study_record(storage: BaseStorage | str, name: str) -> StudyRecord:
    """Read a whole study.

    Args:
        storage: what `open_storage` gave, or the URL of a store that is there.
        name: of the study.

    Raises:
        StudyNotFoundError: there is no study of that name.
        StorageError: the store cannot be read, or sweep did not write that study.
    """
    if isinstance(storage, str):
        storage = open_storage(storage, must_exist=True)
    with storage_errors(storage):
        config, dataset = read_header(storage, name)
        study_id = storage.get_study_id_from_name(name)
        attributes = storage.get_study_user_attrs(study_id)
        trials = tuple(
            to_trial(frozen, config, attributes.get(f"replicates:{frozen.number}", ()))
            for frozen in storage.get_all_trials(study_id, deepcopy=False)
        )
    return study_record(name, config, dataset, attributes, trials)


def study_record(
    name: str,
    config: StudyConfig,
    dataset: DatasetSummary,
    attributes: Mapping[str, Any],
    trials: tuple[Trial, ...],
) -> StudyRecord:
    """A whole study, of its header, its user attributes and its trials."""
    return StudyRecord(
        name=name,
        config=config,
        dataset=dataset,
        trials=trials,
        baselines=_baselines(attributes.get("baselines", ())),
        ablation=tuple(
            Ablation(
                **{
                    **part,
                    "value": _setting(part["value"]),
                    "default": _setting(part["default"]),
                    "replicates": _replicates(part["replicates"]),
                }
            )
            for part in attributes.get("ablation", ())
        ),
        finals=tuple(
            FinalScore(
                final["trial"], _replicates(final["replicates"]), _baselines(final["baselines"])
            )
            for final in attributes.get("finals", ())
        ),
    )


def _replicates(stored: Iterable[Mapping[str, Any]]) -> tuple[Replicate, ...]:
    return tuple(Replicate(**one) for one in stored)


def _baselines(stored: Iterable[Mapping[str, Any]]) -> tuple[Baseline, ...]:
    return tuple(Baseline(**one) for one in stored)


def _setting(stored: Any) -> Any:
    return tuple(stored) if isinstance(stored, list) else stored


def write_replicates(
    storage: BaseStorage, name: str, trial: int, replicates: Sequence[Replicate]
) -> None:
    """Store the replicates of a trial, in place of those it has."""
    _write(storage, name, f"replicates:{trial}", [asdict(one) for one in replicates])


def write_baselines(storage: BaseStorage, name: str, baselines: Sequence[Baseline]) -> None:
    """Store a study's baselines."""
    _write(storage, name, "baselines", [asdict(one) for one in baselines])


def write_ablation(storage: BaseStorage, name: str, ablation: Sequence[Ablation]) -> None:
    """Store a study's ablation, in place of the one it has."""
    _write(storage, name, "ablation", [asdict(one) for one in ablation])


def write_finals(storage: BaseStorage, name: str, finals: Sequence[FinalScore]) -> None:
    """Store the scores on the test rows, in place of those a study has."""
    _write(storage, name, "finals", [asdict(one) for one in finals])


def _write(storage: BaseStorage, name: str, key: str, value: object) -> None:
    with storage_errors(storage):
        storage.set_study_user_attr(storage.get_study_id_from_name(name), key, value)


def header(config: StudyConfig, dataset: DatasetSummary) -> dict[str, Any]:
    """The user attributes of a study, in the order to write them: the mark of sweep is last."""
    return {
        "config": config.model_dump(mode="json"),
        "dataset": asdict(dataset),
        "sweep_schema": SCHEMA_VERSION,
    }


def not_found(storage: BaseStorage, name: str) -> StudyNotFoundError:
    """The error for a study that is not there, with those that are."""
    names = _names(storage)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    there = f"there are: {', '.join(names)}" if names else "there are none; launch one first"
    return StudyNotFoundError(f"no study {name!r} in this store; {there}{hint}")


def read_header(storage: BaseStorage, name: str) -> tuple[StudyConfig, DatasetSummary]:
    """The configuration and the dataset of a stored study.

    Raises:
        StudyNotFoundError: there is no study of that name.
        StorageError: sweep did not write that study, or a newer version did.
    """
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        raise not_found(storage, name) from None
    attributes = storage.get_study_user_attrs(study_id)
    schema = attributes.get("sweep_schema")
    if _waits(attributes):
        message = (attributes.get("outcome") or {}).get("message")
        why = f"its launch failed: {message}" if message else "its launch waits for its first trial"
        raise StorageError(f"study {name!r} has no trials yet; {why}")
    if schema is None:
        raise StorageError(
            f"study {name!r} was not written by sweep: it is an Optuna study of another program; "
            "choose another name"
        )
    if schema not in _READABLE:
        raise StorageError(
            f"study {name!r} has layout {schema!r}, this sweep reads "
            f"{' and '.join(map(str, _READABLE))}; "
            f"{_advice_unreadable(name)}"
        )
    try:
        config = check_study(attributes["config"], source=f"study {name!r} in the store")
        return config, DatasetSummary(**attributes["dataset"])
    except (ConfigError, KeyError, TypeError) as error:
        raise StorageError(
            f"study {name!r} cannot be read by this version of sweep ({error}); "
            f"{_advice_unreadable(name)}"
        ) from None


def _advice_unreadable(name: str) -> str:
    return (
        "install the version of sweep that wrote it, or launch under another name, or remove it "
        f"with optuna delete-study --study-name {name} --storage URL"
    )


def result_attributes(result: TrialResult, budget_seconds: float) -> dict[str, Any]:
    """A result, and what it took of the study's time, as the user attributes of its trial."""
    history = result.history
    names = history[0].metrics if history else ()
    stored = {
        "metrics": {name: _number(value) for name, value in result.metrics.items()},
        "history": {
            "epoch": [epoch.epoch for epoch in history],
            "rating_loss": [_number(epoch.rating_loss) for epoch in history],
            "retrieval_loss": [_number(epoch.retrieval_loss) for epoch in history],
            "metrics": {
                name: [_number(epoch.metrics[name]) for epoch in history] for name in names
            },
        },
        "seconds": {
            "training": float(result.training_seconds),
            "evaluation": float(result.evaluation_seconds),
            "budget": budget_seconds,
        },
    }
    return {"result": stored}


def _stored_result(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metrics, history and seconds of a trial, as far as it has them; see the layouts above."""
    stored: Mapping[str, Any] = attributes.get("result", attributes)
    return stored


def stored_seconds(attributes: Mapping[str, Any]) -> Mapping[str, float]:
    """What a trial has taken, from its user attributes; `budget` alone if it failed."""
    seconds: Mapping[str, float] = _stored_result(attributes).get("seconds", {})
    return seconds


def _number(value: float) -> float | str:
    """A number as JSON has it; JSON has no NaN and no infinity, so these become text."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _result(attributes: Mapping[str, Any], *, pruned: bool) -> TrialResult:
    stored = _stored_result(attributes)
    return TrialResult(
        metrics={name: float(value) for name, value in stored["metrics"].items()},
        history=_epochs(stored["history"]),
        training_seconds=stored["seconds"]["training"],
        evaluation_seconds=stored["seconds"]["evaluation"],
        pruned=pruned,
    )


def _epochs(columns: Mapping[str, Any]) -> tuple[Epoch, ...]:
    def rows(column: Sequence[float | str]) -> Iterator[float]:
        return (float(value) for value in column)

    return tuple(
        Epoch(epoch, rating, retrieval, dict(zip(columns["metrics"], metrics, strict=True)))
        for epoch, rating, retrieval, *metrics in zip(
            columns["epoch"],
            rows(columns["rating_loss"]),
            rows(columns["retrieval_loss"]),
            *(rows(column) for column in columns["metrics"].values()),
            strict=True,
        )
    )


def is_complete(frozen: FrozenTrial) -> bool:
    """Whether a stored trial has a result of sweep; one that was told by hand has none."""
    return frozen.state == OptunaState.COMPLETE and "metrics" in _stored_result(frozen.user_attrs)


def is_done(frozen: FrozenTrial) -> bool:
    """Whether a stored trial counts towards the budget: it is complete, or was pruned by sweep."""
    finished = (OptunaState.COMPLETE, OptunaState.PRUNED)
    return frozen.state in finished and "metrics" in _stored_result(frozen.user_attrs)


def stored_point(frozen: FrozenTrial, space: SearchSpaceConfig) -> Point | None:
    """The point of a stored trial; None if it was stopped before it had one."""
    return (
        from_parameters(frozen.user_attrs, space)
        or from_parameters(frozen.params, space)
        or from_parameters(frozen.system_attrs.get("fixed_params", {}), space)
    )


def to_trial(
    frozen: FrozenTrial, config: StudyConfig, replicates: Iterable[Mapping[str, Any]] = ()
) -> Trial:
    """An Optuna trial, and what is stored of its replicates, as sweep's own value."""
    attributes = frozen.user_attrs
    complete = is_complete(frozen)
    point = stored_point(frozen, config.search_space)
    state = _STATES[frozen.state]
    reason = attributes.get("reason")
    if state in ("complete", "pruned") and not is_done(frozen):
        verb = "completed" if state == "complete" else "pruned"
        state, reason = "failed", f"{verb} by another program, without a result of sweep"
    return Trial(
        number=frozen.number,
        state=state,
        weights=point.weights if point else None,
        seed=attributes.get("seed"),
        result=_result(attributes, pruned=not complete) if complete or state == "pruned" else None,
        reason=reason,
        reference=attributes.get("reference"),
        started=_aware(frozen.datetime_start),
        finished=_aware(frozen.datetime_complete),
        versions=attributes.get("versions", {}),
        settings=point.settings if point else {},
        replicates=_replicates(replicates),
    )


def _aware(moment: datetime | None) -> datetime | None:
    """A time that Optuna stored: it has no zone, and means the clock on the wall."""
    return None if moment is None else moment.astimezone()
