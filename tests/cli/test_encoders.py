"""Encoders built from options and from a manifest, and a newly registered encoder in every subcommand."""

from __future__ import annotations

import argparse
import json

import pytest

from lorerm import HashingEncoder, LowRankRewardModel
from lorerm.cli.encoders import (
    add_encoder_options,
    encoder_settings,
    make_encoder,
    run_encoder,
    run_encoder_settings,
    uses_gpu,
)
from lorerm.embedding.registry import ENCODERS
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder
from refusals import refused
from small_choices import choices, write_lines


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_encoder_options(parser)
    return parser.parse_args(arguments)


def test_default_is_the_built_in_encoder():
    parsed = parse()
    assert encoder_settings(parsed) == encoder_settings(parse("--encoder", "hashing")) == {"model": None}
    assert isinstance(make_encoder(encoder_settings(parsed), parsed), HashingEncoder)


def test_settings_are_what_decides_the_embeddings(tmp_path):
    """Not the device, nor trust in a model's code, which a run folder must not pass on to another user."""
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages }}")
    parsed = parse("--model", "m", "--chat-template", str(template), "--device", "cpu", "--trust-remote-code")
    assert encoder_settings(parsed) == {
        "model": "m",
        "revision": None,
        "dtype": "auto",
        "max_length": None,
        "attn": None,
        "chat_template": "{{ messages }}",
    }


@pytest.mark.parametrize(
    "option", [("--revision", "main"), ("--dtype", "float32"), ("--max-length", "5"), ("--attn", "sdpa")]
)
def test_setting_of_another_encoder_is_refused(option):
    with refused(ConfigError, option[0], "'hashing'", "--model", argument=option[0][2:].replace("-", "_")):
        encoder_settings(parse(*option))


def test_required_setting_is_asked_for():
    with refused(ConfigError, "'transformers'", "--model", argument="model"):
        encoder_settings(parse("--encoder", "transformers"))


def test_template_that_cannot_be_read(tmp_path):
    with refused(ConfigError, str(tmp_path / "none"), argument="chat_template"):
        encoder_settings(parse("--model", "m", "--chat-template", str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], False), (["--model", "m"], True), (["--model", "m", "--device", "cpu"], False)],
)
def test_only_a_model_that_is_not_on_the_cpu_uses_a_gpu(options, expected):
    parsed = parse(*options)
    assert uses_gpu(encoder_settings(parsed), parsed) == expected


def test_run_is_read_with_the_encoder_that_made_it(done):
    assert run_encoder(RunFolder.open(done), parse()).identity == HashingEncoder().identity


def test_run_of_a_model_is_read_as_it_was_resolved_then(tmp_path):
    """A branch that moved, and "auto" on another device, would give other embeddings."""
    run = RunFolder.create(tmp_path / "run")
    identity = {"model": "org/m", "revision": "abc123", "dtype": "bfloat16", "pooling": "last-token"}
    identity |= {"template": "hash", "max_length": 64, "dimension": 8}
    options = parse("--model", "org/m", "--attn", "eager")
    run.step("embed", encoder_settings(options), lambda: lambda: {"encoder": identity})
    settings = run_encoder_settings(RunFolder.open(tmp_path / "run"))
    assert settings == {**encoder_settings(options), "revision": "abc123", "dtype": "bfloat16", "max_length": 64}


NEW_ENCODER = '''
"""Counts of characters."""

from dataclasses import dataclass

import numpy as np

from lorerm.embedding.encoder import EncoderIdentity, EncoderSettings, Execution


class CountingEncoder:
    reference = None
    reference_reason = "it counts"

    def __init__(self, characters):
        self.characters = characters
        self.identity = EncoderIdentity("counts", None, characters, "sum", "float32", None, len(characters))

    def encode(self, conversations, progress=None):
        texts = [conversation[-1]["content"] for conversation in conversations]
        rows = [[text.count(character) for character in self.characters] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, len(self.characters))


@dataclass(frozen=True)
class CountingExecution(Execution):
    """Running it."""

    speed: int | None = None
    """how fast it counts; None: as it can"""


@dataclass(frozen=True)
class CountingSettings(EncoderSettings):
    """Encoder that counts characters."""

    execution = CountingExecution

    characters: str = "aeiou"
    """which ones"""

    def build(self, execution):
        assert execution.speed in (None, 3)
        return CountingEncoder(self.characters)

    @classmethod
    def of_identity(cls, identity):
        return cls(identity.template) if identity.model == "counts" else None
'''


@pytest.fixture
def new_encoder(tmp_path, monkeypatch):
    """An encoder added as a user would: one module, and one line in the registry."""
    (tmp_path / "counting_characters.py").write_text(NEW_ENCODER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ENCODERS, "counting", "counting_characters:CountingSettings")


def test_new_encoder_is_one_module_and_one_line(lorerm, refuses, new_encoder, choices_file, tmp_path):
    """Its options are in the help; embedding, training and scoring use it, also from a saved model."""
    run = tmp_path / "run"
    assert "--characters STR" in lorerm("embed", "--help").out
    assert "--speed INT" in lorerm("score", "--help").out
    options = ["--encoder", "counting", "--characters", "aeiouy.!", "--speed", 3]
    assert lorerm("run", choices_file, "--out", run, "--ranks", 1, *options).code == 0
    recorded = json.loads((run / "manifest.json").read_text())["steps"]["embed"]
    assert recorded["arguments"] == {"encoder": "counting", "model": None, "characters": "aeiouy.!"}
    assert recorded["result"]["encoder"]["dimension"] == 8

    candidates = write_lines(tmp_path / "c.jsonl", [{"prompt": "p", "responses": ["a", "y!", "eee"]}])
    out = lorerm("score", run, "--user", "user-00", "--data", candidates).out
    assert sorted(entry["index"] for entry in json.loads(out)["ranking"]) == [0, 1, 2]
    assert lorerm("adapt", run, "--data", write_lines(tmp_path / "n.jsonl", choices(2, 6))).code == 0

    saved = tmp_path / "saved"
    LowRankRewardModel.from_pretrained(run / "models" / "rank-1").save_pretrained(saved)
    settings = served_settings(saved, tmp_path)
    assert settings.encoder == recorded["arguments"]

    assert "other input or settings" in refuses("embed", run)
    line = refuses("embed", run, "--characters", "xyz")
    assert "--characters" in line
    assert "--encoder counting" in line


def served_settings(saved, folder):
    """The settings of a server of a saved model."""
    from lorerm.cli.serve import add_arguments, read_settings

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_settings(parser.parse_args([str(saved), "--database", f"sqlite:///{folder / 'users.sqlite'}"]))
