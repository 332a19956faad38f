"""Documents of a request: their kinds, and what is said of what is none."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lorerm.serving.documents import EmbeddingDocument, Message, TextDocument
from lorerm.serving.schemas import RerankRequest


def read(kind, text):
    return kind.model_validate_json(text)


def test_kinds_are_told_apart():
    text = """{"documents": ["a", [{"role": "assistant", "content": "a"}], {"text": "a"}, {"embedding": [1.5]}]}"""
    assert read(RerankRequest, text).documents == [
        "a",
        [Message(role="assistant", content="a")],
        TextDocument(text="a"),
        EmbeddingDocument(embedding=[1.5]),
    ]


@pytest.mark.parametrize("document", ["1", "null", "true", "{}", '{"text": 1}', '{"text": "a", "title": "b"}'])
def test_of_a_document_its_kinds_are_named(document):
    with pytest.raises(ValidationError) as raised:
        read(RerankRequest, f'{{"documents": [{document}]}}')
    assert len(raised.value.errors()) == 1
