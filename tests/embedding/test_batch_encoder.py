"""Encoders that plan, and the others, driven batch by batch."""

from __future__ import annotations

import numpy as np
import pytest

from counting_encoder import Counting
from lorerm import HashingEncoder
from lorerm.embedding import batch_encoder
from lorerm.embedding.batch_encoder import BatchEncoder, encode_in_batches, in_batches
from lorerm.embedding.transformers.encoder import TransformersEncoder
from lorerm.embedding.transformers.planning import Remarks
from lorerm.errors import DataError
from tiny_models import chat

CONVERSATIONS = [chat("Tea?", f"{number} cups.") for number in range(10)]


def test_encoder_that_plans_is_taken_as_it_is(tiny_models):
    encoder = TransformersEncoder(str(tiny_models.folder()))
    assert in_batches(encoder) is encoder
    assert not isinstance(HashingEncoder(), BatchEncoder)


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_other_encoders_work_in_slices(monkeypatch, size):
    monkeypatch.setattr(batch_encoder, "_SLICE", size)
    told = []
    embeddings, remarks = encode_in_batches(
        HashingEncoder(), CONVERSATIONS, progress=lambda done, total: told.append((done, total))
    )
    np.testing.assert_array_equal(embeddings, HashingEncoder().encode(CONVERSATIONS))
    assert remarks == Remarks()
    assert len(told) == -(-10 // size)
    assert told[-1] == (10, 10)


def test_what_surrounds_an_encoder_is_that_encoder():
    inner = Counting(head=True)
    outer = in_batches(inner)
    assert isinstance(outer, BatchEncoder)
    assert (outer.identity, outer.reference_reason, outer.running) == (inner.identity, None, {})
    np.testing.assert_array_equal(outer.reference, inner.reference)
    np.testing.assert_array_equal(outer.encode(CONVERSATIONS), inner.encode(CONVERSATIONS))


def test_nan_is_refused():
    with pytest.raises(DataError, match=r"conversations\[0\] holds NaN"):
        encode_in_batches(Counting(nan=True), CONVERSATIONS)


def test_no_conversations():
    assert encode_in_batches(HashingEncoder(), [])[0].shape[0] == 0
