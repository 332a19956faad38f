"""Rows of a published data set: from files in the layout of the hub, and from the hub at a commit."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import pytest

from lorerm.data.datasets.raw import Repository, column, of_published_layout, raw_file, raw_rows, resolve
from lorerm.data.readers.format import Row
from lorerm.errors import DataError
from published_samples import write_jsonl, write_parquet
from refusals import refused

REPOSITORY = Repository("owner/name", "refs/convert/parquet")
COMMIT = "c0ffee" * 6 + "c0ff"


@pytest.fixture
def hub(monkeypatch):
    """A hub without a network, with one data set; gives the list of requests to it."""
    import datasets
    import huggingface_hub

    asked = []

    class HfApi:
        def dataset_info(self, name, revision=None):
            asked.append(("info", name, revision))
            if name != "owner/name":
                raise RuntimeError("404 Client Error\nwith more lines")
            return SimpleNamespace(sha=COMMIT)

    def load_dataset(name, revision=None):
        asked.append(("load", name, revision))
        rows = {"train": [{"a": 1, "b": [{"c": None}]}], "validation": [{"a": 2, "b": [{"c": "x"}]}]}
        return datasets.DatasetDict({split: datasets.Dataset.from_list(part) for split, part in rows.items()})

    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_hub_is_read_at_the_commit_that_the_revision_stands_for(hub):
    rows = raw_rows(REPOSITORY, None)
    assert [(label, row.record["a"]) for label, row in rows] == [("train", 1), ("valid", 2)]
    assert hub == [("info", "owner/name", "refs/convert/parquet"), ("load", "owner/name", COMMIT)]
    assert rows.source == f"owner/name at {COMMIT}"
    assert resolve(REPOSITORY, "v1") == COMMIT
    assert hub[-1] == ("info", "owner/name", "v1")


def test_folder_of_the_hub_is_read_as_the_same_files_on_disk(hub, monkeypatch, tmp_path):
    """A repository that `datasets` does not load: converted to Parquet, with one folder per configuration."""
    import huggingface_hub

    for split in ("train", "validation"):
        write_parquet(tmp_path / "comparisons" / split / "0000.parquet", [{"a": split}])

    def snapshot_download(name, repo_type, revision, allow_patterns):
        assert (name, repo_type, revision, allow_patterns) == ("owner/name", "dataset", COMMIT, "comparisons/*")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    rows = raw_rows(Repository("owner/name", "refs/convert/parquet", "comparisons"), None)
    assert sorted((label, row.record["a"]) for label, row in rows) == [("train", "train"), ("valid", "validation")]
    assert rows.source == f"owner/name at {COMMIT}"


def test_hub_that_cannot_be_read_is_a_data_error(hub):
    with refused(DataError, "owner/none", "404 Client Error", "--data"):
        raw_rows(Repository("owner/none"), None)


def test_one_file_of_the_hub(hub, monkeypatch, tmp_path):
    import huggingface_hub

    path = write_jsonl(tmp_path / "survey.jsonl", [{"user_id": "u"}])

    def download(name, file, repo_type, revision):
        assert (name, file, repo_type, revision) == ("owner/name", "survey.jsonl", "dataset", COMMIT)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    (row,) = raw_file(REPOSITORY, "survey.jsonl", None, COMMIT)
    assert row.record == {"user_id": "u"}


def test_local_copy_touches_no_network(hub, tmp_path):
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [{"a": 1}])
    write_jsonl(tmp_path / "data" / "test.jsonl", [{"a": 2}, {"a": 3}])
    (tmp_path / "valid.json.gz").write_bytes(gzip.compress(json.dumps([{"a": 4}]).encode()))
    (tmp_path / ".cache").mkdir()
    write_jsonl(tmp_path / ".cache" / "train.jsonl", [{"a": 9}])
    (tmp_path / "README.md").write_text("no data")
    found = [(label, row.record["a"]) for label, row in raw_rows(REPOSITORY, tmp_path)]
    assert sorted(found) == [("test", 2), ("test", 3), ("train", 1), ("valid", 4)]
    assert hub == []


def test_split_is_read_from_the_folder_where_the_name_says_nothing(tmp_path):
    """As the hub's own conversion names its files."""
    write_parquet(tmp_path / "comparisons" / "validation" / "0000.parquet", [{"a": 1}])
    write_parquet(tmp_path / "0000.parquet", [{"a": 2}])
    assert sorted((row.record["a"], label) for label, row in raw_rows(REPOSITORY, tmp_path / "comparisons")) == [
        (1, "valid")
    ]
    assert [label for label, _ in raw_rows(REPOSITORY, tmp_path / "0000.parquet")] == [None]


def test_folder_that_datasets_wrote(tmp_path):
    import datasets

    parts = {name: datasets.Dataset.from_list([{"a": name}]) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    assert sorted((label, row.record["a"]) for label, row in raw_rows(REPOSITORY, tmp_path / "saved")) == [
        ("test", "test"),
        ("train", "train"),
    ]


def test_damaged_folder_of_datasets(tmp_path):
    import datasets

    datasets.Dataset.from_list([{"a": 1}]).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"rubbish")
    with refused(DataError, file=str(tmp_path / "saved")):
        raw_rows(REPOSITORY, tmp_path / "saved")


def test_missing_column_names_row_and_those_found():
    with refused(DataError, '"a"', file="f.jsonl", row=3, column="b"):
        column(Row("f.jsonl", 3, {"a": 1}), "b")
    with refused(DataError, file="f.jsonl", row=4, column="b"):
        column(Row("f.jsonl", 4, "no mapping"), "b")


def test_row_of_another_layout_is_named():
    row = Row("f.jsonl", 3, {"info": None})
    with refused(DataError, "AttributeError", file="f.jsonl", row=3), of_published_layout(row):
        row.record["info"].get("post")
    with refused(DataError, "as it was", file="f.jsonl", row=3, column="info"), of_published_layout(row):
        raise DataError("as it was", "said", column="info")


def test_folder_without_data(tmp_path):
    with refused(DataError, ".jsonl", file=str(tmp_path)):
        raw_rows(REPOSITORY, tmp_path)
