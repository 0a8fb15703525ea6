"""Workers by the command line: the same study, stopped and killed as one without them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from command_line import Run, wait_for
from sweep.search.records import load_study_record

pytestmark = [pytest.mark.usefixtures("in_folder"), pytest.mark.timeout(300)]


def launched(folder, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from sweep.cli import main; main()", "launch", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"SWEEP_CACHE": str(folder / "cache")},
    )


def results(run: Run, storage: str) -> list[tuple[object, ...]]:
    document = json.loads(run("show", "small", "--storage", storage, "--json").out)
    return [
        (t["number"], t["weights"], t["result"]["metrics"], [r["metrics"] for r in t["replicates"]])
        for t in document["trials"]
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--workers", "two"],
            "--workers: execution.workers: found 'two'; allowed: auto, or a who",
        ),
        (
            ["--workers", "-1"],
            "--workers: execution.workers: found '-1'; allowed: auto, or a whole",
        ),
        (["--num-cpus", "0"], "--num-cpus: execution.num_cpus: found 0; allowed: greater than or"),
        (["--batch", "0"], "--batch: sampler.batch: found 0; allowed: greater than or equal to 1"),
        (
            ["--executor", "slurm"],
            "--executor: execution.executor: found 'slurm'; allowed: 'local'",
        ),
        (["--set", "training.epochs=-1"], "--set: training.epochs: found -1; allowed: "),
        (["--storage", "postgres://db/s"], "allowed: sqlite:///FILE, postgresql+psycopg://"),
    ],
)
def test_a_wrong_option_is_told_by_its_own_name_before_anything_is_prepared(run, options, told):
    ran = run("launch", "small.toml", *options)
    assert ran.code == 2
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.slow
def test_in_batches_one_worker_and_three_give_the_same_study_to_the_last_digit(run):
    found = []
    for workers in ("1", "3"):
        storage = f"sqlite:///workers-{workers}.db"
        options = ("--workers", workers, "--num-cpus", "1", "--batch", "3", "--trials", "9")
        ran = run("launch", "small.toml", "--storage", storage, *options)
        assert ran.code == 0, ran.err
        words = "worker" if workers == "1" else "workers"
        assert f"Starting {workers} {words}, with 1 of " in ran.err
        found.append(results(run, storage))
    assert found[0] == found[1]
    assert len(found[0]) == 9


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_a_job_lets_the_workers_finish_what_they_train(folder, run, number):
    storage = f"sqlite:///stopped-{number}.db"
    options = ("small.toml", "--storage", storage, "--workers", "2", "--trials", "5000")
    process = launched(folder, *options)
    wait_for(process, "trial 5/")
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    for one in (process.pid, *(worker.pid for worker in workers)):
        os.kill(one, number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Stopping when what is running is recorded" in rest
    record = load_study_record(storage, "small")
    assert {trial.state for trial in record.trials} == {"complete"}
    assert 5 <= len(record.trials) < 5000
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    total = str(len(record.trials) + 2)
    ran = run("launch", "small.toml", "--storage", storage, "--workers", "2", "--trials", total)
    assert ran.code == 0, ran.err
    assert len(load_study_record(storage, "small").complete) == int(total)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(folder):
    storage = "sqlite:///worker-killed.db"
    options = ("small.toml", "--storage", storage, "--workers", "2", "--trials", "150")
    process = launched(folder, *options)
    wait_for(process, "trial 5/")
    psutil.Process(process.pid).children()[0].kill()
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    record = load_study_record(storage, "small")
    assert [trial.state for trial in record.trials] == ["complete"] * 150


@pytest.mark.slow
def test_of_two_launches_on_a_database_server_one_runs_and_the_other_explains(folder, postgresql):
    url = postgresql.url(postgresql.new_database())
    options = ("small.toml", "--storage", url, "--trials", "400", "--set", "budget.replicates=0")
    first = launched(folder, *options)
    wait_for(first, "trial 3/")
    second = launched(folder, *options)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 2
    last = said.splitlines()[-1]
    assert f"study 'small' is being launched by process {first.pid} on " in last
    assert " since 2" in last
    assert "its lease expires in" in last
    assert "s3cret" not in said
    _, rest = first.communicate(timeout=200)
    assert first.returncode == 0, rest
    assert "Next: sweep report small --storage 'postgresql+psycopg://sweep:***@" in rest
    assert "s3cret" not in rest
    record = load_study_record(url, "small")
    assert [trial.state for trial in record.trials] == ["complete"] * 400


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", "-1"), ("execution.workers", "-1")),
        (("--workers", "many"), ("execution.workers", "many", "auto")),
        (("--executor", "dask"), ("execution.executor", "dask", "local", "ray")),
        (("--address", "head:6379"), ("address", "ray")),
        (("--num-gpus", "1"), ("num_gpus", "ray")),
        (("--batch", "0"), ("sampler.batch", "0")),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(run, options, words):
    ran = run("launch", "small.toml", "--storage", "sqlite:///never.db", *options)
    assert ran.code == 2
    assert all(word in ran.err for word in words), ran.err
    assert not os.path.exists("never.db")  # noqa: PTH110


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_an_error_before_the_study_begins(run):
    began = time.monotonic()
    ran = run(
        *("launch", "small.toml", "--storage", "sqlite:///nowhere.db"),
        *("--executor", "ray", "--address", "127.0.0.1:9"),
    )
    assert ran.code == 2
    assert "127.0.0.1:9" in ran.err
    assert "ray start" in ran.err
    assert time.monotonic() - began < 60
