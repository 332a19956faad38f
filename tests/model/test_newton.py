"""The pieces of the solve: each gradient is its value's, each Hessian its gradient's, and users do not mix."""

import pytest
import torch

from lorerm.model.newton import GaussianPenalty, Problem, SimplexPenalty
from lorerm.model.posterior import WeightPrior

PRIORS = {
    "free": WeightPrior(torch.tensor([1.0, -0.5, 0.2]), torch.tensor([[2.0, 0.5, 0], [0.5, 1.0, 0], [0, 0, 0.3]])),
    "simplex": WeightPrior(torch.tensor([0.5, 0.3, 0.2]), concentration=3.0),
}


@pytest.fixture(params=PRIORS)
def problem(request):
    prior = PRIORS[request.param]
    penalty = GaussianPenalty(prior) if prior.weight_space == "free" else SimplexPenalty(prior)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    user = torch.tensor([0] * 5 + [2] * 7)
    count = torch.rand(12, generator=generator, dtype=torch.float64)
    return Problem(z @ penalty.axes, z @ penalty.mean, user, count, 3, penalty)


def test_derivatives(problem):
    t = 0.05 * torch.randn(problem.start.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(t):
        return problem.value(t, problem.margin(t)).sum()

    (gradient,) = torch.autograd.grad(value(t.requires_grad_()), t)
    torch.testing.assert_close(problem.gradient(t, problem.margin(t)), gradient)
    whole = torch.autograd.functional.hessian(value, t.detach())
    ours = problem.hessian(t.detach(), problem.margin(t.detach()))
    for u in range(3):
        torch.testing.assert_close(ours[u], whole[u, :, u])
        assert float(whole[u, :, (u + 1) % 3].abs().max()) == 0


def test_the_minimum_comes_with_its_value_and_curvature(problem):
    t, value, hessian = problem.minimise()
    margin = problem.margin(t)
    torch.testing.assert_close(value, problem.value(t, margin))
    torch.testing.assert_close(hessian, problem.hessian(t, margin))
    assert float(problem.gradient(t, margin).abs().max()) < 1e-5
    assert t[1].abs().max() < 1e-9  # no answers: the prior's own minimum, where t is 0


def test_axes_without_spread_are_left_out():
    flat = WeightPrior(torch.zeros(3), torch.diag(torch.tensor([1.0, 0.0, 4.0])))
    assert GaussianPenalty(flat).axes.shape == (3, 2)
