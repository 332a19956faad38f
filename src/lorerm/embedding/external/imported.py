"""Embeddings made elsewhere, with the comparisons between their rows, in whatever files they come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.external.comparisons import read_comparisons
from lorerm.embedding.external.matrix_files import matrix_name, read_matrix_file, read_reference_file
from lorerm.embedding.matrices import LARGE, StoredMatrix
from lorerm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from lorerm.data.datasets.loaded import Loaded
    from lorerm.data.preferences import Preferences


@dataclass(frozen=True)
class Imported:
    """What was read."""

    responses: torch.Tensor | StoredMatrix
    """float [R, D]"""
    columns: dict[str, Any]
    """arguments of `EmbeddedPreferences.from_arrays`, all but the matrix and the reference head"""
    reference: torch.Tensor | None = None
    """the reward head [D]"""
    text: Preferences | None = None
    """the pairs as text, where the files hold it: for the leak check"""
    reading: tuple[str, ...] = ()
    """what each step kept"""
    warnings: tuple[str, ...] = ()
    """what a reader of the results should know"""

    def preferences(self) -> EmbeddedPreferences:
        """Put the parts together; `DataError` where they do not fit."""
        return EmbeddedPreferences.from_arrays(self.responses, reference=self.reference, **self.columns)


def read_matrix_and_comparisons(matrix: Path, comparisons: Path, reference: Path | None = None) -> Imported:
    """Read a safetensors matrix and a table of the comparisons between its rows."""
    responses, head = read_matrix_file(matrix)
    if reference is not None:
        head = read_reference_file(reference)
    return Imported(responses, read_comparisons(comparisons), head)


def read_for_dataset(matrices: Sequence[Path], loaded: Loaded, reference: Path | None = None) -> Imported:
    """Read the embeddings of all responses of a data set whose people judge the same ones.

    Parameters
    ----------
    matrices
        The files of the train and of the test prompts, told apart by their names: [8 x prompts, D] each for
        PersonalLLM, the responses of a prompt one after the other, in the data set's order.
    loaded
        The data set, as its loader gives it.
    reference
        A file with the reward head.

    Raises
    ------
    DataError
        The data set's people judge different responses, or the rows are not as many as the responses.
    """
    from lorerm.data.shared import SharedPreferences

    preferences = loaded.preferences
    if not isinstance(preferences, SharedPreferences):
        raise DataError(f"{loaded.source} has no fixed list of responses", "give a file of comparisons instead")
    paths = [_the_one(matrices, "train"), _the_one(matrices, "test")]
    names = {matrix_name(path) for path in paths}
    if len(names) != 1:
        raise DataError(f"the matrices are called {' and '.join(sorted(names))}", "give both the same name")
    name = names.pop()
    stored = StoredMatrix(paths, name)
    n_train, n_rows = StoredMatrix(paths[:1], name).shape[0], preferences.responses.num_rows
    on_train = np.char.startswith(preferences.splits.astype(str), "train")
    if stored.shape[0] != n_rows or not np.array_equal(preferences.chosen < n_train, on_train):
        raise DataError(
            f"{paths[0].name} and {paths[1].name} hold {n_train:,} and {stored.shape[0] - n_train:,} rows, "
            f"{loaded.source} has {n_rows:,} responses in all",
            "give the embeddings of every response of the same revision, in its order",
        )
    columns = {
        "chosen": preferences.chosen,
        "rejected": preferences.rejected,
        "user_ids": preferences.user_ids,
        "prompt_ids": preferences.prompt_ids,
        "splits": preferences.splits,
    }
    large = stored.shape[0] * stored.shape[1] >= LARGE
    head = None if reference is None else read_reference_file(reference)
    return Imported(stored if large else stored[:], columns, head, reading=loaded.reading, warnings=loaded.warnings)


def _the_one(paths: Sequence[Path], label: str) -> Path:
    found = [path for path in paths if label in path.name]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} of the files have {label!r} in their names", "give train.safetensors and test.safetensors"
        )
    return found[0]
