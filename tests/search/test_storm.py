from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from storm import storm, table

if TYPE_CHECKING:
    from postgresql import PostgreSQL


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("store", ["SQLite", "PostgreSQL"])
def test_a_study_comes_whole_through_deaths_of_coordinators_and_workers(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    if store == "PostgreSQL":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.url(server.new_database())
    one = storm(url, asked=400, coordinators=5, workers=13, seed=0)
    print(table({store: one}))
    assert (one.coordinators_killed, one.workers_killed) == (5, 13)
    assert (one.complete, one.repeated) == (400, 0)
    assert one.confirmed > 0
