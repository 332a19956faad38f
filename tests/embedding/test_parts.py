"""Batches of a shard: what was kept is given back, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lorerm.embedding.batch_encoder import EncodingSummary
from lorerm.embedding.parts import Parts

EMBEDDINGS = np.arange(6, dtype=np.float32).reshape(2, 3)
BATCH = SimpleNamespace(indices=[4, 1])
REMARKS = EncodingSummary(checked=2, deviation=1e-6)


@pytest.fixture
def parts(tmp_path):
    parts = Parts(tmp_path / "shard", {"texts": "t"})
    parts.write(7, BATCH, EMBEDDINGS, REMARKS)
    return parts


def test_what_was_kept_is_given_back(parts):
    embeddings, remarks = parts.read(7, BATCH)
    np.testing.assert_array_equal(embeddings, EMBEDDINGS)
    assert remarks == REMARKS


def test_another_batch_is_not(parts):
    assert parts.read(6, BATCH) is None
    assert parts.read(7, SimpleNamespace(indices=[1, 4])) is None
    assert Parts(parts.folder, {"texts": "others"}).read(7, BATCH) is None


@pytest.mark.parametrize("place", [0, 100, -1])
def test_damage_is_seen(parts, place):
    (path,) = parts.folder.iterdir()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert parts.read(7, BATCH) is None


def test_removed(parts):
    parts.remove()
    parts.remove()
    assert not parts.folder.exists()
