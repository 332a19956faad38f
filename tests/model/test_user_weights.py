"""Weights of users: lookup, merging, and exact updates with more comparisons."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorerm import AdaptationConfig, TrainingConfig, adapt, train
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.errors import DataError, ModelError, UnknownUserError
from lorerm.model.prior import WeightPrior
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights
from planted import numbered_user, plant
from refusals import refused

PRIOR = WeightPrior(torch.zeros(2).double(), torch.eye(2).double())


def make(*user_ids, value=0.0, rank=2, covariance=True):
    n = len(user_ids)
    weights = torch.full((n, rank), value) + torch.arange(n)[:, None]
    return UserWeights(user_ids, weights, torch.eye(rank).expand(n, -1, -1) * (value + 1) if covariance else None)


def test_weights_are_looked_up_by_user_id():
    users = make("u", "v")
    assert len(users) == 2
    assert users["v"].tolist() == [1.0, 1.0]
    with refused(UnknownUserError, "'w'", argument="user_id"):
        users["w"]


@given(st.integers(0, 10**6))
def test_ids_are_read_as_everywhere(number):
    users = make(str(number), "v")
    for value in (number, float(number), np.int64(number), str(number)):
        assert users[value].tolist() == [0.0, 0.0]
        assert value in users
        assert users.select([value]).user_ids == (str(number),)
        assert users.forget([value]).user_ids == ("v",)
        assert users.forget(np.array([value])).user_ids == ("v",)
        new = ProjectedComparisons(torch.ones(1, 2), torch.ones(1), torch.zeros(1, dtype=torch.int64))
        assert users.add([value], new, PRIOR, 1.0).user_ids == (str(number), "v")
    for value in (None, float("nan"), True, 1.5, 2.0**60, b"v", ""):
        assert value not in users
        with refused(DataError, argument="user_id"):
            users[value]
        for call in (users.select, users.forget):
            with refused(DataError, "user_ids[0]", argument="user_ids"):
                call([value])
    for call in (users.select, users.forget):
        with refused(DataError, argument="user_ids"):
            call("v")


def test_merging_appends_new_users_and_replaces_known_ones():
    old, new = make("u", "v"), make("w", "u", value=7.0)
    merged = old.merge(new)
    assert merged.user_ids == ("u", "v", "w")
    assert merged.weights.tolist() == [[8.0, 8.0], [1.0, 1.0], [7.0, 7.0]]
    assert merged.covariance[:, 0, 0].tolist() == [8.0, 1.0, 8.0]
    assert old.weights.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert old.user_ids == ("u", "v")


def test_merging_an_empty_set_changes_nothing():
    users = make("u", "v")
    merged = users.merge(make())
    assert merged.user_ids == users.user_ids
    assert torch.equal(merged.weights, users.weights)
    empty = make(covariance=False)
    assert empty.merge(users).covariance is users.covariance is users.merge(empty).covariance


def test_covariances_are_kept_only_where_all_users_have_one():
    assert make("u").merge(make("v", covariance=False)).covariance is None


def test_weights_of_another_model_are_refused():
    with refused(ModelError, "3 weights", "2", argument="users"):
        make("u").merge(make("v", rank=3))


@pytest.fixture(scope="module")
def planted_model():
    """A model trained on 14 planted users, two of them with 20 of 30 comparisons; and the data of all 20 users."""
    planted = plant(users=20, pairs=30, dimension=12, seed=3)
    who = numbered_user(planted.data)
    later = [row for user in (0, 1) for row in np.flatnonzero(who == user)[20:]]
    training = np.setdiff1d(np.flatnonzero(who < 14), later)
    return train(planted.data.select(training), TrainingConfig(rank=3)), planted.data, who


def parts(data, who, users, first):
    """The first few comparisons of some users, and the rest."""
    rows = [np.flatnonzero(who == user) for user in users]
    return data.select(np.concatenate([r[:first] for r in rows])), data.select(
        np.concatenate([r[first:] for r in rows])
    )


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one.weights, other.weights, rtol=1e-4, atol=atol)
    torch.testing.assert_close(one.covariance, other.covariance, rtol=1e-4, atol=atol)


def test_an_update_equals_the_fit_on_all_comparisons_together(planted_model):
    model, data, who = planted_model
    early, late = parts(data, who, range(14, 20), 9)
    updated = adapt(model, early).update(late, model)
    together = adapt(model, data.select(np.flatnonzero(who >= 14)))
    assert set(updated.user_ids) == set(together.user_ids)
    close(updated, together.select(updated.user_ids))
    assert float((adapt(model, early).weights - updated.weights).abs().max()) > 0.1


def test_training_users_are_updated_exactly_too(planted_model):
    model, data, who = planted_model
    before = model.users()
    late = parts(data, who, (0, 1), 20)[1]
    updated = before.update(late, model).select(["user 0", "user 1"])
    close(updated, adapt(model, data.select(np.flatnonzero(who < 2))).select(updated.user_ids))
    assert float((updated.weights - before.select(updated.user_ids).weights).abs().max()) > 0.05
    assert before.comparisons.projected.shape == (14 * 30 - 20, model.basis.shape[1])


def test_one_comparison_at_a_time_gives_the_same_fit(planted_model):
    model, data, who = planted_model
    rows = np.flatnonzero(who == 15)
    users = UserWeights.none(model)
    for row in rows:
        users = users.update(data.select([row]), model)
    close(users, adapt(model, data.select(rows)))


def test_users_of_a_paper_model_are_updated_exactly_after_default_adaptation(planted_model):
    _, data, who = planted_model
    paper = train(data.select(np.flatnonzero(who < 14)), TrainingConfig(rank=3, recipe="paper", steps=60))
    early, late = parts(data, who, range(14, 20), 9)
    updated = adapt(paper, early).update(late, paper)
    together = adapt(paper, data.select(np.flatnonzero(who >= 14)))
    close(updated, together.select(updated.user_ids))
    new = UserWeights((), paper.weights[:0]).update(late, paper)
    close(new, adapt(paper, late).select(new.user_ids))
    published = adapt(paper, early, AdaptationConfig(recipe="paper"))
    with refused(ModelError, "'user 14'", argument="user_ids"):
        published.update(late, paper)


def test_an_update_changes_only_users_with_new_comparisons(planted_model):
    model, data, who = planted_model
    before = adapt(model, parts(data, who, range(14, 20), 9)[0])
    after = before.update(data.select(np.flatnonzero(who == 16)[9:]), model)
    assert after.user_ids == before.user_ids
    changed = (after.weights != before.weights).any(dim=1)
    assert [after.user_ids[i] for i in changed.nonzero()[:, 0]] == ["user 16"]
    assert len(after.comparisons) == len(before.comparisons) + 21


@pytest.mark.parametrize(("mixture", "share"), [(False, 0.25), (True, 0.5)])
def test_without_kept_comparisons_an_update_is_close_to_the_exact_fit(planted_model, mixture, share):
    """The gap is a small share of the change; it is larger where a Gaussian replaces a mixture."""
    model, data, who = planted_model
    assert model.prior.mixture is not None
    if not mixture:
        model = replace(model, prior=WeightPrior(model.prior.mean, model.prior.covariance))
    early, late = parts(data, who, range(14, 20), 15)
    users = adapt(model, early, keep_comparisons=False)
    assert users.comparisons is None
    updated = users.update(late, model)
    together = adapt(model, data.select(np.flatnonzero(who >= 14))).select(updated.user_ids)
    gap = (updated.weights - together.weights).norm(dim=1)
    moved = (users.weights - together.weights).norm(dim=1)
    assert float(gap.mean()) < share * float(moved.mean())
    seen = model.users().update(late, model)
    assert len(seen) == 20


def test_updates_need_a_posterior_and_embeddings_of_the_models_dimension(planted_model):
    model, data, who = planted_model
    few = data.select(np.flatnonzero(who == 14))
    with refused(ModelError, "'user 14'", argument="user_ids"):
        UserWeights(("user 14",), model.weights[:1], None).update(few, model)
    with refused(DataError, "dimension 3", argument="data"):
        model.users().update(EmbeddedPreferences.from_arrays(np.eye(3), [0], [1], ["u"]), model)


def test_selecting_and_forgetting(planted_model):
    model, data, who = planted_model
    users = adapt(model, data.select(np.flatnonzero(who >= 14)))
    some = users.select(["user 17", "user 14"])
    assert some.user_ids == ("user 17", "user 14")
    assert torch.equal(some["user 17"], users["user 17"])
    with refused(UnknownUserError, "'nobody'", argument="user_ids"):
        users.forget(["user 17", "nobody"])
    left = users.forget(["user 17", "nobody"], missing_ok=True)
    assert "user 17" not in left.user_ids
    assert len(left.comparisons) == len(users.comparisons) - 30
    close(left.merge(some).select(users.user_ids), users)
    assert len(left.merge(some).comparisons) == len(users.comparisons)
    with refused(UnknownUserError, "'user 17'"):
        left.select(["user 17"])


def test_a_models_users_keep_their_comparisons_and_can_be_forgotten(planted_model):
    model, data, who = planted_model
    users = adapt(model, data.select(np.flatnonzero(who >= 14)))
    bigger = model.with_users(users)
    assert len(bigger.users().select(users.user_ids).comparisons) == len(users.comparisons)
    smaller = bigger.without_users(["user 3", "user 15"])
    assert {"user 3", "user 15"} == set(bigger.user_ids) - set(smaller.user_ids)
    assert len(smaller.comparisons) == len(bigger.comparisons) - 60
    rows = [bigger.user_ids.index(user) for user in smaller.user_ids]
    torch.testing.assert_close(smaller.validation_loss, bigger.validation_loss[rows], equal_nan=True)
    assert "user 3" in bigger.user_ids


def test_projected_comparisons_are_added_as_embedded_ones(planted_model):
    """A server keeps the projections alone."""
    model, data = planted_model[0], planted_model[1]
    empty = model.users().select([])
    user_ids, projected = ProjectedComparisons.of(data, model.basis)
    by_projection = empty.add(user_ids, projected, model.prior, model.temperature)
    by_data = empty.update(data, model)
    assert by_projection.user_ids == by_data.user_ids == user_ids
    assert torch.equal(by_projection.weights, by_data.weights)
    assert user_ids[0] in by_projection
    assert user_ids[0] not in empty
