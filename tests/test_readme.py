"""What the README says exists, and what exists the README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sweep
from sweep import config
from sweep.cli import app, data_app
from sweep.export import ExportedWeights

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_command_is_shown():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    names += [f"data {command.name}" for command in data_app.registered_commands]
    assert len(names) == 17
    for name in names:
        assert f"sweep {name} " in README or f"sweep {name}\n" in README, name


SECTIONS = {
    "dataset": config.DatasetConfig,
    "dataset.synthetic": config.SyntheticConfig,
    "split": config.SplitConfig,
    "model": config.ModelConfig,
    "training": config.TrainingConfig,
    "search_space": config.SearchSpaceConfig,
    "[objectives]": config.Objective,
    "sampler": config.SamplerConfig,
    "pruner": config.PrunerConfig,
    "budget": config.BudgetConfig,
    "execution": config.ExecutionConfig,
    "seeds": config.SeedsConfig,
}


@pytest.mark.parametrize("table", SECTIONS)
def test_every_key_of_the_study_file_is_listed_in_the_row_of_its_table(table):
    [row] = [line for line in README.splitlines() if line.startswith(f"| `[{table}]` |")]
    keys = set(SECTIONS[table].model_fields) - {"synthetic", "variables"}
    assert {key for key in keys if f"`{key}`" not in row} == set()


def test_every_field_of_the_export_is_listed():
    listed = README.partition("## The export")[2].partition("\n## ")[0]
    assert {f for f in ExportedWeights.model_fields if f"`{f}`" not in listed} == set()


def test_what_can_be_done_by_http_can_be_done_by_command_line_and_is_listed():
    from sweep.service.api import router

    text = README.partition("| to do | by HTTP")[2].partition("\n\n")[0]
    rows = [line.split("|")[2:4] for line in text.splitlines()[2:]]
    listed = {tuple(one.split()) for row in rows for one in re.findall(r"`([A-Z]+ [^`]+)`", row[0])}
    routes = {
        (method, route.path.removeprefix("/api/v1"))
        for route in router.routes
        for method in route.methods
    }
    assert listed == routes
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for _, command in rows:
        named = re.findall(r"`sweep (\w+)", command)
        assert named, command
        assert set(named) <= commands


def test_every_fault_has_its_test():
    table = README.partition("### What goes wrong, and what it costs")[2].partition("\n### ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 20
    code = "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")
    )
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row)
        assert names, row
        for name in names:
            assert f"def {name}(" in code, name


def test_the_public_names_are_these():
    assert sweep.__all__ == [
        "Choice",
        "ExportedWeights",
        "LossWeights",
        "StudyConfig",
        "StudyRecord",
        "SweepError",
        "Trial",
        "TrialResult",
        "choose",
        "export_weights",
        "launch",
        "load_study",
        "load_study_record",
        "load_weights",
        "refit",
        "score_final",
        "write_report",
        "write_weights",
    ]
    for name in sweep.__all__:
        assert getattr(sweep, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'lauch'"):
        sweep.lauch  # noqa: B018
