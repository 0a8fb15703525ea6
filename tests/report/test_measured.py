from __future__ import annotations

from dataclasses import replace

from builders import make_record, make_trial, small_study, whole_record
from sweep.report.measured import Pruning, commands, facts, pruning, pruning_sentence


def test_the_commands_are_those_of_this_study() -> None:
    assert commands(whole_record()) == (
        "sweep launch studies/whole.toml",
        "sweep ablate whole --pick knee",
        "sweep export whole --pick knee --output best.json",
        "sweep report whole",
    )


def test_commands_that_were_not_run_are_not_listed() -> None:
    assert commands(make_record(small_study())) == (
        "sweep launch studies/tutorial.toml",
        "sweep report tutorial",
    )


def test_epochs_saved_are_those_that_stopped_trials_were_not_trained() -> None:
    # 10 + 10 + 10 + 12 + 12 + 19 + 6 + 20 epochs were trained to the end, and 4 of 12 twice.
    assert pruning(whole_record()) == Pruning(stopped=2, trials=10, epochs_saved=16, epochs=99 + 24)
    assert pruning_sentence(whole_record()) == (
        "2 of 10 trials were stopped early by successive halving, which saved 16 of 123 epochs "
        "(13 %)."
    )


def test_a_study_that_stopped_no_trial_says_why() -> None:
    assert 'pruner.name = "none"' in pruning_sentence(make_record(small_study()))
    pruner = {"name": "successive_halving"}
    none = pruning_sentence(make_record(small_study(), pruner=pruner))
    assert none == "None of 4 trials was stopped early."


def test_the_facts_tell_rows_seeds_epoch_rule_baselines_versions_and_times() -> None:
    found = dict(facts(whole_record()))
    assert "scored on 10,000 validation rows" in found["Rows"]
    assert "model seed 0; split 42, batches 42, sampler 0." in found["Seeds"]
    assert "with the seeds 1, 2, 3, 4, 5: 35 trainings" in found["Seeds"]
    assert found["Epochs"].endswith("no epoch is picked by its score.")
    assert found["Baseline: EASE"] == "Item-item weights, closed form."
    assert "training.epochs 5 … 20" in found["Search"]
    assert found["Versions"] == "sweep 0.1.0"
    # Ten trials of 1.3 + 0.14 seconds, 35 replicates of 1.5, and 18 + 1.5 seconds to the last end.
    assert found["Times"] == (
        "Training and scoring took 14 s for 10 trials and 52 s for the replicates. The first trial "
        "started on 2025-01-01 12:00 UTC; the last ended 22 s later."
    )


def test_versions_that_differ_between_trials_are_all_named() -> None:
    trials = [make_trial(0), replace(make_trial(1), versions={"sweep": "0.2.0"})]
    assert dict(facts(make_record(trials)))["Versions"] == "sweep 0.1.0 and 0.2.0"
