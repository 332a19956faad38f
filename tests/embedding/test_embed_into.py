"""Embedding into a run folder: nothing is lost, nothing mixed, and little repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from counting_encoder import Counting
from lorerm import Preferences
from lorerm.embedding import batch_encoder, shards
from lorerm.embedding.batch_encoder import encode_in_batches
from lorerm.embedding.embed_into import embed_into
from lorerm.embedding.transformers.last_token import TransformersEncoder
from lorerm.errors import DataError, ModelError, RunError
from small_choices import choices, contents


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 8)


@pytest.fixture
def preferences():
    return Preferences.from_records(choices())


def test_equal_input_gives_equal_bytes(tmp_path, small_shards, preferences):
    for name in ("a", "b"):
        embed_into(tmp_path / name, [preferences], Counting(head=True))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("damage", ["lost", "cut off", "of other texts"])
def test_only_the_damaged_shard_is_embedded_again(tmp_path, small_shards, preferences, damage):
    embed_into(tmp_path, [preferences], Counting())
    before = contents(tmp_path)
    files = sorted((tmp_path / "embeddings").glob("embeddings-*"))
    if damage == "lost":
        files[1].unlink()
    elif damage == "cut off":
        files[1].write_bytes(files[1].read_bytes()[:-1])
    else:
        files[1].write_bytes(files[0].read_bytes())
    encoder = Counting()
    embed_into(tmp_path, [preferences], encoder)
    assert encoder.n == 8
    assert contents(tmp_path) == before


def test_nan_of_an_encoder_is_not_stored(tmp_path, preferences):
    with pytest.raises(DataError, match=r"the rejected response of user 'user-00' to prompt '.*' has NaN"):
        embed_into(tmp_path, [preferences], Counting(nan=True))
    assert not list((tmp_path / "embeddings").iterdir())


def test_progress_counts_all_shards(tmp_path, small_shards, preferences):
    told = []
    embed_into(tmp_path, [preferences], Counting(), lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (30, 30)


class Failing(Counting):
    """Is interrupted at its n-th batch."""

    def __init__(self, n, **options):
        super().__init__(**options)
        self.left = n

    def encode(self, conversations, progress=None):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().encode(conversations, progress)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(batch_encoder, "_SLICE", 3)


def interrupt(run, preferences, n, **options):
    """Embed n batches, and return how many conversations those were."""
    encoder = Failing(n, **options)
    with pytest.raises(KeyboardInterrupt):
        embed_into(run, [preferences], encoder)
    return encoder.n


@pytest.fixture
def whole(tmp_path_factory, preferences):
    folder = tmp_path_factory.mktemp("whole")
    embed_into(folder, [preferences], Counting())
    return contents(folder)


@pytest.mark.parametrize("n", range(9))
def test_every_batch_is_kept_as_soon_as_it_is_there(tmp_path, preferences, small_shards, small_batches, whole, n):
    encoder, before = Counting(), interrupt(tmp_path, preferences, n)
    embed_into(tmp_path, [preferences], encoder)
    assert before + encoder.n == 30
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("damage", ["cut off", "bit", "another's"])
def test_damaged_batch_is_run_again(tmp_path, preferences, small_batches, whole, damage):
    interrupt(tmp_path, preferences, 4)
    first, second, *_ = sorted(tmp_path.glob("embeddings/embeddings-*/*"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes({"cut off": content[:-1], "bit": content, "another's": second.read_bytes()}[damage])
    encoder = Counting()
    embed_into(tmp_path, [preferences], encoder)
    assert encoder.n == 30 - 3 * 3
    assert contents(tmp_path) == whole


def test_batches_of_another_encoder_are_not_gone_on_with(tmp_path, preferences, small_batches):
    interrupt(tmp_path, preferences, 4)
    with pytest.raises(RunError, match="holds embeddings of lorerm-hashing"):
        embed_into(tmp_path, [preferences], Counting("other"))


def test_batches_of_other_texts_are_not_gone_on_with(tmp_path, preferences, small_batches, whole):
    interrupt(tmp_path, preferences.select(range(3)), 1)
    embed_into(tmp_path, [preferences], Counting())
    assert contents(tmp_path) == whole


class Elsewhere(Counting):
    """Has shards embedded by others, who end in another order."""

    running: ClassVar = {"engine": "others"}

    def encode_shards(self, shards):
        for number, conversations in reversed(list(enumerate(shards))):
            yield number, partial(encode_in_batches, self, conversations)


def test_others_give_the_same_bytes_in_whatever_order_they_end(tmp_path, small_shards, preferences):
    here = embed_into(tmp_path / "here", [preferences], Counting())
    told, encoder = [], Elsewhere()
    assert embed_into(tmp_path / "there", [preferences], encoder, lambda done, _: told.append(done)) == here
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert encoder.n == 30
    assert told == [0, 6, 14, 22, 30]


def test_others_embed_only_what_is_not_there(tmp_path, small_shards, preferences):
    embed_into(tmp_path, [preferences], Counting())
    before, told, encoder = contents(tmp_path), [], Elsewhere()
    for path in sorted((tmp_path / "embeddings").glob("embeddings-*"))[1:3]:
        path.unlink()
    embed_into(tmp_path, [preferences], encoder, lambda done, _: told.append(done))
    assert contents(tmp_path) == before
    assert encoder.n == 16
    assert told == [14, 22, 30]


def test_what_others_finished_before_an_error_is_kept(tmp_path, small_shards, preferences):
    """The error names whose response it is about."""

    class Refusing(Elsewhere):
        def encode_shards(self, shards):
            found = list(super().encode_shards(shards))
            yield from found[:2]
            yield found[2][0], partial(self.refuse, 3)

        def refuse(self, place):
            raise DataError(f"conversations[{place}] is bad", "mend it")

    with pytest.raises(DataError, match=r"the \w+ response of user 'user-00' to prompt '.*' is bad: mend it"):
        embed_into(tmp_path, [preferences], Refusing())
    encoder = Counting()
    embed_into(tmp_path, [preferences], encoder)
    assert encoder.n == 30 - 6 - 8


def long_and_short(n=40):
    """Every third prompt is longer than 64 tokens of the tiny model."""
    return Preferences.from_records(
        [
            {"user_id": "u", "prompt": f"{k} " + "why " * (60 if k % 3 == 0 else 3), "chosen": "Yes.", "rejected": "No"}
            for k in range(n)
        ]
    )


def test_what_is_said_of_the_conversations_outlives_an_interruption(tmp_path, tiny_models, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 50)
    encoder = TransformersEncoder(str(tiny_models.folder(positions=64)), batch_tokens=256)
    whole = embed_into(tmp_path / "whole", [long_and_short()], encoder)
    assert whole.n_conversations == 80
    assert whole.remarks.shortened == 28
    assert whole.remarks.checked == 2 * 3
    assert 0 < whole.remarks.deviation < 1e-5
    run, left = encoder.run, 3

    def interrupted(batch):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return run(batch)

    monkeypatch.setattr(encoder, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed_into(tmp_path / "run", [long_and_short()], encoder)
    monkeypatch.setattr(encoder, "run", run)
    assert embed_into(tmp_path / "run", [long_and_short()], encoder) == whole
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_wrong_embeddings_are_not_stored(tmp_path, tiny_models, monkeypatch):
    """The spot check of a run: as if the model saw the other branches of a tree."""
    encoder = TransformersEncoder(str(tiny_models.folder()))
    states = encoder._forward.states
    monkeypatch.setattr(
        encoder._forward,
        "states",
        lambda ids, mask, **more: states(ids, torch.ones_like(mask).tril() if mask.ndim == 4 else mask, **more),
    )
    with pytest.raises(
        ModelError, match=r"response of user 'u' to prompt '\w+' from a batch deviates by .*--batch-tokens 1"
    ):
        embed_into(tmp_path, [long_and_short(12)], encoder)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_it_repeats_one_batch_at_most(tmp_path, tiny_models):
    """`kill -9`, in processes of their own."""
    script = Path(__file__).parents[1] / "killed_embedding.py"
    command = [sys.executable, script, tmp_path, tiny_models.folder()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    n_batches, n_killed, kills = map(int, done.stdout.split())
    assert n_batches >= 10
    assert n_killed >= 1
    assert kills >= 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is told by Linux")
def test_memory_does_not_grow_with_the_number_of_conversations(tmp_path):
    """Eight times as many take no more; their texts and embeddings alone would take 90 MB."""
    script, peaks = Path(__file__).parents[1] / "embedding_memory.py", []
    for n_pairs in (2_000, 16_000):
        folder = tmp_path / str(n_pairs)
        folder.mkdir()
        for _ in range(2):  # the first call writes the preferences
            done = subprocess.run(
                [sys.executable, script, folder, str(n_pairs)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[0] > 0
    assert peaks[1] < peaks[0] + 24e6, peaks
