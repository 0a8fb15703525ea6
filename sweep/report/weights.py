"""The plane of what is searched, usually the two loss weights, coloured by each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweep.config import METRICS, Choices, Setting, is_whole
from sweep.front.pareto import FloatArray
from sweep.front.selection import metric_label, setting_text
from sweep.report.style import (
    DIM,
    GREY,
    INK,
    KNEE_MARK,
    VERMILLION,
    Label,
    head,
    metric_title,
    new_figure,
    place_labels,
)
from sweep.report.summary import Summary, result_of, variable_label, weights_of
from sweep.results import Trial

WEIGHTS = ("rating_weight", "retrieval_weight")

MARGIN = 0.16
"""How far outside the searched range a 0 or an infinity is drawn, as a fraction of the range."""

CLIPPED = 3.0
"""An error so many times as far from the best as the middle trial's gets no colour of its own."""


@dataclass(frozen=True)
class Axis:
    """One searched variable's axis.

    `ticks`, `limits` and `borders` are positions. The position of a value is its log10 on a
    logarithmic axis, its index among `choices`, or itself. A specialist's 0 and ∞ have no logarithm
    and stand in margins, each behind one of the `borders`.
    """

    title: str
    logarithmic: bool
    choices: tuple[Setting, ...]
    zero: float
    infinity: float
    borders: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]
    limits: tuple[float, float]

    def position(self, value: Setting) -> float:
        """Where a value is drawn."""
        if self.choices:
            return float(self.choices.index(value))
        number = float(value)  # type: ignore[arg-type]
        if not self.logarithmic:
            return number
        if number == 0 or math.isinf(number):
            return self.infinity if number else self.zero
        return math.log10(number)


@dataclass(frozen=True)
class Panel:
    """One metric: `title` adds unit and direction; values and the colours' ends as measured.

    Values are the single results, so that all trials are compared on one seed. `clipped` tells
    whether a value lies above the colours' upper end.
    """

    metric: str
    title: str
    lower_is_better: bool
    values: FloatArray
    colour_limits: tuple[float, float]
    clipped: bool


@dataclass(frozen=True)
class WeightsInfo:
    """What the pictures show; `positions` is float64 [n, 2] on the two axes.

    There is a panel for every recorded metric, the two objectives first. `ratios` are the constant
    ratios of the weights that are drawn as lines, as powers of ten, where the axes are the weights.
    """

    title: str
    axes: tuple[Axis, Axis]
    positions: FloatArray
    on_front: tuple[bool, ...]
    knee: int
    names: tuple[tuple[int, str], ...]
    panels: tuple[Panel, ...]
    ratios: tuple[int, ...]


def weights_info(summary: Summary) -> WeightsInfo:
    """Gather what the plane shows; `knee` and `names` hold rows of `positions`."""
    names = _plane(summary)
    columns = [[_value(trial, name) for trial in summary.complete] for name in names]
    first, second = (
        _axis(summary, name, column) for name, column in zip(names, columns, strict=True)
    )
    numbers = [trial.number for trial in summary.complete]
    objectives = [objective.metric for objective in summary.objectives]
    # A study of an earlier sweep has recorded fewer metrics.
    recorded = set.intersection(*(set(result_of(trial).metrics) for trial in summary.complete))
    others = (metric for metric in METRICS if metric not in objectives and metric in recorded)
    metrics = [*objectives, *others]
    space = summary.record.config.search_space
    both_searched = not any(span.fixed for span in space.weights.values())
    plane = " and ".join(variable_label(name) for name in names)
    return WeightsInfo(
        title=f"{summary.record.name}: the objectives by {plane}; brighter is better",
        axes=(first, second),
        positions=np.array(
            [(first.position(x), second.position(y)) for x, y in zip(*columns, strict=True)]
        ),
        on_front=tuple(summary.on_front.tolist()),
        knee=numbers.index(summary.knee.trial.number),
        names=tuple(
            (numbers.index(trial.number), name) for name, trial in summary.references.items()
        ),
        panels=tuple(_panel(summary, metric) for metric in metrics),
        ratios=_ratios(first, second) if both_searched and names == WEIGHTS else (),
    )


def weights_figure(info: WeightsInfo) -> Figure:
    """Draw the panels of the two objectives; brighter is better in both."""
    figure = new_figure(12, 5.6)
    head(figure, info.title)
    horizontal, vertical = info.axes
    x, y = info.positions.T
    on_front = np.array(info.on_front)
    for panel, axes in zip(info.panels[:2], figure.subplots(1, 2), strict=True):
        for axis, line in ((horizontal, axes.axvline), (vertical, axes.axhline)):
            for border in axis.borders:
                line(border, color=GREY, lw=0.8, ls=":")
        points = axes.scatter(
            x,
            y,
            c=panel.values,
            s=46,
            cmap="viridis_r" if panel.lower_is_better else "viridis",
            vmin=panel.colour_limits[0],
            vmax=panel.colour_limits[1],
            edgecolors=INK,
            linewidths=0.4,
            zorder=3,
        )
        axes.plot(
            x[on_front], y[on_front], "o", ms=11, mfc="none", mec=VERMILLION, mew=1.8, zorder=4
        )
        axes.set(
            title=metric_label(panel.metric),
            xlabel=horizontal.title,
            ylabel=vertical.title,
            xlim=horizontal.limits,
            ylim=vertical.limits,
        )
        axes.set_xticks(*zip(*horizontal.ticks, strict=True))
        axes.set_yticks(*zip(*vertical.ticks, strict=True))
        bar = figure.colorbar(points, ax=axes, extend="max" if panel.clipped else "neither")
        bar.set_label(f"{panel.title}, one seed")
        if panel.lower_is_better:
            bar.ax.invert_yaxis()  # the good end is up in both panels

    def position(row: int) -> tuple[float, float]:
        return float(x[row]), float(y[row])

    ring = Line2D([], [], marker="o", ls="", ms=11, mfc="none", mec=VERMILLION, mew=1.8)
    figure.legend([ring], ["on the Pareto front"], loc="upper right")
    for axes in figure.axes[:2]:
        taken = np.vstack([info.positions, *_draw_ratios(axes, info)])
        labels = [Label(*position(i), name, size=8) for i, name in info.names]
        knee = Label(*position(info.knee), "chosen", KNEE_MARK.colour, 9)
        place_labels(axes, [knee, *labels], taken, size=6)
    return figure


def _draw_ratios(axes: Axes, info: WeightsInfo) -> list[FloatArray]:
    """Draw the lines of constant ratio, each with its name at its upper end; returns these ends."""
    horizontal = info.axes[0]
    # A specialist has no finite ratio above 0: the lines keep out of the margins.
    inner = [(max(axis.borders, default=axis.limits[0]), axis.limits[1]) for axis in info.axes]
    ends = []
    for power in info.ratios:
        left = max(inner[0][0], inner[1][0] + power)
        right = min(inner[0][1], inner[1][1] + power)
        axes.plot([left, right], [left - power, right - power], color=GREY, lw=0.6, zorder=1.5)
        end = right - 0.02 * (horizontal.limits[1] - horizontal.limits[0])
        axes.annotate(
            f"ratio {10.0**power:g}",
            (end, end - power),
            fontsize=7,
            color=DIM,
            ha="right",
            va="center",
            rotation=45,
            rotation_mode="anchor",
            transform_rotates_text=True,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=2,
        )
        back = np.linspace(0, 0.12 * (horizontal.limits[1] - horizontal.limits[0]), 8)
        ends.append(np.column_stack([end - back, end - power - back]))
    return ends


def _plane(summary: Summary) -> tuple[str, str]:
    """The two variables on the axes: the first that are searched, or else a fixed weight."""
    space = summary.record.config.search_space
    searched = [
        name
        for name, variable in space.all.items()
        if (len(variable.choices) > 1 if isinstance(variable, Choices) else not variable.fixed)
    ]
    x, y, *_ = dict.fromkeys((*searched, *space.weights))
    return x, y


def _value(trial: Trial, name: str) -> Setting:
    weights = weights_of(trial)
    value: Setting = trial.settings[name] if "." in name else getattr(weights, name)
    return value


def _axis(summary: Summary, name: str, values: Sequence[Setting]) -> Axis:
    """An axis over the searched range and every trial's value."""
    variable = summary.record.config.search_space.all[name]
    title = {
        "ratio": "ratio (rating weight / retrieval weight)",
        "scale": "scale (√ of the product of the weights)",
    }.get(name, variable_label(name))
    if isinstance(variable, Choices):
        choices = tuple(dict.fromkeys((*variable.choices, *values)))
        ticks = tuple((float(i), setting_text(choice)) for i, choice in enumerate(choices))
        return Axis(
            title, False, choices, math.nan, math.nan, (), ticks, (-0.5, len(choices) - 0.5)
        )
    if variable.fixed:
        title += f" (fixed at {variable.low:g})"
    numbers = [variable.low, variable.high, *(float(value) for value in values)]  # type: ignore[arg-type]
    whole = "." in name and is_whole(name)
    if "." in name and not (variable.log and min(numbers) > 0):
        low, high = min(numbers), max(numbers)
        pad = 0.05 * (high - low) or 0.5
        marks = [float(mark) for mark in MaxNLocator(5, integer=whole).tick_values(low, high)]
        ticks = tuple((mark, f"{mark:g}") for mark in marks if low <= mark <= high)
        return Axis(title, False, (), math.nan, math.nan, (), ticks, (low - pad, high + pad))
    return _logarithmic(title, numbers, whole=whole)


def _logarithmic(title: str, values: Sequence[float], *, whole: bool) -> Axis:
    """A logarithmic axis with margins for 0 and ∞ where they occur."""
    found = [math.log10(value) for value in values if 0 < value < math.inf]
    logarithms = found or [0.0]
    low, high = min(logarithms), max(logarithms)
    step = max(1, math.ceil((high - low) / 6))
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1, step)
    marks = [10.0**decade for decade in decades]
    if len(marks) < 3:
        spaced = np.geomspace(10**low, 10**high, 5).tolist()
        marks = [*dict.fromkeys(round(m) if whole else float(f"{m:.2g}") for m in spaced)]
    ticks = [(math.log10(mark), f"{mark:g}") for mark in marks if found]
    span = high - low or 1.0
    zero, infinity = low - MARGIN * span, high + MARGIN * span
    borders = []
    ends = [low, high]
    for special, place, text in ((0.0, zero, "0"), (math.inf, infinity, "∞")):
        if special in values:
            ends.append(place)
            ticks.append((place, text))
            borders.append((place + (high if special else low)) / 2)
    limits = (min(ends) - 0.05 * span, max(ends) + 0.05 * span)
    return Axis(title, True, (), zero, infinity, tuple(borders), tuple(sorted(ticks)), limits)


def _ratios(horizontal: Axis, vertical: Axis) -> tuple[int, ...]:
    """Powers of ten, at most five, whose lines cross the plane of the weights well inside."""
    low = horizontal.limits[0] - vertical.limits[1]
    high = horizontal.limits[1] - vertical.limits[0]
    inner = range(math.ceil(low + 0.2 * (high - low)), math.floor(high - 0.2 * (high - low)) + 1)
    return tuple(inner[:: max(1, math.ceil(len(inner) / 5))])


def _panel(summary: Summary, metric: str) -> Panel:
    """Colours span all trials, but of an error only the better ones; see `CLIPPED`.

    An accuracy lies in 0 … 1; the error of one model that cannot rate would flatten everything.
    """
    values = np.array([result_of(trial).metrics[metric] for trial in summary.complete])
    lower_is_better = METRICS[metric] == "minimize"
    low, high = float(values.min()), float(values.max())
    if lower_is_better:
        reach = low + CLIPPED * (float(np.median(values)) - low)
        high = float(values[values <= reach].max())
    clipped = bool((values > high).any())
    if not low < high:
        low, high = low - 0.5e-3, low + 0.5e-3
    return Panel(
        metric=metric,
        title=metric_title(metric, summary.unit, "  "),
        lower_is_better=lower_is_better,
        values=values,
        colour_limits=(low, high),
        clipped=clipped,
    )
