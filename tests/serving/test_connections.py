"""No client can make the server wait without end, or store headers without end."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import pytest

from lorerm.serving import connections

LINE = b"GET /health HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
POST = b"POST /v1/rerank HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def connect(client):
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def reply(connection):
    """What the server sends until it closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"GET /", b"400"),
        (LINE + HOST + b"X-Header: ", b"400"),
        (LINE + HOST + b"\r\n" + LINE + b"X-Header: ", b"200"),
        (POST + b"2\r\n{}\r\n0\r\nX-Trailer: ", b""),
        (POST + b"2;", b""),
    ],
    ids=repr,
)
def test_endless_headers_and_trailers_close_the_connection(client, begun, status):
    sent = 0
    with connect(client) as connection:
        connection.sendall(begun)
        with suppress(ConnectionError):
            while sent < 10_000_000:
                connection.sendall(b"a" * 100_000)
                sent += 100_000
                time.sleep(0.01)
        response = reply(connection)
    assert sent < 10_000_000
    assert response.partition(b" ")[2].startswith(status) or not response  # a reset can overtake it


@pytest.mark.parametrize("begun", [b"", b"GET", LINE + HOST, LINE + HOST + b"\r\nGET /he"], ids=repr)
def test_a_request_that_does_not_arrive_closes_the_connection(client, monkeypatch, begun):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with connect(client) as connection:
        connection.sendall(begun)
        started = time.monotonic()
        reply(connection)
        assert time.monotonic() - started < 4  # sooner than the end of a connection that is kept alive


def test_long_requests_that_end_are_answered(client, monkeypatch):
    """Long headers, a body in many parts, and a connection that is open for longer than a head may take."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    assert client.get("/health", headers={"X-Header": "a" * 50_000}).status_code == 200
    pieces = (b'{"documents": ["a"], "query": "', *(b"word " for _ in range(40_000)), b'"}')
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/rerank", content=iter(pieces), headers=headers).status_code == 200
    with connect(client) as connection:
        for _ in range(3):
            connection.sendall(LINE + HOST + b"\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            time.sleep(0.3)
