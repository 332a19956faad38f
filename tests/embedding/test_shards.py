"""Files of a matrix, each saying what it is of."""

from __future__ import annotations

import pytest
import torch

from lorerm.embedding.shards import SHARD_ROWS, make_folder, read_made_of, shards, write_tensor
from lorerm.errors import RunError


@pytest.mark.parametrize(("n_rows", "n_shards"), [(0, 1), (1, 1), (SHARD_ROWS, 1), (SHARD_ROWS + 1, 2)])
def test_every_row_in_one_shard(tmp_path, n_rows, n_shards):
    found = shards(tmp_path, n_rows)
    assert len({path for path, _ in found}) == n_shards
    assert [row for _, rows in found for row in range(rows.start, rows.stop)] == list(range(n_rows))


def test_what_was_said_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensor(path, "responses", torch.ones(2, 3), {"b": [1, "ü"], "a": None})
    assert read_made_of(path) == {"b": [1, "ü"], "a": None}
    content = path.read_bytes()
    write_tensor(path, "responses", torch.ones(2, 3), {"a": None, "b": [1, "ü"]})
    assert path.read_bytes() == content


def test_nothing_was_said(tmp_path):
    path = tmp_path / "a.safetensors"
    assert read_made_of(path) == {}
    write_tensor(path, "responses", torch.ones(2, 3))
    assert read_made_of(path) == {}
    path.write_bytes(path.read_bytes()[:-1])
    assert read_made_of(path) == {}


def test_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(RunError, match=r"cannot be made .*: move away"):
        make_folder(tmp_path / "a")
