"""The models of a run, and the people adapted to them."""

from __future__ import annotations

import pytest
import torch

from lorerm import UserWeights
from lorerm.errors import ConfigError, RunError
from lorerm.pipeline.models import add_users, chosen_rank, load_model, load_models, load_trained, model_folder


def people(run, rank, **weights):
    covariance = load_trained(run, rank).covariance[:1].repeat(len(weights), 1, 1)
    return UserWeights(tuple(weights), torch.tensor(list(weights.values())), covariance)


def test_default_is_the_rank_that_validation_chose(finished):
    assert load_model(finished).requested_rank == chosen_rank(finished)


def test_trained_ones_know_the_seen_and_loaded_ones_the_unseen_too(finished):
    trained, everybody = load_trained(finished, 2), load_model(finished, 2)
    assert len(trained.user_ids) == 6
    assert set(everybody.user_ids) == {f"user-{i:02d}" for i in range(8)}
    assert set(load_models(finished, [1, 2])) == {1, 2}


def test_added_people_stay_and_are_replaced_when_adapted_again(run):
    width = load_trained(run, 2).weights.shape[1]
    add_users(run, people(run, 2, new=[1.0] * width, other=[2.0] * width), 2)
    add_users(run, people(run, 2, new=[3.0] * width), 2)
    model = load_model(run, 2)
    assert model.user_weights("new").tolist() == [3.0] * width
    assert model.user_weights("other").tolist() == [2.0] * width
    assert "new" not in load_model(run, 1).user_ids


def test_added_weights_of_an_unseen_person_come_before_the_reports(run):
    width = load_trained(run, 2).weights.shape[1]
    unseen = next(user for user in load_model(run, 2).user_ids if user not in load_trained(run, 2).user_ids)
    add_users(run, people(run, 2, **{unseen: [5.0] * width}), 2)
    assert load_model(run, 2).user_weights(unseen).tolist() == [5.0] * width


def test_rank_that_was_not_trained(finished):
    with pytest.raises(ConfigError, match="no model of rank 4: choose one of 1, 2"):
        load_model(finished, 4)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "users.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 50])
def test_damage_says_what_to_delete(run, name, content):
    path = model_folder(run, 2) / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=f"delete {model_folder(run, 2)} and run `lorerm train"):
        load_model(run, 2)


def test_config_that_lacks_an_entry_is_damage(run):
    (model_folder(run, 2) / "config.json").write_text('{"format_version": 1, "model_type": "lorerm"}')
    with pytest.raises(RunError, match="is damaged"):
        load_model(run, 2)


@pytest.mark.parametrize(
    ("name", "said"), [("unseen", "run `lorerm report` again"), ("adapted", "adapt its users again")]
)
def test_damaged_people(run, name, said):
    (model_folder(run, 2) / f"{name}.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match=said):
        load_model(run, 2)
