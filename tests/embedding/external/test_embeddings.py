"""Embeddings of a data set's responses, in its own order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lorerm.data.datasets import read_dataset
from lorerm.embedding.external.embeddings import read_for_dataset
from lorerm.errors import ConfigError, DataError
from published_samples import personalllm_sample, tldr_sample
from refusals import refused

N_TRAIN, N_TEST = 60, 12


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return read_dataset(
        "personalllm", data=personalllm_sample(tmp_path_factory.mktemp("p")), seen_users=5, unseen_users=2
    )


def write(folder, n_train=8 * N_TRAIN, n_test=8 * N_TEST, names=("embeddings", "embeddings")):
    numbers = torch.arange(float((n_train + n_test) * 4)).reshape(-1, 4)
    paths = [folder / "train.safetensors", folder / "test.safetensors"]
    for path, part, name in zip(paths, (numbers[:n_train], numbers[n_train:]), names, strict=True):
        save_file({name: part.contiguous()}, path)
    return paths


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_are_the_train_responses_then_the_test_responses(tmp_path, loaded, reverse):
    paths = write(tmp_path)
    data = read_for_dataset(paths[::-1] if reverse else paths, loaded).preferences
    assert data.responses[:, 0].tolist() == [4.0 * row for row in range(8 * (N_TRAIN + N_TEST))]
    assert np.array_equal(data.rows()[0], loaded.preferences.chosen)
    assert list(data.splits) == list(loaded.preferences.splits)


@pytest.mark.parametrize("sizes", [(8 * N_TRAIN - 8, 8 * N_TEST), (8 * N_TRAIN - 8, 8 * N_TEST + 8)])
def test_other_numbers_of_rows_are_refused(tmp_path, loaded, sizes):
    with refused(DataError, "576"):
        read_for_dataset(write(tmp_path, *sizes), loaded)


def test_files_must_be_named_for_their_split(tmp_path, loaded):
    paths = write(tmp_path)
    with refused(ConfigError, "'test'", argument="files"):
        read_for_dataset(paths[:1], loaded)
    with refused(DataError, "a and b", file=str(tmp_path / "test.safetensors")):
        read_for_dataset(write(tmp_path, names=("a", "b")), loaded)


def test_a_data_set_without_a_list_of_responses_is_refused(tmp_path):
    with refused(DataError, "tldr", argument="dataset"):
        read_for_dataset(write(tmp_path), read_dataset("tldr", data=tldr_sample(tmp_path / "tldr", n_workers=4)))
