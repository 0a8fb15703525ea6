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
"""Most query-candidate pairs of a uniform synthetic dataset: each pair's preference is computed."""

ROWS_AT_ONCE = 1 << 20
"""Rows of a long-tailed dataset that are drawn at a time, give or take those of one query."""


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
        drawn = config.synthetic or SyntheticConfig()
        return long_tailed(drawn) if drawn.shape == "long-tailed" else synthetic(drawn).interactions
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


@dataclass(frozen=True, eq=False)
class Structure:
    """What is planted in a long-tailed dataset.

    Attributes:
        query_factors: float32 [n_queries, 4].
        candidate_factors: float32 [n_candidates, 4].
        popularity: float64 [n_candidates], above 0: how often a query meets each candidate, up to
            a factor.
        rows: int64 [n_queries], at least 1: how many rows each query has.
    """

    query_factors: NDArray[np.float32]
    candidate_factors: NDArray[np.float32]
    popularity: NDArray[np.float64]
    rows: NDArray[np.int64]

    def affinity(
        self, query_ids: NDArray[np.integer[Any]], candidate_ids: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Of n pairs, ids [n] and [n]: float32 [n], half the dot product of their factors."""
        pairs: NDArray[np.float32] = np.einsum(
            "nf,nf->n", self.query_factors[query_ids], self.candidate_factors[candidate_ids]
        )
        return pairs * np.float32(0.5)


def plant(config: SyntheticConfig) -> Structure:
    """Draw the structure of a long-tailed dataset; see `long_tailed`.

    Raises:
        DataError: fewer interactions than queries, or more than there are pairs.
    """
    n, queries, candidates = config.interactions, config.queries, config.candidates
    if not queries <= n <= queries * candidates:
        raise DataError(
            f"synthetic: {n:,} interactions of {queries:,} queries; each query takes between 1 and "
            f"all {candidates:,} candidates, so ask for {queries:,} to {queries * candidates:,}"
        )
    rng = np.random.default_rng([config.seed, 0])
    rank = rng.permutation(candidates) / candidates
    return Structure(
        query_factors=rng.standard_normal((queries, 4), dtype=np.float32),
        candidate_factors=rng.standard_normal((candidates, 4), dtype=np.float32),
        popularity=(rank + 0.0085) ** -2.2,
        rows=_long_tailed_counts(rng.standard_normal(queries), n, candidates),
    )


def _long_tailed_counts(normal: NDArray[np.float64], total: int, largest: int) -> NDArray[np.int64]:
    """Whole numbers in [1, largest] with that total: a floor and a multiple of exp(1.39 normal)."""
    least = max(1, round(0.13 * total / len(normal)))
    spread = np.exp(1.39 * normal)

    def counts(scale: float) -> NDArray[np.int64]:
        return np.minimum(least + (scale * spread).astype(np.int64), largest)

    low, high = 0.0, largest / spread.min()
    for _ in range(200):  # until the two are neighbouring floats
        middle = (low + high) / 2
        low, high = (middle, high) if counts(middle).sum() <= total else (low, middle)
    found = counts(low)
    room = np.flatnonzero(found < largest)[: total - found.sum()]
    found[room] += 1
    return found


def long_tailed(config: SyntheticConfig) -> Interactions:
    """Draw interactions shaped like MovieLens; pure NumPy, the same from the same seed.

    With 162,541 queries, 59,047 candidates and 25,000,095 interactions it has MovieLens 25M's
    counts, and takes half a minute and 0.8 GB. Memory is that of the rows; pairs are never listed.

    *Rows of a query*: 0.13 of the mean number, plus a log-normal number with σ = 1.39, scaled so
    that the total is exact (MovieLens 25M: mean 154, median 71, at least 20), and no more than
    there are candidates.

    *Candidates*: of C candidates the one at rank r from 0 has popularity (r / C + 0.0085)^-2.2: a
    flat head, then a power law (Zipf-Mandelbrot). Query i and candidate j have factors
    u, v ~ N(0, 1)^4 and the affinity a = u·v / 2, of variance 1. A query meets candidates by
    popularity, takes each that it has not yet with probability sigmoid(2a), and goes on until it
    has its number of rows; so a pair occurs at most once. That is Plackett-Luce by the log-odds
    log popularity + log sigmoid(2a), and is drawn as such (see `synthetic`) for the few queries
    with a large part of the catalogue, where waiting for what is missing would take long.

    *Labels*: clip(3 + a + noise · N(0, 1), 0.5, 5), rounded to half a star.

    Rating and retrieval share the affinity, while popularity is of use to retrieval alone. Rows are
    in random order, and `timestamps` is their order. Not every candidate need occur.

    Raises:
        DataError: fewer interactions than queries, or more than there are pairs.
    """
    planted = plant(config)
    n, queries, candidates = config.interactions, config.queries, config.candidates
    ends = planted.rows.cumsum()
    order = np.random.default_rng([config.seed, 1]).permutation(np.arange(n, dtype=np.int32))
    query_ids, candidate_ids = np.empty(n, np.int32), np.empty(n, np.int32)
    labels = np.empty(n, np.float32)
    first = 0
    while first < queries:
        begin = int(ends[first] - planted.rows[first])
        last = max(first + 1, int(np.searchsorted(ends, begin + ROWS_AT_ONCE, "right")))
        some = np.arange(first, last)
        # A stream for every piece: none depends on how much another has used.
        rng = np.random.default_rng([config.seed, 2, first])
        rows = np.repeat(some, planted.rows[some])
        picked = _pick(planted, some, rng)
        noise = np.float32(config.noise) * rng.standard_normal(len(rows), dtype=np.float32)
        stars = np.clip(3 + planted.affinity(rows, picked) + noise, 0.5, 5)
        places = order[begin : begin + len(rows)]
        query_ids[places], candidate_ids[places] = rows, picked
        labels[places] = np.rint(2 * stars) / 2
        first = last
    del order
    return Interactions(
        name="synthetic",
        query_ids=query_ids,
        candidate_ids=candidate_ids,
        labels=labels,
        timestamps=np.arange(n, dtype=np.int64),
        queries=np.array([f"query {i:07d}" for i in range(queries)]),
        candidates=np.array([f"candidate {i:07d}" for i in range(candidates)]),
        catalogue_counts=np.ones(candidates, np.int32),
    )


def _pick(
    planted: Structure, queries: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The candidates of some queries, one after another: int64 [sum of their rows]."""
    size = len(planted.popularity)
    wanted = planted.rows[queries]
    picked = np.empty(wanted.sum(), np.int64)
    begins = wanted.cumsum() - wanted
    whole = np.cumsum(planted.popularity)
    found = np.zeros(len(queries), np.int64)
    taken = np.empty(0, np.int64)  # sorted keys of the pairs so far: position × size + candidate
    small = wanted <= size // 50
    for _ in range(8):
        missing = np.where(small, wanted - found, 0)
        if not missing.any():
            break
        # Half of what is met is taken; more where little is missing, to end soon.
        met = np.where(missing > 0, 5 * missing // 2 + 8, 0)
        position = np.repeat(np.arange(len(queries)), met)
        candidate = np.searchsorted(whole, rng.random(len(position)) * whole[-1], "right")
        log_odds = 2 * planted.affinity(queries[position], candidate)
        keep = rng.random(len(position), dtype=np.float32) * (1 + np.exp(-log_odds)) < 1
        keys = position[keep] * size + candidate[keep]
        _, earliest = np.unique(keys, return_index=True)
        earliest.sort()
        keys = keys[earliest]
        if len(taken):
            place = np.minimum(np.searchsorted(taken, keys), len(taken) - 1)
            keys = keys[taken[place] != keys]
        # In the order in which each query met them, no more than it misses.
        position = keys // size
        counts = np.bincount(position, minlength=len(queries))
        nth = np.arange(len(keys)) - np.repeat(counts.cumsum() - counts, counts)
        keep = nth < missing[position]
        keys, position, nth = keys[keep], position[keep], nth[keep]
        picked[begins[position] + found[position] + nth] = keys % size
        found += np.minimum(counts, missing)
        taken = np.sort(np.concatenate([taken, keys]))
    log_popularity = np.log(planted.popularity)
    for row in np.flatnonzero(found < wanted):
        # What was found stands for nothing here: the whole row is drawn at once.
        affinity = planted.affinity(np.full(size, queries[row]), np.arange(size))
        log_odds = log_popularity - np.logaddexp(0, -2 * affinity.astype(np.float64))
        noisy = log_odds + rng.gumbel(size=size)
        picked[begins[row] :][: wanted[row]] = np.argpartition(-noisy, wanted[row] - 1)[
            : wanted[row]
        ]
    return picked


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
