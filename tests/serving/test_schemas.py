"""Schemas of requests: which requests are valid, and the location of the first error."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from lorerm.serving.schemas import (
    MAX_NUMBERS,
    Choice,
    Comparison,
    EmbeddingDocument,
    FeedbackRequest,
    Message,
    RerankRequest,
    ScoreRequest,
    TextDocument,
)


def read(model, text):
    return model.from_json(text.encode())


def test_the_types_of_documents_are_told_apart():
    text = """{"documents": ["a", [{"role": "assistant", "content": "a"}], {"text": "a"}, {"embedding": [1.5]}]}"""
    assert read(RerankRequest, text).documents == [
        "a",
        [Message(role="assistant", content="a")],
        TextDocument(text="a"),
        EmbeddingDocument(embedding=[1.5]),
    ]


@pytest.mark.parametrize("document", ["1", "null", "true", "{}", '{"text": 1}', '{"text": "a", "title": "b"}'])
def test_an_invalid_document_is_one_error(document):
    with pytest.raises(ValidationError) as raised:
        read(RerankRequest, f'{{"documents": [{document}]}}')
    (error,) = raised.value.errors()
    assert error["loc"][:2] == ("documents", 0)


@pytest.mark.parametrize(
    "value",
    [
        *("AAAA*AAA", "A", "ÄÄÄÄ", "AA\nAAAAA", None, 3, {"a": 1}),
        *(["1"], [True], [None], [[1.0]], [1.0, "x"], [10**400], [0.0] * (MAX_NUMBERS + 1)),
        *([float("nan")], [float("inf")]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_embedding_is_finite_numbers_or_base64(value):
    with pytest.raises(ValidationError) as raised:
        read(EmbeddingDocument, json.dumps({"embedding": value}))
    assert raised.value.errors()[0]["loc"][0] == "embedding"


def test_a_choice_is_a_comparison_with_each_other_response():
    assert Choice(responses=["a", "b", "c"], chosen=1).compared() == (["a", "b", "c"], [(1, 0), (1, 2)])
    assert Comparison(chosen="a", rejected="b").compared() == (["a", "b"], [(0, 1)])


def test_comparisons_and_choices_are_told_apart_by_their_fields():
    request = read(
        FeedbackRequest, '{"answers": [{"chosen": "a", "rejected": "b"}, {"responses": ["a", "b"], "chosen": 0}]}'
    )
    assert [type(feedback) for feedback in request.answers] == [Comparison, Choice]


def test_older_field_names_of_vllm_are_read():
    assert read(ScoreRequest, '{"text_1": "q", "text_2": ["a", "b"]}') == read(
        ScoreRequest, '{"queries": "q", "documents": ["a", "b"]}'
    )


def test_unknown_fields_are_ignored_in_the_formats_of_other_servers_only():
    assert read(RerankRequest, '{"documents": ["a"], "max_chunks_per_doc": 3}').documents == ["a"]
    with pytest.raises(ValidationError) as raised:
        read(FeedbackRequest, '{"answers": [{"chosen": "a", "rejected": "b", "wieght": 2}]}')
    assert raised.value.errors()[0]["loc"][-1] == "wieght"


def canonical(text):
    """The JSON whose digest an idempotency key is stored with."""
    return read(FeedbackRequest, text).model_dump_json(exclude={"idempotency_key"})


def test_equal_requests_have_equal_digests():
    """White space and the order of fields do not matter, values do."""
    first, second, other = map(
        canonical,
        [
            '{"answers": [{"chosen": "a", "rejected": {"embedding": "AACAPw=="}}], "idempotency_key": "k"}',
            '{ "idempotency_key": "l", "answers": [{"rejected": {"embedding":"AACAPw"}, "weight": 1, "chosen":"a"}]}',
            '{"answers": [{"chosen": "a", "rejected": {"embedding": "AACAQA=="}}]}',
        ],
    )
    assert first == second != other


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (
            '{"answers": [{"prompt": "p", "chosen": "a", "rejected": {"embedding": "AACAPw=="}, "weight": 2}]}',
            "d65f86e3d41df2f1cf8e6cda8134ffc1caea6acb11d7c65b54d02976dde2d669",
        ),
        (
            '{"answers": [{"prompt": [{"role": "user", "content": "p"}], "chosen": 1, '
            '"responses": [{"text": "a"}, "b", {"embedding": [1.5, 2]}]}]}',
            "7eb0b86303996e9966198d374754c1d8bf308d80ed58cedb48563af240050658",
        ),
    ],
    ids=["comparison", "choice"],
)
def test_digests_do_not_change(text, digest):
    """Databases keep them: a request that is repeated after an upgrade must be recognised."""
    assert hashlib.sha256(canonical(text).encode()).hexdigest() == digest
