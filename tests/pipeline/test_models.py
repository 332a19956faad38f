"""The models of a run, and the users adapted to them."""

from __future__ import annotations

import pytest

from lorerm.errors import ConfigError, RunError, UnknownUserError
from lorerm.pipeline.models import (
    check_user,
    chosen_rank,
    load_model,
    load_trained,
    model_folder,
)
from refusals import refused


def test_default_is_the_rank_that_validation_chose(finished):
    assert load_model(finished).requested_rank == chosen_rank(finished)


def test_a_trained_model_knows_the_seen_users_and_a_loaded_one_the_unseen_users_too(finished):
    trained, loaded = load_trained(finished, 2), load_model(finished, 2)
    assert len(trained.user_ids) == 6
    assert set(loaded.user_ids) == {f"user-{i:02d}" for i in range(8)}


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
    with refused(UnknownUserError, "'User-00'", "the id 'user-00'", argument="user"):
        check_user(run, model, "User-00", "leave it out")
    with refused(UnknownUserError, "'user-99'", f"lorerm adapt {run.path}", "leave it out", argument="user"):
        check_user(run, model, "user-99", "leave it out")
