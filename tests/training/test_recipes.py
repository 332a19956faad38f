"""The trainers: strengths carried over to all pairs, scaling folded into the basis, weights as by adaptation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lorerm.errors import ConfigError
from lorerm.model.posterior import solve
from lorerm.training import selection
from lorerm.training.config import TrainingConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.recipes import DefaultTrainer, PublishedTrainer
from planted import plant


@pytest.fixture(scope="module")
def data():
    """Features of very different spread, users of different diligence, judgements of different weight."""
    data = plant(users=10, pairs=30, dimension=8, personal=1.5, noise=0.4, prompts=200).data
    rng = np.random.default_rng(0)
    data = replace(
        data,
        responses=(data.responses * 10.0 ** np.linspace(-2, 2, 8)).astype(np.float32),
        weights=rng.uniform(0.5, 2, len(data)),
    )
    return data.select(np.sort(rng.permutation(len(data))[:240]))


@pytest.fixture(scope="module")
def trainer(data):
    return DefaultTrainer(data, TrainingConfig(), None)


def test_rank_one_is_a_ridge_logistic_regression_on_scaled_features(data, trainer):
    """Its temperature apart, which divides the whole."""
    found = trainer.fit(1)
    chosen, rejected = data.rows()
    differences = (data.responses[chosen] - data.responses[rejected]).astype(np.float64)
    scale = 1 / np.sqrt(8 * np.square(differences).mean(axis=0))
    weight = data.weights / data.weights.sum()
    regression = LogisticRegression(
        fit_intercept=False, C=1 / (4 * found.chosen["lambda_shared"]), tol=1e-10, max_iter=5000
    )
    regression.fit(
        np.concatenate([differences, -differences]) * scale,
        np.repeat([1, 0], len(differences)),
        sample_weight=np.concatenate([weight, weight]),
    )
    expected = regression.coef_[0] / found.chosen["temperature"]
    got = found.basis[:, 0].numpy() / scale
    np.testing.assert_allclose(got, expected, atol=0.02 * np.linalg.norm(expected))
    assert (found.weights == 1).all()


def test_strengths_weaken_with_the_share_of_pairs_that_they_were_chosen_on(trainer):
    share = trainer.validation.share
    choice = trainer._chosen_shared[0]
    assert 0.4 < share < 0.8
    assert trainer.fit(1).chosen["lambda_shared"] == pytest.approx(share * choice.strengths.shared)


def test_weights_are_those_of_the_convex_solve(data, trainer):
    found = trainer.fit(3)
    pairs = PackedPairs.pack(data)
    expected = solve(
        pairs.project(found.basis.t().contiguous()), pairs.user, pairs.count, 10, found.prior, found.temperature
    )
    torch.testing.assert_close(found.weights, expected.weights.float(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.covariance, expected.covariance.float(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.comparisons.projected, pairs.project(found.basis.t().contiguous()))
    torch.testing.assert_close(found.comparisons.count, pairs.count.float())
    assert torch.equal(found.comparisons.user, pairs.user)
    assert found.weights.shape[1] > 1
    assert float(found.weights[:, 0].std()) > 0  # how consistently each user chooses


def test_the_shared_direction_is_the_same_at_every_rank(trainer):
    torch.testing.assert_close(trainer.fit(3).basis[:, 0], trainer.fit(1).basis[:, 0])


def test_shapes(trainer):
    for rank in (1, 2, 4):
        found = trainer.fit(rank)
        k = found.basis.shape[1]
        assert 1 <= k <= rank
        assert found.basis.shape == (8, k)
        assert found.weights.shape == (10, k)
        assert found.covariance.shape == (10, k, k)
        assert found.prior.mean.shape == (k,)
        assert found.basis.is_contiguous()


def test_what_the_ranks_share_is_computed_once(data, monkeypatch):
    calls = []
    choose = selection.choose_shared
    monkeypatch.setattr(selection, "choose_shared", lambda *a, **k: calls.append(1) or choose(*a, **k))
    trainer = DefaultTrainer(data, TrainingConfig(), None)
    for rank in (1, 2, 3):
        trainer.fit(rank)
    assert len(calls) == 1


def test_without_validation_strengths_fall_back(data, monkeypatch):
    monkeypatch.setattr("lorerm.training.recipes.Validation.cut", lambda *_, **__: None)
    trainer = DefaultTrainer(data, TrainingConfig(), None)
    assert trainer.validate(3) is None
    found = trainer.fit(3)
    assert found.score is None
    assert found.chosen["lambda_shared"] == selection.FALLBACK.shared
    assert found.chosen["lambda_personal"] == selection.FALLBACK.personal
    assert found.basis.shape[1] == 3


def test_the_target_is_the_reference_head_at_its_best_scale(data):
    """On scaled features it gives the head's own rewards, in log-odds."""
    head = torch.from_numpy(np.random.default_rng(1).standard_normal(8)).float()
    trainer = DefaultTrainer(data, TrainingConfig(), head)
    own = trainer.pairs.project(head[None])[:, 0]
    scaled = trainer.pairs.with_scale(trainer._scale).project(trainer._target[None])[:, 0]
    found = trainer.fit(0)
    torch.testing.assert_close(scaled, own / found.temperature, rtol=1e-3, atol=1e-3)
    longer = DefaultTrainer(data, TrainingConfig(), 50 * head)
    torch.testing.assert_close(longer._target, trainer._target, rtol=1e-3, atol=1e-4)


def test_rank_zero_is_scored_on_validation_pairs(data):
    head = torch.ones(8)
    found = DefaultTrainer(data, TrainingConfig(), head).fit(0)
    assert torch.equal(found.basis[:, 0], head)
    assert 0 < found.score.loss < 2
    assert found.prior.mean.tolist() == [1.0]


def test_steps_limit_the_final_fit(data):
    assert DefaultTrainer(data, TrainingConfig(steps=2), None).fit(1).chosen["iterations"] == 2


def test_a_published_model_keeps_a_prior_for_adaptation(data):
    found = PublishedTrainer(data, TrainingConfig(recipe="paper", steps=30), None).fit(3)
    assert found.prior.weight_space == "simplex"
    torch.testing.assert_close(found.prior.mean, found.weights.double().mean(dim=0), rtol=1e-5, atol=1e-6)
    assert found.prior.concentration == selection.simplex_concentration(found.weights)
    assert found.covariance is None
    alone = PublishedTrainer(data, TrainingConfig(recipe="paper", steps=30), None).fit(1)
    assert (alone.prior.weight_space, alone.prior.mean.tolist()) == ("free", [1.0])


def test_a_published_model_is_validated_on_people_and_prompts_held_out(data):
    trainer = PublishedTrainer(data, TrainingConfig(recipe="paper", steps=30), None)
    found = trainer.fit(2)
    assert found.score.user_ids == trainer.validation.held.user_ids
    assert 0 < found.score.loss < 0.75  # at its best temperature, so hardly worse than a coin's log(2)


def test_a_published_regulariser_without_a_head_is_refused(data):
    with pytest.raises(ConfigError, match="recipe paper-cosine with alpha 10000 needs a reference head"):
        PublishedTrainer(data, TrainingConfig(recipe="paper-cosine"), None)
    assert PublishedTrainer(data, TrainingConfig(recipe="paper-cosine"), torch.ones(8)).alpha == 1e4
    assert PublishedTrainer(data, TrainingConfig(recipe="paper", alpha=0.5), torch.ones(8)).alpha == 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_on_a_gpu_the_same_is_learnt(data, recipe):
    trainer = DefaultTrainer if recipe == "default" else PublishedTrainer
    config = TrainingConfig(recipe=recipe, steps=50)
    here = trainer(data, config, None).fit(2)
    there = trainer(replace(data, responses=torch.from_numpy(data.responses).cuda()), config, None).fit(2)
    for one, other in ((here.basis, there.basis), (here.weights, there.weights)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3 * float(one.abs().max()))
