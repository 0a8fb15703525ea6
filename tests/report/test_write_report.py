from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import matplotlib
import pytest

from builders import (
    make_record,
    make_trial,
    reference_trials,
    tutorial_trials,
    whole_record,
)
from sweep.errors import SweepError
from sweep.front import hypervolume, minimised, objective_values
from sweep.report import front_records, write_report
from sweep.report.hypervolume import hypervolume_figure, hypervolume_info
from sweep.report.style import house_style
from sweep.report.summary import summarise
from sweep.report.write import rendered, report_document
from sweep.results import StudyRecord
from sweep.search.importance import importances

PICTURES = ("pareto_front", "weights", "hypervolume", "learning_curves")
FILES = {
    "index.html",
    "trials.csv",
    "front.csv",
    "report.json",
    *(f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")),
}


def quiet(message: str) -> None:
    del message


def study() -> StudyRecord:
    failed = make_trial(40, state="failed", reason="rmse is not a number")
    return make_record([*tutorial_trials(), failed, make_trial(41, state="waiting")])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("reports") / "a" / "b"
    said: list[str] = []
    written = write_report(study(), directory, said.append)
    assert {path.name for path in written} == FILES
    assert len(said) >= 3
    return directory


def test_all_files_are_written_and_nothing_else(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == FILES
    assert all(path.stat().st_size > 500 for path in report.iterdir())


def test_the_same_study_gives_the_same_bytes(report: Path, tmp_path: Path) -> None:
    write_report(study(), tmp_path, quiet)
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (report, tmp_path)
    ]
    assert digests[0] == digests[1]


def test_the_tables_have_a_row_for_each_trial_and_each_member(report: Path) -> None:
    with (report / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(42))
    assert rows[0]["ratio"] == "inf"
    assert rows[40]["state"] == "failed"
    assert rows[40]["reason"] == "rmse is not a number"
    assert rows[41]["rmse"] == ""
    with (report / "front.csv").open(newline="", encoding="utf-8") as file:
        front = list(csv.DictReader(file))
    members = [row["trial"] for row in front if row["kind"] == "front"]
    assert members == [str(record["trial"]) for record in front_records(study())]
    assert set(members) == {row["trial"] for row in rows if row["on_front"] == "True"}


def test_the_document_is_strict_json_with_everything_about_the_front(report: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (report / "report.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=refuse)
    record = study()
    assert document["schema_version"] == 2
    assert document["study"] == "tutorial"
    assert document["dataset"]["train"] == 80_000
    assert document["trials"] == {"complete": 40, "failed": 1, "waiting": 1}
    assert document["objectives"] == [
        {"metric": "rmse", "direction": "minimize", "reference": 2.25},
        {"metric": "top_100_accuracy", "direction": "maximize", "reference": 0.0},
    ]
    assert document["front"] == front_records(record)
    assert document["references"]["rating only"]["retrieval_weight"] == 0
    assert document["published"]["equal weights"] == {"rmse": 1.131, "top_100_accuracy": 0.235}
    assert document["knee"]["trial"] in [member["trial"] for member in document["front"]]
    assert document["at_edge"] == [asdict(found) for found in summarise(record).at_edge]
    assert document["knee"]["reason"].startswith(f"Trial {document['knee']['trial']} (")
    objectives = record.config.objectives
    volume = hypervolume(
        objective_values(record.complete, objectives), minimised([2.25, 0], objectives)
    )
    history = document["convergence"]["history"]
    assert len(history) == 40
    assert history[-1] == pytest.approx(volume / 2.25)
    assert document["config"]["training"]["retrieval_reduction"] == "sum"
    assert document["test"] is document["importances"] is None
    assert document["baselines"] == {}


def test_the_document_of_a_whole_study_has_intervals_test_figures_and_the_ablation() -> None:
    document = json.loads(json.dumps(report_document(summarise(whole_record())), allow_nan=False))
    assert document["knee"]["trial"] == 3
    assert document["knee"]["n"] == 5
    assert document["knee"]["half_widths"]["rmse"] > 0
    assert document["knee"]["gains"]["EASE"].keys() == {"top_100_accuracy"}
    assert document["test"]["metrics"]["rmse"] == pytest.approx(0.907)
    assert document["test"]["gap"]["rmse"]["n"] == 5
    assert document["baselines"]["user and item bias"]["metrics"]["rmse"] == 0.943
    assert [one["key"] for one in document["ablation"]][:2] == [None, "model.biases"]
    assert document["pruning"] == {
        "stopped": 2, "trials": 10, "epochs_saved": 16, "epochs": 123,
    }  # fmt: skip
    assert document["commands"][0] == "sweep launch studies/whole.toml"


def test_importances_are_reported_where_they_are_given(tmp_path: Path) -> None:
    record = study()
    found = importances(record)
    assert found is not None
    write_report(record, tmp_path, quiet, found)
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["importances"]["parameters"] == found.parameters
    assert document["importances"]["sentence"] == found.scale.sentence
    assert {path.name for path in tmp_path.iterdir()} == {
        *FILES, "importances.png", "importances.svg",
    }  # fmt: skip


def test_pictures_that_a_later_report_lacks_are_removed(tmp_path: Path) -> None:
    write_report(whole_record(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "ablation.png", "ablation.svg"}
    write_report(make_record([make_trial(0)]), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_report_replaces_an_earlier_one(report: Path) -> None:
    before = (report / "trials.csv").read_bytes()
    write_report(make_record([make_trial(0)], name="other"), report, quiet)
    assert {path.name for path in report.iterdir()} == FILES
    assert json.loads((report / "report.json").read_text())["study"] == "other"
    assert (report / "trials.csv").read_bytes() != before


@pytest.mark.parametrize("dataset", ["recorded", "not recorded"])
def test_one_complete_trial_is_enough(tmp_path: Path, dataset: str) -> None:
    record = make_record([make_trial(7)])
    if dataset == "not recorded":
        record = make_record([make_trial(7)], summary=None)
    written = write_report(record, tmp_path, quiet)
    assert {path.name for path in written} == FILES


@pytest.mark.parametrize("names", [["rating only"], ["retrieval only"], None])
def test_a_weight_that_is_0_in_every_trial_can_be_reported(
    tmp_path: Path, names: list[str] | None
) -> None:
    trials = [t for t in reference_trials()[:2] if names is None or t.reference in names]
    write_report(make_record([*trials, make_trial(5, state="failed")]), tmp_path, quiet)
    document = json.loads((tmp_path / "report.json").read_text())
    assert list(document["references"]) == (names or ["rating only", "retrieval only"])


def test_the_document_names_the_members_at_the_edge_of_the_search_space(tmp_path: Path) -> None:
    write_report(make_record([make_trial(39, weights=(98, 0.4))]), tmp_path, quiet)
    assert json.loads((tmp_path / "report.json").read_text())["at_edge"] == [
        {
            "trial": 39,
            "variable": "rating_weight",
            "value": 98,
            "bound": "high",
            "limit": 100,
        }
    ]


def test_a_picture_that_fails_leaves_an_earlier_report_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trials.csv").write_text("an earlier report")

    def fail(_: object) -> str:
        raise RuntimeError("the page cannot be made")

    monkeypatch.setattr("sweep.report.page.page", fail)
    with pytest.raises(RuntimeError, match="the page cannot be made"):
        write_report(make_record([make_trial(0)]), tmp_path, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.csv"]
    assert (tmp_path / "trials.csv").read_text() == "an earlier report"


def test_a_file_that_cannot_be_written_is_a_clear_error_and_leaves_an_earlier_report(
    tmp_path: Path,
) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "trials.csv").write_text("an earlier report")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The page is larger than this, so the system refuses its end, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(SweepError, match="the report cannot be written there") as error:
            write_report(make_record([make_trial(0)]), tmp_path, quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value).startswith(f"{tmp_path}: ")
    assert "choose another folder, or make room" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.csv"]
    assert (tmp_path / "trials.csv").read_text() == "an earlier report"


def test_a_study_without_complete_trials_writes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "report"
    with pytest.raises(SweepError, match="no complete trial to report"):
        write_report(make_record([make_trial(0, state="failed")]), directory, quiet)
    assert not directory.exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        SweepError, match=r"taken: .* \(it is a file, not a folder\); choose another"
    ):
        write_report(make_record([make_trial(0)]), tmp_path / "taken", quiet)
    with pytest.raises(SweepError, match=r"below: .* \(Not a directory\); choose another folder"):
        write_report(make_record([make_trial(0)]), tmp_path / "taken" / "below", quiet)


def test_the_users_matplotlib_settings_do_not_change_the_pictures() -> None:
    info = hypervolume_info(summarise(study()))
    before = dict(matplotlib.rcParams)
    pictures = []
    for settings in ({}, {"axes.facecolor": "black", "font.size": 30, "svg.hashsalt": "mine"}):
        with matplotlib.rc_context(settings), house_style():
            pictures.append(rendered(hypervolume_figure(info), "svg"))
    assert pictures[0] == pictures[1]
    assert dict(matplotlib.rcParams) == before


def test_importing_the_report_loads_no_heavy_library() -> None:
    heavy = {"tensorflow", "optuna", "pandas", "matplotlib", "plotly"}
    code = f"import sys, sweep.report; print(sorted({heavy!r} & set(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_writing_a_report_needs_neither_tensorflow_nor_optuna(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from builders import make_record, make_trial; "
        "from sweep.report import write_report; "
        f"write_report(make_record([make_trial(0)]), Path({str(tmp_path)!r}), print); "
        "print({'tensorflow', 'optuna', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    folder = Path(__file__).parents[1]
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    assert output.stdout.strip().endswith("set()")
