"""Splits by users and prompts: no overlap, the same in every process, given labels kept, counts of what is left out."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data.preferences import Preferences
from lorerm.data.schema import SPLITS
from lorerm.data.splits import Splits, SplitSize, assign_splits, split
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.errors import ConfigError, DataError
from refusals import refused


def population(n_users=12, n_prompts=20, n_pairs=200, seed=0):
    rng = np.random.default_rng(seed)
    users = [f"u{i}" for i in rng.integers(n_users, size=n_pairs)]
    return users, [f"p{i}" for i in rng.integers(n_prompts, size=n_pairs)]


def sides(splits):
    return np.char.partition(splits, "_")[:, 0]


identifiers = st.integers(0, 6).map(lambda number: "é\0 x7"[number % 4 :] + str(number))
tables = st.lists(st.tuples(identifiers, identifiers, st.sampled_from([None, None, "train", "test"])), max_size=40)


@given(
    tables, st.booleans(), st.floats(0, 0.99), st.floats(0.01, 0.99), st.integers(0, 5), st.none() | st.integers(1, 4)
)
@settings(max_examples=150, deadline=None)
def test_no_user_or_prompt_is_on_both_sides(rows, labelled, unseen_users, test_prompts, seed, limit):
    users, prompts = np.array([row[0] for row in rows], dtype=object), np.array([row[1] for row in rows], dtype=object)
    labels = [row[2] for row in rows] if labelled else None
    arguments = {"unseen_users": unseen_users, "test_prompts": test_prompts, "seed": seed, "max_pairs_seen": limit}
    try:
        splits = assign_splits(users, prompts, given=labels, **arguments)
    except DataError:
        return
    train, test = np.isin(splits, ["train_seen", "train_unseen"]), np.isin(splits, ["test_seen", "test_unseen"])
    seen, unseen = np.isin(splits, ["train_seen", "test_seen"]), np.isin(splits, ["train_unseen", "test_unseen"])
    assert not set(prompts[train]) & set(prompts[test])
    assert not set(users[seen]) & set(users[unseen])
    assert set(users[test]) <= set(users[train])
    assert set(users[unseen]) <= set(users[test])
    if limit is not None:
        assert max(np.count_nonzero(users[splits == "train_seen"] == user) for user in set(users)) <= limit
    if labels is not None:
        given_labels = np.array([label or "" for label in labels])
        assert not test[given_labels == "train"].any()
        assert not train[given_labels == "test"].any()


def test_shares_are_kept():
    users, prompts = population(n_users=20, n_prompts=100, n_pairs=4000)
    splits = assign_splits(
        users, prompts, unseen_users=0.25, test_prompts=0.2, max_pairs_seen=None, max_pairs_unseen=None
    )
    users, prompts = np.array(users), np.array(prompts)
    assert len(set(users[np.char.endswith(splits, "_unseen")])) == 5
    assert len(set(prompts[sides(splits) == "test"])) == 20
    assert not (splits == "unused").any()


def test_held_out_users_and_prompts_do_not_depend_on_the_order_of_rows():
    users, prompts = population()
    order = np.random.default_rng(1).permutation(len(users))
    splits = assign_splits(users, prompts, max_pairs_seen=None, max_pairs_unseen=None)
    shuffled = assign_splits(
        np.array(users)[order], np.array(prompts)[order], max_pairs_seen=None, max_pairs_unseen=None
    )
    assert (splits[order] == shuffled).all()


def test_seeds_differ():
    assert (assign_splits(*population(), seed=0) != assign_splits(*population(), seed=1)).any()


PRINTING = """
from lorerm.data.splits import assign_splits
users = [f"u{i * i % 17}" for i in range(600)]
prompts = [f"p{i * 7 % 31}" for i in range(600)]
print(" ".join(assign_splits(users, prompts, seed=3, max_pairs_seen=9, max_pairs_unseen=4)))
"""


def test_splits_are_the_same_in_every_process():
    """Python hashes strings differently in each of these."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINTING],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(printed) == 1
    assert set(printed.pop().split()) == {*SPLITS, "unused"}


def test_sample_of_a_user_does_not_depend_on_others():
    prompts = [f"p{i}" for i in range(40)]
    given_sides = ["train"] * 30 + ["test"] * 10
    arguments = {"unseen_users": 0.0, "max_pairs_seen": 5}
    alone = assign_splits(["ann"] * 40, prompts, given=given_sides, **arguments)
    with_others = assign_splits(["aaa"] * 40 + ["ann"] * 40, prompts * 2, given=given_sides * 2, **arguments)
    assert (with_others[40:] == alone).all()
    assert (alone == "train_seen").sum() == 5
    assert (with_others[:40] != alone).any()


def test_seen_and_unseen_users_have_limits_of_their_own():
    users, prompts = population(n_users=6, n_pairs=600)
    splits = assign_splits(users, prompts, max_pairs_seen=20, max_pairs_unseen=7)
    for user in set(users):
        own = splits[np.array(users) == user].tolist()
        assert (own.count("train_seen"), own.count("train_unseen")) in {(20, 0), (0, 7)}


def test_users_with_train_comparisons_only_are_seen_and_with_test_comparisons_only_left_out():
    users = ["both", "both", "teach", "new"]
    splits = assign_splits(users, ["a", "b", "a", "b"], given=["train", "test", "train", "test"])
    assert splits.tolist() == ["train_seen", "test_seen", "train_seen", "unused"]


def test_of_two_eligible_users_one_is_unseen():
    users = ["a", "a", "b", "b"]
    for share in (0.01, 0.99):
        splits = assign_splits(users, ["p", "q"] * 2, unseen_users=share, given=["train", "test"] * 2)
        assert sorted(splits) == ["test_seen", "test_unseen", "train_seen", "train_unseen"]


def test_prompt_on_both_given_sides_is_dropped_from_train():
    splits = assign_splits(["a"] * 4, ["p", "p", "q", "r"], unseen_users=0, given=["train", "test", "train", "test"])
    assert splits.tolist() == ["unused", "test_seen", "train_seen", "test_seen"]


def test_comparisons_without_label_follow_their_prompt():
    for seed in range(5):
        splits = assign_splits(
            ["a"] * 4, ["p", "p", "q", "q"], unseen_users=0, seed=seed, given=["train", None, None, "test"]
        )
        assert sides(splits).tolist() == ["train", "train", "test", "test"]


def test_given_splits_are_taken_as_they_are():
    labels = ["train_seen", "test_seen", "train_unseen", "test_unseen", "unused"]
    splits = assign_splits(["a", "a", "b", "b", "c"], ["p", "q", "p", "q", "p"], given=labels, seed=9)
    assert splits.tolist() == labels


@pytest.mark.parametrize(
    ("labels", "where", "names"),
    [
        (["train_seen", "test_seen", "train_unseen", None], {"column": "split"}, ["unused"]),
        (["train_seen", "test_seen", "train_unseen", "train"], {"column": "split"}, ["unused"]),
        (["train_seen", "train_seen", "test_seen", "unused"], {"column": "split"}, ["prompt 'p'"]),
        (["train_seen", "test_unseen", "unused", "unused"], {"column": "split"}, ["user 'a'"]),
        (["train_seen", "unused", "unused", "unused"], {"argument": "test_prompts"}, ["test"]),
    ],
)
def test_given_splits_that_share_a_user_or_prompt_are_refused(labels, where, names):
    with refused(DataError, *names, **where):
        assign_splits(["a", "a", "b", "b"], ["p", "q", "p", "q"], given=labels)


@pytest.mark.parametrize(
    ("users", "prompts", "labels", "missing"),
    [
        ([], [], None, "train comparisons"),
        (["a", "a"], ["p", "p"], None, "test comparisons"),
        (["a", "b"], ["p", "q"], None, "test comparisons"),
        (["a", "a"], ["p", "q"], ["train", "train"], "test comparisons"),
        (["a", "a"], ["p", "q"], ["test", "test"], "train comparisons"),
    ],
)
def test_data_without_train_or_test_comparisons_are_refused(users, prompts, labels, missing):
    with refused(DataError, f"no {missing} are left", argument="test_prompts"):
        assign_splits(users, prompts, given=labels)


def test_columns_of_different_lengths_are_refused():
    with refused(DataError, "1 users", "2 prompts"):
        assign_splits(["a"], ["p", "q"])
    with refused(DataError, "2 splits"):
        assign_splits(["a"], ["p"], given=["train", "test"])


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
def test_arguments_out_of_range_are_refused(argument):
    ((name, value),) = argument.items()
    with refused(ConfigError, str(value), argument=name):
        assign_splits(*population(), **argument)


def preferences(rows):
    """Preferences from (user, prompt, split) triples."""
    return Preferences.from_records(
        {"user_id": user, "prompt": prompt, "chosen": "a", "rejected": "b", "split": label}
        for user, prompt, label in rows
    )


def crowd(n_users=10, n_prompts=30):
    rng = np.random.default_rng(0)
    return preferences((f"u{user}", f"p{rng.integers(n_prompts)}", None) for user in range(n_users) for _ in range(20))


def test_splits_hold_the_comparisons_and_the_summary_counts_them():
    data = crowd()
    splits = split(data, unseen_users=0.3, test_prompts=0.3, seed=1)
    for name in SPLITS:
        part = getattr(splits, name)
        assert isinstance(part, Preferences)
        assert splits.summary.sizes[name] == SplitSize(len(set(part.user_ids)), len(part))
        assert len(part) > 0
    assert sum(size.n_pairs for size in splits.summary.sizes.values()) == len(data)
    assert splits.summary.n_users == 10
    assert splits.summary.warnings() == []


def test_the_printed_form_names_no_user():
    splits = split(preferences([("ann", "p", "train"), ("ann", "q", "test"), ("zoë", "p", "train")]), unseen_users=0)
    assert splits.summary.users_without_test == ("zoë",)
    assert "train_seen=" in repr(splits)
    assert "zoë" not in repr(splits)


def test_same_seed_same_split():
    assert split(crowd(), seed=4) == split(crowd(), seed=4)
    assert split(crowd(), seed=4) != split(crowd(), seed=5)


def test_splits_given_in_the_data_are_kept():
    data = preferences([("a", "p", "train"), ("a", "q", "test"), ("b", "p", "train"), ("b", "q", "test")])
    splits = split(data, unseen_users=0, seed=3)
    assert set(splits.train_seen.prompt_ids) == {data.prompt_ids[0]}
    assert set(splits.test_seen.prompt_ids) == {data.prompt_ids[1]}
    assert len(splits.train_unseen) == 0


def test_labels_written_into_the_data_give_the_same_split_again():
    data = crowd()
    first = split(data, seed=2, max_pairs_seen=5)
    labels = np.full(len(data), "unused", dtype=object)
    where = {row: number for number, row in enumerate(zip(data.user_ids, data.prompt_ids, strict=True))}
    for name in SPLITS:
        part = getattr(first, name)
        for row in zip(part.user_ids, part.prompt_ids, strict=True):
            labels[where[row]] = name
    distinct = data.with_splits(labels).select(sorted(where.values()))
    again = split(distinct, seed=99)
    for name in SPLITS:
        assert set(getattr(again, name).user_ids) == set(getattr(first, name).user_ids)


def test_warnings_name_at_most_five_users():
    rows = [("x", "p", "train"), ("x", "q", "test"), ("y", "p", "train"), ("y", "q", "test")]
    rows += [(f"teach{i}", "p", "train") for i in range(7)] + [("late", "q", "test")]
    splits = split(preferences(rows))
    teach, late = splits.summary.warnings()
    assert teach.startswith("7 of 10 users")
    assert "(teach0, teach1, teach2, teach3, teach4 and 2 more)" in teach
    assert late.startswith("1 of 10 users")
    assert "(late)" in late
    assert splits.summary.users_left_out == ("late",)


def test_dropped_and_limited_comparisons_are_counted_apart():
    rows = [("x", f"p{i}", "train") for i in range(6)] + [("x", "p0", "test"), ("x", "q", "test")]
    summary = split(preferences(rows), unseen_users=0, max_pairs_seen=2).summary
    assert summary.n_prompts_on_both_sides == 1
    assert summary.n_pairs_over_limit == 3
    assert summary.n_pairs_unused == 4
    assert [sentence.rpartition(": ")[2] for sentence in summary.warnings()] == ["1.", "3."]


def test_comparisons_that_the_data_label_as_unused_are_counted_as_such():
    rows = [("a", "p", "train_seen"), ("a", "q", "test_seen"), ("b", "p", "train_unseen"), ("b", "q", "test_unseen")]
    rows += [("a", "q", "unused"), ("b", "r", "unused"), ("c", "p", "unused")]
    summary = split(preferences(rows)).summary
    assert summary.n_pairs_labelled_unused == summary.n_pairs_unused == 3
    assert (summary.n_pairs_over_limit, summary.n_prompts_on_both_sides, summary.users_left_out) == (0, 0, ())
    (warning,) = summary.warnings()
    assert "unused: 3" in warning


@pytest.mark.parametrize(("share", "n_warnings"), [(0.3, 1), (0.0, 0)])
def test_warns_if_no_user_is_unseen_although_some_were_wanted(share, n_warnings):
    splits = split(preferences([("x", "p", "train"), ("x", "q", "test")]), unseen_users=share)
    assert len(splits.test_unseen) == 0
    assert len(splits.summary.warnings()) == n_warnings


def test_from_labels():
    data = preferences([("a", "p", None), ("a", "q", None), ("b", "r", None)])
    splits = Splits.from_labels(data, ["train_seen", "test_seen", "unused"])
    assert splits.train_seen == data.select([0])
    assert splits.summary.users_left_out == ("b",)
    with refused(DataError, "2", "3", argument="labels"):
        Splits.from_labels(data, ["train_seen", "test_seen"])
    with refused(DataError, "'train'", argument="labels"):
        Splits.from_labels(data, ["train", "test_seen", "unused"])


def test_bad_share():
    with refused(ConfigError, "2", argument="unseen_users"):
        split(crowd(), unseen_users=2)


def test_mean_number_of_comparisons_of_a_user():
    assert SplitSize(4, 10).mean_pairs == 2.5
    assert SplitSize(0, 0).mean_pairs == 0


def same_prompt_with_other_ids(prompt_ids, prompt="Tell me of bread."):
    """Comparisons of one user between the same responses to the same prompt, with these prompt ids."""
    return Preferences.from_records(
        {"user_id": "x", "prompt_id": one, "prompt": prompt + " " * n, "chosen": "a", "rejected": "b", "split": side}
        for n, (one, side) in enumerate(zip(prompt_ids, ("train", "test", "test"), strict=True))
    )


def test_same_prompt_in_train_and_test_under_other_ids_is_warned_of():
    """Ids that are row numbers: the split cannot keep a prompt on one side."""
    summary = split(same_prompt_with_other_ids("123"), unseen_users=0).summary
    assert (summary.n_prompts_shared, summary.n_responses_shared) == (1, 0), "only white space differs"
    (sentence,) = summary.warnings()
    assert sentence.startswith("LEAK")
    assert "prompt_id" in sentence


def test_same_conversations_in_train_and_test_are_counted():
    data = EmbeddedPreferences.from_arrays(np.eye(2), [0, 1], [1, 0], ["x", "x"], ["p", "q"])
    summary = Splits.from_labels(data, ["train_seen", "test_seen"], unseen_wanted=False).summary
    assert (summary.n_prompts_shared, summary.n_responses_shared) == (0, 2)
    assert len(summary.warnings()) == 1


def test_same_prompt_on_one_side_is_no_leak():
    data = same_prompt_with_other_ids("123")
    other = Preferences.from_records(
        {"user_id": "x", "prompt_id": str(n), "prompt": f"Of {n}?", "chosen": "a", "rejected": "b"} for n in range(3)
    )
    assert Splits.from_labels(other, ["train_seen", "test_seen", "unused"]).summary.n_prompts_shared == 0
    assert Splits.from_labels(data, ["unused", "test_seen", "test_seen"]).summary.n_prompts_shared == 0
