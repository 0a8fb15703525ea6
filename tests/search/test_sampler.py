from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from null_training import SAMPLERS, null_train, pairs, run, small_study

from sweep.config import SamplerConfig
from sweep.errors import ConfigError
from sweep.results import LossWeights, TrialResult, references
from sweep.search.executors import TrialSpec
from sweep.search.sampler import check_sampler

CLASSES: Mapping[str, type[optuna.samplers.BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "nsga3": optuna.samplers.NSGAIIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "gp": optuna.samplers.GPSampler,
}


def relative_samples(
    monkeypatch: pytest.MonkeyPatch, sampler: str, trials: int, low: float, high: float
) -> list[dict[str, Any]]:
    """What the sampler proposes jointly, for each trial that it is asked for."""
    samples: list[dict[str, Any]] = []
    original = CLASSES[sampler].sample_relative

    def spy(self: Any, study: Any, trial: Any, space: Any) -> dict[str, Any]:
        samples.append(original(self, study, trial, space))
        return samples[-1]

    monkeypatch.setattr(CLASSES[sampler], "sample_relative", spy)
    config = small_study(trials, sampler=sampler, low=low, high=high)
    run(config, optuna.storages.InMemoryStorage())
    return samples


@pytest.mark.parametrize("high", [100.0, 0.5], ids=["equal weights inside", "outside"])
def test_tpe_models_the_search_after_the_drawn_trials(
    monkeypatch: pytest.MonkeyPatch, high: float
) -> None:
    samples = relative_samples(monkeypatch, "tpe", 3 + 4 + 6, low=0.01, high=high)
    assert [len(sample) for sample in samples] == [0] * 4 + [2] * 6


# PyTorch is larger than all else together, so that the tests do not install it.
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
@pytest.mark.parametrize("high", [100.0, 0.5], ids=["equal weights inside", "outside"])
def test_gp_models_the_search_after_the_drawn_trials(
    monkeypatch: pytest.MonkeyPatch, high: float
) -> None:
    samples = relative_samples(monkeypatch, "gp", 3 + 4 + 3, low=0.01, high=high)
    assert [len(sample) for sample in samples] == [0] * 4 + [2] * 3


@pytest.mark.parametrize("high", [100.0, 0.5], ids=["equal weights inside", "outside"])
def test_qmc_follows_its_sequence_in_both_weights(
    monkeypatch: pytest.MonkeyPatch, high: float
) -> None:
    samples = relative_samples(monkeypatch, "qmc", 3 + 8, low=0.01, high=high)
    # Optuna draws the very first trial that has parameters at random.
    drawn = 0 if high > 1 else 1
    assert [len(sample) for sample in samples] == [0] * drawn + [2] * (8 - drawn)


@pytest.mark.parametrize("high", [100.0, 0.5], ids=["equal weights inside", "outside"])
@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_nsga_breeds_from_the_second_generation_on(
    monkeypatch: pytest.MonkeyPatch, sampler: str, high: float
) -> None:
    samples = relative_samples(monkeypatch, sampler, 3 + 4 + 24, low=0.01, high=high)
    assert [len(sample) for sample in samples[:4]] == [0] * 4
    bred = [value for sample in samples[4:] for value in sample.values()]
    # Each of the two weights is mutated, that is drawn anew, half of the time.
    assert 10 <= len(bred) <= 38
    # A child takes over each weight from a parent.
    earlier = {round(value, 12) for pair in bred_from(sampler, high) for value in pair}
    assert {round(value, 12) for value in bred} <= earlier


def bred_from(sampler: str, high: float) -> list[tuple[float, float]]:
    config = small_study(3 + 4 + 24, sampler=sampler, low=0.01, high=high)
    return pairs(run(config, optuna.storages.InMemoryStorage()))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_references_are_always_first_and_as_they_are(sampler: str) -> None:
    order: list[LossWeights] = []

    def train(spec: TrialSpec) -> TrialResult:
        order.append(spec.weights)
        return null_train(spec)

    for high in (100.0, 0.5):
        order.clear()
        record = run(
            small_study(5, sampler=sampler, high=high), optuna.storages.InMemoryStorage(), train
        )
        points = references(record.config.search_space)
        expected = [point.weights for point in points.values()]
        assert order[:3] == expected
        assert [t.reference for t in record.trials] == [*points, None, None]
        assert [t.weights for t in record.trials[:3]] == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_study_twice_is_the_same(sampler: str) -> None:
    config = small_study(16, sampler=sampler)
    first = run(config, optuna.storages.InMemoryStorage())
    second = run(config, optuna.storages.InMemoryStorage())
    assert [(t.weights, t.result) for t in first.trials] == [
        (t.weights, t.result) for t in second.trials
    ]
    other = small_study(16, sampler=sampler, seeds={"sampler": 1})
    assert pairs(run(other, optuna.storages.InMemoryStorage()))[3:] != pairs(first)[3:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_study_repeats_no_weights(sampler: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    for trials in (5, 8, 14):
        record = run(small_study(trials, sampler=sampler), storage)
    weights = pairs(record)
    assert len(weights) == 14
    assert len(set(weights)) == 14


@pytest.mark.parametrize("sampler", ["qmc", "grid"])
def test_sequences_go_on_where_they_stopped(sampler: str) -> None:
    whole = run(small_study(16, sampler=sampler), optuna.storages.InMemoryStorage())
    storage = optuna.storages.InMemoryStorage()
    for trials in (6, 7, 16):
        parts = run(small_study(trials, sampler=sampler), storage)
    assert pairs(parts) == pairs(whole)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_search_follows_bounds_that_have_moved(sampler: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    run(small_study(14, sampler=sampler, low=0.01, high=100), storage)
    # Nearly all trials so far are outside, so no sampler may lean on them.
    record = run(small_study(30, sampler=sampler, low=50, high=5000), storage)
    later = pairs(record)[14:]
    assert len(later) == 16
    assert all(50 <= weight <= 5000 for pair in later for weight in pair)
    assert max(max(pair) for pair in later) > 100


def test_a_grid_ends_when_all_its_points_are_done() -> None:
    said: list[str] = []
    config = small_study(100, sampler="grid", low=0.01, high=100)
    storage = optuna.storages.InMemoryStorage()
    record = run(config, storage, say=said.append)
    assert len(record.complete) == 3 + 4 * 4
    assert said == [
        "Study 'small' has tried all points of its grid: 19 trials; for more, raise sampler.points"
    ]
    axis = sorted({x for x, _ in pairs(record)[3:]})
    assert axis == pytest.approx([0.01, 0.21544347, 4.6415888, 100])


def test_a_grid_does_not_repeat_a_reference_that_is_on_it() -> None:
    config = small_study(100, low=0.01, high=100)
    config = config.model_copy(update={"sampler": SamplerConfig(name="grid", points=3)})
    record = run(config, optuna.storages.InMemoryStorage())
    assert len(record.complete) == 3 + 3 * 3 - 1


def test_gp_without_pytorch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'sweep\[gp\]'"):
        check_sampler(SamplerConfig(name="gp"), small_study().search_space)
    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(ConfigError, match="PyTorch"):
        run(small_study(5, sampler="gp"), storage)
    assert storage.get_all_studies() == []


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_printed_and_nothing_warned(
    sampler: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    before = optuna.logging.get_verbosity()
    run(small_study(9, sampler=sampler), optuna.storages.InMemoryStorage())
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []
    assert optuna.logging.get_verbosity() == before
