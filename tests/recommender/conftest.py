from __future__ import annotations

from collections.abc import Callable

import pytest

from small_data import make_data
from sweep.config import StudyConfig, check_study
from sweep.data.batches import TrainingData


@pytest.fixture
def data() -> TrainingData:
    return make_data()


@pytest.fixture
def make_config() -> Callable[..., StudyConfig]:
    def build(**training: object) -> StudyConfig:
        return check_study(
            {
                "name": "small",
                "dataset": {"name": "synthetic"},
                "model": {"embedding_dimension": 8, "rating_layers": [16]},
                "training": {"epochs": 2, "batch_size": 64, "retrieval_reduction": "sum"}
                | training,
                "search_space": {
                    "rating_weight": {"low": 0.1, "high": 10.0},
                    "retrieval_weight": {"low": 0.1, "high": 10.0},
                },
                "budget": {"trials": 5},
            },
            source="test",
        )

    return build
