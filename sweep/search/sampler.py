"""Optuna's samplers by the name that the study file gives.

**What repeats.** A study that is launched once is a function of its study file and its trainer:
the same seeds give the same weights, digit by digit. A study that is stopped and launched again
never repeats random numbers: the sampler starts from a seed made of `seeds.sampler` and the number
of trials in the store, so the outcome depends on where it was stopped, and on nothing else.
Sobol's sequence and the grid do not start again; they go on.
"""

from __future__ import annotations

import importlib.util
import math
import warnings

import numpy as np
from optuna import Study, samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial

from sweep.config import SamplerConfig, SearchSpaceConfig
from sweep.errors import ConfigError
from sweep.results import references
from sweep.search.space import contains, grid_axes, to_parameters

MOST_POINTS = 10_000_000
"""Largest number of points that a grid may have."""


class _QuasiRandomSampler(samplers.QMCSampler):
    """Optuna's, which goes through all trials each time to find the same search space again."""

    _found: dict[str, BaseDistribution] | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self._found = self._found or super().infer_relative_search_space(study, trial)
        return self._found


def check_sampler(config: SamplerConfig, space: SearchSpaceConfig) -> None:
    """See that the sampler can be used here.

    Raises:
        ConfigError: it needs a package that is not installed, or its grid is too large.
    """
    if config.name == "grid":
        sizes = {name: len(axis) for name, axis in grid_axes(space, config.points).items()}
        if math.prod(sizes.values()) > MOST_POINTS:
            counts = ", ".join(f"{size} of {name}" for name, size in sizes.items())
            raise ConfigError(
                f"sampler.points: found {config.points}, which makes a grid of "
                f"{math.prod(sizes.values()):,} points ({counts}); allowed: {MOST_POINTS:,} points "
                "in all; lower it, or choose another sampler"
            )
    if config.name == "gp" and importlib.util.find_spec("torch") is None:
        raise ConfigError(
            "sampler.name: found 'gp', which needs PyTorch, and it is not installed; run "
            "pip install 'sweep[gp]', or choose tpe, nsga2, nsga3, qmc, random or grid"
        )


def build_sampler(
    config: SamplerConfig, space: SearchSpaceConfig, seed: int, asked: int, together: int
) -> samplers.BaseSampler:
    """The sampler of one launch.

    Args:
        config: its name and settings.
        space: the search space.
        seed: `seeds.sampler`.
        asked: how many trials the study already has, in any state.
        together: how many trials are asked for before the first of them is told.

    Raises:
        ConfigError: it needs a package that is not installed.
    """
    check_sampler(config, space)
    fresh = int(np.random.SeedSequence([seed, asked]).generate_state(1)[0])
    # A reference inside the search space counts for Optuna; the file's number is of drawn trials.
    startup = config.startup_trials + sum(
        contains(space, to_parameters(point, space)) for point in references(space).values()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match config.name:
            case "tpe":
                # The liar only matters, and is only paid for, when trials run beside each other.
                return samplers.TPESampler(
                    n_startup_trials=startup,
                    multivariate=True,
                    constant_liar=together > 1,
                    seed=fresh,
                )
            case "gp":
                return samplers.GPSampler(n_startup_trials=startup, seed=fresh)
            case "nsga2":
                return samplers.NSGAIISampler(population_size=config.population, seed=fresh)
            case "nsga3":
                return samplers.NSGAIIISampler(population_size=config.population, seed=fresh)
            case "qmc":
                return _QuasiRandomSampler(
                    qmc_type="sobol",
                    scramble=True,
                    seed=seed,  # of the scrambling: one sequence for all launches
                    independent_sampler=samplers.RandomSampler(seed=fresh),
                    warn_independent_sampling=False,
                )
            case "random" | "grid":  # the coordinator enqueues the points of a grid itself
                return samplers.RandomSampler(seed=fresh)
