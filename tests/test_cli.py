"""The command line, from a study file to a prediction, on the planted dataset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweep import cli
from sweep.config import METRICS
from sweep.export import load_weights

STUDY = """
name = "small"
[dataset]
name = "synthetic"
[dataset.synthetic]
queries = 40
candidates = 30
interactions = 1000
[model]
embedding_dimension = 8
rating_layers = [16]
[training]
epochs = 2
batch_size = 256
retrieval_reduction = "sum"
[search_space]
rating_weight = { low = 0.1, high = 10.0 }
retrieval_weight = { low = 0.1, high = 10.0 }
[sampler]
startup_trials = 3
[budget]
trials = 6
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys, monkeypatch) -> Run:
    """Calls the command as the shell would, in this process."""

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stopped:
            code = (
                stopped.code if isinstance(stopped.code, int) else 0 if stopped.code is None else 1
            )
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cli")
    (path / "small.toml").write_text(STUDY)
    return path


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SWEEP_CACHE", str(folder / "cache"))
    monkeypatch.delenv("SWEEP_STORAGE", raising=False)


@pytest.fixture
def launched(run, folder) -> Path:
    """The folder with a finished study in its sweep.db; the study is launched once."""
    if not (folder / "sweep.db").exists():
        ran = run("launch", "small.toml")
        assert ran.code == 0, ran.err
    return folder


@pytest.mark.usefixtures("launched")
def test_launch_trains_the_asked_trials_and_says_what_to_do_next(run):
    ran = run("launch", "small.toml")
    assert ran.code == 0
    assert "already complete" in ran.err
    assert "Pareto front of small" in ran.out
    assert "sweep export small --pick knee" in ran.err


def test_progress_tells_trials_time_best_and_hypervolume(run):
    ran = run("launch", "small.toml", "--trials", "4", "--storage", "sqlite:///progress.db")
    assert "trial 4/4" in ran.err
    assert "left" in ran.err
    assert "best rmse " in ran.err
    assert "hypervolume " in ran.err


@pytest.mark.usefixtures("launched")
def test_list_names_every_study_with_its_counts(run):
    assert "small" in run("list").out
    [study] = json.loads(run("list", "--json").out)
    assert (study["name"], study["complete"], study["failed"], study["asked"]) == ("small", 6, 0, 6)


@pytest.mark.usefixtures("launched")
def test_show_tells_data_settings_and_references(run):
    shown = run("show", "small").out
    for words in ("1,000 interactions", "batch_size 256", "rating only", "retrieval only"):
        assert words in shown
    document = json.loads(run("show", "small", "--json").out)
    assert len(document["trials"]) == 6
    assert document["trials"][0]["result"]["metrics"].keys() == METRICS.keys()
    assert len(document["trials"][0]["result"]["history"]) == 2


@pytest.mark.usefixtures("launched")
def test_front_json_is_sorted_by_the_first_objective_and_not_dominated(run):
    front = json.loads(run("front", "small", "--json").out)
    assert all(
        list(member) == ["trial", "rating_weight", "retrieval_weight", "metrics"]
        for member in front
    )
    assert all(member["metrics"].keys() == METRICS.keys() for member in front)
    errors = [member["metrics"]["rmse"] for member in front]
    accuracies = [member["metrics"]["top_100_accuracy"] for member in front]
    assert errors == sorted(errors)
    assert accuracies == sorted(accuracies)


def test_report_writes_every_file(run, launched):
    assert run("report", "small").code == 0
    written = {path.name for path in (launched / "reports" / "small").iterdir()}
    assert written >= {
        "index.html",
        "pareto_front.png",
        "pareto_front.svg",
        "trials.csv",
        "front.csv",
        "report.json",
    }


@pytest.mark.usefixtures("launched")
def test_export_model_and_predict_go_together(run):
    ran = run("export", "small", "--pick", "knee", "--output", "best.json", "--model", "model")
    assert ran.code == 0, ran.err
    assert "no metric moved by more than 0" in ran.err
    exported = load_weights("best.json")
    assert exported == load_weights("model/sweep.json")
    front = json.loads(run("front", "small", "--json").out)
    member = next(member for member in front if member["trial"] == exported.trial)
    assert exported.rating_weight == member["rating_weight"]
    assert exported.metrics == member["metrics"]

    recommended = json.loads(
        run("predict", "model", "--user", "query 0000007", "--top", "3", "--json").out
    )
    assert len(recommended) == 3
    scores = [one["score"] for one in recommended]
    assert scores == sorted(scores, reverse=True)
    one = recommended[0]["candidate"]
    rating = json.loads(
        run("predict", "model", "--user", "query 0000007", "--movie", one, "--json").out
    )
    assert (
        run("predict", "model", "--user", "query 0000007", "--movie", one).out
        == f"{rating['rating']:.4f}\n"
    )
    assert one in run("predict", "model", "--user", "query 0000007", "--top", "3").out

    again = run("export", "small", "--pick", "knee", "--output", "two.json", "--model", "model")
    assert again.code == 2
    assert "exists already" in again.err
    assert not Path("two.json").exists()


@pytest.mark.usefixtures("launched")
def test_environment_names_the_storage_and_the_option_wins(run, monkeypatch):
    monkeypatch.setenv("SWEEP_STORAGE", "sqlite:///nowhere.db")
    ran = run("list")
    assert ran.code == 2
    assert "nowhere.db" in ran.err
    assert run("list", "--storage", "sqlite:///sweep.db").code == 0
    assert not Path("nowhere.db").exists()


def test_data_show_counts_the_planted_dataset(run):
    shown = run("data", "show", "small.toml")
    assert "1,000" in shown.out
    described = json.loads(run("data", "show", "synthetic", "--json").out)
    assert described["interactions"] == 12_000
    assert run("data", "prepare", "synthetic").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *(
            [name, "--help"]
            for name in ("launch", "list", "show", "front", "report", "export", "predict", "data")
        ),
    ],
    ids=" ".join,
)
def test_help_of_every_command(run, arguments):
    ran = run(*arguments)
    assert ran.code == 0
    assert "Usage" in ran.out


def subprocess_run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["front", "small"], ["list"], ["report", "small"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("launched")
def test_looking_at_a_study_imports_no_tensorflow(arguments):
    code = """
import sys
from sweep import cli
sys.argv[0] = "sweep"
try:
    cli.main()
except SystemExit as stopped:
    assert not stopped.code
assert "sweep" in sys.modules
print("loaded:", sorted({"tensorflow", "tf_keras", "tensorflow_recommenders"} & set(sys.modules)))
"""
    assert "loaded: []" in subprocess_run(code, *arguments).stdout


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_loses_nothing_and_the_next_launch_completes(folder, run, interrupts):
    storage = f"sqlite:///interrupted-{interrupts}.db"
    command = [sys.executable, "-m", "sweep.cli", "launch", "small.toml", "--storage", storage]
    process = subprocess.Popen(
        [*command, "--trials", "5000"], stderr=subprocess.PIPE, text=True, cwd=folder
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial 5/"):
            break
    for _ in range(interrupts):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    before = json.loads(run("show", "small", "--storage", storage, "--json").out)["trials"]
    complete = [trial for trial in before if trial["state"] == "complete"]
    assert 5 <= len(complete) < 5000
    total = len(complete) + 3
    ran = run("launch", "small.toml", "--trials", str(total), "--storage", storage)
    assert ran.code == 0, ran.err
    after = json.loads(run("show", "small", "--storage", storage, "--json").out)["trials"]
    assert sum(trial["state"] == "complete" for trial in after) == total
    numbered = {trial["number"]: trial for trial in after}
    assert all(numbered[trial["number"]] == trial for trial in complete)


@pytest.mark.slow
def test_kill_9_loses_nothing_and_the_next_launch_completes(folder, run):
    storage = "sqlite:///killed.db"
    command = [sys.executable, "-m", "sweep.cli", "launch", "small.toml", "--storage", storage]
    process = subprocess.Popen(
        [*command, "--trials", "5000"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"SWEEP_CACHE": str(folder / "cache")},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial 7/"):
            break
    process.kill()
    process.communicate(timeout=60)
    before = json.loads(run("show", "small", "--storage", storage, "--json").out)["trials"]
    complete = [trial for trial in before if trial["state"] == "complete"]
    assert len(complete) >= 7
    ran = run("launch", "small.toml", "--trials", "20", "--storage", storage)
    assert ran.code == 0, ran.err
    after = json.loads(run("show", "small", "--storage", storage, "--json").out)["trials"]
    assert sum(trial["state"] == "complete" for trial in after) == max(20, len(complete))
    numbered = {trial["number"]: trial for trial in after}
    assert all(numbered[trial["number"]] == trial for trial in complete)


def test_the_same_study_twice_gives_the_same_trials_to_the_last_digit(run):
    def trials(storage: str) -> list[object]:
        ran = run("launch", "small.toml", "--trials", "9", "--storage", storage)
        assert ran.code == 0, ran.err
        document = json.loads(run("show", "small", "--storage", storage, "--json").out)
        return [
            (
                trial["weights"],
                trial["seed"],
                trial["result"]["metrics"],
                trial["result"]["history"],
            )
            for trial in document["trials"]
        ]

    first = trials("sqlite:///first.db")
    assert len(first) == 9
    assert trials("sqlite:///second.db") == first
