"""A percent-encoded slash does not separate the segments of a path."""

from __future__ import annotations

import asyncio

from lorerm.serving.middleware.raw_path import RawPath


def routed_path(raw_path):
    found = []

    async def app(scope, receive, send):
        found.append(scope["path"])

    asyncio.run(RawPath(app)({"type": "http", "path": "decoded", "raw_path": raw_path}, None, None))
    return found[0]


def test_the_path_stays_encoded():
    assert routed_path(b"/v1/users/a%2Fb") == "/v1/users/a%2Fb"
    assert routed_path(b"/v1/users/a?population=true") == "/v1/users/a"
    assert routed_path(b"/\xff") == "/\ufffd"
