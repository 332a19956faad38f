"""Encoders that plan batches, and those that do not, run batch by batch; the summary and its warnings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from counting_encoder import Counting
from lorerm import HashingEncoder
from lorerm.embedding import batch_encoder
from lorerm.embedding.batch_encoder import BatchEncoder, EncodingSummary, encode_in_batches, running_settings
from lorerm.embedding.transformers.last_token import TransformersEncoder
from lorerm.errors import DataError
from refusals import refused
from tiny_models import chat

IDENTITY = dataclasses.replace(HashingEncoder().identity, model="m", max_length=64)
CONVERSATIONS = [chat("Tea?", f"{number} cups.") for number in range(10)]


def test_only_an_encoder_with_a_plan_is_a_batch_encoder(tiny_models):
    encoder = TransformersEncoder(str(tiny_models.folder()))
    assert isinstance(encoder, BatchEncoder)
    assert running_settings(encoder) == encoder.running
    assert not isinstance(HashingEncoder(), BatchEncoder)
    assert running_settings(HashingEncoder()) == {}


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_other_encoders_run_on_slices(monkeypatch, size):
    monkeypatch.setattr(batch_encoder, "_SLICE", size)
    reported = []
    embeddings, summary = encode_in_batches(
        HashingEncoder(), CONVERSATIONS, progress=lambda done, total: reported.append((done, total))
    )
    np.testing.assert_array_equal(embeddings, HashingEncoder().encode(CONVERSATIONS))
    assert summary == EncodingSummary()
    assert len(reported) == -(-10 // size)
    assert reported[-1] == (10, 10)


def test_embedding_with_nan_is_refused():
    with refused(DataError, "conversations[0]", "float32", argument="dtype"):
        encode_in_batches(Counting(nan=True), CONVERSATIONS)


def test_no_conversations():
    assert encode_in_batches(HashingEncoder(), [])[0].shape[0] == 0


def test_summaries_add_up_and_give_warnings():
    summary = EncodingSummary(shortened=2, checked=3, deviation=2e-6) + EncodingSummary(
        1, control=4, checked=3, deviation=1e-6
    )
    assert (summary.checked, summary.deviation) == (6, 2e-6)
    shortened, control = summary.warnings(1000, IDENTITY)
    assert "64 tokens" in shortened
    assert ": 3 of 1,000." in shortened
    assert ": 4 of 1,000." in control
    assert EncodingSummary().warnings(1000, IDENTITY) == []


def test_deviation_is_warned_of_in_float32_only():
    """In a narrow type, rounding alone is a thousand times as large."""
    (warning,) = EncodingSummary(checked=1, deviation=3e-5).warnings(1000, IDENTITY)
    assert "3e-05" in warning
    assert "--batch-tokens 1" in warning
    narrow = dataclasses.replace(IDENTITY, dtype="bfloat16")
    assert EncodingSummary(checked=1, deviation=0.02).warnings(1000, narrow) == []
