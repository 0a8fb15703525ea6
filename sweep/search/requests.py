"""What the service is asked to do with a study, kept in the store beside it.

Three user attributes of a study. `launch` is written by whoever asks for a launch, `outcome` by
the process that carried it out, so the two never write over each other; an outcome says which
launch it is of. `archived` is when the study was put away. A study may have a launch before it has
a header: then it waits for its first trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from sweep.config import StudyConfig
from sweep.errors import StorageError
from sweep.search.records import not_found
from sweep.search.storage import storage_errors

LAUNCH: Final = "launch"
OUTCOME: Final = "outcome"
ARCHIVED: Final = "archived"
ATTRIBUTES: Final = frozenset({LAUNCH, OUTCOME, ARCHIVED})

Wanted = Literal["run", "stop"]
Ended = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True)
class LaunchRequest:
    """A launch that was asked for.

    `id` is new with every launch; `key` is the asker's own, so that asking twice is asking once.
    `config` is the checked study file as JSON has it, `at` when it was asked, ISO 8601.
    """

    id: str
    config: Mapping[str, Any]
    at: str
    key: str | None = None
    wanted: Wanted = "run"


@dataclass(frozen=True)
class Outcome:
    """How the launch of that id ended; `message` says why it failed."""

    launch: str
    state: Ended
    message: str | None
    at: str


@dataclass(frozen=True)
class Asked:
    """What is known of a study beside its trials.

    `is_sweeps` is whether it has a header; `lease` is what `sweep.search.lease` keeps in it.
    """

    name: str
    is_sweeps: bool
    launch: LaunchRequest | None
    outcome: Outcome | None
    archived: datetime | None
    lease: Any = None

    @property
    def ended(self) -> Outcome | None:
        """The outcome of the launch that is there; None while it is not over."""
        same = self.launch and self.outcome and self.outcome.launch == self.launch.id
        return self.outcome if same else None

    @property
    def is_open(self) -> bool:
        """Whether a launch was asked for that is not over."""
        return self.launch is not None and self.ended is None


def read_asked(name: str, attributes: Mapping[str, Any]) -> Asked | None:
    """What the attributes of a study say; None if it is not a study of sweep."""
    is_sweeps = "sweep_schema" in attributes
    if not is_sweeps and LAUNCH not in attributes:
        return None
    launch, outcome = attributes.get(LAUNCH), attributes.get(OUTCOME)
    archived, lease = attributes.get(ARCHIVED), attributes.get("lease")
    try:
        return Asked(
            name,
            is_sweeps,
            LaunchRequest(**launch) if launch else None,
            Outcome(**outcome) if outcome else None,
            datetime.fromisoformat(archived) if archived else None,
            lease,
        )
    except (TypeError, ValueError):  # attributes of another program, or of a newer sweep
        return Asked(name, is_sweeps, None, None, None, lease) if is_sweeps else None


def list_asked(storage: BaseStorage) -> tuple[Asked, ...]:
    """All studies of sweep, those that wait for their first trial included, by name.

    Raises:
        StorageError: the store cannot be read.
    """
    with storage_errors(storage):
        studies = storage.get_all_studies()
    asked = (read_asked(study.study_name, study.user_attrs) for study in studies)
    return tuple(sorted((one for one in asked if one), key=lambda one: one.name))


def load_asked(storage: BaseStorage, name: str) -> Asked:
    """What is known of one study.

    Raises:
        StudyNotFoundError: there is no study of sweep of that name.
        StorageError: the store cannot be read.
    """
    with storage_errors(storage):
        try:
            attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
        except KeyError:
            attributes = {}
    asked = read_asked(name, attributes)
    if asked is None:
        raise not_found(storage, name)
    return asked


def request_launch(storage: BaseStorage, config: StudyConfig, request: LaunchRequest) -> None:
    """Ask for a launch; the study is made if it is not there.

    Raises:
        StorageError: the study is another program's, or the store cannot be written.
    """
    with storage_errors(storage):
        try:
            study_id = storage.get_study_id_from_name(config.name)
        except KeyError:
            with suppress(DuplicatedStudyError):  # another was quicker
                directions = [StudyDirection[o.direction.upper()] for o in config.objectives]
                storage.create_new_study(directions, config.name)
            study_id = storage.get_study_id_from_name(config.name)
        else:
            attributes = storage.get_study_user_attrs(study_id)
            if read_asked(config.name, attributes) is None and storage.get_n_trials(study_id):
                raise StorageError(
                    f"study {config.name!r} was not written by sweep: it is an Optuna study of "
                    "another program; choose another name"
                )
        storage.set_study_user_attr(study_id, LAUNCH, asdict(request))


def write_wanted(storage: BaseStorage, name: str, launch: LaunchRequest, wanted: Wanted) -> None:
    """Say whether a launch is to go on."""
    _write(storage, name, LAUNCH, {**asdict(launch), "wanted": wanted})


def write_outcome(storage: BaseStorage, name: str, outcome: Outcome) -> None:
    """Say how a launch ended."""
    _write(storage, name, OUTCOME, asdict(outcome))


def write_archived(storage: BaseStorage, name: str, at: datetime | None) -> None:
    """Put a study away, or with None get it back; nothing of it is lost."""
    _write(storage, name, ARCHIVED, at.isoformat() if at else None)


def _write(storage: BaseStorage, name: str, key: str, value: object) -> None:
    load_asked(storage, name)
    with storage_errors(storage):
        storage.set_study_user_attr(storage.get_study_id_from_name(name), key, value)
