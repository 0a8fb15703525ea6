"""sweep: find the loss weights of a multi-task recommender.

>>> import sweep
>>> config = sweep.load_study("studies/tutorial.toml")  # doctest: +SKIP
>>> record = sweep.launch(config, "sqlite:///sweep.db")  # doctest: +SKIP
>>> choice = sweep.choose(record, "knee")  # doctest: +SKIP
>>> choice.trial.weights, choice.reason  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.config import StudyConfig, load_study
    from sweep.errors import SweepError
    from sweep.export import ExportedWeights, export_weights, load_weights, write_weights
    from sweep.front.selection import Choice, choose
    from sweep.pipeline import launch, refit, score_final
    from sweep.report import write_report
    from sweep.results import LossWeights, StudyRecord, Trial, TrialResult
    from sweep.search.records import load_study_record

# Loaded on first use, so that `sweep --help` does not wait for what it does not need.
_HOMES = {
    "Choice": "sweep.front.selection",
    "ExportedWeights": "sweep.export",
    "LossWeights": "sweep.results",
    "StudyConfig": "sweep.config",
    "StudyRecord": "sweep.results",
    "SweepError": "sweep.errors",
    "Trial": "sweep.results",
    "TrialResult": "sweep.results",
    "choose": "sweep.front.selection",
    "export_weights": "sweep.export",
    "launch": "sweep.pipeline",
    "load_study": "sweep.config",
    "load_study_record": "sweep.search.records",
    "load_weights": "sweep.export",
    "refit": "sweep.pipeline",
    "score_final": "sweep.pipeline",
    "write_report": "sweep.report",
    "write_weights": "sweep.export",
}

__all__ = [
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


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sweep' has no attribute {name!r}")
