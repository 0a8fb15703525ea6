"""Whole studies by the command line: searched settings, interrupts, untouched test rows, ablation.

A Ctrl-C is a real signal, raised while a certain trial trains.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from command_line import SMALL_STUDY
from sweep import pipeline
from sweep.config import load_study
from sweep.data.datasets import load_dataset
from sweep.export import load_weights
from sweep.results import StudyRecord, Trial
from sweep.search.executors import TrialSpec
from sweep.search.records import load_study_record

pytestmark = pytest.mark.usefixtures("in_folder")

SEARCHED = {
    "ranges": ("split.validation_fraction=0.2", "training.epochs={low=1,high=4}"),
    "choices": (
        "model.rating_layers=[[16],[8,4]]",
        "model.biases=[true,false]",
        "training.sampling_correction=['none','log_q']",
    ),
}


def ctrl_c_while(monkeypatch, trains: Callable[[TrialSpec], bool]) -> None:
    """One Ctrl-C while the trial or replicate trains that `trains` points out."""
    train, pressed = pipeline.Trainers.train, []

    def interrupted(self: pipeline.Trainers, spec: TrialSpec):
        if trains(spec) and not pressed:
            pressed.append(spec)
            signal.raise_signal(signal.SIGINT)
        return train(self, spec)

    monkeypatch.setattr(pipeline.Trainers, "train", interrupted)


def stored(name: str, file: str = "sweep.db") -> StudyRecord:
    return load_study_record(f"sqlite:///{file}", name)


@pytest.fixture
def validated(run, in_folder) -> StudyRecord:
    """A study with validation rows, launched once."""
    if not (in_folder / "validated.db").exists():
        sets = ("--set", "name=validated", "--set", "split.validation_fraction=0.2")
        model = ("--set", "model.biases=true", "--set", "training.sampling_correction=log_q")
        ran = run("launch", "small.toml", *sets, *model, "--storage", "sqlite:///validated.db")
        assert ran.code == 0, ran.err
    return stored("validated", "validated.db")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHED)
def test_a_study_that_searches_settings_stops_goes_on_reports_and_exports(
    run, monkeypatch, caplog, name
):
    sets = [f"--set={text}" for text in (f"name={name}", "budget.trials=8", *SEARCHED[name])]
    launch = ("launch", "small.toml", *sets)
    ctrl_c_while(monkeypatch, lambda spec: spec.number == 4)
    first = run(*launch)
    assert first.code == 130
    assert "Stopped. To go on: sweep launch small.toml" in first.err
    before = stored(name).trials
    assert [trial.state for trial in before] == ["complete"] * 5

    ctrl_c_while(monkeypatch, lambda spec: spec.seed == 2)
    second = run(*launch)
    assert second.code == 130
    assert "replicates are left for the next launch" in second.err
    assert "Stopped. To go on: sweep launch small.toml" in second.err

    third = run(*launch)
    assert third.code == 0, third.err
    trials = stored(name).trials
    assert tuple(replace(trial, replicates=()) for trial in trials[:5]) == before
    assert len(trials) == 8
    assert {len(trial.replicates) for trial in trials} == {2}
    variables = load_study("small.toml", SEARCHED[name]).search_space.variables
    for key in variables:
        assert len({trial.settings[key] for trial in trials}) > 1
    for trial in trials:
        assert trial.result is not None
        assert len(trial.result.history) == trial.settings.get("training.epochs", 2)

    assert run("report", name).code == 0
    page = Path("reports", name, "index.html").read_text()
    assert all(key in page for key in variables)

    export = ("--pick", f"trial:{trials[-1].number}", "--output", f"{name}.json", "--model", name)
    ran = run("export", name, *export)
    assert ran.code == 0, ran.err
    assert "No metric moved by more than 0\n" in ran.err
    exported = load_weights(f"{name}.json")
    assert exported.settings == trials[-1].settings
    assert exported.weights == trials[-1].weights
    answer = run("predict", name, "--user", "query 0000007", "--top", "3", "--json")
    assert len(json.loads(answer.out)) == 3
    assert "retracing" not in caplog.text


def write_rows() -> Path:
    """The planted dataset as a file with a column, drawn at random, that names each row's side."""
    interactions = load_dataset(load_study("small.toml").dataset, Path("cache"), print)
    rng, sides = np.random.default_rng(5), ("train", "validation", "test")
    frame = pd.DataFrame(
        {
            "user": interactions.queries[interactions.query_ids],
            "item": interactions.candidates[interactions.candidate_ids],
            "stars": interactions.labels,
            "side": rng.choice(sides, len(interactions), p=(0.6, 0.2, 0.2)),
        }
    )
    path = Path("rows.csv")
    frame.to_csv(path, index=False)
    return path


def without_times(trials: tuple[Trial, ...]) -> list[Trial]:
    """Trials without what a clock gives."""
    return [
        replace(
            trial,
            started=None,
            finished=None,
            result=trial.result and replace(trial.result, training_seconds=0, evaluation_seconds=0),
            replicates=tuple(replace(one, seconds=0) for one in trial.replicates),
        )
        for trial in trials
    ]


@pytest.mark.slow
def test_the_labels_of_the_test_rows_change_nothing_but_the_score_on_the_test_rows(run):
    path = write_rows()
    columns = (
        '[dataset]\nname = "rows.csv"\nquery = "user"\ncandidate = "item"\nlabel = "stars"\n'
        'split = "side"\n[split]\nmethod = "column"\n[model]'
    )
    head, _, rest = SMALL_STUDY.partition("[dataset]")
    Path("columns.toml").write_text(head + columns + rest.partition("[model]")[2])

    def outcome(storage: str) -> tuple[StudyRecord, str, object]:
        option = ("--storage", f"sqlite:///{storage}")
        assert run("launch", "columns.toml", *option).code == 0
        front = run("front", "small", *option).out
        ran = run("export", "small", "--pick", "knee", "--output", f"{storage}.json", *option)
        assert ran.code == 0, ran.err
        return stored("small", storage), front, load_weights(f"{storage}.json")

    before, front, exported = outcome("before.db")
    rows = pd.read_csv(path)
    test = rows.side == "test"
    rows.loc[test, "stars"] = np.random.default_rng(6).permutation(rows.stars[test])
    assert (pd.read_csv(path).stars != rows.stars).sum() > 100
    rows.to_csv(path, index=False)
    after, front_after, exported_after = outcome("after.db")

    assert before.dataset.fingerprint != after.dataset.fingerprint
    assert replace(before.dataset, fingerprint="") == replace(after.dataset, fingerprint="")
    assert without_times(before.trials) == without_times(after.trials)
    assert (before.config, before.baselines) == (after.config, after.baselines)
    assert front == front_after
    assert (exported.trial, exported.reason) == (exported_after.trial, exported_after.reason)
    assert exported.validation == exported_after.validation
    for name, score in exported.test.items():
        same = score == exported_after.test[name]
        assert same == ("rmse" not in name), name


@pytest.mark.slow
def test_ablate_puts_back_each_setting_and_the_report_shows_it(run, validated):
    option = ("--storage", "sqlite:///validated.db")
    ran = run("ablate", "validated", "--pick", "trial:3", "--seeds", "2", *option)
    assert ran.code == 0, ran.err
    ablation = stored("validated", "validated.db").ablation
    assert {one.key: (one.value, one.default) for one in ablation} == {
        None: (None, None),
        "model.embedding_dimension": (8, 32),
        "model.rating_layers": ((16,), (256, 128)),
        "model.biases": (True, False),
        "training.epochs": (2, 3),
        "training.batch_size": (256, 8192),
        "training.retrieval_reduction": ("sum", "mean"),
        "training.sampling_correction": ("log_q", "none"),
    }
    assert all([one.seed for one in part.replicates] == [1, 2] for part in ablation)
    # As it is, on the seeds of its replicates, a trial is what its replicates were.
    trial = validated.trials[3]
    assert [one.metrics for one in ablation[0].replicates] == [
        one.metrics for one in trial.replicates
    ]
    assert run("report", "validated", *option).code == 0
    page = Path("reports/validated/index.html").read_text()
    for key in ("training.sampling_correction", "model.embedding_dimension"):
        assert key in page


def test_an_interrupt_while_an_export_scores_leaves_nothing_behind(run, monkeypatch, validated):
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pipeline.Trainers, "replicate", interrupted)
    option = ("--storage", "sqlite:///validated.db")
    exporting = ("export", "validated", "--pick", "knee", "--output", "cut.json", *option)
    ran = run(*exporting)
    assert ran.code == 130
    assert ran.err.splitlines()[-1].startswith(
        "Interrupted; nothing that was recorded is lost. To go on: sweep export validated"
    )
    assert not Path("cut.json").exists()
    assert stored("validated", "validated.db").finals == validated.finals

    ran = run("ablate", "validated", *option)
    assert ran.code == 130
    assert "To go on: sweep ablate validated" in ran.err.splitlines()[-1]
    assert stored("validated", "validated.db").ablation == validated.ablation


@pytest.mark.slow
@pytest.mark.usefixtures("validated")
def test_an_interrupt_while_a_model_is_saved_leaves_no_part_of_it(run, monkeypatch):
    exporting = ("export", "validated", "--storage", "sqlite:///validated.db", "--pick", "knee")
    files = ("--output", "kept.json", "--model", "models/cut")
    with monkeypatch.context() as patch:
        patch.setattr(tf.saved_model, "save", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        ran = run(*exporting, *files)
    assert ran.code == 130
    assert "Interrupted" in ran.err.splitlines()[-1]
    assert list(Path("models").iterdir()) == []
    scored = load_weights("kept.json")
    ran = run(*exporting, *files)
    assert ran.code == 0, ran.err
    assert load_weights("models/cut/sweep.json").test == scored.test
