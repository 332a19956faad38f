"""The server itself: which model, whether it works, what it counts."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from lorerm.serving.errors import documented
from lorerm.serving.metrics import CONTENT_TYPE
from lorerm.serving.routes.shared import service_of
from lorerm.serving.schemas import ModelList, ServedModel, Status

router = APIRouter(responses=documented())


@router.get("/v1/models", operation_id="list_models")
async def list_models(request: Request) -> ModelList:
    """Return the model that is served."""
    served = service_of(request).served
    model = served.model
    return ModelList(
        data=[
            ServedModel(
                id=served.name,
                created=served.created,
                rank=model.fitted_rank,
                dimension=model.basis.shape[0],
                weight_space=model.weight_space,
                temperature=model.temperature,
                encoder=None if served.encoder is None else served.encoder.identity.model,
                fingerprint=served.fingerprint,
            )
        ]
    )


# Load balancers ask with HEAD, which FastAPI does not answer by itself where there is a GET.
@router.head("/health", include_in_schema=False)
@router.get("/health", operation_id="health")
async def health() -> Status:
    """Tell that the process answers."""
    return Status()


@router.head("/ready", include_in_schema=False)
@router.get("/ready", operation_id="ready")
async def ready(request: Request) -> Status:
    """Tell that the model is loaded and the database answers."""
    await service_of(request).people.check()
    return Status()


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return counters in the text format of Prometheus."""
    return Response(service_of(request).metrics.render(), media_type=CONTENT_TYPE)
