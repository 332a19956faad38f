"""What a run reads: files and folders, or a data set by its name; and the preferences that it keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.data.datasets import DATASETS, read_dataset
from lorerm.data.schema import SPLITS, UNUSED
from lorerm.data.splits import SplitConfig
from lorerm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lorerm.data.datasets.loaded import Loaded
    from lorerm.data.preferences import Preferences

_BLOCK = 1 << 20


def read_sources(
    sources: Sequence[str], user_column: str, options: Mapping[str, Any], split: Mapping[str, Any]
) -> Loaded[Preferences]:
    """Read preferences from files, or from one data set by its name, which takes `options`.

    `split` has the fields of `SplitConfig`, for data sets that have their own split.
    """
    from lorerm.data.datasets.loaded import Loaded
    from lorerm.data.preferences import Preferences

    if is_dataset(sources, options):
        return read_dataset(sources[0], split=SplitConfig(**split), **options)
    if options:
        raise ConfigError(
            f"{next(iter(options))} is an option of data sets known by name, and files were given",
            f"leave it out, or give one data set ({', '.join(DATASETS)})",
            argument=next(iter(options)),
        )
    return Loaded(Preferences.from_files(*sources, user_column=user_column), ", ".join(sources))


def describe_sources(sources: Sequence[str], options: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Return name and content hash of each input, so that a run knows its own; only local data have a hash.

    Raises
    ------
    DataError
        If an input does not exist or cannot be read.
    """
    if is_dataset(sources, options):
        data = options.get("data")
        return [{"name": sources[0], "sha256": None if data is None else describe_files([data])[0]["sha256"]}]
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


def is_dataset(sources: Sequence[str], options: Mapping[str, Any] | None = None) -> bool:
    """Return whether a source is the name of a data set.

    A file or folder of that name is taken for itself, unless there are options of a data set.
    """
    return len(sources) == 1 and sources[0] in DATASETS and (bool(options) or not Path(sources[0]).exists())


def given_split(splits: Sequence[str | None] | NDArray[Any] | None) -> str | None:
    """Return what the input sets of its split: "cells" (all four splits), "prompts" (train and test) or nothing."""
    given = set(() if splits is None else splits) - {None}
    if not given:
        return None
    return "cells" if given & {*SPLITS, UNUSED} else "prompts"
