"""The answer of a study in plain words: which weights, what they buy, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sweep.config import Objective
from sweep.front.selection import metric_label
from sweep.front.uncertainty import Estimate, difference
from sweep.report.summary import (
    Summary,
    counted,
    edge_text,
    point_text,
    replicate_estimates,
    trained,
    weights_of,
)
from sweep.report.tables import figure, probability_text, signed_figure
from sweep.results import RATING_ONLY, RETRIEVAL_ONLY, Trial

Verdict = Literal["better", "worse", "no clear difference", "one training each"]

MARGIN = 0.005
"""A joint model may lose so much accuracy to the retrieval specialist and count as no worse."""


@dataclass(frozen=True)
class Comparison:
    """The chosen trial against one other model, in both objectives.

    `values` are the other's, `gains` how much higher the chosen trial's are, as measured; None
    where the other cannot be scored so. `verdicts` say for whom a gain speaks.
    """

    name: str
    trial: int | None
    values: tuple[Estimate | None, ...]
    gains: tuple[Estimate | None, ...]
    verdicts: tuple[Verdict | None, ...]


def headline(summary: Summary) -> str:
    """The chosen weights and what they reach, in one sentence."""
    knee = summary.knee.trial
    own = summary.estimates[knee.number]
    scores = " with ".join(
        f"{metric_label(objective.metric)} {figure(own[objective.metric])}"
        for objective in summary.objectives
    )
    return f"{_capital(point_text(knee))}: {scores}."


def comparisons(summary: Summary) -> tuple[Comparison, ...]:
    """The chosen trial against every reference, and then against every baseline that was scored."""
    knee = summary.knee.trial
    found = [
        compare(summary, knee, name, trial)
        for name, trial in summary.references.items()
        if trial is not knee
    ]
    own = summary.estimates[knee.number]
    for baseline in summary.record.baselines:
        values = [baseline.metrics.get(objective.metric) for objective in summary.objectives]
        if all(value is None for value in values):
            continue
        gains = tuple(
            None
            if value is None
            else Estimate(own[o.metric].mean - value, own[o.metric].half_width, own[o.metric].n)
            for value, o in zip(values, summary.objectives, strict=True)
        )
        found.append(
            Comparison(
                name=baseline.name,
                trial=None,
                values=tuple(None if v is None else Estimate(v, None, 1) for v in values),
                gains=gains,
                verdicts=_verdicts(gains, summary.objectives),
            )
        )
    return tuple(found)


def compare(summary: Summary, one: Trial, name: str, other: Trial) -> Comparison:
    """One complete trial against another, seed by seed where they share seeds."""
    gains = tuple(
        difference(trained(one), trained(other), objective.metric)
        for objective in summary.objectives
    )
    return Comparison(
        name=name,
        trial=other.number,
        values=tuple(summary.estimates[other.number][o.metric] for o in summary.objectives),
        gains=gains,
        verdicts=_verdicts(gains, summary.objectives),
    )


def gain_verdict(gain: Estimate, objective: Objective) -> Verdict:
    """For whom a gain speaks: for the one only where its interval is on one side of 0."""
    if gain.half_width is None:
        return "one training each"
    if abs(gain.mean) <= gain.half_width:
        return "no clear difference"
    return "better" if gain.mean * objective.sign < 0 else "worse"


def _verdicts(
    gains: Sequence[Estimate | None], objectives: Sequence[Objective]
) -> tuple[Verdict | None, ...]:
    return tuple(
        None if gain is None else gain_verdict(gain, objective)
        for gain, objective in zip(gains, objectives, strict=True)
    )


def specialists_sentence(summary: Summary) -> str:
    """Whether the chosen model beats each specialist at what it is for; empty without specialists.

    A specialist is for the objectives of its task: rating for RMSE, retrieval for an accuracy.
    Where an accuracy is not better, a second sentence says whether it is no worse within `MARGIN`.
    """
    knee = weights_of(summary.knee.trial)
    if any(span.high == 0 for span in summary.record.config.search_space.weights.values()):
        return "This study trains with one loss only, so it has no joint model."
    if 0 in (knee.rating_weight, knee.retrieval_weight):
        return "The chosen model has one loss only: no joint model of this study was chosen."
    by_name = {comparison.name: comparison for comparison in comparisons(summary)}
    found = [
        (name, objective, gain, verdict)
        for name, is_for_errors in ((RATING_ONLY, True), (RETRIEVAL_ONLY, False))
        if name in by_name
        for objective, gain, verdict in zip(
            summary.objectives, by_name[name].gains, by_name[name].verdicts, strict=True
        )
        if objective.metric.endswith("rmse") == is_for_errors and gain is not None
    ]
    verdicts = {verdict for *_, verdict in found}
    listed = " and ".join(
        f"{metric_label(objective.metric)} {signed_figure(gain)} against {name}"
        + (f" ({verdict})" if len(verdicts) > 1 else "")
        for name, objective, gain, verdict in found
    )
    if not found:
        return ""
    if "one training each" in verdicts:
        return f"Against the specialists, by one training of each: {listed}."
    if len({name for name, *_ in found}) == 1:
        opening = "Against the specialist"
    elif verdicts == {"better"}:
        opening = "This one joint model beats both specialists at once"
    elif "worse" in verdicts:
        opening = "It does not beat both specialists at once"
    else:
        opening = "It is not shown to beat both specialists at once"
    margins = [
        margin_sentence(gain, objective.metric)
        for name, objective, gain, verdict in found
        if name == RETRIEVAL_ONLY and verdict != "better"
    ]
    return " ".join((f"{opening}: {listed}.", *margins))


def margin_sentence(gain: Estimate, metric: str) -> str:
    """Whether an accuracy with that gain over the retrieval specialist is no worse within `MARGIN`.

    It is where the whole 90 % interval is above -`MARGIN`, a one-sided test at 5 %.
    """
    half_width = gain.half_width or 0.0
    low, high = gain.mean - half_width, gain.mean + half_width
    no_worse = f"its {metric_label(metric)} is no worse within a margin of {MARGIN:g}"
    if low > -MARGIN:
        found = _capital(no_worse)
    elif high < -MARGIN:
        found = f"Its {metric_label(metric)} is worse by more than a margin of {MARGIN:g}"
    else:
        found = f"That {no_worse} is not shown"
    interval = f"{low:+.4f} … {high:+.4f}".replace("-", "−")
    return f"{found} (90 % interval {interval}, seed by seed)."


def certainty(summary: Summary) -> tuple[str, ...]:
    """How sure the choice is, a sentence each: the front, the runner-up, the edge, convergence."""
    knee = summary.knee.trial
    edge = edge_text([found for found in summary.at_edge if found.trial == knee.number])
    return tuple(
        sentence
        for sentence in (
            _front_sentence(summary),
            _runner_up_sentence(summary),
            summary.convergence.sentence,
            edge,
        )
        if sentence
    )


def _front_sentence(summary: Summary) -> str:
    knee = summary.knee.trial
    n = len(knee.replicates)
    if knee.number not in summary.probability:
        seeds = summary.record.config.budget.replicates
        advice = (
            "launch the study again to train the replicates"
            if seeds > n
            else "budget.replicates in the study file asks for more"
        )
        return (
            "The chosen weights are judged by one training only, so how much of this is chance is "
            f"not known: {advice}."
        )
    robust = (
        "no other beats it with confidence"
        if knee.number in summary.robust
        else "another beats it with confidence"
    )
    return (
        f"With probability {probability_text(summary.probability[knee.number])} it is truly on the "
        f"front of the {counted(len(summary.contenders), 'replicated trial')}, and {robust}. Its "
        f"figures are means of {n} trainings with fresh seeds, ± the 90 % interval of the mean: "
        "what other seeds would change, not what other rows would."
    )


def _runner_up_sentence(summary: Summary) -> str:
    runner_up = summary.knee.runner_up
    if runner_up is None:
        return ""
    comparison = compare(summary, summary.knee.trial, "", runner_up)
    gains = [
        f"{metric_label(objective.metric)} {signed_figure(gain)}"
        for objective, gain in zip(summary.objectives, comparison.gains, strict=True)
        if gain is not None
    ]
    told = [v in ("better", "worse") for v in comparison.verdicts]
    if "one training each" in comparison.verdicts:
        can = "by one training of each they cannot be told apart"
    elif all(told):
        can = "they can be told apart in both objectives"
    elif any(told):
        only = summary.objectives[told.index(True)]
        can = f"they can be told apart in {metric_label(only.metric)} only"
    else:
        can = "they cannot be told apart"
    against = f" ({', '.join(gains)} against it)" if gains else ""
    return f"The runner-up is trial {runner_up.number}{against}: {can}."


def final_gaps(summary: Summary) -> tuple[Estimate | None, ...]:
    """Test less validation of the chosen trial, for each objective; None where not known."""
    if summary.final is None:
        return (None, None)
    return tuple(
        difference(summary.final.replicates, trained(summary.knee.trial), objective.metric)
        for objective in summary.objectives
    )


def final_sentence(summary: Summary) -> str:
    """What the chosen trial scores on the test rows, or what to do to know it."""
    name, knee = summary.record.name, summary.knee.trial
    if not summary.record.config.split.validates:
        return (
            "These figures are of the test rows themselves, which the search has seen: choosing by "
            "them makes them a little optimistic."
        )
    if summary.final is None:
        return (
            "It has not been scored on the test rows yet; this does it: "
            f"sweep export {name} --pick knee --output best.json"
        )
    scores = replicate_estimates(summary.final.replicates)
    listed = " with ".join(
        f"{metric_label(o.metric)} {figure(scores[o.metric])}" for o in summary.objectives
    )
    return (
        f"On the test rows, which the search never saw, trial {knee.number} trained on "
        f"training and validation rows together reaches {listed} "
        f"(n = {len(summary.final.replicates)})."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
