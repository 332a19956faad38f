"""A small model of D=4, K=2 and three users in either weight space."""

import pytest
import torch

from lorerm.embedding.encoder import EncoderIdentity
from lorerm.model.prior import WeightPrior
from lorerm.model.reward_model import LowRankRewardModel

IDENTITY = EncoderIdentity("an encoder", "1", "abc", "last-token", "bfloat16", None, 4)


@pytest.fixture(scope="session")
def make_shared_model():
    """A function that builds the small model with some fields changed, for fixtures of wider scope."""

    def make(weight_space="free", **changes):
        generator = torch.Generator().manual_seed(0)
        weights = torch.rand(3, 2, generator=generator)
        mean = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
        if weight_space == "free":
            prior, covariance = WeightPrior(mean, 0.3 * torch.eye(2, dtype=torch.float64)), torch.eye(2).repeat(3, 1, 1)
        else:
            weights = weights / weights.sum(dim=1, keepdim=True)
            prior, covariance = WeightPrior(mean, concentration=2.5), None
        fields = {
            "basis": torch.randn(4, 2, generator=generator),
            "weights": weights,
            "user_ids": ("zoë", "b", 'c "quoted"\n'),
            "prior": prior,
            "temperature": 1 / 7,
            "requested_rank": 3,
            "covariance": covariance,
            "reference": torch.randn(4, generator=generator),
            "encoder": IDENTITY,
            "training": {"config": {"rank": 3}, "chosen": {"lambda_shared": 0.1}, "validation": None},
            "validation_loss": torch.tensor([0.5, float("nan"), 0.25]),
        }
        return LowRankRewardModel(**{**fields, **changes})

    return make


@pytest.fixture
def make_model(make_shared_model):
    """A function that builds the small model with some fields changed."""
    return make_shared_model


@pytest.fixture(params=["free", "simplex"])
def model(request, make_model):
    """The small model in each weight space."""
    return make_model(request.param)
