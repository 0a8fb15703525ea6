"""The picture of the Pareto front: its members with intervals, the references, the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from sweep.front.pareto import FloatArray
from sweep.front.selection import metric_label
from sweep.report.style import (
    BASELINE_COLOUR,
    BLUE,
    DIM,
    GREY,
    INK,
    KNEE_MARK,
    REFERENCE_MARKS,
    SKY,
    Label,
    head,
    metric_title,
    new_figure,
    place_labels,
)
from sweep.report.summary import Summary, ease_note
from sweep.results import Trial

Limits = tuple[tuple[float, float], tuple[float, float]]
"""The ends of the two axes: (left, right), (bottom, top)."""

OUTLYING = 8.0
"""A part of the front is left to the overview if the gap before it is so many times the rest."""

REACH = 1.2
"""How far beyond the front something named may lie to be shown beside it, in spans of the front."""

LEAST_SPAN = 0.05
"""What counts as the span of a front of one point, as a fraction of its value."""

NUMBERED = 12
"""Members of larger fronts do not bear their numbers."""


@dataclass(frozen=True)
class Spot:
    """A trained model: its objectives, and the half-widths of their intervals if it has any.

    `robust` tells whether it is on the robust front, None where there are too few replicates for
    that.
    """

    trial: int
    x: float
    y: float
    half_widths: tuple[float, float] | None
    robust: bool | None


@dataclass(frozen=True)
class Landmark:
    """A named point; `origin` tells whether it was trained here or comes from the tutorial."""

    name: str
    origin: Literal["study", "published"]
    x: float
    y: float
    half_widths: tuple[float, float] | None = None


@dataclass(frozen=True)
class BaselineLine:
    """A baseline's value in one objective: `axis` is 0 for the first, across x, or 1."""

    name: str
    axis: Literal[0, 1]
    value: float

    @property
    def label(self) -> str:
        """What is written beside the line."""
        return f"{self.name}\n{self.value:.3f}"


@dataclass(frozen=True)
class ParetoInfo:
    """What the picture shows; values are as measured, arrays float64 [n, 2].

    With replicates, `front` and `behind` are means over them, and `single` are the results of the
    trials that have none. Without replicates all are single results, and `behind` is empty.

    `limits` are the ends of the axes around the front. What is far from it, be it a member that
    never learnt to rate, a reference or a baseline, would squash the rest: it is outside, and then
    there is an `overview`, whose limits hold all that has a name.
    """

    title: str
    notes: tuple[str, ...]
    axis_titles: tuple[str, str]
    replicated: bool
    single: FloatArray
    behind: tuple[Spot, ...]
    front: tuple[Spot, ...]
    staircase: FloatArray
    landmarks: tuple[Landmark, ...]
    baselines: tuple[BaselineLine, ...]
    knee: Spot
    limits: Limits
    overview: Limits | None

    def beyond(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which of the points lie outside the axes around the front: bool [n]."""
        return _outside(points, self.limits)


def baseline_lines(summary: Summary) -> tuple[BaselineLine, ...]:
    """The baselines that can be scored on an objective, those of the first objective first."""
    axes: tuple[Literal[0, 1], ...] = (0, 1)
    return tuple(
        BaselineLine(baseline.name, axis, baseline.metrics[objective.metric])
        for axis, objective in zip(axes, summary.objectives, strict=True)
        for baseline in summary.record.baselines
        if objective.metric in baseline.metrics
    )


def pareto_info(summary: Summary) -> ParetoInfo:
    """Gather what the picture of the front shows."""
    first, second = summary.objectives
    signs = (first.sign, second.sign)
    front = tuple(_spot(summary, trial) for trial in summary.front)
    knee = _spot(summary, summary.knee.trial)
    members = {trial.number for trial in summary.front}
    rest = [trial for trial in summary.complete if trial.number not in members]
    behind = tuple(
        _spot(summary, trial) for trial in rest if trial.replicates and not trial.reference
    )
    landmarks = (
        *(
            Landmark(name, "study", spot.x, spot.y, spot.half_widths)
            for name, trial in summary.references.items()
            for spot in [_spot(summary, trial)]
        ),
        *(Landmark(name, "published", *point) for name, point in summary.published.items()),
    )
    baselines = baseline_lines(summary)
    single = _array([_spot(summary, trial) for trial in rest if not trial.replicates])
    replicated = any(trial.replicates for trial in summary.complete)
    limits = _closeup((*front, knee), behind, landmarks, baselines)
    everything = _everything(front, landmarks, baselines)
    hull = _union(everything, limits)
    overview = None if hull == limits else _expanded(hull, 0.06)
    widest = overview or limits
    return ParetoInfo(
        title=_title(summary, replicated),
        notes=tuple(_notes(summary, int(_outside(single, widest).sum()))),
        axis_titles=(
            metric_title(first.metric, summary.unit),
            metric_title(second.metric, summary.unit, "↓↑"),
        ),
        replicated=replicated,
        single=single,
        behind=behind,
        front=front,
        staircase=_staircase(_array(front), widest, signs),
        landmarks=landmarks,
        baselines=baselines,
        knee=knee,
        limits=limits,
        overview=overview,
    )


def pareto_figure(info: ParetoInfo) -> Figure:
    """Draw the front, beside an overview where something named lies outside its axes."""
    if info.overview is None:
        figure = new_figure(9.5, 6.8)
        closeup = figure.add_subplot()
    else:
        figure = new_figure(14.5, 6.8)
        whole, closeup = figure.subplots(1, 2, width_ratios=(0.42, 0.58))
        _frame(whole, info, info.overview)
        whole.set_title("Overview", fontsize=10, color=DIM)
        closeup.set_title("The framed part, enlarged", fontsize=10, color=DIM)
    _frame(closeup, info, info.limits)
    head(figure, info.title, info.notes)
    columns = 4 if info.overview is None else 6
    figure.legend(handles=_legend(info), loc="outside lower center", ncols=columns)
    if info.overview is not None:
        _draw(whole, info, info.overview, detailed=False)
    _draw(closeup, info, info.limits, detailed=True)
    return figure


def _frame(axes: Axes, info: ParetoInfo, limits: Limits) -> None:
    axes.set(xlim=limits[0], ylim=limits[1], xlabel=info.axis_titles[0], ylabel=info.axis_titles[1])


def _draw(axes: Axes, info: ParetoInfo, limits: Limits, *, detailed: bool) -> None:
    """One panel; that which is not detailed has no intervals, and names what the other lacks."""
    size = 1.0 if detailed else 0.7
    axes.plot(*info.single.T, "o", color=GREY, alpha=0.5, ms=4.5 * size, mew=0)
    axes.plot(*info.staircase.T, color=BLUE, lw=1.4)
    for spots, colour, width in ((info.behind, SKY, 6), (info.front, BLUE, 8)):
        for spot in spots:
            _bars(axes, spot, colour, detailed)
            axes.plot(spot.x, spot.y, "o", ms=width * size, zorder=4, **_dot(spot, colour))
    labels = []
    for landmark in info.landmarks:
        mark, here = REFERENCE_MARKS[landmark.name], landmark.origin == "study"
        _bars(axes, landmark, mark.colour, detailed)
        axes.plot(
            landmark.x,
            landmark.y,
            mark.marker,
            ms=(9 if here else 12) * size,
            mfc=mark.colour if here else "none",
            mec=INK if here else mark.colour,
            mew=1.6 * size,
            zorder=5,
        )
        if detailed == _holds(info.limits, landmark.x, landmark.y) and (here or detailed):
            name = landmark.name if here else f"{landmark.name}, published"
            colour, height = (INK, 9) if here else (DIM, 8)
            labels.append(Label(landmark.x, landmark.y, _figures(name, landmark), colour, height))
    axes.plot(info.knee.x, info.knee.y, KNEE_MARK.marker, ms=17 * size, zorder=6, **_star(info))
    if detailed:
        text = _figures(f"chosen: trial {info.knee.trial}", info.knee)
        labels.insert(0, Label(info.knee.x, info.knee.y, text, KNEE_MARK.colour))
        if len(info.front) <= NUMBERED:
            named = {(landmark.x, landmark.y) for landmark in info.landmarks}
            named.add((info.knee.x, info.knee.y))
            labels += [
                Label(spot.x, spot.y, f"{spot.trial}", BLUE, 8)
                for spot in info.front
                if (spot.x, spot.y) not in named and _holds(limits, spot.x, spot.y)
            ]
    elif info.overview is not None:
        (left, right), (bottom, top) = info.limits
        corner = Rectangle(
            (left, bottom), right - left, top - bottom, fill=False, ec=INK, lw=0.8, zorder=7
        )
        axes.add_patch(corner)
    obstacles = [info.single, *_steps(info.staircase, limits)]
    for line in info.baselines:
        (axes.axvline, axes.axhline)[line.axis](
            line.value, color=BASELINE_COLOUR, ls="--", lw=1.2, zorder=1.5
        )
        ends = np.full((2, 2), line.value)
        ends[:, 1 - line.axis] = limits[1 - line.axis]
        obstacles += _steps(ends, limits)
        low, high = info.limits[line.axis]
        if detailed == (low <= line.value <= high):
            # At the lower end of a vertical line, at the right end of one across: whatever the
            # directions of the objectives, the middle of the front is not there.
            x, y = ends[0] + (ends[1] - ends[0]) * (0.93 if line.axis else 0.07)
            labels.append(Label(float(x), float(y), line.label, BASELINE_COLOUR, 8))
    points: list[Spot | Landmark] = [*info.front, *info.behind, *info.landmarks]
    for point in points:
        centre, bars = np.array([point.x, point.y]), np.diag(point.half_widths or (0.0, 0.0))
        for bar in bars if detailed else bars[:1]:
            obstacles.append(centre + np.linspace(-1, 1, 12)[:, None] * bar)
    taken = np.vstack([part.reshape(-1, 2) for part in obstacles])
    place_labels(axes, labels, taken[~_outside(taken, limits)])


def _bars(axes: Axes, spot: Spot | Landmark, colour: str, detailed: bool) -> None:
    if detailed and spot.half_widths is not None:
        x_bar, y_bar = spot.half_widths
        axes.errorbar(
            spot.x,
            spot.y,
            xerr=x_bar,
            yerr=y_bar,
            fmt="none",
            ecolor=colour,
            elinewidth=1.3,
            capsize=2.5,
            zorder=3,
        )


def _dot(spot: Spot, colour: str) -> dict[str, Any]:
    """How a trained model is drawn: hollow if it is not robust."""
    return {"mfc": "white" if spot.robust is False else colour, "mec": colour, "mew": 1.8}


def _star(info: ParetoInfo) -> dict[str, Any]:
    look = _dot(info.knee, KNEE_MARK.colour)
    return look if info.knee.robust is False else {**look, "mec": "white", "mew": 1.0}


def _legend(info: ParetoInfo) -> list[Line2D]:
    def entry(label: str, marker: str = "o", size: float = 8, **look: Any) -> Line2D:
        return Line2D([], [], marker=marker, ls="", ms=size, label=label, **look)

    entries = []
    for name, spots, colour, size in (
        ("Pareto front", info.front, BLUE, 8),
        ("behind the front", info.behind, SKY, 6),
    ):
        for robust, word in ((None, ""), (True, ", robust"), (False, ", not robust")):
            first = next((spot for spot in spots if spot.robust is robust), None)
            if first is not None:
                entries.append(entry(f"{name}{word}", size=size, **_dot(first, colour)))
    entries.append(entry("chosen", KNEE_MARK.marker, 14, **_star(info)))
    if len(info.single):
        name = "one seed only" if info.replicated else "dominated"
        entries.append(entry(name, size=5, color=GREY, alpha=0.5, mew=0))
    entries += [
        entry(name, mark.marker, 9, mfc=mark.colour, mec=INK)
        for name, mark in REFERENCE_MARKS.items()
        if any(landmark.name == name for landmark in info.landmarks)
    ]
    if any(landmark.origin == "published" for landmark in info.landmarks):
        entries.append(entry("the same, as published", "D", 9, mfc="none", mec=GREY, mew=1.6))
    if info.baselines:
        entries.append(Line2D([], [], color=BASELINE_COLOUR, ls="--", lw=1.2, label="baseline"))
    return entries


def _title(summary: Summary, replicated: bool) -> str:
    size, of = len(summary.front), len(summary.contenders)
    kind = "replicated trials" if replicated else "trials"
    count = sum(trial.number in summary.robust for trial in summary.front)
    robust = f", {count} of them robust" if summary.probability else ""
    verb = "is" if size == 1 else "are"
    return f"{summary.record.name}: {size} of {of} {kind} {verb} on the Pareto front{robust}"


def _notes(summary: Summary, beyond: int) -> Iterator[str]:
    first, second = (metric_label(objective.metric) for objective in summary.objectives)
    yield f"Figures are {first} / {second}. {_interval_note(summary)}".strip()
    if note := ease_note(summary.record, [o.metric for o in summary.objectives]):
        yield note
    pruned = sum(trial.state == "pruned" for trial in summary.record.trials)
    missing = [
        f"{count} {kind}"
        for count, kind in ((pruned, "pruned"), (beyond, "beyond the axes"))
        if count
    ]
    if missing:
        yield f"Trials that are not shown: {' and '.join(missing)}."


def _interval_note(summary: Summary) -> str:
    counts = sorted({len(trial.replicates) for trial in summary.complete if trial.replicates})
    if not counts or counts[-1] < 2:
        return "One seed each: how far other seeds would move them is not known."
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"Bars: ± 90 % interval of the mean over {seeds} seeds."


def _spot(summary: Summary, trial: Trial) -> Spot:
    x, y = (summary.estimates[trial.number][objective.metric] for objective in summary.objectives)
    bars = None
    if x.half_width is not None and y.half_width is not None:
        bars = x.half_width, y.half_width
    robust = trial.number in summary.robust if trial.number in summary.probability else None
    return Spot(trial.number, x.mean, y.mean, bars, robust)


def _figures(name: str, point: Spot | Landmark) -> str:
    return f"{name}\n{point.x:.3f} / {point.y:.3f}"


def _array(spots: Sequence[Spot]) -> FloatArray:
    return np.array([(spot.x, spot.y) for spot in spots], dtype=np.float64).reshape(-1, 2)


def _outside(points: FloatArray, limits: Limits) -> NDArray[np.bool_]:
    low, high = np.array(limits).T
    outside: NDArray[np.bool_] = ((points < low) | (points > high)).any(axis=1)
    return outside


def _holds(limits: Limits, x: float, y: float) -> bool:
    return not _outside(np.array([[x, y]]), limits)[0]


def _steps(corners: FloatArray, limits: Limits) -> list[FloatArray]:
    """Points along a line that runs along the axes, which labels are to keep off."""
    clipped = np.clip(corners, *np.array(limits).T)
    return [np.linspace(start, end, 80) for start, end in pairwise(clipped)]


def _closeup(
    members: Sequence[Spot],
    behind: Sequence[Spot],
    landmarks: Sequence[Landmark],
    baselines: Sequence[BaselineLine],
) -> Limits:
    """Axes around the part of the front with the knee, and what is near it.

    `members` ends with the knee.
    """
    kept = _near_the_knee(_array(members))
    core = [spot for spot, near in zip(members, kept, strict=True) if near]
    reach = np.array([_extent(core, axis) for axis in range(2)])
    span = np.array([_span(*ends) for ends in reach])
    low, high = reach[:, 0] - REACH * span, reach[:, 1] + REACH * span
    shown: list[list[float]] = [[*ends] for ends in reach]
    others: list[Spot | Landmark] = [*behind, *landmarks]
    for spot in others:
        place = np.array([spot.x, spot.y])
        if ((place >= low) & (place <= high)).all():
            for axis in range(2):
                shown[axis] += _extent([spot], axis)
    for line in baselines:
        if low[line.axis] <= line.value <= high[line.axis]:
            shown[line.axis].append(line.value)
    x, y = ((min(values), max(values)) for values in shown)
    return _expanded((x, y), 0.12)


def _near_the_knee(points: FloatArray) -> NDArray[np.bool_]:
    """Which members are left when those beyond a wide gap are not; the last point is the knee."""
    kept = np.ones(len(points), dtype=np.bool_)
    for _ in range(len(points)):
        before = kept.copy()
        for values in points.T:
            ordered = np.unique(values[kept])
            gaps = np.diff(ordered)
            if not len(gaps):
                continue
            widest = int(gaps.argmax())
            upper = values[-1] > ordered[widest]
            side = ordered[widest + 1 :] if upper else ordered[: widest + 1]
            if gaps[widest] > OUTLYING * _span(side[0], side[-1]):
                kept &= values > ordered[widest] if upper else values <= ordered[widest]
        if (kept == before).all():
            break
    return kept


def _extent(spots: Sequence[Spot | Landmark], axis: int) -> tuple[float, float]:
    """From the lowest to the highest end of the intervals."""
    values = [
        (spot.x, spot.y)[axis] + sign * (spot.half_widths or (0.0, 0.0))[axis]
        for spot in spots
        for sign in (-1, 1)
    ]
    return min(values), max(values)


def _span(low: float, high: float) -> float:
    return max(high - low, LEAST_SPAN * max(abs(low), abs(high)), 1e-3)


def _everything(
    front: Sequence[Spot], landmarks: Sequence[Landmark], baselines: Sequence[BaselineLine]
) -> Limits:
    x, y = (
        [
            *_extent([*front, *landmarks], axis),
            *(line.value for line in baselines if line.axis == axis),
        ]
        for axis in range(2)
    )
    return (min(x), max(x)), (min(y), max(y))


def _union(one: Limits, other: Limits) -> Limits:
    x, y = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, other, strict=True))
    return x, y


def _expanded(limits: Limits, share: float) -> Limits:
    """The limits with a margin, a share of their span, on both sides."""
    x, y = (
        ((low + high) / 2 - half, (low + high) / 2 + half)
        for low, high in limits
        for half in [(0.5 + share) * _span(low, high)]
    )
    return x, y


def _staircase(front: FloatArray, limits: Limits, signs: tuple[int, int]) -> FloatArray:
    """The border of what the front dominates, from one edge of the axes to the other."""
    worst_x, worst_y = (
        ends[1] if sign == 1 else ends[0] for ends, sign in zip(limits, signs, strict=True)
    )
    steps = [(front[0, 0], worst_y)]
    for (x, y), (next_x, _) in zip(front, [*front[1:], (worst_x, 0.0)], strict=True):
        steps += [(x, y), (next_x, y)]
    return np.array(steps)
