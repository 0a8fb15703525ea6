"""The Dockerfile and the compose file: what they say is sound, and their commands run as they are.

No Docker is needed: each command is run on this machine, with its paths and its port replaced.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from postgresql import free_port, programs
from sweep.search.storage import check_storage_url

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests-0123456789"
PATIENCE = 90.0


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order: a word and what follows."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def all_of(wanted: str) -> list[str]:
    return [rest for word, rest in instructions() if word == wanted]


def command() -> list[str]:
    """What the container runs."""
    return json.loads(all_of("CMD")[-1])


def health_command() -> list[str]:
    return json.loads(all_of("HEALTHCHECK")[0].partition("CMD ")[2])


def environment() -> dict[str, str]:
    pairs = (pair.partition("=") for text in all_of("ENV") for pair in shlex.split(text))
    return {name: value for name, _, value in pairs}


def pip_command() -> list[str]:
    (found,) = [shlex.split(run) for run in all_of("RUN") if " pip install " in run]
    return found


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


REQUIRED = re.compile(r"\$\{(\w+):\?([^}]+)\}")


def interpolated(text: str, environ: dict[str, str]) -> str:
    """What compose makes of a value; a required variable that is missing is a KeyError."""
    return REQUIRED.sub(lambda match: environ[match[1]], text)


# --- what the files say --------------------------------------------------------------------------


def test_the_image_is_a_slim_python_that_sweep_supports() -> None:
    (base,) = all_of("FROM")
    assert base == "python:3.12-slim"


def test_nothing_runs_as_root() -> None:
    words = [word for word, _ in instructions()]
    (user,) = all_of("USER")
    assert user not in {"root", "0"}
    assert words.index("USER") < words.index("CMD")
    assert "RUN" not in words[words.index("USER") :]
    (added,) = [shlex.split(run) for run in all_of("RUN") if run.startswith("useradd")]
    assert added[-1] == user


def test_commands_are_started_without_a_shell_so_that_signals_reach_them() -> None:
    assert command()[:2] == ["sweep", "serve"]
    assert health_command()[:2] == ["python", "-c"]


def test_no_secret_is_in_the_image_or_the_compose_file() -> None:
    assert not [name for name in environment() if re.search("TOKEN|PASSWORD|SECRET", name)]
    for service in compose()["services"].values():
        for name, value in service["environment"].items():
            if re.search("TOKEN|PASSWORD|STORAGE", name):
                assert REQUIRED.search(value), name


def test_what_is_copied_exists_and_is_sent_to_docker() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    def sent(path: str) -> bool:
        kept = True
        for rule in rules:
            if fnmatch.fnmatch(path, rule.lstrip("!").removeprefix("**/")):
                kept = rule.startswith("!")
        return kept

    for copied in all_of("COPY"):
        for source in shlex.split(copied)[:-1]:
            assert (ROOT / source).exists(), source
            assert sent(source), source
    for path in (".git", ".venv", "sweep.db", "reports", "tests", "__pycache__", ".env"):
        assert not sent(path), path


def test_the_extras_that_are_installed_bring_what_the_service_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"\[(.+)\]", pip_command()[-1])
    assert extras is not None
    wanted = list(project["dependencies"])
    for extra in extras[1].split(","):
        wanted += project["optional-dependencies"][extra]
    names = {re.split(r"[^\w-]", each)[0].lower() for each in wanted}
    assert names >= {"fastapi", "uvicorn", "prometheus-client", "psycopg"}


def test_data_is_kept_on_a_volume() -> None:
    (volume,) = json.loads(all_of("VOLUME")[0])
    assert environment()["SWEEP_STORAGE"].startswith(f"sqlite:///{volume}/")
    assert environment()["SWEEP_CACHE"].startswith(f"{volume}/")
    mounted = dict(each.split(":")[:2] for each in compose()["services"]["sweep"]["volumes"])
    assert mounted["data"] == volume
    assert "data" in compose()["volumes"]


def test_the_ports_agree_and_are_published_on_loopback() -> None:
    arguments = command()
    port = arguments[arguments.index("--port") + 1]
    assert all_of("EXPOSE") == [port]
    assert f"http://127.0.0.1:{port}/healthz" in health_command()[-1]
    assert compose()["services"]["sweep"]["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("missing", ["SWEEP_TOKEN", "SWEEP_DATABASE_PASSWORD"])
def test_compose_does_not_start_without_its_secrets(missing: str) -> None:
    environ = {"SWEEP_TOKEN": TOKEN, "SWEEP_DATABASE_PASSWORD": "secret"}
    text = (ROOT / "compose.yaml").read_text()
    assert not re.search(r"\$\{\w+\}|\$\{\w+:?-", text), "a secret that may be empty"
    interpolated(text, environ)
    del environ[missing]
    with pytest.raises(KeyError, match=missing):
        interpolated(text, environ)


def test_compose_gives_the_service_a_store_in_its_database() -> None:
    services = compose()["services"]
    environ = {"SWEEP_TOKEN": TOKEN, "SWEEP_DATABASE_PASSWORD": "0a1b2c"}
    url = interpolated(services["sweep"]["environment"]["SWEEP_STORAGE"], environ)
    database = services["database"]["environment"]
    user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
    assert url == f"postgresql://{user}:0a1b2c@database:5432/{name}"
    check_storage_url(url)
    assert interpolated(database["POSTGRES_PASSWORD"], environ) == "0a1b2c"
    assert services["sweep"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["database"]["healthcheck"]["test"][0] == "CMD"
    assert "ports" not in services["database"]


# --- what they run -------------------------------------------------------------------------------


def test_pip_takes_the_files_that_are_copied(tmp_path: Path) -> None:
    """Found wanting: a file that the build needs and that is not copied."""
    for copied in all_of("COPY"):
        *sources, target = shlex.split(copied)
        if not target.startswith("./"):
            continue
        for source in sources:
            place = tmp_path / target / ("" if (ROOT / source).is_dir() else source)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, place)
    words = [sys.executable, *pip_command()[1:], "--dry-run", "--no-deps"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if "No matching distribution found for setuptools" in done.stdout + done.stderr:
        pytest.skip("no package index to take the build backend from")
    assert done.returncode == 0, done.stderr
    assert "Would install sweep-" in done.stdout


@pytest.mark.skipif(
    shutil.which("useradd") is None or os.geteuid() != 0, reason="needs useradd, and root"
)
def test_the_user_can_be_added(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "shadow", "group", "gshadow", "login.defs"):
        (tmp_path / "etc" / name).touch()
    (run,) = [shlex.split(run) for run in all_of("RUN") if run.startswith("useradd")]
    subprocess.run([run[0], "--prefix", str(tmp_path), *run[1:]], check=True, timeout=60)
    (line,) = (tmp_path / "etc" / "passwd").read_text().splitlines()
    name, _, uid, _, _, home, shell = line.split(":")
    assert (name, uid, home) == (all_of("USER")[0], "10001", "/data")
    assert shell.endswith("nologin")


@pytest.mark.skipif(shutil.which("install") is None, reason="needs coreutils")
def test_the_folder_of_data_can_be_made(tmp_path: Path) -> None:
    (run,) = [shlex.split(run) for run in all_of("RUN") if run.startswith("install")]
    owned = [word for word in run if not word.startswith(("--owner", "--group"))]
    subprocess.run([*owned[:-1], str(tmp_path / "data")], check=True, timeout=60)
    assert (tmp_path / "data").is_dir()
    assert run[-1] == json.loads(all_of("VOLUME")[0])[0]


def test_the_health_of_the_database_can_be_asked_for() -> None:
    folder = programs()
    program = shutil.which("pg_isready", path=folder) or shutil.which("pg_isready")
    if program is None:
        pytest.skip("no client of PostgreSQL")
    name, *words = compose()["services"]["database"]["healthcheck"]["test"][1:]
    assert name == "pg_isready"
    where = ["--host=127.0.0.1", f"--port={free_port()}", "--timeout=5"]
    done = subprocess.run([program, *words, *where], timeout=60)
    assert done.returncode == 2  # nobody answers; a wrong option would be 3


def test_serve_knows_every_option() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sweep.cli", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    for option in (word for word in command() if word.startswith("--")):
        assert option in done.stdout
    assert "SWEEP_TOKEN" in done.stdout
    assert "--allow-host" in done.stdout  # compose.yaml speaks of it


@contextmanager
def container(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run what the container runs: on loopback, on a free port, with its folders in `tmp_path`."""
    replaced = {"8080": str(port), "0.0.0.0": "127.0.0.1", "/studies": str(ROOT / "studies")}
    words = [sys.executable, "-m", "sweep.cli"]
    words += [replaced.get(word, word) for word in command()[1:]]
    environ = {name: value.replace("/data", str(tmp_path)) for name, value in environment().items()}
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT), "SWEEP_TOKEN": TOKEN},
        stderr=(tmp_path / "log").open("wb"),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def status(url: str, token: str | None = None) -> int:
    request = urllib.request.Request(url)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_service_starts_is_healthy_wants_its_token_and_stops_when_told(tmp_path: Path) -> None:
    port = free_port()
    health = [
        sys.executable,
        *health_command()[1:-1],
        health_command()[-1].replace("8080", str(port)),
    ]
    with container(tmp_path, port) as process:
        end = time.monotonic() + PATIENCE
        while subprocess.run(health, capture_output=True, timeout=60).returncode:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.2)
        studies = f"http://127.0.0.1:{port}/api/v1/studies"
        assert (status(studies), status(studies, TOKEN)) == (401, 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    log = (tmp_path / "log").read_text()
    assert TOKEN not in log
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    asked = {(event["path"], event["status"]) for event in events if event["event"] == "request"}
    assert {("/healthz", 200), ("/api/v1/studies", 401), ("/api/v1/studies", 200)} <= asked
