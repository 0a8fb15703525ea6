"""The picture of how trials learnt, the front's and the pruned: metrics and losses by epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from sweep.report.pareto import BaselineLine, baseline_lines
from sweep.report.style import (
    BASELINE_COLOUR,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    head,
    metric_title,
    new_figure,
    settle,
)
from sweep.report.summary import Summary, result_of, weights_of
from sweep.results import Epoch

MOST = 6
"""How many members are drawn; more cannot be told apart."""

MOST_PRUNED = 30
"""How many pruned trials are drawn, evenly chosen."""

NEAR = 0.35
"""How far beyond the members' curves a baseline is still drawn, as a fraction of their range."""

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
    """One trial: its name and, by epoch, the two objectives and the two losses."""

    name: str
    epochs: tuple[int, ...]
    series: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class CurvesInfo:
    """What the picture shows; `titles` name the series of every curve.

    `logarithmic` tells which series need a logarithmic axis: on the front a specialist's error and
    its other loss can be many times those of the rest. `limits` are the ends of each series' axis:
    they hold the members' curves and the `baselines`, which are those near them; what of the
    `pruned` is far from them is cut off.
    """

    title: str
    titles: tuple[str, ...]
    logarithmic: tuple[bool, ...]
    limits: tuple[tuple[float, float], ...]
    curves: tuple[Curve, ...]
    pruned: tuple[Curve, ...]
    baselines: tuple[BaselineLine, ...]


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
        weights = weights_of(trial)
        curves.append(
            Curve(
                f"trial {trial.number}{' (chosen)' if index == knee else ''}\n"
                f"rating {weights.rating_weight:.3g}, retrieval {weights.retrieval_weight:.3g}",
                *_series(summary, result_of(trial).history),
            )
        )
    stopped = [trial for trial in summary.record.trials if trial.state == "pruned" and trial.result]
    few = np.linspace(0, len(stopped) - 1, min(MOST_PRUNED, len(stopped))).round().astype(int)
    pruned = [
        Curve(f"trial {stopped[i].number}", *_series(summary, result_of(stopped[i]).history))
        for i in few
    ]
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
    logarithmic = tuple(
        lower_is_better and min(values) > 0 and max(values) > 2.5 * min(values)
        for values, lower_is_better in zip(
            by_series, (*(o.sign == 1 for o in summary.objectives), True, True), strict=True
        )
    )
    baselines = [line for line in baseline_lines(summary) if _is_near(line, by_series[line.axis])]
    for line in baselines:
        by_series[line.axis].append(line.value)
    also = f", and of {_pruned_text(len(pruned), len(stopped))}" if stopped else ""
    reduction = summary.record.config.training.retrieval_reduction
    return CurvesInfo(
        title=f"{summary.record.name}: learning curves of {selection}{also}, one seed each",
        titles=(
            *(metric_title(o.metric, summary.unit, "↓↑") for o in summary.objectives),
            "rating loss (mean squared error, training)",
            f"retrieval loss ({reduction} over a batch, training)",
        ),
        logarithmic=logarithmic,
        limits=tuple(map(_limits, by_series, logarithmic)),
        curves=tuple(curves),
        pruned=tuple(pruned),
        baselines=tuple(baselines),
    )


def _series(
    summary: Summary, history: tuple[Epoch, ...]
) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """The epochs, and by epoch the two objectives and the two losses."""
    return tuple(point.epoch for point in history), (
        *(
            tuple(point.metrics[objective.metric] for point in history)
            for objective in summary.objectives
        ),
        tuple(point.rating_loss for point in history),
        tuple(point.retrieval_loss for point in history),
    )


def _is_near(line: BaselineLine, values: list[float]) -> bool:
    reach = NEAR * (max(values) - min(values))
    return min(values) - reach <= line.value <= max(values) + reach


def _limits(values: list[float], logarithmic: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if logarithmic:
        return low * (low / high) ** 0.06, high * (high / low) ** 0.06
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - pad, high + pad


def _pruned_text(drawn: int, count: int) -> str:
    some = f"{drawn} of the {count}" if drawn < count else f"{count}"
    return f"{some} pruned trial{'' if count == 1 else 's'} (grey)"


def curves_figure(info: CurvesInfo) -> Figure:
    """Draw four panels: the objectives above, the losses below."""
    figure = new_figure(12, 7.2)
    head(figure, info.title)
    panels = figure.subplots(2, 2, sharex=True).flat
    for index, (axes, title) in enumerate(zip(panels, info.titles, strict=True)):
        for curve in info.pruned:
            axes.plot(curve.epochs, curve.series[index], color=GREY, lw=0.7, alpha=0.7, zorder=1.8)
            axes.plot(
                curve.epochs[-1:], curve.series[index][-1:], "x", color=GREY, ms=4, zorder=1.8
            )
        lines = sorted(
            (line for line in info.baselines if line.axis == index), key=lambda line: line.value
        )
        for row, line in enumerate(lines):
            axes.axhline(line.value, color=BASELINE_COLOUR, ls="--", lw=1.2, zorder=1.9)
            axes.annotate(
                line.label,
                (1, line.value),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                va="center" if len(lines) == 1 else "top" if row == 0 else "bottom",
                fontsize=8,
                color=BASELINE_COLOUR,
            )
        for curve, (colour, marker, style) in zip(info.curves, _LINES, strict=False):
            axes.plot(
                curve.epochs,
                curve.series[index],
                color=colour,
                marker=marker,
                ls=style,
                ms=6,
                markevery=max(1, len(curve.epochs) // 10),
                label=curve.name,
            )
        if info.logarithmic[index]:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(info.limits[index])
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if index >= 2:
            axes.set_xlabel("epoch")
    if info.curves:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", labelspacing=1.1, fontsize=9)
    settle(figure)
    return figure
