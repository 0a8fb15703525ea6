"""The service as a whole: studies launched, stopped, resumed, killed and exported over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack

import httpx
import pytest
from serving import Served, serving

from command_line import SMALL_STUDY
from sweep.search.records import load_study_record
from sweep.service.connections import raise_file_limit

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.fixture(scope="module")
def small(service) -> Served:
    """The service, with the small study complete."""
    service.post("/studies", {"file": "small.toml", "key": "first"}, 201)
    assert service.await_state("small", "complete", "failed")["message"] is None
    return service


def sweep(service: Served, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "sweep.cli", *arguments],
        cwd=service.folder,
        env=os.environ | {"SWEEP_STORAGE": service.storage},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_a_launched_study_is_the_one_that_the_command_line_makes(small, run, in_folder):
    assert run("launch", "small.toml", "--storage", "sqlite:///own.db").code == 0
    own = load_study_record(f"sqlite:///{in_folder}/own.db", "small")
    there = load_study_record(small.storage, "small")
    assert [t.weights for t in there.trials] == [t.weights for t in own.trials]
    assert [t.result.metrics for t in there.trials if t.result] == [
        t.result.metrics for t in own.trials if t.result
    ]
    assert [t.replicates for t in there.complete if t.replicates]


@pytest.mark.slow
def test_the_front_by_http_is_the_one_by_command_line(small):
    assert small.get("/studies/small/front")["front"] == json.loads(
        sweep(small, "front", "small", "--json")
    )


@pytest.mark.slow
def test_points_are_columns_of_equal_length_and_agree_with_the_trials(small):
    points = small.get("/studies/small/points")
    trials = small.get("/studies/small/trials", params={"limit": 500})["trials"]
    assert points["number"] == [trial["number"] for trial in trials]
    assert points["x"] == [trial["metrics"]["rmse"] for trial in trials]
    assert points["on_front"] == [trial["on_front"] for trial in trials]
    assert len({len(column) for key, column in points.items() if key in ("x", "y", "n")}) == 1


@pytest.mark.slow
def test_trials_are_paged_and_sorted(small):
    path = "/studies/small/trials"
    best = small.get(path, params={"sort": "rmse", "limit": 4})
    rest = small.get(path, params={"sort": "rmse", "offset": 4})
    assert (best["total"], len(best["trials"]), len(rest["trials"])) == (6, 4, 2)
    values = [trial["metrics"]["rmse"] for trial in best["trials"] + rest["trials"]]
    assert values == sorted(values)
    down = small.get(path, params={"sort": "rmse", "order": "desc"})["trials"]
    assert [trial["metrics"]["rmse"] for trial in down] == values[::-1]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["knee", "min:rmse", "trial:3", "rmse<=99"])
def test_a_rule_chooses_what_the_command_line_chooses(small, rule):
    found = small.get("/studies/small/selection", params={"rule": rule})
    told = json.loads(sweep(small, "choose", "small", "--pick", rule, "--json"))
    assert (found["trial"], found["reason"]) == (told["trial"], told["reason"])


@pytest.mark.slow
def test_an_export_is_the_command_lines_but_for_its_time(small):
    asked = small.post("/studies/small/exports", {"rule": "knee", "model": True}, 202)
    deadline = time.monotonic() + 120
    while asked["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
        asked = small.get(f"/exports/{asked['id']}")
    assert asked["state"] == "ready", asked
    there = small.client.get(asked["files"]["weights"]).json()
    output = small.folder / "best.json"
    sweep(small, "export", "small", "--pick", "knee", "--output", str(output))
    own = json.loads(output.read_text())
    assert {**there, "created": None} == {**own, "created": None}
    archive = small.client.get(asked["files"]["model"])
    assert archive.content[:2] == b"PK"
    assert b"saved_model.pb" in archive.content


@pytest.mark.slow
def test_an_answer_that_is_known_is_not_sent_again(small):
    path = "/api/v1/studies/small/front"
    first = small.client.get(path)
    again = small.client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/studies/smal", 404, "did you mean 'small'"),
        ("/studies/small/trials/99", 404, "has no trial 99"),
        ("/studies/small/selection?rule=knees", 422, "knees"),
        ("/studies/small/selection?rule=rmse<=0.001", 422, "the closest is trial"),
        ("/study-files/..%2Fsweep.db", 404, "no study file"),
        ("/exports/0123456789abcdef0123456789abcdef", 404, "no export"),
    ],
)
def test_errors_are_problems_with_the_words_of_the_command_line(small, path, status, told):
    answer = small.client.get(f"/api/v1{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if "/study-files/" not in path:
        assert told in answer.json()["detail"]


@pytest.mark.slow
def test_the_same_key_again_launches_nothing(small):
    before = small.get("/studies/small")
    small.post("/studies", {"file": "small.toml", "key": "first"}, 200)
    assert small.get("/studies/small") == before


@pytest.mark.slow
def test_a_key_that_was_used_for_another_launch_is_refused(small):
    other = {"file": "small.toml", "key": "first", "overrides": ["budget.trials=7"]}
    assert "draw a new one" in small.post("/studies", other, 409)["detail"]


@pytest.mark.slow
def test_a_draft_says_all_that_is_wrong_and_what_it_would_take(small):
    wrong = small.post("/drafts", {"file": "small.toml", "overrides": ["training.epochs=-1"]})
    assert wrong["valid"] is False
    assert "training.epochs: found -1" in wrong["problems"][0]
    right = small.post("/drafts", {"file": "small.toml", "overrides": ["budget.trials=100"]})
    assert right["exists"] is True
    assert right["estimate"]["seconds"] > 0
    assert "as in study small" in right["estimate"]["text"]


@pytest.mark.slow
def test_a_study_is_archived_and_restored_with_all_it_has(small):
    before = small.get("/studies/small/front")["front"]
    assert small.client.delete("/api/v1/studies/small").status_code == 200
    assert small.get("/studies")["total"] == 0
    assert [one["name"] for one in small.get("/studies?archived=true")["studies"]] == ["small"]
    refused = subprocess.run(
        [sys.executable, "-m", "sweep.cli", "launch", "studies/small.toml"],
        cwd=small.folder,
        env=os.environ | {"SWEEP_STORAGE": small.storage},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "study 'small' is archived; sweep restore it first" in refused.stderr
    draft = small.post("/drafts", {"file": "small.toml"})
    assert draft["problems"] == ["study 'small' is archived; restore it first"]
    small.post("/studies/small/restore")
    assert small.get("/studies")["total"] == 1
    assert small.get("/studies/small/front")["front"] == before


def events(served: Served, study: str, last: str | None = None, until: int = 1) -> list[dict]:
    """The first events of a stream, as many as asked."""
    headers = {"Last-Event-ID": last} if last else {}
    found: list[dict] = []
    with served.client.stream("GET", f"/api/v1/studies/{study}/events", headers=headers) as answer:
        one: dict[str, str] = {}
        for line in answer.iter_lines():
            key, _, value = line.partition(": ")
            if not line and "event" in one:
                found.append(one)
                if len(found) == until:
                    break
            one = {} if not line else one | {key: value}
    return found


@pytest.mark.slow
def test_a_study_is_watched_stopped_and_resumed_and_no_event_is_missed(service):
    service.post("/studies", {"file": "long.toml", "overrides": ["budget.replicates=0"]}, 201)
    service.await_study("long", lambda found: found["done"] >= 3)
    seen = events(service, "long", until=12)
    assert seen[0]["event"] == "snapshot"
    again = events(service, "long", last=seen[5]["id"], until=6)
    assert again == seen[6:12]
    from_the_first = events(service, "long", last=seen[0]["id"], until=6)
    assert from_the_first == seen[1:7]
    numbers = [json.loads(e["data"])["number"] for e in seen if e["event"] == "trial"]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    service.post("/studies/long/stop")
    stopped = service.await_state("long", "stopped")
    assert stopped["counts"].keys() == {"complete"}  # what ran was finished
    service.post("/studies/long/resume")
    more = service.await_study("long", lambda found: found["done"] > stopped["done"])
    assert more["state"] == "running"
    assert service.client.post("/api/v1/studies/long/resume", json={}).status_code == 409
    service.post("/studies/long/stop")
    service.await_state("long", "stopped")


@pytest.mark.slow
def test_kills_of_the_service_and_of_its_child_lose_nothing(tmp_path):
    wanted = 60
    with serving(tmp_path) as served:
        changed = [f"budget.trials={wanted}", "budget.replicates=0", "name=storm"]
        served.post("/studies", {"file": "small.toml", "overrides": changed}, 201)
        for number in range(6):
            seen = served.get("/studies/storm")["done"]
            if number % 2:
                served.kill()
                served.restart()
            elif (child := served.child()) is not None:
                os.kill(child, signal.SIGKILL)
            served.await_study(
                "storm", lambda found, seen=seen: found["done"] > min(seen, wanted - 1)
            )
        served.await_state("storm", "complete")
        record = load_study_record(served.storage, "storm")
    assert len(record.complete) == wanted
    replaced = [t.weights for t in record.complete if t.reference is None]
    assert len(set(replaced)) == len(replaced)


@pytest.mark.slow
def test_optunas_dashboard_reads_the_store_and_can_change_nothing(small):
    found = small.client.get("/api/studies").json()["study_summaries"]
    number = next(one["study_id"] for one in found if one["study_name"] == "small")
    before = small.client.get(f"/api/studies/{number}").json()
    assert len(before["trials"]) == len(small.get("/studies/small/points")["number"])
    for method, path in (
        ("POST", "/api/studies"),
        ("DELETE", f"/api/studies/{number}"),
        ("POST", f"/api/studies/{number}/rename"),
        ("PUT", f"/api/studies/{number}/note"),
    ):
        assert small.client.request(method, path, json={}).status_code == 405
    assert small.client.post("/api/trials/1/tell", json={}).status_code == 404
    assert small.client.get(f"/api/studies/{number}").json() == before
    bundle = small.client.build_request("GET", "/static/bundle.js")
    del bundle.headers["accept-encoding"]
    assert small.client.send(bundle).status_code == 200
    assert "GET" in small.client.post("/dashboard", json={}).headers["allow"]
    page = small.client.get("/dashboard/studies/1")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert "unsafe" not in small.client.get("/").headers["content-security-policy"]


@pytest.mark.slow
def test_what_was_launched_at_a_command_line_is_complete_once_all_is_there(service):
    launch = ["launch", "studies/small.toml", "--set=name=by-hand"]
    sweep(service, *launch, "--set=budget.replicates=0")
    assert service.get("/studies/by-hand")["state"] == "complete"
    sweep(service, *launch, "--set=budget.replicates=0", "--trials=7")
    found = service.await_study("by-hand", lambda found: found["done"] == 7)
    assert (found["state"], found["asked"]) == ("complete", 7)


@pytest.mark.slow
def test_attacks_are_refused_and_a_running_study_is_as_it_is_without_them(tmp_path, run, in_folder):
    budget = ["budget.trials=100000", "budget.replicates=0", "sampler.name=qmc"]
    with serving(tmp_path, token="correct-horse-battery") as served, ExitStack() as open_ones:
        served.post("/studies", {"file": "small.toml", "overrides": budget}, 201)
        served.await_study("small", lambda found: found["done"] >= 2)
        attacker = open_ones.enter_context(  # another address: the rate of the user's is its own
            httpx.Client(
                base_url=served.url, transport=httpx.HTTPTransport(local_address="127.0.0.2")
            )
        )
        refused: Counter[int] = Counter()
        raise_file_limit()
        for number in range(1000):
            slow = socket.create_connection(
                ("127.0.0.1", served.port), source_address=("127.0.0.3", 0)
            )
            open_ones.enter_context(slow)
            slow.sendall(b"GET /api/v1/studies HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            if number % 10 == 0:
                refused.update(attacks(attacker, number))
                assert served.client.get("/healthz").status_code == 200
        assert served.get("/studies/small")["state"] == "running"
        served.post("/studies/small/stop")
        done = served.await_state("small", "stopped", "failed")["done"]
        log = (tmp_path / "service.log").read_text()
    assert set(refused) == {400, 401, 403, 413, 421, 429}
    assert "Traceback" not in log
    options = [f"--set={one}" for one in (f"budget.trials={done}", *budget[1:])]
    assert run("launch", "small.toml", "--storage", "sqlite:///calm.db", *options).code == 0
    own = load_study_record(f"sqlite:///{in_folder}/calm.db", "small")
    there = load_study_record(served.storage, "small")
    assert [t.weights for t in there.trials] == [t.weights for t in own.trials]
    assert [t.result.metrics for t in there.trials if t.result] == [
        t.result.metrics for t in own.trials if t.result
    ]


def attacks(attacker: httpx.Client, number: int) -> list[int]:
    """What each answers; none of them has the token."""
    zeros = {"content": b"{" + bytes(2**20), "headers": {"Content-Type": "application/json"}}
    answers = [
        attacker.get("/api/v1/studies"),
        attacker.get("/api/v1/studies", headers={"Host": "evil.example"}),
        attacker.get("/api/v1/study-files/..%2F..%2Fetc%2Fpasswd"),
        attacker.post("/api/v1/session", json={"token": f"incorrect-horse-{number}"}),
        attacker.post("/api/v1/session", **zeros),
        attacker.post("/api/v1/studies/small/stop", json={}, headers={"Origin": "http://evil"}),
        attacker.request("DELETE", "/api/v1/studies/small"),
        attacker.get("/api/v1/studies", headers={"Host": "a b"}),
    ]
    return [one.status_code for one in answers]


@pytest.mark.slow
def test_the_address_that_is_told_has_the_port_that_was_found(tmp_path):
    command = [sys.executable, "-m", "sweep.cli", "serve", "--port", "0", "--studies", "."]
    with subprocess.Popen(
        [*command, "--storage", "sqlite:///s.db"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            told = next(line for line in process.stderr if line.startswith("sweep at "))
            answer = httpx.get(told.split()[2] + "healthz", trust_env=False)
        finally:
            process.send_signal(signal.SIGTERM)
    assert answer.status_code == 200


@pytest.mark.slow
def test_with_a_token_only_its_bearer_gets_in(tmp_path):
    with serving(tmp_path, token="correct-horse-battery") as served:
        assert served.get("/studies")["total"] == 0
        bare = httpx.get(f"{served.url}/api/v1/studies", trust_env=False)
        assert bare.status_code == 401
        assert httpx.get(f"{served.url}/api/studies", trust_env=False).status_code == 401
        wrong = httpx.post(
            f"{served.url}/api/v1/session", json={"token": "incorrect-horse"}, trust_env=False
        )
        assert wrong.status_code == 401
        right = httpx.post(
            f"{served.url}/api/v1/session", json={"token": "correct-horse-battery"}, trust_env=False
        )
        assert right.status_code == 204
        again = httpx.get(f"{served.url}/api/v1/studies", cookies=right.cookies, trust_env=False)
        assert again.status_code == 200
        log = (served.folder / "service.log").read_text()
    assert "horse" not in log


@pytest.mark.slow
def test_on_a_database_server_a_study_is_launched_killed_and_completed(tmp_path, postgresql):
    url = postgresql.url(postgresql.new_database())
    with serving(tmp_path, storage=url) as served:
        lease = ["execution.lease_seconds=8", "budget.trials=40", "budget.replicates=0"]
        served.post("/studies", {"file": "small.toml", "overrides": lease}, 201)
        served.await_study("small", lambda found: found["done"] >= 3)
        child = served.child()
        assert child is not None
        os.kill(child, signal.SIGKILL)
        served.await_state("small", "complete", "failed")
        log = (tmp_path / "service.log").read_text()
    record = load_study_record(url, "small")
    assert len(record.complete) == 40
    password = url.partition("//")[2].partition("@")[0].partition(":")[2]
    assert password == "" or password not in log


@pytest.mark.slow
def test_a_launch_that_would_not_compare_is_refused_and_nothing_is_changed(small):
    before = small.get("/studies/small")
    other = {"file": "small.toml", "overrides": ["training.epochs=3"]}
    told = small.post("/studies", other, 409)["detail"]
    assert "training.epochs: 2 → 3" in told
    assert small.post("/drafts", other)["problems"] == told.splitlines()
    assert small.get("/studies/small") == before


@pytest.mark.slow
def test_a_study_that_failed_before_its_first_trial_says_why_everywhere(service):
    text = SMALL_STUDY.replace('"small"', '"nowhere"').replace('"synthetic"', '"nowhere.csv"')
    columns = 'query = "u"\ncandidate = "i"\nlabel = "r"\n'
    text = re.sub(r"\[dataset.synthetic\](.|\n)*?(?=\[model\])", columns, text)
    service.post("/studies", {"text": text}, 201)
    message = service.await_state("nowhere", "failed")["message"]
    assert "nowhere.csv" in message
    ran = subprocess.run(
        [sys.executable, "-m", "sweep.cli", "show", "nowhere", "--storage", service.storage],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "has no trials yet; its launch failed" in ran.stderr
    assert "nowhere" in sweep(service, "list")


@pytest.mark.slow
def test_a_store_is_served_once_and_a_port_is_told_that_is_taken(service):
    command = [sys.executable, "-m", "sweep.cli", "serve", "--studies", "studies"]
    environment = os.environ | {"SWEEP_STATE": str(service.folder / "state")}

    def ended(*options: str) -> str:
        ran = subprocess.run(
            [*command, *options],
            cwd=service.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 2
        return ran.stderr

    assert "is served by process" in ended("--port", "0", "--storage", service.storage)
    taken = ended("--port", str(service.port), "--storage", "sqlite:///another.db")
    assert f"choose another port, such as --port {service.port + 1}" in taken
