"""The command line: arguments → library → text and exit code.

Every command builds a value, calls one function and prints. What is slow to import is imported
inside the command that needs it, so that `sweep --help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweep.errors import ConfigError, ExportError, StorageError, StudyNotFoundError, SweepError
from sweep.terminal import (
    Stop,
    counting,
    interruptible,
    new_table,
    print_json,
    print_table,
    progress_line,
    say,
    this_command,
    without_password,
)

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from rich.table import Table

    from sweep.report.summary import Summary
    from sweep.results import StudyRecord, Trial
    from sweep.search.study import Progress

app = typer.Typer(
    name="sweep",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the loss weights of a multi-task recommender.\n\n"
    "[bold]sweep launch studies/tutorial.toml[/]  train every trial of a study\n\n"
    "[bold]sweep list[/]                          the studies there are\n\n"
    "[bold]sweep front tutorial[/]                the Pareto front as a table\n\n"
    "[bold]sweep report tutorial[/]               plots and tables in reports/tutorial/\n\n"
    "[bold]sweep export tutorial --pick knee --output best.json --model model[/]\n\n"
    "[bold]sweep predict model --user 42 --top 10[/]\n\n"
    "[bold]sweep serve[/]                         all of it in a browser",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at a dataset, or fetch and encode it.")
app.add_typer(data_app, name="data")

StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Optuna storage.  [dim]default: $SWEEP_STORAGE, or sqlite:///sweep.db[/]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PickOption = Annotated[str, typer.Option(metavar="RULE", help="Which trial; rules as for export.")]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a stored study.")]


@app.command()
def launch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A study file (TOML).")],
    trials: Annotated[
        int | None,
        typer.Option(
            help="Total number of complete trials, those of earlier launches included, in place "
            "of the file's budget.trials."
        ),
    ] = None,
    storage: StorageOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a key of the file; repeatable."),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Train in so many processes beside this one; auto: one for each core.",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="local|ray", help="Workers on this machine, or on a Ray cluster."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The Ray cluster; one is started here without it."),
    ] = None,
    num_cpus: Annotated[
        int | None, typer.Option(metavar="N", help="Cores of each worker: TensorFlow's threads.")
    ] = None,
    num_gpus: Annotated[
        float | None, typer.Option(metavar="X", help="GPUs of each Ray worker.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Ask for N trials at once and tell their results together: the same study however "
            "many workers there are.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study, or go on with it where it stopped.

    Ctrl-C finishes and records what is running; a second one stops at once. The same command
    goes on from there.

    [dim]Examples:[/]

      sweep launch studies/tutorial.toml

      sweep launch studies/tutorial.toml --trials 80

      sweep launch studies/tutorial.toml --set name=longer --set training.epochs=10

      sweep launch studies/tutorial.toml --workers auto

      sweep launch studies/tutorial.toml --executor ray --address head:6379 \
--storage postgresql+psycopg://sweep@db/sweep
    """
    from sweep import pipeline
    from sweep.config import load_study
    from sweep.report.tables import front_records
    from sweep.search.replication import is_cut_short
    from sweep.search.storage import check_storage_url, storage_url

    number = int(workers) if workers and workers.isdecimal() else workers
    options = {
        "budget.trials": ("--trials", trials),
        "execution.workers": ("--workers", number),
        "execution.executor": ("--executor", executor),
        "execution.address": ("--address", address),
        "execution.num_cpus": ("--num-cpus", num_cpus),
        "execution.num_gpus": ("--num-gpus", num_gpus),
        "sampler.batch": ("--batch", batch),
    }
    given = {key: option for key, option in options.items() if option[1] is not None}
    config = load_study(file, overrides or [], given)
    url = storage_url(storage, os.environ)
    check_storage_url(url)  # not only once the data is prepared
    stop = Stop()
    with interruptible(stop), progress_line(config.objectives) as line:

        def on_progress(progress: Progress) -> None:
            stop.trial_runs = True
            line(progress)

        record = pipeline.launch(config, url, say=say, on_progress=on_progress, stop=stop)
    if as_json:
        print_json(front_records(record))
    elif record.complete:
        print_table(_front_table(record))
        option = f" --storage {shlex.quote(without_password(storage))}" if storage else ""
        say(
            f"Next: sweep report {record.name}{option} for the plots, "
            f"sweep export {record.name} --pick knee --output best.json{option} for the weights"
        )
    if stop.is_set() and is_cut_short(record):
        say(f"Stopped. To go on: {this_command()}")
        raise typer.Exit(130)


@app.command("list")
def list_(
    storage: StorageOption = None,
    archived: Annotated[
        bool, typer.Option("--archived", help="Those that are archived, in place of the others.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the studies of a storage."""
    from rich.markup import escape

    from sweep.search.records import list_studies
    from sweep.search.storage import open_storage, storage_url

    store = open_storage(storage_url(storage, os.environ), must_exist=True)
    studies = [one for one in list_studies(store) if (one.archived is not None) == archived]
    if as_json:
        print_json([asdict(study) for study in studies])
        return
    table = new_table("Studies", "study", "complete", "failed", "asked", "best", "last activity")
    for study in studies:
        best = ", ".join(f"{metric} {value:.4g}" for metric, value in study.best.items())
        last = (
            study.last_activity.isoformat(sep=" ", timespec="seconds")
            if study.last_activity
            else ""
        )
        table.add_row(
            study.name,
            str(study.complete),
            str(study.failed),
            str(study.asked or "–"),
            escape(f"cannot be read: {study.problem}") if study.problem else best,
            last,
        )
    print_table(table)


@app.command()
def show(study: StudyArgument, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Show what a study measures, how far it is, its references and its failures."""
    record = _load(study, storage)
    if as_json:
        print_json(
            {
                "name": record.name,
                "config": record.config.model_dump(mode="json"),
                "dataset": asdict(record.dataset) if record.dataset else None,
                "trials": [asdict(trial) for trial in record.trials],
            }
        )
        return
    from collections import Counter

    config, data = record.config, record.dataset
    states = Counter(trial.state for trial in record.trials)
    table = new_table(f"Study {record.name}", "what", "value")
    if data:
        table.add_row(
            "dataset",
            f"{data.name}: {data.interactions:,} interactions, {data.queries:,} queries, "
            f"{data.candidates:,} candidates",
        )
        sides = ("train", data.train), ("validation", data.validation), ("test", data.test)
        counts = ", ".join(f"{rows:,} {side}" for side, rows in sides if rows)
        table.add_row("split", f"{config.split.method}: {counts}")
    for name in ("model", "training", "sampler", "pruner", "seeds"):
        section = getattr(config, name).model_dump(mode="json")
        fixed = {
            key: value
            for key, value in section.items()
            if f"{name}.{key}" not in config.search_space.variables
        }
        table.add_row(name, ", ".join(f"{key} {value}" for key, value in fixed.items()))
    for name, variable in config.search_space.all.items():
        table.add_row(name, str(variable))
    table.add_row("objectives", ", ".join(f"{o.direction} {o.metric}" for o in config.objectives))
    budget = config.budget.model_dump(exclude_none=True)
    table.add_row("budget", ", ".join(f"{key} {value:g}" for key, value in budget.items()))
    table.add_row("trials", ", ".join(f"{count} {state}" for state, count in states.items()))
    print_table(table)
    references = [trial for trial in record.complete if trial.reference]
    if references:
        from sweep.report.summary import summarise

        print_table(_trials_table("References", references, summarise(record)))
    failed = [trial for trial in record.trials if trial.state == "failed"]
    if failed:
        failures = new_table("Failed trials", "trial", "reason")
        for trial in failed:
            failures.add_row(str(trial.number), trial.reason or "not recorded")
        print_table(failures)


@app.command()
def front(study: StudyArgument, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Print the Pareto front: the trials that no other beats in both objectives."""
    record = _load(study, storage)
    if as_json:
        from sweep.report.tables import front_records

        print_json(front_records(record))
        return
    print_table(_front_table(record))


@app.command()
def report(
    study: StudyArgument,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write.  [dim]default: reports/STUDY[/]"),
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Write plots, tables and an interactive page about a study."""
    from sweep.report import write_report
    from sweep.search.importance import importances

    record = _load(study, storage)
    folder = output or Path("reports") / record.name
    written = write_report(record, folder, say, importances(record))
    say(f"{len(written)} files in {folder}; open {folder / 'index.html'}")


@app.command()
def export(
    study: StudyArgument,
    pick: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="knee, min:rmse, max:top_100_accuracy, trial:N, a bound such as 'rmse<=1.1' (then "
            "the best in the other objective), 'reference:rmse=0.9,top_100_accuracy=0.4' (nearest "
            "to what you wish for), or 'utility:rmse=0.3,top_100_accuracy=0.7' (weighted sum).",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The JSON file to write.")],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A new folder: train the trial again and write a TensorFlow SavedModel.",
        ),
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Choose a trial by a rule, and write its weights with all that is needed to use them.

    Where the study has validation rows, the trial is also trained again on training and validation
    rows together, and scored on the test rows. An existing FILE is replaced.

    [dim]Examples:[/]

      sweep export tutorial --pick knee --output best.json

      sweep export tutorial --pick "rmse<=1.1" --output best.json --model model
    """
    from sweep import pipeline
    from sweep.export import export_weights, require_free_folder, write_weights
    from sweep.front.selection import choose
    from sweep.report.tables import figure
    from sweep.search.records import write_finals

    store, record = _open(study, storage)
    choice = choose(record, pick)
    if model is not None:
        require_free_folder(model)
    say(choice.reason)
    final = next((one for one in record.finals if one.trial == choice.trial.number), None)
    with interruptible(Stop()):
        if final is None and record.config.split.validates:
            with counting("seeds") as on_progress:
                final = pipeline.score_final(record, choice.trial, say=say, on_progress=on_progress)
            write_finals(store, record.name, [*record.finals, final])
        exported = export_weights(record, choice, final, datetime.now(UTC))
        write_weights(output, exported)
        if model is not None:
            pipeline.refit(exported, model, say=say)
    scores = ", ".join(
        f"{o.metric} {figure(exported.test[o.metric])}" for o in record.config.objectives
    )
    say(f"On the test rows: {scores}")
    say(f"Weights in {output}" + (f", model in {model}" if model else ""))


@app.command()
def ablate(
    study: StudyArgument,
    pick: PickOption = "knee",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Trainings of each.")] = 3,
    storage: StorageOption = None,
) -> None:
    """Measure what each setting of the model and its training is worth.

    Trains the chosen trial again with every key of the study file's model and training tables that
    is not at its default put back to it, one at a time. The report shows the result.
    """
    from sweep import pipeline
    from sweep.front.selection import choose
    from sweep.search.records import write_ablation

    store, record = _open(study, storage)
    choice = choose(record, pick)
    say(choice.reason)
    with interruptible(Stop()), counting("trainings") as on_progress:
        ablation = pipeline.ablate(record, choice.trial, seeds, say=say, on_progress=on_progress)
    write_ablation(store, record.name, ablation)
    from sweep.report.tables import ablation_table

    table = new_table(f"Ablation of trial {choice.trial.number}", *ablation_table(record, ablation))
    for row in ablation_table(record, ablation).itertuples(index=False):
        table.add_row(*map(str, row))
    print_table(table)


@app.command()
def choose(
    study: StudyArgument,
    pick: PickOption = "knee",
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which trial a rule chooses, and why; export writes its weights."""
    from sweep.front.selection import choose as choose_trial
    from sweep.report.summary import summarise
    from sweep.report.tables import trial_record

    record = _load(study, storage)
    choice = choose_trial(record, pick)
    if as_json:
        found = trial_record(summarise(record), choice.trial)
        print_json({**found, "rule": str(choice.rule), "reason": choice.reason})
        return
    typer.echo(choice.reason)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A study file (TOML).")],
    storage: StorageOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a key of the file; repeatable."),
    ] = None,
) -> None:
    """Check a study file, and estimate how long it takes by the studies of the storage.

    Where the storage has that study, new trials must compare with those that are there.
    """
    from sweep.config import load_study
    from sweep.report.estimate import estimate
    from sweep.search.records import list_studies, load_study_record, read_header
    from sweep.search.storage import open_storage, storage_url
    from sweep.search.study import check_settings

    config = load_study(file, overrides or [])

    url = storage_url(storage, os.environ)

    def records() -> Iterator[StudyRecord]:
        with suppress(StorageError):  # no store yet: nothing has been timed
            store = open_storage(url, must_exist=True)
            for line in reversed(list_studies(store)):
                if not line.problem:
                    yield load_study_record(store, line.name)

    with suppress(StorageError, StudyNotFoundError):  # a new study compares with nothing
        check_settings(config, read_header(open_storage(url, must_exist=True), config.name)[0])
    typer.echo(f"{file}: study {config.name} is valid")
    found = estimate(config, records())
    about = f"about {_duration_text(found.seconds)} ({found.text})" if found.seconds else found.text
    typer.echo(f"Time: {about}")


def _duration_text(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 60 else f"{seconds:.3g} s"


@app.command()
def compare(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Names of stored studies.")
    ],
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare studies: the best of each objective, the front's size and its hypervolume."""
    from sweep.report.compare import compared, comparison_note

    records = [_load(study, storage) for study in studies]
    found = [compared(record) for record in records]
    note = comparison_note(records)
    if as_json:
        print_json({"studies": [asdict(one) for one in found], "note": note})
        return
    table = new_table("Studies", "study", "trials", "front", "hypervolume", "best of each")
    for one in found:
        best = ", ".join(f"{metric} {value:.4f}" for metric, value in one.best.items())
        volume = f"{one.hypervolume:.4f}" if one.hypervolume is not None else "–"
        table.add_row(one.name, str(one.done), str(len(one.front)), volume, best or "–")
    table.caption = note
    print_table(table)


@app.command()
def stop(study: StudyArgument, storage: StorageOption = None) -> None:
    """Stop a study that a service runs, once what trains is recorded.

    A launch at a command line is stopped there, with Ctrl-C.
    """
    from sweep.search.requests import load_asked, write_wanted
    from sweep.search.storage import open_storage, storage_url

    store = open_storage(storage_url(storage, os.environ), must_exist=True)
    asked = load_asked(store, study)
    if asked.launch is None or not asked.is_open:
        raise StorageError(
            f"study {study!r} was not launched by a service, or has ended; a launch at a command "
            "line is stopped there, with Ctrl-C"
        )
    write_wanted(store, study, asked.launch, "stop")
    say(f"Study {study!r} is to stop: a service that runs sees to it now, else the next one")


@app.command()
def archive(study: StudyArgument, storage: StorageOption = None) -> None:
    """Put a study away, out of the list; nothing of it is lost."""
    _archive(study, storage, datetime.now(UTC))
    say(f"Study {study!r} is archived; sweep restore {study} gets it back")


@app.command()
def restore(study: StudyArgument, storage: StorageOption = None) -> None:
    """Get an archived study back into the list."""
    _archive(study, storage, None)
    say(f"Study {study!r} is back in the list")


def _archive(study: str, storage: str | None, at: datetime | None) -> None:
    from sweep.search.requests import load_asked, write_archived
    from sweep.search.storage import is_held, open_storage, storage_url

    store = open_storage(storage_url(storage, os.environ), must_exist=True)
    asked = load_asked(store, study)
    if at and (asked.is_open or is_held(store, study, {"lease": asked.lease}, time.time())):
        raise StorageError(f"study {study!r} runs, or waits to; stop it first, then archive it")
    write_archived(store, study, at)


@app.command()
def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; any but this machine's own needs a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    storage: StorageOption = None,
    studies: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the study files that can be launched.")
    ] = Path("studies"),
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SWEEP_TOKEN",
            show_envvar=False,
            help="What requests must bring, 16 characters or more.  [dim]default: $SWEEP_TOKEN; "
            "none on this machine's own addresses, else a new one[/]",
        ),
    ] = None,
    running: Annotated[
        int, typer.Option(metavar="N", help="So many studies run at once; the others wait.")
    ] = 1,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name that it is called by; repeatable."),
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="N", help="Requests a second of one client, in the long run.")
    ] = 100,
    https: Annotated[
        bool, typer.Option("--https", help="Browsers come by https, through a proxy.")
    ] = False,
    log_format: Annotated[
        str, typer.Option(metavar="text|json", help="Of the log on standard error.")
    ] = "text",
) -> None:
    """Serve the web page and the HTTP API: launch, watch, compare, choose and export.

    What runs goes on when the service ends, and the next one finds it.

    [dim]Examples:[/]

      sweep serve

      sweep serve --port 9000 --storage sqlite:///team.db --running 2

      SWEEP_TOKEN=... sweep serve --host 0.0.0.0 --allow-host sweep.example.org --https
    """
    from sweep.search.storage import storage_url
    from sweep.service.security import is_loopback, new_token
    from sweep.service.server import serve as serve_until_told
    from sweep.service.settings import ServiceSettings

    if log_format not in ("text", "json"):
        raise ConfigError(f"--log-format: found {log_format!r}; allowed: text, json")
    url = storage_url(storage, os.environ)
    is_new = token is None and not is_loopback(host)
    token = new_token() if is_new else token
    settings = ServiceSettings(
        storage=url,
        studies=studies,
        host=host,
        port=port,
        token=token,
        running=running,
        hosts=tuple(allow_host or ()),
        log_format="json" if log_format == "json" else "text",
        https=https,
        requests_per_second=rate,
        burst=round(4 * rate),
    )

    def on_bound(port: int) -> None:
        name = (allow_host or [host])[0]
        name = "THIS-MACHINES-ADDRESS" if name in ("0.0.0.0", "::") else name
        place = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
        say(f"sweep at {place}{f'#token={token}' if is_new else ''}  (Ctrl-C ends the service)")
        if not is_loopback(host):
            say("Other machines can reach it: whoever has the token can launch studies here")

    serve_until_told(settings, on_bound)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What export --model wrote.")],
    user: Annotated[
        str, typer.Option("--user", "--query", metavar="ID", help="Whose rating or list.")
    ],
    movie: Annotated[
        str | None,
        typer.Option(
            "--movie", "--candidate", metavar="ID", help="Predict the rating of this one."
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="N", help="Recommend this many, at most 100, best first.")
    ] = None,
    seen: Annotated[
        bool,
        typer.Option(
            "--seen", help="Let what this user has in the training rows be recommended too."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask an exported model: one rating, or a list of recommendations.

    [dim]Examples:[/]

      sweep predict model --user 42 --movie "Dances with Wolves (1990)"

      sweep predict model --user 42 --top 10
    """
    if (movie is None) == (top is None):
        raise ExportError("give either --movie (a rating) or --top (a list), one of the two")
    from sweep.recommender.serving import load_recommender

    recommender = load_recommender(model)
    if movie is not None:
        rating = recommender.rating(user, movie)
        if as_json:
            print_json({"query": user, "candidate": movie, "rating": rating})
        else:
            typer.echo(f"{rating:.4f}")
        return
    assert top is not None
    recommended = recommender.recommend(user, top, seen=seen)
    if as_json:
        print_json([asdict(one) for one in recommended])
        return
    table = new_table(f"For {user}", "", "candidate", "score")
    for rank, one in enumerate(recommended, start=1):
        table.add_row(str(rank), one.candidate, f"{one.score:.3f}")
    print_table(table)


DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="movielens/100k and the like, synthetic, or a study file (.toml)."
    ),
]


@data_app.command("show")
def data_show(name: DatasetArgument, as_json: JsonOption = False) -> None:
    """Show the counts of a dataset, fetching it first where needed."""
    from sweep.cache import cache_directory
    from sweep.data.datasets import describe, load_dataset

    described = describe(load_dataset(_dataset_config(name), cache_directory(), say))
    if as_json:
        print_json(described)
        return
    table = new_table(f"Dataset {name}", "what", "value")
    for what, value in described.items():
        table.add_row(what.replace("_", " "), _words(value))
    print_table(table)


@data_app.command("prepare")
def data_prepare(name: DatasetArgument) -> None:
    """Fetch and encode a dataset, so that a launch need not wait for it."""
    from sweep.cache import cache_directory
    from sweep.data.datasets import load_dataset

    interactions = load_dataset(_dataset_config(name), cache_directory(), say)
    say(f"Ready: {interactions!r}")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and value < 1e8 else str(value)  # not a time


def _dataset_config(name: str) -> Any:
    from sweep.config import check_dataset, load_study

    if name.endswith(".toml"):
        return load_study(name).dataset
    if name.lower().endswith((".csv", ".parquet")):
        raise ConfigError(
            f"{name}: the columns of a file are named in a study file; give that study's .toml"
        )
    return check_dataset(name)


def _open(study: str, storage: str | None) -> tuple[BaseStorage, StudyRecord]:
    from sweep.search.records import load_study_record
    from sweep.search.storage import open_storage, storage_url

    store = open_storage(storage_url(storage, os.environ), must_exist=True)
    return store, load_study_record(store, study)


def _load(study: str, storage: str | None) -> StudyRecord:
    return _open(study, storage)[1]


def _front_table(record: StudyRecord) -> Table:
    from sweep.report.summary import ease_note, summarise

    summary = summarise(record)
    replicated = sum(bool(trial.replicates) for trial in record.complete)
    judged = f", judged by {replicated} with replicates" if replicated else ""
    title = (
        f"Pareto front of {record.name}: {len(summary.front)} of {len(record.complete)} "
        f"trials{judged}"
    )
    table = _trials_table(title, summary.front, summary)
    shown = _metrics_shown(record)
    before = ["–"] * (2 + len(record.config.search_space.variables))
    for baseline in record.baselines:
        cells = [f"{baseline.metrics[m]:.4f}" if m in baseline.metrics else "–" for m in shown]
        if set(cells) != {"–"}:
            after = ["–"] * (len(table.columns) - len(before) - len(cells) - 1)
            table.add_row(baseline.name, *before, *cells, *after)
    table.caption = ease_note(record, shown)
    return table


def _metrics_shown(record: StudyRecord) -> list[str]:
    objectives = [objective.metric for objective in record.config.objectives]
    others = ("rmse", "top_100_accuracy", "unseen_top_100_accuracy")
    return [*objectives, *(metric for metric in others if metric not in objectives)]


def _trials_table(title: str, trials: Sequence[Trial], summary: Summary) -> Table:
    """Complete trials: means and, of the objectives, 90 % intervals over n seeds."""
    from sweep.front.selection import metric_label, setting_text
    from sweep.report.summary import weights_of
    from sweep.report.tables import figure, probability_text

    record = summary.record
    variables = list(record.config.search_space.variables)
    objectives = [objective.metric for objective in record.config.objectives]
    arrows = {
        o.metric: " ↓" if o.direction == "minimize" else " ↑" for o in record.config.objectives
    }
    replicated = bool(summary.probability)
    table = new_table(
        f"{title}; ± is the 90 % interval of the mean over n seeds" if replicated else title,
        "trial",
        "rating weight",
        "retrieval weight",
        *(name.partition(".")[2].replace("_", " ") for name in variables),
        *(metric_label(metric) + arrows.get(metric, "") for metric in _metrics_shown(record)),
        *(("n", "P(on front)") if replicated else ()),
    )
    for trial in trials:
        found, weights = summary.estimates[trial.number], weights_of(trial)
        probability = probability_text(summary.probability.get(trial.number))
        table.add_row(
            f"{trial.number} {trial.reference or ''}".strip(),
            f"{weights.rating_weight:.4g}",
            f"{weights.retrieval_weight:.4g}",
            *(setting_text(trial.settings[v]) if v in trial.settings else "–" for v in variables),
            # Without blanks, so that no line ends between a figure and its interval.
            *(
                figure(found[metric]).replace(" ± ", "±")
                if metric in objectives
                else f"{found[metric].mean:.4f}"
                for metric in _metrics_shown(record)
            ),
            *((str(found[objectives[0]].n), probability) if replicated else ()),
        )
    return table


def main() -> None:
    """Entry point of the `sweep` command: a user's error is one message and exit code 2."""
    try:
        app()
    except SweepError as error:
        typer.secho("Error: ", err=True, nl=False, fg="red", bold=True)
        typer.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
