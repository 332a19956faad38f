"""One log gives the same comparisons in every format and through every way in: files, data sets, tables, records.

The way over HTTP is in tests/serving/routes/test_users.py.
"""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logs import compress
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError


def messages(role, text):
    return [{"role": role, "content": text}]


def as_texts(topic, user):
    """A comparison of texts."""
    return {"prompt": f"Tell me of {topic}. ", "chosen": f"It, {user};\n\t{topic}?", "rejected": f'["{topic}", "é"]'}


def as_messages(topic, user):
    """A comparison of messages."""
    texts = as_texts(topic, user)
    prompt = messages("system", "Be brief.") + messages("user", texts["prompt"])
    return {
        "prompt": prompt,
        **{column: messages("assistant", texts[column]) for column in ("chosen", "rejected")},
    }


def as_choice(topic, user):
    """A choice among several texts."""
    return {"prompt": f"Tell me of {topic}.", "responses": [topic, user, "['?']"], "choice": 2}


def as_ratings(topic, user):
    """Ratings of several dialogues."""
    responses = [messages("assistant", text) for text in (topic, user, "?")]
    return {"prompt": f"Tell me of {topic}.", "responses": responses, "ratings": [1.0, 2.5, 1.0]}


LOGS = {
    kind.__name__: [
        {"user_id": user, **kind(topic, str(user)), "prompt_id": topic, "weight": 0.5, "split": split}
        for user in (7, 8)
        for topic, split in (("bread", "train"), ("tea", "validation"))
    ]
    for kind in (as_texts, as_messages, as_choice, as_ratings)
}


def printed(value, how):
    """Return a value as it is stored as text."""
    return how(value) if isinstance(value, (list, dict)) else value


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_array(path, rows):
    path.write_text(json.dumps(rows))


def write_json_strings(path, rows):
    """As databases export columns of JSON."""
    write_lines(path, [{name: printed(value, json.dumps) for name, value in row.items()} for row in rows])


def write_table(delimiter, how):
    def write(path, rows):
        with path.open("w", newline="", encoding="utf-8-sig") as stream:
            writer = csv.writer(stream, delimiter=delimiter)
            writer.writerow(rows[0])
            writer.writerows([printed(value, how) for value in row.values()] for row in rows)

    return write


def write_csv_of_datasets(path, rows):
    from datasets import Dataset

    Dataset.from_list(rows).to_csv(path)


def write_csv_of_pandas(path, rows):
    import pandas as pd

    pd.DataFrame(rows).to_csv(path, sep=";")


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_parquet_of_texts(path, rows):
    write_parquet(path, [{name: printed(value, json.dumps) for name, value in row.items()} for row in rows])


FILES = [
    ("log.jsonl", write_lines),
    ("log.ndjson", write_lines),
    ("log.json", write_array),
    ("strings.jsonl", write_json_strings),
    ("log.csv", write_table(",", json.dumps)),
    ("python.csv", write_table(",", repr)),
    ("semicolons.csv", write_table(";", json.dumps)),
    ("log.tsv", write_table("\t", repr)),
    ("datasets.csv", write_csv_of_datasets),
    ("pandas.csv", write_csv_of_pandas),
    ("log.parquet", write_parquet),
    ("strings.parquet", write_parquet_of_texts),
]


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize(("name", "write"), FILES, ids=[name for name, _ in FILES])
def test_files(tmp_path, kind, name, write):
    wanted = Preferences.from_records(LOGS[kind])
    write(tmp_path / name, LOGS[kind])
    found = Preferences.from_files(tmp_path / name)
    assert found == wanted
    assert found.summary == wanted.summary
    assert found.summary.warnings() == wanted.summary.warnings()
    assert Preferences.from_files(compress(tmp_path / name, ".zst")) == wanted


@pytest.mark.parametrize("kind", LOGS)
def test_objects_in_memory(tmp_path, kind):
    import pandas as pd
    from datasets import Dataset, DatasetDict

    wanted = Preferences.from_records(LOGS[kind])
    dataset = Dataset.from_list(LOGS[kind])
    dataset.save_to_disk(tmp_path / "saved")
    pq.write_table(pa.Table.from_pylist(LOGS[kind]), tmp_path / "log.parquet")
    assert Preferences.from_dataset(dataset) == wanted
    assert Preferences.from_dataset(DatasetDict(all=dataset)) == wanted
    assert Preferences.from_files(tmp_path / "saved") == wanted
    for table in (pd.DataFrame(LOGS[kind]), pd.read_parquet(tmp_path / "log.parquet"), dataset.data.table):
        assert Preferences.from_records(table) == wanted
    if "chosen" in LOGS[kind][0]:
        assert Preferences.from_dataset(wanted.to_trl()) == wanted


BAD = {
    "a missing response": {"rejected": None},
    "the dialogue again": {"chosen": [*messages("user", "Tea?"), *messages("assistant", "Yes.")]},
    "tool calls": {"rejected": [{"role": "assistant", "content": "", "tool_calls": [{"name": "kettle"}]}]},
    "an image": {"chosen": [{"role": "assistant", "content": [{"type": "image_url", "image_url": "u"}]}]},
    "ShareGPT's keys": {"chosen": [{"from": "gpt", "value": "Yes."}]},
    "an unknown role": {"chosen": messages("robot", "Yes.") + messages("assistant", "Yes.")},
    "the same response": {"rejected": messages("assistant", "Yes.")},
    "a list of strings": {"prompt": ["Tea?"]},
}


@pytest.mark.parametrize("what", BAD)
def test_every_way_in_refuses_the_same_rows_for_the_same_column(tmp_path, what):
    import pandas as pd
    from datasets import Dataset

    good = {
        "user_id": "u",
        **{column: messages("assistant", text) for column, text in (("chosen", "Yes."), ("rejected", "No."))},
    }
    rows = [{**good, "prompt": messages("user", "Tea?")}, {**good, "prompt": messages("user", "Sea?"), **BAD[what]}]
    (column,) = BAD[what]

    def refused(read, *arguments):
        with pytest.raises(DataError) as caught:
            read(*arguments)
        assert caught.value.location.column == column
        assert caught.value.location.row in (1, 2)  # the first, if the form of the whole column is at fault

    refused(Preferences.from_records, rows)
    refused(Preferences.from_records, pd.DataFrame(rows))
    for name, write in FILES:
        try:
            write(tmp_path / name, rows)
        except (pa.ArrowException, ValueError, TypeError):
            continue  # a column of the format has one type
        refused(Preferences.from_files, tmp_path / name)
    refused(Preferences.from_dataset, Dataset.from_list([rows[1]] * 2))
