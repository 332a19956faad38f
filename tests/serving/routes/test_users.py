"""Users over HTTP: their weights are the exact fit, feedback counts once, and removal is complete."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from urllib.parse import quote

import numpy as np
import pytest
import torch

from lorerm import EmbeddedPreferences, HashingEncoder, Preferences, embed
from lorerm.data.conversation import as_conversation
from lorerm.model.acquisition import posterior_of
from servers import base64_of

PROMPT = "What of bread?"
TEXTS = ["It is good.", "Well, there is much to be said of it: bread is old, and rye is dark!", "Ask me later?", "No."]


def pair(chosen=0, rejected=1, **more):
    return {"prompt": PROMPT, "chosen": TEXTS[chosen], "rejected": TEXTS[rejected], **more}


def put(client, user, *answers, **headers):
    return client.put(f"/v1/users/{user}/answers", json={"answers": list(answers)}, headers=headers)


def fitted(model, user, pairs, weights):
    """The library's weights for the same comparisons."""
    rows = HashingEncoder().encode([as_conversation(PROMPT, text) for text in TEXTS])
    chosen, rejected = zip(*pairs, strict=True)
    data = EmbeddedPreferences.from_arrays(rows, chosen, rejected, [user] * len(pairs), weights=weights)
    return model.users().update(data, model).select([user])


def equals(found, expected):
    np.testing.assert_allclose(found["weights"], expected.weights[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["covariance"], expected.covariance[0], rtol=1e-4, atol=1e-6)
    deviation = expected.covariance[0].diagonal().sqrt()
    np.testing.assert_allclose(found["standard_deviation"], deviation, rtol=1e-4)


@pytest.mark.parametrize("user", ["new", "trained", "posterior only"])
def test_weights_are_the_librarys(client, model, user):
    """Whether the feedback comes in one request or several, and also for users in the model's files."""
    put(client, user, pair(0, 1)).raise_for_status()
    found = put(client, user, pair(2, 1, weight=2.5), pair(0, 3)).json()
    equals(found, fitted(model, user, [(0, 1), (2, 1), (0, 3)], [1.0, 2.5, 1.0]))
    assert (found["user"], found["answers"], found["version"]) == (user, 3, 2)
    assert client.get(f"/v1/users/{user}").json() == found


def test_rows_of_a_log_are_the_comparisons_that_files_give(client, model):
    """Texts, messages, messages stored as text, and text parts: one rule for all ways in."""
    question, long = ([{"role": role, "content": text}] for role, text in (("user", PROMPT), ("assistant", TEXTS[1])))
    rows = [
        {"prompt": PROMPT, "chosen": TEXTS[0], "rejected": TEXTS[1]},
        {
            "prompt": [{"role": "user", "content": PROMPT}],
            "chosen": long,
            "rejected": json.dumps(long).replace("Well", "Oh"),
        },
        {"prompt": f"{PROMPT} Again?", "chosen": '["a", "b"]', "rejected": TEXTS[3]},
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
            "chosen": [{"role": "assistant", "content": TEXTS[2], "name": "x"}],
            "rejected": [{"role": "assistant", "content": [{"type": "text", "text": text} for text in ("N", "o.")]}],
        },
    ]
    found = put(client, "new", *rows).json()
    read = Preferences.from_records({"user_id": "new", **row} for row in rows)
    equals(found, model.users().update(embed(read, HashingEncoder()), model).select(["new"]))
    tools = [{**long[0], "tool_calls": [{"name": "kettle"}]}]
    refused = put(client, "new", {"prompt": question, "chosen": long, "rejected": tools})
    assert refused.status_code == 422
    assert "tool_calls" in refused.json()["error"]["message"]


def test_a_choice_among_several_counts_as_one_judgement(client, model):
    choice = {"prompt": PROMPT, "responses": TEXTS, "chosen": 2, "weight": 3.0}
    found = put(client, "new", choice).json()
    equals(found, fitted(model, "new", [(2, 0), (2, 1), (2, 3)], [1.0, 1.0, 1.0]))
    assert found["answers"] == 1


def test_embeddings_and_texts_give_the_same_weights(client):
    rows = HashingEncoder().encode([as_conversation(PROMPT, text) for text in TEXTS])
    by_text = put(client, "a", pair(0, 1)).json()
    ready = {"chosen": {"embedding": base64_of(rows[0])}, "rejected": {"embedding": rows[1].tolist()}}
    by_row = put(client, "b", ready).json()
    np.testing.assert_allclose(by_row["weights"], by_text["weights"], rtol=1e-5)


def test_rewards_follow_the_feedback(client):
    asked = {"query": PROMPT, "documents": TEXTS, "user": "new"}
    for best in (0, 2):
        client.delete("/v1/users/new")
        for _ in range(12):
            put(client, "new", {"prompt": PROMPT, "responses": TEXTS, "chosen": best}).raise_for_status()
        assert client.post("/v1/rerank", json=asked).json()["results"][0]["index"] == best


def test_users_in_the_models_files_are_known(client, model):
    found = client.get("/v1/users/trained").json()
    np.testing.assert_array_equal(np.float32(found["weights"]), model.weights[0])
    assert (found["answers"], found["version"]) == (0, 0)
    assert client.get("/v1/users/unknown").status_code == 404


def test_a_repeated_request_with_its_key_counts_once(client):
    first = put(client, "u", pair(0, 1), **{"Idempotency-Key": "k"})
    put(client, "u", pair(1, 2))
    again = put(client, "u", pair(0, 1), **{"Idempotency-Key": "k"})
    assert again.content == first.content
    assert client.get("/v1/users/u").json()["answers"] == 2
    body = {"answers": [pair(0, 1)], "idempotency_key": "k"}
    assert client.put("/v1/users/u/answers", json=body).content == first.content
    assert put(client, "other", pair(0, 1), **{"Idempotency-Key": "k"}).json()["answers"] == 1


def test_a_key_belongs_to_one_request(client):
    put(client, "u", pair(0, 1), **{"Idempotency-Key": "k"}).raise_for_status()
    for other in (pair(1, 0), pair(0, 1, weight=2.0), {**pair(0, 1), "prompt": "And of rye?"}):
        response = put(client, "u", other, **{"Idempotency-Key": "k"})
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "key_reused"
    assert client.get("/v1/users/u").json()["answers"] == 1
    body = {"answers": [pair()], "idempotency_key": "a"}
    assert client.put("/v1/users/u/answers", json=body, headers={"Idempotency-Key": "b"}).status_code == 422


@pytest.mark.parametrize("user", ["new", "trained"])
def test_a_deleted_user_is_unknown_and_can_return(client, model, user):
    put(client, user, pair(0, 1), **{"Idempotency-Key": "k"}).raise_for_status()
    removed = ["feedback", "weights"] if user == "trained" else ["feedback"]
    for expected in (removed, []):
        response = client.delete(f"/v1/users/{user}")
        body = {"user": user, "deleted": bool(expected), "removed": expected}
        assert (response.status_code, response.json()) == (200, body)
        assert client.get(f"/v1/users/{user}").status_code == 404
    found = put(client, user, pair(0, 1), **{"Idempotency-Key": "k"}).json()
    equals(found, fitted(model.without_users([user], missing_ok=True), user, [(0, 1)], [1.0]))


@pytest.mark.parametrize(
    ("user", "asked"),
    [("ann", " ann "), ("ann", "ann\u200b"), ("é", "e\u0301"), ("e\u0301", "é"), ("trained", "trained\n")],
)
def test_the_deletion_of_an_id_that_only_looks_like_a_known_one_says_so(client, user, asked):
    put(client, quote(user), pair())
    for response in (
        client.delete(f"/v1/users/{quote(asked)}"),
        client.post("/v1/user/delete", json={"user": asked}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (409, "similar_user")
    assert client.get(f"/v1/users/{quote(user)}").status_code == 200
    put(client, quote(asked), pair())  # now it is a user, who can be deleted
    assert client.delete(f"/v1/users/{quote(asked)}").json()["deleted"]
    assert client.delete(f"/v1/users/{quote(user)}").json()["deleted"]


@pytest.mark.parametrize(
    "user", ["a/b", "a%2Fb", "a..b", "é ü", "a?b#c", "\U0001f600", "line\nbreak", "' OR 1=1 --", "answers", "x" * 256]
)
def test_any_id_can_be_part_of_a_path(client, user):
    path = f"/v1/users/{quote(user, safe='')}"
    found = client.put(f"{path}/answers", json={"answers": [pair()]}).json()
    assert found["user"] == user
    assert client.post("/v1/rerank", json={"query": PROMPT, "documents": TEXTS, "user": user}).status_code == 200
    assert client.get(path).json() == found
    assert client.delete(path).json()["deleted"]
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("user", ["ann", "a/b", "..", "x/../ann", "é ü", "\U0001f600"])
def test_every_route_has_a_form_with_the_user_in_the_body(client, user):
    """Ids that cannot be in a path are possible there."""
    named = {"user": user}
    asked = {"prompt": PROMPT, "candidates": TEXTS}
    assert client.post("/v1/user", json=named).status_code == 404
    assert client.post("/v1/user", json={**named, "population": True}).json()["answers"] == 0
    added = client.put("/v1/user/answers", json={**named, "answers": [pair()]}, headers={"Idempotency-Key": "k"}).json()
    again = {**named, "answers": [pair()], "idempotency_key": "k"}
    assert client.put("/v1/user/answers", json=again).json() == added
    assert (added["user"], added["answers"]) == (user, 1)
    assert client.post("/v1/user", json=named).json() == added
    question = client.post("/v1/user/next-question", json={**named, **asked}).json()
    if user == "ann":
        assert client.get("/v1/users/ann").json() == added
        assert client.post("/v1/users/ann/next-question", json=asked).json() == question
        by_path = client.put("/v1/users/ann/answers", json={"answers": [pair()], "idempotency_key": "k"})
        assert by_path.json() == added
    assert client.post("/v1/user/delete", json=named).json() == {**named, "deleted": True, "removed": ["feedback"]}
    assert client.post("/v1/user/delete", json=named).json() == {**named, "deleted": False, "removed": []}
    assert client.post("/v1/user", json=named).status_code == 404


def test_ids_are_read_as_everywhere(client):
    """A number in a body is the id of its digits; text is kept as it is."""
    put(client, "7", pair(0, 1)).raise_for_status()
    expected = client.get("/v1/users/7").json()
    asked = {"query": PROMPT, "documents": TEXTS}
    for user in ("7", 7, 7.0):
        assert client.post("/v1/user", json={"user": user}).json() == expected
        assert client.post("/v1/rerank", json={**asked, "user": user}).json()["user"] == "7"
    for user in (7.5, True, 2.0**60, 10**300, "", " ", [7], {"id": 7}):
        assert client.post("/v1/user", json={"user": user}).status_code == 422, user
        assert client.post("/v1/rerank", json={**asked, "user": user}).status_code == 422, user
    assert client.post("/v1/rerank", json={**asked, "user": None}).json()["user"] is None
    for other in ("7.0", "07"):
        assert client.post("/v1/user", json={"user": other}).status_code == 404
        assert not client.delete(f"/v1/users/{other}").json()["deleted"]
    for blank in ("%20", "%0A"):
        assert client.delete(f"/v1/users/{blank}").status_code == 422
    assert client.post("/v1/user/delete", json={"user": 7}).json()["deleted"]
    assert client.get("/v1/users/7").status_code == 404


@pytest.mark.parametrize("path", ["..", "%2E%2E", ".", "x%2F..%2Fann", "x%2f%2e%2e%2fann", "..%5Cann", "ann%2F."])
def test_an_id_with_a_dot_segment_in_a_path_is_422(reader, path):
    """Sent as it is: clients would shorten the path."""
    address = reader.base_url.host, reader.base_url.port
    for method, rest in [("GET", ""), ("DELETE", ""), ("PUT", "/answers"), ("POST", "/next-question")]:
        body = json.dumps({"answers": [pair()]} if method == "PUT" else {"prompt": PROMPT, "candidates": TEXTS})
        connection = HTTPConnection(*address, timeout=60)
        connection.request(method, f"/v1/users/{path}{rest}", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, json.load(response)["error"]["code"]) == (422, "invalid_request"), method
        connection.close()


@pytest.mark.parametrize("path", ["%00", "a%00b", "%ff", "%ED%A0%80", "x" * 257])
def test_ids_that_cannot_be_stored_are_422(reader, path):
    assert reader.get(f"/v1/users/{path}").status_code == 422
    assert reader.delete(f"/v1/users/{path}").status_code == 422


@pytest.mark.parametrize("path", ["/v1/users", "/v1/users/", "/v1/users//answers", "/v1/users/a/b/answers"])
def test_paths_without_an_id_are_unknown(reader, path):
    assert reader.put(path, json={"answers": [pair()]}).status_code in (404, 405)


BAD = {
    "no feedback": [],
    "too many": [pair()] * 101,
    "no rejected": [{"prompt": PROMPT, "chosen": "a"}],
    "no prompt": [{"chosen": "a", "rejected": "b"}],
    "a typing error": [pair(wieght=2.0)],
    "weight 0": [pair(weight=0)],
    "weight that counts for nothing": [pair(weight=1e-300)],
    "weight below 0": [pair(weight=-1.0)],
    "weight too large": [pair(weight=1e9)],
    "weight beyond all": [pair(weight=10**400)],
    "one response": [{"prompt": PROMPT, "responses": ["a"], "chosen": 0}],
    "chosen outside": [{"prompt": PROMPT, "responses": ["a", "b"], "chosen": 2}],
    "chosen below 0": [{"prompt": PROMPT, "responses": ["a", "b"], "chosen": -1}],
    "chosen as text": [{"prompt": PROMPT, "responses": ["a", "b"], "chosen": "0"}],
    "too large": [{"chosen": {"embedding": [3e38] * 808}, "rejected": {"embedding": [-3e38] * 808}}],
    "nearly too large": [{"chosen": {"embedding": [1e8] * 808}, "rejected": {"embedding": [0] * 808}}],
}


@pytest.mark.parametrize("wrong", BAD)
def test_invalid_feedback_is_422_and_not_stored(reader, wrong):
    response = put(reader, "not stored", *BAD[wrong])
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert reader.get("/v1/users/not stored").status_code == 404


def test_the_next_question_is_the_librarys(client, model):
    put(client, "u", pair(0, 1)).raise_for_status()
    user = fitted(model, "u", [(0, 1)], [1.0])
    options = {"pairs": [(0, 1), (1, 3), (2, 3)], "top": 2, "stop_below": 0.01}
    expected = model.next_question(user, TEXTS, prompt=PROMPT, encoder=HashingEncoder(), **options)
    found = client.post("/v1/users/u/next-question", json={"prompt": PROMPT, "candidates": TEXTS, **options}).json()
    assert (found["question"]["first"], found["question"]["second"]) == (expected.first, expected.second)
    for name in ("information", "probability", "change"):
        assert found["question"][name] == pytest.approx(getattr(expected, name), rel=1e-3)
    asked = {"prompt": PROMPT, "candidates": TEXTS[:1] * 2}  # no comparison changes the ranking
    assert client.post("/v1/users/u/next-question", json=asked).json()["question"] is None


def test_an_unknown_user_is_asked_by_the_population_model(reader, model):
    expected = model.next_question(None, TEXTS, prompt=PROMPT, encoder=HashingEncoder())
    by_body = reader.post("/v1/users/unknown/next-question", json={"prompt": PROMPT, "candidates": TEXTS}).json()
    by_query = reader.get("/v1/users/unknown/next-question", params={"prompt": PROMPT, "candidates": TEXTS}).json()
    assert by_body == by_query
    assert (by_body["question"]["first"], by_body["question"]["second"]) == (expected.first, expected.second)


def test_the_expected_accuracy_is_that_of_users_drawn_from_the_posterior(reader, model):
    """Over draws of the weights, the predicted preference of each pair is right as often as expected."""
    found = reader.post("/v1/users/unknown/next-question", json={"prompt": PROMPT, "candidates": TEXTS}).json()
    mean, covariance = posterior_of(model, None)
    rows = torch.from_numpy(HashingEncoder().encode([as_conversation(PROMPT, text) for text in TEXTS]))
    projected = (rows @ model.basis).double() / model.temperature
    first, second = torch.combinations(torch.arange(len(TEXTS)), 2).unbind(dim=1)
    z = projected[first] - projected[second]
    users = torch.distributions.MultivariateNormal(mean, covariance)
    torch.manual_seed(0)
    chance = torch.sigmoid(users.sample((20_000,)) @ z.t())
    guess = (z @ mean) > 0
    right = torch.where(guess, chance, 1 - chance).mean()
    assert found["expected_accuracy"] == pytest.approx(float(right), abs=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidates": TEXTS[:1]},
        {"candidates": TEXTS * 30},
        {"pairs": []},
        {"pairs": [[0, 4]]},
        {"pairs": [[0, 0]]},
        {"pairs": [[0, 1, 2]]},
        {"pairs": [[0, 10**30]]},
        {"stop_below": 2},
        {"top": 0},
        {"top": 10**30},
        {"candidates": [{"embedding": [3e38] * 808}, {"embedding": [-3e38] * 808}]},
    ],
    ids=str,
)
def test_invalid_questions_are_422(reader, wrong):
    body = {"prompt": PROMPT, "candidates": TEXTS, **wrong}
    response = reader.post("/v1/users/unknown/next-question", json=body)
    assert response.status_code == 422, response.text


def test_users_without_a_posterior_get_no_question_and_no_update(start, model, tmp_path, settings):
    """As the paper's recipes leave them; after a deletion they can start anew."""
    from dataclasses import replace

    replace(model, covariance=None, comparisons=None).save_pretrained(tmp_path / "model", include_users=True)
    client = start(settings)
    found = client.get("/v1/users/trained").json()
    assert found["covariance"] is found["standard_deviation"] is None
    asked = {"prompt": PROMPT, "candidates": TEXTS}
    for response in (client.post("/v1/users/trained/next-question", json=asked), put(client, "trained", pair())):
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "model_cannot"
    client.delete("/v1/users/trained")
    assert put(client, "trained", pair()).status_code == 200


def test_the_responses_of_a_request_are_limited(client):
    """A few bytes each could otherwise become gigabytes of embeddings."""
    choice = {"prompt": "p", "responses": [str(number) for number in range(100)], "chosen": 0}
    response = client.put("/v1/users/u/answers", json={"answers": [choice] * 11})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert client.put("/v1/users/u/answers", json={"answers": [choice] * 10}).status_code == 200
