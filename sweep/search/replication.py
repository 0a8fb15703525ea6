"""Which trials are trained again with fresh seeds, and in which order.

What a study is asked for is a choice on the front, so what matters is the front and what is next to
it: a trial just behind the front may be ahead of it with other seeds, and the other way round. The
references come along, since the choice is compared with them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sweep.front.pareto import non_dominated_rank, objective_values
from sweep.results import StudyRecord, Trial

MOST = 8
"""Largest number of trials, besides the references, that a study replicates."""

LEAST = 5
"""As many are replicated even where the front is smaller, the next best by rank."""


def contenders(record: StudyRecord) -> tuple[Trial, ...]:
    """The trials to replicate, what matters most first; the references come last.

    The front comes first, from its middle outwards: by the sum of both objectives, each scaled to
    0 … 1 between the best and the worst on the front. Then what would be the front without it, in
    the same order, up to `LEAST`. Of a front of more than `MOST` the outermost are left out.
    """
    searched = [trial for trial in record.complete if not trial.reference]
    references = [trial for trial in record.complete if trial.reference]
    if not searched:
        return tuple(references)
    values = objective_values(searched, record.config.objectives)
    ranks = non_dominated_rank(values)
    front = values[ranks == 0]
    best, worst = front.min(axis=0), front.max(axis=0)
    scaled = ((values - best) / np.where(worst > best, worst - best, 1.0)).sum(axis=1)
    order = np.lexsort((scaled, ranks))
    count = min(MOST, max(LEAST, len(front)))
    return (*(searched[i] for i in order[:count]), *references)


def replication_plan(record: StudyRecord) -> Iterator[tuple[Trial, int]]:
    """Trials and seeds still to be trained: first one replicate of every contender, then another.

    All trials share their seeds, `seeds.model` + 1, + 2, …, so that their means differ by less
    chance than the means of unlike seeds would.
    """
    trials = contenders(record)
    for number in range(1, record.config.budget.replicates + 1):
        seed = record.config.seeds.model + number
        for trial in trials:
            if all(replicate.seed != seed for replicate in trial.replicates):
                yield trial, seed
