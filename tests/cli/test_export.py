"""`lorerm export`: a run's model for one user, loaded and scored by transformers alone."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lorerm.errors import ConfigError, RunError, UnknownUserError
from small_choices import choices, write_lines
from tiny_models import CHATML, TinyModels


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A trained run on a tiny reward model, with a chat template of its own."""
    from lorerm.cli import main

    folder = tmp_path_factory.mktemp("export")
    base = TinyModels(folder / "models").folder()
    rows = [{**row, "chosen": row["chosen"][:30], "rejected": row["rejected"][:30]} for row in choices(4, 8)]
    answers = write_lines(folder / "few.jsonl", rows)
    (folder / "template").write_text("! " + CHATML)
    options = ["--chat-template", folder / "template", "--ranks", 1, 2]
    run = folder / "run"
    for arguments in (["prepare", answers, "--out", run], ["embed", run, "--model", base, *options[:2]]):
        assert main([str(argument) for argument in arguments]) == 0
    assert main(["train", str(run), "--ranks", "1", "2"]) == 0
    return run, base


def test_the_exported_model_scores_as_the_run_does(lorerm, embedded, tmp_path):
    run, base = embedded
    outcome = lorerm("export", run, "--user", "user-00", "--model", base, "--out", tmp_path / "net")
    assert outcome.code == 0, outcome
    assert "LlamaForSequenceClassification with 1 logit" in outcome.out
    candidates = write_lines(tmp_path / "c.jsonl", [{"prompt": "Tea?", "response": text} for text in ("a", "Yes, tea")])
    scored = lorerm("score", run, "--user", "user-00", "--data", candidates)
    expected = torch.tensor([json.loads(line)["reward"] for line in scored.out.splitlines()])
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "net").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "net")
    chats = [
        [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": text}] for text in ("a", "Yes, tea")
    ]
    rows = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        found = network(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("who", ["--population", "--basis"])
def test_the_population_and_the_basis(lorerm, embedded, tmp_path, who):
    run, _ = embedded
    outcome = lorerm("export", run, who, "--rank", 2, "--out", tmp_path / "net")
    assert outcome.code == 0, outcome
    directions = json.loads((run / "models" / "rank-2" / "config.json").read_text())["fitted_rank"]
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "net")
    assert network.score.out_features == (1 if who == "--population" else directions)


def test_what_cannot_be_exported(refuses, embedded, run, imported, tmp_path):
    with_model, _ = embedded
    out = ("--out", tmp_path / "net")
    refuses("export", with_model, "--user", "nobody", *out, error=UnknownUserError, names=["'nobody'"], argument="user")
    refuses("export", run, "--population", *out, error=ConfigError, names=[run, "--model"])
    refuses("export", run, "--population", "--model", embedded[1], *out, names=["lorerm-hashing"])
    refuses("export", imported, "--population", *out, error=RunError, names=["'train'", "`lorerm train`"])
    assert not (tmp_path / "net").exists()
