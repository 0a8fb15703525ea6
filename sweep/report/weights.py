"""The plane of the two loss weights, coloured by each metric."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from sweep.config import METRICS, Range
from sweep.front.pareto import FloatArray
from sweep.front.selection import metric_label
from sweep.report.pareto import pareto_info
from sweep.report.style import (
    GREY,
    INK,
    KNEE_MARK,
    VERMILLION,
    Label,
    metric_title,
    new_figure,
    place_labels,
)
from sweep.report.summary import Summary, result_of, weights_of

MARGIN = 0.16
"""How far below the searched range a weight of 0 is drawn, as a fraction of the range."""


@dataclass(frozen=True)
class Axis:
    """One weight's logarithmic axis with a place for 0, which has no logarithm.

    `ticks` and `limits` are positions: log10 of the weight, or `zero`.
    """

    title: str
    zero: float
    ticks: tuple[tuple[float, str], ...]
    limits: tuple[float, float]

    def position(self, weight: float) -> float:
        """Where a weight is drawn."""
        return math.log10(weight) if weight > 0 else self.zero


@dataclass(frozen=True)
class Panel:
    """One metric: `title` adds unit and direction; values and the colours' ends as measured.

    `clipped` tells whether a value lies above the colours' upper end.
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

    There is a panel for every recorded metric, the two objectives first.
    """

    title: str
    axes: tuple[Axis, Axis]
    positions: FloatArray
    on_front: tuple[bool, ...]
    knee: int
    names: tuple[tuple[int, str], ...]
    panels: tuple[Panel, ...]


def weights_info(summary: Summary) -> WeightsInfo:
    """Gather what the plane of the weights shows; `knee` and `names` hold rows of `positions`."""
    space = summary.record.config.search_space
    weights = [weights_of(trial) for trial in summary.complete]
    horizontal = _axis("rating weight", space.rating_weight, [w.rating_weight for w in weights])
    vertical = _axis(
        "retrieval weight", space.retrieval_weight, [w.retrieval_weight for w in weights]
    )
    numbers = [trial.number for trial in summary.complete]
    shown = ~pareto_info(summary).beyond(summary.values)
    objectives = [objective.metric for objective in summary.objectives]
    metrics = [*objectives, *(metric for metric in METRICS if metric not in objectives)]
    return WeightsInfo(
        title=f"{summary.record.name}: the objectives by loss weights; brighter is better",
        axes=(horizontal, vertical),
        positions=np.array(
            [
                (horizontal.position(w.rating_weight), vertical.position(w.retrieval_weight))
                for w in weights
            ]
        ),
        on_front=tuple(summary.on_front.tolist()),
        knee=numbers.index(summary.knee.trial.number),
        names=tuple(
            (numbers.index(trial.number), name) for name, trial in summary.references.items()
        ),
        panels=tuple(_panel(summary, metric, shown) for metric in metrics),
    )


def weights_figure(info: WeightsInfo) -> Figure:
    """Draw the panels of the two objectives; brighter is better in both."""
    figure = new_figure(12, 5.6)
    figure.suptitle(info.title, x=0.01, ha="left")
    horizontal, vertical = info.axes
    x, y = info.positions.T
    on_front = np.array(info.on_front)
    for panel, axes in zip(info.panels[:2], figure.subplots(1, 2), strict=True):
        for axis, line in ((horizontal, axes.axvline), (vertical, axes.axhline)):
            line((axis.zero + axis.ticks[1][0]) / 2, color=GREY, lw=0.8, ls=":")
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
        bar.set_label(panel.title)
        if panel.lower_is_better:
            bar.ax.invert_yaxis()  # the good end is up in both panels

    def position(row: int) -> tuple[float, float]:
        return float(x[row]), float(y[row])

    ring = Line2D([], [], marker="o", ls="", ms=11, mfc="none", mec=VERMILLION, mew=1.8)
    figure.legend([ring], ["on the Pareto front"], loc="upper right")
    for axes in figure.axes[:2]:
        labels = [Label(*position(i), name, size=8) for i, name in info.names]
        knee = Label(*position(info.knee), "knee", KNEE_MARK.colour, 9)
        place_labels(axes, [knee, *labels], info.positions, size=6)
    return figure


def _axis(title: str, searched: Range, weights: list[float]) -> Axis:
    """An axis over the searched range and every weight, with 0 in a margin below them."""
    logarithms = [math.log10(weight) for weight in weights if weight > 0]
    low = min([math.log10(searched.low), *logarithms])
    high = max([math.log10(searched.high), *logarithms])
    step = max(1, math.ceil((high - low) / 6))
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1, step)
    places = [float(decade) for decade in decades] if len(decades) > 1 else [low, high]
    zero = low - MARGIN * (high - low)
    pad = 0.05 * (high - low)
    return Axis(
        title=title,
        zero=zero,
        ticks=((zero, "0"), *((place, f"{10**place:g}") for place in places)),
        limits=(zero - pad, high + pad),
    )


def _panel(summary: Summary, metric: str, shown: NDArray[np.bool_]) -> Panel:
    """Colours span all trials, but an error only those within the front's picture.

    An accuracy lies in 0 … 1; the error of one model that cannot rate would flatten everything.
    `shown`, bool [n_complete], are the trials within the picture.
    """
    values = np.array([result_of(trial).metrics[metric] for trial in summary.complete])
    within = values[shown] if shown.any() else values
    lower_is_better = METRICS[metric] == "minimize"
    low, high = float(values.min()), float((within if lower_is_better else values).max())
    if not low < high:
        low, high = low - 0.5e-3, low + 0.5e-3
    return Panel(
        metric=metric,
        title=metric_title(metric, summary.unit, "  "),
        lower_is_better=lower_is_better,
        values=values,
        colour_limits=(low, high),
        clipped=bool((values > high).any()),
    )
