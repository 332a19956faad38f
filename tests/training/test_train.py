"""Training through public functions: planted structure, invariances, choice of the rank, and refusals."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lorerm.data.splits import split
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.errors import ConfigError, DataError
from lorerm.training.adaptation import adapt
from lorerm.training.config import TrainingConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.train import (
    AUTO_RANKS,
    choose_rank,
    largest_rank,
    possible_ranks,
    train,
    train_ranks,
)
from planted import mean_accuracy, numbered_user, plant
from refusals import refused


def accuracy(model, splits, name):
    """Return the mean accuracy on a split; unseen users are adapted first."""
    if name.endswith("unseen"):
        model = model.with_users(adapt(model, getattr(splits, name.replace("test", "train"))))
    return mean_accuracy(model, getattr(splits, name))


@pytest.fixture(scope="module")
def small():
    """Data on which training takes well under a second."""
    return plant(users=8, pairs=20, dimension=6, prompts=100, reference=True).data


@pytest.mark.parametrize("name", ["test_seen", "test_unseen"])
def test_a_strong_personal_signal_is_found(models, splits, name):
    assert accuracy(models[3], splits, name) > accuracy(models[1], splits, name) + 0.08


def test_a_strong_personal_signal_makes_validation_choose_a_personal_rank(models):
    assert choose_rank(models) >= 2


def test_where_users_do_not_differ_personal_weights_do_no_harm():
    """Validation chooses rank 1 or, by chance, personal weights that lose less than a point of accuracy."""
    chosen = []
    for seed in range(6):
        data = plant(users=24, pairs=60, dimension=12, personal=0, noise=0.5, prompts=1200, seed=seed).data
        splits = split(data, seed=seed)
        models = dict(train_ranks(splits.train_seen, [1, 3], TrainingConfig()))
        chosen.append(choose_rank(models))
        assert (models[3].fitted_rank > 1) == (chosen[-1] > 1)
        for name in ("test_seen", "test_unseen"):
            assert accuracy(models[3], splits, name) > accuracy(models[1], splits, name) - 0.01
    assert set(chosen) == {1, 3}  # both cases occurred


def test_opposite_preferences_are_learnt():
    """Half of the users have the opposite preferences of the other half, on the same pairs."""
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((200, 8)).astype(np.float32)
    better = (responses[::2] - responses[1::2]) @ rng.standard_normal(8) > 0
    first, second = np.arange(0, 200, 2), np.arange(1, 200, 2)
    chosen, rejected = np.where(better, first, second), np.where(better, second, first)
    data = EmbeddedPreferences.from_arrays(
        responses,
        np.concatenate([chosen, rejected] * 6),
        np.concatenate([rejected, chosen] * 6),
        np.repeat([f"user {u}" for u in range(12)], 100),
        np.tile(np.arange(100), 12),
    )
    splits = split(data)
    model = train(splits.train_seen, TrainingConfig(rank=2))
    assert accuracy(model, splits, "test_seen") > 0.85
    assert accuracy(model, splits, "test_unseen") > 0.85


def test_a_reference_head_helps_where_comparisons_are_few():
    planted = plant(users=6, pairs=12, dimension=48, personal=0, noise=0.5, prompts=3000, reference=True)
    splits = split(planted.data, unseen_users=0)
    with_head = train(splits.train_seen, TrainingConfig(rank=1))
    without = train(replace(splits.train_seen, reference=None), TrainingConfig(rank=1))

    def alignment(model):
        theta = model.basis[:, 0]
        return float(torch.nn.functional.cosine_similarity(theta, torch.from_numpy(planted.shared).float(), dim=0))

    assert alignment(with_head) > 0.9
    assert alignment(with_head) > alignment(without) + 0.1


def test_training_twice_gives_the_same_tensors(small):
    for config in (
        TrainingConfig(rank=3),
        TrainingConfig(rank=2, recipe="paper", steps=20),
        TrainingConfig(rank=2, recipe="paper-cosine", steps=20),
    ):
        one, again = train(small, config), train(small, config)
        for name in ("basis", "weights", "validation_loss"):
            torch.testing.assert_close(getattr(one, name), getattr(again, name), rtol=0, atol=0, equal_nan=True)
        assert one.training == again.training


def test_ranks_trained_together_equal_those_trained_alone(small):
    together = dict(train_ranks(small, [0, 1, 2, 3], TrainingConfig()))
    assert list(together) == [0, 1, 2, 3]
    for rank, model in together.items():
        alone = train(small, TrainingConfig(rank=rank))
        assert torch.equal(model.basis, alone.basis)
        assert torch.equal(model.weights, alone.weights)
        assert model.training == alone.training
        assert model.requested_rank == model.training["config"]["rank"] == rank


def test_the_scale_of_the_embeddings_does_not_matter(splits, models):
    larger = replace(splits.train_seen, responses=10 * splits.train_seen.responses)
    model = train(larger, TrainingConfig(rank=3))
    rewards = model.rewards(10 * splits.train_seen.responses[:200], model.user_ids[0])
    before = models[3].rewards(splits.train_seen.responses[:200], model.user_ids[0])
    assert float(torch.corrcoef(torch.stack([rewards, before]))[0, 1]) > 0.999
    scaled = replace(splits.test_seen, responses=10 * splits.test_seen.responses)
    assert mean_accuracy(model, scaled) == pytest.approx(mean_accuracy(models[3], splits.test_seen), abs=0.01)


def test_the_order_of_users_does_not_matter(splits, models):
    data = splits.train_seen
    shuffled = data.select(np.random.default_rng(0).permutation(len(data)))
    model = train(shuffled, TrainingConfig(rank=3))
    assert model.user_ids == tuple(dict.fromkeys(shuffled.user_ids)) != models[3].user_ids
    for user in model.user_ids[:5]:
        rewards = [one.rewards(data.responses[:200], user) for one in (model, models[3])]
        assert float(torch.corrcoef(torch.stack(rewards))[0, 1]) > 0.999


def test_features_without_variance_do_not_matter(small):
    plain = train(small, TrainingConfig(rank=2))
    constant = np.concatenate([small.responses, np.full((len(small.responses), 2), 777.7, dtype=np.float32)], axis=1)
    wider = replace(small, responses=constant, reference=np.append(small.reference, [5.0, -5.0]).astype(np.float32))
    model = train(wider, TrainingConfig(rank=2))
    assert (model.basis[6:] == 0).all()
    assert model.basis.isfinite().all()
    rewards = [one.rewards(data.responses, model.user_ids[0]) for one, data in ((plain, small), (model, wider))]
    assert float(torch.corrcoef(torch.stack(rewards))[0, 1]) > 0.999


def test_half_precision_embeddings_give_a_finite_float32_basis(small):
    model = train(replace(small, responses=torch.from_numpy(small.responses).bfloat16()), TrainingConfig(rank=2))
    assert model.basis.dtype == torch.float32
    assert model.basis.isfinite().all()


def test_auto_is_one_of_the_ranks_that_the_data_can_determine(small):
    model = train(small)
    assert model.requested_rank in AUTO_RANKS
    assert model.training["config"]["rank"] == model.requested_rank
    assert possible_ranks(small, AUTO_RANKS) == [0, 1, 2, 3, 4, 5]
    assert possible_ranks(replace(small, reference=None), AUTO_RANKS) == [1, 2, 3, 4, 5]
    few = small.select(np.flatnonzero(numbered_user(small) < 3))
    assert possible_ranks(few, AUTO_RANKS) == [0, 1, 2, 3]
    assert largest_rank(few) == 3


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_a_rank_that_the_data_cannot_determine_is_refused(small, recipe):
    with refused(ConfigError, "rank 7", "8 users", "dimension 6", "at most 6", argument="rank"):
        train(small, TrainingConfig(rank=7, recipe=recipe))


@pytest.mark.parametrize("recipe", ["default", "paper", "paper-cosine"])
def test_rank_zero_is_the_reference_head_alone(small, recipe):
    model = train(small, TrainingConfig(rank=0, recipe=recipe))
    assert torch.equal(model.basis[:, 0], torch.from_numpy(small.reference))
    assert (model.weights == 1).all()
    assert (model.requested_rank, model.fitted_rank) == (0, 0)
    assert model.temperature > 0


def test_without_a_reference_head_ranks_and_recipes_that_need_it_are_refused(small):
    headless = replace(small, reference=None)
    with refused(ConfigError, "rank 0", argument="rank"):
        train(headless, TrainingConfig(rank=0))
    with refused(ConfigError, "'paper-cosine'", argument="reference"):
        train(headless, TrainingConfig(rank=2, recipe="paper-cosine", steps=5))
    with refused(ConfigError, "'paper'", argument="reference"):
        train(headless, TrainingConfig(rank=2, recipe="paper", alpha=1.0, steps=5))
    assert train(headless, TrainingConfig(rank=2, recipe="paper", steps=5)).reference is None


def test_a_given_reference_takes_precedence_over_that_of_the_data(small):
    head = torch.arange(6, dtype=torch.bfloat16)
    assert train(small, TrainingConfig(rank=0), reference=head).basis[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert train(small, TrainingConfig(rank=1)).reference.tolist() == small.reference.tolist()


@pytest.mark.parametrize(
    ("head", "name"),
    [(np.ones(5), "5 entries"), (np.array([1.0, np.nan, 1, 1, 1, 1]), "NaN")],
)
def test_a_reference_head_that_does_not_fit_is_refused(small, head, name):
    with refused(DataError, name):
        train(small, TrainingConfig(rank=1), reference=head)


def with_equal_responses(data, rows):
    """The same comparisons, with the same embedding for both responses of some of them."""
    responses = np.array(data.responses)
    chosen, rejected = data.rows()
    first = chosen[rows] // 2 * 2  # each prompt has two neighbouring rows
    responses[first + 1] = responses[first]
    return EmbeddedPreferences.from_arrays(responses, chosen, rejected, data.user_ids, data.prompt_ids)


@pytest.mark.parametrize("differences", [True, False])
def test_comparisons_that_look_the_same_are_counted(small, differences):
    pairs = PackedPairs.pack(with_equal_responses(small, slice(0, 3)), differences=differences)
    same = pairs.same.numpy()
    assert same.sum() >= 3
    assert set(range(3)) <= set(pairs.order[same].tolist())
    assert not PackedPairs.pack(small, differences=differences).same.any()


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_comparisons_that_nearly_all_look_the_same_are_refused(small, recipe):
    n = len(small)
    with refused(DataError, f"{n} of {n}", argument="responses"):
        next(train_ranks(with_equal_responses(small, slice(None)), [1], TrainingConfig(recipe=recipe)))


def test_training_warns_of_ties_and_of_weights_that_teach_nothing(small):
    some = with_equal_responses(small, slice(0, 3))
    weighted = replace(small, weights=np.full(len(small), 1 / len(small)))
    for data, number in ((some, f"of {len(small)}"), (weighted, "sum to 1")):
        with pytest.warns(UserWarning, match=number):
            train(data, TrainingConfig(rank=1))


def test_a_single_comparison_is_enough_to_train(small):
    """Without a validation split."""
    pair = small.select(np.array([0]))
    for recipe in ("default", "paper"):
        model = train(pair, TrainingConfig(rank=1, recipe=recipe, steps=5))
        chosen, rejected = pair.rows()
        rewards = model.rewards(small.responses[[chosen[0], rejected[0]]])
        assert model.training["validation"] is None
        assert model.validation_loss is None
        assert rewards.isfinite().all()
    assert train(pair).requested_rank in (0, 1)


def test_the_validation_result_is_stored(small):
    model = train(small, TrainingConfig(rank=2))
    validation = model.training["validation"]
    losses = model.validation_loss
    assert losses.shape == (8,)
    assert float(losses[losses.isfinite()].mean()) == pytest.approx(validation["loss"], rel=1e-5)
    assert validation["n_users"] == int(losses.isfinite().sum())
    assert 0 <= validation["accuracy"] <= 1
    assert {"lambda_shared", "lambda_personal", "prior_spread"} <= set(model.training["chosen"])


def candidate(losses):
    """Return an object that has only the fields of a model that `choose_rank` uses."""
    losses = torch.tensor(losses)
    return SimpleNamespace(
        training={"validation": {"loss": float(losses[losses.isfinite()].mean())}}, validation_loss=losses
    )


def test_the_smallest_validation_loss_is_chosen_where_it_improves_by_one_se():
    one = candidate([0.6, 0.5, 0.7, 0.6])
    clear = candidate([0.5, 0.4, 0.6, 0.55])
    lucky = candidate([0.1, 0.65, 0.75, 0.65])
    assert choose_rank({1: one, 2: clear, 3: lucky}) == 2
    assert choose_rank({1: one, 3: lucky}) == 1
    assert choose_rank({2: clear, 3: lucky}) == 2
    assert (
        choose_rank({1: one, 2: clear, 3: candidate([0.5, 0.4, 0.6, 0.54])}) == 3
    )  # among personal ranks the smallest loss decides
    assert choose_rank({0: candidate([0.4, 0.4, 0.4, 0.4]), 1: one, 2: clear}) == 0
    assert choose_rank({1: one, 2: one}) == 1
    hardly = candidate([0.5, 0.6, 0.7, 0.55])  # 0.3 standard errors better
    assert choose_rank({1: one, 2: hardly}) == 1


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_auto_is_the_rank_chosen_among_trained_ranks(splits, recipe, monkeypatch):
    """Only that rank is trained on all comparisons, with the same result."""
    monkeypatch.setattr("lorerm.training.train.AUTO_RANKS", (0, 1, 3))
    config = TrainingConfig(recipe=recipe, steps=30)
    reported = []
    auto = train(splits.train_seen, config, progress=lambda *what: reported.append(what[0]))
    models = dict(train_ranks(splits.train_seen, [1, 3], config))
    assert auto.requested_rank == choose_rank(models)
    assert torch.equal(auto.basis, models[auto.requested_rank].basis)
    assert set(reported) == {f"rank {auto.requested_rank}"}


def test_users_without_held_out_comparisons_do_not_count():
    nan = float("nan")
    assert choose_rank({1: candidate([0.6, nan, 0.7]), 2: candidate([0.5, nan, 0.55])}) == 2


def test_without_validation_the_smallest_rank_from_one_is_chosen():
    nothing = SimpleNamespace(training={"validation": None}, validation_loss=None)
    assert choose_rank({0: nothing, 1: nothing, 3: nothing}) == 1
    assert choose_rank({0: nothing}) == 0


def test_ranks_can_still_be_chosen_after_users_were_added(models, splits):
    bigger = {rank: model.with_users(adapt(model, splits.train_unseen)) for rank, model in models.items()}
    assert choose_rank(bigger) == choose_rank(models)


def test_progress_names_what_is_trained(small):
    reported = []
    for _ in train_ranks(small, [1, 2], TrainingConfig(), progress=lambda *what: reported.append(what)):
        pass
    assert reported == [("rank 1", 1, 1), ("rank 2", 1, 1)]
