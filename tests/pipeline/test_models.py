"""The models of a run, and the users adapted to them."""

from __future__ import annotations

import pytest
import torch

from lorerm import UserWeights
from lorerm.errors import ConfigError, RunError, UnknownUserError
from lorerm.pipeline.models import (
    add_users,
    check_user,
    chosen_rank,
    load_model,
    load_trained,
    model_folder,
)
from refusals import refused


def users_of(run, rank, **weights):
    covariance = load_trained(run, rank).covariance[:1].repeat(len(weights), 1, 1)
    return UserWeights(tuple(weights), torch.tensor(list(weights.values())), covariance)


def test_default_is_the_rank_that_validation_chose(finished):
    assert load_model(finished).requested_rank == chosen_rank(finished)


def test_a_trained_model_knows_the_seen_users_and_a_loaded_one_the_unseen_users_too(finished):
    trained, loaded = load_trained(finished, 2), load_model(finished, 2)
    assert len(trained.user_ids) == 6
    assert set(loaded.user_ids) == {f"user-{i:02d}" for i in range(8)}


def test_added_users_stay_and_are_replaced_when_adapted_again(run):
    width = load_trained(run, 2).weights.shape[1]
    add_users(run, users_of(run, 2, new=[1.0] * width, other=[2.0] * width), 2)
    add_users(run, users_of(run, 2, new=[3.0] * width), 2)
    model = load_model(run, 2)
    assert model.user_weights("new").tolist() == [3.0] * width
    assert model.user_weights("other").tolist() == [2.0] * width
    assert "new" not in load_model(run, 1).user_ids


def test_added_weights_of_an_unseen_user_replace_those_of_the_report(run):
    width = load_trained(run, 2).weights.shape[1]
    unseen = next(user for user in load_model(run, 2).user_ids if user not in load_trained(run, 2).user_ids)
    add_users(run, users_of(run, 2, **{unseen: [5.0] * width}), 2)
    assert load_model(run, 2).user_weights(unseen).tolist() == [5.0] * width


def test_a_rank_that_was_not_trained_is_refused(finished):
    with refused(ConfigError, str(finished.path), "rank 4", "1, 2", argument="rank"):
        load_model(finished, 4)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "users.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 50])
def test_the_error_about_a_damaged_model_names_the_folder_to_delete(run, name, content):
    path = model_folder(run, 2) / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with refused(RunError, f"{model_folder(run, 2)} and run `lorerm train {run.path}`"):
        load_model(run, 2)


def test_a_config_without_an_entry_is_damaged(run):
    (model_folder(run, 2) / "config.json").write_text('{"format_version": 1, "model_type": "lorerm"}')
    with refused(RunError, str(model_folder(run, 2))):
        load_model(run, 2)


@pytest.mark.parametrize(("name", "remedy"), [("unseen", "`lorerm report`"), ("adapted", "delete {path}")])
def test_damaged_weights_of_users_are_named(run, name, remedy):
    path = model_folder(run, 2) / f"{name}.safetensors"
    path.write_bytes(b"x")
    with refused(RunError, str(path), remedy.format(path=path)):
        load_model(run, 2)


def test_an_unknown_user_is_refused_with_both_remedies(run):
    model = load_model(run, 2)
    check_user(run, model, "user-00", "leave it out")
    check_user(run, model, None, "leave it out")
    with refused(UnknownUserError, "'user-99'", f"lorerm adapt {run.path}", "leave it out", argument="user"):
        check_user(run, model, "user-99", "leave it out")
