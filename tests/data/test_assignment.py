import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data.assignment import assign_cells
from lorerm.data.schema import CELLS
from lorerm.errors import ConfigError, DataError


def population(n_users=12, n_prompts=20, n_pairs=200, seed=0):
    rng = np.random.default_rng(seed)
    users = [f"u{i}" for i in rng.integers(n_users, size=n_pairs)]
    return users, [f"p{i}" for i in rng.integers(n_prompts, size=n_pairs)]


def sides(cells):
    return np.char.partition(cells, "_")[:, 0]


identifiers = st.integers(0, 6).map(lambda number: "é\0 x7"[number % 4 :] + str(number))
tables = st.lists(st.tuples(identifiers, identifiers, st.sampled_from([None, None, "train", "test"])), max_size=40)


@given(
    tables, st.booleans(), st.floats(0, 0.99), st.floats(0.01, 0.99), st.integers(0, 5), st.none() | st.integers(1, 4)
)
@settings(max_examples=150, deadline=None)
def test_people_and_prompts_are_apart_whatever_the_data(rows, labelled, unseen_users, test_prompts, seed, limit):
    users, prompts = np.array([row[0] for row in rows], dtype=object), np.array([row[1] for row in rows], dtype=object)
    labels = [row[2] for row in rows] if labelled else None
    arguments = {"unseen_users": unseen_users, "test_prompts": test_prompts, "seed": seed, "max_pairs_seen": limit}
    try:
        cells = assign_cells(users, prompts, given=labels, **arguments)
    except DataError:
        return
    train, test = np.isin(cells, ["train_seen", "train_unseen"]), np.isin(cells, ["test_seen", "test_unseen"])
    seen, unseen = np.isin(cells, ["train_seen", "test_seen"]), np.isin(cells, ["train_unseen", "test_unseen"])
    assert not set(prompts[train]) & set(prompts[test])
    assert not set(users[seen]) & set(users[unseen])
    assert set(users[test]) <= set(users[train])
    assert set(users[unseen]) <= set(users[test])
    if limit is not None:
        assert max(np.count_nonzero(users[cells == "train_seen"] == user) for user in set(users)) <= limit
    if labels is not None:
        given_labels = np.array([label or "" for label in labels])
        assert not test[given_labels == "train"].any()
        assert not train[given_labels == "test"].any()


def test_shares_are_kept():
    users, prompts = population(n_users=20, n_prompts=100, n_pairs=4000)
    cells = assign_cells(
        users, prompts, unseen_users=0.25, test_prompts=0.2, max_pairs_seen=None, max_pairs_unseen=None
    )
    users, prompts = np.array(users), np.array(prompts)
    assert len(set(users[np.char.endswith(cells, "_unseen")])) == 5
    assert len(set(prompts[sides(cells) == "test"])) == 20
    assert not (cells == "unused").any()


def test_order_of_rows_does_not_choose_people_or_prompts():
    users, prompts = population()
    order = np.random.default_rng(1).permutation(len(users))
    cells = assign_cells(users, prompts, max_pairs_seen=None, max_pairs_unseen=None)
    shuffled = assign_cells(
        np.array(users)[order], np.array(prompts)[order], max_pairs_seen=None, max_pairs_unseen=None
    )
    assert (cells[order] == shuffled).all()


def test_seeds_differ():
    assert (assign_cells(*population(), seed=0) != assign_cells(*population(), seed=1)).any()


PRINT_CELLS = """
from lorerm.data.assignment import assign_cells
users = [f"u{i * i % 17}" for i in range(600)]
prompts = [f"p{i * 7 % 31}" for i in range(600)]
print(" ".join(assign_cells(users, prompts, seed=3, max_pairs_seen=9, max_pairs_unseen=4)))
"""


def test_cells_are_the_same_in_every_process():
    """Python hashes strings differently in each of these."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINT_CELLS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(printed) == 1
    assert set(printed.pop().split()) == {*CELLS, "unused"}


def test_sample_of_a_user_does_not_depend_on_others():
    prompts = [f"p{i}" for i in range(40)]
    given_sides = ["train"] * 30 + ["test"] * 10
    arguments = {"unseen_users": 0.0, "max_pairs_seen": 5}
    alone = assign_cells(["ann"] * 40, prompts, given=given_sides, **arguments)
    with_others = assign_cells(["aaa"] * 40 + ["ann"] * 40, prompts * 2, given=given_sides * 2, **arguments)
    assert (with_others[40:] == alone).all()
    assert (alone == "train_seen").sum() == 5
    assert (with_others[:40] != alone).any()


def test_limits_are_of_the_cell():
    users, prompts = population(n_users=6, n_pairs=600)
    cells = assign_cells(users, prompts, max_pairs_seen=20, max_pairs_unseen=7)
    for user in set(users):
        own = cells[np.array(users) == user].tolist()
        assert (own.count("train_seen"), own.count("train_unseen")) in {(20, 0), (0, 7)}


def test_users_with_train_pairs_only_are_seen_and_with_test_pairs_only_left_out():
    users = ["both", "both", "teach", "new"]
    cells = assign_cells(users, ["a", "b", "a", "b"], given=["train", "test", "train", "test"])
    assert cells.tolist() == ["train_seen", "test_seen", "train_seen", "unused"]


def test_two_eligible_users_give_one_to_each_side():
    users = ["a", "a", "b", "b"]
    for share in (0.01, 0.99):
        cells = assign_cells(users, ["p", "q"] * 2, unseen_users=share, given=["train", "test"] * 2)
        assert sorted(cells) == ["test_seen", "test_unseen", "train_seen", "train_unseen"]


def test_prompt_on_both_given_sides_is_dropped_from_train():
    cells = assign_cells(["a"] * 4, ["p", "p", "q", "r"], unseen_users=0, given=["train", "test", "train", "test"])
    assert cells.tolist() == ["unused", "test_seen", "train_seen", "test_seen"]


def test_unlabelled_pairs_follow_their_prompt():
    for seed in range(5):
        cells = assign_cells(
            ["a"] * 4, ["p", "p", "q", "q"], unseen_users=0, seed=seed, given=["train", None, None, "test"]
        )
        assert sides(cells).tolist() == ["train", "train", "test", "test"]


def test_given_cells_are_taken_as_they_are():
    labels = ["train_seen", "test_seen", "train_unseen", "test_unseen", "unused"]
    cells = assign_cells(["a", "a", "b", "b", "c"], ["p", "q", "p", "q", "p"], given=labels, seed=9)
    assert cells.tolist() == labels


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (["train_seen", "test_seen", "train_unseen", None], "for some pairs only"),
        (["train_seen", "test_seen", "train_unseen", "train"], "for some pairs only"),
        (["train_seen", "train_seen", "test_seen", "unused"], "prompt 'p' both in train_seen"),
        (["train_seen", "test_unseen", "unused", "unused"], "user 'a' both in train_seen"),
        (["train_seen", "unused", "unused", "unused"], "nothing is left to test on"),
    ],
)
def test_given_cells_must_keep_people_and_prompts_apart(labels, match):
    with pytest.raises(DataError, match=match):
        assign_cells(["a", "a", "b", "b"], ["p", "q", "p", "q"], given=labels)


@pytest.mark.parametrize(
    ("users", "prompts", "labels", "match"),
    [
        ([], [], None, "no train pairs"),
        (["a", "a"], ["p", "p"], None, "nothing is left to test on"),
        (["a", "b"], ["p", "q"], None, "nothing is left to test on"),
        (["a", "a"], ["p", "q"], ["train", "train"], "nothing is left to test on"),
        (["a", "a"], ["p", "q"], ["test", "test"], "no train pairs"),
        (["a"], ["p", "q"], None, "not equally many"),
        (["a"], ["p"], ["train", "test"], "not equally many"),
    ],
)
def test_nothing_left(users, prompts, labels, match):
    with pytest.raises(DataError, match=match):
        assign_cells(users, prompts, given=labels)


@pytest.mark.parametrize(
    "argument",
    [
        {"unseen_users": 1.0},
        {"unseen_users": -0.1},
        {"unseen_users": float("nan")},
        {"test_prompts": 0},
        {"test_prompts": 1},
        {"seed": -1},
        {"seed": 0.5},
        {"max_pairs_seen": 0},
        {"max_pairs_unseen": 2.5},
    ],
)
def test_arguments_out_of_range(argument):
    with pytest.raises(ConfigError, match=f"^{next(iter(argument))} is .*: "):
        assign_cells(*population(), **argument)
