import numpy as np
import pytest

from lorerm.data.preferences import Preferences
from lorerm.data.schema import CELLS
from lorerm.data.splits import CellSize, Splits, split
from lorerm.errors import ConfigError, DataError


def preferences(rows):
    """Preferences from (user, prompt, split) triples."""
    return Preferences.from_records(
        {"user_id": user, "prompt": prompt, "chosen": "a", "rejected": "b", "split": label}
        for user, prompt, label in rows
    )


def crowd(n_users=10, n_prompts=30):
    rng = np.random.default_rng(0)
    return preferences((f"u{user}", f"p{rng.integers(n_prompts)}", None) for user in range(n_users) for _ in range(20))


def test_cells_hold_the_pairs_and_the_summary_counts_them():
    data = crowd()
    cells = split(data, unseen_users=0.3, test_prompts=0.3, seed=1)
    for name in CELLS:
        part = getattr(cells, name)
        assert isinstance(part, Preferences)
        assert cells.summary.cells[name] == CellSize(len(set(part.user_ids)), len(part))
        assert len(part) > 0
    assert sum(size.n_pairs for size in cells.summary.cells.values()) == len(data)
    assert cells.summary.n_users == 10
    assert cells.summary.warnings() == []


def test_printed_they_name_nobody():
    cells = split(preferences([("ann", "p", "train"), ("ann", "q", "test"), ("zoë", "p", "train")]), unseen_users=0)
    assert cells.summary.users_without_test == ("zoë",)
    assert "train_seen=" in repr(cells)
    assert "zoë" not in repr(cells)


def test_same_seed_same_split():
    assert split(crowd(), seed=4) == split(crowd(), seed=4)
    assert split(crowd(), seed=4) != split(crowd(), seed=5)


def test_what_the_data_say_is_honoured():
    data = preferences([("a", "p", "train"), ("a", "q", "test"), ("b", "p", "train"), ("b", "q", "test")])
    cells = split(data, unseen_users=0, seed=3)
    assert set(cells.train_seen.prompt_ids) == {data.prompt_ids[0]}
    assert set(cells.test_seen.prompt_ids) == {data.prompt_ids[1]}
    assert len(cells.train_unseen) == 0


def test_labels_written_into_the_data_give_the_same_split_again():
    data = crowd()
    first = split(data, seed=2, max_pairs_seen=5)
    labels = np.full(len(data), "unused", dtype=object)
    where = {row: number for number, row in enumerate(zip(data.user_ids, data.prompt_ids, strict=True))}
    for name in CELLS:
        part = getattr(first, name)
        for row in zip(part.user_ids, part.prompt_ids, strict=True):
            labels[where[row]] = name
    distinct = data.with_splits(labels).select(sorted(where.values()))
    again = split(distinct, seed=99)
    for name in CELLS:
        assert set(getattr(again, name).user_ids) == set(getattr(first, name).user_ids)


def test_warnings_name_at_most_five_users():
    rows = [("x", "p", "train"), ("x", "q", "test"), ("y", "p", "train"), ("y", "q", "test")]
    rows += [(f"teach{i}", "p", "train") for i in range(7)] + [("late", "q", "test")]
    cells = split(preferences(rows))
    teach, late = cells.summary.warnings()
    assert teach.startswith("7 of 10 users have no pairs on test prompts")
    assert "(teach0, teach1, teach2, teach3, teach4 and 2 more)" in teach
    assert late.startswith("1 of 10 users have pairs on test prompts only")
    assert "(late)" in late
    assert cells.summary.users_left_out == ("late",)


def test_dropped_and_limited_pairs_are_told_apart():
    rows = [("x", f"p{i}", "train") for i in range(6)] + [("x", "p0", "test"), ("x", "q", "test")]
    summary = split(preferences(rows), unseen_users=0, max_pairs_seen=2).summary
    assert summary.n_prompts_on_both_sides == 1
    assert summary.n_pairs_over_limit == 3
    assert summary.n_pairs_unused == 4
    assert [sentence.rpartition(": ")[2] for sentence in summary.warnings()] == ["1.", "3."]


@pytest.mark.parametrize(("share", "n_warnings"), [(0.3, 1), (0.0, 0)])
def test_nobody_unseen_is_said_when_it_was_not_asked_for(share, n_warnings):
    cells = split(preferences([("x", "p", "train"), ("x", "q", "test")]), unseen_users=share)
    assert len(cells.test_unseen) == 0
    assert len([sentence for sentence in cells.summary.warnings() if "Nobody" in sentence]) == n_warnings


def test_from_cells():
    data = preferences([("a", "p", None), ("a", "q", None), ("b", "r", None)])
    cells = Splits.from_cells(data, ["train_seen", "test_seen", "unused"])
    assert cells.train_seen == data.select([0])
    assert cells.summary.users_left_out == ("b",)
    with pytest.raises(DataError, match="2 cell labels for 3 pairs"):
        Splits.from_cells(data, ["train_seen", "test_seen"])
    with pytest.raises(DataError, match="'train' is no cell"):
        Splits.from_cells(data, ["train", "test_seen", "unused"])


def test_bad_share():
    with pytest.raises(ConfigError, match="unseen_users is 2"):
        split(crowd(), unseen_users=2)
