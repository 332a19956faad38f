"""The limit on request bodies."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from servers import post


def test_bodies_are_limited_with_and_without_a_declared_length(start, settings):
    client = start(replace(settings, max_body=2000))

    def in_parts():
        for _ in range(30):
            yield b" " * 100

    for content in (b" " * 2001, in_parts()):
        answer = post(client, "/v1/rerank", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    asked = {"query": "What of bread?", "documents": ["It is good.", "No."]}
    assert client.post("/v1/rerank", json=asked).status_code == 200
    with pytest.raises(httpx.HTTPError):
        # Rejected by the HTTP parser or by the server: either way nothing is waited for.
        post(client, "/v1/rerank", content=b"{}", headers={"Content-Length": "9" * 30}).raise_for_status()
