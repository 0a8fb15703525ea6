"""A study with many trials, written as a coordinator would have, but at once."""

from __future__ import annotations

import sys
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import numpy as np
from null_training import null_result, small_study

from builders import MOVIELENS_100K
from sweep.results import LossWeights
from sweep.search.records import header, result_attributes
from sweep.search.space import distributions


def write_big_study(storage: BaseStorage, n: int) -> None:
    """A complete study of so many trials."""
    config = small_study(n, sampler="random")
    study = storage.create_new_study(
        [StudyDirection[o.direction.upper()] for o in config.objectives], config.name
    )
    for key, value in header(config, MOVIELENS_100K).items():
        storage.set_study_user_attr(study, key, value)
    known, rng = distributions(config.search_space), np.random.default_rng(0)
    for _ in range(n):
        drawn = 10 ** rng.uniform(-1, 1, 2)
        parameters = dict(zip(known, drawn.tolist(), strict=True))
        result = null_result(LossWeights(**parameters))
        storage.create_new_trial(
            study,
            create_trial(
                params=parameters,
                distributions=known,
                values=[result.metrics[o.metric] for o in config.objectives],
                state=TrialState.COMPLETE,
                user_attrs={"seed": 0, "versions": {}, **result_attributes(result, 0.1)},
            ),
        )
