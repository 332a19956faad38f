"""Routes for rewards: rank documents, score or classify responses.

Each route exists twice: with the user in the body, and below /v1/users/{user}, for clients in which only the base URL
can be set.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import APIRouter, Request

from lorerm.arrays import Floats32
from lorerm.errors import DataError
from lorerm.serving.documents import plain_text
from lorerm.serving.errors import documented, unknown_user
from lorerm.serving.requested_user import requested_user
from lorerm.serving.reward_schemas import (
    ClassifyRequest,
    ClassifyResponse,
    RankedByTexts,
    RerankRequest,
    RerankResponse,
    RewardRequest,
    ScoreRequest,
    ScoreResponse,
    TextsRequest,
)
from lorerm.serving.routes.json_route import DirectRoute
from lorerm.serving.schemas import Message, UserInPath
from lorerm.serving.state import State, state_of

_RerankBody: TypeAlias = RerankRequest | TextsRequest
_Ranking: TypeAlias = RerankResponse | list[RankedByTexts]

# Clients of other servers fail without these fields. The server counts no tokens and bills nothing.
_USAGE = {"prompt_tokens": 0, "total_tokens": 0}
_META = {"api_version": {"version": "2"}, "billed_units": {"search_units": 0}}
# The last part of the paths with Infinity's format, in which documents are returned as strings.
_INFINITY = "/infinity/rerank"

router = APIRouter(route_class=DirectRoute, responses=documented(404, 409))


@router.post("/v1/rerank", operation_id="rerank", response_model=_Ranking)
@router.post("/v2/rerank", operation_id="rerank_v2", response_model=_Ranking)
@router.post("/rerank", include_in_schema=False)
@router.post(_INFINITY, include_in_schema=False)
async def rerank(request: Request, body: _RerankBody) -> Any:  # noqa: ANN401 - a mapping or a list
    """Order documents by their rewards for a user, best first; equal rewards keep their order."""
    return await _rerank(request, body, None)


@router.post("/v1/users/{user}/rerank", operation_id="rerank_for_user", response_model=_Ranking)
@router.post("/v1/users/{user}/v1/rerank", include_in_schema=False)
@router.post("/v1/users/{user}/v2/rerank", include_in_schema=False)
@router.post("/v1/users/{user}" + _INFINITY, include_in_schema=False)
async def rerank_for_user(user: UserInPath, request: Request, body: _RerankBody) -> Any:  # noqa: ANN401
    """Order documents by their rewards for the user in the path."""
    return await _rerank(request, body, user)


@router.post("/v1/score", operation_id="score", response_model=ScoreResponse)
@router.post("/score", include_in_schema=False)
async def score(request: Request, body: ScoreRequest) -> dict[str, Any]:
    """Return the score of each document for a user. The request has one query for all documents, or one for each."""
    return await _score(request, body, None)


@router.post("/v1/users/{user}/score", operation_id="score_for_user", response_model=ScoreResponse)
@router.post("/v1/users/{user}/v1/score", include_in_schema=False)
async def score_for_user(user: UserInPath, request: Request, body: ScoreRequest) -> dict[str, Any]:
    """Return the score of each document for the user in the path."""
    return await _score(request, body, user)


@router.post("/v1/classify", operation_id="classify", response_model=ClassifyResponse)
@router.post("/classify", include_in_schema=False)
async def classify(request: Request, body: ClassifyRequest) -> dict[str, Any]:
    """Return, for each response, the probability that a user prefers it to one with reward 0."""
    return await _classify(request, body, None)


@router.post("/v1/users/{user}/classify", operation_id="classify_for_user", response_model=ClassifyResponse)
@router.post("/v1/users/{user}/v1/classify", include_in_schema=False)
async def classify_for_user(user: UserInPath, request: Request, body: ClassifyRequest) -> dict[str, Any]:
    """Return, for each response, the probability that the user in the path prefers it to one with reward 0."""
    return await _classify(request, body, user)


async def _rerank(request: Request, body: RerankRequest, in_path: str | None) -> dict[str, Any] | list[dict[str, Any]]:
    state, is_texts = state_of(request), isinstance(body, TextsRequest)
    is_infinity = request.scope["path"].endswith(_INFINITY)
    bounded = body.wants_bounded(default=is_texts or is_infinity or state.settings.bounded)
    scored = await _scored(request, body, in_path, body.documents, [body.query] * len(body.documents))
    scores = scored.scores(bounded=bounded)
    best_first = sorted(range(len(scores)), key=lambda index: -scored.rewards[index])[: body.top_n]
    texts = [plain_text(body.documents[index]) for index in best_first] if body.return_documents else None
    if is_texts:
        found = [{"index": index, "score": scores[index]} for index in best_first]
        return found if texts is None else [{**each, "text": text} for each, text in zip(found, texts, strict=True)]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in best_first]
    if texts is not None:
        as_string = is_infinity or body.raw_scores is not None
        for result, text in zip(results, texts, strict=True):
            result["document"] = text if as_string or text is None else {"text": text}
    return {**scored.head("rerank", bounded=bounded), "results": results, "meta": _META}


async def _score(request: Request, body: ScoreRequest, in_path: str | None) -> dict[str, Any]:
    documents, prompts = _as_list(body.documents), _as_list(body.queries)
    if len(prompts) == 1:
        prompts = prompts * len(documents)
    if len(prompts) != len(documents):
        problem = f"there are {len(prompts)} queries and {len(documents)} documents"
        raise DataError(problem, "send one query, or one for each document")
    bounded = body.wants_bounded(default=state_of(request).settings.bounded)
    scored = await _scored(request, body, in_path, documents, prompts)
    data = [
        {"index": index, "object": "score", "score": each} for index, each in enumerate(scored.scores(bounded=bounded))
    ]
    return {**scored.head("score", bounded=bounded), "object": "list", "created": int(time.time()), "data": data}


async def _classify(request: Request, body: ClassifyRequest, in_path: str | None) -> dict[str, Any]:
    if body.messages is not None:
        documents: list[Any] = [body.messages[-1:]]
        prompts: list[Any] = [body.messages[:-1] or None]
    else:
        documents = _as_list(body.input)
        prompts = [body.query] * len(documents)
    bounded = body.wants_bounded(default=True)
    scored = await _scored(request, body, in_path, documents, prompts)
    data = [
        {"index": index, "label": "preferred", "probs": [each], "num_classes": 1}
        for index, each in enumerate(scored.scores(bounded=bounded))
    ]
    return {**scored.head("classify", bounded=bounded), "object": "list", "created": int(time.time()), "data": data}


@dataclass(frozen=True)
class _Scored:
    """Rewards of a request's documents for a user, or by the population model if `user` is None."""

    state: State
    user: str | None
    rewards: list[float]

    def scores(self, *, bounded: bool) -> list[float]:
        """Return the rewards, or the probabilities computed from them if `bounded` is true."""
        return self.state.model.probabilities(self.rewards) if bounded else self.rewards

    def head(self, kind: str, *, bounded: bool) -> dict[str, Any]:
        """Return the common fields of all responses."""
        return {
            "id": f"{kind}-{secrets.token_hex(12)}",
            "model": self.state.model.name,
            "user": self.user,
            "score_type": "probability" if bounded else "reward",
            "usage": _USAGE,
        }


async def _scored(
    request: Request, body: RewardRequest, in_path: str | None, documents: list[Any], prompts: list[Any]
) -> _Scored:
    state = state_of(request)
    asked = requested_user(request, body, in_path, state.model.name, state.settings)
    user, weights = await _weights(state, asked, body.population)
    return _Scored(state, user, state.model.rewards(await state.embed(documents, prompts), weights))


async def _weights(state: State, asked: str | None, population: bool | None) -> tuple[str | None, Floats32]:
    """Return the user whose weights are used (None: the population model) and the weights [K]."""
    if asked is not None:
        user = await state.users.find(asked)
        if user is not None:
            return asked, user.weights
        if not (state.settings.population if population is None else population):
            raise unknown_user(asked)
    return None, state.model.population_weights


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - texts or documents
    """Return a list of values unchanged, and a single value in a list. A list of messages is a single value."""
    return value if isinstance(value, list) and not isinstance(value[0], Message) else [value]
