"""The picture of the hypervolume growing from trial to trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweep.front.pareto import FloatArray
from sweep.front.selection import metric_label
from sweep.report.style import BLUE, INK, REFERENCE_MARKS, Label, new_figure, place_labels
from sweep.report.summary import Summary


@dataclass(frozen=True)
class HypervolumeInfo:
    """What the picture shows; `references` are (name, trial number, hypervolume by then)."""

    title: str
    reference_point: str
    numbers: tuple[int, ...]
    history: FloatArray
    references: tuple[tuple[str, int, float], ...]


def hypervolume_info(summary: Summary) -> HypervolumeInfo:
    """Gather what the picture of the hypervolume shows."""
    numbers = tuple(trial.number for trial in summary.complete)
    point = ", ".join(
        f"{metric_label(objective.metric)} {value:.4g}"
        for objective, value in zip(summary.objectives, summary.record.reference_point, strict=True)
    )
    return HypervolumeInfo(
        title=f"{summary.record.name}: hypervolume {summary.hypervolume:.4g}",
        reference_point=f"measured from the reference point {point}; higher is better",
        numbers=numbers,
        history=summary.history,
        references=tuple(
            (name, trial.number, float(summary.history[numbers.index(trial.number)]))
            for name, trial in summary.references.items()
        ),
    )


def hypervolume_figure(info: HypervolumeInfo) -> Figure:
    """Draw the hypervolume by trial."""
    figure = new_figure(9, 4.6)
    axes = figure.add_subplot()
    axes.set_title(info.title, pad=24)
    axes.text(0, 1.03, info.reference_point, transform=axes.transAxes, fontsize=9, color="#666666")
    axes.set(xlabel="trial", ylabel="hypervolume of the trials so far ↑")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
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
