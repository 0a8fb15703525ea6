"""The interactive page: one HTML file with plotly.js inside, which asks no server for anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from sweep.config import METRICS, Objective
from sweep.front.selection import metric_label, setting_text
from sweep.front.uncertainty import Estimate
from sweep.report.answer import (
    Verdict,
    certainty,
    comparisons,
    final_gaps,
    final_sentence,
    headline,
    specialists_sentence,
)
from sweep.report.hypervolume import hypervolume_info
from sweep.report.interactive import colours, front_figure, hypervolume_figure, plane_figure
from sweep.report.measured import commands, facts, pruning_sentence
from sweep.report.pareto import pareto_info
from sweep.report.summary import (
    Summary,
    counted,
    counts_text,
    ease_note,
    edge_text,
    protocol,
    replicate_estimates,
    variable_label,
    weights_of,
)
from sweep.report.tables import (
    ABSENT,
    ablation_table,
    figure,
    probability_text,
    signed_figure,
)
from sweep.report.weights import Panel, weights_info
from sweep.results import Baseline, Trial

if TYPE_CHECKING:
    from sweep.search.importance import ScaleVerdict

_SIGNS = {"better": "▲", "worse": "▼", "no clear difference": "=", "one training each": "·"}
"""What stands before a difference, so that its colour is not all that tells."""


def page(summary: Summary) -> str:
    """The whole page as HTML, about 5 MB, nearly all of it plotly.js."""
    from plotly.offline import get_plotlyjs

    info = weights_info(summary)
    figures = {
        "front": front_figure(summary),
        **{f"weights{index}": plane_figure(summary, info, index) for index in range(2)},
        "hypervolume": hypervolume_figure(summary),
    }
    record, knee = summary.record, summary.knee.trial
    return _PAGE.substitute(
        title=_text(record.name),
        headline=_text(headline(summary)),
        origin=_text(
            f"Trial {knee.number} {summary.knee.why} "
            f"({counted(len(summary.complete), 'complete trial')}). {specialists_sentence(summary)}"
        ),
        gains=_gains(summary),
        certainty=_list((*certainty(summary), final_sentence(summary))),
        protocol=_text(protocol(record)),
        counts=_text(counts_text(record)),
        front=_front(summary),
        interval_note=_text(_interval_note(summary)),
        front_note=_text(_front_note(summary)),
        edge_note=_text(edge_text(summary.at_edge)),
        options0=_options(info.panels, 0),
        options1=_options(info.panels, 1),
        reason=_text(summary.knee.reason),
        test=_test(summary),
        mattered=_mattered(summary),
        ablation=_ablation(summary),
        convergence=_text(summary.convergence.sentence),
        reference_point=_text(hypervolume_info(summary).reference_point),
        pruning=_text(pruning_sentence(record)),
        commands=_text("\n".join(commands(record))),
        facts=_facts(facts(record)),
        plotly=get_plotlyjs(),
        figures=script_json(figures),
        colours=script_json([colours(panel) for panel in info.panels]),
    )


def script_json(value: object) -> str:
    """Strict JSON that can stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _gains(summary: Summary) -> str:
    """The chosen trial against every reference and baseline."""
    head = ["against"]
    for objective in summary.objectives:
        head += [f"its {_heading(objective)}", "difference"]
    rows = []
    for comparison in comparisons(summary):
        cells = [_cell(comparison.name)]
        for value, gain, verdict in zip(
            comparison.values, comparison.gains, comparison.verdicts, strict=True
        ):
            cells += [_cell(figure(value)), _gain_cell(signed_figure(gain), verdict)]
        rows.append(_row(cells))
    return _table(head, rows) if rows else "<p>No other model is recorded to compare with.</p>"


def _gain_cell(text: str, verdict: Verdict | None) -> str:
    if verdict is None:
        return _cell(text)
    kind = verdict.split()[0]
    return f'<td class="{kind}" title="{verdict}">{_SIGNS[verdict]} {_text(text)}</td>'


def _front(summary: Summary) -> str:
    """The members of the front, what may be one as well, the references, and the baselines."""
    variables = list(summary.record.config.search_space.variables)
    scaled = summary.record.config.search_space.scale is not None
    head = ["model", "rating weight", "retrieval weight", "ratio"]
    names = [name.partition(".")[2].replace("_", " ") for name in variables]
    head += [*(["scale"] if scaled else []), *names]
    head += [_heading(objective) for objective in summary.objectives]
    head += ["n", "P(on the front)", "robust"]
    front, references = summary.front, summary.references.values()
    others = [t for t in summary.contenders if t.number in summary.robust and t not in front]
    others += [trial for trial in references if trial not in (*front, *others)]
    rows = [_trial_row(summary, trial, variables) for trial in (*front, *others)]
    rows += [_baseline_row(summary, baseline, len(head)) for baseline in summary.record.baselines]
    return _table(head, rows)


def _trial_row(summary: Summary, trial: Trial, variables: Sequence[str]) -> str:
    knee = trial is summary.knee.trial
    weights, number = weights_of(trial), trial.number
    probability = summary.probability.get(number)
    name = ", ".join(name for name in (knee and "chosen", trial.reference) if name)
    robust = ABSENT if probability is None else "yes" if number in summary.robust else "no"
    cells = [
        f"{'★ ' if knee else ''}trial {number}{f', {name}' if name else ''}",
        f"{weights.rating_weight:.4g}",
        f"{weights.retrieval_weight:.4g}",
        f"{weights.ratio:.4g}".replace("inf", "∞"),
        *([f"{weights.scale:.4g}"] if summary.record.config.search_space.scale else []),
        *(setting_text(trial.settings[v]) if v in trial.settings else ABSENT for v in variables),
        *(figure(summary.estimates[number][o.metric]) for o in summary.objectives),
        str(max(1, len(trial.replicates))),
        probability_text(probability),
        robust,
    ]
    kind = "knee" if knee else "" if trial in summary.front else "other"
    return _row(map(_cell, cells), kind)


def _baseline_row(summary: Summary, baseline: Baseline, columns: int) -> str:
    """A baseline in the table of the front, which has so many columns."""
    scores = [
        f"{baseline.metrics[o.metric]:.4f}" if o.metric in baseline.metrics else ABSENT
        for o in summary.objectives
    ]
    before = [ABSENT] * (columns - len(scores) - 4)
    cells = [f"{baseline.name} (baseline)", *before, *scores, ABSENT, ABSENT, ABSENT]
    return _row(map(_cell, cells), "other")


def _test(summary: Summary) -> str:
    """The chosen trial on the test rows beside the validation rows, and the baselines there."""
    sentence = f"<p>{_text(final_sentence(summary))}</p>"
    final = summary.final
    if final is None:
        return sentence
    head = [""]
    for objective in summary.objectives:
        label = _heading(objective)
        head += [f"{label}, validation", f"{label}, test", "test − validation"]
    own, scores = (
        summary.estimates[summary.knee.trial.number],
        replicate_estimates(final.replicates),
    )
    cells = [_cell(f"trial {summary.knee.trial.number}")]
    for objective, gap in zip(summary.objectives, final_gaps(summary), strict=True):
        name = objective.metric
        texts = figure(own[name]), figure(scores[name]), signed_figure(gap)
        cells += map(_cell, texts)
    rows = [_row(cells, "knee")]
    before = {baseline.name: baseline.metrics for baseline in summary.record.baselines}
    for baseline in final.baselines:
        cells = [_cell(f"{baseline.name} (baseline)")]
        for objective in summary.objectives:
            test = baseline.metrics.get(objective.metric)
            validation = before.get(baseline.name, {}).get(objective.metric)
            change = None
            if test is not None and validation is not None:
                change = Estimate(test - validation, None, 1)
            cells += map(_cell, (_number(validation), _number(test), signed_figure(change)))
        rows.append(_row(cells, "other"))
    note = (
        "The gap holds what choosing by the validation rows flatters, and what more training rows "
        "and other rows to score bring; the baselines, which nobody chose, show the second alone."
    )
    return f'{sentence}<div class="scroll">{_table(head, rows)}</div><p class="quiet">{note}</p>'


def _mattered(summary: Summary) -> str:
    """Bars of what moved each objective, and the sentence on ratio and scale with its data."""
    found = summary.importances
    if found is None:
        return (
            f"<p>Not known: <code>{_text(f'sweep report {summary.record.name}')}</code> works it "
            "out where enough trials are complete.</p>"
        )
    targets = list(found.parameters)
    names = list(dict.fromkeys(name for target in targets for name in found.parameters[target]))
    rows = [
        _row([_cell(variable_label(name)), *(_bar(found.parameters[t].get(name)) for t in targets)])
        for name in names
    ]
    note = (
        "The share of each objective's variance over the search space that is due to a variable "
        f"(fANOVA, from {counted(found.trials, 'trial')}); the hypervolume is a trial's own."
    )
    labels = [_target_label(target) for target in targets]
    return (
        f'<p class="quiet">{note}</p><div class="scroll bars">{_table(["", *labels], rows)}</div>'
        f"<p><b>{_text(found.scale.sentence)}</b></p>{_scale_data(found.scale)}"
    )


def _scale_data(scale: ScaleVerdict) -> str:
    """The figures behind the sentence on ratio and scale."""
    if not scale.explained:
        return ""
    head = ["explained by", "ratio alone", "scale alone", "both", "importance: ratio", "scale"]
    rows = []
    for target, fit in scale.explained.items():
        shares = [scale.importances.get(target, {}).get(name) for name in ("ratio", "scale")]
        figures = (fit.ratio, fit.scale, fit.both, *shares)
        rows.append(_row([_cell(_target_label(target)), *(_cell(_percent(f)) for f in figures)]))
    return f'<div class="scroll">{_table(head, rows)}</div>'


def _target_label(target: str) -> str:
    return metric_label(target) if target in METRICS else target


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.0f} %"


def _bar(share: float | None) -> str:
    if share is None:
        return _cell(ABSENT)
    return f'<td class="bar"><i style="width:{8 * share:.2f}em"></i>{_percent(share)}</td>'


def _ablation(summary: Summary) -> str:
    record = summary.record
    if not record.ablation:
        return (
            "<p>Not measured. <code>"
            f"{_text(f'sweep ablate {record.name} --pick knee')}</code> trains the chosen trial "
            "again without each setting of its model and training in turn.</p>"
        )
    table = ablation_table(record, record.ablation)
    seeds = len(record.ablation[0].replicates)
    note = (
        f"Trial {record.ablation[0].trial} with one key at a time put back to its default, on the "
        f"same {counted(seeds, 'seed')}, scored as the search scores. ± is the 90 % interval of "
        "the mean; a change is taken seed by seed."
    )
    rows = [
        _row([*map(_cell, cells), f'<td class="words">{_text(worth)}</td>'])
        for *cells, worth in table.itertuples(index=False)
    ]
    head = [str(column) for column in table]
    return f'<p class="quiet">{note}</p><div class="scroll">{_table(head, rows)}</div>'


def _front_note(summary: Summary) -> str:
    """What a look at the front's plot does not tell."""
    info = pareto_info(summary)
    values = np.array([summary.value(trial) for trial in summary.complete])
    beyond = int(info.beyond(values).sum())
    named = [
        f"{name} at {x:.3f} / {y:.3f}"
        for name, trial in summary.references.items()
        for x, y in [summary.value(trial)]
        if info.beyond(np.array([[x, y]]))[0]
    ]
    hidden = [
        f"{line.name} {line.value:.4f}"
        for line in info.baselines
        if not info.limits[line.axis][0] <= line.value <= info.limits[line.axis][1]
    ]
    notes = ["Point at a marker for its weights and metrics."]
    if summary.probability:
        notes.append("Bars are 90 % intervals of the mean over seeds.")
    if summary.record.baselines:
        notes.append("Dashed lines are baselines.")
    if beyond:
        among = f", among them {', '.join(named)}" if named else ""
        verb = "lie" if beyond > 1 else "lies"
        notes.append(
            f"{counted(beyond, 'trial')} {verb} beyond the axes{among}; double-click shows all."
        )
    if hidden:
        notes.append(f"Baselines beyond the axes: {', '.join(hidden)}.")
    if summary.published:
        notes.append(
            "Hollow markers are the figures that the TensorFlow Recommenders multi-task tutorial "
            "publishes."
        )
    return " ".join(notes)


def _interval_note(summary: Summary) -> str:
    ease = ease_note(summary.record, [objective.metric for objective in summary.objectives])
    if not summary.probability:
        once = "Each model was trained once (n = 1): how far another seed would be off is unknown."
        return f"{once} {ease}".strip()
    return (
        "± is the 90 % interval of the mean over n seeds. P(on the front) is the probability, by a "
        "parametric bootstrap from the replicates, that no other replicated trial is truly better "
        "in both objectives. In simulations it was mostly right within 0.1; it was too low by up "
        "to 0.25 where a few trials are far behind the others, and too high by up to 0.3 where "
        "trials differ by no more than the noise. Robust are those that no single other one beats "
        "with a confidence of 90 %, be it likely or not that they are on the front. In grey: "
        f"trials that are behind the front, but not surely; references; baselines. {ease}"
    ).strip()


def _options(panels: Sequence[Panel], chosen: int) -> str:
    """The metrics to choose from; the value of each is its row in `panels`."""
    return "".join(
        f'<option value="{i}"{" selected" if i == chosen else ""}>{_text(panel.title)}</option>'
        for i, panel in enumerate(panels)
    )


def _heading(objective: Objective) -> str:
    return f"{metric_label(objective.metric)} {'↓' if objective.sign == 1 else '↑'}"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"


def _text(text: str) -> str:
    """A text as HTML; no line ends between a figure and its interval."""
    return escape(text).replace(" ± ", "\u00a0±\u00a0")


def _list(sentences: Iterable[str]) -> str:
    return "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in pairs)


def _cell(text: str) -> str:
    return f"<td>{_text(text)}</td>"


def _row(cells: Iterable[str], kind: str = "") -> str:
    opening = f'<tr class="{kind}">' if kind else "<tr>"
    return f"{opening}{''.join(cells)}</tr>"


def _table(head: Sequence[str], rows: Iterable[str]) -> str:
    heading = "".join(f'<th scope="col">{_text(text)}</th>' for text in head)
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


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
h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
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
.answer { display: grid; grid-template-columns: minmax(0, max-content) minmax(18rem, 1fr);
  gap: 2rem; }
.answer th, .answer td { padding: .3rem .4rem; }
.answer .quiet { max-width: 44rem; }
.answer > div { min-width: 0; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
li { margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; text-align: right; border-bottom: 1px solid #e5e5e5; }
td:first-child, th:first-child { text-align: left; }
th { font-weight: 600; vertical-align: bottom; min-width: 4em; }
td { white-space: nowrap; }
td.words { white-space: normal; text-align: left; min-width: 12em; }
tr.knee td { background: #fdf1e8; font-weight: 600; }
tr.other td { color: #666; }
td.better { color: #005b8e; }
td.worse { color: #b04a00; }
.bars th { text-align: left; }
td.bar { text-align: left; min-width: 11rem; }
td.bar i { display: inline-block; height: .7em; margin-right: .5em; background: #0072B2; }
.measured { border: 1px solid #ddd; border-radius: 6px; padding: .2rem 1rem .8rem;
  margin-top: 2.2rem; background: #fafafa; }
.measured h2 { margin-top: .8rem; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; max-width: 110ch; }
pre { overflow-x: auto; background: #f0f0f0; padding: .5rem .8rem; border-radius: 4px; }
@media (max-width: 760px) {
  .pair, .answer { grid-template-columns: 1fr; }
  .headline { font-size: 1.15rem; }
  #front { height: 660px; }
}
</style>
</head>
<body>
<h1>Study $title</h1>
<p class="headline">$headline</p>
<p>$origin</p>
<div class="answer">
<div><h3>What these weights buy</h3><div class="scroll">$gains</div>
<p class="quiet">▲ better, ▼ worse, = no clear difference, · one training each. A difference is the
chosen trial's value less the other's; the arrow in a heading is the better direction.</p></div>
<div><h3>How sure that is</h3><ul>$certainty</ul></div>
</div>
<p class="quiet">$protocol Trials: $counts.</p>
<h2>Members of the front</h2>
<p class="quiet">$interval_note</p>
<div class="scroll">$front</div>
<h2>Pareto front</h2>
<p class="quiet">$front_note</p>
<div id="front" class="plot"></div>
<h2>What was searched</h2>
<p class="quiet">Brighter is better. A weight of 0 stands in the margin. $edge_note</p>
<div class="pair">
<div><label for="metric0">First plane coloured by</label>
<select id="metric0" autocomplete="off">$options0</select>
<div id="weights0" class="plot"></div></div>
<div><label for="metric1">Second plane coloured by</label>
<select id="metric1" autocomplete="off">$options1</select>
<div id="weights1" class="plot"></div></div>
</div>
<h2>The chosen trial</h2>
<p>★ $reason</p>
<h2>On the test rows</h2>
$test
<h2>What mattered in the search</h2>
$mattered
<h2>What each setting is worth</h2>
$ablation
<h2>Had the search converged?</h2>
<p>$convergence</p>
<p class="quiet">The normalised hypervolume is the share of the box between two points that the
trials so far dominate: $reference_point.</p>
<div id="hypervolume" class="plot"></div>
<h2>Trials stopped early</h2>
<p>$pruning</p>
<div class="measured">
<h2>How this was measured</h2>
<pre>$commands</pre>
<dl>$facts</dl>
</div>
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
