"""Studies that search more than two weights, stop trials early, or stop once converged."""

from __future__ import annotations

import optuna
import pytest
from null_training import REFERENCES, SAMPLERS, null_result, run, small_study

from sweep.errors import IncomparableStudyError
from sweep.results import Epoch, StudyRecord, Trial, TrialResult
from sweep.search.executors import TrialSpec
from sweep.search.records import load_study_record
from sweep.search.storage import open_storage

RANGES = {
    "training": {"epochs": {"low": 2, "high": 6}},
    "model": {"biases": [True, False], "rating_layers": [[8], [16, 8]]},
}


@pytest.fixture
def memory() -> optuna.storages.BaseStorage:
    return optuna.storages.InMemoryStorage()


def train(spec: TrialSpec) -> TrialResult:
    """More epochs lower the RMSE; biases too."""
    epochs, biases = spec.settings["training.epochs"], spec.settings["model.biases"]
    assert isinstance(epochs, int)
    result = null_result(spec.weights)
    return null_result(
        spec.weights, rmse=result.metrics["rmse"] + 1 / epochs - (0.1 if biases else 0)
    )


def settings(record: StudyRecord) -> list[tuple[object, ...]]:
    return [tuple(trial.settings.values()) for trial in record.trials]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ranges_and_choices_are_searched_stored_and_gone_on_with(tmp_path, sampler: str) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    first = run(small_study(8, sampler=sampler, **RANGES), open_storage(url), train)
    second = run(small_study(20, sampler=sampler, **RANGES), open_storage(url), train)
    assert second.trials[:8] == first.trials
    assert len(second.complete) == 20
    assert second.trials[0].settings == {
        "model.biases": True,
        "model.rating_layers": (8,),
        "training.epochs": 3,  # √12, a whole number
    }
    drawn = settings(second)[3:]
    assert {biases for biases, *_ in drawn} == {True, False}
    assert {layers for _, layers, _ in drawn} == {(8,), (16, 8)}
    assert {epochs for *_, epochs in drawn} <= {2, 3, 4, 5, 6}
    assert len(set(drawn)) > 4


def test_the_weights_may_be_searched_as_ratio_and_scale(
    memory: optuna.storages.BaseStorage,
) -> None:
    space = {"ratio": {"low": 0.01, "high": 100.0}, "scale": {"low": 0.5, "high": 2.0}}
    record = run(small_study(15, search_space=space), memory)
    drawn = [trial.weights for trial in record.trials[3:]]
    assert all(0.01 <= w.ratio <= 100 and 0.5 <= w.scale <= 2 for w in drawn if w)
    assert [trial.weights for trial in record.trials[:3]] == list(REFERENCES.values())
    assert memory.get_all_trials(0)[5].params.keys() == {"ratio", "scale"}


def test_a_weight_may_be_fixed(memory: optuna.storages.BaseStorage) -> None:
    space = {"rating_weight": {"low": 0.1, "high": 10.0}, "retrieval_weight": 0}
    record = run(small_study(6, search_space=space), memory)
    assert [trial.reference for trial in record.trials] == ["rating only"] + [None] * 5
    assert {trial.weights.retrieval_weight for trial in record.trials if trial.weights} == {0}
    assert len({trial.weights for trial in record.trials}) > 4


def test_what_was_running_when_the_launch_was_killed_is_repeated_with_its_settings(
    tmp_path,
) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    specs: list[TrialSpec] = []

    def interrupted(spec: TrialSpec) -> TrialResult:
        specs.append(spec)
        if len(specs) == 6:
            raise KeyboardInterrupt
        return train(spec)

    config = small_study(8, **RANGES)
    with pytest.raises(KeyboardInterrupt):
        run(config, storage, interrupted)
    record = run(config, storage, interrupted)
    assert specs[6].settings == specs[5].settings
    assert specs[6].weights == specs[5].weights
    assert [trial.state for trial in record.trials].count("complete") == 8


def test_bounds_may_change_and_what_is_searched_may_not(
    memory: optuna.storages.BaseStorage,
) -> None:
    run(small_study(4, **RANGES), memory, train)
    wider = {**RANGES, "training": {"epochs": {"low": 2, "high": 9}}}
    assert len(run(small_study(6, **wider), memory, train).complete) == 6
    with pytest.raises(IncomparableStudyError, match=r"model\.biases"):
        run(small_study(7, **{**RANGES, "model": {"rating_layers": [[8], [16, 8]]}}), memory, train)


# Pruning

HALVING = {"name": "successive_halving", "min_epochs": 1, "reduction_factor": 2}


def curved(spec: TrialSpec) -> TrialResult:
    """Four epochs that keep their order, stopped where the trial's halving says so."""
    final = null_result(spec.weights).metrics
    history = []
    for epoch in (1, 2, 3, 4):
        metrics = dict(final) | {"rmse": final["rmse"] + 1 / epoch}
        history.append(Epoch(epoch, 1.0, 1.0, metrics))
        if spec.halving and epoch < 4 and spec.halving.stops(epoch, metrics):
            break
    return TrialResult(metrics, tuple(history), 1.0, 0.1, pruned=len(history) < 4)


def pruned(record: StudyRecord) -> list[Trial]:
    return [trial for trial in record.trials if trial.state == "pruned"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_hopeless_trials_are_stopped_and_recorded_and_count(
    memory: optuna.storages.BaseStorage, sampler: str
) -> None:
    record = run(small_study(24, sampler=sampler, pruner=HALVING), memory, curved)
    assert len(record.complete) + len(pruned(record)) == len(record.trials)
    assert len(record.trials) == (24 if sampler != "grid" else 19)  # 4 × 4 points
    assert 0 < len(pruned(record)) < 20
    for trial in pruned(record):
        assert trial.reference is None
        assert trial.result is not None
        last = trial.result.history[-1].epoch
        assert last < 4
        assert trial.reason == f"pruned after epoch {last}"
    assert memory.get_all_trials(0)[pruned(record)[0].number].state.name == "PRUNED"


def test_no_member_of_the_front_is_pruned_when_curves_keep_their_order(
    memory: optuna.storages.BaseStorage,
) -> None:
    def whole(spec: TrialSpec) -> TrialResult:
        return curved(TrialSpec(spec.number, spec.weights, spec.seed))

    config = small_study(30, sampler="random")  # which draws the same points, pruned or not
    every = run(config, memory, whole)
    some = run(
        config.model_copy(update={"name": "pruned", "pruner": small_study(pruner=HALVING).pruner}),
        memory,
        curved,
    )
    from sweep.front.pareto import front_of

    fronts = [
        {trial.number for trial in front_of(record.complete, record.config.objectives)}
        for record in (every, some)
    ]
    assert fronts[0] == fronts[1]


# Convergence


def test_a_search_ends_when_the_hypervolume_has_not_grown_for_long_enough(
    memory: optuna.storages.BaseStorage,
) -> None:
    said: list[str] = []
    config = small_study(budget={"trials": 100, "patience": 6, "min_delta": 0.01})
    record = run(
        config, memory, lambda _: null_result(REFERENCES["equal weights"]), say=said.append
    )
    assert len(record.complete) == 7  # the first is a gain, and then six are none
    assert said[-1].startswith(
        "Study 'small' has converged: the normalised hypervolume gained less"
    )
    assert "than 0.01 in the last 6 of 7 trials" in said[-1]


def test_patience_alone_is_a_budget_and_a_growing_front_goes_on(
    memory: optuna.storages.BaseStorage,
) -> None:
    calls = []

    def better(spec: TrialSpec) -> TrialResult:
        calls.append(1)
        return null_result(spec.weights, rmse=1.2 - 0.02 * min(len(calls), 20))

    config = small_study(budget={"patience": 4, "min_delta": 0.001})
    record = run(config, memory, better)
    assert len(record.complete) > 20
    assert load_study_record(memory, "small").config.budget.patience == 4
