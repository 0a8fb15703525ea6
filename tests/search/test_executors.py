from __future__ import annotations

import pytest

from sweep.errors import TrainingError
from sweep.results import LossWeights, TrialResult
from sweep.search.executors import InProcessExecutor, TrialSpec

WEIGHTS = LossWeights(2.0, 3.0)


def test_training_in_process_is_done_when_submitted() -> None:
    calls = []
    result = TrialResult({}, (), 1.0, 0.5)

    def train(spec: TrialSpec) -> TrialResult:
        calls.append((spec.weights, spec.seed))
        return result

    with InProcessExecutor(train) as executor:
        future = executor.submit(TrialSpec(7, WEIGHTS, seed=5))
        assert future.done()
        assert calls == [(WEIGHTS, 5)]
        assert future.result() is result


def test_what_is_to_be_prepared_is_done_when_asked_and_not_before() -> None:
    calls = []
    with InProcessExecutor(lambda *_: TrialResult({}, (), 1, 1), lambda: calls.append(1)) as ready:
        assert calls == []
        ready.prepare()
        ready.submit(TrialSpec(0, WEIGHTS, seed=0))
    assert calls == [1]


@pytest.mark.parametrize("error", [TrainingError("diverged"), KeyboardInterrupt()])
def test_what_training_raises_waits_in_the_future(error: BaseException) -> None:
    def train(*_: object) -> TrialResult:
        raise error

    with InProcessExecutor(train) as executor:
        future = executor.submit(TrialSpec(0, WEIGHTS, seed=0))
    assert future.exception() is error
