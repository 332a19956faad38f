"""Training by the default recipe: rescaled strengths, scales folded into the basis, posterior weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lorerm.model.posterior import solve
from lorerm.training import selection
from lorerm.training.config import TrainingConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.recipes import find_recipe
from lorerm.training.regularized_trainer import RegularizedTrainer
from planted import plant


@pytest.fixture(scope="module")
def data():
    """Features of very different scale; users with different numbers of comparisons, of different weight."""
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
    return RegularizedTrainer(data, TrainingConfig(), None)


def test_rank_one_is_a_ridge_logistic_regression_on_scaled_features(data, trainer):
    """Divided by the chosen temperature."""
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


def test_strengths_are_multiplied_by_the_share_of_comparisons_that_they_were_chosen_on(trainer):
    share = trainer.validation.train_share
    choice = trainer._shared_choice[0]
    assert 0.4 < share < 0.8
    assert trainer.fit(1).chosen["lambda_shared"] == pytest.approx(share * choice.strengths.shared)


def test_weights_are_the_posterior_of_the_training_comparisons(data, trainer):
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
    assert float(found.weights[:, 0].std()) > 0  # the reliability


def test_the_shared_direction_is_the_same_at_every_rank(trainer):
    torch.testing.assert_close(trainer.fit(3).basis[:, 0], trainer.fit(1).basis[:, 0])


def test_results_have_the_shapes_of_the_fitted_rank(trainer):
    for rank in (1, 2, 4):
        found = trainer.fit(rank)
        k = found.basis.shape[1]
        assert 1 <= k <= rank
        assert found.basis.shape == (8, k)
        assert found.weights.shape == (10, k)
        assert found.covariance.shape == (10, k, k)
        assert found.prior.mean.shape == (k,)
        assert found.basis.is_contiguous()


def test_work_that_ranks_share_is_done_once(data, monkeypatch):
    calls = []
    choose = selection.choose_shared
    monkeypatch.setattr(selection, "choose_shared", lambda *a, **k: calls.append(1) or choose(*a, **k))
    trainer = RegularizedTrainer(data, TrainingConfig(), None)
    for rank in (1, 2, 3):
        trainer.fit(rank)
    assert len(calls) == 1


def test_without_a_validation_split_strengths_fall_back(data, monkeypatch):
    monkeypatch.setattr("lorerm.training.trainer.Validation.split", lambda *_, **__: None)
    trainer = RegularizedTrainer(data, TrainingConfig(), None)
    assert trainer.validate(3) is None
    found = trainer.fit(3)
    assert found.score is None
    assert found.chosen["lambda_shared"] == selection.FALLBACK.shared
    assert found.chosen["lambda_personal"] == selection.FALLBACK.personal
    assert found.basis.shape[1] == 3


def test_the_target_is_the_reference_head_at_its_best_temperature(data):
    """On scaled features it gives the head's rewards in log-odds."""
    head = torch.from_numpy(np.random.default_rng(1).standard_normal(8)).float()
    trainer = RegularizedTrainer(data, TrainingConfig(), head)
    own = trainer.pairs.project(head[None])[:, 0]
    scaled = trainer.pairs.with_scale(trainer._scale).project(trainer._target[None])[:, 0]
    found = trainer.fit(0)
    torch.testing.assert_close(scaled, own / found.temperature, rtol=1e-3, atol=1e-3)
    longer = RegularizedTrainer(data, TrainingConfig(), 50 * head)
    torch.testing.assert_close(longer._target, trainer._target, rtol=1e-3, atol=1e-4)


def test_rank_zero_is_scored_on_held_out_comparisons(data):
    head = torch.ones(8)
    found = RegularizedTrainer(data, TrainingConfig(), head).fit(0)
    assert torch.equal(found.basis[:, 0], head)
    assert 0 < found.score.loss < 2
    assert found.prior.mean.tolist() == [1.0]


def test_steps_bound_the_iterations_of_the_final_fit(data):
    assert RegularizedTrainer(data, TrainingConfig(steps=2), None).fit(1).chosen["iterations"] == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_on_a_gpu_the_result_is_the_same(data, recipe):
    config = TrainingConfig(recipe=recipe, steps=50)
    on_gpu = replace(data, responses=torch.from_numpy(data.responses).cuda())
    here, there = (find_recipe(recipe).trainer(some, config, None).fit(2) for some in (data, on_gpu))
    for one, other in ((here.basis, there.basis), (here.weights, there.weights)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3 * float(one.abs().max()))
