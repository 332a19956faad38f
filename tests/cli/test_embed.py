"""`lorerm embed`: the second step of a run."""

from __future__ import annotations

import pytest

from lorerm.errors import RunError
from small_choices import contents


@pytest.fixture
def prepared(lorerm, tmp_path, choices_file):
    assert lorerm("prepare", choices_file, "--out", tmp_path / "prepared").code == 0
    return tmp_path / "prepared"


def test_verbs_one_by_one_give_the_same_files_as_run(lorerm, prepared, done):
    assert "lorerm train" in lorerm("embed", prepared).out
    assert lorerm("train", prepared, "--ranks", 1, 2).code == 0
    assert lorerm("report", prepared).code == 0
    assert contents(prepared) == contents(done)


def test_no_run_folder(refuses, tmp_path):
    refuses("embed", tmp_path / "none", error=RunError, names=[tmp_path / "none"])


def test_after_a_model_that_does_not_exist_another_can_be_chosen(lorerm, refuses, prepared):
    refuses("embed", prepared, "--model", str(prepared / "none"))
    assert lorerm("embed", prepared).code == 0


def test_another_model_is_refused_and_changes_nothing(refuses, run):
    before, manifest = contents(run), (run / "manifest.json").read_bytes()
    refuses("embed", run, "--model", "org/other", error=RunError, names=[": model"])
    assert (contents(run), (run / "manifest.json").read_bytes()) == (before, manifest)


@pytest.mark.parametrize("name", ["comparisons.parquet", "responses.parquet"])
def test_missing_texts_are_prepared_again(lorerm, run, choices_file, name):
    before, manifest = contents(run), (run / "manifest.json").read_text()
    (run / name).unlink()
    assert lorerm("prepare", choices_file, "--out", run).code == 0
    assert contents(run) == before
    assert '"report"' in manifest and '"report"' in (run / "manifest.json").read_text(), "later steps stay"


@pytest.mark.parametrize("name", ["embeddings/embeddings-00001-of-00001.safetensors", "embeddings/encoder.json"])
def test_missing_file_is_made_again(lorerm, run, name):
    before, manifest = contents(run), (run / "manifest.json").read_text()
    (run / name).unlink()
    assert lorerm("embed", run).code == 0
    assert contents(run) == before
    assert '"report"' in manifest and '"report"' in (run / "manifest.json").read_text(), "what follows stays"


@pytest.mark.parametrize("name", ["comparisons.parquet", "responses.parquet", "embeddings/encoder.json"])
def test_damage_is_one_line(refuses, run, name):
    """Of the same size, so that only reading the file shows the damage."""
    (run / name).write_bytes(b"x" * (run / name).stat().st_size)
    (run / "embeddings" / "embeddings-00001-of-00001.safetensors").unlink()
    refuses(
        "embed" if "responses" in name else "train",
        run,
        *([] if "responses" in name else ["--seed", 1]),
        names=[name.split("/")[-1]],
    )
