"""Documents of a request are converted to embeddings: given embeddings are decoded, texts are encoded."""

from __future__ import annotations

import asyncio
import base64
import json

import numpy as np
import pytest

from lorerm.errors import DataError
from lorerm.serving.documents import decode, embed_documents, plain_text
from lorerm.serving.schemas import EmbeddingDocument, Message, TextDocument
from refusals import refused

VECTOR = np.array([0.0, -1.5, 3.25e-20, 1e30, 0.1], dtype=np.float32)


class LengthEncoder:
    """Embeds a conversation as the lengths of its first and last turn."""

    async def embed(self, conversations):
        return np.array([[len(each[0]["content"]), len(each[-1]["content"])] for each in conversations], dtype="f4")


def embedded(documents, prompts, encoder=None):
    return asyncio.run(embed_documents(documents, prompts, 2, encoder)).tolist()


def embedding(*numbers):
    return EmbeddingDocument(embedding=list(numbers))


def read(value):
    """An embedding as a request's schema reads it."""
    return EmbeddingDocument.from_json(json.dumps({"embedding": value}).encode()).embedding


def test_embeddings_keep_the_order_of_the_documents():
    documents = ["abc", embedding(7.0, 8.0), TextDocument(text="ab"), [Message(role="assistant", content="a")]]
    assert embedded(documents, ["q", None, "qq", "qqq"], LengthEncoder()) == [[1, 3], [7, 8], [2, 2], [3, 1]]
    assert embedded([embedding(1.0, 2.0), embedding(3.0, 4.0)], [None, None]) == [[1, 2], [3, 4]]


def test_texts_need_a_prompt_and_an_encoder():
    with refused(DataError, "query"):
        embedded(["a"], [None], LengthEncoder())
    with refused(DataError, '{"embedding": ...}'):
        embedded(["a"], ["q"])
    with refused(DataError):
        embedded(["a"], [" "], LengthEncoder())
    with refused(DataError, "3", "2"):
        embedded(["a", embedding(1.0, 2.0, 3.0)], ["q", None], LengthEncoder())


def test_plain_text_of_every_type_of_document():
    messages = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    assert plain_text(messages) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert [plain_text(each) for each in ("a", TextDocument(text="b"), embedding(1.0), None)] == ["a", "b", None, None]


def test_numbers_and_base64_give_the_same_embedding():
    forms = [VECTOR.tolist(), base64.b64encode(VECTOR).decode(), base64.urlsafe_b64encode(VECTOR).decode()]
    for some in (forms, forms[1:], forms[:1]):
        rows = decode([read(form) for form in some], 5)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, [VECTOR] * len(some))
    assert decode([read([1, -2])], 2).tolist() == [[1.0, -2.0]]


@pytest.mark.parametrize(
    ("value", "length"),
    [("", 0), ("AAAA", 0), ("AAAAAA==", 1), ([], 0), ([1.0], 1), ([1.0, 2.0, 3.0], 3)],
    ids=repr,
)
def test_an_embedding_of_another_length_is_rejected(value, length):
    with refused(DataError, f"{length} numbers", "2"):
        decode([read([1.0, 2.0]), read(value)], 2)


def test_numbers_beyond_float32_become_infinite():
    """Their rewards are then rejected."""
    assert np.isinf(decode([read([1e300])], 1)).all()


def messages(*contents, **more):
    """Return an assistant's message as a request's schema reads it."""
    return [Message.from_json(json.dumps({"role": "assistant", "content": one, **more}).encode()) for one in contents]


def test_messages_are_read_by_the_same_rule_as_in_files():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "bc"}]
    printed = '[{"role": "assistant", "content": "abc"}]'
    documents = [messages(parts), messages("abc", name="x"), printed]
    assert embedded(documents, ["q"] * 3, LengthEncoder()) == [[1, 3]] * 3


@pytest.mark.parametrize(
    "document",
    [
        messages("a", tool_calls=[{"name": "kettle"}]),
        messages(None, tool_calls=[{"name": "kettle"}]),
        messages([{"type": "image_url", "image_url": "x"}]),
        messages(None),
    ],
)
def test_messages_that_are_not_text_are_refused(document):
    with refused(DataError):
        embedded([document], ["q"], LengthEncoder())
