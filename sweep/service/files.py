"""The study files of a service: names that a request may give, and nothing else of the disk."""

from __future__ import annotations

import os
from pathlib import Path

from sweep.config import StudyConfig, load_study, parse_study
from sweep.errors import ConfigError
from sweep.service.schemas import Draft, StudyFile, StudyFileText

MAX_BYTES = 262_144


def study_files(folder: Path) -> dict[str, Path]:
    """The study files of a folder by name; links that lead out of it are left out."""
    root = folder.resolve()
    return {
        path.name: path
        for path in sorted(folder.glob("*.toml"))
        if path.is_file()
        and os.access(path, os.R_OK)
        and path.resolve().parent == root
        and path.stat().st_size <= MAX_BYTES
    }


def find(folder: Path, name: str) -> Path:
    """A study file by its name, which is looked up, and never made a path of.

    Raises:
        ConfigError: there is none of that name.
    """
    files = study_files(folder)
    if name not in files:
        raise ConfigError(f"no study file {name[:100]!r}; there are: {', '.join(files) or 'none'}")
    return files[name]


def describe(path: Path) -> StudyFileText:
    """A study file, and what is wrong with it, if something is."""
    name, problem, text = None, None, ""
    try:
        text = path.read_text("utf-8", "replace")
        name = load_study(path).name
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ConfigError as error:
        problem = str(error).replace(f"{path}: ", "")
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return StudyFileText(
        file=path.name, name=name, comment="\n".join(comment), problem=problem, text=text
    )


def listed(path: Path) -> StudyFile:
    """The same without the text."""
    return StudyFile(**describe(path).model_dump(exclude={"text"}))


def read_draft(draft: Draft, folder: Path) -> StudyConfig:
    """The checked study of a draft.

    Raises:
        ConfigError: it is not valid, gives both a file and a text or neither, or names a dataset
            outside the folder of study files.
    """
    if (draft.file is None) == (draft.text is None):
        raise ConfigError("give either a file (of the server) or a text, one of the two")
    if draft.file is not None:
        path = find(folder, draft.file)
        text, source = path.read_text("utf-8", "replace"), draft.file
    else:
        text, source = draft.text or "", "the text"
    config = parse_study(text, folder, source, draft.overrides)
    if config.dataset.is_file:
        root = folder.resolve()
        if not Path(config.dataset.name).resolve().is_relative_to(root):
            raise ConfigError(
                "dataset.name: a file outside the service's folder of study files; allowed: a file "
                "in it, or a dataset by its name"
            )
    return config
