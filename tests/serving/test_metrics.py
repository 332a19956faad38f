"""Counters by route; never by user."""

from __future__ import annotations

from lorerm.serving.metrics import Metrics


def test_requests_are_counted_by_route_and_status():
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
