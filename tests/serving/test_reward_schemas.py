"""Requests for rewards in the formats of several servers: what is read from each, and which are invalid."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from lorerm.serving.reward_schemas import ClassifyRequest, RerankRequest, ScoreRequest, TextsRequest
from lorerm.serving.schemas import EmbeddingDocument, Message, TextDocument


def read(model, /, **body):
    return model.from_json(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("record", "rank_fields", "text"),
    [
        ({"text": "a", "id": 7}, None, "a"),
        ({"text": "a", "id": 7}, [], "a"),
        ({"text": "a", "title": "b"}, ["title"], "b"),
        ({"text": "a", "title": "b"}, ["title", "text"], "title: b\ntext: a"),
        ({"text": "a", "title": None}, ["title", "text"], "text: a"),
        ({"title": "b", "year": 1999, "tags": ["x"]}, ["title", "year", "tags"], 'title: b\nyear: 1999\ntags: ["x"]'),
        ({"year": 0}, ["year"], "0"),
        ({"text": ""}, None, ""),
    ],
)
def test_a_record_is_read_as_the_text_of_its_ranked_fields(record, rank_fields, text):
    found = read(RerankRequest, documents=[record, "b"], rank_fields=rank_fields)
    assert found.documents == [TextDocument(text=text), "b"]


@pytest.mark.parametrize(("record", "rank_fields"), [({"id": 7}, None), ({}, None), ({"text": "a"}, ["title"])])
def test_a_record_without_these_fields_is_an_error_that_names_it(record, rank_fields):
    with pytest.raises(ValidationError) as raised:
        read(RerankRequest, documents=["a", record], rank_fields=rank_fields)
    assert "document 1" in raised.value.errors()[0]["msg"]


def test_a_record_has_a_text_or_an_embedding():
    embedding = {"embedding": [1.5], "id": 7}
    for documents in ([embedding], [embedding, "a"]):
        assert read(RerankRequest, documents=documents).documents[0] == EmbeddingDocument(embedding=[1.5])
        with pytest.raises(ValidationError) as raised:
            read(RerankRequest, documents=[{**documents[0], "text": "a"}, *documents[1:]])
        assert raised.value.errors()[0]["loc"] == ("documents", 0)


def test_texts_are_the_format_of_text_embeddings_inference():
    found = read(RerankRequest, query="q", texts=["a", {"text": "b"}], return_text=True, truncate=False)
    assert type(found) is TextsRequest
    assert found.documents == ["a", TextDocument(text="b")]
    assert found.return_documents
    # The word in another place does not make another format of it.
    other = read(RerankRequest, query='"texts"', documents=['"texts"'], texts=["b"])
    assert (type(other), other.documents) == (RerankRequest, ['"texts"'])


def test_unknown_fields_are_ignored():
    assert read(RerankRequest, documents=["a"], max_chunks_per_doc=3).documents == ["a"]


def test_null_means_that_a_field_is_not_given():
    for model, needed in [
        (RerankRequest, {"documents": ["a"]}),
        (RerankRequest, {"texts": ["a"]}),
        (ScoreRequest, {"documents": ["a"]}),
        (ClassifyRequest, {"input": ["a"]}),
    ]:
        expected = read(model, **needed)
        names = [field.validation_alias or name for name, field in type(expected).model_fields.items()]
        nulls = {name: None for name in names if isinstance(name, str) and name not in needed}
        assert read(model, **nulls, **needed) == expected


@pytest.mark.parametrize(
    ("queries", "documents"),
    [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")],
)
def test_all_field_names_of_vllm_are_read(queries, documents):
    assert read(ScoreRequest, **{queries: "q", documents: ["a", "b"]}) == read(
        ScoreRequest, queries="q", documents=["a", "b"]
    )


def test_responses_to_classify_are_a_conversation_or_an_input():
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert read(ClassifyRequest, messages=chat).messages == [Message(**turn) for turn in chat]
    assert read(ClassifyRequest, query="q", input=["a", "b"]).input == ["a", "b"]
    for body in ({}, {"messages": chat, "input": "a"}):
        with pytest.raises(ValidationError):
            read(ClassifyRequest, **body)


@pytest.mark.parametrize("default", [True, False])
def test_bounded_scores_are_asked_for_in_three_ways(default):
    for fields, expected in [
        ({}, default),
        ({"bounded": True}, True),
        ({"bounded": False}, False),
        ({"raw_scores": True}, False),
        ({"raw_scores": False}, True),
        ({"use_activation": True}, True),
        ({"use_activation": False}, False),
        ({"bounded": True, "raw_scores": True, "use_activation": False}, True),
    ]:
        assert read(ScoreRequest, documents="a", **fields).wants_bounded(default) is expected
