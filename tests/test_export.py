"""The export: everything that is needed to use the weights, and to doubt them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from builders import make_record, make_trial
from sweep.errors import ExportError
from sweep.export import (
    ExportedWeights,
    export_weights,
    load_weights,
    write_weights,
)
from sweep.front.selection import choose
from sweep.results import Baseline, FinalScore, LossWeights, Replicate

CREATED = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def exported() -> ExportedWeights:
    record = make_record(
        [
            make_trial(0, 1.1, 0.06, weights=(1.0, 0.0), reference="rating only"),
            make_trial(1, 1.05, 0.3, weights=(2.0, 0.5)),
        ]
    )
    return export_weights(record, choose(record, "max:top_100_accuracy"), None, CREATED)


def test_what_is_written_is_what_is_read(exported, tmp_path):
    write_weights(tmp_path / "deep" / "best.json", exported)
    assert load_weights(tmp_path / "deep" / "best.json") == exported


def test_the_file_holds_the_weights_and_why_and_how(exported, tmp_path):
    write_weights(tmp_path / "best.json", exported)
    written = json.loads((tmp_path / "best.json").read_text())
    assert written["schema_version"] == 2
    assert (written["rating_weight"], written["retrieval_weight"]) == (2.0, 0.5)
    assert written["ratio"] == 4.0
    assert (written["study"], written["trial"]) == (exported.config.name, 1)
    assert written["rule"] == "max:top_100_accuracy"
    assert "highest top-100 accuracy" in written["reason"]
    assert written["metrics"]["rmse"] == 1.05
    assert written["rating_reduction"] == "mean"
    assert written["retrieval_reduction"] == written["config"]["training"]["retrieval_reduction"]
    assert written["batch_size"] == written["config"]["training"]["batch_size"]
    assert written["dataset"]["fingerprint"]
    assert written["created"] == "2025-03-01T12:00:00Z"
    assert exported.weights == LossWeights(2.0, 0.5)


def test_every_field_is_described_in_the_schema():
    schema = ExportedWeights.model_json_schema()
    assert all(field.get("description") for field in schema["properties"].values())


def test_the_ratio_of_a_rating_only_model_is_null_and_the_file_strict_json(tmp_path):
    record = make_record([make_trial(0, 1.1, 0.06, weights=(1.0, 0.0), reference="rating only")])
    write_weights(
        tmp_path / "best.json", export_weights(record, choose(record, "trial:0"), None, CREATED)
    )

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    written = json.loads((tmp_path / "best.json").read_text(), parse_constant=refuse)
    assert written["ratio"] is None
    assert math.isinf(load_weights(tmp_path / "best.json").weights.ratio)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the whole text"),
        ("[]", "the whole text"),
        ('{"schema_version": 1}', "schema_version"),
        ('{"rating_weight": 1.0}', "schema_version"),
    ],
)
def test_another_file_is_refused_with_the_place_that_differs(tmp_path, text, told):
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(ExportError, match=f"best.json: not an export .* at {told}"):
        load_weights(tmp_path / "best.json")


def test_negative_weights_are_refused_when_read(exported, tmp_path):
    write_weights(tmp_path / "best.json", exported)
    changed = json.loads((tmp_path / "best.json").read_text()) | {"rating_weight": -1}
    (tmp_path / "best.json").write_text(json.dumps(changed))
    with pytest.raises(ExportError, match="at rating_weight"):
        load_weights(tmp_path / "best.json")


def test_a_file_that_is_not_there_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(ExportError, match=r"No such file.*sweep export"):
        load_weights(tmp_path / "none.json")


def test_a_file_that_cannot_be_written_leaves_nothing(exported, tmp_path):
    (tmp_path / "best.json").mkdir()
    with pytest.raises(ExportError, match="choose another --output"):
        write_weights(tmp_path / "best.json", exported)
    assert [path.name for path in tmp_path.iterdir()] == ["best.json"]


def replicates(*rmses: float) -> tuple[Replicate, ...]:
    return tuple(
        Replicate(seed, {"rmse": rmse, "top_100_accuracy": 0.2})
        for seed, rmse in enumerate(rmses, start=1)
    )


def test_a_study_with_validation_rows_exports_both_sides_with_intervals_and_their_gap():
    trial = replace(make_trial(0, 0.90), replicates=replicates(1.0, 1.1, 1.2))
    record = make_record([trial], split={"validation_fraction": 0.1})
    final = FinalScore(
        0, replicates(0.9, 1.1, 1.0), (Baseline("global mean", {"rmse": 1.5}, "a mean"),)
    )
    exported = export_weights(record, choose(record, "knee"), final, CREATED)
    # Student's t with 2 degrees of freedom: 2.919986 at 95 %, from a table; sd 0.1 of all three.
    half_width = pytest.approx(2.919986 * 0.1 / math.sqrt(3), abs=1e-6)
    assert exported.validation is not None
    assert (exported.validation["rmse"].mean, exported.validation["rmse"].n) == (
        pytest.approx(1.1),
        3,
    )
    assert exported.validation["rmse"].half_width == half_width
    assert (exported.test["rmse"].mean, exported.test["rmse"].n) == (pytest.approx(1.0), 3)
    # Seed by seed the gap is -0.1, 0.0 and -0.2.
    assert exported.gap is not None
    assert exported.gap["rmse"].mean == pytest.approx(-0.1)
    assert exported.gap["rmse"].half_width == half_width
    assert exported.baselines == {"global mean": {"rmse": 1.5}}
    assert (exported.seed, exported.metrics["rmse"]) == (1, 0.9)


def test_a_metric_that_an_earlier_sweep_did_not_record_has_no_gap():
    own = {"rmse": 1.0, "top_100_accuracy": 0.2}
    trial = make_trial(0)
    trial = replace(trial, result=replace(trial.result, metrics=own))
    record = make_record([trial], split={"validation_fraction": 0.1})
    scored = Replicate(trial.seed, {"rmse": 1.25, "top_100_accuracy": 0.2, "per_user_rmse": 1.5})
    choice = choose(record, "knee")
    exported = export_weights(record, choice, FinalScore(0, (scored,), ()), CREATED)
    assert exported.gap is not None
    assert {name: gap.mean for name, gap in exported.gap.items()} == {
        "rmse": 0.25,
        "top_100_accuracy": 0.0,
    }
    assert exported.test["per_user_rmse"].mean == 1.5


def test_a_study_without_validation_rows_has_test_figures_alone_and_of_its_own_seed():
    trial = replace(make_trial(0, 0.90), replicates=replicates(1.0, 1.1))
    exported = export_weights(
        make_record([trial]), choose(make_record([trial]), "knee"), None, CREATED
    )
    assert exported.validation is None
    assert exported.gap is None
    assert exported.test["rmse"].mean == pytest.approx(1.05)
    assert (exported.seed, exported.metrics["rmse"]) == (0, 0.90)


def test_values_that_were_searched_are_exported_in_place_of_the_ranges():
    trial = replace(make_trial(0), settings={"training.epochs": 7, "model.rating_layers": (64, 32)})
    record = make_record(
        [trial],
        training={"epochs": {"low": 5, "high": 9}},
        model={"rating_layers": [[64, 32], [8]]},
    )
    exported = export_weights(record, choose(record, "knee"), None, CREATED)
    assert exported.epochs == 7
    assert exported.settings == trial.settings
    assert ExportedWeights.model_validate_json(exported.model_dump_json()) == exported
