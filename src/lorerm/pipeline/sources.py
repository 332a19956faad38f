"""Read the input of a run (files of comparisons, or a data set given by its name), and compute its content hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.data.datasets import DATASETS, read_dataset
from lorerm.data.schema import SPLITS, UNUSED
from lorerm.data.splits import SplitConfig
from lorerm.errors import ConfigError, DataError
from lorerm.pipeline.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lorerm.data.datasets.loaded import Loaded
    from lorerm.data.preferences import Preferences

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """The input of a run, and the experiment with the settings of the run."""

    inputs: Sequence[str]
    """files or folders, or the name of one data set"""
    experiment: Experiment = field(default_factory=Experiment)
    """the settings, including those given on the command line"""
    user_column: str = "user_id"
    """the column with the users' ids"""
    local_copy: str | None = None
    """path of local files of the data set, in the layout of the Hugging Face Hub; they are read instead of the Hub"""
    is_stored: bool = False
    """whether the step `prepare` stores the experiment in the run folder, for the later subcommands"""

    @property
    def options(self) -> dict[str, Any]:
        """The options that are passed to the loader of the data set."""
        return {**self.experiment.data, **({} if self.local_copy is None else {"data": self.local_copy})}

    @property
    def split(self) -> SplitConfig:
        """How users and prompts are divided into the four splits."""
        return SplitConfig(**self.experiment.split)

    def read(self) -> Loaded[Preferences]:
        """Read the comparisons with their texts. Loaders of data sets that assign splits themselves get `split`."""
        from lorerm.data.datasets.loaded import Loaded
        from lorerm.data.preferences import Preferences

        if is_dataset(self.inputs, self.options):
            return read_dataset(self.inputs[0], split=self.split, **self.options)
        for option in self.options:
            raise ConfigError(
                f"option {option} applies only to a data set given by its name, and files were given",
                f"remove the option, or give the name of one data set ({', '.join(DATASETS)})",
                argument=option,
            )
        preferences = Preferences.from_files(*self.inputs, user_column=self.user_column)
        return Loaded(preferences, ", ".join(self.inputs), preferences.summary.lines())

    def describe(self) -> list[dict[str, str | None]]:
        """Return the name and content hash of each input. A data set read from the Hugging Face Hub has no hash."""
        if is_dataset(self.inputs, self.options):
            data = self.options.get("data")
            return [{"name": self.inputs[0], "sha256": None if data is None else describe_files([data])[0]["sha256"]}]
        return describe_files(self.inputs, f"give files, folders, or the name of one data set ({', '.join(DATASETS)})")


def describe_files(paths: Sequence[str | Path], remedy: str = "check the path") -> list[dict[str, str | None]]:
    """Return the name and content hash of each file or folder.

    Raises `DataError`, with `remedy`, if a path does not exist.
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


def is_dataset(inputs: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Return whether the input is the name of a data set.

    If there is a file or folder of that name, it takes precedence, unless options of the data set are given.
    """
    return len(inputs) == 1 and inputs[0] in DATASETS and (bool(options) or not Path(inputs[0]).exists())


def given_split(splits: Sequence[str | None] | NDArray[Any] | None) -> str | None:
    """Return which splits the input assigns itself.

    - "cells": every comparison's split, one of the four (the name is part of the manifest's format)
    - "prompts": only train or test
    - None: no split
    """
    given = set(() if splits is None else splits) - {None}
    if not given:
        return None
    return "cells" if given & {*SPLITS, UNUSED} else "prompts"
