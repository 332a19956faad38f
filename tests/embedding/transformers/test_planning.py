"""What is said of some conversations."""

import dataclasses

from lorerm import HashingEncoder
from lorerm.embedding.transformers.planning import Remarks

IDENTITY = dataclasses.replace(HashingEncoder().identity, model="m", max_length=64)


def test_remarks_add_up_and_speak():
    remarks = Remarks(shortened=2, checked=3, deviation=2e-6) + Remarks(1, control=4, checked=3, deviation=1e-6)
    assert (remarks.checked, remarks.deviation) == (6, 2e-6)
    cut, control = remarks.sentences(1000, IDENTITY)
    assert cut.startswith("Conversations longer than the 64 tokens that m ")
    assert cut.endswith(": 3 of 1,000.")
    assert "4 of 1,000" in control
    assert Remarks().sentences(1000, IDENTITY) == []


def test_deviation_beyond_the_promise_is_said_in_float32_only():
    """In a narrow type rounding alone is a thousand times as large."""
    (said,) = Remarks(checked=1, deviation=3e-5).sentences(1000, IDENTITY)
    assert "differ by up to 3e-05" in said
    assert "--batch-tokens 1" in said
    assert Remarks(checked=1, deviation=0.02).sentences(1000, dataclasses.replace(IDENTITY, dtype="bfloat16")) == []
