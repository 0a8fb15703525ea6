"""Writing a report: every file whole or not at all, and the same bytes for the same study."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import SweepError
from sweep.files import write_bytes
from sweep.report.summary import Summary, summarise
from sweep.report.tables import front_records, front_table, trial_record, trials_table
from sweep.results import StudyRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
"""Version of `report.json`: raised when a key changes its meaning or goes."""


def write_report(
    record: StudyRecord, directory: Path, say: Callable[[str], None]
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
        SweepError: the study has no complete trial (nothing is written then), or the directory
            cannot be written to.
    """
    summary = summarise(record)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        say(f"Writing tables to {directory}")
        written = _write_tables(summary, directory)
        say("Drawing the Pareto front, the loss weights, the hypervolume and the learning curves")
        written += _write_pictures(summary, directory)
        say("Writing the interactive page")
        from sweep.report.page import page

        written += [_write(directory / "index.html", page(summary))]
    except OSError as error:
        raise SweepError(
            f"{directory}: the report cannot be written there ({error.strerror or error}); "
            "choose another folder, or make room or permission for this one"
        ) from None
    return tuple(written)


def report_document(summary: Summary) -> dict[str, Any]:
    """What `report.json` holds: plain values, none of them NaN or infinite.

    Keys: `schema_version`; `study`; `dataset` (`DatasetSummary`, or null); `trials` (how many in
    each state); `objectives` (metric, direction and `reference`, the reference point's value);
    `hypervolume`; `front` (as `sweep front --json`); `references` (by name, as in the front);
    `published` (by name, the objectives that the tutorial prints); `knee` (as in the front, and
    the `reason`).
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
    }


def _write_tables(summary: Summary, directory: Path) -> list[Path]:
    document = json.dumps(report_document(summary), indent=2, allow_nan=False, ensure_ascii=False)
    return [
        _write(directory / "trials.csv", trials_table(summary.record).to_csv(index=False)),
        _write(directory / "front.csv", front_table(summary.record).to_csv(index=False)),
        _write(directory / "report.json", f"{document}\n"),
    ]


def _write_pictures(summary: Summary, directory: Path) -> list[Path]:
    from sweep.report import curves, hypervolume, pareto, style, weights

    with style.house_style():
        figures = {
            "pareto_front": pareto.pareto_figure(pareto.pareto_info(summary)),
            "weights": weights.weights_figure(weights.weights_info(summary)),
            "hypervolume": hypervolume.hypervolume_figure(hypervolume.hypervolume_info(summary)),
            "learning_curves": curves.curves_figure(curves.curves_info(summary)),
        }
        return [
            _write(directory / f"{name}.{kind}", rendered(figure, kind))
            for name, figure in figures.items()
            for kind in ("png", "svg")
        ]


def rendered(figure: Figure, kind: str) -> bytes:
    """A figure as the content of a "png" or "svg" file; call it inside `style.house_style`."""
    # Dates and versions would change a committed picture without cause.
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _write(path: Path, content: str | bytes) -> Path:
    write_bytes(path, content if isinstance(content, bytes) else content.encode("utf-8"))
    return path
