"""Rewards, rankings, and changes of the users of a model."""

import numpy as np
import pytest
import torch

from lorerm.embedding.encoder import EncoderIdentity
from lorerm.embedding.hashing import HashingEncoder
from lorerm.errors import DataError, ModelError, UnknownUserError
from lorerm.model.user_weights import UserWeights
from refusals import refused


class ByLength:
    """An encoder whose first feature is the length of the response."""

    identity = EncoderIdentity("by length", None, "-", "none", "float32", None, 4)
    reference = None
    reference_reason = "none"

    def encode(self, conversations, progress=None):
        return np.array([[len(c[-1]["content"]), 0, 0, 0] for c in conversations], dtype=np.float32)


EMBEDDINGS = np.random.default_rng(0).standard_normal((5, 4))


@pytest.mark.parametrize(
    "kind", [np.asarray, np.float32, torch.as_tensor, lambda rows: torch.as_tensor(rows).bfloat16()]
)
def test_rewards_are_embedding_times_basis_times_weights(model, kind):
    embeddings = kind(EMBEDDINGS)
    for user, weights in zip(model.user_ids, model.weights, strict=True):
        rewards = model.rewards(embeddings, user)
        assert rewards.dtype == torch.float32
        expected = torch.as_tensor(embeddings).double() @ model.basis.double() @ weights.double()
        torch.testing.assert_close(rewards.double(), expected, rtol=1e-4, atol=1e-5)


def test_without_a_user_the_rewards_are_the_populations(model):
    rewards = model.rewards(EMBEDDINGS)
    expected = torch.as_tensor(EMBEDDINGS).float() @ model.basis @ model.population_weights
    torch.testing.assert_close(rewards, expected)
    assert torch.equal(rewards, model.rewards(EMBEDDINGS, "a stranger", population=True))
    assert not torch.equal(rewards, model.rewards(EMBEDDINGS, "zoë", population=True))


def test_the_repr_shows_sizes_and_no_user(model):
    assert repr(model) == f"LowRankRewardModel(dimension=4, rank={model.basis.shape[1]}, users={len(model.user_ids)})"
    assert repr(model.users()) == f"UserWeights(users={len(model.user_ids)}, rank={model.basis.shape[1]})"


def test_an_unknown_user_is_an_error_that_names_the_user(model):
    with refused(UnknownUserError, "'a stranger'", "population=True", argument="user_id"):
        model.rewards(EMBEDDINGS, "a stranger")
    with pytest.raises(LookupError):
        model.user_weights("a stranger")


@pytest.mark.parametrize("shape", [(4,), (5, 3), (2, 5, 4)])
def test_embeddings_of_another_shape_are_refused(model, shape):
    with refused(DataError, str(shape), "dimension 4", argument="embeddings"):
        model.rewards(np.zeros(shape), "b")


def test_embeddings_may_be_read_only(model):
    embeddings = EMBEDDINGS.copy()
    embeddings.flags.writeable = False
    assert model.rewards(embeddings).shape == (5,)


def test_weight_space_and_ranks(make_model):
    assert make_model("free").weight_space == "free"
    assert make_model("simplex").weight_space == "simplex"
    model = make_model()
    assert (model.requested_rank, model.fitted_rank) == (3, 2)
    assert make_model(requested_rank=0).fitted_rank == 0


def test_responses_are_ranked_best_first(make_model):
    basis = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    model = make_model(basis=basis, weights=torch.tensor([[2.0, 0], [-1.0, 0], [0.0, 0]]), encoder=None)
    responses = ["four", "longest", "two"]
    likes_long = model.rank("prompt", responses, "zoë", encoder=ByLength())
    assert [(found.response, found.index, found.reward) for found in likes_long] == [
        ("longest", 1, 14.0),
        ("four", 0, 8.0),
        ("two", 2, 6.0),
    ]
    assert [found.index for found in model.rank("prompt", responses, "b", encoder=ByLength())] == [2, 0, 1]
    assert [found.index for found in model.rank("prompt", ["bb", "aa", "cc"], "zoë", encoder=ByLength())] == [0, 1, 2]
    assert model.rank("prompt", [], "zoë", encoder=ByLength()) == []
    with refused(UnknownUserError, "'a stranger'"):
        model.rank("prompt", responses, "a stranger", encoder=ByLength())
    assert len(model.rank("prompt", responses, "a stranger", encoder=ByLength(), population=True)) == 3


def test_responses_are_ranked_with_the_built_in_encoder(make_model):
    encoder = HashingEncoder()
    basis = torch.randn(encoder.identity.dimension, 2, generator=torch.Generator().manual_seed(0))
    model = make_model(basis=basis, encoder=encoder.identity)
    chat = [[{"role": "assistant", "content": text}] for text in ("Sure!", "No.")]
    found = model.rank([{"role": "user", "content": "Would you?"}], chat, "b", encoder=encoder)
    plain = model.rank("Would you?", ["Sure!", "No."], "b", encoder=encoder)
    assert [item.index for item in found] == [item.index for item in plain]
    assert [item.reward for item in found] == sorted((item.reward for item in found), reverse=True)
    assert found[0].response == chat[found[0].index]


def test_another_encoder_is_refused(model):
    with refused(ModelError, "'an encoder'", "'by length'", argument="encoder"):
        model.rank("prompt", ["a"], "b", encoder=ByLength())


def test_with_users_adds_and_replaces_in_a_new_model(model):
    weights, ids = model.weights.clone(), model.user_ids
    more = UserWeights(("new", "b"), torch.tensor([[5.0, 6.0], [7.0, 8.0]]), torch.zeros(2, 2, 2))
    bigger = model.with_users(more)
    assert bigger.user_ids == (*ids, "new")
    assert torch.equal(bigger.user_weights("b"), torch.tensor([7.0, 8.0]))
    assert torch.equal(bigger.user_weights("new"), torch.tensor([5.0, 6.0]))
    assert torch.equal(bigger.user_weights("zoë"), weights[0])
    assert torch.equal(model.weights, weights)
    assert model.user_ids == ids
    assert bigger.basis is model.basis
    if model.covariance is None:
        assert bigger.covariance is None
    else:
        assert (bigger.covariance[[1, 3]] == 0).all()
        assert (bigger.covariance[[0, 2]] == torch.eye(2)).all()


def test_added_users_have_no_validation_loss_and_the_others_keep_theirs(model):
    """`choose_rank` compares these losses, also after users were added."""
    bigger = model.with_users(UserWeights(("new",), torch.zeros(1, 2)))
    expected = torch.cat([model.validation_loss, torch.tensor([float("nan")])])
    torch.testing.assert_close(bigger.validation_loss, expected, equal_nan=True)


def test_a_user_is_a_number_or_its_digits(make_model):
    model = make_model(user_ids=("7", "8", "9"), encoder=ByLength().identity)
    for user in (7, 7.0, np.int8(7), "7"):
        assert torch.equal(model.rewards(torch.eye(4), user_id=user), model.rewards(torch.eye(4), "7"))
        assert model.rank("prompt", ["a", "bb"], user, encoder=ByLength())
        assert model.without_users([user]).user_ids == ("8", "9")
    for wrong in (float("nan"), True, 7.5, 2.0**60, b"7", ""):
        for population in (False, True):
            with refused(DataError, argument="user_id"):
                model.rewards(torch.eye(4), wrong, population=population)
            with refused(DataError, argument="user_id"):
                model.rank("prompt", ["a", "bb"], wrong, encoder=ByLength(), population=population)


def test_a_user_who_is_not_there_cannot_be_removed_unless_that_is_said(model):
    with refused(UnknownUserError, "'nobody'", argument="user_ids"):
        model.without_users(["b", "nobody"])
    with refused(DataError, argument="user_ids"):
        model.without_users("b")
    assert "b" not in model.without_users(["b", "nobody"], missing_ok=True).user_ids


def test_users_of_another_model_are_refused(model):
    with refused(ModelError, "3 weights", "2", argument="users"):
        model.with_users(UserWeights(("new",), torch.zeros(1, 3)))


def test_users_returns_ids_and_weights(model):
    users = model.users()
    assert users.user_ids == model.user_ids
    assert torch.equal(users["b"], model.user_weights("b"))
