"""`lorerm prepare`: each kind of invalid input gives one line of error; for valid input the counts are printed."""

from __future__ import annotations

import gzip
import json

import pytest

from lorerm.errors import DataError, RunError
from small_choices import MARK, choices, write_lines

GOOD = {"user_id": "u", "prompt": f"{MARK}?", "chosen": f"{MARK} a", "rejected": f"{MARK} b"}


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"rejected": GOOD["chosen"]}, "rejected"),
        ({"chosen": 3}, "chosen"),
        ({"chosen": None}, "chosen"),
        ({"chosen": [{"role": "assistant", "content": 3}]}, "rejected"),
        ({"chosen": [{"role": "assistant", "content": f"{MARK}!"}]}, "rejected"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": 1.5}, "user_id"),
        ({"user_id": [MARK]}, "user_id"),
        ({"prompt": None}, "prompt"),
        ({"split": "tomorrow"}, "split"),
        ({"weight": -1}, "weight"),
        ({"weight": MARK}, "weight"),
    ],
)
def test_bad_row_is_named_without_its_text(refuses, tmp_path, change, column):
    data = write_lines(tmp_path / "c.jsonl", [GOOD, {**GOOD, **change}])
    where = {"file": str(data), "row": 2, "column": column}
    assert MARK not in refuses("prepare", data, "--out", tmp_path / "run", error=DataError, **where)


@pytest.mark.parametrize("column", ["user_id", "prompt", "chosen", "rejected"])
def test_missing_column_is_named_with_those_found(refuses, tmp_path, column):
    rows = [{name: value for name, value in row.items() if name != column} for row in choices()]
    data = write_lines(tmp_path / "c.jsonl", rows)
    refuses("prepare", data, "--out", tmp_path / "run", error=DataError, names=rows[0], column=column)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("c.jsonl", b"", "no rows"),
        ("c.jsonl", b"\n\n", "no rows"),
        ("c.csv", b"", "no rows"),
        ("c.csv", b"user_id,prompt,chosen,rejected\n", "no rows"),
        ("c.jsonl", b'{"user_id": ', "row 1: "),
        ("c.jsonl", b"\xff\xfe", "UTF-8"),
        ("c.jsonl.gz", b"not gzip", "gzip"),
        ("c.jsonl.gz", gzip.compress(b"x" * 10_000, mtime=0)[:-20], "end-of-stream"),
        ("c.parquet", b"PAR1 and no more", "Parquet"),
        ("c.txt", b"hello", ".parquet"),
    ],
)
def test_unreadable_file_is_one_line(refuses, tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content)
    names = [named, tmp_path / name]
    refuses("prepare", tmp_path / name, "--out", tmp_path / "run", error=DataError, names=names)


def test_missing_file_says_what_can_be_given(refuses, tmp_path):
    names = [tmp_path / "none.jsonl", "simulated"]
    refuses("prepare", tmp_path / "none.jsonl", "--out", tmp_path / "run", error=DataError, names=names)


def test_nothing_left_to_test_on(refuses, tmp_path):
    """All users compared responses to the same prompt: no prompt can be held out."""
    data = write_lines(tmp_path / "c.jsonl", choices(n_prompts=1))
    refuses("prepare", data, "--out", tmp_path / "run", error=DataError)
    assert not (tmp_path / "run" / "comparisons.parquet").exists()


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
    assert "120 of 120 comparisons in use" in outcome.out
    assert "lorerm embed" in outcome.out


def test_ids_that_look_like_numbers_stay_as_written_but_for_whole_numbers_with_a_point(lorerm, tmp_path):
    from lorerm.data.stored import load_preferences

    lines = [
        f"{user},p{prompt},q{prompt},long {prompt},short {prompt}\n"
        for user in ("007", "7", "8.0")
        for prompt in range(9)
    ]
    (tmp_path / "c.csv").write_text("user_id,prompt_id,prompt,chosen,rejected\n" + "".join(lines))
    assert lorerm("prepare", tmp_path / "c.csv", "--out", tmp_path / "run").code == 0
    kept = load_preferences(tmp_path / "run")
    assert set(kept.user_ids) == {"007", "7", "8"}


def test_prompt_ids_that_are_row_numbers_are_warned_of_and_the_report_has_the_warning(lorerm, tmp_path):
    """Exports name their row numbers "id": the same prompts are then in train and in test."""
    rows = [{**row, "prompt_id": number} for number, row in enumerate(choices())]
    run = tmp_path / "run"
    outcome = lorerm("run", write_lines(tmp_path / "c.jsonl", rows), "--out", run, "--ranks", 1)
    assert outcome.code == 0
    (warning,) = [line for line in outcome.err.splitlines() if "prompt_id" in line]
    assert warning.startswith("warning: LEAK?")
    assert (
        warning.removeprefix("warning: ")
        in json.loads((run / "report" / "report.json").read_text())["data"]["warnings"]
    )


def test_data_set_that_shares_prompts_by_its_design_is_not_warned_of(lorerm, tmp_path):
    assert "LEAK?" not in lorerm("prepare", "polis", "--out", tmp_path / "run").err


@pytest.mark.parametrize("lacking", [None, ""])
def test_prompt_ids_in_some_rows_only(refuses, tmp_path, lacking):
    rows = [{**row, "prompt_id": f"p{n % 15}" if n < 60 else lacking} for n, row in enumerate(choices())]
    path = write_lines(tmp_path / "c.jsonl", rows)
    refuses("prepare", path, "--out", tmp_path / "run", error=DataError, file=str(path), row=61, column="prompt_id")


def test_split_of_the_data_is_kept(lorerm, tmp_path):
    rows = [{**row, "split": "test" if i % 15 < 3 else "train"} for i, row in enumerate(choices())]
    outcome = lorerm("prepare", write_lines(tmp_path / "c.jsonl", rows), "--out", tmp_path / "run")
    assert outcome.code == 0
    assert "test_seen 18 (6 users)" in outcome.out


def test_folder_of_imported_embeddings_is_refused_and_stays(refuses, imported, choices_file):
    manifest = (imported / "manifest.json").read_bytes()
    refuses("prepare", choices_file, "--out", imported, error=RunError, names=[imported])
    assert (imported / "manifest.json").read_bytes() == manifest
