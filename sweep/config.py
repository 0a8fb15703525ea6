"""The study file: one TOML document, checked key by key, as a frozen `StudyConfig`.

A study file answers ten questions, one table each: which data (`dataset`), how it is divided
(`split`), which network (`model`), how it is trained (`training`), which weights are searched
(`search_space`), what is measured (`objectives`), how the search moves (`sampler`), which trials
are not worth finishing (`pruner`), how long it may take (`budget`), and where trials train
(`execution`); `seeds` make it repeatable.

In `model` and `training` a range (`epochs = { low = 5, high = 20 }`) or a list of choices
(`batch_size = [512, 1024]`) in place of a value makes that key a search variable beside the two
weights. Such keys are kept in `search_space.variables` by their dotted names.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from sweep.errors import ConfigError

Direction = Literal["minimize", "maximize"]

MAX_WORKERS = 10_000

KS: tuple[int, ...] = (1, 5, 10, 50, 100)
"""Lengths of the recommended lists that are scored."""

_OVER_ROWS: Mapping[str, Direction] = {
    "rmse": "minimize",
    **{f"top_{k}_accuracy": "maximize" for k in KS},
    **{f"unseen_top_{k}_accuracy": "maximize" for k in KS},
}

METRICS: Mapping[str, Direction] = {
    **_OVER_ROWS,
    **{f"per_user_{name}": direction for name, direction in _OVER_ROWS.items()},
}
"""Every metric that a trial records, with the direction in which it is better.

`rmse` is in units of the label. `top_K_accuracy` is the fraction of held-out interactions whose
candidate is among the K best-scored of all candidates, as in the tutorial; `unseen_top_K_accuracy`
leaves out the candidates that the query has in the training rows. These count every held-out row
alike; `per_user_…` is the same for each query that has held-out rows, then the mean over these
queries.
"""


def list_length(metric: str) -> int | None:
    """The K of a top-K metric; None for another metric."""
    return next((k for k in KS if metric.endswith(f"top_{k}_accuracy")), None)


MOVIELENS: tuple[str, ...] = (
    "movielens/100k",
    "movielens/1m",
    "movielens/20m",
    "movielens/25m",
    "movielens/latest-small",
)
"""Datasets that tensorflow-datasets prepares."""

FILE_SUFFIXES: tuple[str, ...] = (".csv", ".parquet")
"""Kinds of file that can be a dataset."""


class Section(BaseModel):
    """A table of the study file: frozen, typed strictly, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# TOML has arrays only, so a tuple must be allowed to come from a list.
Layers = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(strict=False, max_length=16)
]


class SyntheticConfig(Section):
    """Shape, size and noise of the planted dataset; see `sweep.data.datasets`.

    `uniform`: every query has as many rows, and all pairs are weighed, so that the best that any
    model can do is known. `long-tailed`: shaped like MovieLens, few queries and few candidates have
    most rows, labels are half stars, and it can be as large as MovieLens 25M.
    """

    shape: Literal["uniform", "long-tailed"] = "uniform"
    queries: int = Field(default=300, ge=2, le=1_000_000)
    candidates: int = Field(default=200, ge=2, le=1_000_000)
    interactions: int = Field(default=12_000, ge=10, le=100_000_000)
    noise: float = Field(default=0.3, ge=0, le=10)
    seed: int = Field(default=0, ge=0, lt=2**31)


class DatasetConfig(Section):
    """Which interactions: a known name, or a file and the names of its columns.

    For MovieLens the columns have defaults (`user_id`, `movie_title`, `user_rating`,
    `timestamp`); for a file, `query`, `candidate` and `label` must be given. `split` is a file's
    column that says of each row whether it is for train, validation or test; it is obeyed where
    `method = "column"` in `[split]`.
    """

    name: str
    query: str | None = None
    candidate: str | None = None
    label: str | None = None
    timestamp: str | None = None
    split: str | None = None
    synthetic: SyntheticConfig | None = None

    @property
    def is_file(self) -> bool:
        """Whether the name is a path."""
        return self.name.lower().endswith(FILE_SUFFIXES)

    @model_validator(mode="after")
    def _check(self) -> DatasetConfig:
        if not (self.is_file or self.name == "synthetic" or self.name in MOVIELENS):
            close = difflib.get_close_matches(self.name, (*MOVIELENS, "synthetic"), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"name {self.name!r} is not a dataset; allowed: {', '.join(MOVIELENS)}, synthetic, "
                f"or a path that ends in {' or '.join(FILE_SUFFIXES)}{hint}"
            )
        if self.is_file:
            missing = [key for key in ("query", "candidate", "label") if getattr(self, key) is None]
            if missing:
                raise ValueError(
                    f"{self.name} is a file, so its columns must be named; missing: "
                    f'{", ".join(missing)}; add for example {missing[0]} = "column name"'
                )
        columns = [
            column
            for column in (self.query, self.candidate, self.label, self.timestamp, self.split)
            if column is not None
        ]
        if len(set(columns)) != len(columns):
            raise ValueError(f"one column is named twice among {columns}; each has its own")
        if columns and self.name == "synthetic":
            raise ValueError("the synthetic dataset has no columns to name; remove those keys")
        if self.split is not None and not self.is_file:
            raise ValueError(
                f"split = {self.split!r} is a column of a file, and {self.name} is none; remove it"
            )
        if self.synthetic is not None and self.name != "synthetic":
            raise ValueError('[dataset.synthetic] goes with name = "synthetic" only; remove it')
        return self


class SplitConfig(Section):
    """How interactions are divided into training, validation and test rows.

    With validation rows the search sees these only, and what is exported is trained again on
    training and validation rows together and scored, once, on the test rows. Without them (a
    `validation_fraction` of 0) the search sees the test rows, as in the tutorial.

    `random` draws the test rows with NumPy from `seeds.split`. `tutorial` takes the very rows that
    the TensorFlow Recommenders tutorials take: `tf.data`'s shuffle with global and operation seed
    `seeds.split` (42 there), the first rows for training and the next for test. `time` tests on the
    last rows of each query and validates on those before them. Fractions are of all rows, or for
    `time` of each query's.

    `column` does as the dataset's column `dataset.split` says. It has no fractions (they are 0),
    and the column must have validation rows.
    """

    method: Literal["random", "tutorial", "time", "column"] = "random"
    test_fraction: float = Field(default=0.2, ge=0, lt=1)
    validation_fraction: float = Field(default=0.0, ge=0, lt=1)

    @property
    def validates(self) -> bool:
        """Whether there are validation rows, so that the search leaves the test rows alone."""
        return self.method == "column" or self.validation_fraction > 0

    @model_validator(mode="before")
    @classmethod
    def _without_fractions(cls, given: object) -> object:
        if isinstance(given, Mapping) and given.get("method") == "column":
            return {"test_fraction": 0.0, **given}
        return given

    @model_validator(mode="after")
    def _check(self) -> SplitConfig:
        for name in ("test_fraction", "validation_fraction"):
            fraction = getattr(self, name)
            if self.method == "column" and fraction > 0:
                raise ValueError(
                    f'{name} = {fraction:g} has no meaning for method = "column", where '
                    "dataset.split names each row's side; remove it"
                )
        if self.method != "column" and self.test_fraction == 0:
            raise ValueError("test_fraction is 0; allowed: above 0, and below 1")
        held_out = self.test_fraction + self.validation_fraction
        if held_out >= 1:
            raise ValueError(
                f"test_fraction + validation_fraction = {held_out:g} leaves nothing to train on; "
                "their sum must be below 1"
            )
        return self


class ModelConfig(Section):
    """The shared model: two embedding towers, and a rating from both.

    The rating is a network of dense layers (ReLU) on the two embeddings side by side, as in the
    tutorial. With `biases` the mean label and a bias of each query and candidate are added, with
    `dot_product` their scaled dot product. With `clip_ratings` predictions are held within the
    labels seen in training; the loss is not.

    With `history` a query is retrieved by what it has as well as by what it is: its embedding, and
    the sum of its training candidates' embeddings over the root of their number (Koren,
    "Factorization meets the neighborhood", KDD 2008, the implicit feedback of SVD++). In training
    the rows of the batch are left out of the sum, or each would be found by itself. The rating does
    not see it.
    """

    embedding_dimension: int = Field(default=32, ge=1, le=4096)
    rating_layers: Layers = (256, 128)
    biases: bool = False
    dot_product: bool = False
    clip_ratings: bool = False
    history: bool = False


class TrainingConfig(Section):
    """How each trial is trained.

    With `reshuffle = false` the batches are drawn once and every epoch repeats them, as
    `shuffle().batch().cache()` does in the tutorial, so that the in-batch negatives are frozen.

    `retrieval_reduction` says whether the in-batch softmax is summed or averaged over a batch:
    under `sum`, equal loss weights are not equal, and depend on `batch_size`. `temperature` divides
    its scores. `sampling_correction = "log_q"` takes out of each score the logarithm of how often
    the candidate is drawn as a negative, its share of the training rows, so that popular candidates
    are not held down (Yi et al., "Sampling-bias-corrected neural modeling for large corpus item
    recommendations", RecSys 2019).

    `learning_rate_schedule = "linear"` lowers the rate every epoch, from `learning_rate` in the
    first to `learning_rate / epochs` in the last. `initial_accumulator` is Adagrad's; what is small
    against it learns slowly, whatever its loss weight. `l2` times the mean squared length of the
    rows' two retrieval embeddings is added to the retrieval loss.
    """

    optimizer: Literal["adagrad", "adam"] = "adagrad"
    learning_rate: float = Field(default=0.1, gt=0, le=100)
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    initial_accumulator: float = Field(default=0.1, ge=0, le=1e6)
    epochs: int = Field(default=3, ge=1, le=10_000)
    batch_size: int = Field(default=8192, ge=2, le=1_000_000)
    reshuffle: bool = True
    retrieval_reduction: Literal["sum", "mean"] = "mean"
    sampling_correction: Literal["none", "log_q"] = "none"
    temperature: float = Field(default=1.0, gt=0, le=1e6)
    l2: float = Field(default=0.0, ge=0, le=1e6)


Setting = bool | int | float | str | tuple[int, ...]
"""A value that a key of `model` or `training` may have where it is searched."""


class Range(Section):
    """The values that one search variable may take: `low <= value <= high`.

    A plain number in its place is a range without width: the variable is fixed.
    """

    low: float = Field(ge=0)
    high: float = Field(ge=0, le=1e12)
    log: bool = True

    @model_validator(mode="after")
    def _check(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low = {self.low:g} is not below high = {self.high:g}; swap them")
        if self.log and self.low == 0:
            raise ValueError("low = 0 has no logarithm; raise low, or set log = false")
        return self

    def __str__(self) -> str:
        if self.fixed:
            return f"{self.low:g}"
        return f"{self.low:g} … {self.high:g}{' (log)' if self.log else ''}"

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to search."""
        return self.low == self.high

    @property
    def centre(self) -> float:
        """The middle of the range, on its own scale; to 12 digits, so that it reads well."""
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return float(f"{middle:.12g}")


class Choices(Section):
    """The values that one search variable may take, named one by one."""

    choices: Annotated[
        tuple[bool | int | float | str | Annotated[tuple[int, ...], Field(strict=False)], ...],
        Field(strict=False, min_length=1, max_length=1000),
    ]

    @model_validator(mode="after")
    def _check(self) -> Choices:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"{self} repeats a value; name each once")
        return self

    def __str__(self) -> str:
        return ", ".join(map(str, self.choices))


def _fixed(value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"low": float(value), "high": float(value), "log": False} if number else value  # type: ignore[arg-type]


Weight = Annotated[Range, BeforeValidator(_fixed)]
"""Where a weight is searched, or its one value as a plain number."""

Variable = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(
        lambda value: (
            "choices"
            if isinstance(value, Choices) or (isinstance(value, Mapping) and "choices" in value)
            else "range"
        )
    ),
]


class SearchSpaceConfig(Section):
    """Where the loss weights are searched, and what else is.

    Either both weights, or their `ratio` (rating weight / retrieval weight) and their common
    `scale`, the square root of their product: `rating_weight = scale · √ratio` and
    `retrieval_weight = scale / √ratio`. A plain number fixes one of them.
    """

    rating_weight: Weight | None = None
    retrieval_weight: Weight | None = None
    ratio: Weight | None = None
    scale: Weight | None = None
    variables: dict[str, Variable] = {}

    @model_validator(mode="after")
    def _check(self) -> SearchSpaceConfig:
        pairs = ("rating_weight", "retrieval_weight"), ("ratio", "scale")
        given = {name for pair in pairs for name in pair if getattr(self, name) is not None}
        pair = next((pair for pair in pairs if set(pair) == given), None)
        if pair is None:
            raise ValueError(
                f"found {', '.join(sorted(given)) or 'nothing'}; allowed: rating_weight and "
                "retrieval_weight, or ratio and scale; give both of one pair"
            )
        spans = [getattr(self, name) for name in pair]
        for name, span in zip(pair, spans, strict=True):
            if span.low == 0 and not (name.endswith("weight") and span.fixed):
                raise ValueError(f"{name} includes 0; raise low above 0")
        if all(span.high == 0 for span in spans):
            raise ValueError("both weights are 0: nothing would be trained; raise one")
        if all(span.fixed for span in spans) and not self.variables:
            raise ValueError(
                "both weights are fixed and there is nothing to search; give one a range, such as "
                "{ low = 0.01, high = 100.0 }"
            )
        return self

    @property
    def weights(self) -> Mapping[str, Range]:
        """The pair that gives the weights, by name: two weights, or `ratio` and `scale`."""
        names = ("rating_weight", "retrieval_weight", "ratio", "scale")
        return {name: span for name in names if (span := getattr(self, name)) is not None}

    @property
    def all(self) -> Mapping[str, Range | Choices]:
        """Everything that is searched, by the name of its parameter."""
        return {**self.weights, **self.variables}


class Objective(Section):
    """A metric and the direction in which it is better: one thing, not two."""

    metric: str
    direction: Direction
    reference: float | None = None
    """The worst value that counts towards the hypervolume; see `StudyRecord.reference_point`."""

    @model_validator(mode="after")
    def _check(self) -> Objective:
        if self.metric not in METRICS:
            close = difflib.get_close_matches(self.metric, METRICS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"metric {self.metric!r} is not recorded; allowed: {', '.join(METRICS)}{hint}"
            )
        natural = METRICS[self.metric]
        if self.direction != natural:
            raise ValueError(
                f"{self.metric} is better when {'lower' if natural == 'minimize' else 'higher'}; "
                f'set direction = "{natural}"'
            )
        ideal = 0 if natural == "minimize" else 1
        if self.reference is not None and self.sign * (self.reference - ideal) <= 0:
            raise ValueError(
                f"reference = {self.reference:g} leaves nothing that is better; for {self.metric} "
                f"it must be {'above 0' if natural == 'minimize' else 'below 1'}"
            )
        return self

    @property
    def sign(self) -> int:
        """+1 if lower is better, -1 if higher is: multiplying by it makes lower better."""
        return 1 if self.direction == "minimize" else -1


def _two_distinct(objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
    metrics = [objective.metric for objective in objectives]
    if len(set(metrics)) != len(metrics):
        raise ValueError(f"objectives repeat a metric: {metrics}; name each once")
    return objectives


SAMPLERS: tuple[str, ...] = ("tpe", "nsga2", "nsga3", "qmc", "random", "grid", "gp")


class SamplerConfig(Section):
    """How the next pair of weights is chosen; names follow Optuna's samplers.

    `startup_trials` (tpe, gp) are drawn at random before the model of the search takes over;
    `population` (nsga2, nsga3) is the size of a generation; `points` (grid) is the number of
    values on each axis, evenly spaced on the range's own scale.

    With `batch` so many trials are asked for at once, and the sampler hears of their results when
    all are done: then the study is the same however many workers train it, while without `batch`
    workers that run beside each other may end in any order. As large as the number of workers is
    right; a worker waits where its trial ends before the others.
    """

    name: Literal["tpe", "nsga2", "nsga3", "qmc", "random", "grid", "gp"] = "tpe"
    startup_trials: int = Field(default=10, ge=1, le=100_000)
    population: int = Field(default=16, ge=2, le=100_000)
    points: int = Field(default=6, ge=2, le=1000)
    batch: int | None = Field(default=None, ge=1, le=100_000)


class PrunerConfig(Section):
    """Which trials are stopped before their last epoch; names follow Optuna's pruners.

    `successive_halving` looks at a trial after `min_epochs`, and after `reduction_factor` times as
    many again and again. It goes on if it is among the best `1 / reduction_factor` of the trials
    that have come as far, by non-dominated rank at that epoch; see `sweep.front.halving`.
    """

    name: Literal["none", "successive_halving"] = "none"
    min_epochs: int = Field(default=1, ge=1, le=10_000)
    reduction_factor: int = Field(default=3, ge=2, le=100)


class BudgetConfig(Section):
    """When the study is complete: whichever of what is set comes first, then the replicates.

    `trials` is a total number, pruned ones included. `minutes` counts the time in which trials
    train, over all launches of the study. `patience` ends the search when the normalised
    hypervolume has gained less than `min_delta` in so many trials.

    Afterwards what matters for the choice is trained again with `replicates` fresh seeds: the
    members of the front, those next to them, and the references; 0 for none. Where `minutes` are
    set, the search leaves a quarter of them for that.
    """

    trials: int | None = Field(default=None, ge=1, le=10_000_000)
    minutes: float | None = Field(default=None, gt=0, le=1e6)
    patience: int | None = Field(default=None, ge=1, le=10_000_000)
    min_delta: float = Field(default=0.001, ge=0, le=1)
    replicates: int = Field(default=5, ge=0, le=1000)

    @model_validator(mode="after")
    def _check(self) -> BudgetConfig:
        if self.trials is None and self.minutes is None and self.patience is None:
            raise ValueError(
                "none of trials, minutes and patience is set; set trials = 40, for example"
            )
        return self


def _number_of_workers(value: object) -> object:
    if value == "auto" or (type(value) is int and 0 <= value <= MAX_WORKERS):
        return value
    raise ValueError(
        f"found {_short(value)}; allowed: auto, or a whole number from 0 to {MAX_WORKERS}"
    )


class ExecutionConfig(Section):
    """Where trials train, and how long failures are put up with; no trial's result depends on it.

    `workers` are processes of this machine, 0 for none (trials train in the coordinator's own),
    "auto" for as many as there are cores; with `executor = "ray"` they are actors of the Ray
    cluster at `address`, and 0 and "auto" are as many as it has room for. `num_cpus` is how many
    cores each may use: TensorFlow's threads, and what Ray sets aside; unless told, a machine's
    cores are shared out among its workers, and Ray sets 1 aside. `num_gpus` is for Ray.

    A trial that takes longer than `trial_seconds` is stopped, and is failed. So many
    `failures_in_a_row` end the study: it is not the weights. `lease_seconds` after the last sign of
    life of a coordinator on a database server another may take its study over. A database that does
    not answer is asked again for `storage_seconds`.
    """

    executor: Literal["local", "ray"] = "local"
    workers: Annotated[int | Literal["auto"], BeforeValidator(_number_of_workers)] = 0
    address: str | None = None
    num_cpus: int | None = Field(default=None, ge=1, le=10_000)
    num_gpus: float = Field(default=0, ge=0, le=1000)
    trial_seconds: float | None = Field(default=None, gt=0, le=1e8)
    failures_in_a_row: int = Field(default=5, ge=1, le=1_000_000)
    lease_seconds: float = Field(default=30, ge=1, le=1e6)
    storage_seconds: float = Field(default=300, ge=0, le=1e6)

    @model_validator(mode="after")
    def _check(self) -> ExecutionConfig:
        if self.executor == "local":
            for key, idle in (("address", None), ("num_gpus", 0)):
                if getattr(self, key) != idle:
                    raise ValueError(
                        f'{key} = {getattr(self, key)!r} is for executor = "ray"; remove it, or '
                        "set that"
                    )
        return self


Seed = Annotated[int, Field(ge=0, lt=2**31)]


class SeedsConfig(Section):
    """One seed for each thing that is drawn.

    All trials start from the same `model` seed, so that two trials differ by their weights alone.
    """

    split: Seed = 42
    batches: Seed = 42
    model: Seed = 0
    sampler: Seed = 0


class StudyConfig(Section):
    """A checked study file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    dataset: DatasetConfig
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    search_space: SearchSpaceConfig
    objectives: Annotated[
        tuple[Objective, ...],
        Field(strict=False, min_length=2, max_length=2),
        AfterValidator(_two_distinct),
    ] = (
        Objective(metric="rmse", direction="minimize"),
        Objective(metric="top_100_accuracy", direction="maximize"),
    )
    sampler: SamplerConfig = SamplerConfig()
    pruner: PrunerConfig = PrunerConfig()
    budget: BudgetConfig
    execution: ExecutionConfig = ExecutionConfig()
    seeds: SeedsConfig = SeedsConfig()

    @model_validator(mode="after")
    def _check(self) -> StudyConfig:
        for name, variable in self.search_space.variables.items():
            table, _, key = name.partition(".")
            section = {"model": self.model, "training": self.training}.get(table)
            if section is None or key not in type(section).model_fields:
                raise PydanticCustomError("variable", "{problem}", {"problem": _no_variable(name)})
            for place, value in _values_to_check(variable, type(section).model_fields[key]):
                try:
                    type(section).model_validate({**section.model_dump(), key: value})
                except ValidationError as error:
                    problem = _describe(error.errors(include_url=False)[0])
                    raise PydanticCustomError(
                        "variable", "{problem}", {"problem": f"{table}.{problem} (in its {place})"}
                    ) from None
        return self

    def with_settings(self, settings: Mapping[str, Setting]) -> StudyConfig:
        """The study with values for the keys that are searched, by their dotted names."""
        updates: dict[str, dict[str, Setting]] = {"model": {}, "training": {}}
        for name, value in settings.items():
            table, _, key = name.partition(".")
            updates[table][key] = value
        return self.model_copy(
            update={
                table: getattr(self, table).model_copy(update=update)
                for table, update in updates.items()
            }
        )


def is_whole(variable: str) -> bool:
    """Whether a key that is searched, by its dotted name, holds whole numbers."""
    table, _, key = variable.partition(".")
    section: type[Section] = ModelConfig if table == "model" else TrainingConfig
    return section.model_fields[key].annotation is int


def _no_variable(name: str) -> str:
    table, _, key = name.partition(".")
    sections: dict[str, type[Section]] = {"model": ModelConfig, "training": TrainingConfig}
    allowed = sorted(sections[table].model_fields) if table in sections else sorted(sections)
    close = difflib.get_close_matches(key if table in sections else table, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "; remove it"
    return f"{name}: unknown key; allowed here: {', '.join(allowed)}{hint}"


def _values_to_check(variable: Range | Choices, field: FieldInfo) -> list[tuple[str, object]]:
    """Values of a variable that all others are allowed with, each with the name of its place."""
    if isinstance(variable, Choices):
        return [("choices", choice) for choice in variable.choices]
    whole = field.annotation is int
    ends = ("low", variable.low), ("high", variable.high)
    return [(name, int(end) if whole and end.is_integer() else end) for name, end in ends]


def load_study(
    path: Path | str,
    overrides: Sequence[str] = (),
    options: Mapping[str, tuple[str, object]] = MappingProxyType({}),
) -> StudyConfig:
    """Read and check a study file.

    Args:
        path: a TOML file. A dataset path in it is relative to the file's folder.
        overrides: `key=value` texts that replace keys of the file, such as
            `training.epochs=5` or `budget.trials=10`; the value is read as TOML, or else as text.
            A dataset path given so is relative to the working directory.
        options: more such keys, each with what its user calls it and its value; they win.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds a wrong or unknown key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such study file; studies that come with sweep are in studies/"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read as a UTF-8 text file ({error}); "
            "a study file is a TOML text, see studies/tutorial.toml"
        ) from None
    return parse_study(text, path.parent, str(path), overrides, options)


def parse_study(
    text: str,
    folder: Path,
    source: str,
    overrides: Sequence[str] = (),
    options: Mapping[str, tuple[str, object]] = MappingProxyType({}),
) -> StudyConfig:
    """Check the text of a study file; the rest is as in `load_study`.

    Args:
        text: TOML.
        folder: what a dataset path in it is relative to.
        source: what to call it in an error.
        overrides: `key=value` texts.
        options: more of them.

    Raises:
        ConfigError: it is not TOML, or holds a wrong or unknown key.
    """
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply; a study file has two levels") from None
    except ValueError as error:  # of a number with thousands of digits, too
        raise ConfigError(f"{source}: not valid TOML: {error}; mend that line") from None
    given = {}
    for override in overrides:
        given[_apply_override(document, override)] = "--set"
    for key, (option, value) in options.items():
        _replace(document, key.split("."), value, option)
        given[key] = option
    config = check_study(document, source, given)
    if config.dataset.is_file:
        base = Path() if "dataset.name" in given else folder
        try:
            absolute = str((base / config.dataset.name).resolve())
        except (ValueError, OSError) as error:  # a character that no path may have
            raise ConfigError(f"{source}: dataset.name: not a path ({error})") from None
        dataset = config.dataset.model_copy(update={"name": absolute})
        config = config.model_copy(update={"dataset": dataset})
    return config


def check_study(
    document: Mapping[str, Any], source: str, given: Mapping[str, str] = MappingProxyType({})
) -> StudyConfig:
    """Turn a parsed study file into a `StudyConfig`.

    Args:
        document: the parsed TOML or JSON.
        source: what to call it in an error, usually the path of the file.
        given: what to call the source of single keys, by their dotted names.

    Raises:
        ConfigError: naming every key that is wrong, what was found and what is allowed.
    """
    try:
        return StudyConfig.model_validate(_lift_variables(document))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # An array with a wrong entry is also reported as too short: the entry alone tells more.
        places = [problem["loc"] for problem in errors]
        problems = [
            _describe(problem)
            for problem in errors
            if problem["type"] != "too_short"
            or not any(_is_below(place, problem["loc"]) for place in places)
        ]
        raise ConfigError(
            "\n".join(f"{given.get(p.partition(':')[0], source)}: {p}" for p in problems)
        ) from None


def _lift_variables(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with every range and list of choices moved to `search_space.variables`."""
    lifted = dict(document)
    variables: dict[str, Any] = {}
    for table in ("model", "training"):
        if not isinstance(document.get(table), Mapping):
            continue
        section = dict(document[table])
        for key, value in document[table].items():
            choices = isinstance(value, list)
            if key == "rating_layers":
                choices = choices and all(isinstance(layers, list) for layers in value) and value
            if isinstance(value, Mapping) or choices:
                variables[f"{table}.{key}"] = {"choices": value} if choices else value
                del section[key]
        lifted[table] = section
    space = document.get("search_space")
    if variables and isinstance(space, Mapping):
        given = space.get("variables", {})
        if isinstance(given, Mapping):
            lifted["search_space"] = {**space, "variables": {**given, **variables}}
    return lifted


def check_dataset(name: str) -> DatasetConfig:
    """The dataset of that name, with its default columns.

    Raises:
        ConfigError: there is no dataset of that name.
    """
    try:
        return DatasetConfig(name=name)
    except ValidationError as error:
        problem = _describe(error.errors(include_url=False)[0])
        raise ConfigError(problem.removeprefix("the file: ")) from None


def _apply_override(document: dict[str, Any], override: str) -> str:
    """Replace a key as `key=value` says; gives the key."""
    key, equals, text = override.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"--set {override!r}: not of the form key=value; for example --set training.epochs=5"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word, such as --set sampler.name=nsga2
    _replace(document, keys, value, f"--set {override!r}")
    return key.strip()


def _replace(document: dict[str, Any], keys: Sequence[str], value: object, source: str) -> None:
    table = document
    for name in keys[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(
                f"{source}: {name} is not a table; give its value with --set {name}=…"
            )
    table[keys[-1]] = value


def _describe(problem: Any) -> str:
    """One line for one pydantic error: where, what was found, what is allowed, what to do."""
    location = problem["loc"]
    if location[:2] == ("search_space", "variables") and len(location) > 2:
        location = (*location[2].split("."), *location[4:])  # without the kind of the variable
    where = ".".join(str(part) for part in location) or "the file"
    kind, found, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _keys_of(problem["loc"][:-1])
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; remove it"
        return f"{where}: unknown key; allowed here: {', '.join(allowed)}{hint}"
    if kind == "missing":
        return f"{where}: required, but not there; add it (studies/tutorial.toml shows how)"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    if kind == "variable":
        return str(context["problem"])
    if kind in ("too_short", "too_long"):
        bound = context.get("min_length", context.get("max_length"))
        limit = "at least" if kind == "too_short" else "at most"
        return f"{where}: found {_short(found)}; allowed: {limit} {bound} entries"
    if kind == "string_pattern_mismatch":
        return (
            f"{where}: found {found!r}; allowed: letters, digits, '.', '_' and '-', at most 100, "
            "beginning with a letter or digit"
        )
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return (
            f"{where}: found {_short(found)}; allowed: a table with "
            f"{', '.join(_keys_of(problem['loc']))}"
        )
    message = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{where}: found {_short(found)}; allowed: {message}"


def _is_below(place: Sequence[int | str], other: Sequence[int | str]) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _keys_of(location: Sequence[int | str]) -> list[str]:
    """The keys of the table at a location, found by walking the models."""
    if location[:2] == ("search_space", "variables") and len(location) > 2:
        return sorted(Range.model_fields)
    model: Any = StudyConfig
    for part in location:
        if isinstance(part, int):
            model = Objective  # the only array of tables
        else:
            annotation = model.model_fields[part].annotation
            parts = (annotation, *getattr(annotation, "__args__", ()))
            # What is annotated once more, as a weight is, has its class as the origin.
            kinds = [getattr(kind, "__origin__", kind) for kind in parts]
            model = next((kind for kind in kinds if _is_section(kind)), model)
    return sorted(model.model_fields)


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
