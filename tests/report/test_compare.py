"""Studies beside each other, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import whole_record
from sweep.report.compare import compared, comparison_note
from sweep.report.summary import summarise


def test_a_study_is_compared_by_its_front_its_bests_and_its_hypervolume() -> None:
    record = whole_record()
    found, summary = compared(record), summarise(record)
    first, second = (o.metric for o in record.config.objectives)
    assert found.numbers == tuple(trial.number for trial in summary.front)
    assert found.front == tuple(summary.value(trial) for trial in summary.front)
    # One minimised, one maximised: the two ends of the front.
    assert found.best[first] == min(point[0] for point in found.front)
    assert found.best[second] == max(point[1] for point in found.front)
    assert found.hypervolume == pytest.approx(summary.convergence.history[-1])
    assert 0 < found.hypervolume < 1
    assert len(found.hypervolume_history) == len(found.hypervolume_number) == len(record.complete)


def test_a_study_without_a_complete_trial_has_neither_front_nor_hypervolume() -> None:
    found = compared(replace(whole_record(), trials=()))
    assert (found.front, found.hypervolume, found.best, found.done) == ((), None, {}, 0)


def test_what_keeps_two_studies_from_being_compared_is_told() -> None:
    record = whole_record()
    assert comparison_note([record, record]) is None
    assert record.dataset is not None
    other = replace(record, name="b", dataset=replace(record.dataset, fingerprint="x"))
    assert comparison_note([record, other]) == (
        f"b and {record.name} have different data: their figures do not compare"
    )
    seeds = record.config.seeds.model_copy(update={"split": 7})
    split = replace(record, name="c", config=record.config.model_copy(update={"seeds": seeds}))
    assert "c and" in (told := comparison_note([record, split]) or "")
    assert "have different splits" in told
