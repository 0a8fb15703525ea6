"""Rows of a dataset → rows to train on, to validate on and to test on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.config import SplitConfig
from sweep.data.interactions import PARTS, Interactions
from sweep.errors import DataError
from sweep.quiet import import_tensorflow

TUTORIAL_BUFFER = 100_000
"""Size of the shuffle buffer in the tutorial: all of MovieLens 100K."""

TRAIN, VALIDATION, TEST = range(len(PARTS))


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
        for name in ("train", "test"):
            if len(getattr(self, name)) == 0:
                raise DataError(f"split: no {name} rows; both sides need at least one")
        sides = (self.train, self.validation, self.test)
        n = sum(len(side) for side in sides)
        # Of n numbers below n that leave none out, each stands there once. No copy, no sorting:
        # with tens of millions of rows either would be the largest thing in memory.
        found = np.zeros(n, bool)
        for side in sides:
            if side.dtype == np.int64 and len(side) and side.min() >= 0 and side.max() < n:
                found[side] = True
        if not found.all():
            raise DataError("split: the sides must hold every row number once, as int64")

    def __repr__(self) -> str:
        return (
            f"Split({len(self.train):,} train, {len(self.validation):,} validation, "
            f"{len(self.test):,} test)"
        )


def split_rows(interactions: Interactions, config: SplitConfig, seed: int) -> Split:
    """Divide rows into training, validation and test rows; see `SplitConfig` for the methods.

    `random` and `tutorial` shuffle the rows: first come the training, then the validation, then
    the test rows. Of n rows `round(n · test_fraction)` are for test and
    `round(n · validation_fraction)` for validation. At any number of rows `tutorial` is what the
    TensorFlow Recommenders tutorials do, with seed 42: `tf.data`'s shuffle under a global and an
    operation seed, the first rows for training and the next for test.

    `time` does so for each query with its n rows sorted by time; rows of one moment are in an order
    drawn from the seed. Each query keeps a training row; one with too few rows for a fraction to
    round to 1 has no test row, or no validation row. Other queries' training rows may be later than
    a test row.

    `column` takes each row where the data says, `Interactions.parts`; the seed decides the order.

    Whatever the method, the test rows do not depend on the validation fraction.

    Raises:
        DataError: the interactions lack what the method needs, or a side that was asked for would
            be empty.
    """
    n = len(interactions)
    order = _tutorial_order(n, seed) if config.method == "tutorial" else _random_order(n, seed)
    if config.method in ("time", "column"):
        parts = (
            _parts_by_time(interactions, config, order)
            if config.method == "time"
            else _parts_of_column(interactions)[order]
        )
        train, validation, test = (order[parts == part] for part in (TRAIN, VALIDATION, TEST))
    else:
        n_held_out = (round(n * config.validation_fraction), round(n * config.test_fraction))
        n_train = n - sum(n_held_out)
        # Views: the order is not copied.
        train, validation, test = np.split(order, [n_train, n_train + n_held_out[0]])
    if not len(train) or not len(test) or (config.validates and not len(validation)):
        found = (
            f"{len(train):,} to train on, {len(validation):,} to validate on and {len(test):,} to "
            "test on; each needs at least one"
        )
        if config.method == "column":
            raise DataError(
                f"split: of {n:,} rows the column dataset.split names {found}, so name more there, "
                "or use another method"
            )
        raise DataError(
            f"split: test_fraction = {config.test_fraction:g} and validation_fraction = "
            f"{config.validation_fraction:g} of {n:,} rows leave {found}, so give more rows or "
            "other fractions"
        )
    return Split(train, validation, test)


def _parts_by_time(
    interactions: Interactions, config: SplitConfig, order: NDArray[np.int64]
) -> NDArray[np.int8]:
    """What each row of `order` is for: int8 [n]."""
    if interactions.timestamps is None:
        raise DataError(
            f'split: method = "time" needs timestamps, and {interactions.name} has none; name '
            "their column as dataset.timestamp, or use another method"
        )
    queries = interactions.query_ids[order]
    by_time = np.lexsort((interactions.timestamps[order], queries))  # stable
    counts = np.bincount(queries, minlength=interactions.n_queries)
    n_test = np.minimum(np.rint(counts * config.test_fraction), counts - 1)
    n_validation = np.minimum(np.rint(counts * config.validation_fraction), counts - 1 - n_test)
    sorted_queries = queries[by_time]
    n_later = counts.cumsum()[sorted_queries] - 1 - np.arange(len(order))  # of the same query
    held_out = n_later < (n_test + n_validation)[sorted_queries]
    parts = np.empty(len(order), np.int8)
    parts[by_time] = np.where(
        n_later < n_test[sorted_queries], TEST, np.where(held_out, VALIDATION, TRAIN)
    )
    return parts


def _parts_of_column(interactions: Interactions) -> NDArray[np.int8]:
    if interactions.parts is None:
        raise DataError(
            f'split: method = "column" needs a column, and {interactions.name} has none; name it '
            "as dataset.split, or use another method"
        )
    return interactions.parts


def _random_order(n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(n).astype(np.int64, copy=False)


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
