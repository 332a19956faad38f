"""`lorerm import-embeddings`: a matrix computed by another program, and comparisons between its rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lorerm import EmbeddedPreferences
from lorerm.errors import ConfigError, DataError, RunError
from small_choices import MARK, comparisons, contents, write_lines, write_matrix


@pytest.fixture
def matrix(tmp_path):
    return write_matrix(tmp_path / "matrix.safetensors")


@pytest.fixture
def table(tmp_path):
    return write_lines(tmp_path / "table.jsonl", comparisons())


def test_it_is_trained_and_reported_and_not_scored(lorerm, refuses, imported, tmp_path):
    assert lorerm("train", imported, "--ranks", 1, 2).code == 0
    outcome = lorerm("report", imported)
    assert outcome.code == 0
    assert "imported without a reference head" in " ".join(outcome.out.split())
    candidates = write_lines(tmp_path / "candidates.jsonl", [{"prompt": "p", "response": "r"}])
    refuses("score", imported, "--user", "001", "--data", candidates, error=RunError, names=[imported])
    refuses("embed", imported, error=RunError, names=[imported])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_keeps_the_dtype(lorerm, tmp_path, table, dtype):
    matrix = write_matrix(tmp_path / "matrix.safetensors", dtype=dtype)
    assert lorerm("import-embeddings", matrix, table, "--out", tmp_path / "run").code == 0
    assert EmbeddedPreferences.load(tmp_path / "run").responses.dtype == getattr(torch, dtype)
    assert lorerm("train", tmp_path / "run", "--ranks", 1).code == 0


def test_reference_head_in_the_matrix_file_or_in_its_own(lorerm, tmp_path, table):
    head = torch.tensor([1.0, 2.0, 3.0, 4.0])
    inside = write_matrix(tmp_path / "inside.safetensors", reference=head)
    assert lorerm("import-embeddings", inside, table, "--out", tmp_path / "a").code == 0
    plain = write_matrix(tmp_path / "plain.safetensors")
    for name, tensors in {"b": {"reference": head}, "c": {"score.weight": head[None].bfloat16()}}.items():
        save_file(tensors, tmp_path / "head.safetensors")
        outcome = lorerm(
            "import-embeddings", plain, table, "--out", tmp_path / name, "--reference", tmp_path / "head.safetensors"
        )
        assert outcome.code == 0, outcome
    for name in "abc":
        np.testing.assert_array_equal(EmbeddedPreferences.load(tmp_path / name).reference, head.numpy())


def test_reference_head_alone_is_rank_0(lorerm, tmp_path, table):
    matrix = write_matrix(tmp_path / "matrix.safetensors", reference=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert lorerm("import-embeddings", matrix, table, "--out", tmp_path / "run").code == 0
    assert lorerm("train", tmp_path / "run", "--ranks", 0, 1).code == 0
    outcome = lorerm("report", tmp_path / "run")
    assert outcome.code == 0
    assert "No values for the reference head" not in outcome.out


@pytest.mark.parametrize("head", [torch.ones(5), torch.full((4,), torch.nan), torch.ones(2, 4), torch.ones(4).int()])
def test_reference_that_does_not_fit_is_refused(refuses, tmp_path, matrix, table, head):
    save_file({"reference": head}, tmp_path / "head.safetensors")
    options = ["--out", tmp_path / "run", "--reference", tmp_path / "head.safetensors"]
    refuses("import-embeddings", matrix, table, *options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_with_their_row(refuses, tmp_path, table, bad):
    values = torch.ones(30, 4)
    values[7, 2] = bad
    save_file({"responses": values}, tmp_path / "m.safetensors")
    refuses("import-embeddings", tmp_path / "m.safetensors", table, "--out", tmp_path / "run", names=["row 7"])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"chosen": 30}, ["chosen[1]", "30", "0 to 29"]),
        ({"rejected": -1}, ["rejected[1]", "-1"]),
        ({"rejected": 4, "chosen": 4}, ["row 4"]),
        ({"chosen": None}, ["row 2", '"chosen"']),
        ({"chosen": float("nan")}, ["row 2", '"chosen"']),
        ({"chosen": 1.5}, ["row 2", '"chosen"', "1.5"]),
        ({"chosen": 10**30}, ["row 2", '"chosen"']),
        ({"chosen": f"{MARK} text"}, ["row 2", '"chosen"']),
        ({"user_id": None}, ["row 2", '"user_id"']),
        ({"prompt_id": 3}, ["89", "prompt_id"]),
        ({"weight": 0}, ["row 2", '"weight"', "0"]),
        ({"split": "later"}, ["row 2", '"split"']),
    ],
)
def test_bad_comparison_is_named(refuses, tmp_path, matrix, change, names):
    rows = comparisons()
    table = write_lines(tmp_path / "t.jsonl", [rows[0], {**rows[1], **change}, *rows[2:]])
    line = refuses("import-embeddings", matrix, table, "--out", tmp_path / "run", error=DataError, names=names)
    assert MARK not in line


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickle"])
def test_damaged_matrix_is_named(refuses, tmp_path, table, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    refuses("import-embeddings", path, table, "--out", tmp_path / "run", error=DataError, names=[path])


@pytest.mark.parametrize(
    "tensors",
    [
        {"responses": torch.ones(0, 4)},
        {"responses": torch.ones(4)},
        {"responses": torch.ones(30, 4, dtype=torch.int64)},
        {"a": torch.ones(30, 4), "b": torch.zeros(30, 4)},
    ],
)
def test_file_without_one_clear_matrix(refuses, tmp_path, table, tensors):
    save_file(tensors, tmp_path / "m.safetensors")
    line = refuses("import-embeddings", tmp_path / "m.safetensors", table, "--out", tmp_path / "run")
    assert '"responses"' in line


def test_matrix_of_one_row_has_nothing_to_compare(refuses, tmp_path, table):
    matrix = write_matrix(tmp_path / "m.safetensors", rows=1)
    refuses("import-embeddings", matrix, table, "--out", tmp_path / "run", names=["rows 0 to 0"])


@pytest.mark.parametrize(
    "files", [["m.safetensors"], ["t.jsonl"], ["a.safetensors", "b.safetensors"], ["a.pt", "t.jsonl"]]
)
def test_needs_one_matrix_and_one_table(refuses, tmp_path, files):
    given = (tmp_path / file for file in files)
    refuses("import-embeddings", *given, "--out", tmp_path / "run", error=ConfigError, names=["(.safetensors)"])


def test_missing_files(refuses, tmp_path, matrix, table):
    for files in ((tmp_path / "x.safetensors", table), (matrix, tmp_path / "x.csv")):
        refuses("import-embeddings", *files, "--out", tmp_path / "r", error=DataError, names=[tmp_path / "x."])


def test_folder_of_a_run_on_text_is_refused_and_stays(refuses, run, matrix, table):
    before, manifest = contents(run), (run / "manifest.json").read_bytes()
    refuses("import-embeddings", matrix, table, "--out", run, error=RunError, names=[run])
    assert (contents(run), (run / "manifest.json").read_bytes()) == (before, manifest)


def test_other_files_are_refused_and_the_same_do_nothing(lorerm, refuses, imported, tmp_path):
    """The fixture's files are m.safetensors and comparisons.jsonl."""
    files = tmp_path / "m.safetensors", tmp_path / "comparisons.jsonl"
    before = (imported / "manifest.json").read_bytes()
    assert lorerm("import-embeddings", *files, "--out", imported).code == 0
    assert (imported / "manifest.json").read_bytes() == before
    refuses("import-embeddings", *files, "--out", imported, "--seed", 1, error=RunError, names=[": seed"])
    write_matrix(files[0], rows=31)
    refuses("import-embeddings", *files, "--out", imported, error=RunError, names=[": input"])


def test_lost_shard_is_put_back_by_the_same_command(lorerm, refuses, imported, tmp_path):
    before = contents(imported)
    next((imported / "embeddings").glob("embeddings-*")).unlink()
    refuses("train", imported, error=RunError, names=["embeddings-00001-of-00001.safetensors"])
    files = tmp_path / "m.safetensors", tmp_path / "comparisons.jsonl"
    assert lorerm("import-embeddings", *files, "--out", imported).code == 0
    assert contents(imported) == before
