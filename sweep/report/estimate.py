"""How long a study would take, judged by studies that have been timed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from sweep.config import Choices, Range, StudyConfig
from sweep.results import StudyRecord


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds of a study's trials, one by one; None where nothing tells. `text` says from what."""

    seconds: float | None
    text: str


def estimate(config: StudyConfig, records: Iterable[StudyRecord]) -> TimeEstimate:
    """How long a study's trials would take, judged by the first of `records` that has been timed.

    Those on other data do not count.
    """
    trials, minutes = config.budget.trials, config.budget.minutes
    on_the_data = (record for record in records if record.config.dataset == config.dataset)
    all_timed = ((record, _seconds_an_epoch(record)) for record in on_the_data)
    timed = next(((record, seconds) for record, seconds in all_timed if seconds), None)
    bounds, texts = [], []
    if trials is not None and timed is not None:
        record, seconds = timed
        epochs = config.search_space.variables.get("training.epochs")
        number = config.training.epochs if epochs is None else _middle(epochs)
        bounds.append(seconds * number * trials)
        texts.append(
            f"{trials} trials of {number:.3g} epochs at {seconds:.2g} s an epoch, as in study "
            f"{record.name}, one by one"
        )
    if minutes is not None:
        bounds.append(minutes * 60)
        texts.append(f"at most {minutes:g} minutes, as its budget says")
    if not bounds:
        return TimeEstimate(
            seconds=None, text="not known: no study on the same data has been timed yet"
        )
    more = "; replicates come on top" if config.budget.replicates and minutes is None else ""
    return TimeEstimate(seconds=min(bounds), text="; ".join(texts) + more)


def _middle(variable: Range | Choices) -> float:
    if isinstance(variable, Choices):
        return statistics.fmean(one for one in variable.choices if isinstance(one, int | float))
    return statistics.fmean((variable.low, variable.high))


def _seconds_an_epoch(record: StudyRecord) -> float | None:
    seconds = [
        (t.result.training_seconds + t.result.evaluation_seconds) / len(t.result.history)
        for t in record.complete[-50:]
        if t.result and t.result.history
    ]
    return statistics.median(seconds) if seconds else None
