"""Rewards over HTTP are those of the library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lorerm import HashingEncoder
from lorerm.data.conversation import as_conversation
from lorerm.serving.keys import new_key
from servers import base64_of

QUERY = "What of bread?"
DOCUMENTS = ["It is good.", "Well, there is much to be said of it: bread is old, and rye is dark!", "Ask me later?"]


def embedded(documents=DOCUMENTS):
    return HashingEncoder().encode([as_conversation(QUERY, each) for each in documents])


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank", "/infinity/rerank"])
@pytest.mark.parametrize("user", ["trained", "posterior only", None])
def test_rankings_are_the_librarys(reader, model, path, user):
    ranked = model.rank(QUERY, DOCUMENTS, user, encoder=HashingEncoder())
    asked = {"query": QUERY, "documents": DOCUMENTS, "user": user, "bounded": False}
    found = reader.post(path, json=asked).json()
    assert [each["index"] for each in found["results"]] == [each.index for each in ranked]
    rewards = [each["relevance_score"] for each in found["results"]]
    np.testing.assert_allclose(rewards, [each.reward for each in ranked], rtol=1e-5)
    assert found["user"] == user
    assert found["model"] == "model"
    assert found["score_type"] == "reward"
    assert found["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    assert found["meta"] == {"api_version": {"version": "2"}, "billed_units": {"search_units": 0}}


SHAPES = {
    **{f"{version}/rerank": {"documents": DOCUMENTS} for version in ("", "/v1", "/v2", "/infinity")},
    **{f"{version}/score": {"queries": QUERY, "documents": DOCUMENTS} for version in ("", "/v1")},
    **{f"{version}/classify": {"input": DOCUMENTS} for version in ("", "/v1")},
}


@pytest.mark.parametrize("path", SHAPES)
def test_a_user_can_be_named_by_the_base_url_or_the_model(reader, path):
    """For clients that have no field for a user."""
    asked = {"query": QUERY, **SHAPES[path]}
    main = path if path.startswith(("/v", "/inf")) else f"/v1{path}"
    expected = reader.post(main, json={**asked, "user": "posterior only"})
    assert expected.json()["user"] == "posterior only"
    found = [
        reader.post(f"/v1/users/posterior%20only{path}", json=asked),
        reader.post(path, json={**asked, "model": "model@posterior only"}),
    ]
    for response in found:
        assert without_ids(response.json()) == without_ids(expected.json())
    assert without_ids(reader.post(path, json=asked).json()) != without_ids(expected.json())
    assert reader.post(f"/v1/users/unknown{path}", json=asked).status_code == 404
    assert reader.post(f"/v1/users/trained{path}", json={**asked, "user": "posterior only"}).status_code == 422
    assert reader.post(f"/v1/users/x%2F..%2Ftrained{path}", json=asked).status_code == 422


def without_ids(response):
    return {name: value for name, value in response.items() if name not in ("id", "created")}


def test_a_user_can_be_named_by_a_header_that_the_operator_chose(start, settings):
    key, line = new_key()
    client = start(replace(settings, keys=(line,), user_header="X-User-Id"), headers={"Authorization": f"Bearer {key}"})
    asked = {"query": QUERY, "documents": DOCUMENTS}
    for path in ("/rerank", "/v1/users/trained/rerank"):
        assert client.post(path, json=asked, headers={"x-user-id": "trained"}).json()["user"] == "trained"
    assert client.post("/rerank", json=asked).json()["user"] is None
    assert client.post("/rerank", json=asked, headers={"x-user-id": "unknown"}).status_code == 404


def test_texts_get_a_bare_list_of_bounded_scores(reader):
    """The format of Text Embeddings Inference."""
    expected = reader.post("/rerank", json={"query": QUERY, "documents": DOCUMENTS, "bounded": True}).json()["results"]
    asked = {"query": QUERY, "texts": DOCUMENTS, "truncate": False}
    found = reader.post("/rerank", json=asked).json()
    assert found == [{"index": each["index"], "score": each["relevance_score"]} for each in expected]
    with_texts = reader.post("/rerank", json={**asked, "return_text": True}).json()
    assert with_texts == [{**each, "text": DOCUMENTS[each["index"]]} for each in found]
    raw = reader.post("/rerank", json={**asked, "raw_scores": True, "top_n": 1}).json()
    rewards = reader.post("/rerank", json={"query": QUERY, "documents": DOCUMENTS}).json()["results"]
    assert raw == [{"index": rewards[0]["index"], "score": rewards[0]["relevance_score"]}]
    assert reader.post("/rerank", json={"query": QUERY, "texts": []}).status_code == 422


def test_a_bounded_score_is_a_probability_under_the_models_temperature(reader, model):
    rewards = model.rewards(embedded(), "trained").double().numpy()
    asked = {"queries": QUERY, "query": QUERY, "documents": DOCUMENTS, "user": "trained", "bounded": True}
    found = reader.post("/v1/score", json=asked).json()
    assert found["score_type"] == "probability"
    scores = np.array([each["score"] for each in found["data"]])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-rewards / model.temperature)), rtol=1e-5)
    # Two scores give the probability that one document is preferred to the other.
    odds = scores / (1 - scores)
    preferred = 1 / (1 + np.exp(-(rewards[0] - rewards[1]) / model.temperature))
    np.testing.assert_allclose(odds[0] / (odds[0] + odds[1]), preferred, rtol=1e-5)
    ranked = reader.post("/v1/rerank", json=asked).json()
    assert [each["relevance_score"] for each in ranked["results"]] == sorted(scores.tolist(), reverse=True)


def test_the_operators_settings_hold_where_a_request_says_nothing(start, settings):
    client = start(replace(settings, bounded=True, population=True, any_model=True))
    asked = {"query": QUERY, "queries": QUERY, "documents": DOCUMENTS, "user": "unknown", "model": "rerank-v3.5"}
    for path in ("/v1/rerank", "/v1/score"):
        found = client.post(path, json=asked).json()
        assert (found["user"], found["model"], found["score_type"]) == (None, "model", "probability")
        assert client.post(path, json={**asked, "bounded": False}).json()["score_type"] == "reward"
        assert client.post(path, json={**asked, "population": False}).status_code == 404


def test_infinitys_clients_get_documents_as_strings(reader):
    asked = {"query": QUERY, "documents": [DOCUMENTS[0], {"text": DOCUMENTS[1], "id": 7}], "return_documents": True}
    for path, more in [("/infinity/rerank", {}), ("/rerank", {"raw_scores": False})]:
        found = reader.post(path, json={**asked, **more}).json()
        assert {each["index"]: each["document"] for each in found["results"]} == {0: DOCUMENTS[0], 1: DOCUMENTS[1]}
        assert found["score_type"] == "probability"


def test_records_are_ranked_by_their_text(reader):
    expected = reader.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS}).json()["results"]
    records = [{"text": text, "id": index, "title": "x"} for index, text in enumerate(DOCUMENTS)]
    assert reader.post("/v1/rerank", json={"query": QUERY, "documents": records}).json()["results"] == expected
    titled = [{"title": text, "id": index} for index, text in enumerate(DOCUMENTS)]
    asked = {"query": QUERY, "documents": titled, "rank_fields": ["title"]}
    assert reader.post("/v1/rerank", json=asked).json()["results"] == expected
    response = reader.post("/v1/rerank", json={**asked, "rank_fields": None})
    assert response.status_code == 422
    assert "document 0" in response.json()["error"]["message"]


def test_classes_are_the_bounded_scores(reader):
    asked = {"query": QUERY, "user": "trained"}
    scores = reader.post("/v1/score", json={**asked, "queries": QUERY, "documents": DOCUMENTS, "bounded": True}).json()
    found = reader.post("/v1/classify", json={**asked, "input": DOCUMENTS}).json()
    assert found["data"] == [
        {"index": each["index"], "label": "preferred", "probs": [each["score"]], "num_classes": 1}
        for each in scores["data"]
    ]
    chat = [{"role": "user", "content": QUERY}, {"role": "assistant", "content": DOCUMENTS[1]}]
    by_chat = reader.post("/classify", json={"messages": chat, "user": "trained"}).json()
    assert by_chat["data"] == [{**found["data"][1], "index": 0}]
    raw = reader.post("/classify", json={"messages": chat, "user": "trained", "use_activation": False}).json()
    assert raw["score_type"] == "reward"
    assert reader.post("/classify", json={"input": DOCUMENTS}).status_code == 422
    assert reader.post("/classify", json={"messages": chat[1:]}).status_code == 422


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
def test_another_models_name_is_404(reader, path):
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
    "a record without a text": {"documents": [{"id": 7}]},
    "rank_fields as text": {"rank_fields": "title"},
    "top 0": {"top_n": 0},
    "top as text": {"top_n": "1"},
    "a fractional top": {"top_n": 1.5},
    "an enormous top": {"top_n": -(10**30)},
    "an empty id": {"user": ""},
    "a long id": {"user": "x" * 257},
    "an id with NUL": {"user": "a\0b"},
    "an id that is no whole number": {"user": 7.5},
    "a blank id": {"user": " "},
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
    client = start(replace(settings, encoder=None))
    rows = [{"embedding": base64_of(row)} for row in embedded()]
    assert client.post("/v1/rerank", json={"documents": rows}).status_code == 200
    response = client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert "embedding" in response.json()["error"]["remedy"]
    assert client.get("/v1/models").json()["data"][0]["encoder"] is None
