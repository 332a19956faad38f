"""Schemas of requests: which requests are valid, and the location of the first error."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import TypeAdapter, ValidationError

from lorerm.serving.schemas import (
    MAX_NUMBERS,
    Choice,
    Comparison,
    EmbeddingDocument,
    FeedbackRequest,
    Message,
    QuestionRequest,
    TextDocument,
    UserFeedbackRequest,
    UserInPath,
    UserRequest,
)


def read(model, text):
    return model.from_json(text.encode())


def candidates(*documents):
    return read(QuestionRequest, f'{{"candidates": [{", ".join(documents)}]}}').candidates


def test_the_types_of_documents_are_told_apart():
    """Further fields, for instance those of a record in a store, are ignored."""
    assert candidates(
        '"a"',
        '[{"role": "assistant", "content": "a"}]',
        '{"text": "a", "id": 7, "embedding": null}',
        '{"embedding": [1.5], "text": null, "id": 7}',
    ) == [
        "a",
        [Message(role="assistant", content="a")],
        TextDocument(text="a"),
        EmbeddingDocument(embedding=[1.5]),
    ]


@pytest.mark.parametrize(
    "document", ["1", "null", "true", "{}", '{"text": 1}', '{"texts": "a"}', '{"text": "a", "embedding": [1.5]}']
)
def test_an_invalid_document_is_one_error(document):
    with pytest.raises(ValidationError) as raised:
        candidates('"a"', document)
    (error,) = raised.value.errors()
    assert error["loc"][:2] == ("candidates", 1)


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


def test_a_misspelt_field_of_feedback_is_an_error():
    with pytest.raises(ValidationError) as raised:
        read(FeedbackRequest, '{"answers": [{"chosen": "a", "rejected": "b", "wieght": 2}]}')
    assert raised.value.errors()[0]["loc"][-1] == "wieght"


def test_null_means_that_a_field_is_not_given():
    both = [
        '{"prompt": null, "chosen": "a", "rejected": "b", "weight": null}',
        '{"prompt": null, "responses": ["a", "b"], "chosen": 0, "weight": null}',
    ]
    given = canonical(f'{{"answers": [{both[0]}, {both[1]}], "idempotency_key": null}}')
    assert given == canonical('{"answers": [{"chosen": "a", "rejected": "b"}, {"responses": ["a", "b"], "chosen": 0}]}')
    asked = '"candidates": ["a", "b"]'
    assert read(QuestionRequest, f'{{{asked}, "pairs": null, "top": null, "stop_below": null}}') == read(
        QuestionRequest, f"{{{asked}}}"
    )
    assert read(UserRequest, '{"user": "u", "population": null}') == read(UserRequest, '{"user": "u"}')


@pytest.mark.parametrize("user", [".", "..", "a/..", "../a", "a/./b", "..\\a", "%2E%2E", "x%2F..%2Fa", "%2e%2e%5ca"])
def test_an_id_with_a_dot_segment_cannot_be_in_a_path(user):
    """A proxy that decodes and shortens the path would name another user."""
    with pytest.raises(ValidationError):
        TypeAdapter(UserInPath).validate_python(user)


@pytest.mark.parametrize("user", ["a.b", "...", "a..b", ".a", "a./b", "%2E.%2E"])
def test_other_dots_in_an_id_are_allowed(user):
    assert TypeAdapter(UserInPath).validate_python(user) == user.replace("%2E", ".")


def test_a_users_feedback_has_the_same_digest_in_both_forms():
    """So that a request can be repeated in the other form."""
    answers = '"answers": [{"chosen": "a", "rejected": "b"}], "idempotency_key": "k"'
    assert canonical(f'{{"user": "u", {answers}}}', UserFeedbackRequest) == canonical(f"{{{answers}}}")


def canonical(text, model=FeedbackRequest):
    """The JSON whose digest an idempotency key is stored with."""
    return read(model, text).model_dump_json(exclude={"idempotency_key", "user"})


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
