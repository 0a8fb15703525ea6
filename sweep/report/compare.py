"""Studies beside each other: their fronts and hypervolumes, and whether these compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.config import Objective
from sweep.front.pareto import front_of, hypervolume_history, minimised, objective_values
from sweep.results import StudyRecord


@dataclass(frozen=True)
class Comparison:
    """One study as it is compared.

    `front` holds the front's points as measured, in the order of the objectives, and `numbers` the
    trials. `hypervolume` is normalised by the box between reference point and ideal, and judged by
    single results; `hypervolume_history` is that after each complete trial, whose
    numbers are `hypervolume_number`. None and empty while nothing is complete.
    """

    name: str
    objectives: tuple[Objective, ...]
    front: tuple[tuple[float, ...], ...]
    numbers: tuple[int, ...]
    best: Mapping[str, float]
    hypervolume: float | None
    hypervolume_history: tuple[float, ...]
    hypervolume_number: tuple[int, ...]
    done: int


def compared(record: StudyRecord) -> Comparison:
    """A study as it is compared."""
    objectives = record.config.objectives
    complete = record.complete
    members = front_of(record.contenders, objectives) if complete else ()
    history: list[float] = []
    if complete:
        values = objective_values(complete, objectives)
        reference = minimised(record.reference_point, objectives)
        box = math.prod((reference - minimised(record.ideal_point, objectives)).tolist())
        found = hypervolume_history(values, reference)
        history = (found / box).tolist()
    return Comparison(
        name=record.name,
        objectives=objectives,
        front=tuple(tuple(trial.metrics[o.metric] for o in objectives) for trial in members),
        numbers=tuple(trial.number for trial in members),
        best=record.best,
        hypervolume=history[-1] if history else None,
        hypervolume_history=tuple(history),
        hypervolume_number=tuple(trial.number for trial in complete),
        done=sum(trial.state in ("complete", "pruned") for trial in record.trials),
    )


def comparison_note(records: Sequence[StudyRecord]) -> str | None:
    """Why the figures of studies do not compare with those of the first, if they do not."""

    def measured(record: StudyRecord) -> dict[str, object]:
        config = record.config
        return {
            "objectives": [(o.metric, o.direction) for o in config.objectives],
            "data": record.dataset.fingerprint if record.dataset else None,
            "a split": (config.split, config.seeds.split),
        }

    first = measured(records[0])
    for other in records[1:]:
        for what, value in measured(other).items():
            if value != first[what]:
                return (
                    f"{other.name} and {records[0].name} have different {what.removeprefix('a ')}"
                    f"{'s' if what == 'a split' else ''}: their figures do not compare"
                )
    return None
