"""Prometheus metrics: requests by method, route and status, never by user."""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from lorerm.serving.settings import METRICS_FOLDER

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


class Metrics:
    """Counters of requests and a histogram of response times."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lorerm_requests", "Number of requests", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "lorerm_request_seconds", "Seconds per request", ["route"], registry=self._registry, buckets=_BUCKETS
        )
        self._unavailable = Counter(
            "lorerm_unavailable", "Number of responses with status 503", ["cause"], registry=self._registry
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request and its response time."""
        key = method if method in _METHODS else "other", route, status
        if key not in self._children:  # cached, because `labels` takes longer than counting
            self._children[key] = self._requests.labels(key[0], route, str(status)), self._seconds.labels(route)
        requests, times = self._children[key]
        requests.inc()
        times.observe(seconds)

    def count_unavailable(self, cause: str) -> None:
        """Count a response with status 503 by its cause (see `lorerm.serving.errors.cause_of`)."""
        self._unavailable.labels(cause).inc()

    def render(self) -> bytes:
        """Return the metrics of all processes of the server in Prometheus's text format."""
        registry = self._registry
        if os.environ.get(METRICS_FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
