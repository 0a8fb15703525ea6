"""What mattered in a study: which variables moved its objectives, and whether scale is one of them.

How much each variable moves an objective is Optuna's fANOVA: the share of the variance of a random
forest, over the whole search space, that is due to the variable by itself (Hutter, Hoos and
Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014). Optuna's
default, PED-ANOVA, compares the best tenth of the trials with all of them, and a tenth of forty is
four. fANOVA measures volumes in the units that it is given, so a log range is given in logarithms:
else the upper decade would be nine tenths of the range.

Whether the scale of the loss weights matters, or only their ratio, is also asked of quadratic fits
in log ratio and log scale. The variance that a fit explains is of trials that it has not seen: each
trial is predicted from the others (PRESS: Allen, "The relationship between variable selection and
data augmentation and a method for prediction", Technometrics 16(1), 1974). Coefficients gain
nothing by being there, and unlike an F-test it asks how much the scale matters, not whether there
is any trace of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from sweep.config import SearchSpaceConfig
from sweep.front.pareto import FloatArray, minimised, objective_values
from sweep.front.selection import metric_label
from sweep.results import LossWeights, Point, StudyRecord, Trial
from sweep.search.space import WEIGHTS, Parameters, contains, distributions, to_parameters

HYPERVOLUME = "hypervolume"
"""The name that the hypervolume has among the targets."""

LEAST = 20
"""So many trials are needed: from fewer neither a forest nor a fit of six coefficients learns."""

TRIALS_PER_COEFFICIENT = 3
"""So many trials a fit needs for each of its coefficients."""

MATTERS = 0.1
"""The share of the variance from which on something matters."""

ENOUGH = 0.5
"""The share of the variance that the ratio must explain before it can be all that matters."""


@dataclass(frozen=True)
class Explained:
    """The shares of a target's variance that quadratic fits explain, each 0 … 1.

    `ratio` is of a fit in log ratio alone, `scale` in log scale alone, `both` in the two together.
    0 is for a fit that predicts a trial no better than the mean of the others does.
    """

    ratio: float
    scale: float
    both: float


@dataclass(frozen=True)
class ScaleVerdict:
    """Whether the scale of the loss weights matters, or only their ratio, with the figures.

    It matters where ratio and scale together explain a share of an objective's variance that is
    larger by `MATTERS` than what the ratio alone explains. Only the ratio matters where that is so
    for no objective, the ratio explains `ENOUGH` of each, and the forests agree: their share of the
    scale is below `MATTERS`. Else it cannot be told, and `scale_matters` is None; where it could
    not even be asked, `obstacle` says why, and the mappings are empty.

    `importances` is as in `Importances`, but of `ratio` and `scale` in place of the pair that is
    searched; `explained` has the same targets. `others` are the variables beside the weights: every
    fit has a linear term of each, and explains what these terms leave.
    """

    scale_matters: bool | None
    trials: int
    importances: Mapping[str, Mapping[str, float]]
    explained: Mapping[str, Explained]
    others: tuple[str, ...]
    obstacle: str | None = None

    @property
    def sentence(self) -> str:
        """The answer in one sentence, with its figures."""
        opening = {
            True: "The scale matters, not only the ratio",
            False: "Only the ratio matters",
            None: "Cannot be told",
        }[self.scale_matters]
        return f"{opening}: {self.obstacle or self._figures()}."

    def _figures(self) -> str:
        fits = _of_objectives(self.explained)
        alone = _listed(
            f"{_percent(fit.ratio)} of {'that' if i else 'the variance'} of {metric_label(metric)}"
            for i, (metric, fit) in enumerate(fits.items())
        )
        both = _listed(_percent(fit.both) for fit in fits.values())
        beside = f", {_listed(self.others)} accounted for" if self.others else ""
        figures = (
            f"the ratio alone explains {alone}, ratio and scale together {both} (quadratic fits of "
            f"{self.trials} trials, each predicted from the others{beside})"
        )
        if self.scale_matters is not None:
            return figures
        if any(fit.ratio < ENOUGH for fit in fits.values()):
            return f"{figures}, which is too little to judge by"
        share, metric = max((self.importances[metric]["scale"], metric) for metric in fits)
        return (
            f"{figures}, but a random forest gives the scale {_percent(share)} of the importance "
            f"for {metric_label(metric)}"
        )


@dataclass(frozen=True)
class Importances:
    """What mattered, for each objective by its metric, and for `HYPERVOLUME`.

    The hypervolume is a trial's own, as if it were the only one. `parameters` maps each of these
    targets to the variables of the search space by name, the most important first; the shares are
    0 … 1 and add up to 1. What is fixed is left out, and so is a target that has the same value in
    all trials. `trials` counts those looked at.
    """

    trials: int
    parameters: Mapping[str, Mapping[str, float]]
    scale: ScaleVerdict


def importances(record: StudyRecord) -> Importances | None:
    """What mattered in a study, from the complete trials within its search space.

    References count where they are within it; a specialist is outside where both weights are
    searched. Equal records give equal importances: the forests have a fixed seed.

    Returns:
        None with fewer than `LEAST` such trials.
    """
    space = record.config.search_space
    points = {trial.number: _parameters(trial, space) for trial in record.complete}
    trials = [trial for trial in record.complete if contains(space, points[trial.number])]
    if len(trials) < LEAST:
        return None
    rows = [points[trial.number] for trial in trials]
    targets = _targets(trials, record)
    return Importances(
        trials=len(trials),
        parameters=_fanova(rows, distributions(space), targets),
        scale=_scale_verdict(rows, space, targets),
    )


def _parameters(trial: Trial, space: SearchSpaceConfig) -> Parameters:
    """The point of a trial; empty if it has none."""
    if trial.weights is None:
        return {}
    parameters = to_parameters(Point(trial.weights, trial.settings), space)
    for name, span in space.weights.items():
        parameters[name] = _within(float(parameters[name]), span.low, span.high)
    return parameters


def _within(value: float, low: float, high: float) -> float:
    # What is worked out from two other numbers may miss a bound by a rounding.
    bounded = min(max(value, low), high)
    return bounded if math.isclose(bounded, value, rel_tol=1e-9) else value


def _targets(trials: Sequence[Trial], record: StudyRecord) -> dict[str, FloatArray]:
    """What is to be explained: float64 [n_trials] each, with a mean of 0 and a variance of 1."""
    objectives = record.config.objectives
    values = objective_values(trials, objectives)
    reference = minimised(record.reference_point, objectives)
    columns = {o.metric: column for o, column in zip(objectives, values.T, strict=True)}
    columns[HYPERVOLUME] = np.maximum(reference - values, 0).prod(axis=1)
    return {name: _standardised(column) for name, column in columns.items() if _varies(column)}


def _varies(column: FloatArray) -> bool:
    return bool(np.ptp(column) > 1e-12 * np.abs(column).max())


def _standardised(column: FloatArray) -> FloatArray:
    standardised: FloatArray = (column - column.mean()) / column.std()
    return standardised


def _fanova(
    rows: Sequence[Parameters],
    variables: Mapping[str, BaseDistribution],
    targets: Mapping[str, FloatArray],
) -> dict[str, dict[str, float]]:
    """The share of each variable in each target; see `Importances.parameters`."""
    searched = {name: variable for name, variable in variables.items() if not variable.single()}
    linear = {name: _without_log(variable) for name, variable in searched.items()}
    points = [{name: _linear(row[name], searched[name]) for name in searched} for row in rows]
    shares = {}
    for target, values in targets.items():
        # A deeper forest says the same of a hundred trials, and takes minutes for a thousand.
        evaluator = FanovaImportanceEvaluator(max_depth=6, seed=0)
        found = get_param_importances(_study(points, linear, values), evaluator=evaluator)
        shares[target] = {name: float(share) for name, share in found.items()}
    return shares


def _is_log(variable: BaseDistribution) -> TypeGuard[FloatDistribution | IntDistribution]:
    return isinstance(variable, FloatDistribution | IntDistribution) and variable.log


def _without_log(variable: BaseDistribution) -> BaseDistribution:
    if _is_log(variable):
        return FloatDistribution(math.log(variable.low), math.log(variable.high))
    return variable


def _linear(
    value: bool | int | float | str, variable: BaseDistribution
) -> bool | int | float | str:
    return math.log(float(value)) if _is_log(variable) else value


def _study(
    points: Sequence[Parameters], variables: Mapping[str, BaseDistribution], values: FloatArray
) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would report a new study
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        optuna.create_trial(params=dict(point), distributions=dict(variables), value=value)
        for point, value in zip(points, values.tolist(), strict=True)
    )
    return study


def _scale_verdict(
    rows: Sequence[Parameters], space: SearchSpaceConfig, targets: Mapping[str, FloatArray]
) -> ScaleVerdict:
    searched = distributions(space)
    others = {name: searched[name] for name in space.variables if not searched[name].single()}
    terms = [term for name in others for term in _terms([row[name] for row in rows], others[name])]
    fixed = [name for name, span in space.weights.items() if span.fixed]
    needed = TRIALS_PER_COEFFICIENT * (6 + len(terms))
    obstacle = None
    if fixed:
        obstacle = (
            f"{_listed(fixed)} {'are' if fixed[1:] else 'is'} fixed, so ratio and scale do not "
            "vary apart from each other"
        )
    elif not targets:
        obstacle = f"each objective is the same in all {len(rows)} trials"
    elif len(rows) < needed:
        obstacle = (
            f"with {_listed(others)} searched as well, quadratic fits need {needed} trials, and "
            f"there are {len(rows)}"
        )
    if obstacle:
        return ScaleVerdict(None, len(rows), {}, {}, tuple(others), obstacle)
    plane = _plane(space)
    rows = [{**row, **_in_plane(row, plane)} for row in rows]
    shares = _fanova(rows, {**plane, **others}, targets)
    ratio, scale = (_standardised(np.log([row[name] for row in rows])) for name in plane)
    explained = {name: _explained(ratio, scale, terms, each) for name, each in targets.items()}
    verdict = _scale_matters(shares, explained)
    return ScaleVerdict(verdict, len(rows), shares, explained, tuple(others))


def _plane(space: SearchSpaceConfig) -> dict[str, FloatDistribution]:
    """The ranges of ratio and scale: where the two weights are searched, all that these allow."""
    if space.ratio is not None and space.scale is not None:
        ends = [(space.ratio.low, space.ratio.high), (space.scale.low, space.scale.high)]
    else:
        (a, b), (c, d) = ((span.low, span.high) for span in space.weights.values())
        ends = [(a / d, b / c), (math.sqrt(a * c), math.sqrt(b * d))]
    return {
        name: FloatDistribution(low, high, log=True)
        for name, (low, high) in zip(("ratio", "scale"), ends, strict=True)
    }


def _in_plane(row: Parameters, plane: Mapping[str, FloatDistribution]) -> dict[str, float]:
    if "ratio" in row:
        return {}
    weights = LossWeights(*(float(row[name]) for name in WEIGHTS))
    values = {"ratio": weights.ratio, "scale": weights.scale}
    return {name: _within(values[name], each.low, each.high) for name, each in plane.items()}


def _terms(
    values: Sequence[bool | int | float | str], variable: BaseDistribution
) -> list[FloatArray]:
    """A variable in a linear fit: itself, or for each choice but the first whether it is that."""
    if isinstance(variable, CategoricalDistribution):
        terms = [[float(value == choice) for value in values] for choice in variable.choices[1:]]
    else:
        terms = [[float(_linear(value, variable)) for value in values]]
    return [np.array(term, dtype=np.float64) for term in terms]


def _explained(
    ratio: FloatArray, scale: FloatArray, others: Sequence[FloatArray], target: FloatArray
) -> Explained:
    """Fit a target by the logarithms of ratio and scale, standardised, beside the other terms."""
    error = _press(others, target)

    def share(*terms: FloatArray) -> float:
        return max(0.0, 1 - _press([*others, *terms], target) / error)

    of_ratio, of_scale = (ratio, ratio**2), (scale, scale**2)
    return Explained(
        ratio=share(*of_ratio),
        scale=share(*of_scale),
        both=share(*of_ratio, *of_scale, ratio * scale),
    )


def _press(terms: Sequence[FloatArray], target: FloatArray) -> float:
    """The sum of squared errors when each trial is predicted from a linear fit to the others."""
    columns = [_standardised(term) for term in terms if _varies(term)]
    design = np.column_stack([np.ones_like(target), *columns])
    # Without a trace of ridge there is no answer where a term follows from the others, and none for
    # the only trial with some choice.
    gram = design.T @ design + 1e-6 * np.eye(design.shape[1])
    hat = design @ np.linalg.solve(gram, design.T)
    errors = (target - hat @ target) / (1 - np.diag(hat))
    return float(errors @ errors)


def _scale_matters(
    shares: Mapping[str, Mapping[str, float]], explained: Mapping[str, Explained]
) -> bool | None:
    """The rule of `ScaleVerdict`."""
    fits = _of_objectives(explained)
    if any(fit.both - fit.ratio >= MATTERS for fit in fits.values()):
        return True
    if all(
        fit.ratio >= ENOUGH and shares[metric]["scale"] < MATTERS for metric, fit in fits.items()
    ):
        return False
    return None


def _of_objectives(explained: Mapping[str, Explained]) -> dict[str, Explained]:
    return {name: fit for name, fit in explained.items() if name != HYPERVOLUME}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
