"""Reading: every kind of bad input is one line, and good input is told in numbers."""

from __future__ import annotations

import gzip
import json

import pytest

from small_choices import MARK, choices, write_lines

GOOD = {"user_id": "u", "prompt": f"{MARK}?", "chosen": f"{MARK} a", "rejected": f"{MARK} b"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rejected": GOOD["chosen"]}, 'row 2: columns "chosen" and "rejected" are the same'),
        ({"chosen": 3}, 'row 2: column "chosen"'),
        ({"chosen": None}, 'row 2: column "chosen" is missing'),
        ({"chosen": [{"role": "assistant", "content": 3}]}, "row 2"),
        ({"chosen": [{"role": "assistant", "content": f"{MARK}!"}]}, "a string and a list"),
        ({"user_id": ""}, 'row 2: column "user_id" is empty'),
        ({"user_id": 1.5}, 'row 2: column "user_id"'),
        ({"prompt": None}, 'row 2: column "prompt" is missing'),
        ({"split": "tomorrow"}, 'row 2: column "split"'),
        ({"weight": -1}, 'row 2: column "weight"'),
    ],
)
def test_bad_row_is_named_without_its_text(refuses, tmp_path, change, said):
    data = write_lines(tmp_path / "c.jsonl", [GOOD, {**GOOD, **change}])
    line = refuses("prepare", data, "--out", tmp_path / "run")
    assert said in line
    assert str(data) in line
    assert MARK not in line


@pytest.mark.parametrize("column", ["user_id", "prompt", "chosen", "rejected"])
def test_missing_column_is_named_with_those_found(refuses, tmp_path, column):
    rows = [{name: value for name, value in row.items() if name != column} for row in choices()]
    line = refuses("prepare", write_lines(tmp_path / "c.jsonl", rows), "--out", tmp_path / "run")
    assert f'there is no column "{column}" (columns found: ' in line


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.jsonl", b"", "holds no rows"),
        ("c.jsonl", b"\n\n", "holds no rows"),
        ("c.csv", b"", "holds no rows"),
        ("c.csv", b"user_id,prompt,chosen,rejected\n", "holds no rows"),
        ("c.jsonl", b'{"user_id": ', "row 1 is not JSON"),
        ("c.jsonl", b"\xff\xfe", "not UTF-8"),
        ("c.jsonl.gz", b"not gzip", "damaged"),
        ("c.jsonl.gz", gzip.compress(b"x" * 10_000, mtime=0)[:-20], "cut off"),
        ("c.parquet", b"PAR1 and no more", "not a readable Parquet file"),
        ("c.txt", b"hello", "unknown format"),
    ],
)
def test_unreadable_file_is_one_line(refuses, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    line = refuses("prepare", tmp_path / name, "--out", tmp_path / "run")
    assert said in line
    assert name in line


def test_missing_file_says_what_can_be_given(refuses, tmp_path):
    line = refuses("prepare", tmp_path / "none.jsonl", "--out", tmp_path / "run")
    assert "does not exist" in line
    assert "simulated" in line


def test_nothing_left_to_test_on(refuses, tmp_path):
    """Everybody judged the same prompt: no prompt can be held out."""
    data = write_lines(tmp_path / "c.jsonl", choices(n_prompts=1))
    assert "nothing is left to test on" in refuses("prepare", data, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--unseen-users", 1), ("--test-prompts", 0), ("--test-prompts", "nan"), ("--seed", -1), ("--max-pairs-seen", 0)],
)
def test_argument_out_of_range(refuses, tmp_path, choices_file, option, value):
    refuses("prepare", choices_file, "--out", tmp_path / "run", option, value)


def test_gzipped_lines_and_a_column_of_another_name(lorerm, tmp_path):
    rows = [{"worker": row.pop("user_id"), **row} for row in choices()]
    data = tmp_path / "c.jsonl.gz"
    data.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    outcome = lorerm("prepare", data, "--out", tmp_path / "run", "--user-column", "worker")
    assert outcome.code == 0
    assert "120 of 120 pairs in use" in outcome.out
    assert "lorerm embed" in outcome.out


def test_ids_that_look_like_numbers_stay_as_written(lorerm, tmp_path):
    from lorerm import Preferences

    lines = [
        f"{user},p{prompt},q{prompt},long {prompt},short {prompt}\n"
        for user in ("007", "7", "7.0")
        for prompt in range(9)
    ]
    (tmp_path / "c.csv").write_text("user_id,prompt_id,prompt,chosen,rejected\n" + "".join(lines))
    assert lorerm("prepare", tmp_path / "c.csv", "--out", tmp_path / "run").code == 0
    kept = Preferences.read_parquet(tmp_path / "run" / "preferences.parquet")
    assert set(kept.user_ids) == {"007", "7", "7.0"}


def test_split_of_the_data_is_kept(lorerm, tmp_path):
    rows = [{**row, "split": "test" if i % 15 < 3 else "train"} for i, row in enumerate(choices())]
    outcome = lorerm("prepare", write_lines(tmp_path / "c.jsonl", rows), "--out", tmp_path / "run")
    assert outcome.code == 0
    assert "test_seen 18 (6 users)" in outcome.out


def test_folder_of_imported_embeddings_is_refused_and_stays(refuses, imported, choices_file):
    manifest = (imported / "manifest.json").read_bytes()
    assert "holds imported embeddings" in refuses("prepare", choices_file, "--out", imported)
    assert (imported / "manifest.json").read_bytes() == manifest
