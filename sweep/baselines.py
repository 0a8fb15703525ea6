"""Models without loss weights, fitted and scored on a study's own rows in seconds.

A trial that loses to one of them has not learned what a table of means already knows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import lsmr

from sweep.data.batches import Floats, Ints, Rows, TrainingData
from sweep.data.ranking import Ranking, rating_errors
from sweep.results import Baseline

BIAS_PENALTY = 4.0
"""Ridge penalty of each bias, in rows: the best of ten, from 1 to 25, on the validation rows of the
default study."""

EASE_PENALTY = 300.0
"""λ of EASE."""

EASE_LIMIT = 4_000
"""Most candidates that EASE is fitted to: some seconds, which grow with the cube."""

TIE_BREAK = np.float32(1e-6)
"""What popularity adds to a score of EASE, which is 0 for all candidates of a new query."""


def baselines(data: TrainingData) -> tuple[Baseline, ...]:
    """The four baselines, fitted on `data.train` and scored on `data.held_out`.

    Two are scored by RMSE: the global mean, and user and item biases. Two by the accuracies:
    popularity, and EASE. Each `per_user_…` metric is there as well.
    """
    train, ranking = data.train, Ranking(data)
    popularity = _popularity(train, data.n_candidates)
    mean = np.full(len(data.held_out), train.labels.mean(dtype=np.float64), np.float32)
    return (
        Baseline(
            "global mean",
            rating_errors(data.held_out, mean),
            "The mean training label, for every row.",
        ),
        Baseline(
            "user and item bias",
            rating_errors(data.held_out, _predict_by_bias(data)),
            "Mean + user bias + item bias, clipped to the training labels; ridge least squares, "
            f"penalty {BIAS_PENALTY:g} for each bias, by LSMR to convergence.",
        ),
        Baseline(
            "popularity",
            ranking.accuracies(lambda queries: np.tile(popularity, (len(queries), 1))),
            "The candidates with the most training rows, the same list for every query.",
        ),
        _ease(data, ranking, popularity),
    )


def fit_biases(
    rows: Rows, n_queries: int, n_candidates: int, penalty: float
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The mean label, and the biases of queries [n_queries] and of candidates [n_candidates].

    The biases b, c minimise `Σ (label − mean − b − c)² + penalty · (Σ b² + Σ c²)`; an id without
    rows has the bias 0.
    """
    mean = float(rows.labels.mean(dtype=np.float64))
    columns = np.concatenate([rows.query_ids, n_queries + rows.candidate_ids.astype(np.int64)])
    design = sparse.csr_array(
        (np.ones(2 * len(rows)), (np.tile(np.arange(len(rows)), 2), columns)),
        shape=(len(rows), n_queries + n_candidates),
    )
    residuals = rows.labels.astype(np.float64) - mean
    fitted = lsmr(design, residuals, damp=penalty**0.5, atol=1e-10, btol=1e-10)[0]
    return mean, fitted[:n_queries], fitted[n_queries:]


def fit_ease(rows: Rows, n_queries: int, n_candidates: int, penalty: float) -> NDArray[np.float64]:
    """EASE's item-item weights B, float64 [n_candidates, n_candidates], with a diagonal of 0.

    B minimises `‖X − XB‖² + penalty · ‖B‖²` for X the 0/1 matrix of the pairs that occur: with
    `P = (XᵀX + penalty · I)⁻¹`, `B = I − P · diag(1 / diag(P))` (Steck, "Embarrassingly shallow
    autoencoders for sparse data", WWW 2019). A query's scores are its row of X times B.
    """
    pairs = _pairs(rows, n_queries, n_candidates)
    gram = (pairs.T @ pairs).toarray()
    gram[np.diag_indices(n_candidates)] += penalty
    inverse = np.linalg.inv(gram)
    weights: NDArray[np.float64] = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def _pairs(rows: Rows, n_queries: int, n_candidates: int) -> sparse.csr_array:
    """The matrix [n_queries, n_candidates] that is 1 where a pair occurs, however often."""
    pairs = sparse.csr_array(
        (np.ones(len(rows)), (rows.query_ids, rows.candidate_ids)),
        shape=(n_queries, n_candidates),
    )
    pairs.sum_duplicates()
    pairs.data[:] = 1
    return pairs


def _popularity(rows: Rows, n_candidates: int) -> Floats:
    """float32 [n_candidates] in [0, 1), higher for more rows; among equals, for the greater id.

    With ties, which are hits, a list of k would hold more than k.
    """
    counts = np.bincount(rows.candidate_ids, minlength=n_candidates)
    ranks = np.empty(n_candidates, np.float32)
    ranks[np.argsort(counts, kind="stable")] = np.arange(n_candidates)
    return ranks / np.float32(n_candidates)


def _predict_by_bias(data: TrainingData) -> Floats:
    mean, of_queries, of_candidates = fit_biases(
        data.train, data.n_queries, data.n_candidates, BIAS_PENALTY
    )
    rows, labels = data.held_out, data.train.labels
    predictions = mean + of_queries[rows.query_ids] + of_candidates[rows.candidate_ids]
    return predictions.clip(labels.min(), labels.max()).astype(np.float32)


def _ease(data: TrainingData, ranking: Ranking, popularity: Floats) -> Baseline:
    name = "EASE"
    if data.n_candidates > EASE_LIMIT:
        return Baseline(
            name,
            {},
            f"Left out: it takes the inverse of a matrix of {data.n_candidates:,} × "
            f"{data.n_candidates:,} candidates; the limit is {EASE_LIMIT:,}.",
        )
    weights = fit_ease(data.train, data.n_queries, data.n_candidates, EASE_PENALTY)
    pairs = _pairs(data.train, data.n_queries, data.n_candidates)

    def score(queries: Ints) -> Floats:
        scores: Floats = (pairs[queries] @ weights).astype(np.float32)
        return scores + TIE_BREAK * popularity

    return Baseline(
        name,
        ranking.accuracies(score),
        f"Item-item weights in closed form (Steck, WWW 2019), λ = {EASE_PENALTY:g}, on which pairs "
        "occur in the training rows, whatever their labels.",
    )
