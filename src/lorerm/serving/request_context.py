"""Data of the request that is being handled: its id, for the log, and its client, for fair queues."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Random id of the request, made by the server. None if no request is being handled."""
client: ContextVar[str] = ContextVar("client", default="")
"""The client that sent the request: the SHA-256 of its API key; empty if the server has no keys."""
