from __future__ import annotations

import datetime
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.data.interactions import (
    Interactions,
    from_columns,
    load_interactions,
    write_interactions,
)
from sweep.errors import DataError

USERS = ["bo", "al", "bo", "cy"]
ITEMS = ["x", "y", "y", "x"]
LABELS = [1.0, 2.5, 3.0, 4.0]
TIMES = [10, 20, 30, 40]


def small(name: str = "small") -> Interactions:
    return from_columns(USERS, ITEMS, LABELS, TIMES, name, catalogue=["y", "x", "z", "x"])


def test_ids_are_places_in_sorted_vocabularies() -> None:
    data = small()
    assert data.queries.tolist() == ["al", "bo", "cy"]
    assert data.query_ids.tolist() == [1, 0, 1, 2]
    assert data.candidates.tolist() == ["x", "y", "z"]
    assert data.candidate_ids.tolist() == [0, 1, 1, 0]
    assert data.catalogue_counts.tolist() == [2, 1, 1]
    assert data.labels.tolist() == LABELS
    assert data.timestamps is not None
    assert data.timestamps.tolist() == TIMES
    assert (len(data), data.n_queries, data.n_candidates, data.n_catalogue) == (4, 3, 3, 4)


def test_without_a_catalogue_each_candidate_is_there_once() -> None:
    data = from_columns(USERS, ITEMS, LABELS, None, "small")
    assert data.catalogue_counts.tolist() == [1, 1]
    assert data.timestamps is None


def test_repr_has_the_counts_and_no_arrays() -> None:
    assert repr(small()) == (
        "Interactions(small: 4 interactions, 3 queries, 3 candidates, 4 catalogue rows, "
        "0 repeated pairs)"
    )


def test_a_repeated_pair_is_kept_and_counted_once_per_later_row() -> None:
    data = from_columns(
        ["a", "a", "b", "a", "b"], ["x", "x", "x", "x", "y"], [1, 2, 3, 4, 5], None, "n"
    )
    assert len(data) == 5
    assert data.repeated_pairs == 2


@pytest.mark.parametrize(
    "column",
    [
        [10, 2, 10, 30],
        [10.0, 2.0, 10.0, 30.0],
        ["10", "2", "10", "30"],
        np.array([10, 2, 10, 30], np.uint8),
        np.array([10, 2.0, 10.0, 30], dtype=object),
        pd.Series([10, 2, 10, 30], dtype="category"),
        pd.Series(["10", "2", "10", "30"], dtype="category"),
        pd.Series([10, 2, 10, 30], dtype="Int64"),
    ],
    ids=lambda column: f"{type(column).__name__} of {type(column[1]).__name__}",
)
def test_a_whole_number_is_one_id_however_it_is_stored(column: list[object]) -> None:
    data = from_columns(column, ITEMS, LABELS, None, "n")
    assert data.queries.tolist() == ["10", "2", "30"]
    assert data.query_ids.tolist() == [0, 1, 0, 2]


def test_text_ids_keep_leading_zeros_and_spaces() -> None:
    data = from_columns(["007", "7", " 7", "7.0"], ITEMS, LABELS, None, "n")
    assert set(data.queries.tolist()) == {"007", "7", " 7", "7.0"}


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=2))
def test_the_vocabularies_give_every_id_back(pairs: list[tuple[str, str]]) -> None:
    users = ["first", "second", *("u" + user.replace("\0", "") for user, _ in pairs)]
    items = ["first", "second", *("i" + item.replace("\0", "") for _, item in pairs)]
    data = from_columns(users, items, np.ones(len(users)), None, "n")
    assert data.queries[data.query_ids].tolist() == users
    assert data.candidates[data.candidate_ids].tolist() == items


@pytest.mark.parametrize(
    ("users", "fragments"),
    [
        (["a", 1, "b", 2], ["'a' (row 1) is str", "1 (row 2) is int"]),
        ([1, "1", 2, 3], ["1 (row 1) is int", "'1' (row 2) is str"]),
        (["a", None, "b", "c"], ["row 2 has no id (1 such row)"]),
        ([1.0, 2.0, float("nan"), 3.0], ["row 3 has no id"]),
        (["a", "b", "", "c"], ["row 3 is ''"]),
        (["a", "b", "c", "d\0"], ["row 4", "d\\x00"]),
        ([1.0, 2.5, 3.0, 4.0], ["row 2 is 2.5", "whole"]),
        ([1.0, 2.0, float("inf"), 4.0], ["row 3 is inf"]),
        ([2.0**53, 1.0, 2.0, 3.0], ["row 1", "2^53"]),
        ([True, False, True, True], ["True (row 1) is bool"]),
        ([datetime.date(2020, 1, 1)] * 4, ["date"]),
        ([["a"], ["b"], ["c"], ["d"]], ["['a'] (row 1) is list"]),
        (["a", "a", "a", "a"], ["a single query, 'a'"]),
    ],
    ids=str,
)
def test_unusable_ids_are_refused_with_row_and_value(
    users: list[object], fragments: list[str]
) -> None:
    with pytest.raises(DataError) as error:
        from_columns(users, ITEMS, LABELS, None, "ratings.csv")
    for fragment in ["ratings.csv", *fragments]:
        assert fragment in str(error.value)


def test_a_single_candidate_is_refused() -> None:
    with pytest.raises(DataError, match="a single candidate, 'x'"):
        from_columns(USERS, ["x"] * 4, LABELS, None, "n")


def test_a_candidate_that_the_catalogue_lacks_is_refused() -> None:
    with pytest.raises(DataError, match=r"candidate 'y' .* not in the catalogue \(1 such\)"):
        from_columns(USERS, ITEMS, LABELS, None, "n", catalogue=["x", "a"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1", "2.5", "-3e0", " 4"], [1.0, 2.5, -3.0, 4.0]),
        ([True, False, True, True], [1.0, 0.0, 1.0, 1.0]),
        ([Decimal("0.5"), Decimal(1), Decimal(2), Decimal(3)], [0.5, 1.0, 2.0, 3.0]),
        (np.array([1, 2, 3, 4], np.int8), [1.0, 2.0, 3.0, 4.0]),
        ([1, "2", 3.5, True], [1.0, 2.0, 3.5, 1.0]),
    ],
    ids=str,
)
def test_labels_that_read_as_numbers_are_numbers(labels: list[object], expected: object) -> None:
    data = from_columns(USERS, ITEMS, labels, None, "n")
    assert data.labels.tolist() == expected
    assert data.labels.dtype == np.float32


@pytest.mark.parametrize(
    ("labels", "fragments"),
    [
        ([1.0, float("nan"), 2.0, float("nan")], ["row 2 has no label", "2 such rows"]),
        ([1.0, 2.0, 3.0, float("-inf")], ["row 4 is -inf", "1 such row)"]),
        (["1", "good", "2", "3"], ["row 2 is 'good'"]),
        (["1", "2", "nan", "3"], ["row 3 is 'nan'"]),
        ([1.0, 2.0, 1e39, 3.0], ["row 3 is 1e+39", "32 bits"]),
        ([1.0, [2.0], 3.0, 4.0], ["row 2 is [2.0]"]),
        ([1, 2, 3, 4j], ["row 1 is (1+0j)"]),
        (pd.to_datetime(["2020-01-01"] * 4), ["row 1 is Timestamp"]),
    ],
    ids=str,
)
def test_unusable_labels_are_refused_with_row_and_value(
    labels: list[object], fragments: list[str]
) -> None:
    with pytest.raises(DataError) as error:
        from_columns(USERS, ITEMS, labels, None, "ratings.csv")
    for fragment in ["ratings.csv: labels", *fragments]:
        assert fragment in str(error.value)


def test_datetimes_become_whole_seconds_since_1970_in_utc() -> None:
    times = pd.to_datetime(
        ["1970-01-01T00:01:00.9+00:00", "1970-01-01T01:00:00+01:00", "1970-01-02", "1969-12-31"],
        format="ISO8601",
        utc=True,
    )
    expected = [60, 0, 86_400, -86_400]
    for column in (times, times.tz_localize(None), times.to_pydatetime()):
        data = from_columns(USERS, ITEMS, LABELS, column, "n")
        assert data.timestamps is not None
        assert data.timestamps.tolist() == expected


def test_large_integer_timestamps_stay_exact() -> None:
    times = [2**62 + 1, 2, 3, 4]
    for column in (times, [str(time) for time in times]):
        data = from_columns(USERS, ITEMS, LABELS, column, "n")
        assert data.timestamps is not None
        assert data.timestamps.tolist() == times


@pytest.mark.parametrize(
    ("times", "fragment"),
    [
        ([1.0, 2.5, 3.0, 4.0], "row 2 is 2.5"),
        ([1.0, 2.0, float("inf"), 4.0], "row 3 is inf"),
        (["1", "2", "noon", "4"], "row 3 is 'noon'"),
        (["2020-01-01"] * 4, "row 1 is '2020-01-01'"),
        (
            pd.Series(["2020-01-01", None, "2020-01-01", None], dtype="datetime64[ns]"),
            "row 2 has no timestamp (2 such rows)",
        ),
        ([True, False, True, True], "row 1 is True"),
        ([1, 2, 3, None], "row 4 has no timestamp"),
    ],
    ids=str,
)
def test_unusable_timestamps_are_refused_with_row_and_value(
    times: list[object], fragment: str
) -> None:
    with pytest.raises(DataError) as error:
        from_columns(USERS, ITEMS, LABELS, times, "ratings.csv")
    assert "ratings.csv: timestamps" in str(error.value)
    assert fragment in str(error.value)


@pytest.mark.parametrize("dtype", ["object", "category", "string"])
def test_parts_are_places_in_their_list(dtype: str) -> None:
    parts = pd.Series(["train", "test", "validation", "train"], dtype=dtype)
    data = from_columns(USERS, ITEMS, LABELS, None, "n", parts=parts)
    assert data.parts is not None
    assert data.parts.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("parts", "fragment"),
    [
        (["train", "dev", "test", "dev"], "row 2 is 'dev' (2 such rows)"),
        (["train", "test", "Validation", "test"], "row 3 is 'Validation' (1 such row)"),
        (["train", "train", "train", ""], "row 4 is ''"),
        (["train", "test", None, "train"], "row 3 has no value"),
        ([0, 1, 2, 0], "row 1 is 0"),
        ([["train"], "test", "test", "test"], "row 1 is ['train']"),
    ],
    ids=str,
)
def test_unusable_parts_are_refused_with_row_and_value(parts: list[object], fragment: str) -> None:
    with pytest.raises(DataError) as error:
        from_columns(USERS, ITEMS, LABELS, None, "ratings.csv", parts=parts)
    assert "ratings.csv: split: " in str(error.value)
    assert fragment in str(error.value)


def test_no_rows_and_uneven_columns_are_refused() -> None:
    with pytest.raises(DataError, match="no interactions"):
        from_columns([], [], [], None, "n")
    with pytest.raises(DataError, match="'label': 3"):
        from_columns(USERS, ITEMS, LABELS[:3], None, "n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_ids": np.array([1, 0, 1, 2])}, r"query_ids is int64 \(4,\); it must be int32"),
        ({"labels": np.zeros(3, np.float32)}, r"labels is float32 \(3,\)"),
        ({"labels": np.array([1, 2, np.nan, 4], np.float32)}, "row 3 is nan"),
        ({"query_ids": np.array([1, 0, 1, 3], np.int32)}, "ids run from 0 to 3"),
        ({"candidate_ids": np.array([0, 1, -1, 0], np.int32)}, "ids run from -1 to 1"),
        ({"queries": np.array(["b", "a", "c"])}, "sorted, distinct"),
        ({"queries": np.array(["a", "a", "c"])}, "sorted, distinct"),
        ({"catalogue_counts": np.array([2, 0, 1], np.int32)}, "no row in the catalogue"),
        ({"parts": np.array([0, 1, 2, 3], np.int8)}, "parts run from 0 to 3; allowed: 0 to 2"),
        ({"parts": np.zeros(4)}, r"parts is float64 \(4,\)"),
    ],
    ids=str,
)
def test_inconsistent_values_cannot_be_made(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(small(), **change)  # type: ignore[arg-type]


def test_arrays_cannot_be_written_to_while_the_callers_own_stay_as_they_were() -> None:
    labels = np.array(LABELS, np.float32)
    data = replace(small(), labels=labels)
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 5
    labels[0] = 1


def test_fingerprint_is_of_the_content_and_not_of_the_name() -> None:
    assert small("one").fingerprint == small("two").fingerprint
    assert len(small().fingerprint) == 64


def test_fingerprint_changes_with_every_part_of_the_content() -> None:
    data = small()
    changes: list[dict[str, object]] = [
        {"query_ids": data.query_ids[::-1].copy()},
        {"candidate_ids": 1 - data.candidate_ids},
        {"labels": data.labels + 1},
        {"timestamps": data.candidate_ids.astype(np.int64)},
        {"timestamps": None},
        {"queries": np.array(["al", "bo", "cz"])},
        {"queries": np.array(["alb", "o", "y"])},
        {"candidates": np.array(["x", "y", "zz"])},
        {"catalogue_counts": np.array([1, 2, 1], np.int32)},
        {"parts": np.array([0, 1, 2, 0], np.int8)},
        {"parts": np.array([0, 2, 1, 0], np.int8)},
    ]
    changed = {replace(data, **change).fingerprint for change in changes}  # type: ignore[arg-type]
    assert {key for change in changes for key in change} == {f.name for f in fields(data)} - {
        "name"
    }
    assert len(changed | {data.fingerprint}) == len(changes) + 1


def test_fingerprints_of_stored_studies_stay_valid() -> None:
    # Computed before data could say which rows are for what.
    assert small().fingerprint == "2f26971954c9e82275a6a0cc40cddbe9e702b884fd196b4b08d3daa192eac008"


def test_fingerprint_does_not_see_where_one_id_ends_as_where_another_does() -> None:
    one = replace(small(), queries=np.array(["a", "bc", "d"]))
    other = replace(small(), queries=np.array(["ab", "c", "d"]))
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("parts", [["train", "test", "validation", "train"], None])
@pytest.mark.parametrize("times", [TIMES, None])
def test_what_is_saved_is_what_is_read(
    tmp_path: Path, times: list[int] | None, parts: list[str] | None
) -> None:
    data = from_columns(["ü", "日本", "ü", "a"], ITEMS, LABELS, times, "näme", parts=parts)
    path = tmp_path / "new folder" / "data.npz"
    write_interactions(data, path)
    again = load_interactions(path)
    assert repr(again) == repr(data)
    assert again.fingerprint == data.fingerprint
    assert again.queries.tolist() == ["a", "ü", "日本"]
    assert (again.timestamps is None) == (times is None)
    assert (again.parts is None) == (parts is None)
    assert [entry.name for entry in path.parent.iterdir()] == ["data.npz"]


def test_a_damaged_file_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    write_interactions(small(), path)
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="damaged"):
            load_interactions(path)
    label = np.float32(2.5).tobytes()
    assert whole.count(label) == 1
    path.write_bytes(whole.replace(label, np.float32(2.25).tobytes()))
    with pytest.raises(DataError, match="damaged"):
        load_interactions(path)


def test_a_sound_archive_of_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    write_interactions(small(), path)
    with np.load(path) as saved:
        content = dict(saved)
    np.savez(path, **content | {"labels": content["labels"] + 1})
    with pytest.raises(DataError, match="does not match its fingerprint"):
        load_interactions(path)
    np.savez(path, labels=content["labels"])
    with pytest.raises(DataError, match="not saved interactions"):
        load_interactions(path)
    np.savez(path, **content | {"queries": np.array(["a", None, 3], dtype=object)})
    with pytest.raises(DataError, match="not saved interactions"):
        load_interactions(path)


def test_a_missing_file_and_a_place_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.npz: no such file"):
        load_interactions(tmp_path / "data.npz")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_interactions(small(), tmp_path / "file" / "data.npz")
