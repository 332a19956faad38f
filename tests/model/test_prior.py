"""Weight priors: moments of mixtures, and the weight space."""

import pytest
import torch

from lorerm.model.prior import Mixture, WeightPrior


@pytest.fixture
def mixture():
    means = torch.tensor([[2.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    covariances = torch.diag_embed(torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))
    return Mixture(torch.tensor([0.25, 0.75], dtype=torch.float64), means, covariances)


def test_the_moments_are_those_of_the_whole_mixture(mixture):
    mean, covariance = mixture.moments()
    assert mean.tolist() == [0.25 * 2 - 0.75, 0.75]
    second = sum(share * (inner + torch.outer(m, m)) for share, m, inner in zip(*mixture, strict=True))
    torch.testing.assert_close(covariance, second - torch.outer(mean, mean))


def test_a_prior_keeps_several_components_and_drops_a_single_one(mixture):
    prior = WeightPrior.from_mixture(mixture)
    assert prior.components is prior.mixture is mixture
    single = WeightPrior.from_mixture(Mixture(torch.ones(1).double(), mixture.means[:1], mixture.covariances[:1]))
    assert single.mixture is None
    assert torch.equal(single.components.means, mixture.means[:1])
    assert torch.equal(single.components.covariances, mixture.covariances[:1])
    assert single.components.shares.tolist() == [1.0]


def test_a_concentration_makes_the_weight_space_the_simplex(mixture):
    assert WeightPrior.from_mixture(mixture).weight_space == "free"
    simplex = WeightPrior(torch.tensor([0.5, 0.5]), concentration=2.0)
    assert simplex.weight_space == "simplex"
    with pytest.raises(AssertionError):
        simplex.components  # noqa: B018 - it has none


def test_a_fixed_prior_has_variance_zero():
    prior = WeightPrior.fixed(torch.tensor([1.0, -2.0]))
    assert prior.mean.tolist() == [1.0, -2.0]
    assert prior.mean.dtype == torch.float64
    assert (prior.covariance == 0).all()
