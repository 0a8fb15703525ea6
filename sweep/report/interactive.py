"""The interactive plots of the page, as plotly's JSON: plain values, no plotly needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sweep.config import METRICS
from sweep.front.selection import metric_label, setting_text
from sweep.report.hypervolume import hypervolume_info
from sweep.report.pareto import BaselineLine, pareto_info
from sweep.report.style import (
    BASELINE_COLOUR,
    BLUE,
    GREY,
    INK,
    KNEE_MARK,
    REFERENCE_MARKS,
    SKY,
    VERMILLION,
)
from sweep.report.summary import Summary, weights_of
from sweep.report.tables import figure, probability_text
from sweep.report.weights import Panel, WeightsInfo
from sweep.results import Trial

Figure = Mapping[str, Any]
"""`data` and `layout`, as plotly takes them."""

_AXIS = {"gridcolor": "#ECECEC", "linecolor": GREY, "zeroline": False, "ticks": "outside"}


def front_figure(summary: Summary) -> Figure:
    """Every trial in the plane of the objectives, with the references and the baselines."""
    info = pareto_info(summary)
    rest = [trial for trial in summary.complete if trial not in summary.front]
    once = [trial for trial in rest if not trial.replicates]
    behind = [trial for trial in rest if trial.replicates and not trial.reference]
    grey = {"color": GREY, "size": 7, "opacity": 0.6}
    traces: list[dict[str, Any]] = []
    if once:
        name = "trained once" if summary.probability else "dominated"
        traces.append(_points(summary, once, name, grey))
    if behind:
        look = {"color": SKY, "size": 9, "line": {"color": BLUE, "width": 1}}
        traces.append(_points(summary, behind, "replicated, not on the front", look))
    traces.append(
        {
            "x": info.staircase[:, 0].tolist(),
            "y": info.staircase[:, 1].tolist(),
            "mode": "lines",
            "line": {"color": BLUE, "width": 1.5},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    )
    traces.append(_points(summary, summary.front, "Pareto front", {"color": BLUE, "size": 10}))
    for name, trial in summary.references.items():
        mark = REFERENCE_MARKS[name]
        shape = {"color": mark.colour, "symbol": mark.symbol, "size": 12}
        outline = {"color": INK, "width": 1.5}
        traces.append(_points(summary, [trial], name, {**shape, "line": outline}))
    for name, (x, y) in summary.published.items():
        mark = REFERENCE_MARKS[name]
        traces.append(
            {
                "x": [x],
                "y": [y],
                "mode": "markers",
                "name": f"{name}, published",
                "marker": {
                    "color": mark.colour,
                    "symbol": f"{mark.symbol}-open",
                    "size": 14,
                    "line": {"width": 2},
                },
                "hovertext": [f"{escape(name)}, published<br>{x:.3f} / {y:.3f}"],
                "hoverinfo": "text",
            }
        )
    star = {
        "color": KNEE_MARK.colour,
        "symbol": KNEE_MARK.symbol,
        "size": 17,
        "line": {"color": "white", "width": 1},
    }
    traces.append(_points(summary, [summary.knee.trial], "chosen", star))
    layout = _layout(*info.axis_titles)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = (list(ends) for ends in info.limits)
    layout["shapes"] = [_baseline(line) for line in info.baselines]
    layout["annotations"] = [_baseline_name(line) for line in info.baselines]
    return {"data": traces, "layout": layout}


def plane_figure(summary: Summary, info: WeightsInfo, index: int) -> Figure:
    """The plane of what is searched, coloured by the metric of one panel."""
    x, y = (info.positions[:, column].tolist() for column in range(2))
    members = [row for row, member in enumerate(info.on_front) if member]
    ring = {"color": VERMILLION, "width": 2}
    traces: list[dict[str, Any]] = [
        {
            "x": x,
            "y": y,
            "mode": "markers",
            "hovertext": [_hover(summary, trial) for trial in summary.complete],
            "hoverinfo": "text",
            "showlegend": False,
            "marker": {
                **colours(info.panels[index]),
                "colorscale": "Viridis",
                "size": 10,
                "line": {"color": INK, "width": 0.5},
                "colorbar": {"thickness": 14, "outlinewidth": 0},
            },
        },
        {
            "x": [x[row] for row in members],
            "y": [y[row] for row in members],
            "mode": "markers",
            "name": "on the Pareto front",
            "marker": {"symbol": "circle-open", "size": 16, "color": VERMILLION, "line": ring},
            "hoverinfo": "skip",
        },
    ]
    layout = _layout(*(axis.title for axis in info.axes))
    for key, axis in zip(("xaxis", "yaxis"), info.axes, strict=True):
        places, texts = zip(*axis.ticks, strict=True)
        layout[key] |= {"tickvals": places, "ticktext": texts, "range": axis.limits}
    return {"data": traces, "layout": layout}


def colours(panel: Panel) -> dict[str, Any]:
    """What of the markers depends on the metric."""
    return {
        "color": panel.values.tolist(),
        "reversescale": panel.lower_is_better,
        "cmin": panel.colour_limits[0],
        "cmax": panel.colour_limits[1],
    }


def hypervolume_figure(summary: Summary) -> Figure:
    """The normalised hypervolume by trial, and the trials that tell whether it has converged."""
    info = hypervolume_info(summary)
    traces: list[dict[str, Any]] = [
        {
            "x": info.numbers,
            "y": info.history.tolist(),
            "mode": "lines",
            "line": {"shape": "hv", "color": BLUE, "width": 2},
            "name": "hypervolume",
            "hovertemplate": "after trial %{x}: %{y:.5f}<extra></extra>",
            "showlegend": False,
        }
    ]
    for name, number, volume in info.references:
        mark = REFERENCE_MARKS[name]
        traces.append(
            {
                "x": [number],
                "y": [volume],
                "mode": "markers",
                "name": name,
                "marker": {
                    "color": mark.colour,
                    "symbol": mark.symbol,
                    "size": 12,
                    "line": {"color": INK, "width": 1},
                },
                "hovertemplate": f"{escape(name)}: trial %{{x}}<extra></extra>",
            }
        )
    layout = _layout("trial", "normalised hypervolume ↑")
    if info.window is not None:
        start, end = info.window
        layout["shapes"] = [
            {
                "type": "rect",
                "yref": "paper",
                "x0": start - 0.5,
                "x1": end + 0.5,
                "y0": 0,
                "y1": 1,
                "fillcolor": SKY,
                "opacity": 0.18,
                "line": {"width": 0},
                "layer": "below",
            }
        ]
    return {"data": traces, "layout": layout}


def _baseline(line: BaselineLine) -> dict[str, Any]:
    """A dashed line across the whole picture, however it is zoomed."""
    own, other = "xy" if line.axis == 0 else "yx"
    return {
        "type": "line",
        f"{own}0": line.value,
        f"{own}1": line.value,
        f"{other}ref": "paper",
        f"{other}0": 0,
        f"{other}1": 1,
        "layer": "above",  # else a grid line at the same value hides it
        "line": {"color": BASELINE_COLOUR, "width": 1.3, "dash": "dash"},
    }


def _baseline_name(line: BaselineLine) -> dict[str, Any]:
    """The name of a baseline's line, at the end of it that is furthest from the front."""
    place: dict[str, Any] = (
        {"x": line.value, "y": 0, "yref": "paper", "textangle": -90, "xanchor": "right"}
        if line.axis == 0
        else {"x": 1, "y": line.value, "xref": "paper", "xanchor": "right"}
    )
    return {
        **place,
        "yanchor": "bottom",
        "text": f"{escape(line.name)} {line.value:.4f}",
        "showarrow": False,
        "font": {"color": BASELINE_COLOUR, "size": 11},
    }


def _points(
    summary: Summary, trials: Sequence[Trial], name: str, marker: Mapping[str, Any]
) -> dict[str, Any]:
    values = [summary.value(trial) for trial in trials]
    trace: dict[str, Any] = {
        "x": [x for x, _ in values],
        "y": [y for _, y in values],
        "mode": "markers",
        "name": name,
        "marker": marker,
        "hovertext": [_hover(summary, trial) for trial in trials],
        "hoverinfo": "text",
    }
    for axis, objective in zip("xy", summary.objectives, strict=True):
        widths = [summary.estimates[trial.number][objective.metric].half_width for trial in trials]
        if any(width is not None for width in widths):
            trace[f"error_{axis}"] = {
                "type": "data",
                "array": [width or 0 for width in widths],
                "color": marker["color"],
                "thickness": 1.2,
                "width": 3,
            }
    return trace


def _hover(summary: Summary, trial: Trial) -> str:
    """What was searched and every metric, as the small HTML that plotly shows on hover."""
    weights = weights_of(trial)
    estimates = summary.estimates[trial.number]
    n = max(1, len(trial.replicates))
    probability = summary.probability.get(trial.number)
    lines = [
        f"<b>trial {trial.number}{f' ({escape(trial.reference)})' if trial.reference else ''}</b>",
        f"rating weight {weights.rating_weight:.4g}",
        f"retrieval weight {weights.retrieval_weight:.4g}",
        *(f"{escape(name)} {escape(setting_text(v))}" for name, v in trial.settings.items()),
        *(
            [f"P(on the front) {escape(probability_text(probability))}"]
            if probability is not None
            else []
        ),
        f"mean of {n} seeds" if n > 1 else "trained once",
        *(
            f"{escape(metric_label(name))} {figure(estimates[name])}"
            for name in METRICS
            if name in estimates and not name.startswith("per_user_")
        ),
    ]
    return "<br>".join(lines)


def _layout(x_title: str, y_title: str) -> dict[str, Any]:
    return {
        "xaxis": {**_AXIS, "title": {"text": x_title}},
        "yaxis": {**_AXIS, "title": {"text": y_title}, "automargin": True},
        "margin": {"l": 60, "r": 16, "t": 28, "b": 50},
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top"},
        "hoverlabel": {"align": "left"},
        "plot_bgcolor": "white",
        "paper_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "color": INK},
    }
