"""Routes for rewards: rank documents by reward, or return the reward of each document."""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request

from lorerm.arrays import Floats32
from lorerm.errors import DataError
from lorerm.serving.documents import plain_text
from lorerm.serving.errors import ApiError, documented, unknown_user
from lorerm.serving.routes.json_route import DirectRoute
from lorerm.serving.schemas import Message, RerankRequest, RerankResponse, RewardRequest, ScoreRequest, ScoreResponse
from lorerm.serving.state import State, state_of

router = APIRouter(route_class=DirectRoute, responses=documented(404, 409))


@router.post("/v1/rerank", operation_id="rerank", response_model=RerankResponse)
@router.post("/rerank", include_in_schema=False)
async def rerank(request: Request, body: RerankRequest) -> dict[str, Any]:
    """Order documents by their rewards for a user, best first; equal rewards keep their order."""
    state = state_of(request)
    user, weights = await _weights(state, body)
    embeddings = await state.embed(body.documents, [body.query] * len(body.documents))
    rewards = state.model.rewards(embeddings, weights)
    best_first = sorted(range(len(rewards)), key=lambda index: -rewards[index])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": rewards[index]} for index in best_first]
    if body.return_documents:
        for result in results:
            text = plain_text(body.documents[result["index"]])
            result["document"] = None if text is None else {"text": text}
    return {"id": _response_id("rerank"), "model": state.model.name, "user": user, "results": results}


@router.post("/v1/score", operation_id="score", response_model=ScoreResponse)
@router.post("/score", include_in_schema=False)
async def score(request: Request, body: ScoreRequest) -> dict[str, Any]:
    """Return the reward of each document for a user. The request has one query for all documents, or one for each."""
    state = state_of(request)
    documents, prompts = _as_list(body.documents), _as_list(body.queries)
    if len(prompts) == 1:
        prompts = prompts * len(documents)
    if len(prompts) != len(documents):
        problem = f"there are {len(prompts)} queries and {len(documents)} documents"
        raise DataError(problem, "send one query, or one for each document")
    user, weights = await _weights(state, body)
    rewards = state.model.rewards(await state.embed(documents, prompts), weights)
    return {
        "id": _response_id("score"),
        "object": "list",
        "created": int(time.time()),
        "model": state.model.name,
        "user": user,
        "data": [{"index": index, "object": "score", "score": reward} for index, reward in enumerate(rewards)],
    }


async def _weights(state: State, asked: RewardRequest) -> tuple[str | None, Floats32]:
    """Return the id of the user whose weights are used, and the weights [K].

    The id is None if they are the population weights: the prior mean, used if a request names no user.
    """
    if asked.model is not None and asked.model != state.model.name:
        remedy = f"set `model` to {state.model.name!r}, or leave it out"
        raise ApiError(404, "unknown_model", "the server has no model with the requested name", remedy)
    if asked.user is not None:
        user = await state.users.find(asked.user)
        if user is not None:
            return asked.user, user.weights
        if not asked.population:
            raise unknown_user(asked.user)
    return None, state.model.population_weights


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - texts or documents
    """Return a list of values unchanged, and a single value in a list. A list of messages is a single value."""
    return value if isinstance(value, list) and not isinstance(value[0], Message) else [value]


def _response_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"
