"""Routes for users: add feedback, get weights, get the next question, delete a user.

Each route exists twice: with the user in the path (/v1/users/{user}), and with the user in the body (/v1/user).
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Query, Request

from lorerm.data.ids import shown, visible
from lorerm.errors import DataError
from lorerm.serving.carry_over import keep
from lorerm.serving.errors import ApiError, documented, unknown_user
from lorerm.serving.feedback_store import FeedbackBatch
from lorerm.serving.loaded_model import not_computable
from lorerm.serving.questions import next_question
from lorerm.serving.routes.json_route import JsonRoute
from lorerm.serving.schemas import (
    MAX_CANDIDATES,
    MAX_DOCUMENTS,
    STOP_BELOW,
    DeletionRequest,
    DeletionResponse,
    FeedbackRequest,
    Name,
    QuestionRequest,
    QuestionResponse,
    UserFeedbackRequest,
    UserInPath,
    UserQuestionRequest,
    UserRequest,
    UserResponse,
)
from lorerm.serving.state import State, state_of
from lorerm.serving.users import User

# Largest coordinate of a projected comparison, in units of the temperature. Embeddings of an encoder stay far below it.
_MAX_LOG_ODDS = 1e6

router = APIRouter(prefix="/v1", route_class=JsonRoute, responses=documented(409))


@router.put("/users/{user}/answers", operation_id="add_answers")
async def add_feedback(
    user: UserInPath, request: Request, body: FeedbackRequest, idempotency_key: Annotated[Name | None, Header()] = None
) -> UserResponse:
    """Add feedback of a user and return the user's new weights. The feedback is on disk before the response is sent."""
    return await _add(user, body, idempotency_key, state_of(request))


@router.put("/user/answers", operation_id="add_answers_of_user")
async def add_feedback_by_body(
    request: Request, body: UserFeedbackRequest, idempotency_key: Annotated[Name | None, Header()] = None
) -> UserResponse:
    """Add feedback of the user in the body, like `PUT /v1/users/{user}/answers`."""
    return await _add(body.user, body, idempotency_key, state_of(request))


@router.get("/users/{user}", operation_id="get_user", responses=documented(404))
async def get_user(user: UserInPath, request: Request, population: Annotated[bool, Query()] = False) -> UserResponse:
    """Return a user's weights. If the user is unknown and `population` is true, return the mean of the prior."""
    return await _get(user, state_of(request), population=population)


@router.post("/user", operation_id="get_user_of_body", responses=documented(404))
async def get_user_by_body(request: Request, body: UserRequest) -> UserResponse:
    """Return the weights of the user in the body, like `GET /v1/users/{user}`."""
    return await _get(body.user, state_of(request), population=body.population)


@router.delete("/users/{user}", operation_id="delete_user")
async def delete_user(user: UserInPath, request: Request) -> DeletionResponse:
    """Remove all data of a user, and say what was removed. The status is the same for an unknown user."""
    return await _delete(user, state_of(request))


@router.post("/user/delete", operation_id="delete_user_of_body")
async def delete_user_by_body(request: Request, body: DeletionRequest) -> DeletionResponse:
    """Remove all data of the user in the body, like `DELETE /v1/users/{user}`."""
    return await _delete(body.user, state_of(request))


@router.get("/users/{user}/next-question", operation_id="next_question_of_texts")
async def next_question_of_texts(
    user: UserInPath,
    request: Request,
    candidates: Annotated[list[str], Query(min_length=2, max_length=MAX_CANDIDATES)],
    prompt: Annotated[str, Query()],
    stop_below: Annotated[float, Query(ge=0, le=1)] = STOP_BELOW,
) -> QuestionResponse:
    """Choose two of several texts for the user to compare next."""
    asked = QuestionRequest(prompt=prompt, candidates=[*candidates], stop_below=stop_below)
    return await _next_question(user, asked, state_of(request))


@router.post("/users/{user}/next-question", operation_id="next_question")
async def next_question_of_documents(user: UserInPath, request: Request, body: QuestionRequest) -> QuestionResponse:
    """Choose two of several candidates for the user to compare next. For an unknown user, the prior is used."""
    return await _next_question(user, body, state_of(request))


@router.post("/user/next-question", operation_id="next_question_of_user")
async def next_question_by_body(request: Request, body: UserQuestionRequest) -> QuestionResponse:
    """Choose two of several candidates for the user in the body, like `POST /v1/users/{user}/next-question`."""
    return await _next_question(body.user, body, state_of(request))


async def _add(user: str, body: FeedbackRequest, in_header: str | None, state: State) -> UserResponse:
    keys = {body.idempotency_key, in_header} - {None}
    if len(keys) > 1:
        raise DataError("the header and the body have different idempotency keys", "send the key once")
    batch = await _project(body, next(iter(keys), None), state)
    return _shown(user, await state.users.add(user, batch))


async def _get(user: str, state: State, *, population: bool) -> UserResponse:
    found = await state.users.find(user)
    if found is None and population:
        found = await state.users.run(state.users.population)
    if found is None:
        raise unknown_user(user)
    return _shown(user, found)


async def _delete(user: str, state: State) -> DeletionResponse:
    removed = await state.users.forget(user)
    # A space at the end of an id must not lead to a response that a user is deleted whose data stay.
    for other in {visible(user), unicodedata.normalize("NFD", visible(user))} - {user, ""}:
        if not removed and await state.users.find(other) is not None:
            problem = "the user is unknown, but another user's id differs only in invisible characters or white space"
            raise ApiError(409, "similar_user", problem, f"if {shown(other)} is the user, delete this id")
    return DeletionResponse(user=user, deleted=bool(removed), removed=removed)


async def _next_question(user_id: str, asked: QuestionRequest, state: State) -> QuestionResponse:
    user = await state.users.find(user_id)
    embeddings = await state.embed(asked.candidates, [asked.prompt] * len(asked.candidates))
    return await state.users.run(next_question, state.model.model, user_id, user, embeddings, asked)


async def _project(request: FeedbackRequest, key: str | None, state: State) -> FeedbackBatch:
    """Return feedback as comparisons projected on the basis. Texts are not stored."""
    documents: list[Any] = []
    prompts, chosen, rejected, weights = [], [], [], []
    for feedback in request.answers:
        responses, comparisons = feedback.compared()
        for better, worse in comparisons:
            chosen.append(len(documents) + better)
            rejected.append(len(documents) + worse)
            weights.append(feedback.weight / len(comparisons))
        documents += responses
        prompts += [feedback.prompt] * len(responses)
    if len(documents) > MAX_DOCUMENTS:
        problem = f"the request has {len(documents):,} responses, and the maximum is {MAX_DOCUMENTS:,}"
        raise DataError(problem, "split the request into several requests")
    embeddings = await state.embed(documents, prompts)
    with np.errstate(all="ignore"):
        differences = embeddings[chosen] - embeddings[rejected]
        projected = differences @ state.model.basis
    if not (np.abs(projected) <= _MAX_LOG_ODDS * state.model.model.temperature).all():
        raise not_computable()
    digest = hashlib.sha256(request.model_dump_json(exclude={"idempotency_key", "user"}).encode()).digest()
    kept = None if state.settings.keep_differences is None else keep(differences, state.settings.keep_differences)
    return FeedbackBatch(key, digest, len(request.answers), projected, np.asarray(weights, dtype=np.float32), kept)


def _shown(user_id: str, user: User) -> UserResponse:
    covariance = user.covariance
    return UserResponse(
        user=user_id,
        weights=user.weights.tolist(),
        standard_deviation=None if covariance is None else np.sqrt(covariance.diagonal().clip(0)).tolist(),
        covariance=None if covariance is None else covariance.tolist(),
        answers=user.n_feedback,
        version=user.version,
    )
