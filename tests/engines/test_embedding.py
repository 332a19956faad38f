"""Embedding on two workers: the bytes of the local way, whoever dies meanwhile."""

from __future__ import annotations

import os

import numpy as np
import pytest

from lorerm import Preferences, TransformersEncoder
from lorerm.encoding import shards
from lorerm.encoding.embed_into import embed_into
from lorerm.engines.cluster import Cluster, connected
from lorerm.engines.embedding import RayEncoder
from lorerm.errors import ModelError
from small_choices import choices, contents


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 8)


@pytest.fixture
def preferences():
    return Preferences.from_records(choices())


def on_workers(make_encoder):
    with connected(Cluster(n_workers=2), gpus=True) as workers:
        return RayEncoder(make_encoder, workers)


def test_same_bytes_as_here_although_a_worker_dies(ray, tiny_model, small_shards, preferences, tmp_path):
    marker = tmp_path / "die"
    marker.touch()

    def make_encoder():
        class Mortal(TransformersEncoder):
            """Takes its process with it, once."""

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

    told = []
    embedded = embed_into(tmp_path / "ray", [preferences], encoder, lambda *counts: told.append(counts))
    assert not marker.exists()
    assert embedded == embed_into(tmp_path / "here", [preferences], here)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 30), (30, 30))


def test_a_model_that_no_worker_can_load_is_one_line(ray):
    def make_encoder():
        raise ModelError("there is no such model", "name another")

    with pytest.raises(ModelError, match="there is no such model: name another"):
        on_workers(make_encoder)
