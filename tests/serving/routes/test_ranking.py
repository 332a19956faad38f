"""Rewards over HTTP are those of the library."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm import HashingEncoder
from lorerm.data.conversation import as_conversation
from servers import base64_of

QUERY = "What of bread?"
DOCUMENTS = ["It is good.", "Well, there is much to be said of it: bread is old, and rye is dark!", "Ask me later?"]


def embedded(documents=DOCUMENTS):
    return HashingEncoder().encode([as_conversation(QUERY, each) for each in documents])


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
@pytest.mark.parametrize("user", ["trained", "posterior only", None])
def test_rankings_are_the_librarys(reader, model, path, user):
    ranked = model.rank(QUERY, DOCUMENTS, user, encoder=HashingEncoder())
    found = reader.post(path, json={"query": QUERY, "documents": DOCUMENTS, "user": user}).json()
    assert [each["index"] for each in found["results"]] == [each.index for each in ranked]
    rewards = [each["relevance_score"] for each in found["results"]]
    np.testing.assert_allclose(rewards, [each.reward for each in ranked], rtol=1e-5)
    assert found["user"] == user
    assert found["model"] == "model"


def test_every_type_of_document_gives_the_same_rewards(reader):
    texts = DOCUMENTS
    forms = [
        [{"text": text} for text in texts],
        [[{"role": "assistant", "content": text}] for text in texts],
        [{"embedding": row.tolist()} for row in embedded()],
        [{"embedding": base64_of(row)} for row in embedded()],
        [texts[0], {"text": texts[1]}, {"embedding": base64_of(embedded()[2])}],
    ]
    expected = reader.post("/v1/rerank", json={"query": QUERY, "documents": texts}).json()["results"]
    for documents in forms:
        found = reader.post("/v1/rerank", json={"query": QUERY, "documents": documents}).json()["results"]
        assert [each["index"] for each in found] == [each["index"] for each in expected]
        np.testing.assert_allclose(
            [each["relevance_score"] for each in found], [each["relevance_score"] for each in expected], rtol=1e-5
        )


def test_a_query_can_be_chat_messages(reader):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUERY}]
    assert reader.post("/v1/rerank", json={"query": messages, "documents": DOCUMENTS}).status_code == 200


def test_top_n_and_return_documents(reader):
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, {"embedding": base64_of(embedded()[2])}]
    asked = {"query": QUERY, "documents": documents, "return_documents": True}
    everything = reader.post("/v1/rerank", json=asked).json()["results"]
    assert {each["index"]: each["document"] for each in everything} == {
        0: {"text": DOCUMENTS[0]},
        1: {"text": DOCUMENTS[1]},
        2: None,
    }
    for n in (1, 2, 99):
        assert reader.post("/v1/rerank", json={**asked, "top_n": n}).json()["results"] == everything[:n]


def test_equal_rewards_keep_their_order(reader):
    found = reader.post("/v1/rerank", json={"query": QUERY, "documents": ["same"] * 5}).json()
    assert [each["index"] for each in found["results"]] == list(range(5))


def test_texts_need_a_query_and_embeddings_do_not(reader):
    rows = [{"embedding": base64_of(row)} for row in embedded()]
    assert reader.post("/v1/rerank", json={"documents": rows}).status_code == 200
    response = reader.post("/v1/rerank", json={"documents": DOCUMENTS})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


def test_an_unknown_user_is_404_unless_the_population_model_is_allowed(reader):
    asked = {"query": QUERY, "documents": DOCUMENTS, "user": "unknown"}
    response = reader.post("/v1/rerank", json=asked)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_user")
    found = reader.post("/v1/rerank", json={**asked, "population": True}).json()
    assert found["user"] is None
    assert found["results"] == reader.post("/v1/rerank", json={**asked, "user": None}).json()["results"]
    known = reader.post("/v1/rerank", json={**asked, "user": "trained", "population": True}).json()
    assert known["user"] == "trained"


@pytest.mark.parametrize("names", [("queries", "documents"), ("text_1", "text_2")])
def test_scores_of_one_query_with_each_document(reader, model, names):
    found = reader.post("/v1/score", json={names[0]: QUERY, names[1]: DOCUMENTS, "user": "trained"}).json()
    expected = model.rewards(embedded(), "trained").numpy()
    assert [each["index"] for each in found["data"]] == [0, 1, 2]
    np.testing.assert_allclose([each["score"] for each in found["data"]], expected, rtol=1e-5)
    assert found["object"] == "list"
    assert {each["object"] for each in found["data"]} == {"score"}


def test_scores_of_single_documents_and_of_several_queries(reader):
    def scores(queries, documents):
        return [
            each["score"]
            for each in reader.post("/score", json={"queries": queries, "documents": documents}).json()["data"]
        ]

    expected = scores(QUERY, DOCUMENTS)
    assert scores(QUERY, DOCUMENTS[0]) == expected[:1]
    assert scores([QUERY], DOCUMENTS[:1]) == expected[:1]
    assert scores([QUERY, "And of rye?", QUERY], DOCUMENTS) == expected
    chat = [{"role": "user", "content": QUERY}]
    assert scores(chat, [{"role": "assistant", "content": DOCUMENTS[0]}]) == expected[:1]
    assert scores([chat, chat], DOCUMENTS[:2]) == expected[:2]


def test_queries_are_one_or_as_many_as_documents(reader):
    response = reader.post("/v1/score", json={"queries": [QUERY] * 2, "documents": DOCUMENTS})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert all(number in response.json()["error"]["message"] for number in "23")


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/score"])
def test_another_models_name_is_404_and_unknown_fields_are_ignored(reader, path):
    asked = {"query": QUERY, "queries": QUERY, "documents": DOCUMENTS, "truncate_prompt_tokens": 9}
    assert reader.post(path, json={**asked, "model": "model"}).status_code == 200
    response = reader.post(path, json={**asked, "model": "../../etc/passwd"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_model")


BAD = {
    "no documents": {"documents": []},
    "too many": {"documents": ["a"] * 1001},
    "a number": {"documents": [1]},
    "null": {"documents": [None]},
    "another length": {"documents": [{"embedding": [1.0, 2.0]}]},
    "not base64": {"documents": [{"embedding": "*"}]},
    "too large": {"documents": [{"embedding": [1e300] * 808}]},
    "both": {"documents": [{"embedding": [1.0] * 808, "text": "a"}]},
    "ends in the user's turn": {"documents": [[{"role": "user", "content": "a"}]]},
    "an unknown role": {"documents": [[{"role": "root", "content": "a"}]]},
    "blank query": {"query": " "},
    "query of the assistant": {"query": [{"role": "assistant", "content": "a"}]},
    "top 0": {"top_n": 0},
    "top as text": {"top_n": "1"},
    "a fractional top": {"top_n": 1.5},
    "an enormous top": {"top_n": -(10**30)},
    "an empty id": {"user": ""},
    "a long id": {"user": "x" * 257},
    "an id with NUL": {"user": "a\0b"},
    "an id that is a number": {"user": 7},
    "population as text": {"population": "true"},
}


@pytest.mark.parametrize("wrong", BAD)
def test_invalid_requests_are_422(reader, wrong):
    response = reader.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, **BAD[wrong]})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


def test_embeddings_with_infinite_rewards_are_422(reader):
    for value in (np.inf, np.nan, 3e38):
        row = base64_of(np.full(808, value, dtype=np.float32))
        assert reader.post("/v1/rerank", json={"documents": [{"embedding": row}]}).status_code == 422


def test_a_server_without_an_encoder_takes_embeddings_only(start, settings):
    from dataclasses import replace

    client = start(replace(settings, encoder=None))
    rows = [{"embedding": base64_of(row)} for row in embedded()]
    assert client.post("/v1/rerank", json={"documents": rows}).status_code == 200
    response = client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert "embedding" in response.json()["error"]["remedy"]
    assert client.get("/v1/models").json()["data"][0]["encoder"] is None
