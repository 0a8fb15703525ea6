"""Chosen weights → one JSON file that says where they come from, and back.

The file is described by `ExportedWeights`; `ExportedWeights.model_json_schema()` is its JSON
Schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweep.config import Setting, StudyConfig
from sweep.errors import ExportError
from sweep.files import write_text
from sweep.front.selection import Choice
from sweep.front.uncertainty import estimate
from sweep.results import DatasetSummary, FinalScore, LossWeights, Replicate, StudyRecord

SCHEMA_VERSION = 2
"""Raised when a field changes its meaning or goes; new optional fields do not raise it."""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Interval(BaseModel):
    """A mean over seeds: it is uncertain by `half_width` with a confidence of 90 %.

    `half_width` is null where there is one seed only: nothing is known of the spread then.
    """

    model_config = ConfigDict(frozen=True)

    mean: float
    half_width: float | None
    n: int


class ExportedWeights(BaseModel):
    """What `sweep export` writes: the weights, why these, and how to train the same model again."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[2] = Field(
        description="Version of this format; readers refuse one that they do not know."
    )
    rating_weight: Weight = Field(description="Factor of the rating loss in the total loss.")
    retrieval_weight: Weight = Field(description="Factor of the retrieval loss in the total loss.")
    ratio: float | None = Field(
        description="rating_weight / retrieval_weight; null where retrieval_weight is 0."
    )
    settings: dict[str, Setting] = Field(
        strict=False,
        description="Values of the keys that were searched beside the weights, by dotted name; "
        "they hold in place of what `config` has there.",
    )
    study: str = Field(description="Name of the study.")
    trial: int = Field(description="Number of the chosen trial in the study.")
    rule: str = Field(description="The rule that chose it, as given to --pick.")
    reason: str = Field(description="Why this trial, and what the next best would trade.")
    validation: dict[str, Interval] | None = Field(
        description="Every metric on the validation rows, mean over seeds; null where the study "
        "has no validation rows."
    )
    test: dict[str, Interval] = Field(
        description="Every metric on the test rows, mean over seeds. Where there are validation "
        "rows, of models trained on training and validation rows together, scored once; else the "
        "search has seen these rows."
    )
    gap: dict[str, Interval] | None = Field(
        description="Test less validation, seed by seed; null where either is."
    )
    baselines: dict[str, dict[str, float]] = Field(
        description="What models without loss weights score on the test rows, by name and metric."
    )
    seed: int = Field(description="Seed of the exported model's initial state and order of rows.")
    metrics: dict[str, float] = Field(
        description="Every metric of the exported model itself on the test rows."
    )
    batch_size: int = Field(
        description="Rows in a training batch; a summed retrieval loss grows with it."
    )
    rating_reduction: Literal["mean"] = Field(
        description="How the squared error is reduced over a batch."
    )
    retrieval_reduction: Literal["sum", "mean"] = Field(
        description="How the in-batch softmax loss is reduced over a batch."
    )
    optimizer: Literal["adagrad", "adam"] = Field(
        description="Weights do not carry over to another optimizer."
    )
    learning_rate: float = Field(description="Of the optimizer.")
    epochs: int = Field(description="Passes over the training rows.")
    config: StudyConfig = Field(
        strict=False, description="The whole study file: data, split, model, training, seeds."
    )
    dataset: DatasetSummary = Field(
        description="Counts and content hash of the data that was trained on."
    )
    versions: dict[str, str] = Field(description="Packages that trained the trial.")
    created: datetime = Field(description="When this file was made, ISO 8601 with offset.")

    @property
    def weights(self) -> LossWeights:
        """Both weights as one value."""
        return LossWeights(self.rating_weight, self.retrieval_weight)


def intervals(replicates: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """The mean of every metric, with its interval."""
    return {
        name: Interval(**asdict(estimate([metrics[name] for metrics in replicates])))
        for name in replicates[0]
    }


def export_weights(
    record: StudyRecord, choice: Choice, final: FinalScore | None, created: datetime
) -> ExportedWeights:
    """Gather what an export says about a chosen trial.

    Args:
        record: the study.
        choice: what was chosen, by which rule and why.
        final: its score on the test rows; None where the study has no validation rows.
        created: now.

    Raises:
        ExportError: the trial or the study lacks something, as an old or foreign store may.
    """
    trial = choice.trial
    if trial.weights is None or trial.result is None or trial.seed is None or not record.dataset:
        raise ExportError(
            f"study {record.name!r}, trial {trial.number}: its weights, seed, metrics or dataset "
            "are not recorded; choose a complete trial that sweep has trained"
        )
    own = Replicate(trial.seed, trial.result.metrics)
    search = {one.seed: one.metrics for one in trial.replicates or (own,)}
    scored = {one.seed: one.metrics for one in final.replicates} if final else search
    seed = next(iter(scored)) if final else trial.seed
    both = [seed for seed in scored if final and seed in search]
    gaps = [
        # A study of an earlier sweep has fewer metrics than its score on the test rows.
        {name: scored[seed][name] - value for name, value in search[seed].items()}
        for seed in both
    ]
    training = record.config.with_settings(trial.settings).training
    return ExportedWeights(
        schema_version=SCHEMA_VERSION,
        rating_weight=trial.weights.rating_weight,
        retrieval_weight=trial.weights.retrieval_weight,
        ratio=trial.weights.ratio if trial.weights.retrieval_weight else None,
        settings=dict(trial.settings),
        study=record.name,
        trial=trial.number,
        rule=str(choice.rule),
        reason=choice.reason,
        validation=intervals([*search.values()]) if final else None,
        test=intervals([*scored.values()]),
        gap=intervals(gaps) if gaps else None,
        baselines={
            baseline.name: dict(baseline.metrics)
            for baseline in (final.baselines if final else record.baselines)
        },
        seed=seed,
        metrics=dict(scored[seed] if final else own.metrics),
        batch_size=training.batch_size,
        rating_reduction="mean",
        retrieval_reduction=training.retrieval_reduction,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate,
        epochs=training.epochs,
        config=record.config,
        dataset=record.dataset,
        versions=dict(trial.versions),
        created=created,
    )


def write_weights(path: Path, exported: ExportedWeights) -> None:
    """Write an export as JSON.

    Raises:
        ExportError: the file cannot be written.
    """
    try:
        write_text(path, exported.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be written ({error.strerror or error}); choose another --output"
        ) from None


def require_free_folder(folder: Path) -> None:
    """Check that a model may be written there, before the work of training it.

    Raises:
        ExportError: there is something at that path already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(
            f"{folder}: exists already; a model is written to a new or empty folder: "
            "choose another name, or remove it first"
        )


def load_weights(path: Path | str) -> ExportedWeights:
    """Read what `sweep export` wrote.

    >>> exported = load_weights("best.json")  # doctest: +SKIP
    >>> exported.rating_weight, exported.retrieval_weight  # doctest: +SKIP

    Raises:
        ExportError: there is no such file, or it is not an export of a known version.
    """
    advice = "sweep export STUDY --pick knee --output FILE writes one"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text"
        raise ExportError(f"{path}: cannot be read ({reason}); {advice}") from None
    try:
        return ExportedWeights.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole text"
        raise ExportError(
            f"{path}: not an export of schema version {SCHEMA_VERSION}: at {where}: "
            f"{first['msg'].lower()}; {advice}"
        ) from None
