"""Prefix trees are used where a model computes the same in them; maximum lengths come from its configuration."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, MistralConfig

from lorerm.embedding.transformers.forward import (
    MAX_DEVIATION,
    Forward,
    _break_even,
    _longest_in_batch,
    _longest_in_tree,
    deviation,
    find_sharing,
)
from tiny_models import TinyModel, build_network, build_tokenizer


@pytest.fixture
def forward():
    model = TinyModel()
    return Forward(build_network(model, build_tokenizer(model)).base_model, torch.device("cpu"))


def test_ordinary_model_runs_trees(forward):
    assert find_sharing(forward, [1, 2, 4, 5]).unshared_reason is None


def test_attention_that_takes_no_tree_mask_is_not_used_with_trees(forward):
    forward.attention = "flash_attention_2"
    assert "flash_attention_2" in find_sharing(forward, [1, 2, 4, 5]).unshared_reason


@pytest.mark.parametrize("ignored", ["mask", "position_ids"])
def test_model_that_ignores_mask_or_positions_runs_no_trees(forward, ignored, monkeypatch):
    states = forward.states

    def ignoring(ids, mask, **arguments):
        if ignored == "position_ids":
            return states(ids, mask)
        return states(ids, torch.ones_like(ids), **arguments)

    monkeypatch.setattr(forward, "states", ignoring)
    assert "LlamaModel computes" in find_sharing(forward, [1, 2, 4, 5]).unshared_reason


def test_model_that_fails_on_a_tree_runs_no_trees(forward, monkeypatch):
    states = forward.states

    def failing(ids, mask, **arguments):
        if arguments:
            raise TypeError("unexpected position_ids")
        return states(ids, mask)

    monkeypatch.setattr(forward, "states", failing)
    assert "(TypeError)" in find_sharing(forward, [1, 2, 4, 5]).unshared_reason


def test_model_that_gives_nan_in_a_tree_runs_no_trees(forward, monkeypatch):
    states = forward.states
    monkeypatch.setattr(
        forward,
        "states",
        lambda ids, mask, **arguments: states(ids, mask, **arguments) * (float("nan") if arguments else 1.0),
    )
    assert "LlamaModel computes" in find_sharing(forward, [1, 2, 4, 5]).unshared_reason


def test_maximum_lengths_come_from_the_configuration():
    assert _longest_in_tree(MistralConfig(sliding_window=64)) == 64
    assert _longest_in_tree(LlamaConfig()) is None
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 32, "rope_theta": 1e4}
    config = type("Config", (), {"rope_parameters": rope})
    assert (_longest_in_batch(config), _longest_in_tree(config)) == (32, 32)


def test_break_even_of_a_llama():
    assert _break_even(LlamaConfig(hidden_size=4096, intermediate_size=14336)) == 2 * 4096 + 3 * 14336 // 2


EXPECTED = torch.tensor([3.0, 4.0])


def test_deviation_in_float32_is_the_largest_component():
    assert deviation(EXPECTED + 5e-5, EXPECTED, "float32") == pytest.approx(1e-5, rel=0.01)


def test_deviation_in_narrow_types_is_the_norm_of_the_difference():
    assert deviation(EXPECTED + torch.tensor([0.3, 0.4]), EXPECTED, "bfloat16") == pytest.approx(0.1)


def test_deviation_from_an_embedding_of_zeros():
    assert deviation(torch.zeros(2), torch.zeros(2), "float32") == 0
    assert deviation(EXPECTED, torch.zeros(2), "float32") > MAX_DEVIATION["float32"]
