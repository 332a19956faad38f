"""Users: their answers, what is known of them, what to ask them, and forgetting them."""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response

from lorerm.errors import DataError
from lorerm.serving.bodies import described, read_body
from lorerm.serving.documents import Document
from lorerm.serving.errors import ApiError, documented
from lorerm.serving.people import Person
from lorerm.serving.questions import ask
from lorerm.serving.routes.shared import Service, service_of, unknown
from lorerm.serving.schemas import (
    MOST_CANDIDATES,
    AnswersRequest,
    Key,
    PersonResponse,
    QuestionRequest,
    QuestionResponse,
    UserInPath,
)
from lorerm.serving.store import Update

# Log-odds of an answer, beyond which no embedding of a text is.
_LARGEST = 1e6

router = APIRouter(prefix="/v1/users", responses=documented(409))


@router.put("/{user}/answers", operation_id="add_answers", openapi_extra=described(AnswersRequest))
async def add_answers(
    user: UserInPath, request: Request, idempotency_key: Annotated[Key | None, Header()] = None
) -> PersonResponse:
    """Add answers of a user, and return what is known of them then; it is kept before this is answered."""
    service, asked = service_of(request), await read_body(request, AnswersRequest)
    keys = {asked.idempotency_key, idempotency_key} - {None}
    if len(keys) > 1:
        raise ApiError(422, "invalid_request", "the header and the body have two idempotency keys", "send one")
    person = await service.people.add(user, await _read(asked, next(iter(keys), None), service))
    return _shown(user, person)


@router.get("/{user}", operation_id="get_user", responses=documented(404))
async def get_user(user: UserInPath, request: Request, population: Annotated[bool, Query()] = False) -> PersonResponse:
    """Return what is known of a user; with `population`, of one of whom nothing is, what is believed of anybody."""
    people = service_of(request).people
    person = await people.find(user)
    if person is None and population:
        person = await people.run(people.anybody)
    if person is None:
        raise unknown(user)
    return _shown(user, person)


@router.delete("/{user}", operation_id="delete_user", status_code=204)
async def delete_user(user: UserInPath, request: Request) -> Response:
    """Remove every trace of a user; that there was none is no error."""
    await service_of(request).people.forget(user)
    return Response(status_code=204)


@router.get("/{user}/next-question", operation_id="next_question_of_texts")
async def next_question_of_texts(
    user: UserInPath,
    request: Request,
    candidates: Annotated[list[str], Query(min_length=2, max_length=MOST_CANDIDATES)],
    prompt: Annotated[str, Query()],
    stop_below: Annotated[float, Query(ge=0, le=1)] = 0.05,
) -> QuestionResponse:
    """Return which two of some texts to ask a user about next; None where asking is not worth it."""
    asked = QuestionRequest(prompt=prompt, candidates=[*candidates], stop_below=stop_below)
    return await _next_question(user, asked, service_of(request))


@router.post("/{user}/next-question", operation_id="next_question", openapi_extra=described(QuestionRequest))
async def next_question(user: UserInPath, request: Request) -> QuestionResponse:
    """Return which two of some candidates to ask a user about next; None where asking is not worth it.

    Of a user of whom nothing is known, as much is believed as of anybody.
    """
    return await _next_question(user, await read_body(request, QuestionRequest), service_of(request))


async def _next_question(user: str, asked: QuestionRequest, service: Service) -> QuestionResponse:
    person = await service.people.find(user)
    embeddings = await service.vectors(asked.candidates, [asked.prompt] * len(asked.candidates))
    return await service.people.run(ask, service.served.model, user, person, embeddings, asked)


async def _read(request: AnswersRequest, key: str | None, service: Service) -> Update:
    """Project answers on the basis; their texts and embeddings end here."""
    documents: list[Document] = []
    prompts, better, worse, count = [], [], [], []
    for answer in request.answers:
        responses, pairs = answer.pairs()
        for first, second in pairs:
            better.append(len(documents) + first)
            worse.append(len(documents) + second)
            count.append(answer.weight / len(pairs))
        documents += responses
        prompts += [answer.prompt] * len(responses)
    embeddings = await service.vectors(documents, prompts)
    with np.errstate(all="ignore"):
        projected = (embeddings[better] - embeddings[worse]) @ service.served.basis
    if not (np.abs(projected) <= _LARGEST * service.served.model.temperature).all():
        raise DataError("an embedding holds NaN, or numbers too large to compute with", "check what embedded it")
    digest = hashlib.sha256(request.model_dump_json(exclude={"idempotency_key"}).encode()).digest()
    weights = np.asarray(count, dtype="<f4")
    return Update(key, digest, len(request.answers), projected.astype("<f4").tobytes(), weights.tobytes())


def _shown(user: str, person: Person) -> PersonResponse:
    covariance = person.covariance
    return PersonResponse(
        user=user,
        weights=person.weights.tolist(),
        standard_deviation=None if covariance is None else np.sqrt(covariance.diagonal().clip(0)).tolist(),
        covariance=None if covariance is None else covariance.tolist(),
        answers=person.answers,
        version=person.version,
    )
