"""The ASGI application: routes, middleware and the web page."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Route

from lorerm._version import __version__
from lorerm.serving.errors import handle_error
from lorerm.serving.loaded_model import ServedModel
from lorerm.serving.metrics import Metrics
from lorerm.serving.middleware import ordered_middleware
from lorerm.serving.routes import ranking, status, users
from lorerm.serving.settings import Settings
from lorerm.serving.state import State

PAGE = Path(__file__).parent / "page"


async def _describe(request: Request) -> Response:
    """Return the OpenAPI description, encoded once. FastAPI's own route encodes it for every request."""
    app: FastAPI = request.app
    if not hasattr(app.state, "description"):
        app.state.description = JSONResponse(app.openapi()).body
    return Response(app.state.description, media_type="application/json")


def create_app(
    settings: Settings,
    served: ServedModel | None = None,
    wait_to_serve: Callable[[], Awaitable[None]] | None = None,
) -> FastAPI:
    """Build the ASGI application.

    The model is loaded when the application starts. The database must have been prepared (`Database.prepare`).
    `served` is the model, if the supervisor loaded it. `wait_to_serve` is awaited when everything is loaded, before
    connections are accepted.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as until_end:
            app.state.shared = State.open(settings, metrics, until_end, served)
            # The objects that exist now are needed until the process ends. Freezing excludes them from all later
            # garbage collections.
            gc.collect()
            gc.freeze()
            sampling = asyncio.create_task(app.state.shared.sample_metrics())
            until_end.callback(sampling.cancel)
            if wait_to_serve is not None:
                await wait_to_serve()
            yield

    app = FastAPI(
        title="lorerm",
        summary="Personal reward models over HTTP.",
        version=__version__,
        lifespan=lifespan,
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        # No redirect for a path with a surplus slash: its address would contain the request's `Host` header, and
        # http:// even behind a TLS proxy.
        redirect_slashes=False,
        # Starlette tests routes in order, so the most requested come first. Nested routers would be slower than a list.
        routes=[*ranking.router.routes, *users.router.routes, *status.router.routes, Route("/openapi.json", _describe)],
        middleware=ordered_middleware(settings, metrics),
        # These two replace FastAPI's own handlers. All other exceptions reach the middleware `ErrorResponses`.
        exception_handlers={HTTPException: handle_error, RequestValidationError: handle_error},
    )
    app.mount("/page", StaticFiles(directory=PAGE), name="page")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    return app
