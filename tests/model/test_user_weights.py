"""Users' weights: found by name, and merged without touching the original."""

import pytest
import torch

from lorerm.errors import ModelError, UnknownUserError
from lorerm.model.user_weights import UserWeights


def make(*user_ids, value=0.0, rank=2, covariance=True):
    n = len(user_ids)
    weights = torch.full((n, rank), value) + torch.arange(n)[:, None]
    return UserWeights(user_ids, weights, torch.eye(rank).expand(n, -1, -1) * (value + 1) if covariance else None)


def test_users_are_found_by_name():
    users = make("u", "v")
    assert len(users) == 2
    assert users["v"].tolist() == [1.0, 1.0]
    with pytest.raises(UnknownUserError, match="user 'w' has no weights here"):
        users["w"]


def test_merging_appends_new_users_and_replaces_known_ones():
    old, new = make("u", "v"), make("w", "u", value=7.0)
    merged = old.merge(new)
    assert merged.user_ids == ("u", "v", "w")
    assert merged.weights.tolist() == [[8.0, 8.0], [1.0, 1.0], [7.0, 7.0]]
    assert merged.covariance[:, 0, 0].tolist() == [8.0, 1.0, 8.0]
    assert old.weights.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert old.user_ids == ("u", "v")


def test_merging_nobody_changes_nothing():
    users = make("u", "v")
    merged = users.merge(make())
    assert merged.user_ids == users.user_ids
    assert torch.equal(merged.weights, users.weights)


def test_covariances_are_kept_only_where_everybody_has_one():
    assert make("u").merge(make("v", covariance=False)).covariance is None


def test_weights_of_another_model_are_refused():
    with pytest.raises(ModelError, match="have 3 columns, the basis has 2"):
        make("u").merge(make("v", rank=3))
