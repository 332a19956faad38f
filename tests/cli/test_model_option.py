"""The command with a transformer model (`--model`) instead of the built-in encoder."""

from __future__ import annotations

import json
import shutil

import pytest

from lorerm.errors import ModelError, RunError
from small_choices import MARK, choices, contents, write_lines


@pytest.fixture(scope="module")
def reward_model(tiny_models):
    """The folder of a two-layer reward model."""
    return tiny_models.folder()


@pytest.fixture
def few(tmp_path):
    """Comparisons of three users on six prompts, short enough for the tiny model."""
    rows = [{**row, "chosen": row["chosen"][:30], "rejected": row["rejected"][:30]} for row in choices(3, 6)]
    return write_lines(tmp_path / "few.jsonl", rows)


def test_every_step_with_a_reward_model(lorerm, refuses, tmp_path, reward_model, few):
    model = shutil.copytree(reward_model, tmp_path / "model")
    run = tmp_path / "run"
    arguments = ["run", few, "--out", run, "--model", model, "--ranks", 1]
    outcome = lorerm(*arguments)
    assert outcome.code == 0, outcome
    assert MARK not in outcome.out + outcome.err
    assert "No values for the reference head" not in outcome.out
    store = json.loads((run / "embeddings" / "encoder.json").read_text())
    assert (store["encoder"]["model"], store["encoder"]["dtype"]) == (str(model), "float32")
    assert (run / "embeddings" / "reference.safetensors").exists()

    candidates = write_lines(tmp_path / "c.jsonl", [{"prompt": "p", "responses": ["a", "b"]}])
    assert lorerm("score", run, "--user", "user-00", "--data", candidates).code == 0
    assert lorerm("adapt", run, "--data", few).code == 0

    before = contents(run)
    refuses(*arguments, "--dtype", "bfloat16", error=RunError, names=[": dtype"])
    assert contents(run) == before

    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    refuses("score", run, "--user", "user-00", "--data", candidates, error=ModelError, names=[model])


def test_interrupted_run_is_not_continued_with_another_model(lorerm, refuses, tmp_path, reward_model, few):
    """The embeddings that exist are those of the first model."""
    run = tmp_path / "run"
    assert lorerm("prepare", few, "--out", run).code == 0
    assert lorerm("embed", run).code == 0
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["steps"]["embed"]["finished"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / "embeddings" / "encoder.json").unlink()
    names = ["lorerm-hashing", f"delete {run / 'embeddings'}"]
    refuses("embed", run, "--model", reward_model, error=RunError, names=names)
    assert lorerm("embed", run).code == 0


@pytest.mark.parametrize("option", [("--device", "cuda:7"), ("--batch-tokens", "0"), ("--max-length", "3")])
def test_after_an_impossible_option_another_can_be_chosen(lorerm, refuses, tmp_path, reward_model, few, option):
    run = tmp_path / "run"
    assert lorerm("prepare", few, "--out", run).code == 0
    line = refuses("embed", run, "--model", reward_model, *option)
    assert MARK not in line
    assert lorerm("embed", run, "--model", reward_model).code == 0


def test_conversation_that_is_too_long_is_named_by_user_and_prompt(refuses, lorerm, tmp_path, reward_model):
    rows = [{**row, "chosen": row["chosen"][:30], "rejected": row["rejected"][:30]} for row in choices(2, 6)]
    rows = [{**row, "prompt_id": f"prompt-{number}"} for number, row in enumerate(rows)]
    rows[4] |= {"prompt_id": "far", "chosen": MARK * 200, "user_id": "talker"}
    run = tmp_path / "run"
    assert lorerm("prepare", write_lines(tmp_path / "long.jsonl", rows), "--out", run, "--unseen-users", 0).code == 0
    assert MARK not in refuses("embed", run, "--model", reward_model, names=["chosen", "'talker'", "'far'"])


def test_manifest_records_the_encoder_and_how_it_ran(lorerm, tmp_path, reward_model):
    """Shortened prompts are reported on the screen, in the manifest and in the report."""
    rows = [{**row, "chosen": row["chosen"][:30], "rejected": row["rejected"][:30]} for row in choices(3, 6)]
    rows[0] |= {"prompt": "tea " * 400}
    run = tmp_path / "run"
    outcome = lorerm(
        "run", write_lines(tmp_path / "cut.jsonl", rows), "--out", run, "--model", reward_model, "--ranks", 1
    )
    assert outcome.code == 0, outcome
    step = json.loads((run / "manifest.json").read_text())["steps"]["embed"]
    result = step["result"]
    assert step["machine"].keys() >= {"python", "torch", "transformers", "tokenizers"}
    assert len(result["encoder"].pop("revision")) == len(result["encoder"].pop("template")) == 64
    assert result["encoder"] == {
        "model": str(reward_model), "pooling": "last-token", "dtype": "float32", "max_length": 256, "dimension": 32
    }  # fmt: skip
    assert result["running"] == {
        "device": "cpu",
        "attention": "sdpa",
        "batch_tokens": 2048,
        "shares_prefixes": True,
        "unshared_reason": None,
    }
    assert (result["remarks"]["shortened"], result["remarks"]["checked"]) == (2, 3)
    assert 0 <= result["remarks"]["deviation"] < 1e-5
    (warning,) = result["warnings"]
    assert "256 tokens" in warning
    assert f": 2 of {result['n_conversations']}." in warning
    assert f"warning: {warning}" in outcome.err
    assert warning in json.loads((run / "report" / "report.json").read_text())["data"]["warnings"]
