"""The application as a whole: its page, its description, and what it keeps from one start to the next."""

from __future__ import annotations

from dataclasses import replace

from lorerm.serving.app import create_app
from lorerm.serving.settings import ENVIRONMENT

ANSWER = {"answers": [{"prompt": "What of bread?", "chosen": "It is good.", "rejected": "Well, it depends."}]}


def test_it_is_built_from_what_the_command_left_in_the_environment(settings, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, replace(settings, docs=True).to_json())
    assert "/docs" in {route.path for route in create_app().routes}
    assert "/docs" not in {route.path for route in create_app(settings).routes}


def test_the_page_comes_with_a_policy_that_lets_nothing_else_in(reader):
    answer = reader.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "content-security-policy" not in reader.get("/health").headers


def test_every_body_is_described(reader):
    described = reader.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert ("requestBody" in operation) == (method in ("post", "put")), path
            assert {"401", "413", "422", "503"} <= set(operation["responses"])
    text = reader.get("/openapi.json").text
    for name in text.split("#/components/schemas/")[1:]:
        assert name.partition('"')[0] in described["components"]["schemas"]


def test_what_was_learned_is_known_after_the_next_start(settings, url):
    from servers import running

    settings = replace(settings, database=url)
    with running(settings) as client:
        before = client.put("/v1/users/u/answers", json=ANSWER).json()
        client.delete("/v1/users/trained")
    with running(settings) as client:
        assert client.get("/v1/users/u").json() == before
        assert client.get("/v1/users/trained").status_code == 404


def test_two_servers_on_one_database_are_one(settings, url, start):
    one, other = start(replace(settings, database=url)), start(replace(settings, database=url))
    asked = {"query": "q", "documents": ["It is good.", "Well, it depends."], "user": "u"}
    for number in range(6):
        writer, reader = (one, other) if number % 2 else (other, one)
        writer.put("/v1/users/u/answers", json=ANSWER).raise_for_status()
        found = [client.post("/v1/rerank", json=asked).json()["results"] for client in (writer, reader)]
        assert found[0] == found[1]
        assert reader.get("/v1/users/u").json()["answers"] == number + 1
    one.delete("/v1/users/u")
    assert other.post("/v1/rerank", json=asked).status_code == 404
