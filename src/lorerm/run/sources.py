"""What a run reads: files and folders, or a data set by its name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.errors import DataError
from lorerm.preferences.datasets import DATASETS, load_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lorerm.preferences.preferences import Preferences

_BLOCK = 1 << 20


def read_sources(sources: Sequence[str], user_column: str, options: Mapping[str, Any]) -> Preferences:
    """Read preferences from files, or from one data set by its name, which takes `options`."""
    from lorerm.preferences.preferences import Preferences

    if _is_dataset(sources):
        return load_dataset(sources[0], **options)
    return Preferences.from_files(*sources, user_column=user_column)


def describe_sources(sources: Sequence[str]) -> list[dict[str, str | None]]:
    """Return name and content hash of each input, so that a run knows its own; a data set has no hash.

    Raises
    ------
    DataError
        If an input does not exist or cannot be read.
    """
    if _is_dataset(sources):
        return [{"name": sources[0], "sha256": None}]
    return describe_files(sources, f"give a file, a folder, or one data set ({', '.join(DATASETS)})")


def describe_files(paths: Sequence[str | Path], remedy: str = "check the path") -> list[dict[str, str | None]]:
    """Return name and content hash of files and folders; `remedy` is for one that does not exist.

    Raises
    ------
    DataError
        If one does not exist or cannot be read.
    """
    described: list[dict[str, str | None]] = []
    for given in paths:
        path = Path(given)
        digest = hashlib.sha256()
        try:
            if not path.exists():
                raise DataError(f"{path} does not exist", remedy)
            files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
            for file in files:
                digest.update(file.relative_to(path).as_posix().encode())
                with file.open("rb") as content:
                    while block := content.read(_BLOCK):
                        digest.update(block)
        except OSError as error:
            raise DataError(
                f"{error.filename or path} cannot be read ({error.strerror})", "check the path and its permissions"
            ) from error
        described.append({"name": path.name, "sha256": digest.hexdigest()})
    return described


def _is_dataset(sources: Sequence[str]) -> bool:
    return len(sources) == 1 and sources[0] in DATASETS and not Path(sources[0]).exists()
