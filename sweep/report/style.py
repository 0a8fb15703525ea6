"""How the report looks: colours, shapes, the words on the axes, and where labels go.

The colours are those of Okabe and Ito, "Color Universal Design" (2008), which people with any kind
of colour vision can tell apart; whatever a colour says, a shape says too.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from sweep.config import METRICS
from sweep.front.pareto import FloatArray
from sweep.front.selection import metric_label

ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, DIM, INK = "#8C8C8C", "#666666", "#222222"
BASELINE_COLOUR = "#6B4E2E"


@dataclass(frozen=True)
class Mark:
    """A colour and a shape, in matplotlib's and in plotly's words."""

    colour: str
    marker: str
    symbol: str


REFERENCE_MARKS: Mapping[str, Mark] = {
    "rating only": Mark(ORANGE, "^", "triangle-up"),
    "retrieval only": Mark(GREEN, "s", "square"),
    "equal weights": Mark(PURPLE, "D", "diamond"),
}
KNEE_MARK = Mark(VERMILLION, "*", "star")

_STYLE = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#ECECEC",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 10,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "sweep",  # else the ids in an SVG differ from run to run
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this: matplotlib's defaults and the house's, not the user's own."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that belongs to no pyplot window."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def head(figure: Figure, title: str, notes: Sequence[str] = ()) -> None:
    """Write a title at the top of a figure, and small notes below it; call it before `settle`."""
    width, height = figure.get_size_inches()
    lines = [line for note in notes for line in textwrap.wrap(note, int(15 * width))]
    # Empty lines make the layout leave room for the notes.
    figure.suptitle("\n".join((title, *("" for _ in lines))), x=0.01, ha="left", fontsize=12)
    for row, line in enumerate(lines, start=1):
        top = 0.98 - row * 12 * 1.2 / 72 / height
        figure.text(0.01, top, line, va="top", fontsize=9, color=DIM)


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all; drawing it then is twice as fast."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine(None)


def metric_title(metric: str, unit: str, arrows: str = "←→") -> str:
    """A metric, its unit and its better direction: "RMSE (stars, lower is better ←)".

    `arrows` are the signs for lower and for higher: "←→" along x, "↓↑" along y, "  " for none.
    """
    lower = METRICS[metric] == "minimize"
    better = f"{'lower' if lower else 'higher'} is better {arrows[0 if lower else 1]}".strip()
    known = f"{unit}, " if unit and metric.endswith("rmse") else ""
    return f"{metric_label(metric)} ({known}{better})"


_RADII = (12.0, 20.0, 34.0, 50.0, 70.0, 95.0)
_ANGLES = tuple(math.pi / 8 * step for step in range(16))
"""The rings, in points, and the directions in which a label may lie from its point."""


@dataclass(frozen=True)
class Label:
    """A text that belongs to the point (x, y) in data coordinates."""

    x: float
    y: float
    text: str
    colour: str = INK
    size: float = 9


def place_labels(
    axes: Axes, labels: Sequence[Label], obstacles: FloatArray, size: float = 2
) -> None:
    """Write labels beside their points, each where it covers the least.

    Candidate places lie on rings around the point; the one that overlaps least with obstacles
    (float64 [n, 2], data coordinates, each with a radius of `size` in points), with the labels'
    own markers, with labels already placed and with the frame is taken, and of equal ones the
    nearest. A label that had to move away gets a thin line to its point.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    settle(figure)  # so that data can be turned into pixels
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    to_pixels = axes.transData.transform
    pixel = figure.dpi / 72
    own = np.array([(label.x, label.y) for label in labels]).reshape(-1, 2)
    circle = pixel * np.array([(math.cos(angle), math.sin(angle)) for angle in _ANGLES])
    points = np.concatenate(
        [
            (to_pixels(places)[:, None] + radius * circle).reshape(-1, 2)
            for places, radius in ((obstacles, size), (own, 7))
        ]
    )
    frame = axes.get_window_extent(renderer)
    taken: list[Bbox] = []
    for label in labels:
        probe = axes.text(0, 0, label.text, fontsize=label.size)
        box = probe.get_window_extent(renderer)
        probe.remove()
        extent = np.array([box.width, box.height])
        anchor = to_pixels((label.x, label.y))
        places: list[tuple[float, int, float, FloatArray, Bbox, FloatArray]] = []
        for radius, angle in itertools.product(_RADII, _ANGLES):
            direction = np.array([math.cos(angle), math.sin(angle)])
            centre = direction * (radius * pixel + extent / 2)
            place = Bbox.from_bounds(*(anchor + centre - extent / 2), *extent)
            # A label further off gets a line, which is to cross nothing written either.
            line = anchor + np.linspace(0.15, 0.85, 24)[:, None] * centre
            crossed = sum(_within(other, line) for other in taken) if radius > _RADII[0] else 0
            cost = _cost(place, 2 * pixel, points, taken, frame) + 50.0 * crossed
            places.append((cost + radius, len(places), radius, centre, place, line))
            if cost == 0:
                break  # all that follow are further off
        _, _, radius, centre, place, line = min(places, key=lambda place: place[:2])
        taken.append(place.padded(2 * pixel))
        if radius > _RADII[0]:
            points = np.vstack([points, line])
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=tuple(centre / pixel),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=label.size,
            color=label.colour,
            zorder=10,
            annotation_clip=False,
            arrowprops=(
                {"arrowstyle": "-", "color": GREY, "lw": 0.7, "shrinkA": 1, "shrinkB": 4}
                if radius > _RADII[0]
                else None
            ),
        )


def _cost(place: Bbox, gap: float, points: FloatArray, taken: Sequence[Bbox], frame: Bbox) -> float:
    inside = _within(place.padded(gap), points)
    covered = sum(
        both.width * both.height
        for other in taken
        if (both := Bbox.intersection(place, other)) is not None
    )
    visible = Bbox.intersection(place, frame)
    outside = place.width * place.height - (visible.width * visible.height if visible else 0)
    return 10.0 * inside + 0.5 * covered + 5.0 * outside


def _within(box: Bbox, points: FloatArray) -> int:
    return int(((points >= box.min) & (points <= box.max)).all(axis=1).sum())
