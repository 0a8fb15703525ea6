"""What the service keeps in a store, beside studies of other programs."""

from __future__ import annotations

from pathlib import Path

import optuna

from sweep.search.requests import list_asked
from sweep.search.storage import open_storage


def test_studies_of_other_programs_are_passed_over_whatever_attributes_they_have(
    tmp_path: Path,
) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    for number, launch in enumerate(("v2", {"id": 1}, ["x"], 3)):
        study = optuna.create_study(storage=storage, study_name=f"foreign-{number}")
        study.set_user_attr("launch", launch)
    assert list_asked(storage) == ()
