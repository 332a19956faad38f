"""Validation pairs: held prompts and people are really held out, and scores are what one computes by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.training.validation import TEST_PROMPTS, UNSEEN_USERS, Validation, best_temperature
from planted import plant


@pytest.fixture(scope="module")
def data():
    return plant(users=16, pairs=20, dimension=4, prompts=60).data


@pytest.fixture
def cut(data, monkeypatch):
    """Cut and return the validation, with the comparisons that each of its parts was packed from."""
    taken = []
    select = EmbeddedPreferences.select
    monkeypatch.setattr(EmbeddedPreferences, "select", lambda self, rows: taken.append(rows) or select(self, rows))

    def run(seed=0):
        taken.clear()
        validation = Validation.cut(data, seed)
        return validation, dict(zip(("fit", "shots", "held"), map(data.select, list(taken)), strict=True))

    return run


@pytest.mark.parametrize("seed", range(4))
def test_held_prompts_are_in_neither_other_part(cut, seed):
    _, parts = cut(seed)
    held = set(parts["held"].prompt_ids)
    assert held
    assert not held & set(parts["fit"].prompt_ids)
    assert not held & set(parts["shots"].prompt_ids)


@pytest.mark.parametrize("seed", range(4))
def test_some_people_are_held_out_and_everybody_held_has_weights(cut, data, seed):
    validation, parts = cut(seed)
    fit, shots, held = (set(parts[name].user_ids) for name in ("fit", "shots", "held"))
    assert not fit & shots
    assert held <= fit | shots
    assert len(shots) == round(UNSEEN_USERS * 16)
    rows = validation.fit.user_ids + validation.shots.user_ids
    assert [rows[i] for i in validation.place] == list(validation.held.user_ids)
    assert len(set(parts["held"].prompt_ids)) == pytest.approx(TEST_PROMPTS * 60, abs=2)
    assert validation.share == len(parts["fit"]) / len(data)
    assert sum(map(len, parts.values())) == len(data)


def test_the_cut_depends_on_the_seed_alone(cut):
    _, first = cut(0)
    _, again = cut(0)
    _, other = cut(1)
    assert list(first["held"].user_ids) == list(again["held"].user_ids)
    assert set(first["held"].prompt_ids) != set(other["held"].prompt_ids)


@pytest.mark.parametrize("rows", [[0], [0, 1]], ids=["one pair", "two users of one pair each"])
def test_too_little_data_has_no_validation(data, rows):
    small = EmbeddedPreferences.from_arrays(
        data.responses, [0, 2][: len(rows)], [1, 3][: len(rows)], ["a", "b"][: len(rows)]
    )
    assert Validation.cut(small, 0) is None


def test_one_user_is_validated_without_shots(data):
    one = data.select(np.flatnonzero(np.asarray(data.user_ids) == "user 3"))
    validation = Validation.cut(one, 0)
    assert validation.shots is None
    assert validation.held.user_ids == ("user 3",)


def test_margins_are_the_literal_ones(cut, data):
    validation, parts = cut(0)
    rng = np.random.default_rng(0)
    n_users = validation.fit.n_users + validation.shots.n_users
    basis, weights = rng.standard_normal((3, 4)), rng.standard_normal((n_users, 3))
    margins = validation.margins(torch.from_numpy(basis).float(), torch.from_numpy(weights).float())
    rows = {user: i for i, user in enumerate(validation.fit.user_ids + validation.shots.user_ids)}
    held = parts["held"].select(validation.held.order)
    literal = [
        (data.responses[a] - data.responses[b]) @ basis.T @ weights[rows[user]]
        for a, b, user in zip(*held.rows(), held.user_ids, strict=True)
    ]
    np.testing.assert_allclose(margins.numpy(), literal, rtol=1e-4, atol=1e-4)


def test_scores_by_hand(data):
    """Two users; a tie is wrong, judgements weigh within their user, users count alike."""
    answers = EmbeddedPreferences.from_arrays(
        data.responses, [0, 2, 4, 6, 8], [1, 3, 5, 7, 9], ["a", "b", "a", "a", "b"], weights=[1, 1, 2, 1, 1]
    )
    held = Validation.cut(data, 0).held.pack(answers)
    validation = Validation(held, None, held, torch.arange(2), 1.0)
    score = validation.score(torch.tensor([3.0, 0.0, -1.0, 2.0, 1.0]), temperature=2.0)  # a, a, a, b, b
    assert score.user_ids == ("a", "b")

    def nll(margin):
        return np.log1p(np.exp(-margin / 2))

    np.testing.assert_allclose(score.losses, [(nll(3) + 2 * nll(0) + nll(-1)) / 4, (nll(2) + nll(1)) / 2], rtol=1e-6)
    np.testing.assert_allclose(score.accuracies, [1 / 4, 1])
    assert score.loss == pytest.approx(score.losses.mean())
    assert score.accuracy == pytest.approx(5 / 8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1e-4, 1.0, 1e4]))
def test_the_best_temperature_is_a_minimum_and_follows_the_scale(seed, scale):
    rng = np.random.default_rng(seed)
    margins, weight = torch.from_numpy(rng.standard_normal(50) + 0.4), torch.from_numpy(rng.uniform(0.5, 1, 50))

    def loss(temperature, margins=margins):
        return -float((torch.nn.functional.logsigmoid(margins / temperature) * weight).sum())

    best = best_temperature(margins, weight)
    assert all(loss(best) <= loss(best * factor) + 1e-9 for factor in (0.9, 0.99, 1.01, 1.1))
    assert best_temperature(scale * margins, weight) == pytest.approx(scale * best, rel=1e-3)


def test_temperatures_stay_in_their_range():
    """Where every pair is right, or wrong, the best would be 0 or infinite; without any margin it is 1."""
    ones = torch.ones(4)
    assert best_temperature(3 * ones, ones) == pytest.approx(3e-2, rel=0.01)
    assert best_temperature(-3 * ones, ones) == pytest.approx(3e3, rel=0.01)
    assert best_temperature(0 * ones, ones) == 1.0
