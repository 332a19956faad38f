"""The next question to a user (which two candidates to compare), and the expected accuracy of the predictions."""

from __future__ import annotations

import torch

from lorerm.arrays import Floats32
from lorerm.errors import ConfigError, DataError, ModelError
from lorerm.model.acquisition import choose_question, information_of, posterior_of
from lorerm.model.posterior import Posterior
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.serving.loaded_model import not_computable
from lorerm.serving.schemas import Question, QuestionRequest, QuestionResponse
from lorerm.serving.users import User


def next_question(
    model: LowRankRewardModel, user_id: str, user: User | None, embeddings: Floats32, request: QuestionRequest
) -> QuestionResponse:
    """Choose the most informative pair of candidates from their embeddings [C, D].

    If `user` is None, the population model is used: the prior, which describes a user without feedback.
    """
    posterior, candidates = _posterior(model, user), torch.from_numpy(embeddings)
    accuracy = expected_accuracy(model, posterior, candidates)
    pairs = None if request.pairs is None else [(first, second) for first, second in request.pairs]
    try:
        found = choose_question(model, posterior, candidates, pairs, stop_below=request.stop_below, top=request.top)
    except ConfigError as error:
        raise DataError(error.problem, error.remedy) from None
    question = None if found is None else Question(**found._asdict())
    return QuestionResponse(user=user_id, question=question, expected_accuracy=accuracy)


def expected_accuracy(model: LowRankRewardModel, posterior: Posterior, candidates: torch.Tensor) -> float:
    """Return the expected accuracy of the model's predictions: the mean of max(p, 1 - p) over all pairs of candidates.

    p is the probability that the user prefers the first candidate, averaged over the posterior of the user's weights.
    Uncertain weights therefore lower the expected accuracy.
    """
    first, second = torch.combinations(torch.arange(len(candidates)), 2).unbind(dim=1)
    projected = (candidates.to(model.basis) @ model.basis).double() / model.temperature
    z = projected[first] - projected[second]
    variance = ((z @ posterior.covariance) * z).sum(dim=1).clamp_min(0)
    _, probability = information_of(z @ posterior.weights, variance)
    accuracy = float(torch.maximum(probability, 1 - probability).mean())
    if not accuracy <= 1:
        raise not_computable()
    return accuracy


def _posterior(model: LowRankRewardModel, user: User | None) -> Posterior:
    if user is None:
        return posterior_of(model, None)
    if user.covariance is None:
        raise ModelError(
            "the user's weights have no covariance, which the choice of a question needs",
            "delete the user, then send the user's feedback to this server",
        )
    return Posterior(torch.from_numpy(user.weights).double(), torch.from_numpy(user.covariance).double())
