"""One study through the deaths of 20 coordinators and 50 workers, on SQLite and on PostgreSQL.

Run `python tests/benchmarks/bench_storm.py [COORDINATORS WORKERS]`; six minutes. What must hold is
in `tests/search/storm.py`; printed are the counts. "cut short" are trials that were running when
their coordinator died, each repeated under a new number, or whose worker died three times.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "search")]

from storm import storm, table  # noqa: E402

from postgresql import running  # noqa: E402


def main() -> None:
    coordinators, workers = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (20, 50)
    asked = 20 * (coordinators + workers)
    storms = {}
    with tempfile.TemporaryDirectory() as folder:
        storms["SQLite"] = storm(f"sqlite:///{folder}/s.db", asked, coordinators, workers, seed=1)
    with running() as server:
        url = server.url(server.new_database())
        storms["PostgreSQL"] = storm(url, asked, coordinators, workers, seed=2)
    print(table(storms))


if __name__ == "__main__":
    main()
