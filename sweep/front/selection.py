"""One trial out of many, by a rule that a person writes in a few characters.

=====================  ===========================================================================
`knee`                 the knee of the front, see `Knee`
`min:rmse`             the best trial in one metric; `max:` for a metric that is better higher
`trial:17`             that complete trial
`rmse<=1.1`            of the trials within the bound (`<`, `<=`, `>`, `>=`) the best in the other
                       objective; where the bound is on no objective, the knee of those trials
=====================  ===========================================================================
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweep.config import METRICS, Objective
from sweep.errors import SelectionError
from sweep.front.pareto import front_of, minimised, objective_values
from sweep.results import StudyRecord, Trial

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Knee:
    """The member of the front that bulges most towards the ideal point.

    Each objective is scaled to 0 … 1 between the best and the worst value on the front. The knee
    is the member with the largest signed distance, on the ideal's side, from the straight line
    through the two ends of the front: Das, "On characterizing the 'knee' of the Pareto curve based
    on normal-boundary intersection", Structural Optimization 18, 1999. Where no member lies on
    that side (a front of one or two points, a straight or hollow one) it is the end that is best
    in the first objective. Ties go to the better first objective, then to the lower number.

    Members beyond `StudyRecord.reference_point` in an objective, which add nothing to the
    hypervolume, are left out: a model that never learnt to rate would otherwise set the scale, and
    every useful member would look alike. Where all are beyond it, all count.
    """

    def __str__(self) -> str:
        return "knee"


@dataclass(frozen=True)
class Best:
    """The best trial in one metric; ties go to the better objectives, then to the lower number."""

    metric: str

    def __str__(self) -> str:
        return f"{'min' if METRICS[self.metric] == 'minimize' else 'max'}:{self.metric}"


@dataclass(frozen=True)
class Numbered:
    """The complete trial of that number."""

    number: int

    def __str__(self) -> str:
        return f"trial:{self.number}"


@dataclass(frozen=True)
class Bound:
    """Of the trials whose metric compares so with the limit, the best in the other objective.

    Where the metric is not an objective, there is no one other: then the knee of the front that
    those trials form among themselves. Ties go as for `Best`.
    """

    metric: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.limit:.12g}"

    def admits(self, value: float) -> bool:
        """Whether a value of the metric is within the limit."""
        return _COMPARISONS[self.comparison](value, self.limit)


Rule = Knee | Best | Numbered | Bound


@dataclass(frozen=True)
class Choice:
    """A chosen trial, the rule that chose it, and the reason as a sentence for a person."""

    trial: Trial
    rule: Rule
    reason: str


def parse_rule(text: str, objectives: Sequence[Objective]) -> Rule:
    """Read a rule such as `knee`, `min:rmse`, `trial:17` or `rmse <= 1.1`.

    Spaces and letter case do not matter. The objectives only serve to show fitting examples when
    the text is no rule; any metric in `sweep.config.METRICS` can be named.

    Raises:
        SelectionError: the text is no rule, names no metric, or asks for the worst of a metric.
    """
    rule = text.strip().lower()
    if rule == "knee":
        return Knee()
    if match := re.fullmatch(r"(min|max)\s*:\s*(.*)", rule):
        metric = _known_metric(match[2], text)
        best = Best(metric)
        if not str(best).startswith(match[1]):
            better = "lower" if METRICS[metric] == "minimize" else "higher"
            raise SelectionError(
                f"rule {text!r}: {metric} is better when {better}, so this would pick the worst "
                f"trial; use {best}"
            )
        return best
    if match := re.fullmatch(r"trial\s*:\s*(.*)", rule):
        if not re.fullmatch(r"[0-9]{1,18}", match[1]):
            raise SelectionError(
                f"rule {text!r}: {match[1]!r} is not the number of a trial; write for example "
                "trial:17"
            )
        return Numbered(int(match[1]))
    if match := re.fullmatch(r"([^<>=]*?)\s*(<=|>=|<|>)\s*([^<>=]*)", rule):
        metric = _known_metric(match[1], text)
        try:
            limit = float(match[3])
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise SelectionError(
                f"rule {text!r}: {match[3]!r} is not a finite number; write for example "
                f"{metric}{match[2]}{'1.1' if metric == 'rmse' else '0.3'}"
            )
        return Bound(metric, match[2], limit)
    first, second = (objective.metric for objective in objectives)
    close = difflib.get_close_matches(rule, ("knee",), n=1)
    raise SelectionError(
        f"rule {text!r} is not understood; allowed: knee, {Best(first)}, {Best(second)}, trial:17, "
        f'or a bound in quotes such as "{first}{_example_bound(first)}"'
        + (f"; did you mean {close[0]!r}?" if close else "")
    )


def select(rule: Rule, record: StudyRecord) -> Choice:
    """Choose one complete trial of a study, by what `parse_rule` gave.

    Raises:
        SelectionError: no trial is complete, or none satisfies the rule; the message says which
            trials there are, or how close the closest one comes.
    """
    if not record.complete:
        raise SelectionError(
            f"rule {rule}: the study has no complete trial to choose from "
            f"({len(record.trials)} in other states); launch it first, then choose"
        )
    study = _Study(record)
    match rule:
        case Knee():
            trial, reason = study.knee(record.complete, "")
        case Best():
            trial, reason = study.best(rule)
        case Numbered():
            trial, reason = study.numbered(rule)
        case Bound():
            trial, reason = study.bounded(rule)
    return Choice(trial, rule, f"{_introduce(trial)} {reason}.")


def choose(record: StudyRecord, rule: str) -> Choice:
    """Choose one trial of a study by the text of a rule: `parse_rule`, then `select`.

    Raises:
        SelectionError: the rule is malformed, or no trial satisfies it.
    """
    return select(parse_rule(rule, record.config.objectives), record)


def metric_label(metric: str) -> str:
    """A metric's name for a person: `rmse` is "RMSE", `top_5_accuracy` is "top-5 accuracy"."""
    label = re.sub(r"top_(\d+)_", r"top-\1 ", metric.replace("unseen_", "unseen "))
    return "RMSE" if label == "rmse" else label


@dataclass(frozen=True)
class _Study:
    """A study with complete trials, and how they compare."""

    record: StudyRecord

    @property
    def complete(self) -> Sequence[Trial]:
        return self.record.complete

    @property
    def objectives(self) -> Sequence[Objective]:
        return self.record.config.objectives

    def knee(self, among: Sequence[Trial], of_those: str) -> tuple[Trial, str]:
        front = front_of(among, self.objectives)
        values = objective_values(front, self.objectives)
        bound = minimised(self.record.reference_point, self.objectives)
        within = np.flatnonzero((values <= bound).all(axis=1)).tolist()
        size = len(front)
        if 0 < len(within) < size:
            front, values = tuple(front[i] for i in within), values[within]
            of_those += f" ({size - len(within)} beyond the reference point left out)"
        best, worst = values.min(axis=0), values.max(axis=0)
        # On scaled axes the ends of the front are (0, 1) and (1, 0).
        span = np.where(worst > best, worst - best, 1.0)
        bulge = (1 - ((values - best) / span).sum(axis=1)) / math.sqrt(2)
        index = int(np.argmax(bulge))
        if (values == best).all():
            equal = f", as {len(front) - 1} more on the front" if len(front) > 1 else ""
            reason = f"is the best in both objectives{of_those}{equal}"
        elif bulge[index] < 1e-9:  # only rounding tells such a point from the line
            index = 0
            reason = (
                f"has the best {metric_label(self.objectives[0].metric)} of a front of "
                f"{size}{of_those} that has no knee between its ends"
            )
        else:
            reason = f"is the knee of the front of {size}{of_those}"
        both = " and ".join(self._standing(front[index], o) for o in self.objectives)
        return front[index], f"{reason}: {both}"

    def best(self, rule: Best) -> tuple[Trial, str]:
        sign = 1 if METRICS[rule.metric] == "minimize" else -1
        trial = min(
            self.complete,
            key=lambda trial: (sign * _value(trial, rule.metric, rule), *self._rank(trial)),
        )
        extreme = "lowest" if sign == 1 else "highest"
        others = " and ".join(
            self._standing(trial, objective)
            for objective in self.objectives
            if objective.metric != rule.metric
        )
        return trial, (
            f"has the {extreme} {metric_label(rule.metric)} of {_trials(len(self.complete))}, "
            f"{_value(trial, rule.metric, rule):.4g}, with {others}"
        )

    def numbered(self, rule: Numbered) -> tuple[Trial, str]:
        found = next((trial for trial in self.record.trials if trial.number == rule.number), None)
        if found is None or found.result is None:
            numbers = [str(trial.number) for trial in self.complete]
            listed = ", ".join(numbers[:10]) + (", …" if len(numbers) > 10 else "")
            problem = (
                "there is no such trial"
                if found is None
                else f"that trial is {found.state}" + (f" ({found.reason})" if found.reason else "")
            )
            raise SelectionError(f"rule {rule}: {problem}; complete trials are {listed}")
        front = front_of(self.complete, self.objectives)
        both = " and ".join(self._standing(found, objective) for objective in self.objectives)
        if any(member.number == found.number for member in front):
            return found, f"was named by its number; it is on the front of {len(front)}: {both}"
        own = objective_values([found], self.objectives)
        better = int(
            np.flatnonzero((objective_values(front, self.objectives) <= own).all(axis=1))[0]
        )
        return found, (
            f"was named by its number; it is not on the front, trial {front[better].number} is "
            f"better: {both}"
        )

    def bounded(self, rule: Bound) -> tuple[Trial, str]:
        admitted = [t for t in self.complete if rule.admits(_value(t, rule.metric, rule))]
        if not admitted:
            closest = min(
                self.complete,
                key=lambda t: (abs(_value(t, rule.metric, rule) - rule.limit), t.number),
            )
            raise SelectionError(
                f"rule {rule}: no complete trial satisfies it; the closest is trial "
                f"{closest.number} with {rule.metric} = {_value(closest, rule.metric, rule):.6g}; "
                "loosen the bound or run more trials"
            )
        of_those = (
            f" among the {len(admitted)} of {_trials(len(self.complete))} with "
            f"{metric_label(rule.metric)} {rule.comparison} {rule.limit:.12g}"
        )
        own = [o for o in self.objectives if o.metric == rule.metric]
        if not own:
            trial, reason = self.knee(admitted, of_those)
            value = _value(trial, rule.metric, rule)
            return trial, f"{reason}; {metric_label(rule.metric)} {value:.4g}"
        other = next(o for o in self.objectives if o.metric != rule.metric)
        # The other objective first, then the bounded one, then the number.
        trial = min(
            admitted,
            key=lambda trial: (*objective_values([trial], [other, own[0]])[0], trial.number),
        )
        return trial, (
            f"has the best {metric_label(other.metric)}{of_those}: "
            f"{self._standing(trial, other)} and {self._standing(trial, own[0])}"
        )

    def _rank(self, trial: Trial) -> tuple[float, ...]:
        return (*objective_values([trial], self.objectives)[0], trial.number)

    def _standing(self, trial: Trial, objective: Objective) -> str:
        """What a trial has in one objective, and how far that is from the best."""
        values = objective_values(self.complete, [objective])[:, 0]
        own = objective_values([trial], [objective])[0, 0]
        best = int(np.argmin(values))
        text = f"{metric_label(objective.metric)} {own * objective.sign:.4g}"
        if own == values[best]:
            return f"{text} (the best)"
        side = "above" if objective.sign == 1 else "below"
        return (
            f"{text} ({own - values[best]:.2g} {side} the best, trial {self.complete[best].number})"
        )


def _known_metric(name: str, text: str) -> str:
    if name in METRICS:
        return name
    close = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise SelectionError(
        f"rule {text!r}: {name!r} is not a recorded metric; allowed: {', '.join(METRICS)}{hint}"
    )


def _value(trial: Trial, metric: str, rule: Rule) -> float:
    if trial.result is None or metric not in trial.result.metrics:
        raise SelectionError(
            f"rule {rule}: trial {trial.number} did not record {metric}; choose by another metric"
        )
    return trial.result.metrics[metric]


def _introduce(trial: Trial) -> str:
    if trial.weights is None:
        return f"Trial {trial.number}"
    return (
        f"Trial {trial.number} (rating weight {trial.weights.rating_weight:.4g}, "
        f"retrieval weight {trial.weights.retrieval_weight:.4g})"
    )


def _trials(count: int) -> str:
    return f"{count} complete trial{'' if count == 1 else 's'}"


def _example_bound(metric: str) -> str:
    return "<=1.1" if METRICS[metric] == "minimize" else ">=0.3"
