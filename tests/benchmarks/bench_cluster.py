"""A study on a Ray cluster of two nodes with PostgreSQL as its store; one node dies half-way.

Run `python tests/benchmarks/bench_cluster.py [STUDY]`; the default study unless told, ten minutes.
Cluster and server are on 127.0.0.1, each node with half of the cores. The launch is `sweep launch`
with a worker on each node. When half of its trials are done, one node and all of its processes are
killed; the launch goes on with what is left. Printed is what the store holds in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from postgresql import PostgreSQL  # noqa: E402
from ray_cluster import RayCluster  # noqa: E402
from sweep.config import load_study  # noqa: E402
from sweep.errors import SweepError  # noqa: E402
from sweep.pipeline import available_cores  # noqa: E402
from sweep.results import StudyRecord  # noqa: E402
from sweep.search.records import load_study_record  # noqa: E402
from sweep.search.replication import replication_plan  # noqa: E402

STUDIES = Path(__file__).parents[2] / "studies"


def stored(url: str, name: str) -> StudyRecord | None:
    try:
        return load_study_record(url, name)
    except SweepError:
        return None  # not yet begun


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else STUDIES / "movielens-100k.toml"
    config = load_study(file)
    assert config.budget.trials is not None
    cores = max(available_cores() // 2, 1)
    server = PostgreSQL()
    try:
        server.start()
        url = server.url(server.new_database())
        with RayCluster(cores, cores) as cluster:
            began = time.monotonic()
            command = [sys.executable, "-c", "from sweep.cli import main; main()", "launch", file]
            options = ("--executor", "ray", "--address", cluster.address, "--workers", "2")
            launch = subprocess.Popen(
                [*command, "--storage", url, *options, "--num-cpus", str(cores)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ,
            )
            assert launch.stderr is not None
            dead = None
            for line in launch.stderr:
                print(f"{time.monotonic() - began:7.1f} s  {line.rstrip()}", flush=True)
                if dead is None and line.startswith(f"trial {config.budget.trials // 2}/"):
                    dead = cluster.nodes[1]
                    cluster.kill_node(dead)
                    print(f"{time.monotonic() - began:7.1f} s  node {dead[:8]} is killed")
            code = launch.wait()
            seconds = time.monotonic() - began
        record = stored(url, config.name)
    finally:
        server.close()
    assert record is not None
    states = Counter(trial.state for trial in record.trials)
    print(f"exit code {code} after {seconds:.0f} s, node killed: {dead is not None}")
    print(f"trials: {dict(states)}, asked: {config.budget.trials}")
    print(f"replicates: {sum(len(trial.replicates) for trial in record.trials)}", end=", ")
    print(f"left: {sum(1 for _ in replication_plan(record))}")


if __name__ == "__main__":
    main()
