"""Embedding on two workers gives the same bytes as in one process, also if a worker dies."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from lorerm import HashingEncoder, Preferences, TransformersEncoder, embed
from lorerm.data.stored import write_preferences
from lorerm.embedding import store
from lorerm.embedding.embed import embed_run
from lorerm.errors import ModelError, RunError
from lorerm.ray.cluster import Cluster, connected
from lorerm.ray.embedding import RayEncoder
from refusals import refused
from small_choices import choices, contents


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 8)


@pytest.fixture
def preferences():
    return Preferences.from_records(choices())


def on_workers(make_encoder):
    with connected(Cluster(n_workers=2), gpus=True) as workers:
        return RayEncoder(make_encoder, workers)


def test_same_bytes_as_in_one_process_although_a_worker_dies(ray, tiny_model, small_shards, preferences, tmp_path):
    marker = tmp_path / "die"
    marker.touch()

    def make_encoder():
        class Mortal(TransformersEncoder):
            """Kills its process once."""

            def run(self, batch):
                if marker.exists():
                    marker.unlink()
                    os._exit(1)
                return super().run(batch)

        return Mortal(tiny_model)

    here = TransformersEncoder(tiny_model)
    encoder = on_workers(make_encoder)
    assert encoder.identity == here.identity
    assert encoder.reference_reason is None
    np.testing.assert_array_equal(encoder.reference, here.reference)
    assert encoder.running == {**here.running, "engine": "ray", "workers": 2}

    reported = []
    for name in ("ray", "here"):
        (tmp_path / name).mkdir()
        write_preferences(tmp_path / name, preferences)
    embedded = embed_run(tmp_path / "ray", encoder, lambda *counts: reported.append(counts))
    assert not marker.exists()
    assert embedded == embed_run(tmp_path / "here", here)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == ((0, 30), (30, 30))

    conversations = preferences.conversations("chosen")[:20]
    found = []
    for each in (encoder, here):
        with pytest.warns(UserWarning, match=r"longer than 256 tokens, .*: 10 of 20\."):
            found.append(each.encode(conversations))
    np.testing.assert_allclose(*found, atol=2e-5)


def test_model_that_no_worker_can_load_is_its_own_error(ray):
    def make_encoder():
        raise ModelError("there is no model m", "name another")

    with refused(ModelError, "there is no model m"):
        on_workers(make_encoder)


def test_workers_with_different_encoders_are_an_error(ray, preferences, tmp_path):
    built = tmp_path / "built"

    def make_encoder():
        class Named(HashingEncoder):
            @property
            def identity(self):
                return dataclasses.replace(super().identity, model=model)

        model = "second" if built.exists() else "first"
        built.touch()
        return Named()

    encoder = on_workers(make_encoder)
    assert encoder.identity.model == "first"
    with refused(RunError, "model='second'", "model='first'"):
        embed(preferences, encoder)
