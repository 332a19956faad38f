"""Prometheus metrics of the server: requests, queues, caches, fits and the database. No metric names a user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from lorerm.serving.model_series import Contents
from lorerm.serving.settings import METRICS_FOLDER

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}

_GAUGES = {
    "texts_waiting": "Number of texts that wait for the encoder",
    "calls_waiting": "Number of requests that wait for a thread, to use the database or to fit weights",
    "embeddings_cached": "Number of embeddings in the cache",
    "users_cached": "Number of users whose weights are in the cache",
}
_COUNTERS = {
    "cache_hits": "Number of embeddings that were in the cache",
    "cache_misses": "Number of embeddings that were not in the cache",
    "fits": "Number of fits of a user's weights",
    "fit_seconds": "Seconds that fits of users' weights took",
}


class Metrics:
    """Prometheus metrics of one process: counts of requests, response times, and sizes of queues and caches."""

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
        self._gauges = {
            name: Gauge(f"lorerm_{name}", text, registry=self._registry, multiprocess_mode="livesum")
            for name, text in _GAUGES.items()
        }
        self._counters = {
            name: Counter(f"lorerm_{name}", text, registry=self._registry) for name, text in _COUNTERS.items()
        }
        self._counted = dict.fromkeys(_COUNTERS, 0.0)
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

    def sample(self, **values: float) -> None:
        """Set gauges and counters of this process to `values`, by name. A counter's value is its total so far.

        It is called once a second. Updating the metrics at every change of a queue or cache would take too much time.
        """
        for name, value in values.items():
            if name in self._gauges:
                self._gauges[name].set(value)
            else:
                self._counters[name].inc(value - self._counted[name])
                self._counted[name] = value

    def render(self, held: Contents | None = None) -> bytes:
        """Return the metrics of all processes of the server in Prometheus's text format.

        `held` adds the metrics of the database.
        """
        registry = self._registry
        if folder := os.environ.get(METRICS_FOLDER):
            _drop_ended_processes(Path(folder))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        text = generate_latest(registry)
        if held is not None:
            of_database = CollectorRegistry()
            of_database.register(_DatabaseCollector(held))
            text += generate_latest(of_database)
        return text


class _DatabaseCollector(Collector):
    """Numbers of users and of their feedback in the database."""

    def __init__(self, held: Contents) -> None:
        self._held = held

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        held = self._held
        users = GaugeMetricFamily("lorerm_users", "Number of users in the database, by model", labels=["model"])
        users.add_metric(["served"], held.served.users)
        users.add_metric(["other"], held.other.users)
        yield users
        feedback = GaugeMetricFamily(
            "lorerm_feedback",
            "Number of comparisons and choices in the database: received by the served model (served); received by "
            "another model of its series and used, exactly (carried_over) or approximately (approximated); not used "
            "(other)",
            labels=["model"],
        )
        feedback.add_metric(["served"], held.served.feedback - held.exact - held.mapped)
        feedback.add_metric(["carried_over"], held.exact)
        feedback.add_metric(["approximated"], held.mapped)
        feedback.add_metric(["other"], held.other.feedback)
        yield feedback


def _drop_ended_processes(folder: Path) -> None:
    """Delete the gauges of processes that have ended, so that sums are over running processes only."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
