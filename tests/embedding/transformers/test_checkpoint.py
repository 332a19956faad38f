"""Models are found, pinned to a version, or refused in one line."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorerm.embedding.transformers.checkpoint import find_checkpoint, fingerprint, is_out_of_memory
from lorerm.errors import ModelError
from refusals import refused


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


def test_folder_is_loaded_from_its_own_path(copy):
    found = find_checkpoint(str(copy), None)
    assert (found.source, found.commit) == (str(copy), None)
    assert found.revision == fingerprint(copy)


def test_fingerprint_ignores_the_path_and_other_files(tiny_models, copy):
    (copy / "README.md").write_text("words")
    assert fingerprint(copy) == fingerprint(tiny_models.folder())


@pytest.mark.parametrize("name", ["score.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_fingerprint_changes_with_any_weight(tiny_models, copy, name):
    change_weights(copy, lambda tensors: tensors[name].mul_(1.01))
    assert fingerprint(copy) != fingerprint(tiny_models.folder())


def test_fingerprint_samples_large_files_to_their_end(tmp_path):
    """A file of tens of megabytes is sampled; another training run, or a change at its end, changes the fingerprint."""

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
def test_fingerprint_changes_with_configuration_and_tokenizer(tiny_models, copy, file):
    (copy / file).write_text((copy / file).read_text() + "\n")
    assert fingerprint(copy) != fingerprint(tiny_models.folder())


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c"])
def test_missing_folder(name):
    with refused(ModelError, name, argument="model"):
        find_checkpoint(name, None)


def test_file_is_no_folder(copy):
    with refused(ModelError, str(copy / "config.json"), argument="model"):
        find_checkpoint(str(copy / "config.json"), None)


def test_folder_without_configuration(tmp_path):
    with refused(ModelError, str(tmp_path), "config.json", argument="model"):
        find_checkpoint(str(tmp_path), None)


def test_folder_without_weights(copy):
    (copy / "model.safetensors").unlink()
    with refused(ModelError, str(copy), "*.safetensors", argument="model"):
        find_checkpoint(str(copy), None)


def test_pickled_weights_are_never_read(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with refused(ModelError, str(copy), "pytorch_model.bin", argument="model"):
        find_checkpoint(str(copy), None)


def test_folder_has_no_revision(copy):
    with refused(ModelError, "v1", argument="revision"):
        find_checkpoint(str(copy), "v1")


def test_unknown_model_without_network(monkeypatch, tmp_path):
    """One line, although the message of the hub's client has ten."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with refused(ModelError, "nobody/nothing") as caught:
        find_checkpoint("nobody/nothing", None)
    assert "network" in caught.value.remedy


def test_model_of_the_hub_is_pinned_to_its_commit(monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr(
        "transformers.utils.hub.cached_file", lambda *_, **__: f"/cache/models--a--b/snapshots/{commit}/config.json"
    )
    found = find_checkpoint("a/b", "main")
    assert (found.source, found.commit, found.revision) == ("a/b", commit, commit)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("unable to mmap 9 bytes from file <model.safetensors>: Cannot allocate memory (12)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_exhausted_memory_is_recognised(error, expected):
    assert is_out_of_memory(error) == expected
