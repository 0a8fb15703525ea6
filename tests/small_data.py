"""A few hundred made-up interactions, encoded and batched, for tests of training and export."""

from __future__ import annotations

import numpy as np

from sweep.data.batches import Rows, TrainingData, deduplicate
from sweep.data.interactions import Interactions

N_QUERIES, N_CANDIDATES = 40, 30


def make_rows(n: int, seed: int, n_candidates: int = N_CANDIDATES) -> Rows:
    """Random interactions with many repeated ids and some repeated pairs."""
    rng = np.random.default_rng(seed)
    return Rows(
        rng.integers(0, N_QUERIES, n).astype(np.int32),
        np.minimum(rng.geometric(0.1, n) - 1, n_candidates - 1).astype(np.int32),
        rng.integers(1, 6, n).astype(np.float32),
    )


def make_data(batch_size: int = 64, reshuffle: bool = False) -> TrainingData:
    """200 training and 50 held-out rows; the last batch is ragged; three candidates have a copy."""
    train, held_out = make_rows(200, seed=1), make_rows(50, seed=2)
    batches = tuple(
        deduplicate(
            Rows(
                *(
                    column[start : start + batch_size]
                    for column in (train.query_ids, train.candidate_ids, train.labels)
                )
            )
        )
        for start in range(0, len(train), batch_size)
    )
    return TrainingData(
        n_queries=N_QUERIES,
        n_candidates=N_CANDIDATES,
        catalogue=np.sort(np.r_[np.arange(N_CANDIDATES), 0, 4, 9]).astype(np.int32),
        train=train,
        held_out=held_out,
        batch_size=batch_size,
        batch_seed=0,
        fixed=None if reshuffle else batches,
    )


def make_interactions() -> Interactions:
    """Vocabularies for `make_data`; user ids with a leading zero and titles with an accent."""
    train = make_data().train
    return Interactions(
        name="small",
        query_ids=train.query_ids,
        candidate_ids=train.candidate_ids,
        labels=train.labels,
        timestamps=None,
        queries=np.array([f"{i:03d}" for i in range(N_QUERIES)]),
        candidates=np.array([f"Amélie {i:02d}, the (2001)" for i in range(N_CANDIDATES)]),
        catalogue_counts=np.ones(N_CANDIDATES, np.int32),
    )
