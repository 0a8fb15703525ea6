"""The store on a real PostgreSQL; what all kinds of stores do alike is in test_storage_kinds."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy
from null_training import start_python

from postgresql import PostgreSQL
from sweep.errors import StorageError
from sweep.search.records import list_studies
from sweep.search.storage import open_storage, store_identity, store_name


@pytest.fixture
def url(postgresql: PostgreSQL) -> str:
    return postgresql.url(postgresql.new_database())


def test_reading_does_not_create_tables(url: str) -> None:
    with pytest.raises(StorageError, match="holds no studies; launch a study there first"):
        open_storage(url, must_exist=True)
    engine = sqlalchemy.create_engine(url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


def test_a_plain_url_takes_psycopg_and_a_missing_driver_names_what_to_install(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = url.replace("+psycopg", "")
    storage = open_storage(plain)
    assert storage.engine.dialect.driver == "psycopg"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for wanted in (url, plain):
        with pytest.raises(StorageError, match=r"run pip install 'psycopg\[binary\]'"):
            open_storage(wanted)


def test_connections_are_pooled_tried_first_and_a_dead_server_is_noticed(url: str) -> None:
    def options(storage: object) -> dict[str, str]:
        with storage.engine.connect() as connection:  # type: ignore[attr-defined]
            return dict(connection.connection.dbapi_connection.info.get_parameters())

    storage = open_storage(url)
    found = options(storage)
    assert (found["connect_timeout"], found["tcp_user_timeout"]) == ("10", "20000")
    assert (found["keepalives_idle"], found["keepalives_count"]) == ("10", "3")
    assert storage.engine.pool._pre_ping  # type: ignore[attr-defined]
    assert isinstance(storage.engine.pool, sqlalchemy.QueuePool)  # type: ignore[attr-defined]
    assert options(open_storage(f"{url}?connect_timeout=3"))["connect_timeout"] == "3"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wr0ngsecret"}, "password authentication failed.*the password in the URL"),
        ({"user": "nob0dy"}, "password authentication failed"),
        ({"port": 1}, "refused; see that the database runs on that host and port"),
    ],
)
def test_a_wrong_address_says_what_is_wrong_without_the_password(
    postgresql: PostgreSQL, change: dict[str, str], words: str
) -> None:
    url = postgresql.url("postgres", **change)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match=words) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith(f"postgresql+psycopg://{change.get('user', 'sweep')}:***@")


def test_a_password_of_any_characters_is_taken_and_masked(postgresql: PostgreSQL) -> None:
    secret = "a@b{c}%d/e:f 'g"
    with psycopg.connect(
        postgresql.url("postgres").replace("+psycopg", ""), autocommit=True
    ) as connection:
        connection.execute(
            f"CREATE ROLE odd LOGIN PASSWORD '{secret.replace(chr(39), chr(39) * 2)}'"
        )
        connection.execute("CREATE DATABASE odd OWNER odd")
    url = postgresql.url("odd", user="odd", password=quote(secret, safe=""))
    storage = open_storage(url)
    assert list_studies(open_storage(url, must_exist=True)) == ()
    assert store_name(storage) == f"postgresql+psycopg://odd:***@127.0.0.1:{postgresql.port}/odd"
    # Whoever may read and connect, but not create tables, is told so.
    foreign = postgresql.url("postgres", user="odd", password=quote(secret, safe=""))
    with pytest.raises(StorageError, match=r"permission denied.*let the user of the URL create"):
        open_storage(foreign)


def test_a_wrong_database_or_host_says_so(postgresql: PostgreSQL) -> None:
    with pytest.raises(StorageError, match='database "nodb" does not exist; create that database'):
        open_storage(postgresql.url("nodb"))
    wrong = postgresql.url("postgres").replace("127.0.0.1", "host.invalid")
    with pytest.raises(StorageError, match="see to the host's name in the URL"):
        open_storage(wrong)
    twice = postgresql.url("postgres", password="half@s3cret")
    with pytest.raises(StorageError, match="is written %40") as caught:
        open_storage(twice)
    assert "s3cret" not in str(caught.value)


def test_an_error_of_a_server_that_was_there_shows_no_password(postgresql: PostgreSQL) -> None:
    storage = open_storage(postgresql.url(postgresql.new_database()))
    try:
        postgresql.stop()
        with pytest.raises(StorageError, match="refused") as caught:
            list_studies(storage)
    finally:
        postgresql.start()
    assert "s3cret" not in str(caught.value)
    assert list_studies(storage) == ()


def test_a_store_is_known_by_where_it_is(url: str) -> None:
    storage = open_storage(url)
    name = url.rpartition("/")[2]
    assert store_name(storage) == url.replace("s3cret", "***")
    host, port = "127.0.0.1", url.rpartition(":")[2].partition("/")[0]
    assert store_identity(storage) == f"postgresql:{host}:{port}/{name}"


OPEN = """
import pathlib, sys, time
from sweep.search.storage import open_storage
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.001)
open_storage(sys.argv[1])
"""


def test_launches_that_begin_together_create_the_tables_once(url: str, tmp_path: Path) -> None:
    processes = [start_python(OPEN, url, str(tmp_path / "go")) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 3
    assert list_studies(open_storage(url, must_exist=True)) == ()


def test_threads_that_open_a_new_store_together_all_succeed(url: str) -> None:
    gate, errors = threading.Barrier(6), []

    def open_it() -> None:
        gate.wait()
        try:
            open_storage(url)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
