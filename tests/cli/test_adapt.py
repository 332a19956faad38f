"""New users from files of their comparisons."""

from __future__ import annotations

import json

import pytest

from lorerm.errors import DataError, RunError
from small_choices import MARK, TOPICS, choices, contents, write_lines


def comparisons_of(user: str, *, likes_long: bool, n: int = 15) -> list[dict[str, str]]:
    """Return comparisons of a user who errs at times, as those of the small choices do."""
    like = choices()[: len(TOPICS)] if likes_long else choices()[-len(TOPICS) :]
    return [{**row, "user_id": user} for row in like[:n]]


@pytest.fixture
def first_place(lorerm, tmp_path):
    """Which response a user of a run likes best: 'long' or 'short'."""

    def call(run, user) -> str:
        long = f"{MARK} foxes are a subject of which one could say a great deal, and many people do. " * 3
        data = write_lines(tmp_path / "c.jsonl", [{"prompt": "Foxes?", "responses": [long, f"foxes, {MARK}!"]}])
        outcome = lorerm("score", run, "--user", user, "--data", data, "--rank", 2)
        assert outcome.code == 0, outcome
        return ["long", "short"][json.loads(outcome.out)["ranking"][0]["index"]]

    return call


def test_the_ranking_follows_the_comparisons_and_turns_with_them(lorerm, run, tmp_path, first_place):
    data = write_lines(
        tmp_path / "a.jsonl", comparisons_of("new", likes_long=True) + comparisons_of("Ö, 7", likes_long=False)
    )
    outcome = lorerm("adapt", run, "--data", data, "--rank", 2)
    line = "Adapted 2 users (2 new, 0 updated, 0 replaced) from 30 new comparisons.\n"
    assert (outcome.code, outcome.out) == (0, line)
    assert first_place(run, "new") == "long"
    assert first_place(run, "Ö, 7") == "short"
    again = write_lines(tmp_path / "b.jsonl", comparisons_of("new", likes_long=False))
    outcome = lorerm("adapt", run, "--data", again, "--rank", 2, "--replace")
    line = "Adapted 1 user (0 new, 0 updated, 1 replaced) from 15 new comparisons."
    assert (outcome.code, outcome.out) == (0, f"{line} They replace 15 earlier comparisons.\n")
    assert first_place(run, "new") == "short"
    assert first_place(run, "Ö, 7") == "short", "users adapted before stay"


def test_comparisons_are_added_and_the_same_ones_are_recognised(lorerm, run, tmp_path, first_place):
    rows = comparisons_of("new", likes_long=True)
    many = write_lines(tmp_path / "many.jsonl", rows)
    one = write_lines(tmp_path / "one.jsonl", comparisons_of("new", likes_long=False)[-1:] + rows[:2])
    call = ("adapt", run, "--rank", 2, "--data")
    assert lorerm(*call, many).code == 0
    again = "Counted before, and not counted again:"
    line = f"Adapted 1 user (0 new, 1 updated, 0 replaced) from 1 new comparison. {again} 2 comparisons.\n"
    assert lorerm(*call, one).out == line
    assert first_place(run, "new") == "long", "one comparison does not outweigh fifteen"
    copied = write_lines(tmp_path / "under another name.jsonl", rows)
    nothing = "Adapted 0 users (0 new, 0 updated, 0 replaced) from 0 new comparisons."
    assert lorerm(*call, copied, one).out == f"{nothing} {again} 18 comparisons.\n"


def test_a_new_id_that_looks_like_a_known_one_is_pointed_at(lorerm, run, tmp_path):
    data = write_lines(tmp_path / "a.jsonl", comparisons_of("user-00 ", likes_long=True))
    assert "'user-00' and 'user-00 '" in lorerm("adapt", run, "--data", data).err
    data = write_lines(tmp_path / "b.jsonl", comparisons_of("new", likes_long=True))
    assert "warning" not in lorerm("adapt", run, "--data", data).err


def test_adapted_users_stay_when_the_report_is_made_again(lorerm, run, tmp_path, first_place):
    """The report adapts the run's own unseen users, and must not replace these."""
    write_lines(tmp_path / "a.jsonl", comparisons_of("new", likes_long=True))
    assert lorerm("adapt", run, "--data", tmp_path / "a.jsonl", "--rank", 2).code == 0
    assert lorerm("train", run, "--ranks", 1, 2, 3).code == 0
    assert first_place(run, "new") == "long"
    assert lorerm("report", run).code == 0
    assert first_place(run, "new") == "long"


def test_default_is_the_chosen_rank(lorerm, run, tmp_path):
    chosen = json.loads((run / "manifest.json").read_text())["steps"]["train"]["result"]["chosen_rank"]
    write_lines(tmp_path / "a.jsonl", comparisons_of("new", likes_long=True))
    before = set(contents(run))
    assert lorerm("adapt", run, "--data", tmp_path / "a.jsonl").code == 0
    assert set(contents(run)) - before == {f"models/rank-{chosen}/adapted.safetensors"}


@pytest.mark.parametrize(
    ("rows", "location"),
    [
        ([], {"row": None}),
        ([{"user_id": "u", "prompt": "p", "chosen": "a"}], {"column": "rejected"}),
        ([{"user_id": "u", "prompt": "p", "chosen": "a", "rejected": "a"}], {"row": 1}),
    ],
)
def test_bad_comparisons_are_refused_and_change_nothing(refuses, run, tmp_path, rows, location):
    before = contents(run)
    data = write_lines(tmp_path / "a.jsonl", rows)
    refuses("adapt", run, "--data", data, error=DataError, file=str(data), **location)
    assert contents(run) == before


def test_feedback_that_teaches_nothing_is_said_in_one_line_each(lorerm, run, tmp_path):
    """Weights that sum to 1, and one comparison whose responses end in the same turn."""
    rows = comparisons_of("new", likes_long=True)
    thanks = [{"role": "user", "content": "Thanks"}, {"role": "assistant", "content": "Welcome."}]
    for side in ("chosen", "rejected"):
        rows[0][side] = [{"role": "assistant", "content": rows[0][side]}, *thanks]
    data = write_lines(tmp_path / "a.jsonl", [row | {"weight": 1 / len(rows)} for row in rows])
    outcome = lorerm("adapt", run, "--data", data, "--rank", 2)
    assert outcome.code == 0, outcome
    weights, same = (line for line in outcome.err.splitlines() if line.startswith("warning:"))
    assert "sum to 1:" in weights
    assert "1 of 15" in same


def test_missing_file(refuses, run, tmp_path):
    refuses("adapt", run, "--data", tmp_path / "none.jsonl", error=DataError, names=[tmp_path / "none.jsonl"])


def test_damaged_users_are_named(refuses, lorerm, run, tmp_path):
    write_lines(tmp_path / "a.jsonl", comparisons_of("new", likes_long=True))
    path = run / "models" / "rank-2" / "adapted.safetensors"
    path.write_bytes(b"no safetensors")
    refuses("adapt", run, "--data", tmp_path / "a.jsonl", "--rank", 2, error=RunError, names=[f"delete {path}"])
