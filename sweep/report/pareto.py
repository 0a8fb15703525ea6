"""The picture of the Pareto front: every trial, the front, the references, the published points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from sweep.front.pareto import FloatArray, minimised
from sweep.front.selection import metric_label
from sweep.report.style import (
    BLUE,
    GREY,
    INK,
    KNEE_MARK,
    REFERENCE_MARKS,
    Label,
    metric_title,
    new_figure,
    place_labels,
)
from sweep.report.summary import Summary


@dataclass(frozen=True)
class Landmark:
    """A named point; `origin` tells whether it was trained here or comes from the tutorial."""

    name: str
    origin: Literal["study", "published"]
    x: float
    y: float


@dataclass(frozen=True)
class ParetoInfo:
    """What the picture shows; values are as measured, arrays float64 [n, 2].

    `limits` are the ends of the two axes. They hold the part of the front that counts towards the
    hypervolume and whatever landmark does, so that one trial that never learnt to rate does not
    squash everything else; what lies beyond is drawn at the edge.
    """

    title: str
    subtitle: str
    axis_titles: tuple[str, str]
    dominated: FloatArray
    front: FloatArray
    staircase: FloatArray
    landmarks: tuple[Landmark, ...]
    knee: tuple[int, float, float]
    limits: tuple[tuple[float, float], tuple[float, float]]

    def beyond(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which of the points lie outside the axes: bool [n]."""
        low, high = np.array(self.limits).T
        outside: NDArray[np.bool_] = ((points < low) | (points > high)).any(axis=1)
        return outside

    def at_edge(self, points: FloatArray) -> FloatArray:
        """The points, with those beyond the axes moved to just inside the edge."""
        low, high = np.array(self.limits).T
        inset = 0.012 * (high - low)
        moved: FloatArray = np.clip(points, low + inset, high - inset)
        return moved


def pareto_info(summary: Summary) -> ParetoInfo:
    """Gather what the picture of the front shows."""
    first, second = summary.objectives
    landmarks = tuple(
        Landmark(name, "study", *summary.value(trial)) for name, trial in summary.references.items()
    ) + tuple(Landmark(name, "published", *point) for name, point in summary.published.items())
    front = summary.values[summary.on_front]
    front = front[np.argsort(front[:, 0] * first.sign, kind="stable")]
    limits = _limits(summary, front, landmarks)
    x, y = summary.value(summary.knee.trial)
    return ParetoInfo(
        title=(
            f"{summary.record.name}: {len(front)} of {len(summary.complete)} trials "
            f"{'is' if len(front) == 1 else 'are'} on the Pareto front"
        ),
        subtitle=(
            f"Figures are {metric_label(first.metric)} / {metric_label(second.metric)}. "
            "Whatever lies beyond an edge is drawn on it."
        ),
        axis_titles=(
            metric_title(first.metric, summary.unit),
            metric_title(second.metric, summary.unit, "↓↑"),
        ),
        dominated=summary.values[~summary.on_front],
        front=front,
        staircase=_staircase(front, limits, (first.sign, second.sign)),
        landmarks=landmarks,
        knee=(summary.knee.trial.number, x, y),
        limits=limits,
    )


def pareto_figure(info: ParetoInfo) -> Figure:
    """Draw the front."""
    figure = new_figure(9, 6.2)
    axes = figure.add_subplot()
    axes.set_xlim(info.limits[0])
    axes.set_ylim(info.limits[1])
    axes.set(xlabel=info.axis_titles[0], ylabel=info.axis_titles[1])
    axes.set_title(info.title, pad=24)
    axes.text(0, 1.025, info.subtitle, transform=axes.transAxes, fontsize=9, color=GREY)

    outside = info.beyond(info.dominated)
    if not outside.all():
        axes.plot(*info.dominated[~outside].T, "o", color=GREY, alpha=0.5, ms=5, label="dominated")
    if outside.any():
        edge = info.at_edge(info.dominated[outside])
        axes.plot(*edge.T, "x", color=GREY, ms=5, label=f"beyond the edge ({len(edge)})")
    axes.plot(*info.staircase.T, color=BLUE, lw=1.4)
    axes.plot(*info.at_edge(info.front).T, "o", color=BLUE, ms=8, label="Pareto front")
    number, *knee = info.knee
    x, y = info.at_edge(np.array([knee]))[0]
    axes.plot(
        x,
        y,
        KNEE_MARK.marker,
        color=KNEE_MARK.colour,
        mec="white",
        ms=17,
        zorder=6,
        label="knee",
    )
    labels = [Label(x, y, _with_figures(f"knee: trial {number}", knee), KNEE_MARK.colour)]

    for landmark in info.landmarks:
        mark, here = REFERENCE_MARKS[landmark.name], landmark.origin == "study"
        point = np.array([[landmark.x, landmark.y]])
        x, y = info.at_edge(point)[0]
        fill, edge_colour = (mark.colour, INK) if here else ("none", mark.colour)
        axes.plot(
            x, y, mark.marker, ms=9 if here else 12, mfc=fill, mec=edge_colour, mew=1.6, zorder=5
        )
        name = landmark.name if here else f"{landmark.name}, published"
        arrow = _arrow(info, landmark)
        text = _with_figures(f"{name} {arrow}".strip(), (landmark.x, landmark.y))
        labels.append(Label(x, y, text, INK if here else "#666666", 9 if here else 8))

    handles, _ = axes.get_legend_handles_labels()
    if any(landmark.origin == "published" for landmark in info.landmarks):
        handles.append(
            Line2D([], [], marker="o", ls="", ms=9, mfc="none", mec=INK, label="hollow: published")
        )
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=5)
    steps = [
        np.linspace(start, end, 40)
        for start, end in zip(
            info.at_edge(info.staircase[:-1]), info.at_edge(info.staircase[1:]), strict=True
        )
    ]
    place_labels(axes, labels, np.vstack([info.at_edge(info.dominated), *steps]))
    return figure


def _with_figures(name: str, point: Sequence[float]) -> str:
    return f"{name}\n{point[0]:.3f} / {point[1]:.3f}"


def _arrow(info: ParetoInfo, landmark: Landmark) -> str:
    """Where a landmark beyond the axes lies; nothing for one within them."""
    (left, right), (bottom, top) = info.limits
    if landmark.x > right:
        return "→"
    if landmark.x < left:
        return "←"
    return "↑" if landmark.y > top else "↓" if landmark.y < bottom else ""


def _limits(
    summary: Summary, front: FloatArray, landmarks: Sequence[Landmark]
) -> tuple[tuple[float, float], tuple[float, float]]:
    named = np.array([(mark.x, mark.y) for mark in landmarks]).reshape(-1, 2)
    everything = minimised(np.vstack([summary.values, named]), summary.objectives)
    core = minimised(np.vstack([front, named]), summary.objectives)
    reference = minimised(summary.record.reference_point, summary.objectives)
    counted = core[(core <= reference).all(axis=1)]
    low = everything.min(axis=0)
    high = (counted if len(counted) else core).max(axis=0)
    span = np.where(high > low, high - low, 0.1 * np.maximum(np.abs(high), 0.1))
    ends = np.sort(minimised([low - 0.08 * span, high + 0.22 * span], summary.objectives), axis=0)
    (left, bottom), (right, top) = ends.tolist()
    return (left, right), (bottom, top)


def _staircase(
    front: FloatArray,
    limits: tuple[tuple[float, float], tuple[float, float]],
    signs: tuple[int, int],
) -> FloatArray:
    """The border of what the front dominates, from one edge of the axes to the other."""
    worst_x, worst_y = (
        ends[1] if sign == 1 else ends[0] for ends, sign in zip(limits, signs, strict=True)
    )
    steps = [(front[0, 0], worst_y)]
    for (x, y), (next_x, _) in zip(front, [*front[1:], (worst_x, 0.0)], strict=True):
        steps += [(x, y), (next_x, y)]
    return np.array(steps)
