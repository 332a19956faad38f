"""Embeddings of a data set's responses, in its own order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lorerm.data.datasets import read_dataset
from lorerm.embedding.external.imported import read_for_dataset
from lorerm.errors import ConfigError, DataError
from published_samples import personalllm_sample, tldr_sample

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
def test_rows_are_the_responses_of_train_then_test_whatever_the_order_of_the_files(tmp_path, loaded, reverse):
    paths = write(tmp_path)
    data = read_for_dataset(paths[::-1] if reverse else paths, loaded).preferences()
    assert data.responses[:, 0].tolist() == [4.0 * row for row in range(8 * (N_TRAIN + N_TEST))]
    assert np.array_equal(data.rows()[0], loaded.preferences.chosen)
    assert list(data.splits) == list(loaded.preferences.splits)


@pytest.mark.parametrize("sizes", [(8 * N_TRAIN - 8, 8 * N_TEST), (8 * N_TRAIN - 8, 8 * N_TEST + 8)])
def test_other_numbers_of_rows_are_refused(tmp_path, loaded, sizes):
    with pytest.raises(DataError, match="has 576 responses in all"):
        read_for_dataset(write(tmp_path, *sizes), loaded)


def test_files_must_tell_their_split(tmp_path, loaded):
    paths = write(tmp_path)
    with pytest.raises(ConfigError, match="0 of the files have 'test' in their names"):
        read_for_dataset(paths[:1], loaded)
    with pytest.raises(DataError, match="the matrices are called a and b"):
        read_for_dataset(write(tmp_path, names=("a", "b")), loaded)


def test_data_set_of_pairs_has_no_list_of_responses(tmp_path):
    with pytest.raises(DataError, match="no fixed list of responses"):
        read_for_dataset(write(tmp_path), read_dataset("tldr", data=tldr_sample(tmp_path / "tldr", n_workers=4)))
