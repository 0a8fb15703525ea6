"""Optuna's storage as one coordinator needs it: read from memory, written through to the store."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.config import SearchSpaceConfig
from sweep.errors import StorageError
from sweep.search.patience import OneAttempt, Patience, can_be_lost
from sweep.search.space import contains, distributions

P = ParamSpec("P")
T = TypeVar("T")

MARK: Final = "sweep:launch"
"""The system attribute that says which launch has made a trial, and as which of its own, on stores
that may be away."""


class MirroredStorage(InMemoryStorage):
    """One study in memory; a trial goes to the store once it is asked for, then every change does.

    Optuna reads its trials several times to propose one, and each time asks the database anew: more
    than 20 ms a trial with SQLite. With a single writer, memory always knows the answer.

    The copy in memory is also what the samplers see, and two kinds of trials would lead them
    astray: trials without parameters, as the specialists are, and trials outside a search space
    that has been narrowed since. They make Optuna's intersection search space empty, fail its
    Gaussian process, and can keep NSGA drawing for ever. So in memory they are failed trials, which
    every sampler passes over, and all others look as if drawn from today's search space.

    A second writer would make memory wrong. It shows in the number that the store gives to the next
    trial, and the launch ends there.

    Trial ids are the numbers of the trials. What is written of a trial later, its user attributes,
    is not kept in memory.

    A store that is away is waited for, with `patience`. A call whose answer was lost is made again;
    attributes and parameters are written twice without harm, and what would be harmed looks first
    whether it has been done: a trial that the store has made is adopted, known by the mark of this
    launch, and a state that is set is not set again.
    """

    def __init__(
        self,
        store: BaseStorage,
        name: str,
        trials: Sequence[FrozenTrial],
        space: SearchSpaceConfig,
        patience: Patience | None = None,
    ) -> None:
        """Copies the study.

        Args:
            store: where the study is.
            name: of the study.
            trials: all that it has, in order of their numbers.
            space: today's search space.
            patience: with a store that does not answer; without it, that is an error at once.
        """
        super().__init__()
        self._store = store
        self._name = name
        self._space = space
        self._call = _at_once if patience is None else patience.call
        self._mark = uuid.uuid4().hex if patience is not None and can_be_lost(store) else None
        self._once = OneAttempt(store) if self._mark else _at_once
        self._stored_study = self._call(store.get_study_id_from_name, name)
        self._stored_trials: list[int | None] = []  # ids there; None before it is published
        directions = self._call(store.get_study_directions, self._stored_study)
        self._study = study = super().create_new_study(directions, name)
        seen = set()
        for frozen in trials:
            self._stored_trials.append(frozen._trial_id)
            copied = self._as_seen(frozen)
            super().create_new_trial(study, copied)
            if copied.state == TrialState.COMPLETE:
                seen.add(frozen.number)
        attributes = self._call(store.get_study_system_attrs, self._stored_study)
        for key, value in attributes.items():
            if ":parent:" in key:  # the parents of a generation, by id
                parents = [trial for trial in value if trial in seen]
                value = parents if len(parents) >= 2 else []
            super().set_study_system_attr(study, key, value)

    def _as_seen(self, frozen: FrozenTrial) -> FrozenTrial:
        trial = copy.copy(frozen)
        trial.user_attrs = {}
        if contains(self._space, frozen.params):
            trial.distributions = distributions(self._space)
        elif trial.state == TrialState.COMPLETE:
            trial.state = TrialState.FAIL
            trial.values = None
        return trial

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See `BaseStorage.create_new_trial`; the store hears of it when it is published."""
        self._stored_trials.append(None)
        return super().create_new_trial(study_id, template_trial)

    def publish(self, trial_id: int, attributes: Mapping[str, Any]) -> int:
        """Make a trial in the store, running, with all that is known of it: one transaction.

        To be called before the next trial is asked for, and before this one is trained.

        Args:
            trial_id: of this storage, the last that was asked for.
            attributes: user attributes, beside those that it has.

        Returns:
            Its number in the store: `trial_id`, unless a trial before it was made twice there.

        Raises:
            StorageError: another launch is at work on the study.
        """
        asked, mark, again = copy.copy(self.get_trial(trial_id)), f"{self._mark}:{trial_id}", False
        asked.user_attrs = {**asked.user_attrs, **attributes}
        if self._mark is not None:
            asked.system_attrs = {**asked.system_attrs, MARK: mark}

        def create() -> int:
            nonlocal again
            made = self._made_from(trial_id) if again else {}
            again = True
            if mark in made.values():
                return next(stored for stored, its in made.items() if its == mark)
            return self._once(self._store.create_new_trial, self._stored_study, asked)

        stored = self._call(create)
        number = trial_id
        made = {stored: mark}
        # Ids of a store count up over all its studies. So the next one says that nobody else has
        # made a trial since, which asking for the number, more slowly with every trial, would.
        before = self._stored_trials[trial_id - 1] if trial_id else None
        is_next = before is not None and stored == before + 1
        if not is_next and self._call(self._numbered, trial_id) != stored:
            number = self._call(self._store.get_trial_number_from_id, stored)
            made = self._call(self._made_from, trial_id)
        if stored not in made:
            reason = "another launch was at work on the study"
            self._discard(stored, {"reason": reason, "retry": True})
            raise StorageError(
                f"study {self._name!r} has {number} trials, this launch knows {trial_id}: another "
                "launch, or another program, is at work on it; see that one alone is, then launch "
                "again to go on"
            )
        self._stored_trials[trial_id] = stored
        # Of several, a server was slow with one that was given up, or a proxy tried again itself.
        for twin in made.keys() - {stored}:
            reason = "made twice, since the store did not answer"
            self._discard(twin, {"reason": reason, "reference": None})
            self._stored_trials.append(twin)
            super().create_new_trial(self._study, create_trial(state=TrialState.FAIL))
        return number

    def _numbered(self, number: int) -> int | None:
        """Id of the trial of that number in the store."""
        with suppress(KeyError):
            return self._store.get_trial_id_from_study_id_trial_number(self._stored_study, number)
        return None

    def _made_from(self, number: int) -> dict[int, str]:
        """Ids and marks of the trials from a number on, if all are this launch's; else none."""
        made: dict[int, str] = {}
        while self._mark is not None:
            stored = self._numbered(number + len(made))
            if stored is None:
                break
            mark = str(self._store.get_trial(stored).system_attrs.get(MARK))
            if not mark.startswith(self._mark):
                return {}
            made[stored] = mark
        return made

    def _discard(self, stored: int, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self._call(self._store.set_trial_user_attr, stored, key, value)
        self._set_state(stored, TrialState.FAIL, None)

    def _set_state(self, stored: int, state: TrialState, values: Sequence[float] | None) -> bool:
        again = False

        def write() -> bool:
            nonlocal again
            if again:
                there = self._store.get_trial(stored)
                if there.state == state and (values is None or there.values == list(values)):
                    return True
            again = True
            return self._store.set_trial_state_values(stored, state, values)

        return self._call(write)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """See `BaseStorage.set_trial_param`."""
        stored = self._stored_trials[trial_id]
        if stored is not None:
            self._call(
                self._store.set_trial_param, stored, param_name, param_value_internal, distribution
            )
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See `BaseStorage.set_trial_state_values`."""
        stored = self._stored_trials[trial_id]
        if stored is not None and not self._set_state(stored, state, values):
            return False
        if (
            state == TrialState.COMPLETE
            and not distributions(self._space).keys() <= self.get_trial(trial_id).params.keys()
        ):
            state, values = TrialState.FAIL, None
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage.set_trial_user_attr`."""
        stored = self._stored_trials[trial_id]
        if stored is None:
            super().set_trial_user_attr(trial_id, key, value)
        else:
            self._call(self._store.set_trial_user_attr, stored, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage.set_trial_system_attr`."""
        stored = self._stored_trials[trial_id]
        if stored is not None:
            self._call(self._store.set_trial_system_attr, stored, key, value)
        super().set_trial_system_attr(trial_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage.set_study_system_attr`."""
        self._call(self._store.set_study_system_attr, self._stored_study, key, value)
        super().set_study_system_attr(study_id, key, value)


def _at_once(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)
