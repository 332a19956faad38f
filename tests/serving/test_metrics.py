"""Requests are counted by route, never by user."""

from __future__ import annotations

import re
import socket
import time

from lorerm.serving.metrics import Metrics
from servers import until


def test_requests_are_counted_by_method_route_and_status():
    metrics = Metrics()
    for status, seconds in ((200, 0.004), (200, 0.2), (404, 0.001)):
        metrics.count("GET", "/v1/users/{user}", status, seconds)
    metrics.count("BREW", "other", 405, 0.0)
    text = metrics.render().decode()
    assert 'lorerm_requests_total{method="GET",route="/v1/users/{user}",status="200"} 2.0' in text
    assert 'lorerm_requests_total{method="GET",route="/v1/users/{user}",status="404"} 1.0' in text
    assert 'lorerm_requests_total{method="other",route="other",status="405"} 1.0' in text
    assert 'lorerm_request_seconds_bucket{le="0.005",route="/v1/users/{user}"} 2.0' in text
    assert "BREW" not in text


def test_a_closed_connection_is_counted_as_499(client, caplog):
    """It is not a server error: neither the log nor the counts that alarms watch may say so."""
    address = client.base_url.host, client.base_url.port
    with socket.create_connection(address, timeout=60) as leaving:
        head = b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        leaving.sendall(head + b"Content-Length: 99\r\n\r\n{")
        time.sleep(0.2)
    counted = re.compile(r'lorerm_requests_total{method="POST",route="/v1/rerank",status="(\d+)"} 1.0')
    assert until(lambda: counted.findall(client.get("/metrics").text), "the request is counted") == ["499"]
    assert caplog.text == ""


def test_queues_caches_and_users_are_measured(client):
    body = {"answers": [{"prompt": "p", "chosen": "a", "rejected": "b"}]}
    for user in ("u", "v"):
        client.put(f"/v1/users/{user}/answers", json=body).raise_for_status()

    def value(name):
        return float(re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)[1])

    until(lambda: value("lorerm_fits_total") == 2, "the fits are counted", 20)
    assert value("lorerm_embeddings_cached") == 2
    assert value("lorerm_cache_misses_total") == 2
    assert value("lorerm_users_cached") == 2
    assert value("lorerm_texts_waiting") == value("lorerm_calls_waiting") == 0
    assert value('lorerm_users{model="served"}') == 2
    assert value('lorerm_feedback{model="approximated"}') == 0
