"""Newton's method: gradients and Hessians by automatic differentiation, and independent users."""

import pytest
import torch

from lorerm.model import newton
from lorerm.model.newton import GaussianPenalty, Problem, SimplexPenalty
from lorerm.model.prior import Mixture, WeightPrior

PRIORS = {
    "free": WeightPrior(torch.tensor([1.0, -0.5, 0.2]), torch.tensor([[2.0, 0.5, 0], [0.5, 1.0, 0], [0, 0, 0.3]])),
    "simplex": WeightPrior(torch.tensor([0.5, 0.3, 0.2]), concentration=3.0),
}


@pytest.fixture(params=PRIORS)
def problem(request):
    """Three users under a single component; the second has no comparisons, the first fewer than the third."""
    prior = PRIORS[request.param]
    free = prior.weight_space == "free"
    penalty = GaussianPenalty(prior.components) if free else SimplexPenalty(prior.mean, prior.concentration)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 7, 3, generator=generator, dtype=torch.float64)
    count = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    count[0, 5:] = count[1] = 0
    return Problem(z @ penalty.axes[0], z @ penalty.means[0], count, penalty)


def random_start(problem, size=0.05):
    t = problem.features.new_zeros(problem.features.shape[::2])
    return size * torch.randn(t.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_derivatives_are_those_of_the_value(problem):
    t = random_start(problem)

    def value(t):
        return problem.value(t, problem.log_odds(t)).sum()

    (gradient,) = torch.autograd.grad(value(t.requires_grad_()), t)
    whole = torch.autograd.functional.hessian(value, t.detach())
    ours = problem.derivatives(t.detach(), problem.log_odds(t.detach()))
    torch.testing.assert_close(ours[0], gradient)
    for u in range(3):
        torch.testing.assert_close(ours[1][u], whole[u, :, u])
        assert float(whole[u, :, (u + 1) % 3].abs().max()) == 0


def test_the_minimum_is_returned_with_its_value_and_hessian(problem):
    t, value, hessian = problem.minimise(random_start(problem))
    log_odds = problem.log_odds(t)
    torch.testing.assert_close(value, problem.value(t, log_odds))
    gradient, expected = problem.derivatives(t, log_odds)
    torch.testing.assert_close(hessian, expected)
    assert float(gradient.abs().max()) < 1e-5
    assert t[1].abs().max() < 1e-9  # without comparisons the minimum is the prior's, t = 0


def test_converged_users_are_dropped_while_others_continue(problem, monkeypatch):
    """One of three users starts away from the minimum; the others have converged."""
    monkeypatch.setattr(newton, "_MIN_DROPPED", 0)
    expected = problem.minimise(random_start(problem))
    start = expected[0].clone()
    start[2] += 0.05
    sizes, derivatives = [], Problem.derivatives

    def noted(self, t, log_odds):
        sizes.append(len(t))
        return derivatives(self, t, log_odds)

    monkeypatch.setattr(Problem, "derivatives", noted)
    found = problem.minimise(start)
    assert sizes[:3] == [3, 1, 1]
    assert 3 not in sizes[1:]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_axes_without_variance_are_left_out():
    flat = WeightPrior(torch.zeros(3), torch.diag(torch.tensor([1.0, 0.0, 4.0])))
    assert GaussianPenalty(flat.components).axes.shape == (1, 3, 2)


def test_an_axis_without_variance_in_one_component_is_zero_there():
    covariances = torch.diag_embed(torch.tensor([[1.0, 0.0, 4.0], [0.0, 0.0, 2.0]], dtype=torch.float64))
    penalty = GaussianPenalty(Mixture(torch.tensor([0.5, 0.5]), torch.zeros(2, 3), covariances))
    torch.testing.assert_close(penalty.axes @ penalty.axes.mT, covariances)
    assert penalty.axes.shape == (2, 3, 2)
    assert (penalty.axes[1].abs().sum(dim=0) == 0).sum() == 1
