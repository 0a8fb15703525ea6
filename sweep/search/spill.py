"""Results that the store could not take: kept in a file on this machine for the next launch.

A launch whose store stays away ends with results in hand. Each becomes a line of JSON in a file of
its own study, flushed to the disk before the launch ends; the next launch on this machine writes
them into the store, before it fails what it finds running. The file goes once all is stored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.errors import StorageError
from sweep.results import Replicate
from sweep.search.records import write_replicates
from sweep.search.storage import end_of_last_line, storage_errors, store_identity

ENVIRONMENT_VARIABLE: Final = "SWEEP_STATE"
STATES: Final = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "fail": TrialState.FAIL,
}


@dataclass(frozen=True)
class SpilledTrial:
    """How a trial ended: its user attributes, its state, and the values of its objectives.

    Attributes are as `sweep.search.records.result_attributes` gives them: JSON returns them
    unchanged. `values` is None unless the trial is complete.
    """

    number: int
    attributes: Mapping[str, Any]
    state: Literal["complete", "pruned", "fail"]
    values: tuple[float, ...] | None = None


@dataclass(frozen=True)
class SpilledReplicate:
    """One more training of the trial of that number."""

    trial: int
    replicate: Replicate


Spilled = SpilledTrial | SpilledReplicate


def state_directory() -> Path:
    """Where launches leave what must not be lost: `SWEEP_STATE`, else the user's state folder."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("sweep", appauthor=False)


def spill_path(storage: str | BaseStorage, study: str) -> Path:
    """The spill file of a study; its name tells stores apart without a password in it."""
    name = re.sub(r"[^\w.-]", "_", study)[:100]
    digest = hashlib.sha256(f"{store_identity(storage)}\n{study}".encode()).hexdigest()
    return state_directory() / f"{name}-{digest[:12]}.jsonl"


def append_spill(path: Path, record: Spilled) -> None:
    """Add a result to a spill file; it is on the disk when this returns.

    Raises:
        StorageError: the file cannot be written; what it holds already is kept.
    """
    kind = "trial" if isinstance(record, SpilledTrial) else "replicate"
    line = json.dumps({kind: asdict(record)}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.touch()
        with path.open("r+b") as file:
            end = end_of_last_line(file)
            try:
                file.truncate(end)
                file.seek(end)
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), end)
                raise
        if is_new:
            _flush_directory(path.parent)
    except OSError as error:
        number = record.number if isinstance(record, SpilledTrial) else record.trial
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}), and the store does not answer, so a "
            f"result of trial {number} is lost; make room, or set {ENVIRONMENT_VARIABLE} to "
            "another directory, then launch again: the trial is trained anew"
        ) from None


def _flush_directory(path: Path) -> None:
    """Have the name of a new file on the disk as well."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_spill(path: Path) -> tuple[Spilled, ...]:
    """What a spill file holds, in its order; nothing if there is none.

    A last line that is cut short, by a kill or a full disk, is passed over.

    Raises:
        StorageError: the file cannot be read, or another line is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StorageError(
            f"{path}: results that are not in the store yet cannot be read ({error.strerror}); see "
            "to its permissions"
        ) from None
    records = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            records.append(_record(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StorageError(
                f"{path}: line {number} is damaged, where a result is that is not in the store "
                "yet; mend or delete that line, or the file"
            ) from None
    return tuple(records)


def _record(document: Any) -> Spilled:
    if "replicate" in document:
        fields = document["replicate"]
        return SpilledReplicate(fields["trial"], Replicate(**fields["replicate"]))
    fields = dict(document["trial"])
    values = fields.pop("values")
    record = SpilledTrial(**fields, values=None if values is None else tuple(values))
    STATES[record.state]  # a KeyError if there is no such state
    return record


def record_spill(
    path: Path, storage: BaseStorage, study: str, say: Callable[[str], None] = lambda _: None
) -> int:
    """Write what a spill file holds into the store, then remove the file.

    To be called while the study is held (`single_writer`) and before what runs in it is failed.
    What is stored already is passed over, so a launch that is killed in between does no harm, and
    to be called again after a lost connection neither.

    Args:
        path: of `spill_path`.
        storage: what `open_storage` gave.
        study: its name; the study exists.
        say: told how many results were recorded, and which came too late.

    Returns:
        How many results were recorded.

    Raises:
        StorageError: the file or the store fails.
    """
    records = read_spill(path)
    trials = {record.number: record for record in records if isinstance(record, SpilledTrial)}
    replicates: dict[int, list[Replicate]] = {}
    for record in records:
        if isinstance(record, SpilledReplicate):
            replicates.setdefault(record.trial, []).append(record.replicate)
    with storage_errors(storage):
        study_id = storage.get_study_id_from_name(study)
        count = sum(_record_trial(one, storage, study_id, say) for one in trials.values())
        attributes = storage.get_study_user_attrs(study_id) if replicates else {}
        for number, spilled in replicates.items():
            stored = [Replicate(**one) for one in attributes.get(f"replicates:{number}", ())]
            merged = {one.seed: one for one in [*spilled[::-1], *stored]}  # stored ones win
            if _stored(storage, study_id, number) is not None and len(merged) > len(stored):
                ordered = [merged[seed] for seed in sorted(merged)]
                write_replicates(storage, study, number, ordered)
                count += len(merged) - len(stored)
    path.unlink(missing_ok=True)
    if count:
        say(f"Recorded {count} results that an earlier launch could not store")
    return count


def _record_trial(
    spilled: SpilledTrial, storage: BaseStorage, study_id: int, say: Callable[[str], None]
) -> bool:
    """Write the end of a trial that still runs, as the store has it; whether that was so."""
    frozen = _stored(storage, study_id, spilled.number)
    if frozen is None:
        say(f"Trial {spilled.number} is not in the store any more; its result is passed over")
        return False
    if frozen.state.is_finished():
        if frozen.state == TrialState.FAIL != STATES[spilled.state]:
            say(
                f"Trial {spilled.number} was failed by another launch, which trains its weights "
                "again; its result is passed over"
            )
        return False
    for key, value in spilled.attributes.items():
        storage.set_trial_user_attr(frozen._trial_id, key, value)
    storage.set_trial_state_values(frozen._trial_id, STATES[spilled.state], spilled.values)
    return True


def _stored(storage: BaseStorage, study_id: int, number: int) -> FrozenTrial | None:
    try:
        stored = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    except KeyError:
        return None
    return storage.get_trial(stored)
