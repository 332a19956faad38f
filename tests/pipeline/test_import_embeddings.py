"""The step that takes embeddings made elsewhere."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from lorerm import EmbeddedPreferences, HashingEncoder
from lorerm.embedding.external.embeddings import read_matrix_and_comparisons
from lorerm.errors import DataError, RunError
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import SplitConfig
from lorerm.pipeline.folder import RunFolder, is_imported
from lorerm.pipeline.import_embeddings import import_embeddings
from refusals import refused
from small_choices import comparisons, write_lines, write_matrix


def import_into(tmp_path, rows, **options):
    matrix, table = write_matrix(tmp_path / "m.safetensors"), write_lines(tmp_path / "t.jsonl", rows)
    run = RunFolder.create(tmp_path / "imported")
    files = [matrix, table, *options.values()]
    import_embeddings(run, files, lambda: read_matrix_and_comparisons(matrix, table, **options), SplitConfig())
    return run


def test_import_keeps_a_prompt_on_one_side(tmp_path):
    """Without prompt ids the pair of rows is the unit, whichever was chosen."""
    data = EmbeddedPreferences.load(import_into(tmp_path, comparisons()).path)
    sides = {prompt: cell.split("_")[0] for prompt, cell in zip(data.prompt_ids, data.splits, strict=True)}
    assert all(sides[p] == c.split("_")[0] for p, c in zip(data.prompt_ids, data.splits, strict=True))
    assert set(sides.values()) == {"train", "test"}


def test_import_honours_given_splits(tmp_path):
    rows = [{**row, "split": "test" if i % 15 < 5 else "train"} for i, row in enumerate(comparisons())]
    run = import_into(tmp_path, rows)
    sizes = run.result("embed")["cells"]
    assert sizes["test_seen"]["n_pairs"] + sizes["test_unseen"]["n_pairs"] == 30


def test_an_import_without_test_comparisons_is_refused_and_can_be_repeated(tmp_path):
    with refused(DataError):
        import_into(tmp_path, [{**row, "prompt_id": "same"} for row in comparisons()])
    import_into(tmp_path, comparisons())


def test_import_reads_a_head_of_its_own_file(tmp_path):
    save_file({"reference": torch.ones(4)}, tmp_path / "head.safetensors")
    run = import_into(tmp_path, comparisons(), reference=tmp_path / "head.safetensors")
    assert EmbeddedPreferences.load(run.path).reference.tolist() == [1, 1, 1, 1]
    assert len(run.arguments("embed")["input"]) == 3


def test_text_and_imported_embeddings_do_not_share_a_folder(run, tmp_path):
    imported = import_into(tmp_path, comparisons())
    assert is_imported(imported)
    assert not is_imported(run)
    with refused(RunError, str(run.path)):
        import_embeddings(run, [], lambda: None, SplitConfig())
    with refused(RunError, str(imported.path)):
        steps.prepare(imported, ["simulated"], SplitConfig())
    with refused(RunError, f"lorerm train {imported.path}"):
        steps.embed(imported, HashingEncoder, {"model": None})
