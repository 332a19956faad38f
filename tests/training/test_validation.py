"""The validation split holds out prompts and users, scores equal those computed by hand, the one-SE rule."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.training.pairs import PackedPairs
from lorerm.training.validation import TEST_PROMPTS, UNSEEN_USERS, Validation, best_temperature, improves_by_one_se
from planted import plant


@pytest.fixture(scope="module")
def data():
    return plant(users=16, pairs=20, dimension=4, prompts=60).data


@pytest.fixture
def split(data, monkeypatch):
    """A function that returns the validation split, and the comparisons that each of its parts was packed from."""
    taken = []
    select = EmbeddedPreferences.select
    monkeypatch.setattr(EmbeddedPreferences, "select", lambda self, rows: taken.append(rows) or select(self, rows))

    def run(seed=0):
        taken.clear()
        validation = Validation.split(data, seed)
        return validation, dict(zip(("train", "few_shot", "held_out"), map(data.select, list(taken)), strict=True))

    return run


@pytest.mark.parametrize("seed", range(4))
def test_held_out_prompts_are_in_no_other_part(split, seed):
    _, parts = split(seed)
    held_out = set(parts["held_out"].prompt_ids)
    assert held_out
    assert not held_out & set(parts["train"].prompt_ids)
    assert not held_out & set(parts["few_shot"].prompt_ids)


@pytest.mark.parametrize("seed", range(4))
def test_some_users_are_unseen_and_every_scored_user_has_weights(split, data, seed):
    validation, parts = split(seed)
    train, few_shot, held_out = (set(parts[name].user_ids) for name in ("train", "few_shot", "held_out"))
    assert not train & few_shot
    assert held_out <= train | few_shot
    assert len(few_shot) == round(UNSEEN_USERS * 16)
    users = validation.train.user_ids + validation.few_shot.user_ids
    assert [users[i] for i in validation.row] == list(validation.held_out.user_ids)
    assert len(set(parts["held_out"].prompt_ids)) == pytest.approx(TEST_PROMPTS * 60, abs=2)
    assert validation.train_share == len(parts["train"]) / len(data)
    assert sum(map(len, parts.values())) == len(data)


def test_the_split_depends_on_the_seed_alone(split):
    _, first = split(0)
    _, again = split(0)
    _, other = split(1)
    assert list(first["held_out"].user_ids) == list(again["held_out"].user_ids)
    assert set(first["held_out"].prompt_ids) != set(other["held_out"].prompt_ids)


@pytest.mark.parametrize("rows", [[0], [0, 1]], ids=["one pair", "two users of one pair each"])
def test_too_little_data_has_no_validation_split(data, rows):
    small = EmbeddedPreferences.from_arrays(
        data.responses, [0, 2][: len(rows)], [1, 3][: len(rows)], ["a", "b"][: len(rows)]
    )
    assert Validation.split(small, 0) is None


def test_one_user_is_validated_without_unseen_users(data):
    one = data.select(np.flatnonzero(np.asarray(data.user_ids) == "user 3"))
    validation = Validation.split(one, 0)
    assert validation.few_shot is None
    assert validation.held_out.user_ids == ("user 3",)


def test_margins_are_differences_times_basis_times_weights(split, data):
    validation, parts = split(0)
    rng = np.random.default_rng(0)
    n_users = validation.train.n_users + validation.few_shot.n_users
    basis, weights = rng.standard_normal((3, 4)), rng.standard_normal((n_users, 3))
    margins = validation.margins(torch.from_numpy(basis).float(), torch.from_numpy(weights).float())
    rows = {user: i for i, user in enumerate(validation.train.user_ids + validation.few_shot.user_ids)}
    held_out = parts["held_out"].select(validation.held_out.order)
    literal = [
        (data.responses[a] - data.responses[b]) @ basis.T @ weights[rows[user]]
        for a, b, user in zip(*held_out.rows(), held_out.user_ids, strict=True)
    ]
    np.testing.assert_allclose(margins.numpy(), literal, rtol=1e-4, atol=1e-4)


def test_scores_by_hand(data):
    """Two users: a tie is wrong, comparisons are weighted within their user, users count equally."""
    comparisons = EmbeddedPreferences.from_arrays(
        data.responses, [0, 2, 4, 6, 8], [1, 3, 5, 7, 9], ["a", "b", "a", "a", "b"], weights=[1, 1, 2, 1, 1]
    )
    held_out = PackedPairs.pack(comparisons)
    validation = Validation(held_out, None, held_out, torch.arange(2), 1.0)
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
def test_the_best_temperature_is_a_minimum_and_proportional_to_the_scale(seed, scale):
    rng = np.random.default_rng(seed)
    margins, weight = torch.from_numpy(rng.standard_normal(50) + 0.4), torch.from_numpy(rng.uniform(0.5, 1, 50))

    def loss(temperature, margins=margins):
        return -float((torch.nn.functional.logsigmoid(margins / temperature) * weight).sum())

    best = best_temperature(margins, weight)
    assert all(loss(best) <= loss(best * factor) + 1e-9 for factor in (0.9, 0.99, 1.01, 1.1))
    assert best_temperature(scale * margins, weight) == pytest.approx(scale * best, rel=1e-3)


def test_temperatures_are_bounded():
    """Where all margins have one sign the minimum is at 0 or infinity; where all are 0 it is 1."""
    ones = torch.ones(4)
    assert best_temperature(3 * ones, ones) == pytest.approx(3e-2, rel=0.01)
    assert best_temperature(-3 * ones, ones) == pytest.approx(3e3, rel=0.01)
    assert best_temperature(0 * ones, ones) == 1.0


def test_a_scale_applies_to_all_parts(data):
    validation = Validation.split(data, 0)
    scale, basis = torch.tensor([1.0, 2.0, 0.5, 0.0]), torch.eye(4)
    scaled = validation.with_scale(scale)
    for name in ("train", "few_shot", "held_out"):
        expected = getattr(validation, name).project(basis) * scale
        torch.testing.assert_close(getattr(scaled, name).project(basis), expected)
    one = data.select(np.flatnonzero(np.asarray(data.user_ids) == "user 3"))
    assert Validation.split(one, 0).with_scale(scale).few_shot is None


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.1, 0.1, 0.1], True),
        ([0.4, 0.1, -0.1], False),  # mean 0.133, standard error 0.145
        ([0.4, 0.2, 0.0], True),  # mean 0.2, standard error 0.115
        ([0.0, 0.0, 0.0], False),
        ([-0.1, -0.1, -0.1], False),
        ([0.5], False),  # one user gives no standard error
        ([], False),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [np.array, lambda values: torch.tensor(values, dtype=torch.float32)])
def test_an_improvement_exceeds_one_standard_error_of_the_mean_gain(gains, expected, kind):
    baseline = np.linspace(0.5, 0.7, len(gains))
    assert improves_by_one_se(kind(baseline - gains), kind(baseline)) is expected


def test_users_without_a_loss_do_not_count_for_the_improvement():
    nan = float("nan")
    assert improves_by_one_se(np.array([0.5, nan, 0.5, 0.1]), np.array([0.6, 0.1, 0.65, nan]))
    assert not improves_by_one_se(np.array([0.5, nan]), np.array([0.6, 0.1]))
