"""One trial out of many, by a rule, and in plain words why this one.

A rule puts trials in an order: the first is the choice, the second its runner-up. It chooses among
`StudyRecord.contenders` and judges them by `Trial.metrics`, the means of their replicates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sweep.config import Objective, Setting
from sweep.errors import SelectionError
from sweep.front.pareto import FloatArray, front_of, judged_values, minimised
from sweep.front.rules import (
    Best,
    Bound,
    Knee,
    Numbered,
    Reference,
    Rule,
    Utility,
    metric_sign,
    parse_rule,
)
from sweep.front.uncertainty import difference, estimate
from sweep.results import StudyRecord, Trial


@dataclass(frozen=True)
class Choice:
    """A chosen trial, the rule that chose it, and the reason in plain sentences.

    `why` is the part of it that goes on from "Trial 3": "is the knee of the front of 5".
    `runner_up` is the next best by the same rule; None where there is no other, or where the trial
    was named by its number.
    """

    trial: Trial
    rule: Rule
    reason: str
    why: str
    runner_up: Trial | None = None


def choose(record: StudyRecord, rule: str) -> Choice:
    """Choose one trial of a study by the text of a rule: `parse_rule`, then `select`.

    Raises:
        SelectionError: the rule is malformed, or no trial satisfies it.
    """
    return select(parse_rule(rule, record.config.objectives), record)


def select(rule: Rule, record: StudyRecord) -> Choice:
    """Choose one trial of a study, by what `parse_rule` gave.

    Raises:
        SelectionError: no trial is complete, or none satisfies the rule; the message says which
            trials there are, or how close the closest one comes.
    """
    if not record.complete:
        raise SelectionError(
            f"rule {rule}: the study has no complete trial to choose from "
            f"({len(record.trials)} in other states); launch it first, then choose"
        )
    if isinstance(rule, Numbered):
        return _named(rule, record)
    ranked, why = _ranked(rule, record)
    if len(record.contenders) == 1:
        why = f"is the only {_kind(record)} trial"
    trial, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else None
    metrics = [o.metric for o in record.config.objectives]
    if isinstance(rule, Best | Bound) and rule.metric not in metrics:
        metrics.insert(0, rule.metric)
    standings = _and(_standing(trial, metric, record.contenders) for metric in metrics)
    after = (
        f"Next best by this rule is trial {runner_up.number}{_trade(trial, runner_up, metrics)}."
        if runner_up
        else "There is no next best by this rule."
    )
    reason = f"{_introduced(trial)} {why}: {standings}. {after} {_seeds(trial)}"
    return Choice(trial, rule, reason, why, runner_up)


def metric_label(metric: str) -> str:
    """A metric's name for a person: `per_user_rmse` is "per-user RMSE".

    `unseen_top_5_accuracy` is "unseen top-5 accuracy".
    """
    words = metric.replace("per_user_", "per-user ").replace("unseen_", "unseen ")
    return re.sub(r"top_(\d+)_", r"top-\1 ", words).replace("rmse", "RMSE")


def _named(rule: Numbered, record: StudyRecord) -> Choice:
    """The trial of that number, and how it stands."""
    contenders, objectives = record.contenders, record.config.objectives
    trial = _numbered(rule, record)
    metrics = [objective.metric for objective in objectives]
    why = "was named by its number"
    start = f"{_introduced(trial)} {why}"
    if trial.number not in {contender.number for contender in contenders}:
        figures = _and(_figure(trial, metric) for metric in metrics)
        reason = (
            f"{start}; it has no replicates, so it does not compare with the {_counted(record)}: "
            f"{figures}."
        )
        return Choice(trial, rule, f"{reason} {_seeds(trial)}", why)
    standings = _and(_standing(trial, metric, contenders) for metric in metrics)
    front = front_of(contenders, objectives)
    if trial.number in {member.number for member in front}:
        reason = f"{start}; it is on the front of {len(front)}: {standings}."
    else:
        better = judged_values(front, objectives) <= judged_values([trial], objectives)
        other = front[int(np.flatnonzero(better.all(axis=1))[0])]
        reason = (
            f"{start}; it is not on the front: {standings}. "
            f"Trial {other.number} dominates it{_trade(trial, other, metrics)}."
        )
    return Choice(trial, rule, f"{reason} {_seeds(trial)}", why)


def _numbered(rule: Numbered, record: StudyRecord) -> Trial:
    found = next((trial for trial in record.trials if trial.number == rule.number), None)
    if found is not None and found.state == "complete":
        return found
    numbers = [str(trial.number) for trial in record.complete]
    listed = ", ".join(numbers[:10]) + (", …" if len(numbers) > 10 else "")
    problem = (
        "there is no such trial"
        if found is None
        else f"that trial is {found.state}" + (f" ({found.reason})" if found.reason else "")
    )
    raise SelectionError(f"rule {rule}: {problem}; complete trials are {listed}")


def _ranked(
    rule: Knee | Reference | Utility | Best | Bound, record: StudyRecord
) -> tuple[Sequence[Trial], str]:
    """The trials that a rule chooses among, the best first, and what the first one is."""
    trials, objectives = record.contenders, record.config.objectives
    if isinstance(rule, Best):
        extreme = "lowest" if metric_sign(rule.metric) == 1 else "highest"
        why = f"has the {extreme} {metric_label(rule.metric)} of {_counted(record)}"
        return _by_metric(rule.metric, rule, trials, objectives), why
    if not isinstance(rule, Bound):
        return _by_score(rule, trials, record)
    admitted = _admitted(rule, record)
    among = (
        f" among the {len(admitted)} of {_counted(record)} with {metric_label(rule.metric)} "
        f"{rule.comparison} {rule.limit:.12g}"
    )
    others = [o.metric for o in objectives if o.metric != rule.metric]
    if len(others) == len(objectives):
        ranked, why = _by_score(Knee(), admitted, record)
        return ranked, why + among
    why = f"has the best {metric_label(others[0])}{among}"
    return _by_metric(others[0], rule, admitted, objectives), why


def _admitted(rule: Bound, record: StudyRecord) -> Sequence[Trial]:
    values = [_value(trial, rule.metric, rule) for trial in record.contenders]
    admitted = [t for t, v in zip(record.contenders, values, strict=True) if rule.admits(v)]
    if admitted:
        return admitted
    closest = min(range(len(values)), key=lambda i: abs(values[i] - rule.limit))
    raise SelectionError(
        f"rule {rule}: none of the {_counted(record)} satisfies it; the closest is trial "
        f"{record.contenders[closest].number} with {rule.metric} = {values[closest]:.6g}; loosen "
        "the bound or run more trials"
    )


def _by_metric(
    metric: str, rule: Rule, trials: Sequence[Trial], objectives: Sequence[Objective]
) -> Sequence[Trial]:
    """Trials in order of one metric; of an objective, the front only."""
    if metric in (objective.metric for objective in objectives):
        trials = front_of(trials, objectives)
    keys = [
        (metric_sign(metric) * _value(trial, metric, rule), *values, trial.number)
        for trial, values in zip(trials, judged_values(trials, objectives).tolist(), strict=True)
    ]
    return [trials[i] for i in sorted(range(len(trials)), key=keys.__getitem__)]


def _by_score(
    rule: Knee | Reference | Utility, trials: Sequence[Trial], record: StudyRecord
) -> tuple[Sequence[Trial], str]:
    """The front's members within the hypervolume's reference point, in order of their scores."""
    objectives = record.config.objectives
    front = front_of(trials, objectives)
    values = judged_values(front, objectives)
    within = np.flatnonzero((values <= minimised(record.reference_point, objectives)).all(axis=1))
    if not len(within):
        within = np.arange(len(front))
    scores, why = _scored(rule, values[within], objectives, len(front))
    if len(within) < len(front):
        beyond = len(front) - len(within)
        why += f" ({beyond} beyond the hypervolume's reference point left out)"
    # The front is in the order that decides ties; what only rounding tells apart is a tie.
    keys = np.round(scores, 9).tolist()
    order = sorted(range(len(within)), key=keys.__getitem__)
    return [front[within[i]] for i in order], why


def _scored(
    rule: Knee | Reference | Utility,
    values: FloatArray,
    objectives: Sequence[Objective],
    size: int,
) -> tuple[FloatArray, str]:
    """The scores of a front's members, and what the best of them is.

    Args:
        rule: what scores.
        values: float64 [n, n_objectives], lower is better.
        objectives: theirs.
        size: how many members the front has, with those that are left out.

    Returns:
        float64 [n, n_scores], lower is better, a later score deciding ties of an earlier one.
    """
    ideal, nadir = values.min(axis=0), values.max(axis=0)
    extent = np.where(nadir > ideal, nadir - ideal, 1.0)
    scaled = (values - ideal) / extent
    match rule:
        case Knee():
            scores = scaled.sum(axis=1, keepdims=True)
            if (values == ideal).all():
                alone = f"is alone on the front of {size}"
                return scores, "is the best in both objectives" if len(values) == size else alone
            if scores.min() > 1 - 1e-9:  # only rounding tells such a point from the line
                first = metric_label(objectives[0].metric)
                return scores, (
                    f"has the best {first} of a front of {size} that has no knee between its ends"
                )
            return scores, f"is the knee of the front of {size}"
        case Reference():
            short = (values - minimised([wish for _, wish in rule.point], objectives)) / extent
            wishes = _and(f"{metric_label(metric)} {wish:.12g}" for metric, wish in rule.point)
            why = (
                f"is furthest beyond the wished-for {wishes} on the front of {size}"
                if (short <= 0).all(axis=1).any()
                else f"is nearest to the wished-for {wishes} on the front of {size}, which does "
                "not reach it"
            )
            return np.stack([short.max(axis=1), short.sum(axis=1)], axis=1), why
        case Utility():
            given = dict(rule.weights)
            weights = np.array([given.get(o.metric, 0.0) for o in objectives])
            shares = weights / weights.sum()
            parts = _and(
                f"{share:.3g} for {metric_label(objective.metric)}"
                for share, objective in zip(shares, objectives, strict=True)
            )
            why = f"has the best utility of the front of {size} with weights {parts}"
            return scaled @ shares[:, np.newaxis], why


def _introduced(trial: Trial) -> str:
    """A trial with what was searched, for the beginning of a sentence."""
    searched = [f"{name} {setting_text(value)}" for name, value in trial.settings.items()]
    if trial.weights is not None:
        searched = [
            f"rating weight {trial.weights.rating_weight:.4g}",
            f"retrieval weight {trial.weights.retrieval_weight:.4g}",
            *searched,
        ]
    return f"Trial {trial.number}" + (f" ({', '.join(searched)})" if searched else "")


def _figure(trial: Trial, metric: str) -> str:
    """A metric's name and value, with its 90 % interval where there are replicates."""
    interval = estimate([r.metrics[metric] for r in trial.replicates] or [trial.metrics[metric]])
    if interval.half_width is None:
        return f"{metric_label(metric)} {interval.mean:.4g}"
    return f"{metric_label(metric)} {interval.mean:.4f} ± {interval.half_width:.4f}"


def _standing(trial: Trial, metric: str, contenders: Sequence[Trial]) -> str:
    """What a trial has in one metric, and how far that is from the best."""
    best = min(contenders, key=lambda contender: metric_sign(metric) * contender.metrics[metric])
    gap = abs(trial.metrics[metric] - best.metrics[metric])
    if gap == 0:
        return f"{_figure(trial, metric)} (the best)"
    side = "above" if metric_sign(metric) == 1 else "below"
    return f"{_figure(trial, metric)} ({gap:.2g} {side} the best, trial {best.number})"


def _trade(trial: Trial, other: Trial, metrics: Sequence[str]) -> str:
    """What taking the other trial instead would change, for the end of a sentence."""
    changes = {metric: other.metrics[metric] - trial.metrics[metric] for metric in metrics}
    if not any(changes.values()):
        return ", with the same figures"
    listed = _and(
        f"{metric_label(metric)} {'higher' if change > 0 else 'lower'} by {abs(change):.2g}"
        if change
        else f"the same {metric_label(metric)}"
        for metric, change in changes.items()
    )
    gaps = [difference(other.replicates, trial.replicates, metric) for metric in metrics]
    if any(gap is None or gap.half_width is None or abs(gap.mean) > gap.half_width for gap in gaps):
        return f": {listed}"
    return f": {listed}; with so few seeds the two cannot be told apart"


def _seeds(trial: Trial) -> str:
    n = len(trial.replicates)
    return (
        f"Figures are means of {n} seeds, ± their 90 % intervals."
        if n > 1
        else "Figures are of one seed."
    )


def _counted(record: StudyRecord) -> str:
    count = len(record.contenders)
    return f"{count} {_kind(record)} trial{'' if count == 1 else 's'}"


def _kind(record: StudyRecord) -> str:
    return "replicated" if record.contenders[0].replicates else "complete"


def _and(parts: Iterable[str]) -> str:
    """Parts of a sentence as a list: a, b and c."""
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last


def setting_text(value: Setting) -> str:
    """A setting for a person: 0.1, 12, yes, log_q, 256-128."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(trial: Trial, metric: str, rule: Rule) -> float:
    if metric not in trial.metrics:
        raise SelectionError(
            f"rule {rule}: trial {trial.number} did not record {metric}; choose by another metric"
        )
    return trial.metrics[metric]
