"""The application: settings in, routes behind the gate out."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

from lorerm._version import __version__
from lorerm.errors import LorermError
from lorerm.serving.bodies import definitions
from lorerm.serving.database import Database
from lorerm.serving.embeddings import Embeddings
from lorerm.serving.errors import add_handlers
from lorerm.serving.gate import Gate
from lorerm.serving.metrics import Metrics
from lorerm.serving.people import People
from lorerm.serving.routes import ranking, service, users
from lorerm.serving.routes.shared import Service
from lorerm.serving.served import Served
from lorerm.serving.server import end_with_parent
from lorerm.serving.settings import ENVIRONMENT, Settings
from lorerm.serving.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = Path(__file__).parent / "page"


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; without settings, from those that `lorerm serve` left in the environment.

    The model is loaded when it starts; the database must have been prepared (`Database.prepare`).
    """
    settings = settings or Settings.from_json(os.environ[ENVIRONMENT])
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        end_with_parent()
        with ExitStack() as until_end:
            app.state.service = _open(settings, metrics, until_end)
            # What is loaded by now stays: the collector need not look through it again and again.
            gc.collect()
            gc.freeze()
            yield

    app = FastAPI(
        title="lorerm",
        summary="Personal reward models over HTTP.",
        version=__version__,
        lifespan=lifespan,
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        redirect_slashes=False,  # not to an address made of the request's `Host`, nor to HTTP from behind a proxy's TLS
        # Flat, and the most asked for first: a router in a router is looked through more slowly.
        routes=[*ranking.router.routes, *users.router.routes, *service.router.routes],
    )
    app.openapi = partial(_describe, app)  # type: ignore[method-assign]
    add_handlers(app)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.add_middleware(Gate, settings=settings, metrics=metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
        )
    return app


def _open(settings: Settings, metrics: Metrics, until_end: ExitStack) -> Service:
    """Load the model, and connect it with what is kept of people."""
    try:
        database = Database(settings.database)
        until_end.callback(database.close)
        served = Served(settings)
    except LorermError as error:
        sys.stderr.write(f"lorerm: {error}\n")
        # Where in our code that was found is nothing to those who can put it right.
        logging.getLogger("uvicorn.error").addFilter(lambda record: "Traceback" not in record.getMessage())
        raise
    people = People(served, Store(database, served.fingerprint))
    until_end.callback(people.close)
    embeddings = None if served.encoder is None else Embeddings(served.encoder, settings.cache_bytes)
    if embeddings is not None:
        until_end.callback(embeddings.close)
    return Service(served, people, embeddings, metrics)


def _describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of the API, with the bodies that are not read by FastAPI."""
    if app.openapi_schema is None:
        described = FastAPI.openapi(app)
        described["components"]["schemas"] |= definitions()
    return FastAPI.openapi(app)
