"""The built-in encoder gives a text the same vector everywhere, and its counts are right."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from lorerm.data.conversation import as_conversation
from lorerm.embedding.hashing import _COUNTED, LETTER_FEATURES, WORD_FEATURES, HashingEncoder

STYLE = list(_COUNTED)


@pytest.fixture(scope="module")
def encoder():
    return HashingEncoder()


def encode(encoder, *texts):
    return encoder.encode([as_conversation("a question", text) for text in texts])


def count(encoder, name, text):
    """Return one of the encoder's counts for a text."""
    at = WORD_FEATURES + LETTER_FEATURES + 4 + STYLE.index(name)
    return round(float(np.expm1(encode(encoder, text)[0, at])))


def test_shape_dtype_and_identity(encoder):
    vectors = encode(encoder, "Hello there.", "")
    assert vectors.shape == (2, encoder.identity.dimension)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert encoder.identity == HashingEncoder().identity
    assert encoder.encode([]).shape == (0, encoder.identity.dimension)


def test_there_is_no_reference_head_and_the_encoder_says_why(encoder):
    assert encoder.reference is None
    assert "built-in encoder" in encoder.reference_reason


def test_only_the_response_is_embedded(encoder):
    first, second = as_conversation("one", "The same."), as_conversation("quite another", "The same.")
    vectors = encoder.encode([first, second])
    assert (vectors[0] == vectors[1]).all()


def test_vector_does_not_depend_on_other_texts_of_the_call(encoder, monkeypatch):
    texts = ["A short one.", "Another!\n- with a list\n- of two", "", "x" * 500, "Why not?"]
    together = encode(encoder, *texts)
    monkeypatch.setattr("lorerm.embedding.hashing._BATCH", 2)
    reported = []
    batched = encoder.encode([as_conversation("p", text) for text in texts], lambda *done: reported.append(done))
    assert (together == batched).all()
    assert (together == np.concatenate([encode(encoder, text) for text in texts])).all()
    assert reported == [(2, 5), (4, 5), (5, 5)]


def test_another_process_with_another_hash_seed_gives_the_same_bytes(encoder):
    text = "Don't panic: 42 is the answer (perhaps)."
    program = (
        "import sys; from lorerm.embedding.hashing import HashingEncoder\n"
        f"print(HashingEncoder().encode([({{'role': 'assistant', 'content': {text!r}}},)]).tobytes().hex())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert there.stdout.strip() == encode(encoder, text).tobytes().hex()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sentences", "One. Two! Three?! And 3.5 is none...", 4),
        ("list items", "Do:\n- this\n  * that\n2) and this\nnot-this", 3),
        ("headings", "# One\ntext # no\n**Two**\nThree:\n", 3),
        ("capitals", "McDonald ate ÄPFEL", 7),
        ("negations", "I don't, can't and will not; never a knot.", 4),
        ("contractions", "It's what we've said", 2),
        ("digits", "In 2024", 4),
        ("questions", "What? Why?", 2),
        ("hedges", "It may be, or perhaps not, in May.", 3),
    ],
)
def test_counts(encoder, name, text, expected):
    assert count(encoder, name, text) == expected


@pytest.mark.parametrize(
    "text",
    ["\n" * 20_000, "." * 20_000 + "x", "**" * 10_000 + "x", ": " * 10_000 + "x", "- " * 10_000],
    ids=["lines", "dots", "stars", "colons", "dashes"],
)
def test_no_text_takes_long(encoder, text):
    """A pattern with quadratic time would need minutes for a response that repeats itself."""
    encode(encoder, "warm up")
    start = time.perf_counter()
    encode(encoder, text)
    assert time.perf_counter() - start < 2
