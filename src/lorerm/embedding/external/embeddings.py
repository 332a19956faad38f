"""Read embeddings that other programs computed, together with the comparisons between their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.datasets.loaded import Loaded
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.external.comparisons import read_comparisons
from lorerm.embedding.external.matrix_files import (
    load_unless_large,
    matrix_name,
    read_matrix_file,
    read_reference_file,
)
from lorerm.embedding.matrices import StoredMatrix
from lorerm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lorerm.data.preferences import Preferences


def read_matrix_and_comparisons(
    matrix: Path, comparisons: Path, reference: Path | None = None
) -> Loaded[EmbeddedPreferences]:
    """Read a safetensors matrix, a feedback file with comparisons between its rows, and a reward model's linear head.

    The head is read from the file `reference` if it is given, otherwise from the file of the matrix, if that has one.
    """
    responses, head = read_matrix_file(matrix)
    if reference is not None:
        head = read_reference_file(reference)
    embedded = EmbeddedPreferences.join(read_comparisons(comparisons), responses, reference=head)
    return Loaded(embedded, f"{matrix}, {comparisons}")


def read_for_dataset(
    matrices: Sequence[Path], loaded: Loaded[Preferences], reference: Path | None = None
) -> Loaded[EmbeddedPreferences]:
    """Read the embeddings of all responses of a data set that has a fixed list of responses, such as PersonalLLM.

    `matrices` are two files, one for the train prompts and one for the test prompts, with "train" and "test" in their
    names. Their rows are in the order of the data set. For PersonalLLM each matrix is [8 x prompts, D], with the 8
    responses to a prompt one after the other.

    `loaded` is the data set as its loader returns it; `reference` is a file with the reward head.
    """
    preferences = loaded.preferences
    if not loaded.lists_all_responses:
        raise DataError(
            f"{loaded.source} has no fixed list of responses", "give a file of comparisons instead", argument="dataset"
        )
    paths = [_the_one(matrices, "train"), _the_one(matrices, "test")]
    name, *others = dict.fromkeys(map(matrix_name, paths))
    if others:
        raise DataError(
            f"the tensors in the two files are named {name} and {others[0]}",
            'save both tensors under the same name, for example "responses"',
            file=paths[1],
        )
    stored = StoredMatrix(paths, name)
    n_train, n_rows = len(StoredMatrix(paths[:1], name)), len(preferences.responses)
    on_train = np.char.startswith(preferences.splits.astype(str), "train")
    if len(stored) != n_rows or not np.array_equal(preferences.chosen < n_train, on_train):
        raise DataError(
            f"{paths[0].name} and {paths[1].name} have {n_train:,} and {len(stored) - n_train:,} rows, "
            f"{loaded.source} has {n_rows:,} responses in all",
            "give the embeddings of all responses of the same revision of the data set, in its order",
        )
    head = None if reference is None else read_reference_file(reference)
    embedded = EmbeddedPreferences.join(preferences, load_unless_large(stored), reference=head)
    return Loaded(embedded, loaded.source, loaded.reading, loaded.warnings, shares_prompts=loaded.shares_prompts)


def _the_one(paths: Sequence[Path], label: str) -> Path:
    found = [path for path in paths if label in path.name]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} of the files have {label!r} in their names",
            "give train.safetensors and test.safetensors",
            argument="files",
        )
    return found[0]
