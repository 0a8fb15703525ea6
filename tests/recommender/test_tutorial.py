"""The reference case: the tutorial's three models on MovieLens 100K, as published."""

from __future__ import annotations

import numpy as np
import pytest

from sweep.recommender.training import Trainer
from sweep.results import references

# RMSE and top-100 accuracy of the tutorial, with how far the mean of five seeds may be. The rating
# head of the retrieval-only model is never trained, so its RMSE is that of a random network.
PUBLISHED = {
    "rating only": (1.113, 0.06, 0.060, 0.012),
    "retrieval only": (3.773, 0.25, 0.235, 0.012),
    "equal weights": (1.131, 0.06, 0.235, 0.012),
}


@pytest.mark.slow
@pytest.mark.movielens
def test_the_tutorials_three_models_come_out_as_published(movielens_data):
    config, data = movielens_data
    trainer, points = Trainer(config, data), references(config.search_space)
    for name, (rmse, rmse_margin, top_100, top_100_margin) in PUBLISHED.items():
        metrics = [trainer.train(points[name].weights, seed).metrics for seed in range(5)]
        assert np.mean([m["rmse"] for m in metrics]) == pytest.approx(rmse, abs=rmse_margin)
        assert np.mean([m["top_100_accuracy"] for m in metrics]) == pytest.approx(
            top_100, abs=top_100_margin
        )
