"""The store of a run folder: what is written is read back, in equal bytes, and nothing is mixed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from counting_encoder import Counting
from lorerm import EmbeddedPreferences, Preferences, embed
from lorerm.embedding import shards, store
from lorerm.embedding.embed_into import embed_into
from lorerm.embedding.matrices import StoredMatrix
from lorerm.embedding.store import Comparisons, check_encoder, reference_reason, store_matrix, write_comparisons
from lorerm.errors import DataError, RunError
from small_choices import choices, contents


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 8)


@pytest.fixture
def preferences():
    return Preferences.from_records(choices())


@pytest.mark.parametrize("head", [False, True])
def test_reads_what_was_written(tmp_path, small_shards, preferences, head):
    labelled = preferences.with_splits(["train_seen"] * 60 + ["test_seen"] * 60)
    embed_into(tmp_path, [labelled], Counting(head=head))
    ours, expected = EmbeddedPreferences.load(tmp_path), embed(labelled, Counting(head=head))
    np.testing.assert_array_equal(ours.responses, expected.responses)
    for name in ("chosen", "rejected", "user_ids", "prompt_ids", "weights", "splits"):
        assert list(getattr(ours, name)) == list(getattr(expected, name)), name
    assert ours.encoder == expected.encoder
    np.testing.assert_array_equal(ours.reference, expected.reference)
    assert reference_reason(tmp_path) == (None if head else "no head")
    assert len(list((tmp_path / "embeddings").glob("embeddings-*-of-00004.safetensors"))) == 4


def test_another_encoder_is_refused(tmp_path, preferences):
    embed_into(tmp_path, [preferences], Counting())
    before = contents(tmp_path)
    with pytest.raises(RunError, match=r"holds embeddings of lorerm-hashing \(float32\), not of other"):
        embed_into(tmp_path, [preferences], Counting("other"))
    assert contents(tmp_path) == before
    same_name = dataclasses.replace(Counting().identity, max_length=5)
    with pytest.raises(RunError, match="other settings or another version"):
        check_encoder(tmp_path, same_name)
    check_encoder(tmp_path, Counting().identity)


def test_another_encoder_is_refused_for_an_unfinished_store(tmp_path, small_shards, preferences):
    """Shards cost hours; a slip in an option must not embed over them."""
    embed_into(tmp_path, [preferences], Counting())
    (tmp_path / "embeddings" / "encoder.json").unlink()
    with pytest.raises(RunError, match=f"not of other .float32.: .*delete {tmp_path / 'embeddings'}"):
        embed_into(tmp_path, [preferences], Counting("other"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rows", [1, 8, 9])
def test_matrix_keeps_its_values_and_dtype(tmp_path, small_shards, dtype, rows):
    matrix = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    store_matrix(tmp_path, matrix, None)
    write_comparisons(tmp_path, [Comparisons(["ü"], ["p"], [0], [rows - 1], ["train_seen"], [1.0])])
    if rows == 1:
        with pytest.raises(DataError, match="both chosen and rejected"):
            EmbeddedPreferences.load(tmp_path)
        return
    loaded = EmbeddedPreferences.load(tmp_path)
    assert loaded.responses.dtype == dtype
    assert torch.equal(loaded.responses, matrix)
    assert (loaded.encoder, loaded.reference) == (None, None)
    assert "imported" in reference_reason(tmp_path)


def test_leftovers_of_another_matrix_go(tmp_path, small_shards):
    """An import that was interrupted, and begun again with other files."""
    store_matrix(tmp_path, torch.ones(20, 3), torch.ones(3))
    store_matrix(tmp_path, torch.ones(9, 3), None)
    (tmp_path / "fresh").mkdir()
    store_matrix(tmp_path / "fresh", torch.ones(9, 3), None)
    assert contents(tmp_path / "embeddings") == contents(tmp_path / "fresh" / "embeddings")


def test_matrix_with_nan_is_refused(tmp_path):
    with pytest.raises(DataError, match="row 1"):
        store_matrix(tmp_path, torch.tensor([[1.0], [torch.nan]]), None)
    assert not list(tmp_path.iterdir())


def test_nothing_there(tmp_path):
    with pytest.raises(RunError, match="holds no finished embeddings: run `lorerm embed`"):
        EmbeddedPreferences.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["comparisons.parquet", "embeddings/encoder.json", "embeddings/embeddings-00001-of-00001.safetensors"]
)
@pytest.mark.parametrize("content", [b"", b"PAR1", b"[]", b'{"format_version": 1}', b"\xff" * 100])
def test_damage_is_named(tmp_path, preferences, name, content):
    embed_into(tmp_path, [preferences], Counting())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        RunError, match="is missing or damaged: delete it and run the command that made it again"
    ) as raised:
        EmbeddedPreferences.load(tmp_path)
    assert name in str(raised.value)


@pytest.mark.parametrize("rows", [29, 31])
def test_shard_of_another_size_is_damage(tmp_path, preferences, rows):
    embed_into(tmp_path, [preferences], Counting())
    save_file({"responses": torch.ones(rows, 4)}, tmp_path / "embeddings" / "embeddings-00001-of-00001.safetensors")
    with pytest.raises(RunError, match="damaged"):
        EmbeddedPreferences.load(tmp_path)


def test_store_of_a_later_version(tmp_path, preferences):
    embed_into(tmp_path, [preferences], Counting())
    path = tmp_path / "embeddings" / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(RunError, match="store format 99"):
        EmbeddedPreferences.load(tmp_path)


def test_file_in_place_of_the_folder(tmp_path, preferences):
    (tmp_path / "embeddings").write_text("")
    with pytest.raises(RunError, match="embeddings"):
        embed_into(tmp_path, [preferences], Counting())


def test_a_large_store_stays_on_disk(tmp_path, preferences, monkeypatch):
    embed_into(tmp_path, [preferences], Counting())
    in_memory = EmbeddedPreferences.load(tmp_path)
    monkeypatch.setattr(store, "LARGE", 0)
    data = EmbeddedPreferences.load(tmp_path)
    assert isinstance(data.responses, StoredMatrix)
    assert torch.equal(data.responses[:], in_memory.responses)
