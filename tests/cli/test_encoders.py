"""Which encoder the options mean, and which one a run was made with."""

from __future__ import annotations

import argparse

import pytest

from lorerm import HashingEncoder
from lorerm.cli import encoders
from lorerm.cli.encoders import add_encoder_options, encoder_settings, make_encoder, run_encoder
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_encoder_options(parser)
    return parser.parse_args(arguments)


def test_default_is_the_embedded_encoder():
    parsed = parse()
    assert encoder_settings(parsed) == {"model": None}
    assert isinstance(make_encoder(encoder_settings(parsed), parsed), HashingEncoder)


def test_settings_are_what_decides_the_numbers(tmp_path):
    """Not where it runs, and not whether its code is trusted: a run folder must not carry trust to whoever opens it."""
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
def test_option_of_a_model_without_one(option):
    with pytest.raises(ConfigError, match=f"{option[0]} is about a model"):
        encoder_settings(parse(*option))


def test_template_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        encoder_settings(parse("--model", "m", "--chat-template", str(tmp_path / "none")))


def test_run_is_read_with_the_encoder_that_made_it(done):
    assert run_encoder(RunFolder.open(done), parse()).identity == HashingEncoder().identity


def test_run_of_a_model_is_read_as_it_came_out_then(monkeypatch, tmp_path):
    """A branch that moved, and "auto" on another device, would give other numbers."""
    run = RunFolder.create(tmp_path / "run")
    identity = {"dtype": "bfloat16", "revision": "abc123"}
    run.step("embed", encoder_settings(parse("--model", "org/m")), lambda: lambda: {"encoder": identity}, outputs=())
    monkeypatch.setattr(encoders, "make_encoder", lambda settings, parsed: settings)
    settings = run_encoder(RunFolder.open(tmp_path / "run"), parse())
    assert (settings["model"], settings["dtype"], settings["revision"]) == ("org/m", "bfloat16", "abc123")
