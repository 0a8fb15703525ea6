from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config import SplitConfig
from sweep.data.interactions import PARTS, Interactions
from sweep.data.split import Split, split_rows
from sweep.errors import DataError


def rows(
    n: int,
    queries: Sequence[int] | None = None,
    times: Sequence[int] | None = None,
    parts: Sequence[str] | None = None,
) -> Interactions:
    """`n` rows, of one query unless `queries` are given."""
    query_ids = np.zeros(n, np.int32) if queries is None else np.array(queries, np.int32)
    return Interactions(
        name="ratings.csv",
        query_ids=query_ids,
        candidate_ids=np.zeros(n, np.int32),
        labels=np.ones(n, np.float32),
        timestamps=None if times is None else np.array(times, np.int64),
        queries=np.array([f"{i:04d}" for i in range(max(2, query_ids.max() + 1))]),
        candidates=np.array(["x", "y"]),
        catalogue_counts=np.ones(2, np.int32),
        parts=None if parts is None else np.array([PARTS.index(p) for p in parts], np.int8),
    )


@given(st.integers(2, 500), st.floats(0.01, 0.99), st.integers(0, 2**31 - 1))
def test_every_row_is_on_one_side(n: int, fraction: float, seed: int) -> None:
    n_test = round(n * fraction)
    if not 0 < n_test < n:
        with pytest.raises(DataError):
            split_rows(rows(n), SplitConfig(test_fraction=fraction), seed)
        return
    split = split_rows(rows(n), SplitConfig(test_fraction=fraction), seed)
    assert len(split.test) == n_test
    assert sorted([*split.train, *split.test]) == list(range(n))


@given(st.integers(10, 500), st.floats(0.1, 0.4), st.floats(0.1, 0.4), st.integers(0, 99))
def test_validation_rows_are_taken_from_the_training_rows(
    n: int, test: float, validation: float, seed: int
) -> None:
    config = SplitConfig(test_fraction=test, validation_fraction=validation)
    split, without = (
        split_rows(rows(n), config, seed),
        split_rows(rows(n), SplitConfig(test_fraction=test), seed),
    )
    assert len(split.validation) == round(n * validation)
    assert split.test.tolist() == without.test.tolist()
    assert [*split.train, *split.validation] == without.train.tolist()


def test_too_few_rows_to_validate_on_are_told() -> None:
    with pytest.raises(DataError, match="0 to validate on"):
        split_rows(rows(20), SplitConfig(validation_fraction=0.01), seed=0)


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    config = SplitConfig(test_fraction=0.25)
    one, again, other = (split_rows(rows(1000), config, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.train, again.train)
    assert np.array_equal(one.test, again.test)
    assert not np.array_equal(one.test, other.test)


def test_random_test_rows_come_from_everywhere() -> None:
    counts = np.zeros(20)
    for seed in range(500):
        counts[split_rows(rows(20), SplitConfig(test_fraction=0.25), seed).test] += 1
    # Each row is in 500 · 0.25 = 125 of the test sides on average, with a deviation below 10.
    assert 75 < counts.min() <= counts.max() < 175


def tutorial(n: int, n_train: int, n_test: int, seed: int) -> tuple[list[int], list[int]]:
    """Eagerly, call by call, what the multi-task tutorial does with its ratings, here batched."""
    import tensorflow as tf

    tf.random.set_seed(seed)
    rows = tf.data.Dataset.range(n)
    shuffled = rows.shuffle(100_000, seed=seed, reshuffle_each_iteration=False)
    train = shuffled.take(n_train)
    test = shuffled.skip(n_train).take(n_test)
    return (
        next(train.batch(n_train).as_numpy_iterator()).tolist(),
        next(test.batch(n_test).as_numpy_iterator()).tolist(),
    )


@pytest.mark.parametrize("seed", [0, 42])
def test_the_tutorial_split_is_the_tutorials(seed: int) -> None:
    split = split_rows(rows(1000), SplitConfig(method="tutorial", test_fraction=0.2), seed)
    train, test = tutorial(1000, 800, 200, seed)
    assert split.train.tolist() == train
    assert split.test.tolist() == test


def test_the_tutorial_split_is_the_tutorials_at_full_size() -> None:
    split = split_rows(rows(100_000), SplitConfig(method="tutorial", test_fraction=0.2), 42)
    train, test = tutorial(100_000, 80_000, 20_000, 42)
    assert split.train.tolist() == train
    assert split.test.tolist() == test


def test_the_tutorial_split_leaves_tensorflows_random_stream_alone() -> None:
    import tensorflow as tf

    def stream(in_between: bool) -> list[float]:
        tf.random.set_seed(7)
        first = float(tf.random.uniform([]))
        if in_between:
            split_rows(rows(50), SplitConfig(method="tutorial"), 42)
        return [first, float(tf.random.uniform([])), float(tf.random.uniform([]))]

    assert stream(in_between=True) == stream(in_between=False)


@pytest.mark.parametrize("method", ["random", "tutorial"])
@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (10, 0.01), (10, 0.99)])
def test_an_empty_side_is_refused_with_the_counts(method: str, n: int, fraction: float) -> None:
    config = SplitConfig.model_validate({"method": method, "test_fraction": fraction})
    with pytest.raises(
        DataError, match=rf"test_fraction = {fraction:g} and validation_fraction = 0 of {n} rows"
    ):
        split_rows(rows(n), config, 0)


BY_TIME = SplitConfig(method="time", test_fraction=0.2, validation_fraction=0.2)


def sides(split: Split) -> list[list[int]]:
    return [sorted(side.tolist()) for side in (split.train, split.validation, split.test)]


def test_by_time_the_last_rows_of_each_query_are_for_test_and_those_before_for_validation() -> None:
    queries = [0, 1, 0, 0, 1, 0, 0, 1, 2]
    times = [50, 1, 10, 40, 3, 20, 30, 2, 99]
    # Query 0 has rows 2, 5, 6, 3, 0 in time. Query 1 has three rows, so 0.2 · 3 rounds to 1: its
    # last is for test and the one before for validation. Query 2 has a single row.
    assert sides(split_rows(rows(9, queries, times), BY_TIME, 0)) == [
        [1, 2, 5, 6, 8],
        [3, 7],
        [0, 4],
    ]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=80),
    st.floats(0.05, 0.6),
    st.floats(0, 0.35),
    st.integers(0, 99),
)
def test_by_time_no_row_is_later_than_one_it_is_held_out_for(
    pairs: list[tuple[int, int]], test: float, validation: float, seed: int
) -> None:
    queries, times = map(np.array, zip(*pairs, strict=True))
    config = SplitConfig(method="time", test_fraction=test, validation_fraction=validation)
    try:
        split = split_rows(rows(len(pairs), queries, times), config, seed)
    except DataError:
        # Only where all queries have too few rows for a side.
        counts = np.bincount(queries)
        n_test = np.minimum(np.rint(counts * test), counts - 1).clip(0)
        n_validation = np.minimum(np.rint(counts * validation), counts - 1 - n_test).clip(0)
        assert n_test.sum() == 0 or (validation > 0 and n_validation.sum() == 0)
        return
    for query in set(queries.tolist()):
        own = [side[queries[side] == query] for side in (split.train, split.validation, split.test)]
        n = sum(map(len, own))
        assert len(own[0]) >= 1
        assert len(own[2]) == min(round(n * test), n - 1)
        assert len(own[1]) == min(round(n * validation), n - 1 - len(own[2]))
        moments = [times[side] for side in own if len(side)]
        for earlier, later in itertools.pairwise(moments):
            assert earlier.max() <= later.min()


def test_by_time_the_test_rows_do_not_depend_on_the_validation_fraction() -> None:
    data = rows(100, [i % 7 for i in range(100)], [i % 10 for i in range(100)])
    without = BY_TIME.model_copy(update={"validation_fraction": 0.0})
    a, b = (split_rows(data, config, 3) for config in (BY_TIME, without))
    assert a.test.tolist() == b.test.tolist()
    assert len(b.validation) == 0


def test_rows_of_one_moment_are_held_out_by_the_seed_wherever_they_stand() -> None:
    counts = np.zeros(20)
    data, config = rows(20, times=[7] * 20), SplitConfig(method="time", test_fraction=0.25)
    for seed in range(500):
        counts[split_rows(data, config, seed).test] += 1
    assert 75 < counts.min() <= counts.max() < 175  # as for random test rows
    one, again = (split_rows(data, config, 5) for _ in range(2))
    assert one.test.tolist() == again.test.tolist()


def test_queries_with_too_few_rows_to_test_on_are_told_when_there_are_no_others() -> None:
    with pytest.raises(DataError, match="0 to test on"):
        split_rows(rows(4, [0, 0, 1, 1], [1, 2, 3, 4]), SplitConfig(method="time"), 0)


def test_a_column_decides_for_every_row_and_the_seed_for_their_order() -> None:
    parts = ["test", "train", "validation", "train", "train", "test", "train", "train"]
    one, other = (
        split_rows(rows(8, parts=parts), SplitConfig(method="column"), seed) for seed in (0, 1)
    )
    assert sides(one) == sides(other) == [[1, 3, 4, 6, 7], [2], [0, 5]]
    assert one.train.tolist() != other.train.tolist()


@pytest.mark.parametrize("missing", PARTS)
def test_a_column_that_names_no_row_for_a_side_is_told(missing: str) -> None:
    parts = [part for part in PARTS if part != missing]
    verb = {"train": "train on", "validation": "validate on", "test": "test on"}[missing]
    with pytest.raises(DataError, match=f"of 2 rows the column dataset.split names .*0 to {verb}"):
        split_rows(rows(2, parts=parts), SplitConfig(method="column"), 0)


@pytest.mark.parametrize(
    ("method", "told"), [("time", "dataset.timestamp"), ("column", "dataset.split")]
)
def test_what_a_method_needs_and_the_data_lacks_is_named(method: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"ratings\.csv has none; name .*{told}"):
        split_rows(rows(10), SplitConfig.model_validate({"method": method}), 0)


def test_there_are_validation_rows_by_fraction_or_by_column() -> None:
    assert not SplitConfig().validates
    assert BY_TIME.validates
    by_column = SplitConfig(method="column")
    assert by_column.validates
    assert by_column.test_fraction == 0
    # As a store gives it back.
    assert SplitConfig.model_validate_json(by_column.model_dump_json()) == by_column


@pytest.mark.parametrize(
    ("train", "test"),
    [([0, 1], []), ([], [0, 1]), ([0, 1], [1]), ([0, 1], [3]), ([-1, 0], [1])],
    ids=str,
)
def test_a_split_that_loses_or_repeats_rows_cannot_be_made(
    train: list[int], test: list[int]
) -> None:
    with pytest.raises(DataError, match="split"):
        Split(np.array(train, np.int64), np.array([], np.int64), np.array(test, np.int64))
