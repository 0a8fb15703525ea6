"""Successive halving with several objectives: which trials are not worth finishing.

Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter tuning",
MLSys 2020) looks at a trial at a few epochs, the rungs, and lets it go on only if it is among the
best `1 / reduction_factor` of the trials that have come as far. With several objectives "best" is
the non-dominated rank: Schmucker, Donini, Zafar, Salinas and Archambeau, "Multi-objective
asynchronous successive halving", arXiv 2106.12639, 2021. Theirs breaks ties within a rank; here a
tie goes to the trial, so that no point of the front is ever stopped for being crowded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweep.config import Objective, PrunerConfig
from sweep.front.pareto import FloatArray, minimised, non_dominated_rank
from sweep.results import TrialResult

STARTUP = 5
"""So many trials must have passed a rung before one is stopped there."""


@dataclass(frozen=True)
class Halving:
    """What a trial is held against: at each rung, the objectives of the trials that came as far.

    `peers` maps an epoch, counted from 1, to float64 [n_trials, n_objectives], minimised.
    """

    objectives: tuple[Objective, ...]
    reduction_factor: int
    peers: Mapping[int, FloatArray]

    def stops(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Whether a trial with these metrics after this epoch should be stopped."""
        peers = self.peers.get(epoch)
        if peers is None or len(peers) < STARTUP:
            return False
        own = minimised(
            [metrics[objective.metric] for objective in self.objectives], self.objectives
        )
        ranks = non_dominated_rank(np.vstack([peers, own]))
        better = int((ranks[:-1] < ranks[-1]).sum())
        return better * self.reduction_factor >= len(ranks)


def halving(
    config: PrunerConfig, objectives: Sequence[Objective], results: Sequence[TrialResult]
) -> Halving | None:
    """What the next trial is held against, from the results so far; None without a pruner.

    Curves are compared epoch by epoch, whatever number of epochs a trial was to be trained.
    """
    if config.name == "none":
        return None
    curves = [result.history for result in results]
    longest = max(map(len, curves), default=0)
    peers = {}
    epoch = config.min_epochs
    while epoch <= longest:
        rows = [
            [curve[epoch - 1].metrics[objective.metric] for objective in objectives]
            for curve in curves
            if len(curve) >= epoch
        ]
        peers[epoch] = minimised(np.array(rows), tuple(objectives))
        epoch *= config.reduction_factor
    return Halving(tuple(objectives), config.reduction_factor, peers)
