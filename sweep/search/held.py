"""A study as one launch holds it: nobody else writes to it, and what it gives is not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from optuna.storages import BaseStorage

from sweep.config import ExecutionConfig
from sweep.errors import StorageError
from sweep.search.executors import StopSignal
from sweep.search.patience import Patience
from sweep.search.spill import Spilled, append_spill, spill_path
from sweep.search.storage import database_errors, single_writer, store_name

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class HeldStudy:
    """The store of a study, for the launch that holds it.

    Attributes:
        storage: what `open_storage` gave.
        patience: with a store that does not answer.
        check: raises `StorageError` once another launch has taken the study over.
        spill: the file for results that the store does not take.
        say: told of it.
    """

    storage: BaseStorage
    patience: Patience
    check: Callable[[], None]
    spill: Path
    say: Callable[[str], None]

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that changes the store, if the study is still ours."""
        self.check()
        return self.patience.call(function, *args, **kwargs)

    def keep(self, results: Iterator[Spilled], running: int) -> None:
        """Keep results that the store does not take, for the next launch.

        Each is on the disk before the next is waited for.

        Args:
            results: as they come.
            running: how many may be waited for.

        Raises:
            StorageError: the file cannot be written.
        """
        if running:
            self.say("The store does not take results: waiting for what is running, to keep it")
        count = 0
        try:
            for result in results:
                append_spill(self.spill, result)
                count += 1
        finally:
            if count:
                self.say(
                    f"{count} results that the store did not take are kept in {self.spill}; the "
                    "next launch on this machine records them"
                )


def store_failures() -> tuple[type[Exception], ...]:
    """What says that the store did not take a change."""
    return (StorageError, *database_errors())


@contextmanager
def hold_study(
    storage: BaseStorage,
    name: str,
    execution: ExecutionConfig,
    say: Callable[[str], None],
    stop: StopSignal | None,
) -> Iterator[HeldStudy]:
    """Hold a study, which must exist.

    Raises:
        StorageError: another launch holds it.
    """
    with single_writer(storage, name, lease_seconds=execution.lease_seconds, say=say) as check:
        patience = Patience(execution.storage_seconds, say, stop, store_name(storage), check)
        yield HeldStudy(storage, patience, check, spill_path(storage, name), say)
