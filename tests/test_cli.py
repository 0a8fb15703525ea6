"""The command line, from a study file to a prediction, on the planted dataset."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from builders import whole_record
from command_line import Run, wait_for
from sweep import cli, terminal
from sweep.config import METRICS
from sweep.export import load_weights
from sweep.report.summary import summarise

pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.fixture
def launched(run, in_folder) -> Path:
    """The folder with a finished study in its sweep.db; the study is launched once."""
    if not (in_folder / "sweep.db").exists():
        ran = run("launch", "small.toml")
        assert ran.code == 0, ran.err
    return in_folder


@pytest.mark.usefixtures("launched")
def test_launch_trains_the_asked_trials_and_says_what_to_do_next(run):
    ran = run("launch", "small.toml")
    assert ran.code == 0
    assert "already complete" in ran.err
    assert "Pareto front of small" in ran.out
    assert "sweep export small --pick knee" in ran.err


@pytest.mark.usefixtures("launched")
def test_a_study_is_archived_out_of_the_list_and_restored_into_it(run):
    assert "sweep restore small" in run("archive", "small").err
    assert json.loads(run("list", "--json").out) == []
    [study] = json.loads(run("list", "--archived", "--json").out)
    assert study["name"] == "small"
    assert run("restore", "small").code == 0
    [study] = json.loads(run("list", "--json").out)
    assert study["archived"] is None


@pytest.mark.usefixtures("launched")
def test_choose_says_what_a_rule_chooses(run):
    record = json.loads(run("choose", "small", "--pick", "min:rmse", "--json").out)
    front = json.loads(run("front", "small", "--json").out)
    assert record["trial"] == front[0]["trial"]
    assert record["reason"] in run("choose", "small", "--pick", "min:rmse").out


@pytest.mark.usefixtures("launched")
def test_compare_sets_studies_beside_each_other(run):
    document = json.loads(run("compare", "small", "small", "--json").out)
    first, second = document["studies"]
    assert first == second
    assert document["note"] is None
    assert f"{first['hypervolume']:.4f}" in run("compare", "small").out


@pytest.mark.usefixtures("launched")
def test_check_says_whether_a_study_file_is_valid_and_how_long_it_takes(run):
    ran = run("check", "small.toml", "--set", "budget.trials=600")
    assert "study small is valid" in ran.out
    assert "600 trials of 2 epochs" in ran.out
    wrong = run("check", "small.toml", "--set", "training.epochs=0")
    assert (wrong.code, "training.epochs" in wrong.err) == (2, True)
    other = run("check", "small.toml", "--set", "training.epochs=9")
    assert (other.code, "training.epochs: 2 → 9" in other.err) == (2, True)


@pytest.mark.usefixtures("launched")
def test_stop_refuses_what_no_service_runs(run):
    ran = run("stop", "small")
    assert ran.code == 2
    assert "with Ctrl-C" in ran.err


def test_progress_tells_trials_time_best_and_hypervolume(run):
    ran = run("launch", "small.toml", "--trials", "4", "--storage", "sqlite:///progress.db")
    assert "1,000 interactions, 40 queries, 30 candidates" in ran.err
    assert "repeated pairs" in ran.err
    assert "trial 4/4" in ran.err
    assert "left" in ran.err
    assert "best of each, by one seed: rmse " in ran.err
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
    assert all({"trial", "rating_weight", "metrics", "n"} <= member.keys() for member in front)
    assert all(member["metrics"].keys() == METRICS.keys() for member in front)
    errors = [member["metrics"]["rmse"] for member in front]
    accuracies = [member["metrics"]["top_10_accuracy"] for member in front]
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
    assert "No metric moved by more than 0\n" in ran.err
    exported = load_weights("best.json")
    assert exported == load_weights("model/sweep.json")
    front = json.loads(run("front", "small", "--json").out)
    member = next(member for member in front if member["trial"] == exported.trial)
    assert exported.rating_weight == member["rating_weight"]
    assert exported.test["rmse"].mean == member["metrics"]["rmse"]
    assert exported.test["rmse"].n == member["n"] == 2

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
def test_with_validation_rows_the_export_is_scored_on_test_rows_after_a_refit(run):
    options = ("--storage", "sqlite:///validated.db")
    validated = ("--set", "split.validation_fraction=0.2", "--trials", "4")
    assert run("launch", "small.toml", *validated, *options).code == 0
    assert "600 train, 200 validation, 200 test" in run("show", "small", *options).out
    exporting = ("--pick", "knee", "--output", "validated.json", "--model", "validated")
    ran = run("export", "small", *exporting, *options)
    assert ran.code == 0, ran.err
    assert "On the test rows: rmse " in ran.err
    exported = load_weights("validated.json")
    assert exported.validation is not None
    assert exported.test.keys() == exported.validation.keys() == METRICS.keys()
    assert exported.test["rmse"].n == 2
    assert exported.test["rmse"].mean != exported.validation["rmse"].mean
    assert exported == load_weights("validated/sweep.json")
    # The test rows are scored once: another export has the stored scores, and trains nothing.
    again = run("export", "small", "--pick", "knee", "--output", "again.json", *options)
    assert again.code == 0, again.err
    assert "Training" not in again.err
    assert load_weights("again.json").test == exported.test


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


def launched_process(folder: Path, storage: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sweep.cli", "launch", "small.toml", "--storage", storage]
    return subprocess.Popen(
        [*command, *more],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"SWEEP_CACHE": str(folder / "cache")},
    )


def trials_in(run: Run, storage: str) -> list[dict]:
    return json.loads(run("show", "small", "--storage", storage, "--json").out)["trials"]


def assert_next_launch_completes(run: Run, storage: str, before: list[dict]) -> None:
    complete = [trial for trial in before if trial["state"] == "complete"]
    total = len(complete) + 3
    ran = run("launch", "small.toml", "--trials", str(total), "--storage", storage)
    assert ran.code == 0, ran.err
    after = {trial["number"]: trial for trial in trials_in(run, storage)}
    assert sum(trial["state"] == "complete" for trial in after.values()) == total
    assert all(after[trial["number"]] | {"replicates": []} == trial for trial in complete)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_ctrl_c_finishes_the_running_trial(folder, run, number):
    storage = f"sqlite:///stopped-{number}.db"
    process = launched_process(folder, storage, "--trials", "5000")
    wait_for(process, "trial 5/")
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Stopping when what is running is recorded" in rest
    assert f"To go on: sweep launch small.toml --storage {storage} --trials 5000" in rest
    before = trials_in(run, storage)
    assert {trial["state"] for trial in before} == {"complete"}
    assert 5 <= len(before) < 5000
    assert_next_launch_completes(run, storage, before)


def test_an_interrupt_that_compiled_code_hands_on_as_an_error_is_still_an_interrupt():
    def trained_by_compiled_code():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set") from None

    with pytest.raises(KeyboardInterrupt), terminal.Stop().on_signals():
        trained_by_compiled_code()


def test_an_error_without_an_interrupt_is_handed_on():
    with pytest.raises(SystemError, match="its own"), terminal.Stop().on_signals():
        raise SystemError("its own")


@pytest.mark.slow
def test_the_second_ctrl_c_stops_within_a_long_trial(folder, run):
    storage = "sqlite:///interrupted.db"
    long = ("--set", "name=long", "--set", "training.epochs=9999")
    process = launched_process(folder, storage, *long)
    wait_for(process, "trial 0/")
    shown = ("show", "long", "--storage", storage, "--json")
    # A signal before the first trial would keep it from beginning.
    while not json.loads(run(*shown).out)["trials"]:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    wait_for(process, "Stopping when what is running is recorded")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)  # it goes on with the trial
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 130, rest
    assert "Interrupted; nothing that was recorded is lost" in rest
    assert "Traceback" not in rest
    document = json.loads(run(*shown).out)
    assert [trial["state"] for trial in document["trials"]] == ["failed"]
    assert document["trials"][0]["reason"] == "interrupted"


@pytest.mark.slow
def test_ctrl_c_before_the_first_trial_stops_at_once(folder):
    process = launched_process(folder, "sqlite:///early.db")
    wait_for(process, "Starting TensorFlow")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 130, rest
    assert "Interrupted" in rest
    assert "Traceback" not in rest


@pytest.mark.slow
def test_kill_9_loses_nothing_and_the_next_launch_completes(folder, run):
    storage = "sqlite:///killed.db"
    process = launched_process(folder, storage, "--trials", "5000")
    wait_for(process, "trial 7/")
    process.kill()
    process.communicate(timeout=60)
    before = trials_in(run, storage)
    assert sum(trial["state"] == "complete" for trial in before) >= 7
    assert_next_launch_completes(run, storage, before)


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


def test_launch_prints_the_front_as_json_when_asked(run):
    ran = run("launch", "small.toml", "--trials", "3", "--storage", "sqlite:///json.db", "--json")
    front = json.loads(ran.out)
    assert front == json.loads(
        run("front", "small", "--storage", "sqlite:///json.db", "--json").out
    )


@pytest.mark.slow
@pytest.mark.movielens
def test_the_tutorial_stays_within_memory_and_its_model_predicts_alike_everywhere(
    tmp_path, monkeypatch, run
):
    monkeypatch.delenv("SWEEP_CACHE")
    monkeypatch.chdir(tmp_path)
    study = Path(__file__).parents[1] / "studies" / "tutorial.toml"
    code = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "sweep.cli", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    launched = subprocess_run(code, "launch", str(study), "--trials", "4")
    kibibytes = int(launched.stdout.splitlines()[-1])
    assert kibibytes < 1.5 * 2**20

    exporting = ("--pick", "trial:2", "--output", "best.json", "--model", "model")
    assert run("export", "tutorial", *exporting).code == 0
    question = ("--user", "42", "--movie", "Dances with Wolves (1990)")
    ours = json.loads(run("predict", "model", *question, "--json").out)["rating"]
    plain = """
import sys
import tensorflow as tf
model = tf.saved_model.load("model")
rate = model.signatures["rate"]
answer = rate(query=tf.constant(["42"]), candidate=tf.constant(["Dances with Wolves (1990)"]))
assert "sweep" not in sys.modules
print(repr(float(answer["rating"][0])))
"""
    assert float(subprocess_run(plain).stdout) == ours


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_figure_and_no_name_in_the_table_of_the_front_is_cut(width: int) -> None:
    record = whole_record()
    table = cli._front_table(record)
    needed = terminal.fit(table, width)
    console = Console(width=max(width, needed), file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    summary = summarise(record)
    figures = [
        f"{found.mean:.4f}±{found.half_width:.4f}"
        for trial in summary.front
        for metric in ("rmse", "top_100_accuracy")
        for found in [summary.estimates[trial.number][metric]]
    ]
    for word in (*figures, "popularity", "retrieval", "accuracy", "front)"):
        assert word in text
    assert needed <= 120


def test_columns_of_a_table_wrap_between_words_only() -> None:
    table = terminal.new_table("", "name", "value")
    table.add_row("user and item bias", "0.9117±0.0014")
    # The longest words, "user" and the figure, with two blanks between: narrower is not possible.
    assert [terminal.fit(table, width) for width in (10, 24, 100)] == [19, 24, 33]
