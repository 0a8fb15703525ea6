"""TensorFlow and TensorFlow Datasets without their log lines, prints and progress bars."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any


def import_tensorflow() -> Any:
    """TensorFlow, imported on first use with Keras 2 chosen, as TFRS needs it, and in silence.

    Its C++ part writes to the process's error stream before any setting of its own can stop it,
    so that the stream is set aside for the import.
    """
    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _error_stream_aside():
            import tensorflow
    import tensorflow

    return tensorflow


def limit_threads(number: int) -> None:
    """Let TensorFlow use so many threads in this process, unless it has computed already."""
    threading = import_tensorflow().config.threading
    with contextlib.suppress(RuntimeError):
        threading.set_intra_op_parallelism_threads(number)
        threading.set_inter_op_parallelism_threads(number)


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """A block in which TensorFlow's Python part logs errors only."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def quiet_datasets() -> Iterator[Any]:
    """TensorFlow Datasets, for a block in which it neither prints nor logs below an error."""
    import_tensorflow()
    import tensorflow_datasets

    tensorflow_datasets.disable_progress_bar()
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield tensorflow_datasets
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _error_stream_aside() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
