"""Fields and lookups of a model's parameters, without the operations of the reward model."""

import dataclasses

import pytest
import torch

from lorerm.errors import UnknownUserError
from lorerm.model.parameters import ModelParameters
from refusals import refused


@pytest.fixture
def parameters(model):
    return ModelParameters(**{field.name: getattr(model, field.name) for field in dataclasses.fields(model)})


def test_weights_are_looked_up_by_user_id(parameters):
    for user, weights in zip(parameters.user_ids, parameters.weights, strict=True):
        assert torch.equal(parameters.user_weights(user), weights)


def test_population_weights_are_given_for_none_and_on_request_for_unknown_users(parameters):
    expected = parameters.prior.mean.float()
    assert torch.equal(parameters.user_weights(None), expected)
    assert torch.equal(parameters.user_weights("a stranger", population=True), expected)
    assert not torch.equal(parameters.user_weights("b", population=True), expected)
    with refused(UnknownUserError, "'a stranger'", "3", argument="user_id"):
        parameters.user_weights("a stranger")


def test_the_fitted_rank_is_the_number_of_directions(parameters):
    assert parameters.fitted_rank == parameters.basis.shape[1] == 2
    assert dataclasses.replace(parameters, requested_rank=0).fitted_rank == 0


def test_fields_cannot_be_changed(parameters, model):
    for one in (parameters, model):
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.temperature = 2.0


def test_the_repr_shows_sizes_and_no_user(parameters):
    assert repr(parameters) == "ModelParameters(dimension=4, rank=2, users=3)"
