"""Where data, recommender and search are joined, on planted data."""

from __future__ import annotations

import numpy as np
import pytest

from builders import make_trial
from sweep import pipeline
from sweep.config import StudyConfig, check_study
from sweep.errors import ExportError, TrainingError
from sweep.results import LossWeights, Replicate, StudyRecord, Trial
from sweep.search.executors import TrialSpec

SYNTHETIC = {"queries": 30, "candidates": 20, "interactions": 600}
WEIGHTS = LossWeights(1.0, 0.5)


def study(**tables: object) -> StudyConfig:
    span = {"low": 0.1, "high": 10.0}
    return check_study(
        {
            "name": "small",
            "dataset": {"name": "synthetic", "synthetic": SYNTHETIC},
            "split": {"validation_fraction": 0.2},
            "model": {"embedding_dimension": 4, "rating_layers": [8], "biases": True},
            "training": {"epochs": 2, "batch_size": 128},
            "search_space": {"rating_weight": span, "retrieval_weight": span},
            "objectives": [
                {"metric": "rmse", "direction": "minimize"},
                {"metric": "unseen_top_5_accuracy", "direction": "maximize"},
            ],
            "budget": {"trials": 3, "replicates": 2},
            **tables,
        },
        source="tests",
    )


def trainers_of(config: StudyConfig, tmp_path) -> pipeline.Trainers:
    _, data = pipeline.prepare(config, tmp_path, lambda _: None)
    return pipeline.Trainers(config, data, lambda _: None)


def record_of(config: StudyConfig, trial: Trial, tmp_path) -> StudyRecord:
    interactions, data = pipeline.prepare(config, tmp_path, lambda _: None)
    summary = pipeline.summarize(interactions, data, config)
    return StudyRecord(config.name, config, summary, (trial,))


@pytest.fixture
def trial() -> Trial:
    return make_trial(0, weights=WEIGHTS)


def test_epochs_and_learning_rates_share_a_graph_and_what_is_built_in_does_not(tmp_path):
    config = study(
        model={"embedding_dimension": [4, 6], "rating_layers": [8]},
        training={
            "epochs": {"low": 1, "high": 3},
            "learning_rate": [0.1, 0.2],
            "batch_size": [64, 128],
        },
    )
    trainers = trainers_of(config, tmp_path)
    first = {"model.embedding_dimension": 4, "training.batch_size": 64}
    one = trainers.of({**first, "training.epochs": 1, "training.learning_rate": 0.1})
    assert trainers.of({**first, "training.epochs": 3, "training.learning_rate": 0.2}) is one
    for key, value in (("model.embedding_dimension", 6), ("training.batch_size", 128)):
        assert trainers.of({**first, key: value, "training.epochs": 1}) is not one
    wide = {**first, "model.embedding_dimension": 6}
    assert trainers.of(wide).model.query_model.output_dim == 6


def test_a_trial_is_trained_with_its_own_settings(tmp_path):
    config = study(training={"epochs": {"low": 1, "high": 3}, "batch_size": 128})
    trainers = trainers_of(config, tmp_path)
    result = trainers.train(TrialSpec(0, WEIGHTS, 0, {"training.epochs": 3}))
    assert len(result.history) == 3


def test_the_final_score_is_of_the_replicates_seeds_on_the_test_rows(tmp_path, trial):
    config = study()
    record = record_of(config, trial, tmp_path)
    final = pipeline.score_final(record, trial, cache=tmp_path)
    assert [one.seed for one in final.replicates] == [1, 2]
    # By hand: training and validation rows together, held out are the test rows.
    _, data = pipeline.prepare(config, tmp_path, lambda _: None, "final")
    assert (len(data.train), len(data.held_out)) == (480, 120)
    from sweep.recommender.training import Trainer

    assert final.replicates[1].metrics == Trainer(config, data).train(WEIGHTS, 2).metrics
    held_out = data.held_out.labels.astype(np.float64)
    mean = data.train.labels.mean(dtype=np.float64)
    baseline = next(one for one in final.baselines if one.name == "global mean")
    assert baseline.metrics["rmse"] == pytest.approx(np.sqrt(((held_out - mean) ** 2).mean()))


def test_without_replicates_the_final_score_is_of_the_trials_own_seed(tmp_path, trial):
    record = record_of(study(budget={"trials": 3, "replicates": 0}), trial, tmp_path)
    final = pipeline.score_final(record, trial, cache=tmp_path)
    assert [one.seed for one in final.replicates] == [trial.seed]


def test_other_data_is_refused_before_anything_is_trained(tmp_path, trial):
    record = record_of(study(), trial, tmp_path)
    other = study(dataset={"name": "synthetic", "synthetic": {**SYNTHETIC, "seed": 1}})
    changed = StudyRecord("small", other, record.dataset, (trial,))
    for act in (
        lambda: pipeline.score_final(changed, trial, cache=tmp_path),
        lambda: pipeline.ablate(changed, trial, 1, cache=tmp_path),
    ):
        with pytest.raises(ExportError, match="has changed since its trials were trained"):
            act()


def test_an_ablation_puts_back_one_key_at_a_time_and_scores_as_the_search_does(tmp_path, trial):
    config = study()
    record = record_of(config, trial, tmp_path)
    counted = []
    ablation = pipeline.ablate(
        record, trial, 2, cache=tmp_path, on_progress=lambda *count: counted.append(count)
    )
    assert [(one.key, one.value, one.default) for one in ablation] == [
        (None, None, None),
        ("model.embedding_dimension", 4, 32),
        ("model.rating_layers", (8,), (256, 128)),
        ("model.biases", True, False),
        ("training.epochs", 2, 3),
        ("training.batch_size", 128, 8192),
    ]
    assert counted == [(i, 12) for i in range(1, 13)]
    trainers = trainers_of(config, tmp_path)
    whole = trainers.train(TrialSpec(0, WEIGHTS, 2)).metrics
    assert ablation[0].replicates[1].metrics == whole
    plain = study(model={"embedding_dimension": 4, "rating_layers": [8]})
    without = trainers_of(plain, tmp_path)
    assert ablation[3].replicates[0].metrics == without.train(TrialSpec(0, WEIGHTS, 1)).metrics


def test_a_key_whose_default_cannot_be_trained_is_left_out_of_an_ablation(
    tmp_path, trial, monkeypatch
):
    def replicate(_: pipeline.Trainers, trial: Trial, seed: int) -> Replicate:
        if trial.settings.get("model.biases") is False:
            raise TrainingError("diverged")
        return Replicate(seed, {})

    monkeypatch.setattr(pipeline.Trainers, "replicate", replicate)
    said: list[str] = []
    record = record_of(study(training={}), trial, tmp_path)
    ablation = pipeline.ablate(record, trial, 1, cache=tmp_path, say=said.append)
    assert [one.key for one in ablation] == [
        None,
        "model.embedding_dimension",
        "model.rating_layers",
    ]
    assert said[-1].startswith("model.biases is left out")
    assert said[-1].endswith("diverged")
