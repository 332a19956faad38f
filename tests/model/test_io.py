"""The model's folder: exact round trips, users only on request, and one error line for anything else."""

import gc
import json
import pickle
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorerm.errors import ModelError, RunError, UnknownUserError
from lorerm.model.io import forget_users, load_users, save_users
from lorerm.model.prior import Mixture, WeightPrior
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.model.user_weights import UserWeights
from refusals import refused


def load(path):
    return LowRankRewardModel.from_pretrained(path)


def same(one, other):
    return (one is None and other is None) or (
        one.dtype == other.dtype and torch.equal(one.nan_to_num(9), other.nan_to_num(9))
    )


def test_with_users_every_field_comes_back_exactly(model, tmp_path):
    folder = tmp_path / "made" / "on the way"
    model.save_pretrained(folder, include_users=True)
    found = load(folder)
    for name in ("basis", "weights", "covariance", "reference", "validation_loss"):
        assert same(getattr(found, name), getattr(model, name)), name
    assert same(found.prior.mean, model.prior.mean)
    assert same(found.prior.covariance, model.prior.covariance)
    for name in ("user_ids", "temperature", "requested_rank", "fitted_rank", "weight_space", "encoder", "training"):
        assert getattr(found, name) == getattr(model, name), name
    assert found.prior.concentration == model.prior.concentration


@pytest.fixture
def with_mixture(model):
    """The model with a prior of two components."""
    rank = model.basis.shape[1]
    means = torch.arange(2 * rank, dtype=torch.float64).view(2, rank)
    covariances = torch.eye(rank, dtype=torch.float64).repeat(2, 1, 1)
    mixture = Mixture(torch.tensor([0.25, 0.75], dtype=torch.float64), means, covariances)
    return replace(model, prior=WeightPrior.from_mixture(mixture))


def test_the_mixture_comes_back_exactly(with_mixture, tmp_path):
    with_mixture.save_pretrained(tmp_path)
    found = load(tmp_path).prior
    assert all(same(*parts) for parts in zip(found.mixture, with_mixture.prior.mixture, strict=True))
    assert same(found.covariance, with_mixture.prior.covariance)


def test_a_mixture_of_another_rank_is_refused(with_mixture, tmp_path):
    with_mixture.save_pretrained(tmp_path)
    tensors = {**load_file(tmp_path / "model.safetensors"), "prior_means": torch.ones(2, 9)}
    save_file(tensors, tmp_path / "model.safetensors")
    with refused(ModelError, "prior_means", file=str(tmp_path)):
        load(tmp_path)


def test_a_folder_of_the_first_format_is_read(model, tmp_path):
    """Format 1 had no mixtures."""
    model.save_pretrained(tmp_path)
    edit_config(tmp_path, format_version=1)
    assert load(tmp_path).prior.mixture is None


def test_absent_fields_stay_absent(make_model, tmp_path):
    model = make_model(reference=None, encoder=None, covariance=None, validation_loss=None, training={})
    model.save_pretrained(tmp_path, include_users=True)
    found = load(tmp_path)
    assert (found.reference, found.encoder, found.covariance, found.validation_loss) == (None, None, None, None)


def test_users_are_saved_only_on_request(model, tmp_path):
    model = replace(
        model, comparisons=ProjectedComparisons(torch.rand(4, 2), torch.ones(4), torch.tensor([0, 0, 1, 2]))
    )
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert not any(b"zo" in path.read_bytes() for path in tmp_path.iterdir())
    assert set(load_file(tmp_path / "model.safetensors")) <= {"basis", "prior_mean", "prior_covariance", "reference"}
    found = load(tmp_path)
    embeddings = torch.ones(1, 4)
    assert torch.equal(found.rewards(embeddings), model.rewards(embeddings))
    assert torch.equal(found.rewards(embeddings, "b", population=True), model.rewards(embeddings))
    with refused(UnknownUserError, "'b'", argument="user_id"):
        found.rewards(embeddings, "b")


def test_users_can_be_added_to_a_model_saved_without_users(make_model, tmp_path):
    make_model().save_pretrained(tmp_path)
    found = load(tmp_path).with_users(UserWeights(("new",), torch.ones(1, 2), torch.eye(2)[None]))
    assert found.user_ids == ("new",)
    assert torch.equal(found.covariance, torch.eye(2)[None])


def test_saving_again_without_users_removes_them(model, tmp_path):
    model.save_pretrained(tmp_path, include_users=True)
    model.save_pretrained(tmp_path)
    assert load(tmp_path).user_ids == ()


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    for name in ("a", "b"):
        model.save_pretrained(tmp_path / name / "model", include_users=True)
    for path in (tmp_path / "a" / "model").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "model" / path.name).read_bytes()


def test_users_alone_come_back_exactly(model, tmp_path):
    save_users(model.users(), tmp_path / "users.safetensors")
    found = load_users(tmp_path / "users.safetensors")
    assert found.user_ids == model.user_ids
    assert same(found.weights, model.weights)
    assert same(found.covariance, model.covariance)


def test_forgotten_users_are_removed_with_their_losses(model, tmp_path):
    path = tmp_path / "users.safetensors"
    losses = torch.arange(len(model.user_ids)).float()
    save_users(model.users(), path, losses)
    before = path.read_bytes()
    forget_users(path, {"stranger"})
    assert path.read_bytes() == before
    forget_users(path, {model.user_ids[0]})
    assert load_users(path).user_ids == model.user_ids[1:]
    assert load_file(path)["validation_loss"].tolist() == losses[1:].tolist()


def test_kept_comparisons_come_back_exactly(model, tmp_path):
    kept = ProjectedComparisons(torch.randn(4, 2), torch.ones(4), torch.tensor([0, 0, 1, 2]))
    model = replace(model, comparisons=kept)
    model.save_pretrained(tmp_path, include_users=True)
    for found in (load(tmp_path).comparisons, load_users(tmp_path / "users.safetensors").comparisons):
        assert same(found.projected, kept.projected)
        assert same(found.count, kept.count)
        assert same(found.user, kept.user)
    save_file(
        {**load_file(tmp_path / "users.safetensors"), "answer_user": torch.full((4,), 7)},
        tmp_path / "users.safetensors",
    )
    with refused(ModelError, "answer_user", file=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize("config", [None, '{"model_type": "llama"}', "[1, 2"])
def test_a_folder_that_is_no_model_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with refused(ModelError, "config.json", "model.safetensors", file=str(tmp_path)):
        load(tmp_path)
    with refused(ModelError, file=str(tmp_path / "missing")):
        load(tmp_path / "missing")


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config.update(changes)
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "absent"}))


def test_a_newer_format_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    edit_config(tmp_path, format_version=3)
    with refused(ModelError, "format 3", "up to 2", file=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"rank": "absent"}, "KeyError: 'rank'"),
        ({"temperature": "absent"}, "KeyError: 'temperature'"),
        ({"encoder": "absent"}, "KeyError: 'encoder'"),
        ({"encoder": {"model": "x"}}, "DataError"),
        ({"encoder": 3}, "TypeError"),
    ],
    ids=str,
)
def test_a_damaged_config_is_refused(model, tmp_path, changes, name):
    model.save_pretrained(tmp_path)
    edit_config(tmp_path, **changes)
    with refused(ModelError, name, file=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "users.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "other tensors", "pickle"])
def test_damaged_tensors_are_refused(model, tmp_path, name, damage):
    model.save_pretrained(tmp_path, include_users=True)
    path = tmp_path / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other tensors":
        save_file({"lm_head.weight": torch.ones(3)}, path)
    else:
        path.write_bytes(pickle.dumps({"basis": model.basis}))
    with refused(ModelError, file=str(tmp_path if damage == "other tensors" else path)):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "value"),
    [
        ("model.safetensors", "prior_mean", torch.ones(3)),
        ("users.safetensors", "weights", torch.ones(3, 5)),
        ("users.safetensors", "weights", torch.ones(2, 2)),
        ("users.safetensors", "user_ids", torch.tensor([255, 0], dtype=torch.uint8)),
    ],
)
def test_files_of_different_models_are_refused(model, tmp_path, name, tensor, value):
    model.save_pretrained(tmp_path, include_users=True)
    tensors = {**load_file(tmp_path / name), tensor: value}
    save_file(tensors, tmp_path / name)
    with refused(ModelError, file=str(tmp_path)):
        load(tmp_path)


def test_a_missing_tensor_file_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with refused(ModelError, file=str(tmp_path / "model.safetensors")):
        load(tmp_path)


def test_nothing_is_ever_unpickled(model, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError

    model.save_pretrained(tmp_path, include_users=True)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert load(tmp_path).user_ids == model.user_ids


def test_a_file_with_the_folders_name_is_an_error(model, tmp_path):
    (tmp_path / "taken").write_text("")
    with refused(RunError, file=str(tmp_path / "taken" / "model")):
        model.save_pretrained(tmp_path / "taken" / "model")


def test_a_missing_file_of_users_is_refused(tmp_path):
    with refused(ModelError, file=str(tmp_path / "missing.safetensors")):
        load_users(tmp_path / "missing.safetensors")


def test_reading_leaks_no_objects(model, tmp_path):
    """A server reads the users again after every deletion."""
    model.save_pretrained(tmp_path, include_users=True)
    times = 50
    load(tmp_path)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(times):
        load(tmp_path)
    gc.collect()
    assert sys.getallocatedblocks() - before < 2 * times
