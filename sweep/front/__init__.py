"""Which trials are on the Pareto front, how sure that is, and which to take: pure functions.

Inside this package every array is float64, shaped [n_trials, n_objectives], and minimised;
`objective_values`, `judged_values` and `minimised` are where a direction is turned round.
"""

from sweep.front.pareto import (
    front_of,
    hypervolume,
    hypervolume_history,
    judged_values,
    minimised,
    non_dominated,
    non_dominated_rank,
    normalised_hypervolume,
    objective_values,
)
from sweep.front.rules import Rule, parse_rule
from sweep.front.selection import Choice, choose, select
from sweep.front.uncertainty import (
    Estimate,
    difference,
    estimate,
    probability_on_front,
    robust_front,
)

__all__ = [
    "Choice",
    "Estimate",
    "Rule",
    "choose",
    "difference",
    "estimate",
    "front_of",
    "hypervolume",
    "hypervolume_history",
    "judged_values",
    "minimised",
    "non_dominated",
    "non_dominated_rank",
    "normalised_hypervolume",
    "objective_values",
    "parse_rule",
    "probability_on_front",
    "robust_front",
    "select",
]
