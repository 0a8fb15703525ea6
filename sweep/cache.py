"""Where sweep keeps what it has prepared: datasets, batches."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """The folder for prepared data: `SWEEP_CACHE`, else the user's cache folder for sweep.

    The folder need not exist; whoever writes into it makes it. All it holds can be deleted at any
    time, and is prepared again when needed.
    """
    chosen = os.environ.get("SWEEP_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("sweep", appauthor=False)
