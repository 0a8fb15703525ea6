"""Which trials are on the Pareto front, and which of them to take: pure functions on arrays.

Inside this package every array is float64, shaped [n_trials, n_objectives], and minimised;
`objective_values` and `minimised` are the only places where a direction is turned round.
"""

from sweep.front.pareto import (
    front_of,
    hypervolume,
    hypervolume_history,
    minimised,
    non_dominated,
    objective_values,
)
from sweep.front.selection import Choice, Rule, choose, parse_rule, select

__all__ = [
    "Choice",
    "Rule",
    "choose",
    "front_of",
    "hypervolume",
    "hypervolume_history",
    "minimised",
    "non_dominated",
    "objective_values",
    "parse_rule",
    "select",
]
