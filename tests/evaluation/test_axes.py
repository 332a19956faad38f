"""Axes: the planted directions are found, described by texts, compared with the reference head and over seeds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.evaluation.axes import TEXT_PROPERTIES, describe_axes, text_properties
from lorerm.evaluation.report import Stability
from lorerm.training.config import TrainingConfig
from lorerm.training.train import train
from planted import plant


@pytest.fixture(scope="module")
def planted():
    return plant(users=40, pairs=60, dimension=8, directions=1, personal=2, noise=0.2, reference=True)


@pytest.fixture(scope="module")
def model(planted):
    return train(planted.data, TrainingConfig(rank=2))


@pytest.fixture
def text_of(planted):
    """Texts whose number of words grows with the reward along the planted personal direction."""
    rewards = planted.data.responses @ planted.directions[0]

    def words(row):
        return " ".join(["word"] * int(30 + 8 * rewards[row])) + f" no {row}"

    chosen, rejected = planted.data.rows()
    return lambda indices: [(words(chosen[i]), words(rejected[i])) for i in indices]


def test_the_planted_directions_are_the_axes(planted, model, text_of):
    shared, personal = describe_axes(model, planted.data, text_of)
    assert (shared.name, shared.share) == ("shared direction", None)
    assert (personal.name, personal.share) == ("personal axis 1", pytest.approx(1))
    assert shared.reference_cosine > 0.9
    assert abs(personal.reference_cosine) < 0.4
    assert personal.properties[0].name == "length"
    assert abs(personal.properties[0].correlation) > 0.9


def test_the_texts_at_both_ends_differ_as_the_axis_does(planted, model, text_of):
    personal = describe_axes(model, planted.data, text_of)[1]
    sign = np.sign(personal.properties[0].correlation)
    lengths = [np.mean([len(text) for text in getattr(personal, end)]) for end in ("highest", "lowest")]
    assert len(personal.highest) == len(personal.lowest) == 3
    assert sign * (lengths[0] - lengths[1]) > 0


def test_long_texts_are_cut(planted, model):
    found = describe_axes(model, planted.data, lambda indices: [(f"{i} long " * 150, f"{i} short") for i in indices])
    assert all(len(text) <= 604 for text in found[0].highest + found[0].lowest)


def test_without_texts_and_head(planted, model):
    for axis in describe_axes(replace(model, reference=None), planted.data):
        assert axis.properties is axis.highest is axis.lowest is axis.reference_cosine is None
        assert axis.stability is None


def test_stability_is_one_for_a_rotated_basis_of_the_same_model(planted, model):
    turn = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(0))).Q
    prior = replace(model.prior, mean=turn.t().double() @ model.prior.mean)
    turned = replace(model, basis=model.basis @ turn, prior=prior)
    other = replace(model, basis=torch.randn(8, 2, generator=torch.Generator().manual_seed(1)))
    for axis in describe_axes(model, planted.data, others={1: turned}):
        assert axis.stability == Stability(pytest.approx(1), pytest.approx(1), 1)
    shared, personal = describe_axes(model, planted.data, others={1: turned, 2: other})
    assert shared.stability.lowest < personal.stability.mean < 1


def test_the_axes_of_simplex_weights_are_the_columns_of_the_basis(planted):
    model = train(planted.data, TrainingConfig(rank=3, recipe="paper", steps=20))
    found = describe_axes(model, planted.data)
    assert [axis.name for axis in found] == ["direction 1", "direction 2", "direction 3"]
    assert sum(axis.share for axis in found) == pytest.approx(1)


def test_one_direction_is_one_axis(planted):
    found = describe_axes(train(planted.data, TrainingConfig(rank=1)), planted.data)
    assert [axis.name for axis in found] == ["shared direction"]


def of(text):
    return dict(zip(TEXT_PROPERTIES, text_properties([text])[0], strict=True))


def test_text_properties_by_hand():
    found = of("Perhaps you could try tea?\n\n- Green tea\n- **Black** tea, please!")
    assert found["hedges"] == pytest.approx(100 * 2 / 10)
    assert found["list items"] == pytest.approx(100 * 2 / 10)
    assert found["questions"] == found["exclamations"] == found["headings and bold"] == found["politeness"] == 10
    assert found["second person"] == 10
    assert found["first person"] == found["code"] == found["numbers"] == 0
    assert found["length"] == pytest.approx(np.log(11))
    assert found["paragraphs"] == pytest.approx(np.log(3))
    assert found["sentence length"] == pytest.approx(np.log(10 / 2))


@pytest.mark.parametrize("text", ["", " ", "?", "\n\n", "日本語"])
def test_any_text_has_finite_properties(text):
    assert text_properties([text]).shape == (1, len(TEXT_PROPERTIES))
    assert all(abs(value) < 1e4 for value in text_properties([text])[0])


def test_no_texts_have_no_properties():
    assert text_properties([]).shape == (0, len(TEXT_PROPERTIES))
