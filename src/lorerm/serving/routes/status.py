"""Routes about the server: its model, health and metrics."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3

from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from lorerm.serving.errors import ApiError, documented
from lorerm.serving.metrics import CONTENT_TYPE
from lorerm.serving.schemas import ModelCard, ModelList, Status
from lorerm.serving.state import state_of

router = APIRouter(responses=documented())


@router.get("/v1/models", operation_id="list_models")
async def list_models(request: Request) -> ModelList:
    """Return the server's model."""
    loaded = state_of(request).model
    model = loaded.model
    card = ModelCard(
        id=loaded.name,
        created=loaded.created,
        rank=model.fitted_rank,
        dimension=model.basis.shape[0],
        weight_space=model.weight_space,
        temperature=model.temperature,
        encoder=None if loaded.encoder is None else loaded.encoder.identity.model,
        fingerprint=loaded.fingerprint,
    )
    return ModelList(data=[card])


# Load balancers send HEAD requests, which FastAPI does not accept on a GET route by itself.
@router.head("/health", include_in_schema=False)
@router.get("/health", operation_id="health")
async def health() -> Status:
    """Respond with status 200 if the process runs."""
    return Status()


@router.head("/ready", include_in_schema=False)
@router.get("/ready", operation_id="ready")
async def ready(request: Request) -> Status:
    """Respond with status 200 if the model is loaded and the database responds."""
    await state_of(request).users.check()
    return Status()


@router.post("/admin/reload", operation_id="reload", status_code=202, responses=documented(409))
async def reload() -> Status:
    """Make all processes load the model again. The request needs an API key with the scope `admin`."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None or supervisor.pid is None:
        raise ApiError(409, "cannot_reload", "this process has no supervisor", "start it with `lorerm serve`")
    os.kill(supervisor.pid, signal.SIGHUP)
    return Status()


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return metrics in Prometheus's text format."""
    state = state_of(request)
    try:
        held = await state.users.contents()
    except (SQLAlchemyError, sqlite3.Error):
        held = None  # return the other metrics: they are needed most while the database is down
    return Response(state.metrics.render(held), media_type=CONTENT_TYPE)
