"""A dataset's name or path → `Interactions`: MovieLens, a CSV or Parquet file, or synthetic."""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.config import DatasetConfig, SyntheticConfig
from sweep.data.interactions import (
    Interactions,
    from_columns,
    load_interactions,
    write_interactions,
)
from sweep.errors import DataError

MOVIELENS_COLUMNS = {
    "query": "user_id",
    "candidate": "movie_title",
    "label": "user_rating",
    "timestamp": "timestamp",
}
"""Features of MovieLens that are taken where the study file names none: the tutorial's."""

FORMAT = 1
"""Part of the name of a prepared file: a change of its content makes old files unused."""

LARGEST = 10**9
"""Most query-candidate pairs of a synthetic dataset: each pair's preference is computed."""


def load_dataset(config: DatasetConfig, cache: Path, say: Callable[[str], None]) -> Interactions:
    """Interactions of a dataset, prepared at the first call and read from `cache` thereafter.

    MovieLens is kept encoded, below `cache`. A file is read each time, so that a change is seen;
    the ids of a CSV file are read as the text they are, so that "007" is not 7. Synthetic data is
    drawn each time.

    Args:
        config: name or path, and columns; see `DatasetConfig`.
        cache: folder for what is prepared; made if it is not there.
        say: told of each stage of a preparation, its source and its licence.

    Raises:
        DataError: the dataset cannot be found, read or trusted.
    """
    if config.name == "synthetic":
        return synthetic(config.synthetic or SyntheticConfig()).interactions
    if config.is_file:
        return load_file(config)
    columns = {key: getattr(config, key) or default for key, default in MOVIELENS_COLUMNS.items()}
    key = hashlib.sha256(json.dumps([FORMAT, config.name, columns]).encode()).hexdigest()[:16]
    path = cache / "datasets" / f"{config.name.replace('/', '-')}-{key}.npz"
    if path.exists():
        try:
            return load_interactions(path)
        except DataError:
            say(f"{config.name}: the prepared file {path} is damaged; preparing it again")
    from sweep.data.movielens import load_movielens

    version = config.name.removeprefix("movielens/")
    interactions = load_movielens(version, columns, cache, say)
    write_interactions(interactions, path)
    say(f"{config.name}: {len(interactions):,} interactions are ready, in {path}")
    return interactions


def load_file(config: DatasetConfig) -> Interactions:
    """Interactions of a CSV file (UTF-8, comma-separated, with a header) or a Parquet file.

    Raises:
        DataError: there is no such file, it cannot be read as what its name says, a column is
            missing, or a value is wrong, with its row counted from 1 after the header.
    """
    path = Path(config.name)
    columns = config.query, config.candidate, config.label, config.timestamp, config.split
    wanted = [column for column in columns if column]
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a .csv or .parquet file in it")
    if not path.exists():
        raise DataError(f"{path}: no such file; a relative path starts at the study file's folder")
    is_csv = path.suffix.lower() == ".csv"
    table = _open_csv(path, wanted) if is_csv else _open_parquet(path, wanted)
    if table.num_rows == 0:
        raise DataError(f"{path}: no rows; give a file with interactions")
    return from_columns(
        table[config.query].to_pandas(),
        table[config.candidate].to_pandas(),
        table[config.label].to_pandas(),
        table[config.timestamp].to_pandas() if config.timestamp else None,
        config.name,
        parts=table[config.split].to_pandas() if config.split else None,
    )


def _open_csv(path: Path, wanted: Sequence[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        if not header:
            raise DataError(f"{path}: the file is empty; its first line must name the columns")
        _check_columns(path, header, wanted)
        return arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(wanted), column_types=dict.fromkeys(wanted, pa.string())
            ),
        )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (csv.Error, pa.ArrowException) as error:
        raise DataError(
            f"{path}: cannot be read as a CSV file ({error}); it must be UTF-8 text with commas "
            "between the fields, a header line, and as many fields in every row"
        ) from None


def _open_parquet(path: Path, wanted: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, wanted)
            return file.read(columns=list(wanted))
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: cannot be read as a Parquet file ({error}); write it again, for example with "
            "pandas.DataFrame.to_parquet"
        ) from None


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if found.count(column) > 1:
            raise DataError(f"{path}: {found.count(column)} columns are named {column!r}; keep one")
    missing = [column for column in wanted if column not in found]
    if missing:
        close = difflib.get_close_matches(missing[0], found, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        if len(found) == 1 and path.suffix.lower() == ".csv":
            hint = "; is the separator a comma?"
        raise DataError(
            f"{path}: no column {', '.join(map(repr, missing))}; "
            f"there are: {', '.join(map(repr, found))}{hint}"
        )


@dataclass(frozen=True, eq=False)
class Planted:
    """A synthetic dataset together with what a perfect model would know of it.

    Attributes:
        interactions: the rows, in random order; `timestamps` is their order.
        expected: float32 [n], each row's label without its noise.
        preferences: float32 [n_queries, n_candidates], the log-odds by which a query picks.
    """

    interactions: Interactions
    expected: NDArray[np.float32]
    preferences: NDArray[np.float32]

    @property
    def noise_floor(self) -> float:
        """RMSE on these rows of a model that predicts every expected label: none does better."""
        errors = self.interactions.labels.astype(np.float64) - self.expected
        return float(np.sqrt(np.mean(errors**2)))

    def best(self, k: int) -> NDArray[np.int64]:
        """For each query, the `k` candidates it prefers, best first: int64 [n_queries, k]."""
        return np.argsort(-self.preferences, axis=1, kind="stable")[:, :k]


def synthetic(config: SyntheticConfig) -> Planted:
    """Draw interactions with a planted structure; pure NumPy, the same from the same seed.

    Query i and candidate j have factors u, v ~ N(0, 1)^4, and the candidate a popularity
    p ~ N(0, 1). Their affinity is a = u·v / 2, of variance 1. The label is
    clip(3 + a, 1, 5) + noise · N(0, 1). The query picks without replacement by log-odds 3a + p
    (Plackett-Luce, drawn as the largest of log-odds plus Gumbel noise). Rating and retrieval thus
    share the affinity, while popularity is of use to retrieval alone. Each query has the same
    number of rows, to within one.

    Raises:
        DataError: fewer interactions than queries, more than there are pairs, or more pairs than
            `LARGEST`.
    """
    n, queries, candidates = config.interactions, config.queries, config.candidates
    if queries * candidates > LARGEST:
        raise DataError(
            f"synthetic: {queries:,} queries × {candidates:,} candidates is more than {LARGEST:,} "
            "pairs; ask for fewer"
        )
    per_query = n // queries + (np.arange(queries) < n % queries)
    if not 1 <= per_query.min() <= per_query.max() <= candidates:
        raise DataError(
            f"synthetic: {n:,} interactions of {queries:,} queries; each query takes between 1 and "
            f"all {candidates:,} candidates, so ask for {queries:,} to {queries * candidates:,}"
        )
    rng = np.random.default_rng(config.seed)
    query_factors = rng.standard_normal((queries, 4), dtype=np.float32)
    candidate_factors = rng.standard_normal((candidates, 4), dtype=np.float32)
    popularity = rng.standard_normal(candidates, dtype=np.float32)
    affinity: NDArray[np.float32] = query_factors @ candidate_factors.T * np.float32(0.5)
    preferences: NDArray[np.float32] = 3 * affinity + popularity
    picked = np.concatenate(
        [
            np.argpartition(-(row + rng.gumbel(size=candidates)), count - 1)[:count]
            for row, count in zip(preferences, per_query, strict=True)
        ]
    )
    order = rng.permutation(n)
    query_ids = np.repeat(np.arange(queries, dtype=np.int32), per_query)[order]
    candidate_ids = picked.astype(np.int32)[order]
    expected: NDArray[np.float32] = np.clip(3 + affinity[query_ids, candidate_ids], 1, 5)
    noise = np.float32(config.noise) * rng.standard_normal(n, dtype=np.float32)
    interactions = Interactions(
        name="synthetic",
        query_ids=query_ids,
        candidate_ids=candidate_ids,
        labels=expected + noise,
        timestamps=np.arange(n, dtype=np.int64),
        queries=np.array([f"query {i:07d}" for i in range(queries)]),
        candidates=np.array([f"candidate {i:07d}" for i in range(candidates)]),
        catalogue_counts=np.ones(candidates, np.int32),
    )
    return Planted(interactions, expected, preferences)


def describe(interactions: Interactions) -> dict[str, Any]:
    """Counts and ranges of a dataset, as values that JSON can hold.

    `density` is the fraction of all query-candidate pairs that occur; `labels` gives minimum,
    mean, maximum and standard deviation; `timestamps` the first and the last, or None.
    """
    labels = interactions.labels.astype(np.float64)
    times = interactions.timestamps
    pairs = len(interactions) - interactions.repeated_pairs
    return {
        "name": interactions.name,
        "interactions": len(interactions),
        "queries": interactions.n_queries,
        "candidates": interactions.n_candidates,
        "catalogue_rows": interactions.n_catalogue,
        "repeated_pairs": interactions.repeated_pairs,
        "density": pairs / (interactions.n_queries * interactions.n_candidates),
        "labels": {
            "min": float(labels.min()),
            "mean": float(labels.mean()),
            "max": float(labels.max()),
            "std": float(labels.std()),
        },
        "timestamps": None
        if times is None
        else {"first": int(times.min()), "last": int(times.max())},
        "fingerprint": interactions.fingerprint,
    }
