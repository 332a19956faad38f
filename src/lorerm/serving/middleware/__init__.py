"""ASGI middleware: one class for each concern. Every request passes all of it, so it is written to take little time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from lorerm.serving.middleware.authentication import Authentication
from lorerm.serving.middleware.body_size import BodySizeLimit
from lorerm.serving.middleware.error_responses import ErrorResponses
from lorerm.serving.middleware.metrics import Metrics, RequestMetrics
from lorerm.serving.middleware.raw_path import RawPath
from lorerm.serving.middleware.security_headers import SecurityHeaders
from lorerm.serving.middleware.time_limit import TimeLimit

if TYPE_CHECKING:
    from lorerm.serving.settings import Settings


def ordered_middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """Return all middleware, the outermost first.

    Browsers' preflight requests carry no key, so CORS comes before authentication. What only observes comes next, so
    that it also sees the error responses; the limits come last, so that their errors are answered.
    """
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
    )
    return [
        *([cors] if settings.origins else []),
        Middleware(RawPath),
        Middleware(RequestMetrics, metrics=metrics),
        Middleware(SecurityHeaders),
        Middleware(ErrorResponses),
        Middleware(Authentication, keys=settings.keys),
        Middleware(BodySizeLimit, max_bytes=settings.max_body),
        Middleware(TimeLimit, seconds=settings.timeout),
    ]
