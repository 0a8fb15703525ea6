"""The picture of how the front's members learnt: metrics and losses by epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from sweep.report.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    metric_title,
    new_figure,
    settle,
)
from sweep.report.summary import Summary, result_of, weights_of

MOST = 6
"""How many members are drawn; more cannot be told apart."""

_LINES = (
    (BLUE, "o", "-"),
    (ORANGE, "^", "--"),
    (GREEN, "s", "-."),
    (VERMILLION, "D", ":"),
    (PURPLE, "v", "-"),
    (SKY, "P", "--"),
)


@dataclass(frozen=True)
class Curve:
    """One member: its name and, by epoch, the two objectives and the two losses."""

    name: str
    epochs: tuple[int, ...]
    series: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class CurvesInfo:
    """What the picture shows; `titles` name the series of every curve.

    `logarithmic` tells which series need a logarithmic axis: on the front a specialist's error and
    its other loss can be many times those of the rest.
    """

    title: str
    titles: tuple[str, ...]
    logarithmic: tuple[bool, ...]
    curves: tuple[Curve, ...]


def curves_info(summary: Summary) -> CurvesInfo:
    """Gather the learning curves of at most `MOST` members, spread evenly along the front.

    Both ends of the front and the knee are always among them.
    """
    front = summary.front
    shown = {round(i) for i in np.linspace(0, len(front) - 1, min(MOST, len(front))).tolist()}
    knee = next(i for i, trial in enumerate(front) if trial is summary.knee.trial)
    if knee not in shown:
        # The knee takes the place of its nearest neighbour that is no end of the front.
        inner = sorted(shown - {0, len(front) - 1}, key=lambda i: (abs(i - knee), i))
        shown = (shown - set(inner[:1])) | {knee}
    curves = []
    for index in sorted(shown):
        trial = front[index]
        history, weights = result_of(trial).history, weights_of(trial)
        curves.append(
            Curve(
                name=(
                    f"trial {trial.number}{' (knee)' if index == knee else ''}\n"
                    f"rating {weights.rating_weight:.3g}, retrieval {weights.retrieval_weight:.3g}"
                ),
                epochs=tuple(point.epoch for point in history),
                series=(
                    *(
                        tuple(point.metrics[objective.metric] for point in history)
                        for objective in summary.objectives
                    ),
                    tuple(point.rating_loss for point in history),
                    tuple(point.retrieval_loss for point in history),
                ),
            )
        )
    selection = (
        f"{len(curves)} of the front's {len(front)} members"
        if len(curves) < len(front)
        else "the members of the front"
        if len(front) > 1
        else "the one member of the front"
    )
    by_series = [
        [value for curve in curves for value in curve.series[index]] or [0.0] for index in range(4)
    ]
    reduction = summary.record.config.training.retrieval_reduction
    return CurvesInfo(
        title=f"{summary.record.name}: learning curves of {selection}",
        titles=(
            *(metric_title(o.metric, summary.unit, "↓↑") for o in summary.objectives),
            "rating loss (mean squared error, training)",
            f"retrieval loss ({reduction} over a batch, training)",
        ),
        logarithmic=tuple(
            lower_is_better and min(values) > 0 and max(values) > 2.5 * min(values)
            for values, lower_is_better in zip(
                by_series, (*(o.sign == 1 for o in summary.objectives), True, True), strict=True
            )
        ),
        curves=tuple(curves),
    )


def curves_figure(info: CurvesInfo) -> Figure:
    """Draw four panels: the objectives above, the losses below."""
    figure = new_figure(12, 7.2)
    figure.suptitle(info.title, x=0.01, ha="left")
    panels = figure.subplots(2, 2, sharex=True).flat
    for index, (axes, title) in enumerate(zip(panels, info.titles, strict=True)):
        for curve, (colour, marker, line) in zip(info.curves, _LINES, strict=False):
            axes.plot(
                curve.epochs,
                curve.series[index],
                color=colour,
                marker=marker,
                ls=line,
                ms=6,
                markevery=max(1, len(curve.epochs) // 10),
                label=curve.name,
            )
        if info.logarithmic[index]:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if index >= 2:
            axes.set_xlabel("epoch")
    if info.curves:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", labelspacing=1.1, fontsize=9)
    settle(figure)
    return figure
