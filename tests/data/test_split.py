from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config import SplitConfig
from sweep.data.split import Split, split_rows
from sweep.errors import DataError


@given(st.integers(2, 500), st.floats(0.01, 0.99), st.integers(0, 2**31 - 1))
def test_every_row_is_on_one_side(n: int, fraction: float, seed: int) -> None:
    n_test = round(n * fraction)
    if not 0 < n_test < n:
        with pytest.raises(DataError):
            split_rows(n, SplitConfig(test_fraction=fraction), seed)
        return
    split = split_rows(n, SplitConfig(test_fraction=fraction), seed)
    assert len(split.test) == n_test
    assert sorted([*split.train, *split.test]) == list(range(n))


@given(st.integers(10, 500), st.floats(0.1, 0.4), st.floats(0.1, 0.4), st.integers(0, 99))
def test_validation_rows_are_taken_from_the_training_rows(
    n: int, test: float, validation: float, seed: int
) -> None:
    config = SplitConfig(test_fraction=test, validation_fraction=validation)
    split, without = (
        split_rows(n, config, seed),
        split_rows(n, SplitConfig(test_fraction=test), seed),
    )
    assert len(split.validation) == round(n * validation)
    assert split.test.tolist() == without.test.tolist()
    assert [*split.train, *split.validation] == without.train.tolist()


def test_too_few_rows_to_validate_on_are_told() -> None:
    with pytest.raises(DataError, match="0 to validate on"):
        split_rows(20, SplitConfig(validation_fraction=0.01), seed=0)


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    config = SplitConfig(test_fraction=0.25)
    one, again, other = (split_rows(1000, config, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.train, again.train)
    assert np.array_equal(one.test, again.test)
    assert not np.array_equal(one.test, other.test)


def test_random_test_rows_come_from_everywhere() -> None:
    counts = np.zeros(20)
    for seed in range(500):
        counts[split_rows(20, SplitConfig(test_fraction=0.25), seed).test] += 1
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
    split = split_rows(1000, SplitConfig(method="tutorial", test_fraction=0.2), seed)
    train, test = tutorial(1000, 800, 200, seed)
    assert split.train.tolist() == train
    assert split.test.tolist() == test


def test_the_tutorial_split_is_the_tutorials_at_full_size() -> None:
    split = split_rows(100_000, SplitConfig(method="tutorial", test_fraction=0.2), 42)
    train, test = tutorial(100_000, 80_000, 20_000, 42)
    assert split.train.tolist() == train
    assert split.test.tolist() == test


def test_the_tutorial_split_leaves_tensorflows_random_stream_alone() -> None:
    import tensorflow as tf

    def stream(in_between: bool) -> list[float]:
        tf.random.set_seed(7)
        first = float(tf.random.uniform([]))
        if in_between:
            split_rows(50, SplitConfig(method="tutorial"), 42)
        return [first, float(tf.random.uniform([])), float(tf.random.uniform([]))]

    assert stream(in_between=True) == stream(in_between=False)


@pytest.mark.parametrize("method", ["random", "tutorial"])
@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (10, 0.01), (10, 0.99)])
def test_an_empty_side_is_refused_with_the_counts(method: str, n: int, fraction: float) -> None:
    config = SplitConfig.model_validate({"method": method, "test_fraction": fraction})
    with pytest.raises(
        DataError, match=rf"test_fraction = {fraction:g} and validation_fraction = 0 of {n} rows"
    ):
        split_rows(n, config, 0)


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
