"""Middleware handles requests and passes other events on."""

from __future__ import annotations

import asyncio

from lorerm.serving.middleware.base import HttpMiddleware


def test_only_requests_are_handled():
    events = []

    class Recording(HttpMiddleware):
        async def _handle(self, scope, receive, send):
            events.append("handled")
            await self.app(scope, receive, send)

    async def app(scope, receive, send):
        events.append(scope["type"])

    for kind in ("http", "lifespan"):
        asyncio.run(Recording(app)({"type": kind}, None, None))
    assert events == ["handled", "http", "lifespan"]
