"""Rewards of documents: in order, best first, or one by one."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends

from lorerm.serving.errors import ApiError, documented
from lorerm.serving.json_bodies import JsonRoute
from lorerm.serving.routes.shared import Service, service_of
from lorerm.serving.schemas import (
    Message,
    Ranked,
    RerankedDocument,
    RerankRequest,
    RerankResponse,
    Score,
    ScoreRequest,
    ScoreResponse,
)
from lorerm.serving.texts import text_of

router = APIRouter(route_class=JsonRoute, responses=documented(404, 409))
TheService = Annotated[Service, Depends(service_of)]


@router.post("/v1/rerank", operation_id="rerank", response_model_exclude_none=True)
@router.post("/rerank", include_in_schema=False, response_model_exclude_none=True)
async def rerank(request: RerankRequest, service: TheService) -> RerankResponse:
    """Order documents by their rewards for a user, best first; equal rewards keep their order."""
    service.check_model(request.model)
    user, weights = await service.weights(request)
    embeddings = await service.vectors(request.documents, [request.query] * len(request.documents))
    rewards = service.rewards(embeddings, weights)
    best_first = np.argsort(np.negative(rewards), kind="stable")[: request.top_n].tolist()
    results = [Ranked(index=place, relevance_score=rewards[place]) for place in best_first]
    if request.return_documents:
        for ranked in results:
            text = text_of(request.documents[ranked.index])
            ranked.document = None if text is None else RerankedDocument(text=text)
    return RerankResponse(id=_name("rerank"), model=service.served.name, user=user, results=results)


@router.post("/v1/score", operation_id="score")
@router.post("/score", include_in_schema=False)
async def score(request: ScoreRequest, service: TheService) -> ScoreResponse:
    """Return the reward of each document for a user: one query with all, or each query with its own document."""
    service.check_model(request.model)
    documents = request.documents if _is_list(request.documents) else [request.documents]
    prompts = request.queries if _is_list(request.queries) else [request.queries]
    if len(prompts) == 1:
        prompts = prompts * len(documents)
    if len(prompts) != len(documents):
        raise ApiError(
            422,
            "invalid_request",
            f"there are {len(prompts)} queries and {len(documents)} documents",
            "send one query, or as many as documents",
        )
    user, weights = await service.weights(request)
    rewards = service.rewards(await service.vectors(documents, prompts), weights)
    data = [Score(index=place, score=reward) for place, reward in enumerate(rewards)]
    return ScoreResponse(id=_name("score"), created=int(time.time()), model=service.served.name, user=user, data=data)


def _is_list(value: Any) -> bool:  # noqa: ANN401 - one or several
    """Tell several apart from one, which can be a list of messages."""
    return isinstance(value, list) and not isinstance(value[0], Message)


def _name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"
