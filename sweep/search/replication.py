"""Which trials are trained again with fresh seeds, and in which order.

What a study is asked for is a choice on the front, so what matters is the front and what is next to
it: a trial just behind the front may be ahead of it with other seeds, and the other way round. The
references come along, since the choice is compared with them.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from contextlib import suppress

import numpy as np

from sweep.front.pareto import non_dominated_rank, objective_values
from sweep.results import Replicate, StudyRecord, Trial, TrialResult
from sweep.search.executors import Executor, StopSignal, TrialSpec, own_failure
from sweep.search.held import HeldStudy, store_failures
from sweep.search.lease import LeaseLostError
from sweep.search.records import write_replicates
from sweep.search.spill import SpilledReplicate

MOST = 8
"""Largest number of trials, besides the references, that a study replicates."""

LEAST = 5
"""As many are replicated even where the front is smaller, the next best by rank."""


def contenders(record: StudyRecord) -> tuple[Trial, ...]:
    """The trials to replicate, what matters most first; the references come last.

    The front comes first, from its middle outwards: by the sum of both objectives, each scaled to
    0 … 1 between the best and the worst on the front. Then what would be the front without it, in
    the same order, up to `LEAST`. Of a front of more than `MOST` the outermost are left out.
    """
    searched = [trial for trial in record.complete if not trial.reference]
    references = [trial for trial in record.complete if trial.reference]
    if not searched:
        return tuple(references)
    values = objective_values(searched, record.config.objectives)
    ranks = non_dominated_rank(values)
    front = values[ranks == 0]
    best, worst = front.min(axis=0), front.max(axis=0)
    scaled = ((values - best) / np.where(worst > best, worst - best, 1.0)).sum(axis=1)
    order = np.lexsort((scaled, ranks))
    count = min(MOST, max(LEAST, len(front)))
    return (*(searched[i] for i in order[:count]), *references)


def replication_plan(record: StudyRecord) -> Iterator[tuple[Trial, int]]:
    """Trials and seeds still to be trained: first one replicate of every contender, then another.

    All trials share their seeds, `seeds.model` + 1, + 2, …, so that their means differ by less
    chance than the means of unlike seeds would.
    """
    trials = contenders(record)
    for number in range(1, record.config.budget.replicates + 1):
        seed = record.config.seeds.model + number
        for trial in trials:
            if all(replicate.seed != seed for replicate in trial.replicates):
                yield trial, seed


def is_cut_short(record: StudyRecord) -> bool:
    """Whether a launch that was told to stop has left something to do."""
    asked = record.config.budget.trials
    done = sum(trial.state in ("complete", "pruned") for trial in record.trials)
    return asked is None or done < asked or any(replication_plan(record))


def train_replicates(
    record: StudyRecord,
    held: HeldStudy,
    executor: Executor,
    *,
    seconds: float,
    on_progress: Callable[[int, int, float], None],
    stop: StopSignal | None,
    clock: Callable[[], float],
) -> None:
    """Train what the plan still asks for; each replicate is stored as it ends.

    A replicate whose training fails by itself is left out, and tried again by the next
    launch.

    Args:
        record: the study as it is when its search is over.
        held: its store.
        executor: trains.
        seconds: by the wall clock, after which no replicate begins.
        on_progress: told how many are done, of how many, and how many seconds are left.
        stop: once it is set no replicate begins, and what runs is finished.
        clock: seconds.
    """
    plan = deque(replication_plan(record))
    if not plan:
        return
    stored = {trial.number: trial.replicates for trial in record.trials}
    running: dict[Future[TrialResult], tuple[int, int]] = {}
    durations: list[float] = []
    total = len(plan)
    spent, spent_until = 0.0, clock()

    def stopped() -> bool:
        return stop is not None and stop.is_set()

    def may_begin() -> bool:
        return not stopped() and spent + (clock() - spent_until if running else 0.0) < seconds

    def ended(future: Future[TrialResult]) -> SpilledReplicate:
        """What a training gave; counts the time since another ended as the study's."""
        nonlocal spent, spent_until
        result = future.result()
        durations.append(result.training_seconds + result.evaluation_seconds)
        now = clock()
        went_by, spent_until = now - spent_until, now
        spent += went_by
        number, seed = running[future]
        return SpilledReplicate(number, Replicate(seed, result.metrics, went_by))

    def at_hand(unrecorded: SpilledReplicate) -> Iterator[SpilledReplicate]:
        yield unrecorded
        for future in as_completed(running):
            with suppress(Exception):  # then it is trained again
                yield ended(future)

    if may_begin():
        trials = len({trial.number for trial, _ in plan})
        held.say(f"Training {trials} trials again with fresh seeds: {total} replicates")
        executor.prepare()
    spent_until = clock()
    while plan or running:
        while plan and len(running) < executor.slots and may_begin():
            trial, seed = plan.popleft()
            assert trial.weights is not None
            spec = TrialSpec(
                trial.number,
                trial.weights,
                seed,
                trial.settings,
                seconds=record.config.execution.trial_seconds,
            )
            if not running:
                spent_until = clock()  # what went by with nothing running is not the study's
            running[executor.submit(spec)] = trial.number, seed
        if not running:
            why = "for the next launch" if stopped() else "out: the study's minutes are over"
            held.say(f"{len(plan)} replicates are left {why}")
            return
        done = wait(running, return_when=FIRST_COMPLETED).done
        for future in sorted(done, key=running.__getitem__):
            number, seed = running[future]
            try:
                one = ended(future)
            except Exception as error:
                reason = own_failure(error)
                if reason is None:
                    raise
                held.say(f"Trial {number} with seed {seed} failed, one replicate less: {reason}")
                continue
            finally:
                del running[future]
            replicates = sorted((*stored[number], one.replicate), key=lambda each: each.seed)
            stored[number] = tuple(replicates)
            try:
                held.call(write_replicates, held.storage, record.name, number, stored[number])
            except LeaseLostError:
                raise
            except store_failures():
                held.keep(at_hand(one), len(running))
                raise
        left = len(plan) + len(running)
        pace = statistics.median(durations or [0.0]) / executor.slots
        on_progress(total - left, total, left * pace)
