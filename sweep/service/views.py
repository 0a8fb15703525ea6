"""Studies as the answers of the API: pure functions from a snapshot to the bodies of `schemas`."""

from __future__ import annotations

import json
import math
import shlex
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import tomli_w

from sweep.config import Choices, StudyConfig
from sweep.front.selection import choose, metric_label
from sweep.report import compare
from sweep.report.estimate import estimate
from sweep.report.summary import (
    ease_note,
    edge_text,
    estimates,
    protocol,
    variable_label,
)
from sweep.report.tables import trial_record
from sweep.results import Baseline, StudyRecord, Trial
from sweep.search.requests import Asked
from sweep.service.reading import Seen, Snapshot
from sweep.service.schemas import (
    BaselineAnswer,
    ComparedStudy,
    EpochAnswer,
    Estimate,
    Front,
    ObjectiveAnswer,
    Points,
    ReplicateAnswer,
    SearchedRange,
    Selection,
    State,
    StudyAnswer,
    StudyLine,
    TrialAnswer,
    TrialRow,
    Variable,
)

PICTURE_POINTS = 64
"""Points of the small picture in a list of studies, at most."""


def state_of(asked: Asked, runs: bool) -> tuple[State, str | None]:
    """The state of a study, and a message about it; `runs` is whether a coordinator has it."""
    launch, ended = asked.launch, asked.ended
    if launch is not None and asked.is_open:
        if launch.wanted == "stop":
            return ("stopping" if runs else "stopped"), None
        return ("running", None) if runs else ("queued", "waits to begin")
    if runs:
        return "running", None
    if ended is not None:
        return ended.state, ended.message
    return "idle", None


def state_seen(seen: Seen) -> tuple[State, str | None]:
    """The same, but for a launch at a command line, which leaves no word of how it ended."""
    state, message = state_of(seen.snapshot.asked, seen.runs)
    is_over = state == "idle" and seen.snapshot.is_whole
    return ("complete" if is_over else state), message


def objective_answers(config: StudyConfig) -> list[ObjectiveAnswer]:
    """The two objectives."""
    return [
        ObjectiveAnswer(metric=o.metric, label=metric_label(o.metric), direction=o.direction)
        for o in config.objectives
    ]


def study_line(seen: Seen) -> StudyLine:
    """One line of the list."""
    snapshot, record = seen.snapshot, seen.snapshot.record
    state, message = state_seen(seen)
    moments = [m for t in record.trials for m in (t.started, t.finished) if m is not None]
    return StudyLine(
        name=record.name,
        state=state,
        message=message,
        done=sum(trial.state in ("complete", "pruned") for trial in record.trials),
        failed=sum(trial.state == "failed" for trial in record.trials),
        asked=record.config.budget.trials,
        objectives=objective_answers(record.config),
        best=dict(record.best),
        front=_small_front(snapshot),
        last_activity=max(moments, default=None),
        archived=snapshot.asked.archived,
        problem=None,
    )


def _small_front(snapshot: Snapshot) -> list[tuple[float, float]]:
    if not snapshot.record.complete:
        return []
    first, second = (o.metric for o in snapshot.record.config.objectives)
    points = [(trial.metrics[first], trial.metrics[second]) for trial in snapshot.front]
    return points[:: math.ceil(len(points) / PICTURE_POINTS)]


def study_answer(seen: Seen, storage: str) -> StudyAnswer:
    """All about a study but its trials."""
    record = seen.snapshot.record
    x, y = record.ideal_point
    reference = record.reference_point if record.dataset else None
    states = [trial.state for trial in record.trials]
    return StudyAnswer(
        **study_line(seen).model_dump(),
        config=record.config.model_dump(mode="json"),
        toml=study_file(record.config),
        dataset=asdict(record.dataset) if record.dataset else None,
        variables=[
            Variable(name=name, label=variable_label(name), text=str(variable))
            for name, variable in record.config.search_space.all.items()
        ],
        protocol=protocol(record),
        counts={state: states.count(state) for state in sorted(set(states))},
        replicated=sum(bool(trial.replicates) for trial in record.complete),
        seconds_left=_seconds_left(record) if seen.runs else None,
        baselines=[_baseline(one) for one in record.baselines],
        reference_point=None if reference is None else (reference[0], reference[1]),
        ideal_point=(x, y),
        storage=storage,
    )


def study_file(config: StudyConfig) -> str:
    """A study as the text of a study file."""
    return tomli_w.dumps(_without_none(config.model_dump(mode="json")))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None and v != {}}
    return [_without_none(v) for v in value] if isinstance(value, list | tuple) else value


def _baseline(one: Baseline) -> BaselineAnswer:
    return BaselineAnswer(name=one.name, metrics=dict(one.metrics), note=one.note)


def points(snapshot: Snapshot) -> Points:
    """Every trial with a result, in columns."""
    record, summary = snapshot.record, snapshot.summary
    first, second = (o.metric for o in record.config.objectives)
    trials = [trial for trial in record.trials if trial.result is not None]
    found = [
        summary.estimates[t.number] if summary and t.number in summary.estimates else estimates(t)
        for t in trials
    ]
    on_front = {trial.number for trial in summary.front} if summary else set()
    return Points(
        version=snapshot.version,
        number=[trial.number for trial in trials],
        state=["pruned" if trial.state == "pruned" else "complete" for trial in trials],
        x=[one[first].mean for one in found],
        y=[one[second].mean for one in found],
        x_half=[one[first].half_width for one in found],
        y_half=[one[second].half_width for one in found],
        rating_weight=[t.weights.rating_weight if t.weights else None for t in trials],
        retrieval_weight=[t.weights.retrieval_weight if t.weights else None for t in trials],
        n=[max(1, len(trial.replicates)) for trial in trials],
        on_front=[trial.number in on_front for trial in trials],
        robust=[summary is not None and t.number in summary.robust for t in trials],
        probability=[summary.probability.get(t.number) if summary else None for t in trials],
        reference=[trial.reference for trial in trials],
        settings={
            name: [trial.settings.get(name) for trial in trials]
            for name in record.config.search_space.variables
        },
        values={
            metric: [one[metric].mean if metric in one else None for one in found]
            for metric in ("rmse", "top_100_accuracy", "unseen_top_100_accuracy")
            if metric not in (first, second)
        },
        hypervolume=summary.convergence.history.tolist() if summary else [],
        hypervolume_number=[trial.number for trial in record.complete],
    )


def row(trial: Trial, on_front: bool) -> TrialRow:
    """A trial in a table."""
    result = trial.result
    metrics = trial.metrics or (result.metrics if result else {})
    return TrialRow(
        number=trial.number,
        state=trial.state,
        reference=trial.reference,
        rating_weight=trial.weights.rating_weight if trial.weights else None,
        retrieval_weight=trial.weights.retrieval_weight if trial.weights else None,
        settings=dict(trial.settings),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        n=max(1, len(trial.replicates)),
        on_front=on_front,
        seconds=result.training_seconds + result.evaluation_seconds if result else None,
        started=trial.started,
        finished=trial.finished,
        reason=trial.reason,
    )


def sorted_trials(trials: Sequence[Trial], sort: str, descending: bool) -> list[Trial]:
    """Trials in order of a column; those without a value come last, ties by number."""

    def value(trial: Trial) -> Any:
        match sort:
            case "number":
                return trial.number
            case "state":
                return trial.state
            case "rating_weight" | "retrieval_weight":
                return getattr(trial.weights, sort) if trial.weights else None
            case "seconds":
                result = trial.result
                return result.training_seconds + result.evaluation_seconds if result else None
        return trial.metrics.get(sort)

    keyed = [(value(trial), trial) for trial in trials]
    there = [(v, t) for v, t in keyed if v is not None]
    there.sort(key=lambda pair: pair[0], reverse=descending)
    return [t for _, t in there] + [t for v, t in keyed if v is None]


def trial_answer(snapshot: Snapshot, trial: Trial) -> TrialAnswer:
    """A trial with its curve and its seeds."""
    summary, result = snapshot.summary, trial.result
    on_front = summary is not None and any(trial.number == t.number for t in summary.front)
    found = estimates(trial) if result else {}
    return TrialAnswer(
        **row(trial, on_front).model_dump(),
        seed=trial.seed,
        half_widths={name: one.half_width for name, one in found.items()},
        probability_on_front=summary.probability.get(trial.number) if summary else None,
        history=[
            EpochAnswer(
                epoch=epoch.epoch,
                rating_loss=_finite(epoch.rating_loss),
                retrieval_loss=_finite(epoch.retrieval_loss),
                metrics={name: _finite(value) for name, value in epoch.metrics.items()},
            )
            for epoch in (result.history if result else ())
        ],
        replicates=[
            ReplicateAnswer(seed=one.seed, metrics=dict(one.metrics), seconds=one.seconds)
            for one in trial.replicates
        ],
        versions=dict(trial.versions),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def front(snapshot: Snapshot) -> Front:
    """The front, and what it compares with."""
    record, summary = snapshot.record, snapshot.summary
    baselines = [_baseline(one) for one in record.baselines]
    if summary is None:
        return Front(
            version=snapshot.version,
            front=[],
            knee=None,
            references={},
            published={},
            baselines=baselines,
            convergence=None,
            edge="",
            note="",
        )
    return Front(
        version=snapshot.version,
        front=[trial_record(summary, trial) for trial in summary.front],
        knee=summary.knee.trial.number,
        references={name: trial.number for name, trial in summary.references.items()},
        published=dict(summary.published),
        baselines=baselines,
        convergence=summary.convergence.sentence,
        edge=edge_text(summary.at_edge),
        note=ease_note(record, [o.metric for o in record.config.objectives]) or "",
    )


def selection(snapshot: Snapshot, rule: str) -> Selection:
    """What a rule chooses.

    Raises:
        SelectionError: the rule is malformed, or no trial satisfies it.
    """
    record = snapshot.record
    choice = choose(record, rule)
    assert snapshot.summary is not None
    pick = shlex.quote(str(choice.rule))
    return Selection(
        rule=str(choice.rule),
        trial=choice.trial.number,
        runner_up=choice.runner_up.number if choice.runner_up else None,
        reason=choice.reason,
        command=f"sweep export {record.name} --pick {pick} --output best.json",
        record=trial_record(snapshot.summary, choice.trial),
    )


def compared(record: StudyRecord) -> ComparedStudy:
    """A study beside others."""
    found = compare.compared(record)
    return ComparedStudy(**asdict(found) | {"objectives": objective_answers(record.config)})


def ranges(config: StudyConfig) -> list[SearchedRange]:
    """The ranges of the search space, for a form."""
    return [
        SearchedRange(
            key=name if "." in name else f"search_space.{name}",
            low=variable.low,
            high=variable.high,
            log=variable.log,
        )
        for name, variable in config.search_space.all.items()
        if not isinstance(variable, Choices)
    ]


def estimated(config: StudyConfig, records: Iterable[StudyRecord]) -> Estimate:
    """How long a study would take."""
    return Estimate(**asdict(estimate(config, records)))


def _seconds_left(record: StudyRecord) -> float | None:
    """Seconds until the trials are done, as if each took the median of the last ones."""
    asked = record.config.budget.trials
    times = [
        t.result.training_seconds + t.result.evaluation_seconds
        for t in record.complete[-25:]
        if t.result
    ]
    if asked is None or not times:
        return None
    done = sum(trial.state in ("complete", "pruned") for trial in record.trials)
    return max(asked - done, 0) * statistics.median(times)


def events(before: Seen, now: Seen) -> Iterator[tuple[str, str]]:
    """What viewers of a study are told when it has changed."""
    old, new = before.snapshot.revisions, now.snapshot.revisions
    for trial, revision in zip(now.snapshot.record.trials, new, strict=True):
        if revision and (trial.number >= len(old) or revision != old[trial.number]):
            text = row(trial, False).model_dump_json(exclude={"on_front"})
            yield "trial", text
    yield "study", json.dumps(standing(now))


def standing(seen: Seen) -> dict[str, Any]:
    """Where a study stands, for events."""
    state, message = state_seen(seen)
    snapshot, trials = seen.snapshot, seen.snapshot.record.trials
    return {
        "version": snapshot.version,
        "state": state,
        "message": message,
        "done": sum(trial.state in ("complete", "pruned") for trial in trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "asked": snapshot.record.config.budget.trials,
    }
