"""Only a head that one direction can express becomes a reference head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorerm.embedding.transformers.reference_head import read_reference_head, rewards_follow_head
from tiny_models import TinyModel, build_network, build_tokenizer


@pytest.fixture
def network():
    """A Llama sequence classifier with one label, one's own to change."""
    return build_network(TinyModel(), build_tokenizer(TinyModel()))


def state_and_ids(network):
    """Some token ids [1, L], and the state of the last [D]."""
    ids = torch.tensor([[7, 8, 9]])
    with torch.inference_mode():
        return network.base_model(ids).last_hidden_state[0, -1], ids


def test_head_is_the_score_weight(network):
    head, reason = read_reference_head(network)
    assert reason is None
    assert head.dtype == np.float32
    np.testing.assert_array_equal(head, network.score.weight[0].detach().numpy())


def test_head_is_a_copy(network):
    """What becomes of the network later leaves the head alone."""
    head, _ = read_reference_head(network)
    before = head.copy()
    torch.nn.init.zeros_(network.score.weight)
    np.testing.assert_array_equal(head, before)


def test_narrow_weights_come_out_as_float32(network):
    head, _ = read_reference_head(network.to(torch.bfloat16))
    assert head.dtype == np.float32


def test_bias_of_zero_is_no_bias(network):
    network.score = torch.nn.Linear(32, 1, bias=True)
    torch.nn.init.zeros_(network.score.bias)
    assert read_reference_head(network)[1] is None


def nonlinear():
    return torch.nn.Sequential(torch.nn.Linear(32, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (lambda: torch.nn.Linear(32, 1, bias=True), "bias"),
        (lambda: torch.nn.Linear(32, 2, bias=False), "2 outputs"),
        (nonlinear, "not one linear layer but Sequential"),
    ],
)
def test_other_heads_are_refused_with_the_reason(network, head, named):
    network.score = head()
    found, reason = read_reference_head(network)
    assert found is None
    assert named in reason


def test_language_model_has_no_head(network):
    assert read_reference_head(network.base_model) == (None, "LlamaModel has no head `score`")


def test_head_under_another_name_is_named(network):
    network.classifier = network.score
    del network.score
    assert "`classifier`" in read_reference_head(network)[1]


def test_rewards_follow_the_head(network):
    state, ids = state_and_ids(network)
    head, _ = read_reference_head(network)
    assert rewards_follow_head(network, head, ids, state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rewards_follow_the_head_in_narrow_types(network, dtype):
    state, ids = state_and_ids(network.to(dtype))
    head, _ = read_reference_head(network)
    assert rewards_follow_head(network, head, ids, state)


def test_squashed_rewards_do_not_follow_the_head(network):
    """Code that comes with a model may change the reward after the head."""
    state, ids = state_and_ids(network)
    head, _ = read_reference_head(network)
    network.score.register_forward_hook(lambda module, inputs, output: output.tanh() + 3)
    assert not rewards_follow_head(network, head, ids, state)
