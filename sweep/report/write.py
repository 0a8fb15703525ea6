"""Writing a report: every file whole or not at all, and the same bytes for the same study."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sweep.errors import SweepError
from sweep.report.answer import (
    certainty,
    comparisons,
    final_gaps,
    final_sentence,
    headline,
    specialists_sentence,
)
from sweep.report.measured import commands, facts, pruning
from sweep.report.summary import Summary, replicate_estimates, summarise
from sweep.report.tables import front_table, trial_record, trials_table
from sweep.results import Baseline, StudyRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sweep.search.importance import Importances

SCHEMA_VERSION = 2
"""Version of `report.json`: raised when a key changes its meaning or goes."""

_SOMETIMES = {f"{name}.{kind}" for name in ("importances", "ablation") for kind in ("png", "svg")}


def write_report(
    record: StudyRecord,
    directory: Path,
    say: Callable[[str], None] = lambda _: None,
    importances: Importances | None = None,
) -> tuple[Path, ...]:
    """Write the whole report of a study.

    Args:
        record: the study; one complete trial is enough.
        directory: where to; made if it is not there. Files of an earlier report are replaced.
        say: told of every stage.
        importances: what mattered, from `sweep.search.importance.importances`; without it the
            report does not say.

    Returns:
        the files written: `index.html`, the pictures as PNG and SVG (`importances` and `ablation`
        only where these are known), `trials.csv`, `front.csv` and `report.json`.

    Raises:
        SweepError: the study has no complete trial, or the directory cannot be written to. An
            earlier report is untouched then.
    """
    # Everything is made before anything is written: a report is never half an old one.
    summary = summarise(record, importances)
    say("Making the tables")
    files = _tables(summary)
    say("Drawing the pictures")
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

    Keys: `schema_version`; `study`; `config` (the study file); `dataset` (`DatasetSummary`, or
    null); `trials` (how many in each state); `objectives` (metric, direction and `reference`, the
    reference point's value); `convergence` (`Convergence`, `history` with one value for each
    complete trial); `front` (as `sweep front --json`); `references` (by name, as in the front);
    `baselines` (by name, on the rows that the search is scored on); `published` (by name, the
    objectives that the tutorial prints, where the study does as the tutorial does); `knee` (as in
    the front, with the `reason`, the `runner_up`'s number and the `gains` over every reference and
    baseline); `test` (of the knee: metrics, half-widths, n, the `gap` to validation and the
    baselines there; or null); `importances` (or null); `ablation` (every key left out, with the
    metrics of each seed); `pruning`; `at_edge` (the front's members at a bound of the search
    space: trial, variable, value, bound and limit); `answer` (the first screen's sentences);
    `measured` (what one has to know to judge the figures); `commands`.
    """
    record = summary.record
    states = [trial.state for trial in record.trials]
    metrics = [objective.metric for objective in summary.objectives]
    runner_up = summary.knee.runner_up
    return {
        "schema_version": SCHEMA_VERSION,
        "study": record.name,
        "config": record.config.model_dump(mode="json"),
        "dataset": asdict(record.dataset) if record.dataset else None,
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "objectives": [
            {"metric": objective.metric, "direction": objective.direction, "reference": reference}
            for objective, reference in zip(summary.objectives, record.reference_point, strict=True)
        ],
        "convergence": {
            **asdict(summary.convergence),
            "history": summary.convergence.history.tolist(),
        },
        "front": [trial_record(summary, trial) for trial in summary.front],
        "references": {
            name: trial_record(summary, trial) for name, trial in summary.references.items()
        },
        "baselines": _baselines(record.baselines),
        "published": {
            name: dict(zip(metrics, point, strict=True))
            for name, point in summary.published.items()
        },
        "knee": {
            **trial_record(summary, summary.knee.trial),
            "reason": summary.knee.reason,
            "runner_up": None if runner_up is None else runner_up.number,
            "gains": {
                comparison.name: {
                    metric: asdict(gain)
                    for metric, gain in zip(metrics, comparison.gains, strict=True)
                    if gain is not None
                }
                for comparison in comparisons(summary)
            },
        },
        "test": _test(summary),
        "importances": _importances(summary),
        "ablation": [asdict(one) for one in record.ablation],
        "pruning": asdict(pruning(record)),
        "at_edge": [asdict(found) for found in summary.at_edge],
        "answer": [
            headline(summary),
            specialists_sentence(summary),
            *certainty(summary),
            final_sentence(summary),
        ],
        "measured": dict(facts(record)),
        "commands": list(commands(record)),
    }


def _baselines(baselines: Sequence[Baseline]) -> dict[str, Any]:
    return {one.name: {"metrics": dict(one.metrics), "note": one.note} for one in baselines}


def _test(summary: Summary) -> dict[str, Any] | None:
    final = summary.final
    if final is None:
        return None
    scores = replicate_estimates(final.replicates)
    return {
        "n": len(final.replicates),
        "metrics": {name: score.mean for name, score in scores.items()},
        "half_widths": {name: score.half_width for name, score in scores.items()},
        "gap": {
            objective.metric: None if gap is None else asdict(gap)
            for objective, gap in zip(summary.objectives, final_gaps(summary), strict=True)
        },
        "baselines": _baselines(final.baselines),
    }


def _importances(summary: Summary) -> dict[str, Any] | None:
    found = summary.importances
    return None if found is None else {**asdict(found), "sentence": found.scale.sentence}


def _tables(summary: Summary) -> dict[str, bytes]:
    document = json.dumps(report_document(summary), indent=2, allow_nan=False, ensure_ascii=False)
    texts = {
        "trials.csv": trials_table(summary.record, summary).to_csv(index=False),
        "front.csv": front_table(summary.record, summary).to_csv(index=False),
        "report.json": f"{document}\n",
    }
    return {name: text.encode("utf-8") for name, text in texts.items()}


def _pareto(summary: Summary) -> Figure:
    from sweep.report import pareto

    return pareto.pareto_figure(pareto.pareto_info(summary))


def _weights(summary: Summary) -> Figure:
    from sweep.report import weights

    return weights.weights_figure(weights.weights_info(summary))


def _hypervolume(summary: Summary) -> Figure:
    from sweep.report import hypervolume

    return hypervolume.hypervolume_figure(hypervolume.hypervolume_info(summary))


def _curves(summary: Summary) -> Figure:
    from sweep.report import curves

    return curves.curves_figure(curves.curves_info(summary))


_FIGURES: Mapping[str, Callable[[Summary], Figure]] = {
    "pareto_front": _pareto,
    "weights": _weights,
    "hypervolume": _hypervolume,
    "learning_curves": _curves,
}


def _pictures(summary: Summary) -> dict[str, bytes]:
    from sweep.report import importance, style

    with style.house_style():
        figures = {name: figure(summary) for name, figure in _FIGURES.items()}
        if (mattered := importance.importances_info(summary)) is not None:
            figures["importances"] = importance.importances_figure(mattered)
        if (ablation := importance.ablation_info(summary)) is not None:
            figures["ablation"] = importance.ablation_figure(ablation)
        return {
            f"{name}.{kind}": rendered(figure, kind)
            for name, figure in figures.items()
            for kind in ("png", "svg")
        }


def picture_of(summary: Summary, name: str, kind: str) -> bytes:
    """One of the pictures that every report has, as the content of a "png" or "svg" file.

    Args:
        summary: of the study.
        name: `pareto_front`, `weights`, `hypervolume` or `learning_curves`.
        kind: "png" or "svg".
    """
    from sweep.report import style

    with style.house_style():
        return rendered(_FIGURES[name](summary), kind)


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
    for name in _SOMETIMES - files.keys():
        (directory / name).unlink(missing_ok=True)  # of an earlier report
