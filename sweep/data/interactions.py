"""`Interactions`: who did what with which item, encoded, checked, and saved as one file."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.errors import DataError
from sweep.files import write_bytes

Ids = NDArray[np.int32]
Texts = NDArray[np.str_]

PARTS = ("train", "validation", "test")
"""What a row may be for, where the data says so."""

_ARRAYS: Mapping[str, type[np.generic]] = {
    "query_ids": np.int32,
    "candidate_ids": np.int32,
    "labels": np.float32,
    "timestamps": np.int64,
    "catalogue_counts": np.int32,
    "parts": np.int8,
}
_OPTIONAL = ("timestamps", "parts")
_EXACT = 2.0**53  # above it, neighbouring whole numbers are one float


@dataclass(frozen=True, repr=False, eq=False)
class Interactions:
    """Labelled (query, candidate) pairs, with the vocabularies that give the ids back as text.

    Attributes:
        name: what to call the dataset, in reports and errors.
        query_ids: int32 [n], indices into `queries`.
        candidate_ids: int32 [n], indices into `candidates`.
        labels: float32 [n], finite; for ratings, in stars.
        timestamps: int64 [n], in seconds since 1970 (UTC) where the source says so, or None.
        queries: text [n_queries], sorted and distinct: the raw ids.
        candidates: text [n_candidates], sorted and distinct: the raw ids.
        catalogue_counts: int32 [n_candidates], at least 1: how many rows of the catalogue carry
            that id. MovieLens 100K has 1,682 movies under 1,664 titles: with titles as ids, some
            count twice.
        parts: int8 [n], indices into `PARTS`, where the data itself says what each row is for; or
            None.

    Arrays are read-only views of what was given.

    Raises:
        DataError: an array is of another type, shape or range; there are no rows; or there is a
            single query or candidate, so that nothing can be compared.
    """

    name: str
    query_ids: Ids
    candidate_ids: Ids
    labels: NDArray[np.float32]
    timestamps: NDArray[np.int64] | None
    queries: Texts
    candidates: Texts
    catalogue_counts: Ids
    parts: NDArray[np.int8] | None = None

    def __post_init__(self) -> None:
        for field, dtype in _ARRAYS.items():
            array = getattr(self, field)
            if array is None and field in _OPTIONAL:
                continue
            rows = self.n_candidates if field == "catalogue_counts" else len(self.query_ids)
            if array.dtype != dtype or array.shape != (rows,):
                raise DataError(
                    f"{self.name}: {field} is {array.dtype} {array.shape}; "
                    f"it must be {np.dtype(dtype)} ({rows},)"
                )
        for noun, ids, texts in (
            ("query", self.query_ids, self.queries),
            ("candidate", self.candidate_ids, self.candidates),
        ):
            if len(ids) == 0:
                raise DataError(f"{self.name}: no interactions; give a dataset with rows")
            if texts.ndim != 1 or texts.dtype.kind != "U" or not np.all(texts[:-1] < texts[1:]):
                raise DataError(f"{self.name}: the {noun} vocabulary must be sorted, distinct text")
            if len(texts) < 2:
                raise DataError(
                    f"{self.name}: a single {noun}, {str(texts[0])!r}; training needs at least 2, "
                    f"so check that the right column is named as {noun}"
                )
            if ids.min() < 0 or ids.max() >= len(texts):
                raise DataError(
                    f"{self.name}: {noun} ids run from {ids.min()} to {ids.max()}; "
                    f"the vocabulary allows 0 to {len(texts) - 1}"
                )
        _check_finite(self.labels, self.name)
        if self.catalogue_counts.min() < 1:
            raise DataError(f"{self.name}: a candidate has no row in the catalogue")
        if self.parts is not None and not np.isin(self.parts, range(len(PARTS))).all():
            raise DataError(
                f"{self.name}: parts run from {self.parts.min()} to {self.parts.max()}; "
                f"allowed: 0 to {len(PARTS) - 1}, for {', '.join(PARTS)}"
            )
        for field in (*_ARRAYS, "queries", "candidates"):
            array = getattr(self, field)
            if array is not None:
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(self, field, view)

    def __len__(self) -> int:
        return len(self.query_ids)

    def __repr__(self) -> str:
        return (
            f"Interactions({self.name}: {len(self):,} interactions, {self.n_queries:,} queries, "
            f"{self.n_candidates:,} candidates, {self.n_catalogue:,} catalogue rows, "
            f"{self.repeated_pairs:,} repeated pairs)"
        )

    @property
    def n_queries(self) -> int:
        """Number of distinct queries."""
        return len(self.queries)

    @property
    def n_candidates(self) -> int:
        """Number of distinct candidates."""
        return len(self.candidates)

    @property
    def n_catalogue(self) -> int:
        """Number of rows of the catalogue, in which one candidate id can occur several times."""
        return int(self.catalogue_counts.sum(dtype=np.int64))

    @cached_property
    def repeated_pairs(self) -> int:
        """Rows whose (query, candidate) pair occurred in an earlier row. They are kept."""
        pairs = self.query_ids.astype(np.int64)
        pairs *= self.n_candidates
        pairs += self.candidate_ids
        pairs.sort()  # for 25 million rows ten times as fast as np.unique
        return int(np.count_nonzero(pairs[1:] == pairs[:-1]))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of rows, their order, vocabularies and catalogue, but not of the name."""
        digest = hashlib.sha256()
        for field, dtype in _ARRAYS.items():
            array = getattr(self, field)
            if field != "parts" or array is not None:  # data without parts keeps its old hash
                _update(digest, field, b"" if array is None else _bytes(array, dtype))
        for field in ("queries", "candidates"):
            texts = [
                text.encode("utf-8", "surrogatepass") for text in getattr(self, field).tolist()
            ]
            _update(digest, field, _bytes(np.array([len(text) for text in texts]), np.int64))
            _update(digest, field, b"".join(texts))
        return digest.hexdigest()


def _bytes(array: NDArray[Any], dtype: type[np.generic]) -> bytes | memoryview:
    """The content as little-endian bytes, the same on every machine; copied only if need be."""
    return np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).data.cast("B")


def _update(digest: Any, field: str, content: bytes | memoryview) -> None:
    # With the length first, no two different contents make the same stream of bytes.
    digest.update(f"{field}:{len(content)}:".encode())
    digest.update(content)


def from_columns(
    queries: Collection[Any],
    candidates: Collection[Any],
    labels: Collection[Any],
    timestamps: Collection[Any] | None,
    name: str,
    catalogue: Collection[Any] | None = None,
    parts: Collection[Any] | None = None,
) -> Interactions:
    """Encode raw columns: lists, NumPy arrays or pandas series, all of one length n.

    An id is a text, or a whole number, which is written as an integer: 1, 1.0 and the text "1" are
    one id wherever they come from, since files often store the same integer ids as floats, and a
    number and its text never mean two things. Within one column, though, numbers next to text are
    refused: that is nearly always a column read in two ways ("007" here, 7 there), and which was
    meant cannot be told any more.

    Args:
        queries: raw ids of who asks, [n].
        candidates: raw ids of what is asked for, [n].
        labels: finite numbers, or text that reads as such, [n].
        timestamps: whole numbers, or datetimes (kept as whole seconds since 1970, UTC), [n].
        name: what to call the dataset.
        catalogue: raw candidate ids [n_catalogue], repeats allowed, that hold every candidate of
            the rows and perhaps more; without it, the distinct candidates of the rows.
        parts: what each row is for, texts of `PARTS`, [n].

    Raises:
        DataError: with the row, counted from 1, and the value that is wrong.
    """
    import pandas as pd

    columns: dict[str, Any] = {"query": queries, "candidate": candidates, "label": labels}
    if timestamps is not None:
        columns["timestamp"] = timestamps
    if parts is not None:
        columns["split"] = parts
    lengths = {noun: len(column) for noun, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"{name}: columns differ in length: {lengths}; they must be equally long")
    if lengths["query"] == 0:
        raise DataError(f"{name}: no interactions; give a dataset with rows")

    query_texts, query_ids = _encode(pd.Series(queries), f"{name}: query ids")
    texts, candidate_ids = _encode(pd.Series(candidates), f"{name}: candidate ids")
    counts = np.ones(len(texts), np.int32)
    if catalogue is not None:
        row_texts = texts
        texts, catalogue_ids = _encode(pd.Series(catalogue), f"{name}: catalogue ids")
        counts = np.bincount(catalogue_ids, minlength=len(texts)).astype(np.int32)
        place = np.minimum(np.searchsorted(texts, row_texts), len(texts) - 1)
        unknown = row_texts[texts[place] != row_texts]
        if len(unknown):
            raise DataError(
                f"{name}: candidate {str(unknown[0])!r} has interactions but is not in the "
                f"catalogue ({len(unknown)} such); add it there"
            )
        candidate_ids = place.astype(np.int32)[candidate_ids]
    return Interactions(
        name=name,
        query_ids=query_ids,
        candidate_ids=candidate_ids,
        labels=_labels(pd.Series(labels), name),
        timestamps=None if timestamps is None else _timestamps(pd.Series(timestamps), name),
        queries=query_texts,
        candidates=texts,
        catalogue_counts=counts,
        parts=None if parts is None else _parts(pd.Series(parts), name),
    )


def _encode(column: Any, where: str) -> tuple[Texts, Ids]:
    """Sorted distinct ids as text, and for each row the index of its id."""
    import pandas as pd

    column = _plain(column)
    _refuse_missing(column, where, "id")
    kind = pd.api.types.infer_dtype(column, skipna=False)
    if kind not in ("string", "integer", "floating", "mixed-integer-float"):
        examples: dict[str, str] = {}
        for row, value in enumerate(column, start=1):
            examples.setdefault(type(value).__name__, f"{_short(value)} (row {row})")
        found = ", ".join(f"{example} is {kind}" for kind, example in examples.items())
        raise DataError(
            f"{where}: {found}; all must be text or all whole numbers; convert the column to one"
        )
    codes, distinct = pd.factorize(column)
    texts = []
    for code, value in enumerate(distinct.tolist()):
        text = value if isinstance(value, str) else _whole(value)
        if not text or "\0" in text:
            row = int(np.flatnonzero(codes == code)[0]) + 1
            raise DataError(
                f"{where}: row {row} is {_short(value)}; an id is a text that is not empty, or a "
                "whole number (below 2^53 if stored as a float); mend or leave out that row"
            )
        texts.append(text)
    vocabulary, place = np.unique(np.array(texts), return_inverse=True)
    return vocabulary, place.astype(np.int32)[codes]


def _whole(value: float) -> str:
    """A whole number as text; empty if it is not whole, or too large for a float to be exact."""
    if isinstance(value, float) and not (value.is_integer() and abs(value) < _EXACT):
        return ""
    return str(int(value))


def _labels(column: Any, name: str) -> NDArray[np.float32]:
    import pandas as pd

    column = _plain(column)
    _refuse_missing(column, f"{name}: labels", "label")
    # Not to_numeric for the rest: it reads datetimes as numbers, and raises for lists.
    readable = ("string", "integer", "floating", "boolean", "decimal", "mixed-integer-float")
    if pd.api.types.infer_dtype(column) in readable:
        numbers = pd.to_numeric(column, errors="coerce")
    else:
        numbers = column.map(_number).astype(np.float64)
    with np.errstate(over="ignore"):
        values: NDArray[np.float32] = numbers.to_numpy(dtype=np.float64).astype(np.float32)
    _check_finite(values, name, column)
    return values


def _number(value: Any) -> Any:
    """The value as a float, or None where it does not read as a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _check_finite(labels: NDArray[np.float32], name: str, raw: Any = None) -> None:
    bad = np.flatnonzero(~np.isfinite(labels))
    if len(bad):
        value = labels[bad[0]].item() if raw is None else raw.iloc[bad[0]]
        raise DataError(
            f"{name}: labels: row {bad[0] + 1} is {_short(value)} ({_such_rows(len(bad))}); a "
            "label is a finite number that fits 32 bits; mend or leave out those rows"
        )


def _timestamps(column: Any, name: str) -> NDArray[np.int64]:
    import pandas as pd

    column = _plain(column).infer_objects()
    _refuse_missing(column, f"{name}: timestamps", "timestamp")
    if pd.api.types.is_datetime64_any_dtype(column):
        since = pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")
        seconds: NDArray[np.int64] = (since // pd.Timedelta(seconds=1)).to_numpy(dtype=np.int64)
        return seconds
    numbers = pd.to_numeric(column, errors="coerce") if column.dtype.kind not in "bmc" else column
    if numbers.dtype.kind == "i":
        integers: NDArray[np.int64] = numbers.to_numpy(dtype=np.int64)
        return integers
    if numbers.dtype.kind in "fu":
        values: NDArray[np.float64] = numbers.to_numpy(dtype=np.float64)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < _EXACT)
    else:
        whole = np.zeros(len(column), bool)
    if not whole.all():
        row = int(np.argmin(whole))
        raise DataError(
            f"{name}: timestamps: row {row + 1} is {_short(column.iloc[row])}; a timestamp is a "
            "whole number such as seconds since 1970, or a datetime; convert the column"
        )
    return values.astype(np.int64)


def _parts(column: Any, name: str) -> NDArray[np.int8]:
    column = _plain(column)
    _refuse_missing(column, f"{name}: split", "value")
    parts = np.full(len(column), -1, np.int8)
    for place, part in enumerate(PARTS):
        parts[(column == part).to_numpy(dtype=bool)] = place
    unknown = np.flatnonzero(parts < 0)
    if len(unknown):
        raise DataError(
            f"{name}: split: row {unknown[0] + 1} is {_short(column.iloc[unknown[0]])} "
            f"({_such_rows(len(unknown))}); allowed: {', '.join(PARTS)}; mend those rows, or name "
            "the right column as dataset.split"
        )
    return parts


def _plain(column: Any) -> Any:
    """A categorical column as a column of its values; any other as it is."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(column.cat.categories.dtype)
    return column


def _refuse_missing(column: Any, where: str, noun: str) -> None:
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise DataError(
            f"{where}: row {missing[0] + 1} has no {noun} ({_such_rows(len(missing))}); "
            "fill in or leave out those rows"
        )


def _such_rows(count: int) -> str:
    return f"{count:,} such row{'s' if count > 1 else ''}"


def _short(value: object) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else text[:57] + "…"


def write_interactions(interactions: Interactions, path: Path) -> None:
    """Save as one .npz file, whole or not at all; `load_interactions` gives it back.

    Raises:
        DataError: the file cannot be written.
    """
    fields = (*_ARRAYS, "queries", "candidates")
    arrays = {field: getattr(interactions, field) for field in fields}
    for field in _OPTIONAL:
        if arrays[field] is None:
            del arrays[field]
    for field in ("name", "fingerprint"):
        arrays[field] = np.array(getattr(interactions, field))
    file = io.BytesIO()
    np.savez(file, **arrays)
    try:
        write_bytes(path, file.getvalue())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); free some space, or point SWEEP_CACHE "
            "to a folder that can be written"
        ) from None


def load_interactions(path: Path) -> Interactions:
    """Read what `write_interactions` saved, and check it against the fingerprint saved with it.

    Raises:
        DataError: there is no such file, or it is damaged, or of something else.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            content: dict[str, Any] = {field: saved[field] for field in saved.files}
        fingerprint = str(content.pop("fingerprint"))
        interactions = Interactions(
            name=str(content.pop("name")), **{"timestamps": None, **content}
        )
        if interactions.fingerprint != fingerprint:
            raise ValueError("its content does not match its fingerprint")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; prepare the dataset first") from None
    except (
        # NumPy answers damage in many ways; an unknown kind of compression is "not implemented".
        *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error, DataError),
    ) as error:
        raise DataError(
            f"{path}: not saved interactions, or damaged ({error}); delete it to prepare it again"
        ) from None
    return interactions
