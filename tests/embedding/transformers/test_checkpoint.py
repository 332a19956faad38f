"""Models are found, pinned to a version, or refused in one line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorerm.embedding.transformers.checkpoint import find_checkpoint, fingerprint, load_network
from lorerm.errors import ModelError


@pytest.fixture
def copy(tiny_models, tmp_path):
    """A model folder of one's own to change."""
    return shutil.copytree(tiny_models.folder(), tmp_path / "copy")


def change_weights(folder, change):
    """Apply a function to the tensors of a folder."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_folder_is_loaded_where_it_stands(copy):
    found = find_checkpoint(str(copy), None)
    assert (found.source, found.commit) == (str(copy), None)
    assert found.revision == fingerprint(copy)


def test_fingerprint_ignores_the_place_and_other_files(tiny_models, copy):
    (copy / "README.md").write_text("words")
    assert fingerprint(copy) == fingerprint(tiny_models.folder())


@pytest.mark.parametrize("name", ["score.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_fingerprint_sees_a_change_of_any_weight(tiny_models, copy, name):
    change_weights(copy, lambda tensors: tensors[name].mul_(1.01))
    assert fingerprint(copy) != fingerprint(tiny_models.folder())


def test_fingerprint_samples_large_files_to_their_end(tmp_path):
    """A file of tens of megabytes is read in part, and still shows what another training run would change."""

    def save(folder, weights):
        folder.mkdir()
        save_file({"w": weights}, folder / "model.safetensors")
        return fingerprint(folder)

    weights = torch.zeros(4_000_000)
    everywhere, last = weights + 1, weights.clone()
    last[-1] = 1
    prints = {save(tmp_path / name, w) for name, w in [("a", weights), ("b", everywhere), ("c", last)]}
    assert len(prints) == 3


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_fingerprint_counts_configuration_and_tokenizer(tiny_models, copy, file):
    (copy / file).write_text((copy / file).read_text() + "\n")
    assert fingerprint(copy) != fingerprint(tiny_models.folder())


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c"])
def test_missing_folder(name):
    with pytest.raises(ModelError, match=f"no model folder {name}"):
        find_checkpoint(name, None)


def test_file_is_no_folder(copy):
    with pytest.raises(ModelError, match="is a file"):
        find_checkpoint(str(copy / "config.json"), None)


def test_folder_without_configuration(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        find_checkpoint(str(tmp_path), None)


def test_folder_without_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        find_checkpoint(str(copy), None)


def test_pickled_weights_are_never_read(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only as a pickle \(pytorch_model\.bin\).*safetensors"):
        find_checkpoint(str(copy), None)


def test_folder_has_no_revision(copy):
    with pytest.raises(ModelError, match="no revision 'v1'"):
        find_checkpoint(str(copy), "v1")


def test_unknown_model_without_network(monkeypatch, tmp_path):
    """One line, though the hub's client says ten."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="nobody/nothing could not be loaded") as caught:
        find_checkpoint("nobody/nothing", None)
    assert "\n" not in str(caught.value)
    assert "network" in caught.value.remedy


def test_model_of_the_hub_is_pinned_to_its_commit(monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr(
        "transformers.utils.hub.cached_file", lambda *_, **__: f"/cache/models--a--b/snapshots/{commit}/config.json"
    )
    found = find_checkpoint("a/b", "main")
    assert (found.source, found.commit, found.revision) == ("a/b", commit, commit)


def load(folder):
    return load_network("the model", find_checkpoint(str(folder), None), {"dtype": "float32"})


def test_missing_backbone_weights_are_refused(copy):
    """transformers would draw them at random, and go on."""
    change_weights(copy, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(ModelError, match=r"lack .*layers\.1\.mlp\.up_proj\.weight"):
        load(copy)


def test_missing_head_is_no_head(copy):
    change_weights(copy, lambda tensors: tensors.pop("score.weight"))
    assert "hold no `score`" in load(copy).headless


def test_head_with_a_part_that_is_dropped_is_no_head(copy):
    """transformers leaves out a bias that its architecture has no place for."""
    change_weights(copy, lambda tensors: tensors.update({"score.bias": torch.ones(1)}))
    assert "score.bias" in load(copy).headless


def test_language_model_has_no_head(tiny_models):
    network = load(tiny_models.folder(task="causal"))
    assert network.headless == "LlamaForCausalLM is not a sequence classifier with a head `score`"
    assert network.backbone is network.module


def test_model_without_named_architecture_is_a_backbone(copy):
    config = json.loads((copy / "config.json").read_text())
    del config["architectures"]
    (copy / "config.json").write_text(json.dumps(config))
    assert "no named architecture" in load(copy).headless


def test_automatic_dtype_is_the_checkpoints(copy):
    """What a GPU is given unless told otherwise."""
    change_weights(copy, lambda tensors: tensors.update({name: w.bfloat16() for name, w in tensors.items()}))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    network = load_network("the model", find_checkpoint(str(copy), None), {"dtype": "auto"})
    assert network.module.score.weight.dtype == torch.bfloat16
