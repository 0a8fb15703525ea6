from __future__ import annotations

from pathlib import Path

import pytest

import sweep.recommender  # noqa: F401  # chooses Keras 2 before any test imports TensorFlow
from sweep.cache import cache_directory
from sweep.config import StudyConfig, load_study
from sweep.data.batches import TrainingData
from sweep.pipeline import prepare

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture(scope="session")
def movielens_data() -> tuple[StudyConfig, TrainingData]:
    """The tutorial's study and its data, prepared once in the cache that `sweep launch` uses."""
    config = load_study(STUDIES / "tutorial.toml")
    _, data = prepare(config, cache_directory(), print)
    return config, data
