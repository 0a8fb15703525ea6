"""How a study was measured: commands, rows, seeds, rules, versions and times, as plain texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sweep.report.summary import counted, protocol
from sweep.results import StudyRecord, Trial


def commands(record: StudyRecord) -> tuple[str, ...]:
    """The commands that give this report, one a line; a study file is named after its study."""
    name = record.name
    return (
        f"sweep launch studies/{name}.toml",
        *([f"sweep ablate {name} --pick knee"] if record.ablation else []),
        *([f"sweep export {name} --pick knee --output best.json"] if record.finals else []),
        f"sweep report {name}",
    )


@dataclass(frozen=True)
class Pruning:
    """Trials that were stopped early, of how many that ended, and epochs saved, of how many."""

    stopped: int
    trials: int
    epochs_saved: int
    epochs: int


def pruning(record: StudyRecord) -> Pruning:
    """What stopping trials early has saved: all epochs that were asked of them and not trained."""
    stopped = [trial for trial in record.trials if trial.state == "pruned"]
    ended = [*record.complete, *stopped]
    saved = [_epochs_asked(record, trial) - _epochs_trained(trial) for trial in stopped]
    return Pruning(
        stopped=len(stopped),
        trials=len(ended),
        epochs_saved=sum(saved),
        epochs=sum(_epochs_asked(record, trial) for trial in ended),
    )


def pruning_sentence(record: StudyRecord) -> str:
    """How many trials were stopped early, and what share of all epochs that saved."""
    found, name = pruning(record), record.config.pruner.name
    if name == "none" and not found.stopped:
        return 'None: the study file has pruner.name = "none".'
    if not found.stopped:
        return f"None of {counted(found.trials, 'trial')} was stopped early."
    verb = "was" if found.stopped == 1 else "were"
    return (
        f"{found.stopped} of {counted(found.trials, 'trial')} {verb} stopped early by "
        f"{name.replace('_', ' ')}, which saved {found.epochs_saved:,} of {found.epochs:,} epochs "
        f"({100 * found.epochs_saved / found.epochs:.0f} %)."
    )


def facts(record: StudyRecord) -> tuple[tuple[str, str], ...]:
    """What one has to know to judge the figures: pairs of a heading and a text."""
    config = record.config
    pairs = [
        ("Rows", protocol(record)),
        ("Seeds", _seeds_text(record)),
        (
            "Epochs",
            "Metrics are those after the last epoch; no epoch is picked by its score.",
        ),
        (
            "Intervals",
            "± is half the width of the 90 % interval of the mean over seeds (Student's t): what "
            "other seeds would change, not what other rows would. What "
            "is compared on the same seeds is compared seed by seed. The probability of being on "
            "the front is a parametric bootstrap of the true means; see sweep.front.uncertainty.",
        ),
        *((f"Baseline: {baseline.name}", baseline.note) for baseline in record.baselines),
        ("Search", f"Sampler {config.sampler.name}; {_searched_text(record)}."),
        ("Versions", _versions_text(record.trials)),
        ("Times", _times_text(record)),
    ]
    return tuple((name, text) for name, text in pairs if text)


def _seeds_text(record: StudyRecord) -> str:
    seeds = record.config.seeds
    text = (
        f"Every trial of the search starts from model seed {seeds.model}; split {seeds.split}, "
        f"batches {seeds.batches}, sampler {seeds.sampler}."
    )
    replicates = [one for trial in record.trials for one in trial.replicates]
    if not replicates:
        return f"{text} No trial was trained again with other seeds."
    trials = sum(bool(trial.replicates) for trial in record.trials)
    numbers = ", ".join(map(str, sorted({one.seed for one in replicates})))
    return (
        f"{text} {counted(trials, 'trial')} (the front, what is next to it, and the references) "
        f"were trained again with the seeds {numbers}: {len(replicates)} trainings. Means and "
        "intervals are over these alone, without the search's own seed, by which the trials were "
        "chosen."
    )


def _searched_text(record: StudyRecord) -> str:
    return "; ".join(f"{name} {span}" for name, span in record.config.search_space.all.items())


def _versions_text(trials: Iterable[Trial]) -> str:
    """Every version that trained a trial; more than one of a package shows as a list."""
    found: dict[str, set[str]] = {}
    for trial in trials:
        for package, version in trial.versions.items():
            found.setdefault(package, set()).add(version)
    return ", ".join(
        f"{package} {' and '.join(sorted(versions))}" for package, versions in found.items()
    )


def _times_text(record: StudyRecord) -> str:
    results = [trial.result for trial in record.trials if trial.result is not None]
    seconds = sum(result.training_seconds + result.evaluation_seconds for result in results)
    again = sum(one.seconds for trial in record.trials for one in trial.replicates)
    started = [trial.started for trial in record.trials if trial.started]
    finished = [trial.finished for trial in record.trials if trial.finished]
    text = f"Training and scoring took {_duration(seconds)} for {counted(len(results), 'trial')}"
    if again:
        text += f" and {_duration(again)} for the replicates"
    if not (started and finished):
        return f"{text}."
    return (
        f"{text}. The first trial started on {min(started):%Y-%m-%d %H:%M} UTC; the last ended "
        f"{_duration((max(finished) - min(started)).total_seconds())} later."
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _epochs_asked(record: StudyRecord, trial: Trial) -> int:
    return record.config.with_settings(trial.settings).training.epochs


def _epochs_trained(trial: Trial) -> int:
    return len(trial.result.history) if trial.result else 0
