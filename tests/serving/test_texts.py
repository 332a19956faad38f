"""Documents to vectors: embeddings as they came, texts through the encoder."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from lorerm.errors import DataError
from lorerm.serving.documents import EmbeddingDocument, Message, TextDocument
from lorerm.serving.texts import plain, text_of, vectors


class Lengths:
    """Embeds a conversation by the lengths of its first and last turn."""

    async def embed(self, conversations):
        return np.array([[len(each[0]["content"]), len(each[-1]["content"])] for each in conversations], dtype="f4")


def found(documents, prompts, embeddings=None):
    return asyncio.run(vectors(documents, prompts, 2, embeddings)).tolist()


def row(*numbers):
    return EmbeddingDocument(embedding=list(numbers))


def test_each_stands_in_its_place():
    documents = ["abc", row(7.0, 8.0), TextDocument(text="ab"), [Message(role="assistant", content="a")]]
    assert found(documents, ["q", None, "qq", "qqq"], Lengths()) == [[1, 3], [7, 8], [2, 2], [3, 1]]
    assert found([row(1.0, 2.0), row(3.0, 4.0)], [None, None]) == [[1, 2], [3, 4]]


def test_texts_need_a_prompt_and_an_encoder():
    with pytest.raises(DataError, match="prompt"):
        found(["a"], [None], Lengths())
    with pytest.raises(DataError, match="embeddings alone"):
        found(["a"], ["q"])
    with pytest.raises(DataError, match="blank"):
        found(["a"], [" "], Lengths())
    with pytest.raises(DataError, match="has 3 numbers"):
        found(["a", row(1.0, 2.0, 3.0)], ["q", None], Lengths())


def test_texts_and_messages_as_the_library_takes_them():
    messages = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    assert plain(messages) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert plain("a") == "a"
    assert plain(None) is None
    assert [text_of(each) for each in ("a", TextDocument(text="b"), row(1.0), messages)] == ["a", "b", None, messages]
