"""Ray on two nodes: what a study owes its cluster, and what is left when a part of that is gone."""

from __future__ import annotations

import functools
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import optuna
import pytest
from misbehaving import Folder, build, eventually
from null_training import null_result, small_study, start_python
from test_executors import await_end, real_study, spec

from builders import MOVIELENS_100K
from postgresql import free_port
from ray_cluster import RayCluster, require_ray
from sweep import pipeline
from sweep.data.batches import TrainingData
from sweep.errors import WorkerError
from sweep.results import LossWeights, StudyRecord, TrialResult
from sweep.search.cluster import RayWorker, connected, ray_address, room, share
from sweep.search.executors import Executor, Train, TrialSpec
from sweep.search.study import Progress, run_study
from sweep.search.workers import WorkerPool

RESULT = null_result(LossWeights(2.0, 3.0))


def build_here(path: Path, *_: object) -> Train:
    """Trains as a null trainer does, and notes on which node."""
    import ray

    folder, node = Folder(path), ray.get_runtime_context().get_node_id()

    def train(spec: TrialSpec) -> TrialResult:
        folder.note("begun", node)
        if (path / f"hold-{node}").exists():  # until the test, or the end of the node
            folder.note("held", node)
            folder.await_lines("go")
        return null_result(spec.weights)

    return train


def build_from_shared(array: np.ndarray, again: np.ndarray) -> Train:
    """Tells in a trial's metrics how it has what was shared."""

    def train(_: TrialSpec) -> TrialResult:
        facts = {
            "sum": float(array.sum()),
            "writeable": float(array.flags.writeable),
            "own": float(array.flags.owndata),
            "same": float(np.shares_memory(array, again)),
        }
        return TrialResult(facts, (), 0.0, 0.0)

    return train


def build_from_data(data: TrainingData) -> Train:
    """Tells in a trial's metrics how it has the rows of a study."""
    rows = data.train, data.held_out
    arrays = [getattr(part, column.name) for part in rows for column in fields(part)]

    def train(_: TrialSpec) -> TrialResult:
        copied = [array for array in arrays if array.flags.owndata or array.flags.writeable]
        return TrialResult({"arrays": len(arrays), "copied": len(copied)}, (), 0.0, 0.0)

    return train


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two nodes of two cores each, connected."""
    require_ray()
    with RayCluster(2, 2) as cluster, connected(cluster.address):
        yield cluster


@pytest.fixture
def two_nodes(cluster: RayCluster) -> RayCluster:
    """The cluster, whatever an earlier test has done to it."""
    for node in cluster.nodes[2:]:
        cluster.kill_node(node)
    if len(cluster.nodes) < 2:
        cluster.add_node(2)
    cluster.wait_for_cores(4)
    return cluster


@pytest.fixture
def apart(monkeypatch) -> None:
    """As if nobody were connected, whatever the tests before have left."""
    require_ray()
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def pool_of(folder: Folder, size: int, said: list[str] | None = None) -> WorkerPool:
    build = functools.partial(build_here, folder.path)
    say = (lambda _: None) if said is None else said.append
    return WorkerPool(lambda: RayWorker(build, (), 1, 0), size, quorum=1, say=say)


def study(
    trials: int, executor: Executor, on_progress: Callable[[Progress], None] = lambda _: None
) -> StudyRecord:
    storage = optuna.storages.InMemoryStorage()
    config = small_study(trials, sampler="qmc")
    return run_study(config, storage, executor, MOVIELENS_100K, on_progress=on_progress)


def once_at(done: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Does something when so many trials are done."""

    def on_progress(progress: Progress) -> None:
        if progress.done == done:
            act()

    return on_progress


def require_whole(record: StudyRecord, trials: int) -> None:
    assert [trial.state for trial in record.trials] == ["complete"] * trials
    for trial in record.trials:
        assert trial.weights is not None
        assert trial.result == null_result(trial.weights)


# Nodes that come and go


@pytest.mark.slow
def test_a_study_trains_on_both_nodes(two_nodes: RayCluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert room(1, 0) == 4
    with pool_of(folder, room(1, 0)) as pool:
        pool.prepare()
        eventually(lambda: pool.slots == 4, "four workers")
        require_whole(study(20, pool), 20)
    assert set(folder.lines("begun")) == set(two_nodes.nodes)
    assert len(folder.lines("begun")) == 20


@pytest.mark.slow
def test_a_node_that_is_killed_half_way_costs_no_trial(
    two_nodes: RayCluster, tmp_path: Path
) -> None:
    folder, said = Folder(tmp_path), list[str]()
    first, second = two_nodes.nodes
    with pool_of(folder, 4, said) as pool:
        pool.prepare()
        eventually(lambda: pool.slots == 4, "four workers")
        folder.note(f"hold-{second}")  # so that the node has trials when it goes

        def kill() -> None:
            folder.await_lines("held")
            two_nodes.kill_node(second)
            folder.note("killed")

        record = study(24, pool, once_at(10, kill))
    require_whole(record, 24)
    held = folder.lines("held")
    assert held
    assert set(held) == {second}
    assert folder.lines("killed")
    # Every trial was trained, and again only those that the node took along.
    assert len(folder.lines("begun")) == 24 + len(held)
    again = [text for text in said if "training it again" in text]
    assert len(again) == len(held)
    assert folder.lines("begun")[-1] == first


@pytest.mark.slow
def test_a_node_that_joins_later_is_used(two_nodes: RayCluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    joined: list[str] = []
    with pool_of(folder, 6) as pool:  # two more than there is room for
        pool.prepare()
        eventually(lambda: pool.slots == 4, "four workers")

        def join() -> None:
            joined.append(two_nodes.add_node(2))
            eventually(lambda: pool.slots == 6, "six workers")

        require_whole(study(30, pool, once_at(8, join)), 30)
    assert set(folder.lines("begun")) == {*two_nodes.nodes}
    assert joined[0] in folder.lines("begun")


@pytest.mark.slow
def test_closing_gives_up_workers_that_still_wait_for_room(
    two_nodes: RayCluster, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    with pool_of(folder, 9) as pool:
        pool.prepare()
    with pool_of(folder, 4) as pool:  # has all the room to itself
        pool.prepare()
        eventually(lambda: pool.slots == 4, "four workers")
    assert len(two_nodes.nodes) == 2


@pytest.mark.slow
def test_an_actor_that_is_killed_leaves_its_room_to_the_next(
    two_nodes: RayCluster, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    hire = functools.partial(RayWorker, functools.partial(build, tmp_path), (), 4 / 2, 0)
    with WorkerPool(hire, 2) as pool:
        assert pool.submit(spec(0, "die once")).result() == RESULT
        assert len(set(folder.pids(0))) == 2
    assert len(two_nodes.nodes) == 2
    await_end(*folder.built)


# What is shared


@pytest.mark.slow
def test_what_is_shared_is_read_from_the_object_store_and_not_copied(
    two_nodes: RayCluster,
) -> None:
    array = np.arange(1_000_000, dtype=np.float64)
    reference = share([array])
    facts = {"sum": float(array.sum()), "writeable": 0.0, "own": 0.0, "same": 1.0}
    with WorkerPool(lambda: RayWorker(build_from_shared, reference * 2, 1, 0), 4) as pool:
        futures = [pool.submit(spec(number)) for number in range(8)]
        assert [future.result().metrics for future in futures] == [facts] * 8
    assert len(two_nodes.nodes) == 2


@pytest.mark.slow
def test_the_rows_of_a_study_are_read_from_the_object_store_and_not_copied(
    two_nodes: RayCluster, tmp_path: Path
) -> None:
    _, data = pipeline.prepare(real_study(), tmp_path, lambda _: None)
    reference = share([data])
    with WorkerPool(lambda: RayWorker(build_from_data, reference, 1, 0), 1) as pool:
        metrics = pool.submit(spec()).result().metrics
    assert metrics["arrays"] > 4
    assert metrics["copied"] == 0
    assert len(two_nodes.nodes) == 2


# A cluster that is not there


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "localhost:{port}", "ray://[::1]:{port}"])
@pytest.mark.usefixtures("apart")
def test_an_address_where_nobody_listens_is_an_error_at_once(address: str) -> None:
    address = address.format(port=free_port())
    words = r"no Ray cluster at .*; start one with ray start --head"
    with pytest.raises(WorkerError, match=words), connected(address):
        pass


@pytest.mark.usefixtures("apart")
def test_a_loopback_address_that_ray_takes_for_the_machines_own_is_explained(monkeypatch) -> None:
    import ray

    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = rf"\(127.0.0.2:{port}: .*OSX_CLUSTER=0"
        with pytest.raises(WorkerError, match=words), connected(f"127.0.0.1:{port}"):
            pass


@pytest.mark.usefixtures("apart")
def test_an_address_from_the_environment_counts_as_given(monkeypatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(WorkerError, match=f"no Ray cluster at {address}"),
        connected(ray_address(None)),
    ):
        pass


def test_without_ray_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = r"run pip install ray, or take local workers"
    with pytest.raises(WorkerError, match=words), connected("127.0.0.1:6379"):
        pass


@pytest.mark.slow
def test_who_is_connected_already_stays_so(two_nodes: RayCluster) -> None:
    import ray

    with connected("127.0.0.1:1"):
        assert len(ray.nodes()) >= len(two_nodes.nodes)
    assert ray.is_initialized()


ALONE = """
from ray_cluster import RayCluster
import functools, os, pathlib, sys
from misbehaving import build
from test_executors import spec
from sweep.search.cluster import RayWorker, connected, room
from sweep.search.workers import WorkerPool

folder = pathlib.Path(sys.argv[1])
with connected(None):
    assert room(1, 0) >= 1
    hire = lambda: RayWorker(functools.partial(build, folder), (), 1, 0)
    with WorkerPool(hire, 1) as pool:
        print(pool.submit(spec()).result().training_seconds)
"""


@pytest.mark.slow
def test_without_an_address_a_cluster_is_started_and_ended(tmp_path: Path) -> None:
    require_ray()
    with start_python(ALONE, str(tmp_path)) as program:
        output, errors = program.communicate(timeout=120)
    assert (program.returncode, output.split()) == (0, ["1.25"]), errors
    await_end(*Folder(tmp_path).built)


HEADLESS = """
import ray_cluster  # before Ray
import functools, pathlib, sys
from misbehaving import build
from test_executors import spec
from sweep.search.cluster import RayWorker, connected
from sweep.search.workers import WorkerPool

address, folder = sys.argv[1:]
with connected(address):
    hire = lambda: RayWorker(functools.partial(build, pathlib.Path(folder)), (), 1, 0)
    with WorkerPool(hire, 1) as pool:
        pool.submit(spec(0, "hang")).result()
"""


@pytest.mark.slow
def test_when_the_head_is_gone_ray_ends_the_program_and_the_workers(
    tmp_path: Path, monkeypatch
) -> None:
    """As if it had been killed, so that the next launch goes on; by default after a minute."""
    require_ray()
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "3")
    folder = Folder(tmp_path)
    with (
        RayCluster(1) as cluster,
        start_python(HEADLESS, cluster.address, str(tmp_path)) as program,
    ):
        folder.await_lines("began-0")
        cluster.kill_head()
        _, errors = program.communicate(timeout=60)
        assert program.returncode == 1
        assert "GCS may have been killed" in errors
        await_end(*folder.built)


@pytest.mark.usefixtures("apart")
def test_a_termination_is_still_heard_by_who_listened_before_the_connection(
    two_nodes: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    # As `ray.init` does, without a second connection of this process.
    monkeypatch.setattr(
        ray, "init", lambda **_: signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    )
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    try:
        with connected(two_nodes.address):
            signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("two_nodes")
def test_room_is_counted_node_by_node() -> None:
    assert [room(cores, 0) for cores in (1, 2, 3)] == [4, 2, 0]  # two nodes of two cores
    assert room(1, 1) == 0
