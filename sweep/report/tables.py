"""A study as tables: one row for each trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.config import METRICS
from sweep.front.pareto import front_of
from sweep.results import StudyRecord, Trial

if TYPE_CHECKING:
    import pandas as pd


def trials_table(record: StudyRecord) -> pd.DataFrame:
    """Every trial of a study, in order of the numbers.

    Columns: `trial`, `state`, `on_front`, `reference`, both weights and their `ratio` (infinite
    for the rating-only model), `seed`, one for each metric in `sweep.config.METRICS`,
    `training_seconds`, `evaluation_seconds`, `started`, `finished` (ISO 8601), `reason`. What a
    trial lacks is missing (NaN or None).
    """
    import pandas as pd

    members = {trial.number for trial in front_of(record.trials, record.config.objectives)}
    rows = [_row(trial, trial.number in members) for trial in record.trials]
    frame = pd.DataFrame(rows, columns=list(_row(Trial(0, "waiting", None, None), False)))
    return frame.astype({"trial": "int64", "seed": "Int64", "on_front": "bool"})


def front_table(record: StudyRecord) -> pd.DataFrame:
    """The members of the front, the best of the first objective first; columns as above."""
    members = [trial.number for trial in front_of(record.trials, record.config.objectives)]
    table = trials_table(record).set_index("trial", drop=False).loc[members]
    return table.drop(columns=["state", "on_front", "reason"]).reset_index(drop=True)


def front_records(record: StudyRecord) -> list[dict[str, Any]]:
    """The members of the front as plain values, the best of the first objective first.

    Returns:
        one `{"trial", "rating_weight", "retrieval_weight", "metrics": {name: value}}` each.
    """
    return [trial_record(trial) for trial in front_of(record.trials, record.config.objectives)]


def trial_record(trial: Trial) -> dict[str, Any]:
    """One complete trial as plain values; see `front_records`."""
    return {
        "trial": trial.number,
        "rating_weight": trial.weights.rating_weight if trial.weights else None,
        "retrieval_weight": trial.weights.retrieval_weight if trial.weights else None,
        "metrics": dict(trial.result.metrics) if trial.result else {},
    }


def _row(trial: Trial, on_front: bool) -> dict[str, Any]:
    weights, result = trial.weights, trial.result
    return {
        "trial": trial.number,
        "state": trial.state,
        "on_front": on_front,
        "reference": trial.reference,
        "rating_weight": weights.rating_weight if weights else None,
        "retrieval_weight": weights.retrieval_weight if weights else None,
        "ratio": weights.ratio if weights else None,
        "seed": trial.seed,
        **{name: result.metrics.get(name) if result else None for name in METRICS},
        "training_seconds": result.training_seconds if result else None,
        "evaluation_seconds": result.evaluation_seconds if result else None,
        "started": trial.started.isoformat() if trial.started else None,
        "finished": trial.finished.isoformat() if trial.finished else None,
        "reason": trial.reason,
    }
