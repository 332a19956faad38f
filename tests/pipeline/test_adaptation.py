"""Comparisons that are added to the users of a run: none is lost, and none counts twice."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm import EmbeddedPreferences, HashingEncoder, Preferences, TrainingConfig, embed
from lorerm.data.stored import load_preferences
from lorerm.errors import RunError
from lorerm.model.io import load_digests, save_users
from lorerm.pipeline import steps
from lorerm.pipeline.adaptation import Added, add_users, fit_users
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.forget import forget
from lorerm.pipeline.models import adaptation_of, load_model, load_trained, model_folder
from lorerm.pipeline.sources import Source
from lorerm.training.adaptation import adapt
from refusals import refused
from small_choices import choices, write_lines

NOTHING = Added(0, 0, 0, 0, 0, 0)


def rows_of(user, n=8, first=0):
    return [{**row, "user_id": user} for row in choices()[first : first + n]]


def add(run, rows, rank=2, **options):
    preferences = Preferences.from_records(rows)
    data = embed(preferences, HashingEncoder())
    return add_users(run, fit_users(load_model(run, rank), preferences, data, adaptation_of(run)), rank, **options)


def fitted(run, rows, user, rank=2):
    """The weights of a fit to all these comparisons together."""
    data = embed(Preferences.from_records(rows), HashingEncoder())
    return adapt(load_trained(run, rank), data, adaptation_of(run))[user]


def weights(run, user, rank=2):
    return load_model(run, rank).user_weights(user)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_comparisons_of_several_calls_count_together(run):
    rows = rows_of("new", 9) + rows_of("other", 3)
    assert add(run, rows[:4] + rows[9:]) == replace(NOTHING, n_new=2, n_comparisons=7)
    assert add(run, rows[4:9]) == replace(NOTHING, n_updated=1, n_comparisons=5)
    close(weights(run, "new"), fitted(run, rows, "new"))
    close(weights(run, "other"), fitted(run, rows, "other"))


@pytest.mark.parametrize("split", ["train_seen", "train_unseen"])
def test_a_known_user_keeps_the_comparisons_of_the_runs_input(run, split):
    """Those on which the weights rest so far; comparisons on test prompts count once they are added."""
    data = load_preferences(run.path)
    user = str(data.user_ids[np.flatnonzero(data.splits == split)[0]])
    own = [row for row in choices() if row["user_id"] == user]
    prompts = {turn["content"] for (turn,) in data.select(data.splits == split).messages("prompt")}
    before = [row for row in own if row["prompt"] in prompts]
    assert 0 < len(before) < len(own)
    close(weights(run, user), fitted(run, before, user))
    more = [{"user_id": user, "prompt": "Newts?", "chosen": "Newts, simply.", "rejected": "Newts! " * 20}]
    assert add(run, more) == replace(NOTHING, n_updated=1, n_comparisons=1)
    close(weights(run, user), fitted(run, before + more, user))
    expected = replace(NOTHING, n_updated=1, n_comparisons=len(own) - len(before), n_repeated=len(before) + 1)
    assert add(run, own + more) == expected
    close(weights(run, user), fitted(run, own + more, user))


def test_the_same_comparisons_are_recognised_by_their_content(run):
    rows = rows_of("new")
    add(run, rows)
    before = weights(run, "new")
    path = model_folder(run, 2) / "adapted.safetensors"
    content = path.read_bytes()
    messages = [
        {**row, **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}}
        for row in rows
    ]
    for same in (rows, rows[::-1], rows + rows, messages, [{**row, "weight": 3} for row in rows]):
        assert add(run, same) == replace(NOTHING, n_repeated=len(same))
    assert torch.equal(weights(run, "new"), before)
    assert path.read_bytes() == content


def test_a_comparison_that_occurs_twice_in_one_call_counts_once(run):
    rows = rows_of("new")
    assert add(run, rows + rows) == replace(NOTHING, n_new=1, n_comparisons=8, n_repeated=8)
    close(weights(run, "new"), fitted(run, rows, "new"))


def test_to_start_over_replaces_all_that_was_known_and_stays_so(run):
    user = "user-00"
    rows = rows_of(user, 4)
    add(run, [{"user_id": user, "prompt": "Newts?", "chosen": "Newts, simply.", "rejected": "Newts! " * 20}])
    n_before = len(load_model(run, 2).users().select([user]).comparisons)
    found = add(run, rows + rows_of("new", 2), start_over=True)
    assert found == replace(NOTHING, n_new=1, n_replaced=1, n_comparisons=6, n_dropped=n_before)
    close(weights(run, user), fitted(run, rows, user))
    more = rows_of(user, 3, first=4)
    assert add(run, rows + more) == replace(NOTHING, n_updated=1, n_comparisons=3, n_repeated=4)
    close(weights(run, user), fitted(run, rows + more, user))


def test_users_stay_in_their_order_with_their_own_digests(run):
    add(run, rows_of("a", 3) + rows_of("b", 3))
    add(run, rows_of("c", 2) + rows_of("a", 5))
    path = model_folder(run, 2) / "adapted.safetensors"
    assert load_model(run, 2).user_ids[-3:] == ("a", "b", "c")
    assert torch.bincount(load_digests(path).user).tolist() == [5, 3, 2]
    forget(run, ["a"])
    assert torch.bincount(load_digests(path).user).tolist() == [3, 2]
    assert add(run, rows_of("b", 4) + rows_of("a", 1)) == Added(1, 1, 0, 2, 3, 0)


def test_each_rank_has_its_own_users(run):
    add(run, rows_of("new"), rank=1)
    assert "new" not in load_model(run, 2).user_ids
    assert add(run, rows_of("new"), rank=2).n_new == 1


def test_a_file_of_an_earlier_version_has_no_digests_and_is_added_to(run):
    add(run, rows_of("new", 4))
    path = model_folder(run, 2) / "adapted.safetensors"
    save_users(load_model(run, 2).users().select(["new"]), path)
    assert add(run, rows_of("new", 4, first=4)) == replace(NOTHING, n_updated=1, n_comparisons=4)
    close(weights(run, "new"), fitted(run, rows_of("new"), "new"))


def test_nothing_can_be_added_to_weights_without_comparisons(run):
    add(run, rows_of("new", 4))
    path = model_folder(run, 2) / "adapted.safetensors"
    save_users(replace(load_model(run, 2).users().select(["new"]), comparisons=None), path)
    with refused(RunError, "'new'", "--replace"):
        add(run, rows_of("new", 4, first=4))
    assert add(run, rows_of("new", 4, first=4), start_over=True).n_replaced == 1


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A run of the published recipe, whose adaptation computes no posterior."""
    folder = tmp_path_factory.mktemp("published")
    run = RunFolder.create(folder / "run")
    steps.prepare(run, Source([str(write_lines(folder / "choices.jsonl", choices()))]))
    steps.embed(run, HashingEncoder, {"model": None})
    steps.train(run, TrainingConfig(recipe="paper", steps=20), [2])
    steps.report(run)
    return run


def test_users_of_the_published_recipe_are_added_to_as_well(published, tmp_path):
    run = RunFolder.open(shutil.copytree(published.path, tmp_path / "run"))
    rows = rows_of("new")
    add(run, rows[:3])
    assert add(run, rows) == replace(NOTHING, n_updated=1, n_comparisons=5, n_repeated=3)
    close(weights(run, "new"), fitted(run, rows, "new"))
    user = str(EmbeddedPreferences.load(run.path).user_ids[0])
    more = [{"user_id": user, "prompt": "Newts?", "chosen": "Newts, simply.", "rejected": "Newts! " * 20}]
    assert add(run, more) == replace(NOTHING, n_updated=1, n_comparisons=1)
