"""The errors that sweep raises on purpose.

::

    SweepError                  anything below: the message is meant for the user
    ├── ConfigError             a study file or a --set value is wrong
    ├── DataError               a dataset cannot be found, read or trusted
    ├── StorageError            a storage URL, or the store behind it, is wrong
    │   ├── StudyNotFoundError  the store holds no study of that name
    │   ├── StorageLockedError  another process has the study, or opens the store, at this moment
    │   └── StorageLostError    the store has not answered for as long as was asked
    ├── IncomparableStudyError  the study file no longer matches its stored trials
    ├── SelectionError          a --pick rule is wrong, or no trial satisfies it
    ├── TrainingError           one trial failed by itself (not a number, say)
    ├── WorkerError             no worker can be had: a cluster is away, or workers die at once
    └── ExportError             weights or a model cannot be written, or read back

The command line prints the message of a `SweepError` alone and exits with code 2. Every message
says where, what was found, what is allowed, and what to do.
"""

from __future__ import annotations


class SweepError(Exception):
    """Base of every error that sweep raises on purpose."""


class ConfigError(SweepError):
    """A study file or an override is not valid."""


class DataError(SweepError):
    """A dataset cannot be found, read or trusted."""


class StorageError(SweepError):
    """A storage URL, or the store behind it, is wrong."""


class StudyNotFoundError(StorageError):
    """The store holds no study of the given name."""


class StorageLockedError(StorageError):
    """Another process has the study, or is opening the store: it may be free in a moment."""


class StorageLostError(StorageError):
    """The store was there, and has not answered for as long as the launch was to wait."""


class IncomparableStudyError(SweepError):
    """The study file has changed so that the stored trials no longer compare."""


class SelectionError(SweepError):
    """A selection rule is malformed, or no trial satisfies it."""


class TrainingError(SweepError):
    """A trial failed by itself: its loss or a metric is not a finite number."""


class WorkerError(SweepError):
    """No worker can be had: a cluster cannot be reached, or workers die before they are ready."""


class ExportError(SweepError):
    """Weights or a model cannot be exported, or an export cannot be read."""
