"""Users' weights: found by name, and merged without touching the original."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm import AdaptationConfig, TrainingConfig, adapt, train
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.errors import DataError, ModelError, UnknownUserError
from lorerm.model.posterior import WeightPrior
from lorerm.model.projected import ProjectedAnswers
from lorerm.model.user_weights import UserWeights
from planted import numbered_user, plant


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
    nobody = make(covariance=False)
    assert nobody.merge(users).covariance is users.covariance is users.merge(nobody).covariance


def test_covariances_are_kept_only_where_everybody_has_one():
    assert make("u").merge(make("v", covariance=False)).covariance is None


def test_weights_of_another_model_are_refused():
    with pytest.raises(ModelError, match="have 3 columns, the basis has 2"):
        make("u").merge(make("v", rank=3))


@pytest.fixture(scope="module")
def planted_model():
    """A model trained on planted preferences of 14 users, the first two not to their end; and everybody's answers."""
    planted = plant(users=20, pairs=30, dimension=12, seed=3)
    who = numbered_user(planted.data)
    later = [row for user in (0, 1) for row in np.flatnonzero(who == user)[20:]]
    training = np.setdiff1d(np.flatnonzero(who < 14), later)
    return train(planted.data.select(training), TrainingConfig(rank=3)), planted.data, who


def parts(data, who, users, first):
    """The first few answers of some users, and the rest."""
    rows = [np.flatnonzero(who == user) for user in users]
    return data.select(np.concatenate([r[:first] for r in rows])), data.select(
        np.concatenate([r[first:] for r in rows])
    )


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one.weights, other.weights, rtol=1e-4, atol=atol)
    torch.testing.assert_close(one.covariance, other.covariance, rtol=1e-4, atol=atol)


def test_updating_equals_the_fit_on_all_answers_together(planted_model):
    model, data, who = planted_model
    early, late = parts(data, who, range(14, 20), 9)
    updated = adapt(model, early).update(late, model)
    together = adapt(model, data.select(np.flatnonzero(who >= 14)))
    assert set(updated.user_ids) == set(together.user_ids)
    close(updated, together.select(updated.user_ids))
    assert float((adapt(model, early).weights - updated.weights).abs().max()) > 0.1


def test_those_of_the_training_are_updated_exactly_too(planted_model):
    model, data, who = planted_model
    before = model.users()
    late = parts(data, who, (0, 1), 20)[1]
    updated = before.update(late, model).select(["user 0", "user 1"])
    close(updated, adapt(model, data.select(np.flatnonzero(who < 2))).select(updated.user_ids))
    assert float((updated.weights - before.select(updated.user_ids).weights).abs().max()) > 0.05
    assert before.answers.projected.shape == (14 * 30 - 20, model.basis.shape[1])


def test_one_answer_at_a_time_from_nothing_is_the_same_fit(planted_model):
    model, data, who = planted_model
    rows = np.flatnonzero(who == 15)
    users = UserWeights((), model.weights[:0], model.covariance[:0])
    for row in rows:
        users = users.update(data.select([row]), model)
    close(users, adapt(model, data.select(rows)))


def test_people_of_a_paper_recipe_are_updated_exactly_from_the_default_adaptation_on(planted_model):
    _, data, who = planted_model
    paper = train(data.select(np.flatnonzero(who < 14)), TrainingConfig(rank=3, recipe="paper", steps=60))
    early, late = parts(data, who, range(14, 20), 9)
    updated = adapt(paper, early).update(late, paper)
    together = adapt(paper, data.select(np.flatnonzero(who >= 14)))
    close(updated, together.select(updated.user_ids))
    new = UserWeights((), paper.weights[:0]).update(late, paper)
    close(new, adapt(paper, late).select(new.user_ids))
    published = adapt(paper, early, AdaptationConfig(recipe="paper"))
    with pytest.raises(ModelError, match="adapt the model to all of their answers with the default recipe"):
        published.update(late, paper)


def test_an_update_touches_only_those_who_answered(planted_model):
    model, data, who = planted_model
    before = adapt(model, parts(data, who, range(14, 20), 9)[0])
    after = before.update(data.select(np.flatnonzero(who == 16)[9:]), model)
    assert after.user_ids == before.user_ids
    changed = (after.weights != before.weights).any(dim=1)
    assert [after.user_ids[i] for i in changed.nonzero()[:, 0]] == ["user 16"]
    assert len(after.answers) == len(before.answers) + 21


@pytest.mark.parametrize(("kinds", "share"), [(False, 0.25), (True, 0.5)])
def test_without_kept_answers_the_posterior_stands_for_them_nearly(planted_model, kinds, share):
    """The gap to the exact fit is small beside what the answers change; a Gaussian says less of people of kinds."""
    model, data, who = planted_model
    assert model.prior.mixture is not None
    if not kinds:
        model = replace(model, prior=WeightPrior(model.prior.mean, model.prior.covariance))
    early, late = parts(data, who, range(14, 20), 15)
    users = adapt(model, early, keep_answers=False)
    assert users.answers is None
    updated = users.update(late, model)
    together = adapt(model, data.select(np.flatnonzero(who >= 14))).select(updated.user_ids)
    gap = (updated.weights - together.weights).norm(dim=1)
    moved = (users.weights - together.weights).norm(dim=1)
    assert float(gap.mean()) < share * float(moved.mean())
    seen = model.users().update(late, model)
    assert len(seen) == 20


def test_updates_need_a_posterior_and_the_models_own_embeddings(planted_model):
    model, data, who = planted_model
    few = data.select(np.flatnonzero(who == 14))
    with pytest.raises(ModelError, match=r"user 'user 14' neither .* were kept"):
        UserWeights(("user 14",), model.weights[:1], None).update(few, model)
    with pytest.raises(DataError, match="have dimension 3"):
        model.users().update(EmbeddedPreferences.from_arrays(np.eye(3), [0], [1], ["u"]), model)


def test_selecting_and_forgetting(planted_model):
    model, data, who = planted_model
    users = adapt(model, data.select(np.flatnonzero(who >= 14)))
    some = users.select(["user 17", "user 14"])
    assert some.user_ids == ("user 17", "user 14")
    assert torch.equal(some["user 17"], users["user 17"])
    left = users.forget(["user 17", "nobody"])
    assert "user 17" not in left.user_ids
    assert len(left.answers) == len(users.answers) - 30
    close(left.merge(some).select(users.user_ids), users)
    assert len(left.merge(some).answers) == len(users.answers)
    with pytest.raises(UnknownUserError):
        left.select(["user 17"])


def test_a_models_users_keep_their_answers_and_can_be_forgotten(planted_model):
    model, data, who = planted_model
    users = adapt(model, data.select(np.flatnonzero(who >= 14)))
    bigger = model.with_users(users)
    assert len(bigger.users().select(users.user_ids).answers) == len(users.answers)
    smaller = bigger.without_users(["user 3", "user 15"])
    assert {"user 3", "user 15"} == set(bigger.user_ids) - set(smaller.user_ids)
    assert len(smaller.answers) == len(bigger.answers) - 60
    places = [bigger.user_ids.index(user) for user in smaller.user_ids]
    torch.testing.assert_close(smaller.validation_loss, bigger.validation_loss[places], equal_nan=True)
    assert "user 3" in bigger.user_ids


def test_answers_that_are_projected_already_are_added_the_same_way(planted_model):
    """What a server keeps: it sees each answer's embeddings once, and their projections from then on."""
    model, data = planted_model[0], planted_model[1]
    nobody = model.users().select([])
    user_ids, projected = ProjectedAnswers.of(data, model.basis)
    by_projection, by_data = nobody.add(user_ids, projected, model), nobody.update(data, model)
    assert by_projection.user_ids == by_data.user_ids == user_ids
    assert torch.equal(by_projection.weights, by_data.weights)
    assert user_ids[0] in by_projection
    assert user_ids[0] not in nobody
