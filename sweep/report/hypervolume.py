"""The picture of the hypervolume growing from trial to trial, until it does no longer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweep.front.pareto import FloatArray
from sweep.front.selection import metric_label
from sweep.report.style import (
    BLUE,
    INK,
    REFERENCE_MARKS,
    SKY,
    Label,
    head,
    new_figure,
    place_labels,
)
from sweep.report.summary import Summary


@dataclass(frozen=True)
class HypervolumeInfo:
    """What the picture shows; `references` are (name, trial number, hypervolume by then).

    `history` is normalised to 0 … 1, float64 [n_complete]. `window` are the numbers of the first
    and the last trial that the convergence rule looks at, None with too few trials for it.
    """

    title: str
    sentence: str
    reference_point: str
    numbers: tuple[int, ...]
    history: FloatArray
    window: tuple[int, int] | None
    references: tuple[tuple[str, int, float], ...]


def hypervolume_info(summary: Summary) -> HypervolumeInfo:
    """Gather what the picture of the hypervolume shows."""
    convergence = summary.convergence
    numbers = tuple(trial.number for trial in summary.complete)
    worst, best = (
        ", ".join(
            f"{metric_label(objective.metric)} {value:.4g}"
            for objective, value in zip(summary.objectives, point, strict=True)
        )
        for point in (convergence.reference_point, convergence.ideal_point)
    )
    looked_at = [t.number for t in summary.record.trials if t.state in ("complete", "pruned")]
    window = None
    if convergence.converged is not None:
        window = looked_at[-convergence.trials], looked_at[-1]
    return HypervolumeInfo(
        title=f"{summary.record.name}: normalised hypervolume {convergence.history[-1]:.4g}",
        sentence=convergence.sentence,
        reference_point=f"0 is the reference point ({worst}), 1 the ideal point ({best})",
        numbers=numbers,
        history=convergence.history,
        window=window,
        references=tuple(
            (name, trial.number, float(convergence.history[numbers.index(trial.number)]))
            for name, trial in summary.references.items()
        ),
    )


def hypervolume_figure(info: HypervolumeInfo) -> Figure:
    """Draw the hypervolume by trial."""
    figure = new_figure(9.5, 4.8)
    head(figure, info.title, [info.sentence, f"{info.reference_point}."])
    axes = figure.add_subplot()
    axes.set(xlabel="trial", ylabel="normalised hypervolume ↑")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if info.window is not None:
        start, end = info.window
        name = "the trials that tell whether the search had converged"
        axes.axvspan(start - 0.5, end + 0.5, color=SKY, alpha=0.18, lw=0, label=name)
        figure.legend(loc="outside lower center")
    axes.plot(info.numbers, info.history, color=BLUE, lw=2, drawstyle="steps-post")
    axes.plot(info.numbers[-1:], info.history[-1:], "o", color=BLUE, ms=5)
    axes.margins(y=0.12)
    labels = []
    for name, number, volume in info.references:
        mark = REFERENCE_MARKS[name]
        axes.plot(number, volume, mark.marker, color=mark.colour, mec=INK, ms=9, zorder=5)
        labels.append(Label(number, volume, name))
    # Steps between two trials are obstacles at both heights.
    line = [
        np.linspace(start, end, 12)
        for pair in zip(
            info.numbers, info.numbers[1:], info.history, info.history[1:], strict=False
        )
        for start, end in (
            ((pair[0], pair[2]), (pair[1], pair[2])),
            ((pair[1], pair[2]), (pair[1], pair[3])),
        )
    ]
    ends = np.array([(info.numbers[0], info.history[0])])
    place_labels(axes, labels, np.vstack([ends, *line]))
    return figure
