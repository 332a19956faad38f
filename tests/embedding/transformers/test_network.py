"""Loading a model; only a head whose reward is its product with the embedding becomes the reference head."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lorerm.embedding.transformers.checkpoint import find_checkpoint
from lorerm.embedding.transformers.network import (
    Network,
    choose_device,
    load_network,
    read_reference,
    read_reference_head,
    rewards_follow_head,
)
from lorerm.errors import ConfigError, ModelError
from refusals import refused
from tiny_models import TinyModel, build_network, build_tokenizer


@pytest.fixture
def network():
    """A Llama sequence classifier with one label, which the test may change."""
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
    """Later changes of the network do not change it."""
    head, _ = read_reference_head(network)
    before = head.copy()
    torch.nn.init.zeros_(network.score.weight)
    np.testing.assert_array_equal(head, before)


def test_head_of_narrow_weights_is_float32(network):
    head, _ = read_reference_head(network.to(torch.bfloat16))
    assert head.dtype == np.float32


def test_bias_of_zero_is_ignored(network):
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
def test_other_heads_are_not_read_and_the_reason_is_given(network, head, named):
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


def test_reference_is_the_head_only_if_the_rewards_follow_it(network):
    state, ids = state_and_ids(network)
    loaded = Network(network, network.base_model, None)
    head, reason = read_reference(loaded, ids, state)
    assert reason is None
    np.testing.assert_array_equal(head, network.score.weight[0].detach().numpy())
    network.score.register_forward_hook(lambda module, inputs, output: output.tanh() + 3)
    head, reason = read_reference(loaded, ids, state)
    assert head is None
    assert type(network).__name__ in reason
    assert read_reference(Network(network, network.base_model, "none"), ids, state) == (None, "none")


def test_default_device_is_the_gpu_where_there_is_one(monkeypatch):
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert choose_device(None).type == expected


def test_device_that_is_asked_for_is_used():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")


def test_unavailable_or_unknown_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with refused(ConfigError, "cuda:1", argument="device"):
        choose_device("cuda:1")
    with refused(ConfigError, "abacus", argument="device"):
        choose_device("abacus")


@pytest.fixture
def copy(tiny_models, tmp_path):
    """A copy of a model folder, which the test may change."""
    return shutil.copytree(tiny_models.folder(), tmp_path / "copy")


def change_weights(folder, change):
    """Apply a function to the tensors of a folder."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def load(folder):
    """Load the network of a model folder in float32."""
    return load_network("the model", find_checkpoint(str(folder), None), {"dtype": "float32"})


def test_missing_backbone_weights_are_refused(copy):
    """transformers would draw them at random and continue."""
    change_weights(copy, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with refused(ModelError, "the model", "layers.1.mlp.up_proj.weight"):
        load(copy)


def test_model_without_weights_of_its_head_has_none(copy):
    change_weights(copy, lambda tensors: tensors.pop("score.weight"))
    assert "`score`" in load(copy).headless_reason


def test_head_with_a_part_that_transformers_drops_is_none(copy):
    """transformers drops a bias that the architecture does not have."""
    change_weights(copy, lambda tensors: tensors.update({"score.bias": torch.ones(1)}))
    assert "score.bias" in load(copy).headless_reason


def test_language_model_is_loaded_without_a_head(tiny_models):
    network = load(tiny_models.folder(task="causal"))
    assert network.headless_reason == "LlamaForCausalLM is not a sequence classifier with a head `score`"
    assert network.backbone is network.module


def test_model_without_named_architecture_is_a_backbone(copy):
    config = json.loads((copy / "config.json").read_text())
    del config["architectures"]
    (copy / "config.json").write_text(json.dumps(config))
    assert "without a named architecture" in load(copy).headless_reason


def test_automatic_dtype_is_the_checkpoints(copy):
    """The default on a GPU."""
    change_weights(copy, lambda tensors: tensors.update({name: w.bfloat16() for name, w in tensors.items()}))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    network = load_network("the model", find_checkpoint(str(copy), None), {"dtype": "auto"})
    assert network.module.score.weight.dtype == torch.bfloat16
