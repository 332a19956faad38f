"""The application as a whole: its OpenAPI description, its log, and the data that a restart keeps."""

from __future__ import annotations

import logging
from dataclasses import replace

from lorerm.serving.app import create_app

FEEDBACK = {"answers": [{"prompt": "What of bread?", "chosen": "It is good.", "rejected": "Well, it depends."}]}


def test_the_page_docs_is_optional(settings):
    assert "/docs" in {route.path for route in create_app(replace(settings, docs=True)).routes}
    assert "/docs" not in {route.path for route in create_app(settings).routes}


def test_openapi_describes_every_body_and_error(reader):
    described = reader.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert ("requestBody" in operation) == (method in ("post", "put") and path != "/admin/reload"), path
            assert {"401", "413", "422", "503"} <= set(operation["responses"])
    text = reader.get("/openapi.json").text
    for name in text.split("#/components/schemas/")[1:]:
        assert name.partition('"')[0] in described["components"]["schemas"]


def test_openapi_names_the_schema_of_each_body(reader):
    described = reader.get("/openapi.json").json()["paths"]
    schemas = {
        path: names(operation["requestBody"]["content"]["application/json"]["schema"])
        for path, operations in described.items()
        for operation in operations.values()
        if "requestBody" in operation
    }
    assert schemas == {
        **dict.fromkeys(("/v1/rerank", "/v2/rerank", "/v1/users/{user}/rerank"), "RerankRequest TextsRequest"),
        **dict.fromkeys(("/v1/score", "/v1/users/{user}/score"), "ScoreRequest"),
        **dict.fromkeys(("/v1/classify", "/v1/users/{user}/classify"), "ClassifyRequest"),
        "/v1/users/{user}/answers": "FeedbackRequest",
        "/v1/user/answers": "UserFeedbackRequest",
        "/v1/users/{user}/next-question": "QuestionRequest",
        "/v1/user/next-question": "UserQuestionRequest",
        "/v1/user": "UserRequest",
        "/v1/user/delete": "DeletionRequest",
    }


def names(schema):
    return " ".join(each["$ref"].rpartition("/")[2] for each in schema.get("anyOf", [schema]))


def test_users_are_known_after_a_restart(settings, url):
    from servers import running

    settings = replace(settings, database=url)
    with running(settings) as client:
        before = client.put("/v1/users/u/answers", json=FEEDBACK).json()
        client.delete("/v1/users/trained")
    with running(settings) as client:
        assert client.get("/v1/users/u").json() == before
        assert client.get("/v1/users/trained").status_code == 404


def test_two_servers_on_one_database_know_the_same(settings, url, start):
    one, other = start(replace(settings, database=url)), start(replace(settings, database=url))
    asked = {"query": "q", "documents": ["It is good.", "Well, it depends."], "user": "u"}
    for number in range(6):
        writer, reader = (one, other) if number % 2 else (other, one)
        writer.put("/v1/users/u/answers", json=FEEDBACK).raise_for_status()
        found = [client.post("/v1/rerank", json=asked).json()["results"] for client in (writer, reader)]
        assert found[0] == found[1]
        assert reader.get("/v1/users/u").json()["answers"] == number + 1
    one.delete("/v1/users/u")
    assert other.post("/v1/rerank", json=asked).status_code == 404


def test_ids_and_texts_are_not_logged(start, settings, caplog, capfd):
    """Neither by this package nor by the libraries below it, for valid and invalid requests."""
    logging.getLogger("httpx").setLevel(logging.CRITICAL)  # the client's own
    client = start(settings)
    marked = {"prompt": "zanzibar", "chosen": "zanzibar 1", "rejected": "zanzibar 2"}
    with caplog.at_level(logging.INFO):
        client.put("/v1/users/zanzibar/answers", json={"answers": [marked]}).raise_for_status()
        client.put("/v1/users/zanzibar/answers", json={"answers": [{**marked, "weight": -1}]})
        client.put("/v1/users/zanzibar%00/answers", json={"answers": [marked]})
        client.get("/v1/users/zanzibar2")
        client.get("/zanzibar")
        client.post("/v1/rerank", json={"query": "zanzibar", "documents": ["zanzibar"], "user": "zanzibar"})
        client.delete("/v1/users/zanzibar")
    assert "zanzibar" not in caplog.text
    assert "zanzibar" not in client.get("/metrics").text
    written = capfd.readouterr()
    assert "zanzibar" not in written.out + written.err
