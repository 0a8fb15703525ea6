"""A study as tables: one row for each trial, each member of the front, each key left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sweep.config import METRICS, Objective
from sweep.front.selection import metric_label, setting_text
from sweep.front.uncertainty import Estimate, difference
from sweep.report.summary import (
    Summary,
    replicate_estimates,
    summarise,
)
from sweep.results import Ablation, StudyRecord, Trial

if TYPE_CHECKING:
    import pandas as pd

ABSENT = "–"
"""What stands in a table where something does not apply."""


class Uncertain(Protocol):
    """A mean and the half-width of its 90 % interval, which is None for a single value."""

    @property
    def mean(self) -> float:
        """The mean."""
        ...

    @property
    def half_width(self) -> float | None:
        """Half the interval's width."""
        ...


def figure(estimate: Uncertain | None) -> str:
    """A mean with its interval, "0.9043 ± 0.0021", or without, "0.9043"; "–" for None."""
    if estimate is None:
        return ABSENT
    text = f"{estimate.mean:.4f}"
    return text if estimate.half_width is None else f"{text} ± {estimate.half_width:.4f}"


def signed_figure(estimate: Uncertain | None) -> str:
    """A difference with its interval, "+0.0043 ± 0.0021"."""
    text = figure(estimate).replace("-", "−")
    return text if text.startswith(("−", ABSENT)) else f"+{text}"


def probability_text(probability: float | None) -> str:
    """A probability found by simulation for a person: never quite 0 or 1."""
    if probability is None:
        return ABSENT
    if 0.01 <= probability <= 0.99:
        return f"{probability:.2f}"
    return "> 0.99" if probability > 0.5 else "< 0.01"


def trials_table(record: StudyRecord, summary: Summary | None = None) -> pd.DataFrame:
    """Every trial of a study, in order of the numbers.

    Columns: `trial`, `state`, `on_front`, `robust`, `probability_on_front`, `reference`, both
    weights, their `ratio` (infinite for the rating-only model) and `scale`, one for each key that
    is searched beside them, `seed`, `n` (over how many trainings the metrics are means), one for
    each metric in `sweep.config.METRICS`, `…_half_width` of its 90 % interval and, for the
    objectives, `…_in_search` (the single result that the search saw), `epochs` trained,
    `training_seconds`, `evaluation_seconds`, `replicate_seconds`, `started`, `finished` (ISO 8601),
    `reason`. The metrics of a pruned trial are those at the epoch after which it was stopped. What
    a trial lacks is missing (NaN or None). A summary of the study that is there already is used.
    """
    import pandas as pd

    summary = summary or _summary(record)
    rows = [_row(trial, record, summary) for trial in record.trials]
    columns = list(_row(Trial(0, "waiting", None, None), record, None))
    types = {"trial": "int64", "seed": "Int64", "n": "Int64", "epochs": "Int64", "on_front": "bool"}
    return pd.DataFrame(rows, columns=columns).astype(types)


def front_table(record: StudyRecord, summary: Summary | None = None) -> pd.DataFrame:
    """The members of the front, the best of the first objective first, and what they compare with.

    Columns as of `trials_table`, after `kind` ("front", "reference" or "baseline") and `name` (of a
    reference or a baseline). References that are not on the front follow it, then the baselines,
    which have metrics alone.
    """
    import pandas as pd

    summary = summary or _summary(record)
    table = trials_table(record, summary).drop(columns=["state", "on_front", "reason"])
    columns = ["kind", "name", *(column for column in table if column != "reference")]
    by_number = dict(zip(table["trial"], table.to_dict("records"), strict=True))
    rows: list[Mapping[str, Any]] = []
    if summary is not None:
        others = [t for t in summary.references.values() if t not in summary.front]
        rows += [
            {**by_number[trial.number], "kind": kind, "name": trial.reference}
            for kind, trials in (("front", summary.front), ("reference", others))
            for trial in trials
        ]
    rows += [
        {**baseline.metrics, "kind": "baseline", "name": baseline.name}
        for baseline in record.baselines
    ]
    types = {"trial": "Int64", "seed": "Int64", "n": "Int64", "epochs": "Int64"}
    return pd.DataFrame(rows, columns=columns).astype(types)


def front_records(record: StudyRecord) -> list[dict[str, Any]]:
    """The members of the front as plain values, the best of the first objective first.

    Returns:
        one `trial_record` each.
    """
    summary = _summary(record)
    return [trial_record(summary, trial) for trial in summary.front] if summary else []


def trial_record(summary: Summary, trial: Trial) -> dict[str, Any]:
    """One complete trial as plain values.

    Returns:
        `trial`, `rating_weight`, `retrieval_weight`, `settings`, `n` (over how many trainings the
        metrics are means), `metrics`, `half_widths` of their 90 % intervals (None for one
        training), `probability_on_front` and `robust` (None where the trial has not been
        replicated).
    """
    estimates = summary.estimates[trial.number]
    probability = summary.probability.get(trial.number)
    return {
        "trial": trial.number,
        "rating_weight": trial.weights.rating_weight if trial.weights else None,
        "retrieval_weight": trial.weights.retrieval_weight if trial.weights else None,
        "settings": dict(trial.settings),
        "n": max(1, len(trial.replicates)),
        "metrics": {name: estimate.mean for name, estimate in estimates.items()},
        "half_widths": {name: estimate.half_width for name, estimate in estimates.items()},
        "probability_on_front": probability,
        "robust": None if probability is None else trial.number in summary.robust,
    }


def ablation_table(record: StudyRecord, ablation: Sequence[Ablation]) -> pd.DataFrame:
    """What each key of a trial is worth: texts, the key whose loss hurts most first.

    Columns: "left out", "value", "default" and, for each objective, its mean without the key and
    the "change" from the trial as it is, seed by seed, with 90 % intervals; "earns its place" says
    what that shows. The first row is the trial as it is. Changes of both objectives add up for the
    order, each in parts of what lies between the reference point and the ideal.
    """
    import pandas as pd

    objectives = record.config.objectives
    whole = next(one for one in ablation if one.key is None)
    spans = [
        abs(worst - best)
        for worst, best in zip(record.reference_point, record.ideal_point, strict=True)
    ]
    rows: list[tuple[float, dict[str, str]]] = []
    for one in ablation:
        own = replicate_estimates(one.replicates)
        changes = [difference(one.replicates, whole.replicates, o.metric) for o in objectives]
        is_whole = one is whole
        harm = sum(
            change.mean * objective.sign / span
            for change, objective, span in zip(changes, objectives, spans, strict=True)
            if change is not None
        )
        cells = {
            "left out": one.key or "nothing",
            "value": ABSENT if one.value is None else setting_text(one.value),
            "default": ABSENT if one.default is None else setting_text(one.default),
        }
        for objective, change in zip(objectives, changes, strict=True):
            label = metric_label(objective.metric)
            cells[f"{label} {'↓' if objective.sign == 1 else '↑'}"] = figure(own[objective.metric])
            cells[f"change of {label}"] = ABSENT if is_whole else signed_figure(change)
        cells["earns its place"] = ABSENT if is_whole else worth(changes, objectives)
        rows.append((float("-inf") if is_whole else -harm, cells))
    return pd.DataFrame([cells for _, cells in sorted(rows, key=lambda row: row[0])])


def worth(changes: Sequence[Estimate | None], objectives: Sequence[Objective]) -> str:
    """Whether a key earns its place, by what leaving it out changes in each objective."""
    if any(change is None or change.half_width is None for change in changes):
        return "one seed cannot tell"
    worse, better = (
        [
            metric_label(objective.metric)
            for change, objective in zip(changes, objectives, strict=True)
            if change is not None
            and change.half_width is not None
            and side * change.mean * objective.sign > change.half_width
        ]
        for side in (1, -1)
    )
    if worse and better:
        return f"a trade: for {worse[0]}, against {better[0]}"
    if worse:
        return f"yes, for {' and '.join(worse)}"
    if better:
        return f"no, {' and '.join(better)} {'are' if len(better) > 1 else 'is'} better without"
    return "not shown: no clear change"


def _summary(record: StudyRecord) -> Summary | None:
    return summarise(record) if record.complete else None


def _row(trial: Trial, record: StudyRecord, summary: Summary | None) -> dict[str, Any]:
    weights, result, number = trial.weights, trial.result, trial.number
    estimates = summary.estimates.get(number, {}) if summary else {}
    probability = summary.probability.get(number) if summary else None
    metrics: Mapping[str, float | None] = (
        {name: estimate.mean for name, estimate in estimates.items()}
        if estimates or result is None
        else result.metrics
    )
    return {
        "trial": number,
        "state": trial.state,
        "on_front": summary is not None and any(number == t.number for t in summary.front),
        "robust": number in summary.robust if summary and probability is not None else None,
        "probability_on_front": probability,
        "reference": trial.reference,
        "rating_weight": weights.rating_weight if weights else None,
        "retrieval_weight": weights.retrieval_weight if weights else None,
        "ratio": weights.ratio if weights else None,
        "scale": weights.scale if weights else None,
        **{
            name: setting_text(value) if isinstance(value, tuple) else value
            for name in record.config.search_space.variables
            for value in [trial.settings.get(name)]
        },
        "seed": trial.seed,
        "n": max(1, len(trial.replicates)) if result else None,
        **{name: metrics.get(name) for name in METRICS},
        **{
            f"{name}_half_width": estimates[name].half_width if name in estimates else None
            for name in METRICS
        },
        **{
            f"{objective.metric}_in_search": result.metrics[objective.metric] if result else None
            for objective in record.config.objectives
        },
        "epochs": len(result.history) if result else None,
        "training_seconds": result.training_seconds if result else None,
        "evaluation_seconds": result.evaluation_seconds if result else None,
        "replicate_seconds": sum(one.seconds for one in trial.replicates),
        "started": trial.started.isoformat() if trial.started else None,
        "finished": trial.finished.isoformat() if trial.finished else None,
        "reason": trial.reason,
    }
