"""Embedding in memory and into a run folder: each conversation once, nothing lost, mixed or repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from counting_encoder import Counting
from lorerm import EmbeddedPreferences, HashingEncoder, Preferences, embed
from lorerm.data.stored import forget_users, load_comparisons, write_preferences
from lorerm.embedding import batch_encoder, store
from lorerm.embedding.batch_encoder import encode_in_batches
from lorerm.embedding.embed import embed_run
from lorerm.embedding.transformers.last_token import TransformersEncoder
from lorerm.errors import DataError, ModelError, RunError
from refusals import refused
from small_choices import choices, contents


def test_each_conversation_is_encoded_once():
    encoder = Counting()
    data = embed(Preferences.from_records(choices()), encoder)
    assert encoder.n == len(data.responses) == 30
    assert len(data) == 120


def test_rows_are_the_texts_own_vectors():
    preferences = Preferences.from_records(choices())
    encoder = HashingEncoder()
    data = embed(preferences, encoder)
    chosen, rejected = data.rows()
    np.testing.assert_array_equal(data.responses[chosen], encoder.encode(preferences.conversations("chosen")))
    np.testing.assert_array_equal(data.responses[rejected], encoder.encode(preferences.conversations("rejected")))


def test_carries_users_prompts_weights_and_the_encoder():
    rows = [{**row, "prompt_id": f"p{i % 5}", "weight": 1 + i % 2} for i, row in enumerate(choices())]
    preferences = Preferences.from_records(rows)
    data = embed(preferences, HashingEncoder())
    assert list(data.user_ids) == list(preferences.user_ids)
    assert list(data.prompt_ids) == [f"p{i % 5}" for i in range(120)]
    np.testing.assert_array_equal(data.weights, preferences.weights)
    assert data.encoder == HashingEncoder().identity
    assert data.reference is None


def test_splits_of_the_data_are_kept_where_there_are_any():
    preferences = Preferences.from_records(choices())
    assert embed(preferences, HashingEncoder()).splits is None
    labelled = preferences.with_splits(["train", None] * 60)
    assert list(embed(labelled, HashingEncoder()).splits) == ["train", None] * 60


def test_progress_is_reported():
    reported = []
    embed(Preferences.from_records(choices()), HashingEncoder(), lambda done, total: reported.append((done, total)))
    assert reported[-1] == (30, 30)


class Refusing(HashingEncoder):
    """Refuses the second conversation of every call."""

    def encode(self, conversations, progress=None):
        raise DataError("conversations[1] is too long", "shorten it")


def pair(prompt, chosen, rejected, user, prompt_id):
    return {"user_id": user, "prompt": prompt, "chosen": chosen, "rejected": rejected, "prompt_id": prompt_id}


def test_an_error_names_the_user_prompt_and_side_of_the_response():
    rows = [pair("p", "b", "c", "u", "x"), pair("p", "a", "b", "v", "y")]  # in order: a, b, c
    with refused(DataError, "the chosen response of user 'u' to prompt 'x'"):
        embed(Preferences.from_records(rows), Refusing())


def embedded(run, preferences, encoder, progress=None):
    """Write preferences into a run folder, and embed them."""
    run.mkdir(exist_ok=True)
    write_preferences(run, preferences)
    return embed_run(run, encoder, progress)


def test_a_run_folder_holds_what_embed_returns(tmp_path, small_shards, preferences):
    labelled = preferences.with_splits(["train_seen"] * 60 + ["test_seen"] * 60)
    embedded(tmp_path, labelled, Counting(head=True))
    ours, expected = EmbeddedPreferences.load(tmp_path), embed(labelled, Counting(head=True))
    np.testing.assert_array_equal(ours.responses, expected.responses)
    for name in ("chosen", "rejected", "user_ids", "prompt_ids", "weights", "splits"):
        assert list(getattr(ours, name)) == list(getattr(expected, name)), name
    assert ours.encoder == expected.encoder
    np.testing.assert_array_equal(ours.reference, expected.reference)
    assert len(list((tmp_path / "embeddings").glob("embeddings-*-of-00004.safetensors"))) == 4


@pytest.mark.parametrize("elsewhere", [False, True])
def test_forgotten_texts_are_not_embedded(tmp_path, small_shards, elsewhere):
    """Their rows are zeros, and the others keep theirs."""
    own = [pair(f"{n} quokkas?", f"Yes {n}.", f"No {n}.", "ann", f"own-{n}") for n in range(5)]
    others = [{**row, "prompt_id": row["prompt"]} for row in choices()]
    preferences = Preferences.from_records([*own, *others])
    embedded(tmp_path / "whole", preferences, Counting())
    (tmp_path / "run").mkdir()
    write_preferences(tmp_path / "run", preferences)
    forget_users(tmp_path / "run", ["ann"])
    encoder = Elsewhere() if elsewhere else Counting()
    assert embed_run(tmp_path / "run", encoder)[0] == encoder.n == 30
    whole, left = EmbeddedPreferences.load(tmp_path / "whole"), EmbeddedPreferences.load(tmp_path / "run")
    used = np.unique(np.concatenate(load_comparisons(tmp_path / "run").rows()))
    blank = np.setdiff1d(np.arange(40), used)
    assert len(blank) == 10
    assert not left.responses[blank].any()
    assert torch.equal(left.responses[used], whole.responses[used])


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 8)


@pytest.fixture
def preferences():
    return Preferences.from_records(choices())


def test_equal_input_gives_equal_bytes(tmp_path, small_shards, preferences):
    for name in ("a", "b"):
        embedded(tmp_path / name, preferences, Counting(head=True))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("damage", ["lost", "cut off", "of other texts"])
def test_only_the_damaged_shard_is_embedded_again(tmp_path, small_shards, preferences, damage):
    embedded(tmp_path, preferences, Counting())
    before = contents(tmp_path)
    files = sorted((tmp_path / "embeddings").glob("embeddings-*"))
    if damage == "lost":
        files[1].unlink()
    elif damage == "cut off":
        files[1].write_bytes(files[1].read_bytes()[:-1])
    else:
        files[1].write_bytes(files[0].read_bytes())
    encoder = Counting()
    embedded(tmp_path, preferences, encoder)
    assert encoder.n == 8
    assert contents(tmp_path) == before


def test_nan_of_an_encoder_is_not_stored(tmp_path, preferences):
    with refused(DataError, "the rejected response of user 'user-00' to prompt '"):
        embedded(tmp_path, preferences, Counting(nan=True))
    assert not list((tmp_path / "embeddings").iterdir())


def test_progress_counts_all_shards(tmp_path, small_shards, preferences):
    reported = []
    embedded(tmp_path, preferences, Counting(), lambda done, total: reported.append((done, total)))
    assert reported == sorted(reported)
    assert reported[-1] == (30, 30)


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
        embedded(run, preferences, encoder)
    return encoder.n


@pytest.fixture
def whole(tmp_path_factory, preferences):
    folder = tmp_path_factory.mktemp("whole")
    embedded(folder, preferences, Counting())
    return contents(folder)


@pytest.mark.parametrize("n", range(9))
def test_every_batch_is_kept_as_soon_as_it_is_computed(tmp_path, preferences, small_shards, small_batches, whole, n):
    encoder, before = Counting(), interrupt(tmp_path, preferences, n)
    embedded(tmp_path, preferences, encoder)
    assert before + encoder.n == 30
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("damage", ["cut off", "bit", "another's"])
def test_a_damaged_batch_is_run_again(tmp_path, preferences, small_batches, whole, damage):
    interrupt(tmp_path, preferences, 4)
    first, second, *_ = sorted(tmp_path.glob("embeddings/embeddings-*/*"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes({"cut off": content[:-1], "bit": content, "another's": second.read_bytes()}[damage])
    encoder = Counting()
    embedded(tmp_path, preferences, encoder)
    assert encoder.n == 30 - 3 * 3
    assert contents(tmp_path) == whole


def test_batches_of_another_encoder_are_refused(tmp_path, preferences, small_batches):
    interrupt(tmp_path, preferences, 4)
    with refused(RunError, "lorerm-hashing", "other", file=str(tmp_path)):
        embedded(tmp_path, preferences, Counting("other"))


def test_batches_of_other_texts_are_not_used(tmp_path, preferences, small_batches, whole):
    interrupt(tmp_path, preferences.select(range(3)), 1)
    embedded(tmp_path, preferences, Counting())
    assert contents(tmp_path) == whole


class Elsewhere(Counting):
    """Lets workers embed shards, which end in reverse order."""

    running: ClassVar = {"engine": "others"}

    def encode_shards(self, shards):
        for number, conversations in reversed(list(enumerate(shards))):
            yield number, partial(encode_in_batches, self, conversations)


def test_workers_give_the_same_bytes_in_any_order(tmp_path, small_shards, preferences):
    here = embedded(tmp_path / "here", preferences, Counting())
    reported, encoder = [], Elsewhere()
    assert embedded(tmp_path / "there", preferences, encoder, lambda done, _: reported.append(done)) == here
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert encoder.n == 30
    assert reported == [0, 6, 14, 22, 30]


def test_workers_embed_unfinished_shards_only(tmp_path, small_shards, preferences):
    embedded(tmp_path, preferences, Counting())
    before, reported, encoder = contents(tmp_path), [], Elsewhere()
    for path in sorted((tmp_path / "embeddings").glob("embeddings-*"))[1:3]:
        path.unlink()
    embedded(tmp_path, preferences, encoder, lambda done, _: reported.append(done))
    assert contents(tmp_path) == before
    assert encoder.n == 16
    assert reported == [14, 22, 30]


def test_shards_finished_before_an_error_are_kept(tmp_path, small_shards, preferences):
    """The error names whose response it is about."""

    class Dying(Elsewhere):
        def encode_shards(self, shards):
            found = list(super().encode_shards(shards))
            yield from found[:2]
            yield found[2][0], partial(self.refuse, 3)

        def refuse(self, place):
            raise DataError(f"conversations[{place}] is bad", "mend it")

    with refused(DataError, "response of user 'user-00' to prompt '"):
        embedded(tmp_path, preferences, Dying())
    encoder = Counting()
    embedded(tmp_path, preferences, encoder)
    assert encoder.n == 30 - 6 - 8


def long_and_short(n=40):
    """Every third prompt is longer than 64 tokens of the tiny model."""
    return Preferences.from_records(
        [
            {"user_id": "u", "prompt": f"{k} " + "why " * (60 if k % 3 == 0 else 3), "chosen": "Yes.", "rejected": "No"}
            for k in range(n)
        ]
    )


def test_the_summary_survives_an_interruption(tmp_path, tiny_models, monkeypatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 50)
    encoder = TransformersEncoder(str(tiny_models.folder(positions=64)), batch_tokens=256)
    n_conversations, whole = embedded(tmp_path / "whole", long_and_short(), encoder)
    assert n_conversations == 80
    assert whole.shortened == 28
    assert whole.checked == 2 * 3
    assert 0 < whole.deviation < 1e-5
    run, left = encoder.run, 3

    def interrupted(batch):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return run(batch)

    monkeypatch.setattr(encoder, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedded(tmp_path / "run", long_and_short(), encoder)
    monkeypatch.setattr(encoder, "run", run)
    assert embedded(tmp_path / "run", long_and_short(), encoder) == (80, whole)
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
    with pytest.raises(ModelError, match=r"response of user 'u' to prompt '\w+' .* deviates by \d.*--batch-tokens 1"):
        embedded(tmp_path, long_and_short(12), encoder)
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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is reported by Linux only")
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
