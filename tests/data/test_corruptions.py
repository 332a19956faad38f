"""Damaged logs end in the right result, in a warning with a count, or in one line with exit code 2.

Each number is the seed of one corruption of a valid log: the log is cut, or rows or cells are repeated, shuffled or
given another type. LORERM_CORRUPTIONS sets how many are tried (see CONTRIBUTING.md); by default, a few hundred are.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from logs import compress
from lorerm import cli
from lorerm.cli import main
from lorerm.data.preferences import Preferences
from lorerm.errors import LorermError

N = int(os.environ.get("LORERM_CORRUPTIONS", "300"))
BATCHES = 10
COMMAND = 5  # every log that is refused is given to the command, too, and one in this many of the others
USERS, TOPICS = ("ann", "bob", "eve", "zoë"), ("bread", "tea", "rain", "chess", "maps", "bees")
ROLES = ("system", "user", "assistant", "tool")
Rows = list[dict[str, Any]]

# The log: four kinds of rows, which every format can hold


def messages(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def pair(user: str, topic: str, as_messages: bool) -> dict[str, Any]:
    texts = {"prompt": f"Tell me of {topic}.", "chosen": f"{topic}, {user}!", "rejected": f'"{topic}",\nor no; {user}'}
    if as_messages:
        roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        return {"user_id": user, **{column: messages(roles[column], text) for column, text in texts.items()}}
    return {"user_id": user, **texts}


def valid_log(draw: random.Random) -> Rows:
    kind = draw.choice(["texts", "messages", "choice", "ratings"])
    rows = []
    for user in USERS:
        for n, topic in enumerate(TOPICS):
            row = pair(user, topic, kind == "messages")
            if kind in ("choice", "ratings"):
                responses = [row.pop("chosen"), row.pop("rejected"), f"{topic} {user} 3"]
                row |= {"responses": responses} | ({"choice": n % 3} if kind == "choice" else {"ratings": [n, 2, 9.5]})
            rows.append(row)
    for column, value in (
        ("prompt_id", lambda row: str(row["prompt"])),
        ("weight", lambda row: draw.choice([1, 0.5, 2])),
        ("split", lambda row: "test" if "rain" in str(row["prompt"]) else "train"),
        ("note", lambda row: "x"),
    ):
        if draw.random() < 0.3:
            rows = [{**row, column: value(row)} for row in rows]
    return rows


# Corruptions: each returns the rows as they are written

VALUES: list[Any] = [
    *(None, "", " ", "\n", 0, 7, -1, 3.0, 1.5, math.nan, math.inf, 10**30, True, False, "7", "nan", "[sic]", "null"),
    *([], [1, 2], ["a", "b"], [[]], {}, {"role": "user"}, {"a": [1]}, b"\xff\x00", "\0", "é\u0301", "'", '"', ";,\t"),
    *('["a", "b"]', "['a', 'b']", '[{"name": "a"}]', "[{'role': 'user', 'content': 'a'}]", '[{"role": "assistant"'),
    *('{"role": "user", "content": "a"}', "[1, 2, 3]", "[2]", "train", "unused", "holdout", "12e400", "\u2028x"),
    messages("assistant", "a"),
    messages("user", "a"),
    messages("bot", "a"),
    [*messages("user", "q"), *messages("assistant", "a")],
    [{"role": "assistant", "content": None, "tool_calls": [{"name": "kettle"}]}],
    [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}],
    [{"role": "assistant", "content": [{"type": "image_url", "image_url": "x"}]}],
    [{"role": ["user"], "content": {}}],
    Decimal("1.5"),
    datetime(2024, 5, 1, tzinfo=timezone.utc),
]


def cut_cell(rows: Rows, draw: random.Random) -> Rows:
    row, column = cell(rows, draw)
    text = rows[row][column]
    cut = text if isinstance(text, str) else json.dumps(text)
    return with_cell(rows, row, column, cut[: draw.randrange(len(cut) + 1)])


def retype_cell(rows: Rows, draw: random.Random) -> Rows:
    return with_cell(rows, *cell(rows, draw), draw.choice(VALUES))


def retype_column(rows: Rows, draw: random.Random) -> Rows:
    _, column = cell(rows, draw)
    value = draw.choice(
        [json.dumps, repr, str, lambda _: draw.choice(VALUES), lambda old: [old], lambda old: {"a": old}]
    )
    return [{**row, column: value(row[column])} for row in rows]


def print_cell(rows: Rows, draw: random.Random) -> Rows:
    row, column = cell(rows, draw)
    return with_cell(rows, row, column, draw.choice([json.dumps, repr])(rows[row][column]))


def swap_cells(rows: Rows, draw: random.Random) -> Rows:
    row = draw.randrange(len(rows))
    columns = list(rows[row])
    moved = draw.sample(columns, len(columns))
    return [
        dict(zip(columns, (one[name] for name in moved), strict=True)) if n == row else one
        for n, one in enumerate(rows)
    ]


def shuffle_column(rows: Rows, draw: random.Random) -> Rows:
    _, column = cell(rows, draw)
    values = draw.sample([row[column] for row in rows], len(rows))
    return [{**row, column: value} for row, value in zip(rows, values, strict=True)]


def shuffle_rows(rows: Rows, draw: random.Random) -> Rows:
    return draw.sample(rows, len(rows))


def repeat_rows(rows: Rows, draw: random.Random) -> Rows:
    return rows + draw.choices(rows, k=draw.randint(1, 3))


def drop_cell(rows: Rows, draw: random.Random) -> Rows:
    row, column = cell(rows, draw)
    return [{name: value for name, value in one.items() if n != row or name != column} for n, one in enumerate(rows)]


def add_column(rows: Rows, draw: random.Random) -> Rows:
    column = draw.choice(["margin", "label", "score", "chosen.1", "responses", "prompt_id", "split", "weight", "tie"])
    value = draw.choice(VALUES)
    return [{**row, column: value} if draw.random() < 0.8 else row for row in rows]


def keep_rows(rows: Rows, draw: random.Random) -> Rows:
    return rows


CORRUPTIONS: list[Callable[[Rows, random.Random], Rows]] = [
    *(cut_cell, retype_cell, retype_cell, retype_column, print_cell, swap_cells, shuffle_column, shuffle_rows),
    *(repeat_rows, drop_cell, add_column, keep_rows),
]


def cell(rows: Rows, draw: random.Random) -> tuple[int, str]:
    row = draw.randrange(len(rows))
    return row, draw.choice(sorted(rows[row]))


def with_cell(rows: Rows, row: int, column: str, value: object) -> Rows:
    return [{**one, column: value} if n == row else one for n, one in enumerate(rows)]


# Formats: each writes the rows, and returns the rows as a reader of the format finds them


def plain(value: object) -> object:
    """Return a value as JSON can hold it."""
    return json.loads(json.dumps(value, default=str))


def write_jsonl(path: Path, rows: Rows) -> Rows:
    rows = [{name: plain(value) for name, value in row.items()} for row in rows]
    path.write_text("".join(json.dumps(row, ensure_ascii=len(row) % 2 == 0) + "\n" for row in rows), "utf-8")
    return rows


def write_json(path: Path, rows: Rows) -> Rows:
    rows = [{name: plain(value) for name, value in row.items()} for row in rows]
    path.write_text(json.dumps(rows, indent=1))
    return rows


def write_csv(path: Path, rows: Rows) -> Rows:
    names = list(dict.fromkeys(name for row in rows for name in row))
    printed = repr if len(names) % 2 else lambda value: json.dumps(value, default=str)
    with path.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",;"[len(rows) % 2])
        writer.writerow(names)
        cells = [
            [
                "" if (one := row.get(name)) is None else printed(one) if isinstance(one, (list, dict)) else str(one)
                for name in names
            ]
            for row in rows
        ]
        writer.writerows(cells)
    return [dict(zip(names, (text or None for text in row), strict=True)) for row in cells]


def write_parquet(path: Path, rows: Rows) -> Rows | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
        pq.write_table(table, path)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None  # a column of Parquet has one type
    return table.to_pylist()


WRITERS: dict[str, Callable[[Path, Rows], Rows | None]] = {
    ".jsonl": write_jsonl,
    ".json": write_json,
    ".csv": write_csv,
    ".tsv": write_csv,
    ".parquet": write_parquet,
}


# What rows mean, as far as a simple reader can tell


class UnclearError(Exception):
    """A simple reader cannot tell what a value means."""


def meaning(rows: Rows) -> list[tuple[Any, ...]]:
    """Return (user, prompt, chosen, rejected, weight) of each comparison. Raises `UnclearError`."""
    if len({str(row.get("prompt_id")).strip() in ("", "None", "nan") for row in rows}) > 1:
        raise UnclearError("prompt_id")
    return [one for row in rows for one in comparisons_of(row)]


def comparisons_of(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    user, prompt = identity(row.get("user_id")), turns(row.get("prompt"), "user")
    given = row.get("weight")
    weight = 1.0 if given is None or given != given else number(given)
    if row.get("split") not in (None, "", "train", "test", "unused"):
        raise UnclearError("split")
    if not row.get("responses") or row["responses"] != row["responses"] or row.get("chosen") is not None:
        return [(user, prompt, turns(row.get("chosen"), "assistant"), turns(row.get("rejected"), "assistant"), weight)]
    responses = [turns(one, "assistant") for one in as_list(row["responses"])]
    if row.get("choice") is not None:
        best = number(row["choice"])
        if best not in range(len(responses)):
            raise UnclearError("choice")
        pairs = [(int(best), other) for other in range(len(responses)) if other != best]
    else:
        ratings = [number(one) for one in as_list(row.get("ratings"))]
        if len(ratings) != len(responses):
            raise UnclearError("ratings")
        pairs = [(i, j) for i in range(len(responses)) for j in range(len(responses)) if ratings[i] > ratings[j]]
    pairs = [(better, worse) for better, worse in pairs if responses[better] != responses[worse]]
    return [(user, prompt, responses[better], responses[worse], weight / len(pairs)) for better, worse in pairs]


def identity(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value == int(value):
        return str(int(value))
    raise UnclearError("user_id")


def turns(value: object, role: str) -> tuple[tuple[str, str], ...]:
    if isinstance(value, str):
        if not re.match(r"\s*[\[{].*(role|content|from)", value, re.DOTALL):
            return ((role, value),)
        value = as_list(value)
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        found = tuple((one.get("role"), text_of(one.get("content"))) for one in value)
        if all(kind in ROLES and isinstance(text, str) for kind, text in found) and found[0][0] == role:
            return found
    raise UnclearError("text")


def text_of(content: object) -> object:
    parts = content if isinstance(content, list) else []
    is_text = parts and all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in parts)
    return "".join(one["text"] for one in parts) if is_text else content


def as_list(value: object) -> list[Any]:
    if isinstance(value, str):
        for load in (json.loads, lambda text: __import__("ast").literal_eval(text)):
            try:
                value = load(value)
            except (ValueError, SyntaxError):
                continue
            break
    if not isinstance(value, list):
        raise UnclearError("list")
    return value


def number(value: object) -> float:
    if isinstance(value, bool):
        raise UnclearError("number")
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UnclearError("number")
    return found


def read_comparisons(preferences: Preferences) -> list[tuple[Any, ...]]:
    texts = [
        [tuple((turn["role"], turn["content"]) for turn in one) for one in preferences.messages(column)]
        for column in ("prompt", "chosen", "rejected")
    ]
    return list(zip(preferences.user_ids, *texts, preferences.weights.tolist(), strict=True))


def same(left: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> bool:
    """Compare comparisons; those of one row can be in any order."""
    return Counter(map(rounded, left)) == Counter(map(rounded, right))


def rounded(comparison: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*comparison[:-1], round(comparison[-1], 9))


def end_of(folder: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Prepare a run from the file, and return the exit code and the lines that are neither progress nor warnings."""
    capsys.readouterr()
    code = main(["prepare", str(path), "--out", str(folder / "run")])
    lines = capsys.readouterr().err.splitlines()
    return code, [line for line in lines if not line.endswith("...") and not line.startswith("warning: ")]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_logs(batch, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "build_parser", cache(cli.build_parser))  # building it takes longer than reading a log
    ends: Counter[str] = Counter()
    for seed in range(batch, N, BATCHES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        ends[try_one(seed, folder, capsys)] += 1
    assert min(ends["right"], ends["refused"]) > 0, ends
    with capsys.disabled():
        if "LORERM_CORRUPTIONS" in os.environ:
            print(dict(ends))  # noqa: T201


def try_one(seed: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Make and read one damaged log; return how it ended."""
    draw = random.Random(seed)  # noqa: S311
    corrupt, suffix = draw.choice(CORRUPTIONS), draw.choice(sorted(WRITERS))
    rows = valid_log(draw)
    path = folder / f"log{suffix}"
    found = WRITERS[suffix](path, corrupt(rows, draw))
    if found is None:
        path = folder / "log.jsonl"
        draw.seed(seed)
        found = write_jsonl(path, corrupt(rows, draw))
    is_cut = corrupt is keep_rows
    if is_cut:
        if draw.random() < 0.3:
            path = compress(path, draw.choice([".gz", ".bz2", ".xz", ".zst"]))
        content = path.read_bytes()
        path.write_bytes(content[: draw.randrange(len(content))])
    try:
        wanted = meaning(found)
    except UnclearError:
        wanted = None
    what = f"seed {seed}: {corrupt.__name__}, {path.name}"
    try:
        preferences = Preferences.from_files(path)
    except LorermError as error:
        assert error.problem, what
        assert error.remedy, what
        code, lines = end_of(folder, path, capsys)
        assert (code, len(lines)) == (2, 1), f"{what}: {lines}"
        assert corrupt is not shuffle_rows, f"{what}: {lines}"
        return "refused"
    if seed // BATCHES % COMMAND == 0:
        code, lines = end_of(folder, path, capsys)
        assert code in (0, 2), what
        assert len(lines) == (code == 2), f"{what}: {lines}"
    read = read_comparisons(preferences)
    is_right = wanted is not None and (read == wanted[: len(read)] if is_cut else same(read, wanted))
    if is_right and len(set(map(rounded, read))) == len(read):
        return "right"
    counted = [one for one in preferences.summary.warnings() if re.search(r"\d", one)]
    assert counted, f"{what}: read {read[:3]}, wanted {(wanted or [])[:3]}"
    return "warned of"
