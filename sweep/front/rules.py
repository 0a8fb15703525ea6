"""The rules by which one trial is chosen, and how a person writes them.

==========================================  ======================================================
`knee`                                      the knee of the front, see `Knee`
`min:rmse`                                  the best trial in one metric; `max:` for a metric that
                                            is better higher
`rmse<=1.1`                                 of the trials within the bound (`<`, `<=`, `>`, `>=`)
                                            the best in the other objective; where the bound is on
                                            no objective, the knee of those trials
`reference:rmse=0.93,top_100_accuracy=0.4`  the member of the front that comes nearest to both
                                            values or goes furthest beyond, see `Reference`
`utility:rmse=0.3,top_100_accuracy=0.7`     the best weighted sum on the front, see `Utility`
`trial:17`                                  that complete trial
==========================================  ======================================================
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sweep.config import METRICS, Objective
from sweep.errors import SelectionError

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Knee:
    """The member of the front that bulges most towards the ideal point.

    The objectives are scaled to 0 … 1 between the best and the worst value on the front. The knee
    is the member with the largest signed distance, on the ideal's side, from the straight line
    through the two ends of the front, which on these axes is the one with the smallest sum: Das,
    "On characterizing the 'knee' of the Pareto curve based on normal-boundary intersection",
    Structural Optimization 18, 1999. Where no member lies on that side (a front of one or two
    points, a straight or hollow one) it is the end that is best in the first objective. Ties go to
    the better first objective, then to the lower number.

    Members beyond `StudyRecord.reference_point` in an objective, which add nothing to the
    hypervolume, are left out: a model that never learnt to rate would otherwise set the scale, and
    every useful member would look alike. Where all are beyond it, all count.
    """

    def __str__(self) -> str:
        return "knee"


@dataclass(frozen=True)
class Reference:
    """The member of the front that does best against a wished-for value of each objective.

    What counts is the larger of the two shortfalls, `(value − wish) / range` with lower values
    better; ties go to the smaller sum of both. This is the achievement scalarising function of
    Wierzbicki, "The use of reference objectives in multiobjective optimization", 1980, with an
    augmentation so small that it only decides ties. The range is that of the front; members left
    out and further ties are as for `Knee`.

    `point` holds the metric and the wished-for value, as measured, of each objective in order.
    """

    point: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"reference:{_assigned(self.point)}"


@dataclass(frozen=True)
class Utility:
    """The member of the front with the smallest weighted sum of the scaled objectives.

    Scaling, members left out and ties are as for `Knee`, which is the same with equal weights. A
    weighted sum never chooses a member in a hollow of the front; `Reference` does.

    `weights` holds a metric and its weight, at least 0, for some of the objectives in order; the
    others weigh 0. Only the ratio of the weights matters.
    """

    weights: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"utility:{_assigned(self.weights)}"


@dataclass(frozen=True)
class Best:
    """The best trial in one metric; ties go to the better objectives, then to the lower number.

    Where the metric is an objective, the runner-up is the next on the front, the others having
    nothing to trade.
    """

    metric: str

    def __str__(self) -> str:
        return f"{'min' if metric_sign(self.metric) == 1 else 'max'}:{self.metric}"


@dataclass(frozen=True)
class Bound:
    """Of the trials whose metric compares so with the limit, the best in the other objective.

    Where the metric is not an objective, there is no one other: then the knee of the front that
    those trials form among themselves. Ties and the runner-up are as for `Best`.
    """

    metric: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.limit:.12g}"

    def admits(self, value: float) -> bool:
        """Whether a value of the metric is within the limit."""
        return _COMPARISONS[self.comparison](value, self.limit)


@dataclass(frozen=True)
class Numbered:
    """The complete trial of that number."""

    number: int

    def __str__(self) -> str:
        return f"trial:{self.number}"


Rule = Knee | Reference | Utility | Best | Bound | Numbered


def metric_sign(metric: str) -> int:
    """+1 if lower is better, -1 if higher is."""
    return 1 if METRICS[metric] == "minimize" else -1


def parse_rule(text: str, objectives: Sequence[Objective]) -> Rule:
    """Read a rule such as `knee`, `min:rmse`, `trial:17` or `rmse <= 1.1`.

    Spaces and letter case do not matter. `reference:` and `utility:` name objectives of the study;
    the other rules any metric in `sweep.config.METRICS`.

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
            raise SelectionError(
                f"rule {text!r}: {metric} is better when {_better(metric)}, so this would pick the "
                f"worst trial; use {best}"
            )
        return best
    if match := re.fullmatch(r"trial\s*:\s*(.*)", rule):
        if not re.fullmatch(r"[0-9]{1,18}", match[1]):
            raise SelectionError(
                f"rule {text!r}: {match[1]!r} is not the number of a trial; write for example "
                "trial:17"
            )
        return Numbered(int(match[1]))
    if match := re.fullmatch(r"reference\s*:\s*(.*)", rule):
        return _parse_reference(match[1], text, objectives)
    if match := re.fullmatch(r"utility\s*:\s*(.*)", rule):
        return _parse_utility(match[1], text, objectives)
    if match := re.fullmatch(r"([^<>=]*?)\s*(<=|>=|<|>)\s*([^<>=]*)", rule):
        return _parse_bound(match[1], match[2], match[3], text)
    first, second = (objective.metric for objective in objectives)
    close = difflib.get_close_matches(rule, ("knee",), n=1)
    raise SelectionError(
        f"rule {text!r} is not understood; allowed: knee, {Best(first)}, {Best(second)}, trial:17, "
        f"{_example_reference(objectives)}, {_example_utility(objectives)}, "
        f'or a bound in quotes such as "{_example_bound(first)}"'
        + (f"; did you mean {close[0]!r}?" if close else "")
    )


def _parse_bound(name: str, comparison: str, number: str, text: str) -> Bound:
    metric = _known_metric(name, text)
    limit = _number(number, text, _example_bound(metric))
    towards_better = "<" if metric_sign(metric) == 1 else ">"
    if not comparison.startswith(towards_better):
        flipped = Bound(metric, comparison.replace(comparison[0], towards_better), limit)
        raise SelectionError(
            f"rule {text!r}: {metric} is better when {_better(metric)}, so this admits only the "
            f"worse trials; use {flipped}"
        )
    return Bound(metric, comparison, limit)


def _parse_reference(values: str, text: str, objectives: Sequence[Objective]) -> Reference:
    example = _example_reference(objectives)
    point = _assignments(values, text, objectives, example)
    missing = [o.metric for o in objectives if o.metric not in point]
    if missing:
        raise SelectionError(
            f"rule {text!r}: {' and '.join(missing)} is missing; a reference point has a value for "
            f"each objective; write for example {example}"
        )
    return Reference(tuple((o.metric, point[o.metric]) for o in objectives))


def _parse_utility(values: str, text: str, objectives: Sequence[Objective]) -> Utility:
    example = _example_utility(objectives)
    weights = _assignments(values, text, objectives, example)
    for metric, weight in weights.items():
        if weight < 0:
            raise SelectionError(
                f"rule {text!r}: the weight of {metric} is {weight:g}; allowed: at least 0; write "
                f"for example {example}"
            )
    if not any(weights.values()):
        raise SelectionError(
            f"rule {text!r}: every weight is 0; allowed: at least one above 0; write for example "
            f"{example}"
        )
    return Utility(tuple((o.metric, weights[o.metric]) for o in objectives if o.metric in weights))


def _assignments(
    values: str, text: str, objectives: Sequence[Objective], example: str
) -> Mapping[str, float]:
    """Read `rmse=0.93, top_100_accuracy=0.4`: objectives of the study, each once."""
    allowed = [objective.metric for objective in objectives]
    found: dict[str, float] = {}
    for part in values.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise SelectionError(
                f"rule {text!r}: {part.strip()!r} is not of the form metric=number; write for "
                f"example {example}"
            )
        metric = _known_metric(name, text)
        if metric not in allowed:
            raise SelectionError(
                f"rule {text!r}: {metric} is no objective of this study; allowed: "
                f"{', '.join(allowed)}; write for example {example}"
            )
        if metric in found:
            raise SelectionError(f"rule {text!r}: {metric} is there twice; name it once")
        found[metric] = _number(number, text, example)
    return found


def _number(number: str, text: str, example: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SelectionError(
            f"rule {text!r}: {number!r} is not a finite number; write for example {example}"
        )
    return value


def _known_metric(name: str, text: str) -> str:
    if name in METRICS:
        return name
    close = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise SelectionError(
        f"rule {text!r}: {name!r} is not a recorded metric; allowed: {', '.join(METRICS)}{hint}"
    )


def _better(metric: str) -> str:
    return "lower" if metric_sign(metric) == 1 else "higher"


def _assigned(values: Sequence[tuple[str, float]]) -> str:
    return ",".join(f"{metric}={value:.12g}" for metric, value in values)


def _example_bound(metric: str) -> str:
    return f"{metric}<=1.1" if metric_sign(metric) == 1 else f"{metric}>=0.3"


def _example_reference(objectives: Sequence[Objective]) -> str:
    values = [(o.metric, 0.93 if o.direction == "minimize" else 0.4) for o in objectives]
    return f"reference:{_assigned(values)}"


def _example_utility(objectives: Sequence[Objective]) -> str:
    first, second = (objective.metric for objective in objectives)
    return f"utility:{_assigned([(first, 0.3), (second, 0.7)])}"
