"""What the `run` and `folder` fixtures give: the command line as a function, and a small study."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return
    raise AssertionError(f"the process ended before it said {beginning!r}")


SMALL_STUDY = """
name = "small"
[dataset]
name = "synthetic"
[dataset.synthetic]
queries = 40
candidates = 30
interactions = 1000
[model]
embedding_dimension = 8
rating_layers = [16]
[training]
epochs = 2
batch_size = 256
retrieval_reduction = "sum"
[search_space]
rating_weight = { low = 0.1, high = 10.0 }
retrieval_weight = { low = 0.1, high = 10.0 }
[[objectives]]
metric = "rmse"
direction = "minimize"
[[objectives]]
metric = "top_10_accuracy"
direction = "maximize"
[sampler]
startup_trials = 3
[budget]
trials = 6
replicates = 2
"""
