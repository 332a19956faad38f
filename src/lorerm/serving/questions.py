"""What to ask a person next, and how well the model expects to know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lorerm.errors import ConfigError, DataError, ModelError
from lorerm.model.acquisition import choose_question, information_of, posterior_of
from lorerm.model.posterior import Posterior
from lorerm.serving.schemas import AskedQuestion, QuestionResponse

if TYPE_CHECKING:
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.serving.people import Person
    from lorerm.serving.schemas import QuestionRequest
    from lorerm.serving.vectors import Vector32


def ask(
    model: LowRankRewardModel, user: str, person: Person | None, embeddings: Vector32, request: QuestionRequest
) -> QuestionResponse:
    """Choose the next question.

    Parameters
    ----------
    model
        Gives the basis, the temperature and what is believed of anybody.
    user
        Who is asked.
    person
        What is known of them; None is nothing.
    embeddings
        float32 [C, D]: the candidates.
    request
        What else is wanted.

    Raises
    ------
    ModelError
        If the user's weights have no posterior.
    DataError
        If a pair names no candidates, or the embeddings cannot be computed with.
    """
    posterior, candidates = _posterior(model, person), torch.from_numpy(embeddings)
    accuracy = expected_accuracy(model, posterior, candidates)
    pairs = None if request.pairs is None else [(first, second) for first, second in request.pairs]
    try:
        found = choose_question(model, posterior, candidates, pairs, stop_below=request.stop_below, top=request.top)
    except ConfigError as error:
        raise DataError(error.problem, error.remedy) from None
    question = None if found is None else AskedQuestion(**found._asdict())
    return QuestionResponse(user=user, question=question, expected_accuracy=accuracy)


def expected_accuracy(model: LowRankRewardModel, posterior: Posterior, candidates: torch.Tensor) -> float:
    """Return how often the more likely one of two candidates is expected to be preferred, on average over all pairs.

    The probability p of a pair is its mean under the posterior, so that what is not known of the person counts.
    """
    first, second = torch.combinations(torch.arange(len(candidates)), 2).unbind(dim=1)
    projected = (candidates.to(model.basis) @ model.basis).double() / model.temperature
    z = projected[first] - projected[second]
    variance = ((z @ posterior.covariance) * z).sum(dim=1).clamp_min(0)
    _, probability = information_of(z @ posterior.weights, variance)
    accuracy = float(torch.maximum(probability, 1 - probability).mean())
    if not accuracy <= 1:
        raise DataError("an embedding holds NaN, or numbers too large to compute with", "check what embedded it")
    return accuracy


def _posterior(model: LowRankRewardModel, person: Person | None) -> Posterior:
    if person is None:
        return posterior_of(model, None)
    if person.covariance is None:
        raise ModelError(
            "the weights of this user have no uncertainty to ask by", "delete the user, and send their answers here"
        )
    return Posterior(torch.from_numpy(person.weights).double(), torch.from_numpy(person.covariance).double())
