"""Rows of a dataset → rows to train on, to validate on and to test on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.config import SplitConfig
from sweep.errors import DataError
from sweep.quiet import import_tensorflow

TUTORIAL_BUFFER = 100_000
"""Size of the shuffle buffer in the tutorial: all of MovieLens 100K."""


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers, from 0, of all sides: int64, in shuffled order, together every row once.

    `validation` is empty where the study has no validation rows.

    Raises:
        DataError: there is nothing to train or to test on, or a row is left out or taken twice.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    def __post_init__(self) -> None:
        for side in ("train", "test"):
            if len(getattr(self, side)) == 0:
                raise DataError(f"split: no {side} rows; both sides need at least one")
        rows = np.concatenate([self.train, self.validation, self.test])
        if rows.dtype != np.int64 or not np.array_equal(np.sort(rows), np.arange(len(rows))):
            raise DataError("split: the sides must hold every row number once, as int64")

    def __repr__(self) -> str:
        return (
            f"Split({len(self.train):,} train, {len(self.validation):,} validation, "
            f"{len(self.test):,} test)"
        )


def split_rows(n: int, config: SplitConfig, seed: int) -> Split:
    """Divide `n` rows by shuffling them: first training, then validation, then test rows.

    `round(n · test_fraction)` rows are for test and `round(n · validation_fraction)` for
    validation. The test rows do not depend on the validation fraction.

    `random` shuffles with NumPy. `tutorial` takes the rows of the TensorFlow Recommenders
    tutorials (seed 42 there): `tf.data`'s shuffle under a global and an operation seed, the first
    rows for training and the next for test, at any number of rows.

    Raises:
        DataError: a side that was asked for would be empty.
    """
    n_test = round(n * config.test_fraction)
    n_validation = round(n * config.validation_fraction)
    n_train = n - n_test - n_validation
    if min(n_train, n_test) < 1 or (config.validation_fraction > 0 and n_validation < 1):
        raise DataError(
            f"split: test_fraction = {config.test_fraction:g} and validation_fraction = "
            f"{config.validation_fraction:g} of {n:,} rows leave {max(n_train, 0):,} to train on, "
            f"{n_validation:,} to validate on and {n_test:,} to test on; each needs at least one, "
            "so give more rows or other fractions"
        )
    order = _tutorial_order(n, seed) if config.method == "tutorial" else _random_order(n, seed)
    return Split(*np.split(order, [n_train, n_train + n_validation]))


def _random_order(n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(n).astype(np.int64)


def _tutorial_order(n: int, seed: int) -> NDArray[np.int64]:
    tf = import_tensorflow()

    def shuffled() -> object:
        # While a function is traced, the "global" seed is that of its own graph: the shuffle sees
        # what it sees in the tutorial, and the caller's seed and random streams stay as they are.
        tf.random.set_seed(seed)
        rows = tf.data.Dataset.range(n).shuffle(
            max(n, TUTORIAL_BUFFER), seed=seed, reshuffle_each_iteration=False
        )
        return rows.batch(n).get_single_element()

    order: NDArray[np.int64] = tf.function(shuffled)().numpy()
    return order
