"""Optuna's storage as one coordinator needs it: read from memory, written through to the store."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.config import SearchSpaceConfig
from sweep.errors import StorageError
from sweep.search.space import contains, distributions


class MirroredStorage(InMemoryStorage):
    """One study in memory; every change goes to the store first.

    Optuna reads its trials several times to propose one, and each time asks the database anew: more
    than 20 ms a trial with SQLite. With a single writer, memory always knows the answer.

    The copy in memory is also what the samplers see, and two kinds of trials would lead them
    astray: trials without parameters, as the specialists are, and trials outside a search space
    that has been narrowed since. They make Optuna's intersection search space empty, fail its
    Gaussian process, and can keep NSGA drawing for ever. So in memory they are failed trials, which
    every sampler passes over, and all others look as if drawn from today's search space.

    A second writer would make memory wrong. It shows in the number that the store gives to the next
    trial, and the launch ends there.

    Trial ids are the numbers of the trials. User attributes are not kept in memory.
    """

    def __init__(
        self,
        store: BaseStorage,
        name: str,
        trials: Sequence[FrozenTrial],
        space: SearchSpaceConfig,
    ) -> None:
        """Copies the study.

        Args:
            store: where the study is.
            name: of the study.
            trials: all that it has, in order of their numbers.
            space: today's search space.
        """
        super().__init__()
        self._store = store
        self._name = name
        self._space = space
        self._stored_study = store.get_study_id_from_name(name)
        self._stored_trials: list[int] = []
        study = super().create_new_study(store.get_study_directions(self._stored_study), name)
        seen = set()
        for frozen in trials:
            self._stored_trials.append(frozen._trial_id)
            copied = self._as_seen(frozen)
            super().create_new_trial(study, copied)
            if copied.state == TrialState.COMPLETE:
                seen.add(frozen.number)
        for key, value in store.get_study_system_attrs(self._stored_study).items():
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
        """See `BaseStorage.create_new_trial`."""
        stored = self._store.create_new_trial(self._stored_study, template_trial)
        number = self._store.get_trial_number_from_id(stored)
        if number != len(self._stored_trials):
            attributes = {"reason": "another launch was at work on the study", "retry": True}
            for key, value in attributes.items():
                self._store.set_trial_user_attr(stored, key, value)
            self._store.set_trial_state_values(stored, TrialState.FAIL)
            raise StorageError(
                f"study {self._name!r} has {number} trials, this launch knows "
                f"{len(self._stored_trials)}: another launch, or another program, is at work on "
                "it; see that one alone is, then launch again to go on"
            )
        self._stored_trials.append(stored)
        return super().create_new_trial(study_id, template_trial)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """See `BaseStorage.set_trial_param`."""
        stored = self._stored_trials[trial_id]
        self._store.set_trial_param(stored, param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See `BaseStorage.set_trial_state_values`."""
        stored = self._stored_trials[trial_id]
        if not self._store.set_trial_state_values(stored, state, values):
            return False
        if (
            state == TrialState.COMPLETE
            and not distributions(self._space).keys() <= self.get_trial(trial_id).params.keys()
        ):
            state, values = TrialState.FAIL, None
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage.set_trial_user_attr`."""
        self._store.set_trial_user_attr(self._stored_trials[trial_id], key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage.set_trial_system_attr`."""
        self._store.set_trial_system_attr(self._stored_trials[trial_id], key, value)
        super().set_trial_system_attr(trial_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage.set_study_system_attr`."""
        self._store.set_study_system_attr(self._stored_study, key, value)
        super().set_study_system_attr(study_id, key, value)
