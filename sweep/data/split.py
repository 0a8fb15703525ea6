"""Rows of a dataset → rows to train on and rows to test on."""

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
    """Row numbers, from 0, of both sides: int64, in shuffled order, together every row once.

    Raises:
        DataError: a side is empty, or a row is left out or taken twice.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]

    def __post_init__(self) -> None:
        for side in ("train", "test"):
            if len(getattr(self, side)) == 0:
                raise DataError(f"split: no {side} rows; both sides need at least one")
        rows = np.concatenate([self.train, self.test])
        if rows.dtype != np.int64 or not np.array_equal(np.sort(rows), np.arange(len(rows))):
            raise DataError("split: train and test must hold every row number once, as int64")

    def __repr__(self) -> str:
        return f"Split({len(self.train):,} train, {len(self.test):,} test)"


def split_rows(n: int, config: SplitConfig, seed: int) -> Split:
    """Divide `n` rows by shuffling them: `round(n · test_fraction)` are for test, the rest train.

    `random` shuffles with NumPy. `tutorial` takes the rows of the TensorFlow Recommenders
    tutorials (seed 42 there): `tf.data`'s shuffle under a global and an operation seed, the first
    rows for training and the next for test, at any number of rows.

    Raises:
        DataError: a side would be empty.
    """
    n_test = round(n * config.test_fraction)
    if not 0 < n_test < n:
        raise DataError(
            f"split: test_fraction = {config.test_fraction:g} of {n:,} rows leaves {n - n_test:,} "
            f"to train on and {n_test:,} to test on; both sides need at least one, so give more "
            "rows or another fraction"
        )
    order = _tutorial_order(n, seed) if config.method == "tutorial" else _random_order(n, seed)
    return Split(train=order[: n - n_test], test=order[n - n_test :])


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
