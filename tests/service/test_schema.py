"""What the OpenAPI document promises, held against the service by schemathesis and hypothesis."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import serving

from command_line import SMALL_STUDY

CONFIGURATION = """
[checks]
# A rule and a study file have a grammar that no JSON Schema holds: 422 says what is wrong with one.
positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422]
# A body beyond the limit is refused before it is read.
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 429]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("schema"), "--rate", "100000") as served:
        for name in ("small.toml", "long.toml"):  # what is launched here ends soon
            (served.folder / "studies" / name).write_text(
                SMALL_STUDY.replace('"small"', f'"{name[:-5]}"').replace("trials = 6", "trials = 3")
            )
        served.post("/studies", {"file": "small.toml"}, 201)
        served.await_state("small", "complete")
        yield served


def fuzz(url: str, folder: Path, examples: int) -> tuple[int, str]:
    """Run schemathesis with all its checks; gives how many requests it made and what it said."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/v1/openapi.json"),
            *("--url", url, "--checks", "all", "--phases", "coverage,fuzzing"),
            *("--max-examples", str(examples), "--seed", "1", "--request-timeout", "20"),
            *("--exclude-path-regex", "/events$"),  # streams without an end
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
    )
    found = re.search(r"(\d[\d,]*) generated", ran.stdout)
    assert found, ran.stdout + ran.stderr
    assert ran.returncode == 0, ran.stdout
    return int(found[1].replace(",", "")), ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_no_request_that_schemathesis_makes_gets_an_answer_that_is_not_documented(service):
    requests, _ = fuzz(service.url, service.folder, 5)
    assert requests > 500
    assert service.client.get("/healthz").status_code == 200


BOMBS = {
    "arrays in arrays": "a = " + "[" * 20_000,
    "tables in tables": "a = " + "{b=" * 10_000,
    "dotted keys": ".".join(["a"] * 20_000) + " = 1",
    "a number of 50,000 digits": "a = " + "9" * 50_000,
    "many keys": "\n".join(f"k{i} = 1" for i in range(6_000)),
    "bytes that are no text": "\x00\x01 = 2",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_of_a_study_file_is_told_to_be_invalid(service, text):
    found = service.post("/drafts", {"text": text})
    assert found["valid"] is False
    assert all(len(problem) < 10_000 for problem in found["problems"])


def test_a_body_beyond_the_limit_is_refused(service):
    answer = service.client.post("/api/v1/drafts", json={"text": "#" * 300_000})
    assert answer.status_code == 413


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["/etc/passwd.csv", "../../secret.csv", "../sweep.db.csv", "a\x00b.csv"]
)
def test_a_dataset_outside_the_study_files_is_refused(service, name):
    columns = 'query = "u"\ncandidate = "m"\nlabel = "r"\n'
    text = SMALL_STUDY.replace('name = "synthetic"\n', f"name = {json.dumps(name)}\n{columns}", 1)
    text = re.sub(r"\[dataset.synthetic\](?:\n\w+ = \d+){3}", "", text)
    found = service.post("/drafts", {"text": text})
    assert found["valid"] is False


LINES = SMALL_STUDY.strip().splitlines()
VALUES = st.one_of(
    st.integers(), st.floats(), st.text(max_size=20), st.booleans(), st.lists(st.integers())
)


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_study_files_with_anything_in_them_never_break_the_service(service, data):
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(lines) - 1))
        key = lines[index].partition("=")[0]
        lines[index] = data.draw(
            st.one_of(
                st.text(max_size=60),
                VALUES.map(lambda value, key=key: f"{key} = {value!r}"),
                st.just(""),
            )
        )
    answer = service.client.post("/api/v1/drafts", json={"text": "\n".join(lines)})
    assert answer.status_code in (200, 422), answer.text
    assert "Traceback" not in answer.text
    if answer.status_code == 200 and not answer.json()["valid"]:
        assert answer.json()["problems"]


@pytest.mark.slow
def test_script_in_a_name_is_refused_before_it_is_stored(service):
    answer = service.client.post(
        "/api/v1/studies",
        json={"file": "small.toml", "overrides": ["name='<script>alert(1)</script>'"]},
    )
    assert answer.status_code == 422
    assert "allowed: letters, digits" in answer.json()["detail"]


@pytest.mark.slow
def test_another_sites_page_cannot_launch(service):
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = httpx.post(
            f"{service.url}/api/v1/studies",
            json={"file": "small.toml"},
            headers=headers,
            trust_env=False,
        )
        assert answer.status_code == 403
    rebound = httpx.get(
        f"{service.url}/api/v1/studies", headers={"Host": "evil.example"}, trust_env=False
    )
    assert rebound.status_code in (400, 421)
