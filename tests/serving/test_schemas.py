"""Requests: what is read, and what is said of what is not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lorerm.serving.schemas import AnswersRequest, ChoiceAnswer, PairAnswer, RerankRequest, ScoreRequest


def read(kind, text):
    return kind.model_validate_json(text)


def test_a_choice_is_the_chosen_one_against_each_other():
    answer = ChoiceAnswer(responses=["a", "b", "c"], chosen=1)
    assert answer.pairs() == (["a", "b", "c"], [(1, 0), (1, 2)])
    assert PairAnswer(chosen="a", rejected="b").pairs() == (["a", "b"], [(0, 1)])


def test_answers_are_told_apart_by_their_fields():
    request = read(
        AnswersRequest, '{"answers": [{"chosen": "a", "rejected": "b"}, {"responses": ["a", "b"], "chosen": 0}]}'
    )
    assert [type(answer) for answer in request.answers] == [PairAnswer, ChoiceAnswer]


def test_vllms_older_names_are_read():
    assert read(ScoreRequest, '{"text_1": "q", "text_2": ["a", "b"]}') == read(
        ScoreRequest, '{"queries": "q", "documents": ["a", "b"]}'
    )


def test_other_servers_fields_are_passed_over_and_typing_errors_of_ours_are_not():
    assert read(RerankRequest, '{"documents": ["a"], "max_chunks_per_doc": 3}').documents == ["a"]
    with pytest.raises(ValidationError, match="wieght"):
        read(AnswersRequest, '{"answers": [{"chosen": "a", "rejected": "b", "wieght": 2}]}')


def test_the_same_request_has_one_form():
    """The idempotency key's digest is of it: spaces and the order of names are no difference, content is."""
    forms = [
        '{"answers": [{"chosen": "a", "rejected": {"embedding": "AACAPw=="}}], "idempotency_key": "k"}',
        '{ "idempotency_key": "other", "answers": [{"rejected": {"embedding":"AACAPw"}, "weight": 1, "chosen":"a"}]}',
        '{"answers": [{"chosen": "a", "rejected": {"embedding": "AACAQA=="}}]}',
    ]
    found = [read(AnswersRequest, form).model_dump_json(exclude={"idempotency_key"}) for form in forms]
    assert found[0] == found[1] != found[2]
