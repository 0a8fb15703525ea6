"""A Ray cluster of several nodes for tests, all of them on 127.0.0.1 alone."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import Any, Self

import pytest

# Read when Ray is imported: without it Ray puts the machine's own address for 127.0.0.1.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

_MEMORY = 80_000_000  # bytes of object store for each node; Ray takes no less than 75 MB
_SECONDS = 30


class RayCluster:
    """Nodes that are started here and end with the block; the first of them is the head.

    What a node starts can import what tests can.
    """

    def __init__(self, *cores: int) -> None:
        """Takes how many cores each node is to have."""
        self._cores = cores

    def __enter__(self) -> Self:
        from ray.cluster_utils import Cluster

        tests = Path(__file__).parent
        self._before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(tests), str(tests / "search")])
        self._cluster = Cluster()
        self._nodes: list[Any] = []
        try:
            for cores in self._cores:
                self.add_node(cores)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Of the head, as `ray.init` takes it."""
        address: str = self._cluster.address
        return address

    @property
    def nodes(self) -> list[str]:
        """The ids of the nodes that live, the head's first."""
        return [node.node_id for node in self._nodes]

    def add_node(self, cores: int) -> str:
        """Start one more node; returns its id."""
        options = {} if self._nodes else {"include_dashboard": False}
        node = self._cluster.add_node(
            num_cpus=cores,
            node_ip_address="127.0.0.1",
            object_store_memory=_MEMORY,
            **options,
        )
        self._nodes.append(node)
        return str(node.node_id)

    def kill_node(self, node_id: str) -> None:
        """End a node and all of its processes by SIGKILL."""
        node = next(node for node in self._nodes if node.node_id == node_id)
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_head(self) -> None:
        """End by SIGKILL what knows the nodes and actors, which the cluster cannot do without."""
        self._nodes[0].kill_gcs_server(check_alive=False)

    def wait_for_cores(self, cores: float) -> None:
        """Wait until the cluster has neither more nor fewer."""
        import ray

        until = time.monotonic() + _SECONDS
        while ray.cluster_resources().get("CPU", 0) != cores:
            assert time.monotonic() < until, ray.cluster_resources()
            time.sleep(0.1)

    def close(self) -> None:
        """End every node."""
        self._cluster.shutdown()
        if self._before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = self._before


def require_ray() -> None:
    """Skip the test if Ray is not installed; fail it in CI."""
    if importlib.util.find_spec("ray") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Ray: pip install ray")
