"""The embeddings of a run folder: written values are read back, in equal bytes, and encoders are not mixed."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from counting_encoder import Counting
from lorerm import EmbeddedPreferences, Preferences
from lorerm.data.comparisons import Comparisons
from lorerm.data.stored import write_comparisons, write_preferences
from lorerm.embedding import store
from lorerm.embedding.batch_encoder import EncodingSummary
from lorerm.embedding.embed import embed_run
from lorerm.embedding.matrices import StoredMatrix
from lorerm.embedding.store import (
    SHARD_ROWS,
    ShardBatches,
    check_encoder,
    make_folder,
    read_provenance,
    reference_reason,
    shards,
    store_matrix,
    write_tensor,
    zero_unused_rows,
)
from lorerm.errors import DataError, RunError
from refusals import refused
from small_choices import choices, contents


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 8)


@pytest.fixture
def preferences():
    return Preferences.from_records(choices())


def embedded(run, preferences, encoder):
    """Write preferences into a run folder, and embed them."""
    write_preferences(run, preferences)
    return embed_run(run, encoder)


@pytest.mark.parametrize(("n_rows", "n_shards"), [(0, 1), (1, 1), (SHARD_ROWS, 1), (SHARD_ROWS + 1, 2)])
def test_every_row_is_in_one_shard(tmp_path, n_rows, n_shards):
    found = shards(tmp_path, n_rows)
    assert len({path for path, _ in found}) == n_shards
    assert [row for _, rows in found for row in range(rows.start, rows.stop)] == list(range(n_rows))


def test_provenance_is_read_back(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensor(path, "responses", torch.ones(2, 3), {"b": [1, "ü"], "a": None})
    assert read_provenance(path) == {"b": [1, "ü"], "a": None}
    content = path.read_bytes()
    write_tensor(path, "responses", torch.ones(2, 3), {"a": None, "b": [1, "ü"]})
    assert path.read_bytes() == content


def test_files_without_provenance(tmp_path):
    path = tmp_path / "a.safetensors"
    assert read_provenance(path) == {}
    write_tensor(path, "responses", torch.ones(2, 3))
    assert read_provenance(path) == {}
    path.write_bytes(path.read_bytes()[:-1])
    assert read_provenance(path) == {}


def test_a_file_with_the_folders_name_is_reported(tmp_path):
    (tmp_path / "a").write_text("")
    with refused(RunError, file=str(tmp_path / "a")):
        make_folder(tmp_path / "a")


BATCH = SimpleNamespace(indices=[4, 1])
SUMMARY = EncodingSummary(checked=2, deviation=1e-6)
EMBEDDINGS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def batches(tmp_path):
    batches = ShardBatches(tmp_path / "shard", {"texts": "t"})
    batches.write(7, BATCH, EMBEDDINGS, SUMMARY)
    return batches


def test_a_finished_batch_is_read_back(batches):
    embeddings, summary = batches.read(7, BATCH)
    np.testing.assert_array_equal(embeddings, EMBEDDINGS)
    assert summary == SUMMARY


def test_another_batch_is_not_read(batches):
    assert batches.read(6, BATCH) is None
    assert batches.read(7, SimpleNamespace(indices=[1, 4])) is None
    assert ShardBatches(batches.folder, {"texts": "others"}).read(7, BATCH) is None


@pytest.mark.parametrize("index", [0, 100, -1])
def test_a_damaged_batch_is_not_read(batches, index):
    (path,) = batches.folder.iterdir()
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(content)
    assert batches.read(7, BATCH) is None


def test_batches_can_be_removed_twice(batches):
    batches.remove()
    batches.remove()
    assert not batches.folder.exists()


@pytest.mark.parametrize(("head", "reason"), [(True, None), (False, "no head")])
def test_the_reason_for_a_missing_reference_head_is_kept(tmp_path, preferences, head, reason):
    embedded(tmp_path, preferences, Counting(head=head))
    assert reference_reason(tmp_path) == reason


def test_rows_of_no_comparison_are_set_to_zero(tmp_path, small_shards):
    """In every shard, and the other rows stay."""
    matrix = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    store_matrix(tmp_path, matrix, None)
    table = Comparisons.from_columns([0, 9], [19, 10], ["u", "v"])
    assert zero_unused_rows(tmp_path, table) == 16
    write_comparisons(tmp_path, table)
    left = EmbeddedPreferences.load(tmp_path).responses
    used = [0, 9, 10, 19]
    assert torch.equal(left[used], matrix[used])
    assert not left[np.setdiff1d(np.arange(20), used)].any()
    assert zero_unused_rows(tmp_path, table) == 0


def test_another_encoder_is_refused(tmp_path, preferences):
    embedded(tmp_path, preferences, Counting())
    before = contents(tmp_path)
    with refused(RunError, "lorerm-hashing (float32)", "other", file=str(tmp_path)):
        embedded(tmp_path, preferences, Counting("other"))
    assert contents(tmp_path) == before
    same_name = dataclasses.replace(Counting().identity, max_length=5)
    with refused(RunError, "lorerm-hashing (float32)", file=str(tmp_path)):
        check_encoder(tmp_path, same_name)
    check_encoder(tmp_path, Counting().identity)


def test_another_encoder_is_refused_for_an_unfinished_store(tmp_path, small_shards, preferences):
    """Shards cost hours; a slip in an option must not embed over them."""
    embedded(tmp_path, preferences, Counting())
    (tmp_path / "embeddings" / "encoder.json").unlink()
    with refused(RunError, "other (float32)", str(tmp_path / "embeddings"), file=str(tmp_path)):
        embedded(tmp_path, preferences, Counting("other"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rows", [2, 8, 9])
def test_matrix_keeps_its_values_and_dtype(tmp_path, small_shards, dtype, rows):
    matrix = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    store_matrix(tmp_path, matrix, None)
    write_comparisons(tmp_path, Comparisons.from_columns([0], [rows - 1], ["ü"], ["p"], splits=["train_seen"]))
    loaded = EmbeddedPreferences.load(tmp_path)
    assert loaded.responses.dtype == dtype
    assert torch.equal(loaded.responses, matrix)
    assert (loaded.encoder, loaded.reference) == (None, None)
    assert "imported" in reference_reason(tmp_path)


def test_files_of_an_earlier_attempt_are_removed(tmp_path, small_shards):
    """An import that was interrupted, and begun again with other files."""
    store_matrix(tmp_path, torch.ones(20, 3), torch.ones(3))
    store_matrix(tmp_path, torch.ones(9, 3), None)
    (tmp_path / "fresh").mkdir()
    store_matrix(tmp_path / "fresh", torch.ones(9, 3), None)
    assert contents(tmp_path / "embeddings") == contents(tmp_path / "fresh" / "embeddings")


def test_matrix_with_nan_is_refused(tmp_path):
    with refused(DataError, "row 1", argument="responses"):
        store_matrix(tmp_path, torch.tensor([[1.0], [torch.nan]]), None)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_embeddings_is_refused(tmp_path):
    with refused(RunError, "lorerm embed", file=str(tmp_path)):
        EmbeddedPreferences.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["comparisons.parquet", "embeddings/encoder.json", "embeddings/embeddings-00001-of-00001.safetensors"]
)
@pytest.mark.parametrize("content", [b"", b"PAR1", b"[]", b'{"format_version": 1}', b"\xff" * 100])
def test_a_damaged_file_is_named(tmp_path, preferences, name, content):
    embedded(tmp_path, preferences, Counting())
    (tmp_path / name).write_bytes(content)
    with refused(RunError, file=str(tmp_path / name)):
        EmbeddedPreferences.load(tmp_path)


@pytest.mark.parametrize("rows", [29, 31])
def test_a_shard_of_another_size_is_refused(tmp_path, preferences, rows):
    embedded(tmp_path, preferences, Counting())
    save_file({"responses": torch.ones(rows, 4)}, tmp_path / "embeddings" / "embeddings-00001-of-00001.safetensors")
    with refused(RunError, file=str(tmp_path / "embeddings")):
        EmbeddedPreferences.load(tmp_path)


def test_embeddings_of_a_later_version_are_refused(tmp_path, preferences):
    embedded(tmp_path, preferences, Counting())
    path = tmp_path / "embeddings" / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with refused(RunError, "99", file=str(path)):
        EmbeddedPreferences.load(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, preferences):
    (tmp_path / "embeddings").write_text("")
    with refused(RunError, file=str(tmp_path / "embeddings")):
        embedded(tmp_path, preferences, Counting())


def test_a_large_matrix_stays_on_disk(tmp_path, preferences, monkeypatch):
    embedded(tmp_path, preferences, Counting())
    in_memory = EmbeddedPreferences.load(tmp_path)
    monkeypatch.setattr(store, "LARGE", 0)
    data = EmbeddedPreferences.load(tmp_path)
    assert isinstance(data.responses, StoredMatrix)
    assert torch.equal(data.responses[:], in_memory.responses)
