"""What the HTTP API takes and gives: the bodies of its requests and answers.

Every number is finite; what does not apply is null.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["queued", "running", "stopping", "stopped", "complete", "failed", "idle"]
"""Of a study: `queued` waits for room; `running` has a coordinator, wherever it was launched;
`stopping` finishes what trains; `stopped`, `complete` and `failed` are how its last launch ended;
`idle` was launched elsewhere and does not run."""

Text = Annotated[str, Field(max_length=65_536)]
Rule = Annotated[
    str,
    Field(
        max_length=300,
        description="knee, min:rmse, max:top_100_accuracy, trial:N, a bound such as rmse<=1.1, "
        "reference:rmse=0.9,top_100_accuracy=0.4 or utility:rmse=0.3,top_100_accuracy=0.7",
        examples=["knee"],
    ),
]
Override = Annotated[str, Field(max_length=1000, examples=["budget.trials=20"])]


class Body(BaseModel):
    """A request: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """An answer."""

    model_config = ConfigDict(from_attributes=True)


class Problem(Answer):
    """An error, by RFC 9457; `detail` is the text that the command line would show."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class ObjectiveAnswer(Answer):
    """A metric and its direction; `label` is its name for a person."""

    metric: str
    label: str
    direction: Literal["minimize", "maximize"]


class StudyLine(Answer):
    """One line of the list of studies.

    `done` counts complete and pruned trials, `asked` is the number that the study file asks for,
    `best` the best value of each objective by single results. `front` holds the points of the
    Pareto front as measured, in the order of the objectives, for a small picture: at most 64.
    """

    name: str
    state: State
    message: str | None = Field(description="Why it failed, or what it waits for.")
    done: int
    failed: int
    asked: int | None
    objectives: list[ObjectiveAnswer]
    best: dict[str, float]
    front: list[tuple[float, float]]
    last_activity: datetime | None
    archived: datetime | None
    problem: str | None = Field(description="Why the study cannot be read, if it cannot.")


class Studies(Answer):
    """A page of the list of studies, in order of their names."""

    studies: list[StudyLine]
    total: int
    offset: int
    limit: int


class BaselineAnswer(Answer):
    """A model without loss weights."""

    name: str
    metrics: dict[str, float]
    note: str


class Variable(Answer):
    """What is searched: a key, its name for a person, and its range or choices in words."""

    name: str
    label: str
    text: str


class StudyAnswer(StudyLine):
    """A study; `config` is its study file, and `toml` that as text."""

    config: dict[str, Any]
    toml: str
    dataset: dict[str, Any] | None
    variables: list[Variable]
    protocol: str
    counts: dict[str, int]
    replicated: int
    seconds_left: float | None
    baselines: list[BaselineAnswer]
    reference_point: tuple[float, float] | None
    ideal_point: tuple[float, float]
    storage: str = Field(description="The store, without its password.")


class Points(Answer):
    """Every trial with a result, as columns of equal length, for plots.

    `x` and `y` are what the trial is judged by (the mean over its seeds where it has replicates),
    `x_half` and `y_half` half of the 90 % intervals.
    """

    version: str
    number: list[int]
    state: list[Literal["complete", "pruned"]]
    x: list[float]
    y: list[float]
    x_half: list[float | None]
    y_half: list[float | None]
    rating_weight: list[float | None]
    retrieval_weight: list[float | None]
    n: list[int]
    on_front: list[bool]
    robust: list[bool]
    probability: list[float | None]
    reference: list[str | None]
    settings: dict[str, list[Any]]
    values: dict[str, list[float | None]] = Field(
        description="RMSE and top-100 accuracies where they are no objectives."
    )
    hypervolume: list[float] = Field(
        description="Normalised, after each complete trial, in order of numbers."
    )
    hypervolume_number: list[int]


class TrialRow(Answer):
    """A trial in a table."""

    number: int
    state: Literal["complete", "pruned", "failed", "running", "waiting"]
    reference: str | None
    rating_weight: float | None
    retrieval_weight: float | None
    settings: dict[str, Any]
    metrics: dict[str, float]
    n: int
    on_front: bool
    seconds: float | None
    started: datetime | None
    finished: datetime | None
    reason: str | None


class Trials(Answer):
    """A page of the trials."""

    trials: list[TrialRow]
    total: int
    offset: int
    limit: int


class EpochAnswer(Answer):
    """One point of a learning curve."""

    epoch: int
    rating_loss: float | None
    retrieval_loss: float | None
    metrics: dict[str, float | None]


class ReplicateAnswer(Answer):
    """One more training of a trial, from another seed."""

    seed: int
    metrics: dict[str, float]
    seconds: float


class TrialAnswer(TrialRow):
    """A trial with its learning curve and its seeds; half-widths are of 90 % intervals."""

    seed: int | None
    half_widths: dict[str, float | None]
    probability_on_front: float | None
    history: list[EpochAnswer]
    replicates: list[ReplicateAnswer]
    versions: dict[str, str]


class Front(Answer):
    """The Pareto front, the best of the first objective first; as `sweep front --json` gives it."""

    version: str
    front: list[dict[str, Any]]
    knee: int | None
    references: dict[str, int] = Field(description="Numbers of the reference trials, by name.")
    published: dict[str, tuple[float, float]]
    baselines: list[BaselineAnswer]
    convergence: str | None
    edge: str
    note: str


class Selection(Answer):
    """What a rule chooses, and why; `command` exports it."""

    rule: str
    trial: int
    runner_up: int | None
    reason: str
    command: str
    record: dict[str, Any]


class Compared(Answer):
    """Studies beside each other."""

    studies: list[ComparedStudy]
    note: str | None = Field(description="Why their fronts do not compare, if they do not.")


class ComparedStudy(Answer):
    """The front of one of them; the hypervolume is normalised, by single results."""

    name: str
    objectives: list[ObjectiveAnswer]
    front: list[tuple[float, float]]
    numbers: list[int]
    best: dict[str, float]
    hypervolume: float | None
    hypervolume_history: list[float]
    hypervolume_number: list[int]
    done: int


class StudyFile(Answer):
    """A study file of the server's directory; `problem` says what is wrong with it."""

    file: str
    name: str | None
    comment: str = Field(description="The comment at its beginning.")
    problem: str | None


class StudyFiles(Answer):
    """The study files there are."""

    files: list[StudyFile]


class StudyFileText(StudyFile):
    """A study file with its text."""

    text: str


class Draft(Body):
    """A study file to check or to launch: one that the server has, or a text; and replaced keys."""

    file: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="A file of the server's directory.", examples=["tutorial.toml"]
    )
    text: Text | None = Field(default=None, description="Or the text of one (TOML).")
    overrides: Annotated[list[Override], Field(max_length=100)] = []


class Launch(Draft):
    """A launch; the same `key` again gives the same launch, not another one."""

    key: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, examples=["4f1c2a"]
    )


class Estimate(Answer):
    """How long a study would take, and what that is judged by."""

    seconds: float | None
    text: str


class SearchedRange(Answer):
    """A range of the search space, for a form; `key` is how an override names it."""

    key: str
    low: float
    high: float
    log: bool


class Checked(Answer):
    """What a study file says, or what is wrong with it (one line a problem)."""

    valid: bool
    problems: list[str]
    name: str | None
    exists: bool = Field(description="Whether the store has a study of that name already.")
    estimate: Estimate | None
    ranges: list[SearchedRange]
    budget: dict[str, float]
    objectives: list[ObjectiveAnswer]
    dataset: str | None
    command: str = Field(description="The command line that does the same.")


class ExportRequest(Body):
    """What to export."""

    rule: Rule
    model: bool = Field(default=False, description="Whether to train and zip the model as well.")


class Export(Answer):
    """An export: `running` until its files are there; `log` are its last lines."""

    id: str
    study: str
    rule: str
    model: bool
    state: Literal["running", "ready", "failed"]
    message: str | None
    log: list[str]
    files: dict[str, str] = Field(description="Addresses of `weights` and `model`, once ready.")


class Health(Answer):
    """Whether the service lives, and is ready."""

    status: Literal["ok", "unavailable"]
    detail: str | None = None


class Session(Body):
    """Logging in with the token."""

    token: Annotated[str, Field(max_length=500)]


Compared.model_rebuild()
