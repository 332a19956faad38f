"""Rewards of documents: in order, best first, or one by one."""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from lorerm.serving.bodies import DirectRoute, described, read_body, write_body
from lorerm.serving.documents import Message
from lorerm.serving.errors import ApiError, documented
from lorerm.serving.routes.shared import service_of
from lorerm.serving.schemas import RerankOfEmbeddings, RerankRequest, RerankResponse, ScoreRequest, ScoreResponse
from lorerm.serving.texts import plain, text_of

router = APIRouter(route_class=DirectRoute, responses=documented(404, 409))


@router.post("/v1/rerank", operation_id="rerank", response_model=RerankResponse, openapi_extra=described(RerankRequest))
@router.post("/rerank", include_in_schema=False)
async def rerank(request: Request) -> Response:
    """Order documents by their rewards for a user, best first; equal rewards keep their order."""
    service, asked = service_of(request), await read_body(request, RerankRequest, RerankOfEmbeddings)
    service.check_model(asked.model)
    user, weights = await service.weights(asked)
    embeddings = await service.vectors(asked.documents, [asked.query] * len(asked.documents))
    rewards = service.rewards(embeddings, weights)
    best_first = sorted(range(len(rewards)), key=lambda place: -rewards[place])[: asked.top_n]
    results: list[dict[str, Any]] = [{"index": place, "relevance_score": rewards[place]} for place in best_first]
    if asked.return_documents:
        for result in results:
            text = plain(text_of(asked.documents[result["index"]]))
            result["document"] = None if text is None else {"text": text}
    return write_body({"id": _name("rerank"), "model": service.served.name, "user": user, "results": results})


@router.post("/v1/score", operation_id="score", response_model=ScoreResponse, openapi_extra=described(ScoreRequest))
@router.post("/score", include_in_schema=False)
async def score(request: Request) -> Response:
    """Return the reward of each document for a user: one query with all, or each query with its own document."""
    service, asked = service_of(request), await read_body(request, ScoreRequest)
    service.check_model(asked.model)
    documents, prompts = _listed(asked.documents), _listed(asked.queries)
    if len(prompts) == 1:
        prompts = prompts * len(documents)
    if len(prompts) != len(documents):
        raise ApiError(
            422,
            "invalid_request",
            f"there are {len(prompts)} queries and {len(documents)} documents",
            "send one query, or as many as documents",
        )
    user, weights = await service.weights(asked)
    rewards = service.rewards(await service.vectors(documents, prompts), weights)
    return write_body(
        {
            "id": _name("score"),
            "object": "list",
            "created": int(time.time()),
            "model": service.served.name,
            "user": user,
            "data": [{"index": place, "object": "score", "score": reward} for place, reward in enumerate(rewards)],
        }
    )


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - one or several
    """Return several as they are, and one, which can be a list of messages, as a list of one."""
    return value if isinstance(value, list) and not isinstance(value[0], Message) else [value]


def _name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"
