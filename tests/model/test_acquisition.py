"""The choice of the next question: information by adaptive quadrature, effects by refitting, and the stopping rules."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from lorerm import TrainingConfig, adapt, train
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.hashing import HashingEncoder
from lorerm.errors import ConfigError, DataError, ModelError, UnknownUserError
from lorerm.model.acquisition import information_of, posterior_of
from lorerm.model.prior import WeightPrior
from lorerm.model.user_weights import UserWeights
from planted import plant
from refusals import refused


def entropy(p):
    return float(-sum(x * np.log(x) for x in (p, 1 - p) if x > 0))


@pytest.mark.parametrize("mean", [-4.0, 0.0, 1.5])
@pytest.mark.parametrize("deviation", [1e-3, 0.5, 2.0, 6.0])
def test_the_information_is_the_integral_that_defines_it(mean, deviation):
    def over(value):
        def integrand(x):
            return value(1 / (1 + np.exp(-(mean + deviation * x)))) * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)

        return quad(integrand, -9, 9, points=[np.clip(-mean / deviation, -8, 8)], limit=500)[0]

    expected = entropy(over(lambda p: p)) - over(entropy)
    information, probability = information_of(torch.tensor([mean]).double(), torch.tensor([deviation**2]).double())
    assert float(information) == pytest.approx(expected, abs=2e-3)
    assert float(probability) == pytest.approx(over(lambda p: p), abs=2e-3)


@pytest.fixture
def unsure(make_model):
    """A model whose basis is the first two axes, and a user whose weights are uncertain along the second alone."""
    model = make_model(basis=torch.eye(4)[:, :2], temperature=1.0, encoder=None)
    return model, UserWeights(("u",), torch.tensor([[1.0, 0.0]]), torch.diag(torch.tensor([0.01, 4.0]))[None])


def test_the_question_is_about_the_uncertain_direction(unsure):
    model, user = unsure
    candidates = torch.tensor([[0.0, 0, 0, 0], [0.2, 0, 0, 0], [0.1, 1, 0, 0]])
    found = model.next_question(user, candidates)
    assert {found.first, found.second} in ({0, 2}, {1, 2})
    assert 0 < found.information < np.log(2)
    assert found.probability == pytest.approx(0.5, abs=0.1)
    assert model.next_question(user, candidates, pairs=[(0, 1)], stop_below=0)[:2] == (0, 1)


def test_there_is_no_question_where_no_choice_would_change_the_ranking(unsure):
    model, user = unsure
    known = torch.tensor([[0.0, 0, 0, 0], [5.0, 0, 0, 0], [10.0, 0, 0, 0]])
    assert model.next_question(user, known) is None
    assert model.next_question(user, known, stop_below=0) is not None
    close = torch.tensor([[10.0, 0.1, 0, 0], [0.0, 1.0, 0, 0], [0.1, -1.0, 0, 0]])
    assert model.next_question(user, close) is not None
    assert model.next_question(user, close, top=1) is None
    assert model.next_question(user, close[:1]) is None


def test_the_change_equals_the_change_after_refitting():
    """Under a Gaussian prior: of a mixture only the moments are used."""
    planted = plant(users=20, pairs=25, dimension=8, seed=5)
    model = train(planted.data, TrainingConfig(rank=3))
    model = replace(model, prior=WeightPrior(model.prior.mean, model.prior.covariance))
    candidates = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    weights, _ = posterior_of(model, None)
    order = (candidates @ model.basis @ weights.float()).argsort(descending=True).tolist()
    for pair in [(0, 1), (0, 2), (1, 3)]:
        question = model.next_question(None, candidates, pairs=[pair], stop_below=0)
        expected = 0.0
        for (chosen, rejected), chance in ((pair, question.probability), (pair[::-1], 1 - question.probability)):
            comparison = EmbeddedPreferences.from_arrays(candidates, [chosen], [rejected], ["new"])
            after = model.with_users(adapt(model, comparison)).rewards(candidates, "new")
            expected += chance * (after.argsort(descending=True).tolist() != order)
        assert question.change == pytest.approx(expected, abs=1e-6)


def test_questions_need_a_known_user_a_covariance_and_valid_candidates(model, unsure):
    candidates = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert model.next_question(None, candidates, stop_below=0) is not None
    with refused(UnknownUserError, "'a stranger'"):
        model.next_question("a stranger", candidates)
    if model.covariance is None:
        with refused(ModelError, "'b'", argument="user"):
            model.next_question("b", candidates)
    else:
        assert model.next_question("b", candidates) == model.next_question(model.users().select(["b"]), candidates)
        with refused(ConfigError, "3", argument="user"):
            model.next_question(model.users(), candidates)
    with refused(DataError, "(3, 2)", "4", argument="embeddings"):
        model.next_question(None, torch.ones(3, 2))
    with refused(ConfigError, "pairs[1]", "(0, 3)", argument="pairs"):
        model.next_question(None, candidates, pairs=[(0, 1), (0, 3)])


def test_candidates_may_be_texts(make_model):
    encoder = HashingEncoder()
    basis = torch.randn(encoder.identity.dimension, 2, generator=torch.Generator().manual_seed(0))
    model = make_model(basis=basis, encoder=encoder.identity)
    found = model.next_question("b", ["Sure!", "No.", "Well, it depends."], prompt="Would you?", encoder=encoder)
    assert {found.first, found.second} <= {0, 1, 2}
