"""The pieces of the solve: each gradient is its value's, each Hessian its gradient's, and users do not mix."""

import pytest
import torch

from lorerm.model import newton
from lorerm.model.newton import GaussianPenalty, Problem, SimplexPenalty
from lorerm.model.posterior import Mixture, WeightPrior

PRIORS = {
    "free": WeightPrior(torch.tensor([1.0, -0.5, 0.2]), torch.tensor([[2.0, 0.5, 0], [0.5, 1.0, 0], [0, 0, 0.3]])),
    "simplex": WeightPrior(torch.tensor([0.5, 0.3, 0.2]), concentration=3.0),
}


@pytest.fixture(params=PRIORS)
def problem(request):
    """Three users of one kind, of whom the second has no answers and the first fewer than the third."""
    prior = PRIORS[request.param]
    free = prior.weight_space == "free"
    penalty = GaussianPenalty(prior.kinds) if free else SimplexPenalty(prior.mean, prior.concentration)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 7, 3, generator=generator, dtype=torch.float64)
    count = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    count[0, 5:] = count[1] = 0
    return Problem(z @ penalty.axes[0], z @ penalty.means[0], count, penalty)


def random_start(problem, size=0.05):
    t = problem.features.new_zeros(problem.features.shape[::2])
    return size * torch.randn(t.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_derivatives(problem):
    t = random_start(problem)

    def value(t):
        return problem.value(t, problem.margin(t)).sum()

    (gradient,) = torch.autograd.grad(value(t.requires_grad_()), t)
    whole = torch.autograd.functional.hessian(value, t.detach())
    ours = problem.derivatives(t.detach(), problem.margin(t.detach()))
    torch.testing.assert_close(ours[0], gradient)
    for u in range(3):
        torch.testing.assert_close(ours[1][u], whole[u, :, u])
        assert float(whole[u, :, (u + 1) % 3].abs().max()) == 0


def test_the_minimum_comes_with_its_value_and_curvature(problem):
    t, value, hessian = problem.minimise(random_start(problem))
    margin = problem.margin(t)
    torch.testing.assert_close(value, problem.value(t, margin))
    gradient, expected = problem.derivatives(t, margin)
    torch.testing.assert_close(hessian, expected)
    assert float(gradient.abs().max()) < 1e-5
    assert t[1].abs().max() < 1e-9  # no answers: the prior's own minimum, where t is 0


def test_those_who_need_more_steps_go_on_without_the_others(problem, monkeypatch):
    """One of three users begins far away; the other two are left where they are."""
    monkeypatch.setattr(newton, "_WORTH_A_COPY", 0)
    expected = problem.minimise(random_start(problem))
    start = expected[0].clone()
    start[2] += 0.05
    sizes, derivatives = [], Problem.derivatives

    def noted(self, t, margin):
        sizes.append(len(t))
        return derivatives(self, t, margin)

    monkeypatch.setattr(Problem, "derivatives", noted)
    found = problem.minimise(start)
    assert sizes[:3] == [3, 1, 1]
    assert 3 not in sizes[1:]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_axes_without_spread_are_left_out():
    flat = WeightPrior(torch.zeros(3), torch.diag(torch.tensor([1.0, 0.0, 4.0])))
    assert GaussianPenalty(flat.kinds).axes.shape == (1, 3, 2)


def test_an_axis_that_only_one_kind_has_is_zero_in_the_other():
    covariances = torch.diag_embed(torch.tensor([[1.0, 0.0, 4.0], [0.0, 0.0, 2.0]], dtype=torch.float64))
    penalty = GaussianPenalty(Mixture(torch.tensor([0.5, 0.5]), torch.zeros(2, 3), covariances))
    torch.testing.assert_close(penalty.axes @ penalty.axes.mT, covariances)
    assert penalty.axes.shape == (2, 3, 2)
    assert (penalty.axes[1].abs().sum(dim=0) == 0).sum() == 1
