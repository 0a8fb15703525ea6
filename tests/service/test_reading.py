"""What viewers are told of a study, and what is kept of it."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from command_line import SMALL_STUDY
from sweep.config import parse_study
from sweep.search.requests import (
    Asked,
    LaunchRequest,
    Outcome,
    load_asked,
    request_launch,
    write_outcome,
)
from sweep.search.storage import open_storage
from sweep.service import reading, supervisor, views
from sweep.service.reading import IDLE_SECONDS, Reader
from sweep.service.supervisor import DEATHS, Supervisor

AT = datetime(2026, 1, 1, tzinfo=UTC).isoformat()


class World:
    """A store with one study that waits for its first trial, and what the reader asks of it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/s.db"
        self.storage: BaseStorage = open_storage(self.url)
        self.runs = False
        self.now = 0.0
        config = parse_study(SMALL_STUDY, folder, "the text")
        launch = LaunchRequest(uuid.uuid4().hex, config.model_dump(mode="json"), AT)
        request_launch(self.storage, config, launch)
        self.launch = launch
        self.reader = Reader(self.storage, views.events, self._runs, lambda: self.now)

    def _runs(self, _: Asked) -> bool:
        return self.runs


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_viewers_are_told_when_a_launch_that_waited_begins_and_how_it_ends(world: World) -> None:
    watch = world.reader.watch("small")
    assert watch.last_event == 0  # what it is at first is read, not told
    world.runs = True
    assert watch.refresh()
    assert not watch.refresh()
    world.runs = False
    outcome = Outcome(world.launch.id, "failed", "the disk is full", AT)
    write_outcome(world.storage, "small", outcome)
    assert watch.refresh()
    told = watch.events_after(0)
    assert told is not None
    assert [one.name for one in told] == ["study", "study"]
    found = [json.loads(one.data) for one in told]
    assert [(one["state"], one["message"]) for one in found] == [
        ("running", None),
        ("failed", "the disk is full"),
    ]


def test_who_missed_more_events_than_are_kept_is_told_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "KEPT_EVENTS", 3)
    watch = world.reader.watch("small")
    for number in range(5):
        world.runs = number % 2 == 0
        watch.refresh()
    assert watch.events_after(0) is None
    assert watch.events_after(1) is None
    for after, numbers in ((2, [3, 4, 5]), (4, [5]), (5, []), (9, [])):
        found = watch.events_after(after)
        assert found is not None
        assert [one.number for one in found] == numbers


def test_what_nobody_looks_at_is_forgotten_but_not_under_the_eyes_of_who_has_the_list(
    world: World,
) -> None:
    watch = world.reader.watch("small")
    with world.reader.listing():
        world.now += IDLE_SECONDS + 1
        world.reader.refresh()
    assert world.reader.watch("small") is watch
    world.now += IDLE_SECONDS + 1
    world.reader.refresh()
    assert world.reader.watch("small") is not watch


def test_every_change_wakes_those_who_wait_and_counts(world: World) -> None:
    world.reader.watch("small")
    world.reader.refresh()
    before = world.reader.changes
    world.reader.refresh()
    assert world.reader.changes == before
    world.runs = True
    world.reader.refresh()
    assert world.reader.changes == before + 1


def test_a_study_whose_process_dies_again_and_again_fails_with_how_it_died(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sweep.service")
    monkeypatch.setattr(supervisor.sys, "executable", "/bin/false")
    keeper = Supervisor(world.storage, world.url, 1, clock=lambda: world.now)
    deadline = time.monotonic() + 60
    while (ended := load_asked(world.storage, "small").ended) is None:
        assert time.monotonic() < deadline
        keeper.step()
        time.sleep(0.02)
        world.now += 1.0
    assert ended.state == "failed"
    assert f"died {DEATHS} times in a row, the last time with exit code 1" in str(ended.message)
    assert caplog.text.count("begun as process") == DEATHS


def test_a_launch_of_another_machine_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sweep.service")
    monkeypatch.setattr(supervisor, "is_held", lambda *_: True)
    Supervisor(world.storage, world.url, 1).step()
    assert "begun" not in caplog.text
    assert load_asked(world.storage, "small").is_open
