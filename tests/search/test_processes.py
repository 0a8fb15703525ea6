"""What local processes owe beyond the contract: signals, a parent's death, programs of any form."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import Folder, build, eventually
from null_training import null_result, start_python
from test_executors import await_end, lives, spec

from sweep.results import LossWeights
from sweep.search.executors import Train
from sweep.search.processes import ProcessWorker
from sweep.search.workers import WorkerLostError, WorkerPool

RESULT = null_result(LossWeights(2.0, 3.0))

PROGRAM = """
import functools, pathlib, sys, time
from misbehaving import build
from null_training import null_result
from sweep.results import LossWeights
from sweep.search.executors import TrialSpec
from sweep.search.processes import ProcessWorker
from sweep.search.workers import WorkerPool

def spec(number, do):
    return TrialSpec(number, LossWeights(2.0, 3.0), 0, {"do": do})

folder, *todo = sys.argv[1:]
hire = lambda: ProcessWorker(functools.partial(build, pathlib.Path(folder)))
with WorkerPool(hire, 2) as pool:
    futures = [pool.submit(spec(number, do)) for number, do in enumerate(todo)]
    print("submitted", flush=True)
    print(*(future.result() == null_result(LossWeights(2.0, 3.0)) for future in futures))
"""
"""A program without a `__main__` guard, which starts workers when it is run."""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def worker(folder: Folder) -> Iterator[ProcessWorker]:
    """One that is ready."""
    worker = ProcessWorker(functools.partial(build, folder.path))
    worker.start().result()
    yield worker
    worker.stop()
    assert worker.pid is not None
    await_end(worker.pid)


def finish(program: subprocess.Popen[str]) -> str:
    output, errors = program.communicate(timeout=60)
    assert program.returncode == 0, errors
    return output


def test_an_interrupt_and_a_termination_do_not_end_a_worker(
    worker: ProcessWorker, folder: Folder
) -> None:
    answer = worker.train(spec(0, "wait"))
    folder.await_lines("began-0")
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGTERM)
    os.kill(worker.pid, signal.SIGINT)
    folder.note("go")
    assert answer.result() == RESULT
    assert worker.train(spec(1)).result() == RESULT
    assert folder.built == [worker.pid]


def test_ctrl_c_reaches_the_program_alone(folder: Folder) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(folder.path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    pids = [int(folder.await_lines(f"began-{number}")[0]) for number in range(2)]
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    folder.await_lines("interrupted")
    assert all(map(lives, pids))
    folder.note("go")
    output, _ = program.communicate(timeout=60)
    assert output.split() == ["submitted", "True", "True"]
    await_end(*pids)
    assert [folder.pids(number) for number in range(2)] == [[pid] for pid in pids]


INTERRUPTED = (
    """
import signal, sys
from misbehaving import Folder
from pathlib import Path
signal.signal(signal.SIGINT, lambda *_: Folder(Path(sys.argv[1])).note("interrupted"))
sys.argv += ["wait", "wait"]
"""
    + PROGRAM
)


@pytest.mark.parametrize("do", ["wait", "compute"])
def test_workers_end_when_their_parent_is_killed_also_amid_a_training(
    folder: Folder, do: str
) -> None:
    with start_python(PROGRAM, str(folder.path), do) as program:
        folder.await_lines("began-0")
        pids = [int(line) for line in folder.await_lines("built", 2)]
        assert all(map(lives, pids))
        program.kill()
    await_end(*pids)


def test_a_program_of_one_argument_can_have_workers(folder: Folder) -> None:
    with start_python(PROGRAM, str(folder.path), "", "die once", "") as program:
        assert finish(program).split() == ["submitted", "True", "True", "True"]
    await_end(*folder.built)


def test_a_script_without_a_guard_can_have_workers(folder: Folder) -> None:
    script = folder.path / "script.py"
    script.write_text(PROGRAM)
    program = subprocess.run(
        [sys.executable, str(script), str(folder.path), "", ""],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert program.stdout.split() == ["submitted", "True", "True"], program.stderr
    await_end(*folder.built)


def test_a_worker_that_was_killed_idle_says_so_when_it_is_asked(worker: ProcessWorker) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    await_end(worker.pid)
    error = worker.train(spec(0)).exception(10)
    assert isinstance(error, WorkerLostError)
    assert not error.began
    assert "killed by SIGKILL" in str(error)


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.001, 0.002, 0.005])
def test_whenever_a_worker_is_killed_its_answer_comes(folder: Folder, delay: float) -> None:
    worker = ProcessWorker(functools.partial(build, folder.path))
    worker.start().result()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(delay)
    error = worker.train(spec(0)).exception(10)
    assert isinstance(error, WorkerLostError)
    assert error.began or folder.pids(0) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGKILL, "killed by SIGKILL, out of memory perhaps"),
        (signal.SIGSEGV, "killed by SIGSEGV"),
    ],
)
def test_a_worker_that_is_killed_amid_a_trial_says_how(
    worker: ProcessWorker, folder: Folder, number: signal.Signals, text: str
) -> None:
    answer = worker.train(spec(0, "wait"))
    folder.await_lines("began-0")
    assert worker.pid is not None
    os.kill(worker.pid, number)
    error = answer.exception(10)
    assert isinstance(error, WorkerLostError)
    assert (str(error), error.began) == (text, True)


def test_a_worker_that_ends_by_itself_says_with_which_code() -> None:
    worker = ProcessWorker(functools.partial(os._exit, 3))
    error = worker.start().exception(60)
    assert isinstance(error, WorkerLostError)
    assert str(error) == "ended with exit code 3"


def test_stopping_before_the_start_and_twice_does_nothing(folder: Folder) -> None:
    worker = ProcessWorker(functools.partial(build, folder.path))
    worker.stop()
    assert worker.pid is None
    starting = worker.start()
    worker.stop()
    worker.stop()
    assert isinstance(starting.exception(60), WorkerLostError)
    assert worker.pid is not None
    await_end(worker.pid)


def test_a_build_that_cannot_be_sent_is_an_error_of_prepare() -> None:
    def local() -> Train:
        raise AssertionError

    with (
        WorkerPool(lambda: ProcessWorker(local), 1) as pool,
        pytest.raises((pickle.PicklingError, AttributeError), match="local"),
    ):
        pool.prepare()


def test_a_worker_that_the_system_does_not_start_is_lost(folder: Folder, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", str(folder.path / "no-such-python"))
    worker = ProcessWorker(functools.partial(build, folder.path))
    with pytest.raises(WorkerLostError, match=r"not to be started: .*no-such-python"):
        worker.start()
    worker.stop()


def test_no_descriptor_is_left_of_workers_that_ended(folder: Folder) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(3):
        worker = ProcessWorker(functools.partial(build, folder.path))
        worker.start().result()
        worker.stop()
    eventually(lambda: count() <= before, "the closing of descriptors")
