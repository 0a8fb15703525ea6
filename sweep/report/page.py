"""The interactive page: one HTML file with plotly.js inside, which asks no server for anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

import numpy as np

from sweep.config import METRICS
from sweep.front.selection import metric_label
from sweep.report.hypervolume import hypervolume_info
from sweep.report.pareto import pareto_info
from sweep.report.style import (
    BLUE,
    GREY,
    INK,
    KNEE_MARK,
    REFERENCE_MARKS,
    VERMILLION,
)
from sweep.report.summary import (
    Summary,
    counts_text,
    edge_text,
    headline,
    protocol,
    result_of,
    weights_of,
)
from sweep.report.weights import Panel, WeightsInfo, weights_info
from sweep.results import Trial

_AXIS = {"gridcolor": "#ECECEC", "linecolor": GREY, "zeroline": False, "ticks": "outside"}


def page(summary: Summary) -> str:
    """The whole page as HTML, about 5 MB, nearly all of it plotly.js."""
    from plotly.offline import get_plotlyjs

    first, *rest = headline(summary)
    info = weights_info(summary)
    figures = {
        "front": _front_figure(summary),
        **{f"weights{index}": _weights_figure(summary, info, index) for index in range(2)},
        "hypervolume": _hypervolume_figure(summary),
    }
    return _PAGE.substitute(
        title=escape(summary.record.name),
        headline=escape(first),
        knee=escape(" ".join(rest)),
        reason=escape(summary.knee.reason),
        counts=escape(counts_text(summary.record)),
        protocol=escape(protocol(summary.record)),
        front_note=escape(_front_note(summary)),
        edge_note=escape(edge_text(summary.at_edge)),
        options0=_options(info.panels, 0),
        options1=_options(info.panels, 1),
        reference_point=escape(hypervolume_info(summary).reference_point),
        table=_table(summary),
        plotly=get_plotlyjs(),
        figures=script_json(figures),
        colours=script_json([_colours(panel) for panel in info.panels]),
    )


def script_json(value: object) -> str:
    """Strict JSON that can stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _front_figure(summary: Summary) -> dict[str, Any]:
    info = pareto_info(summary)
    dominated = [
        t for t, member in zip(summary.complete, summary.on_front, strict=True) if not member
    ]
    stairs = {
        "x": info.staircase[:, 0].tolist(),
        "y": info.staircase[:, 1].tolist(),
        "mode": "lines",
        "line": {"color": BLUE, "width": 1.5},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    traces = [
        _points(summary, dominated, "dominated", {"color": GREY, "size": 7, "opacity": 0.6}),
        stairs,
        _points(summary, summary.front, "Pareto front", {"color": BLUE, "size": 10}),
    ]
    for name, trial in summary.references.items():
        mark = REFERENCE_MARKS[name]
        look = {"color": mark.colour, "symbol": mark.symbol, "size": 12}
        traces.append(
            _points(summary, [trial], name, {**look, "line": {"color": INK, "width": 1.5}})
        )
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
    star = {"color": KNEE_MARK.colour, "symbol": KNEE_MARK.symbol, "size": 17}
    traces.append(
        _points(
            summary, [summary.knee.trial], "knee", {**star, "line": {"color": "white", "width": 1}}
        )
    )
    layout = _layout(*info.axis_titles)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = (list(ends) for ends in info.limits)
    return {"data": traces, "layout": layout}


def _weights_figure(summary: Summary, info: WeightsInfo, index: int) -> dict[str, Any]:
    x, y = (info.positions[:, column].tolist() for column in range(2))
    ring = {"color": VERMILLION, "width": 2}
    traces: list[dict[str, Any]] = [
        {
            "x": x,
            "y": y,
            "mode": "markers",
            "hovertext": [_hover(trial) for trial in summary.complete],
            "hoverinfo": "text",
            "showlegend": False,
            "marker": {
                **_colours(info.panels[index]),
                "colorscale": "Viridis",
                "size": 10,
                "line": {"color": INK, "width": 0.5},
                "colorbar": {"thickness": 14, "outlinewidth": 0},
            },
        },
        {
            "x": [value for value, member in zip(x, info.on_front, strict=True) if member],
            "y": [value for value, member in zip(y, info.on_front, strict=True) if member],
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


def _colours(panel: Panel) -> dict[str, Any]:
    """What of the markers depends on the metric, in plotly's words."""
    return {
        "color": panel.values.tolist(),
        "reversescale": panel.lower_is_better,
        "cmin": panel.colour_limits[0],
        "cmax": panel.colour_limits[1],
    }


def _options(panels: Sequence[Panel], chosen: int) -> str:
    """The metrics to choose from; the value of each is its row in `panels`."""
    return "".join(
        f'<option value="{i}"{" selected" if i == chosen else ""}>{escape(panel.title)}</option>'
        for i, panel in enumerate(panels)
    )


def _hypervolume_figure(summary: Summary) -> dict[str, Any]:
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
    return {"data": traces, "layout": _layout("trial", "hypervolume")}


def _points(
    summary: Summary, trials: Sequence[Trial], name: str, marker: Mapping[str, Any]
) -> dict[str, Any]:
    values = [summary.value(trial) for trial in trials]
    return {
        "x": [x for x, _ in values],
        "y": [y for _, y in values],
        "mode": "markers",
        "name": name,
        "marker": marker,
        "hovertext": [_hover(trial) for trial in trials],
        "hoverinfo": "text",
    }


def _hover(trial: Trial) -> str:
    """A trial's weights and all its metrics, as the small HTML that plotly shows on hover."""
    weights = weights_of(trial)
    lines = [
        f"<b>trial {trial.number}{f' ({escape(trial.reference)})' if trial.reference else ''}</b>",
        f"rating weight {weights.rating_weight:.4g}",
        f"retrieval weight {weights.retrieval_weight:.4g}",
        *(
            f"{escape(metric_label(name))} {value:.4f}"
            for name, value in result_of(trial).metrics.items()
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


def _front_note(summary: Summary) -> str:
    """What a look at the front's plot does not tell."""
    info = pareto_info(summary)
    beyond = int(info.beyond(summary.values).sum())
    named = [
        f"{name} at {x:.3f} / {y:.3f}"
        for name, trial in summary.references.items()
        for x, y in [summary.value(trial)]
        if info.beyond(np.array([[x, y]]))[0]
    ]
    notes = ["Point at a marker for its weights and metrics."]
    if beyond:
        among = f", among them {', '.join(named)}" if named else ""
        verb = "lie" if beyond > 1 else "lies"
        notes.append(f"{_trials(beyond)} {verb} beyond the axes{among}; double-click shows all.")
    if summary.published:
        notes.append(
            "Hollow markers are the figures that the TensorFlow Recommenders multi-task tutorial "
            "publishes."
        )
    return " ".join(notes)


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _table(summary: Summary) -> str:
    """The front, one row a member, the objectives first and then every other metric."""
    objectives = [objective.metric for objective in summary.objectives]
    others = [metric for metric in METRICS if metric not in objectives]
    head = ["trial", "rating weight", "retrieval weight", "ratio"]
    head += [
        f"{metric_label(objective.metric)} {'↓' if objective.sign == 1 else '↑'}"
        for objective in summary.objectives
    ]
    head += [metric_label(metric) for metric in others]
    rows = []
    for trial in summary.front:
        note = "★ " if trial is summary.knee.trial else ""
        metrics, weights = result_of(trial).metrics, weights_of(trial)
        cells = [
            f"{note}{trial.number}",
            f"{weights.rating_weight:.4g}",
            f"{weights.retrieval_weight:.4g}",
            f"{weights.ratio:.4g}".replace("inf", "∞"),
            *(f"{metrics[metric]:.4f}" for metric in (*objectives, *others)),
        ]
        kind = ' class="knee"' if note else ""
        rows.append(f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    heading = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    return f"<thead><tr>{heading}</tr></thead><tbody>{''.join(rows)}</tbody>"


# The policy forbids every request, and the tool bar has no button that shares the chart.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; \
form-action 'none'; base-uri 'none'">
<title>$title: Pareto front of the loss weights</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
  max-width: 1200px; padding: 1rem 1.25rem 3rem; }
h1 { font-size: 1.1rem; font-weight: 600; color: #666; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; }
.headline { font-size: 1.4rem; line-height: 1.35; margin: .4rem 0 .6rem; }
p { margin: .4rem 0; max-width: 95ch; }
.headline { max-width: none; }
label { display: block; font-weight: 600; }
.pair > div { min-width: 0; }
select { font: inherit; max-width: 100%; padding: .2rem .3rem; }
.quiet { color: #666; font-size: .92rem; }
.plot { width: 100%; height: 420px; }
#front { height: 560px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; text-align: right; border-bottom: 1px solid #e5e5e5; }
th { font-weight: 600; vertical-align: bottom; min-width: 4em; }
tr.knee td { background: #fdf1e8; font-weight: 600; }
@media (max-width: 760px) {
  .pair { grid-template-columns: 1fr; }
  .headline { font-size: 1.15rem; }
  #front { height: 660px; }
}
</style>
</head>
<body>
<h1>Study $title</h1>
<p class="headline">$headline</p>
<p>$knee</p>
<p class="quiet">$protocol Trials: $counts.</p>
<h2>Pareto front</h2>
<p class="quiet">$front_note</p>
<div id="front" class="plot"></div>
<h2>Members of the front</h2>
<p class="quiet">★ $reason</p>
<div class="scroll"><table>$table</table></div>
<h2>Loss weights</h2>
<p class="quiet">Brighter is better. A weight of 0 stands in the margin. $edge_note</p>
<div class="pair">
<div><label for="metric0">First plane coloured by</label>
<select id="metric0" autocomplete="off">$options0</select>
<div id="weights0" class="plot"></div></div>
<div><label for="metric1">Second plane coloured by</label>
<select id="metric1" autocomplete="off">$options1</select>
<div id="weights1" class="plot"></div></div>
</div>
<h2>Hypervolume by trial</h2>
<p class="quiet">The size of what the trials so far dominate, $reference_point.</p>
<div id="hypervolume" class="plot"></div>
<script>$plotly</script>
<script>
const figures = $figures;
const config = {responsive: true, displaylogo: false, showSendToCloud: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d"]};
for (const [name, figure] of Object.entries(figures)) {
  Plotly.newPlot(name, figure.data, figure.layout, config);
}
const colours = $colours;
for (const panel of ["0", "1"]) {
  const metric = document.getElementById("metric" + panel);
  metric.addEventListener("change", () => {
    const {color, cmin, cmax, reversescale} = colours[metric.value];
    Plotly.restyle("weights" + panel, {"marker.color": [color], "marker.cmin": cmin,
      "marker.cmax": cmax, "marker.reversescale": reversescale}, [0]);
  });
}
</script>
</body>
</html>
""")
