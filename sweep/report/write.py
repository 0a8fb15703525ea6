"""Writing a report: every file whole or not at all, and the same bytes for the same study."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sweep.errors import SweepError
from sweep.report.summary import Summary, summarise
from sweep.report.tables import front_records, front_table, trial_record, trials_table
from sweep.results import StudyRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
"""Version of `report.json`: raised when a key changes its meaning or goes."""


def write_report(
    record: StudyRecord, directory: Path, say: Callable[[str], None] = lambda _: None
) -> tuple[Path, ...]:
    """Write the whole report of a study.

    Args:
        record: the study; one complete trial is enough.
        directory: where to; made if it is not there. Files of an earlier report are replaced.
        say: told of every stage.

    Returns:
        the files written: `index.html`, four pictures as PNG and SVG, `trials.csv`, `front.csv`
        and `report.json`.

    Raises:
        SweepError: the study has no complete trial, or the directory cannot be written to. An
            earlier report is untouched then.
    """
    # Everything is made before anything is written: a report is never half an old one.
    summary = summarise(record)
    say("Making the tables")
    files = _tables(summary)
    say("Drawing the Pareto front, the loss weights, the hypervolume and the learning curves")
    files |= _pictures(summary)
    say("Making the interactive page")
    from sweep.report.page import page

    files["index.html"] = page(summary).encode("utf-8")
    say(f"Writing {len(files)} files to {directory}")
    try:
        _write_files(directory, files)
    except OSError as error:
        is_file = isinstance(error, FileExistsError)
        found = "it is a file, not a folder" if is_file else error.strerror or str(error)
        raise SweepError(
            f"{directory}: the report cannot be written there ({found}); choose another folder, "
            "or make room or permission for this one"
        ) from None
    return tuple(directory / name for name in files)


def report_document(summary: Summary) -> dict[str, Any]:
    """What `report.json` holds: plain values, none of them NaN or infinite.

    Keys: `schema_version`; `study`; `dataset` (`DatasetSummary`, or null); `trials` (how many in
    each state); `objectives` (metric, direction and `reference`, the reference point's value);
    `hypervolume`; `front` (as `sweep front --json`); `references` (by name, as in the front);
    `published` (by name, the objectives that the tutorial prints, where the study does as the
    tutorial does); `knee` (as in the front, and the `reason`); `at_edge` (the front's members at a
    bound of the search space: trial, weight, value, bound and limit).
    """
    record = summary.record
    states = [trial.state for trial in record.trials]
    metrics = [objective.metric for objective in summary.objectives]
    return {
        "schema_version": SCHEMA_VERSION,
        "study": record.name,
        "dataset": asdict(record.dataset) if record.dataset else None,
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "objectives": [
            {"metric": objective.metric, "direction": objective.direction, "reference": reference}
            for objective, reference in zip(summary.objectives, record.reference_point, strict=True)
        ],
        "hypervolume": summary.hypervolume,
        "front": front_records(record),
        "references": {name: trial_record(trial) for name, trial in summary.references.items()},
        "published": {
            name: dict(zip(metrics, point, strict=True))
            for name, point in summary.published.items()
        },
        "knee": {**trial_record(summary.knee.trial), "reason": summary.knee.reason},
        "at_edge": [asdict(found) for found in summary.at_edge],
    }


def _tables(summary: Summary) -> dict[str, bytes]:
    document = json.dumps(report_document(summary), indent=2, allow_nan=False, ensure_ascii=False)
    texts = {
        "trials.csv": trials_table(summary.record).to_csv(index=False),
        "front.csv": front_table(summary.record).to_csv(index=False),
        "report.json": f"{document}\n",
    }
    return {name: text.encode("utf-8") for name, text in texts.items()}


def _pictures(summary: Summary) -> dict[str, bytes]:
    from sweep.report import curves, hypervolume, pareto, style, weights

    with style.house_style():
        figures = {
            "pareto_front": pareto.pareto_figure(pareto.pareto_info(summary)),
            "weights": weights.weights_figure(weights.weights_info(summary)),
            "hypervolume": hypervolume.hypervolume_figure(hypervolume.hypervolume_info(summary)),
            "learning_curves": curves.curves_figure(curves.curves_info(summary)),
        }
        return {
            f"{name}.{kind}": rendered(figure, kind)
            for name, figure in figures.items()
            for kind in ("png", "svg")
        }


def rendered(figure: Figure, kind: str) -> bytes:
    """A figure as the content of a "png" or "svg" file; call it inside `style.house_style`."""
    # Dates and versions would change a committed picture without cause.
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside their places, and only then move them there."""
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".report-", dir=directory) as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        for name in files:
            (Path(folder) / name).replace(directory / name)
