"""The steps of a run, called from Python; the tests in `tests/cli` call them through the command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lorerm import EmbeddedPreferences, HashingEncoder, TrainingConfig, train
from lorerm.data.splits import SplitConfig
from lorerm.data.stored import load_preferences
from lorerm.embedding.external.embeddings import read_matrix_and_comparisons
from lorerm.errors import ConfigError, DataError, RunError
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import Experiment, stored_experiment
from lorerm.pipeline.folder import RunFolder, is_imported
from lorerm.pipeline.forget import forget
from lorerm.pipeline.layout import alpha_name
from lorerm.pipeline.models import load_model, load_trained
from lorerm.pipeline.sources import Source
from lorerm.pipeline.steps import import_embeddings
from refusals import refused
from small_choices import choices, comparisons, contents, write_lines, write_matrix


def test_prepared_comparisons_have_their_splits(finished):
    kept = load_preferences(finished.path)
    result = finished.result("prepare")
    assert len(kept) == result["n_pairs"]
    counted = {cell: int((kept.splits == cell).sum()) for cell in result["cells"]}
    assert counted == {cell: size["n_pairs"] for cell, size in result["cells"].items()}


def test_the_store_holds_the_prepared_comparisons(finished):
    kept, data = load_preferences(finished.path), EmbeddedPreferences.load(finished.path)
    assert list(data.user_ids) == list(kept.user_ids)
    assert list(data.splits) == list(kept.splits)
    assert data.encoder == HashingEncoder().identity


def test_comparisons_beyond_the_limits_are_left_out(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    data = str(write_lines(tmp_path / "c.jsonl", choices()))
    result = steps.prepare(run, Source([data], Experiment(split={"max_pairs_seen": 3, "max_pairs_unseen": 2})))
    assert result["n_pairs"] < result["n_pairs_read"] == 120
    assert (
        max(size["n_pairs"] / max(1, size["n_users"]) for name, size in result["cells"].items() if "train" in name) <= 3
    )


def test_default_ranks_go_as_far_as_the_data_allow(run):
    """6 seen users, no reference head."""
    assert steps.train(run, TrainingConfig())["ranks"] == [1, 2, 3, 4, 5]


def test_order_of_the_ranks_changes_no_byte(run, finished):
    shutil.rmtree(run.path / "models")
    steps.train(run, TrainingConfig(), [2, 1])
    steps.report(run)
    assert contents(run.path) == contents(finished.path)


def test_other_adaptation_makes_another_report(run):
    before = contents(run.path)
    Experiment(adapt={"recipe": "paper", "steps": 3}).write(run.path)
    with refused(ConfigError):
        steps.report(run)
    Experiment(train={"recipe": "paper"}, adapt={"recipe": "paper", "steps": 3}).write(run.path)
    steps.train(run, TrainingConfig(recipe="paper", steps=5), [2])
    steps.report(run)
    report = json.loads((run.path / "report" / "report.json").read_text())
    assert report["config"]["adaptation"]["steps"] == 3
    assert contents(run.path) != before


def test_steps_out_of_order_are_refused(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    with refused(RunError, str(run.path), "'prepare'"):
        steps.embed(run, HashingEncoder, {"model": None})
    with refused(RunError, str(run.path), "'embed'"):
        steps.train(run, TrainingConfig())
    with refused(RunError, str(run.path), "'train'"):
        steps.report(run)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused_and_changes_nothing(run, seed):
    before = contents(run.path)
    with refused(ConfigError, str(seed), argument="seed"):
        steps.train(run, TrainingConfig(seed=seed), [1])
    assert contents(run.path) == before


def test_ranks_that_the_data_do_not_allow_are_refused_or_left_out(run):
    """6 seen users, no reference head."""
    with refused(ConfigError, "rank 50", "6", argument="ranks"):
        steps.train(run, TrainingConfig(), [0, 2, 50])
    assert steps.train(run, TrainingConfig(), [0, 2, 50], strict=False)["ranks"] == [2]


def test_several_alphas_have_models_and_a_report_each(tmp_path):
    """As the published `alpha_list` and `K_list`: every rank for every alpha."""
    run = RunFolder.create(tmp_path / "run")
    matrix = write_matrix(tmp_path / "m.safetensors", reference=torch.ones(4))
    table = write_lines(tmp_path / "t.jsonl", comparisons())
    import_embeddings(run, [matrix, table], lambda: read_matrix_and_comparisons(matrix, table), SplitConfig())
    config = TrainingConfig(recipe="paper", steps=5)
    result = steps.train(run, config, [1, 2], [0.0, 10.0])
    assert result["alphas"] == [0.0, 10.0]
    assert result["chosen_alpha"] in (0.0, 10.0)
    for alpha in (0.0, 10.0):
        for rank in (1, 2):
            model = load_trained(run, rank, alpha)
            assert model.training["config"]["alpha"] == alpha
            alone = train_alone(run, replace(config, rank=rank, alpha=alpha))
            assert torch.equal(model.basis, alone.basis)
    assert not (run.path / "models" / "rank-1").exists()

    steps.report(run)
    for alpha in ("alpha-0", "alpha-10"):
        folder = run.path / "report" / alpha
        assert (folder / "figures" / "accuracy_by_rank.png").exists()
        content = json.loads((folder / "report.json").read_text())
        assert content["config"]["training"]["alpha"] == float(alpha.split("-")[1])
        assert (run.path / "models" / alpha / "rank-2" / "unseen.safetensors").exists()
    best = alpha_name(result["chosen_alpha"])
    same = [(run.path / "report" / part / "report.json").read_bytes() for part in ("", best)]
    assert same[0] == same[1], "the report of the run is that of the chosen alpha"
    assert load_model(run).training["config"]["alpha"] == result["chosen_alpha"]

    before = contents(run.path)
    stamp = (run.path / "models" / "alpha-0" / "rank-1" / "model.safetensors").stat().st_mtime_ns
    assert steps.train(run, config, [1, 2], [0.0, 10.0, 100.0])["alphas"] == [0.0, 10.0, 100.0]
    assert (run.path / "models" / "alpha-0" / "rank-1" / "model.safetensors").stat().st_mtime_ns == stamp
    after = contents(run.path)
    assert {name for name in before if name.startswith("models") and "unseen" not in name} <= set(after)


def train_alone(run, config):
    """Train with the library alone."""
    data = EmbeddedPreferences.load(run.path)
    return train(data.select(np.flatnonzero(np.asarray(data.splits) == "train_seen")), config)


def test_alphas_have_no_meaning_in_the_default_recipe(run):
    before = contents(run.path)
    with refused(ConfigError, "alpha"):
        steps.train(run, TrainingConfig(), [1], [1.0, 2.0])
    assert contents(run.path) == before


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
        steps.prepare(imported, Source(["simulated"]))
    with refused(RunError, f"lorerm train {imported.path}"):
        steps.embed(imported, HashingEncoder, {"model": None})


@pytest.mark.parametrize("is_stored", [True, False])
def test_the_experiment_is_stored_where_the_later_verbs_need_it(tmp_path, is_stored):
    run, data = RunFolder.create(tmp_path / "run"), str(write_lines(tmp_path / "c.jsonl", choices()))
    experiment = Experiment(train={"ranks": [0, 1, 2, 50]})
    steps.prepare(run, Source([data], experiment, is_stored=is_stored))
    assert stored_experiment(run.path) == (experiment if is_stored else Experiment())


def same_last_turn(rows, n):
    """Let both responses of the comparisons on every `n`-th prompt end in the same turn."""
    thanks = [{"role": "user", "content": "Thanks"}, {"role": "assistant", "content": "Welcome."}]
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    changed = set(prompts[::n])
    sides = ("chosen", "rejected")
    for row in rows:
        messages = {side: [{"role": "assistant", "content": row[side]}] for side in sides}
        tail = thanks if row["prompt"] in changed else []
        yield row | {side: messages[side] + tail for side in sides}


def test_comparisons_that_look_the_same_to_the_encoder_are_counted_in_every_step(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    log = write_lines(tmp_path / "log.jsonl", list(same_last_turn(choices(), 3)))
    steps.prepare(run, Source([str(log)]))
    (sentence,) = steps.embed(run, HashingEncoder, {"model": None})["warnings"]
    assert "40 of 120" in sentence
    (in_training,) = steps.train(run, TrainingConfig(), [1])["warnings"]
    assert f"of {run.result('prepare')['cells']['train_seen']['n_pairs']}" in in_training
    steps.report(run)
    data = json.loads((run.path / "report" / "report.json").read_text("utf-8"))["data"]
    assert data["n_same"] == 40
    assert data["warnings"].count(sentence) == 1


def test_comparisons_that_nearly_all_look_the_same_stop_the_step_embed(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    log = write_lines(tmp_path / "log.jsonl", list(same_last_turn(choices(), 1)))
    steps.prepare(run, Source([str(log)]))
    with refused(DataError, argument="responses"):
        steps.embed(run, HashingEncoder, {"model": None})
    with refused(RunError):
        steps.train(run, TrainingConfig(), [1])


def test_weights_that_teach_nothing_are_reported_by_every_step(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    rows = choices()
    log = write_lines(tmp_path / "log.jsonl", [row | {"weight": 1 / len(rows)} for row in rows])
    assert any("sum to 1:" in sentence for sentence in steps.prepare(run, Source([str(log)]))["warnings"])
    steps.embed(run, HashingEncoder, {"model": None})
    assert len(steps.train(run, TrainingConfig(), [1])["warnings"]) == 1
    steps.report(run)
    data = json.loads((run.path / "report" / "report.json").read_text("utf-8"))["data"]
    assert data["total_weight"] == pytest.approx(1)


@pytest.mark.parametrize("value", [1e12, -3e38, np.nan])
def test_an_import_with_a_garbage_row_names_it_and_stores_nothing(tmp_path, value):
    matrix = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    matrix[7] = value
    save_file({"responses": torch.from_numpy(matrix)}, tmp_path / "bad.safetensors")
    table = write_lines(tmp_path / "t.jsonl", comparisons())
    run = RunFolder.create(tmp_path / "imported")
    files = [tmp_path / "bad.safetensors", table]
    with refused(DataError, "row 7", argument="responses"):
        import_embeddings(run, files, lambda: read_matrix_and_comparisons(*files), SplitConfig())
    assert not (run.path / "embeddings").exists()


def test_ids_that_look_the_same_are_warned_of_until_their_user_is_forgotten(tmp_path):
    rows = [
        {**row, "user_id": "user-03 "} if row["user_id"] == "user-03" and number % 2 else row
        for number, row in enumerate(choices())
    ]
    run = RunFolder.create(tmp_path / "run")
    steps.prepare(run, Source([str(write_lines(tmp_path / "choices.jsonl", rows))]))
    (warning,) = [text for text in run.result("prepare")["warnings"] if "'user-03 '" in text]
    assert "2 user ids" in warning
    forget(run, ["user-03 "])
    assert warning not in run.result("prepare")["warnings"]
