"""No client can make the server wait without end, or store headers without end."""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack, suppress

import httpx
import pytest

from lorerm.serving import connections
from servers import until

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
    pieces = (b'{"documents": ["a"], "query": "', *(b"word " for _ in range(19_000)), b'"}')
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/rerank", content=iter(pieces), headers=headers).status_code == 200
    with connect(client) as connection:
        for _ in range(3):
            connection.sendall(LINE + HOST + b"\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            time.sleep(0.3)


def test_requests_sent_far_ahead_are_ignored(client):
    """The accepted ones are answered in order, and then the connection is closed."""
    with connect(client) as connection:
        connection.sendall((LINE + HOST + b"\r\n") * 500)
        responses = reply(connection)
    assert 1 <= responses.count(b"HTTP/1.1 200") <= connections.MAX_PIPELINED + 1
    assert responses.count(b"HTTP/1.1") == responses.count(b"HTTP/1.1 200")
    assert client.get("/health").status_code == 200


def test_a_few_requests_sent_ahead_are_all_answered(client):
    with connect(client) as connection:
        connection.sendall((LINE + HOST + b"\r\n") * 5)
        assert reply(connection).count(b"HTTP/1.1 200") == 5


def small_buffers(client):
    """Connect with a buffer so small that the server notices soon that nothing is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((client.base_url.host, client.base_url.port))
    return connection


def is_closed(connection):
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


OPENAPI = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"


def test_a_client_that_reads_nothing_is_cut_off(client, monkeypatch):
    """The operating system sends what it has already taken from the server, and then the connection ends."""
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)
    monkeypatch.setattr(connections, "MAX_PIPELINED", 10_000)
    with small_buffers(client) as connection:
        connection.sendall(OPENAPI * 400)
        time.sleep(2)
        assert reply(connection).count(b"HTTP/1.1 200") < 400


def test_a_client_that_reads_slowly_gets_everything(client, monkeypatch):
    monkeypatch.setattr(connections, "READ_SECONDS", 1)
    monkeypatch.setattr(connections, "MAX_PIPELINED", 10_000)
    n, received = 200, b""
    with connect(client) as connection:
        connection.sendall(OPENAPI * n)
        while received.count(b"HTTP/1.1 200") < n:
            time.sleep(0.1)
            part = connection.recv(400_000)
            assert part
            received += part


def counted(client, route):
    found = re.findall(rf'lorerm_requests_total{{.*route="{route}".*}} (\S+)', client.get("/metrics").text)
    return sum(map(float, found))


def test_a_new_connection_ends_the_one_that_waited_longest_for_its_client(client, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 4)
    with ExitStack() as opened:
        waiting = []
        for _ in range(6):
            waiting.append(opened.enter_context(connect(client)))
            time.sleep(0.05)  # so that they are accepted in this order
        assert client.get("/health").status_code == 200
        until(lambda: all(map(is_closed, waiting[:2])), "two are closed", 20)
        assert not is_closed(waiting[-1])


def test_only_health_is_answered_if_the_server_works_for_all_connections(client, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 0)
    monkeypatch.setattr(connections.LimitedConnection, "waits_for_client", lambda self: False)
    with httpx.Client(base_url=client.base_url) as late:
        response = late.get("/v1/models")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "busy")
        assert {"retry-after", "connection"} <= response.headers.keys()
        assert late.get("/health").status_code == 200
    monkeypatch.undo()
    assert 'lorerm_unavailable_total{cause="connections"} 1.0' in client.get("/metrics").text
