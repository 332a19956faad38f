"""`lorerm serve`: settings from arguments and the environment, and errors before a port is opened."""

from __future__ import annotations

import sys

import pytest

from lorerm.cli import build_parser
from lorerm.cli.serve import read_settings
from lorerm.errors import ConfigError, ModelError
from lorerm.serving.keys import known_key
from refusals import refused


@pytest.fixture
def settings_of(tmp_path, monkeypatch):
    """Read the settings from arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LORERM_DATABASE", raising=False)
    monkeypatch.delenv("LORERM_API_KEYS", raising=False)
    return lambda *arguments: read_settings(build_parser().parse_args(["serve", *map(str, arguments)]))


def test_a_run_is_served_with_its_encoder(settings_of, done):
    settings = settings_of(done)
    assert settings.encoder == {"model": None}
    assert settings.database == "sqlite:///lorerm.sqlite"
    assert settings_of(done, "--embeddings-only").encoder is None


def test_a_model_is_served_with_the_encoder_it_names(settings_of, done, tmp_path):
    from lorerm.pipeline.folder import RunFolder
    from lorerm.pipeline.models import load_model

    model = load_model(RunFolder.open(done))
    model.save_pretrained(tmp_path / "model")
    assert settings_of(tmp_path / "model").encoder == {"model": None}
    from dataclasses import replace

    named = replace(
        model.encoder, model="org/m", revision="abc", dtype="bfloat16", max_length=512, pooling="last-token"
    )
    replace(model, encoder=named).save_pretrained(tmp_path / "named")
    assert settings_of(tmp_path / "named").encoder == {
        "model": "org/m",
        "revision": "abc",
        "dtype": "bfloat16",
        "max_length": 512,
        "attn": None,
        "chat_template": None,
    }
    replace(model, encoder=None).save_pretrained(tmp_path / "unnamed")
    assert settings_of(tmp_path / "unnamed").encoder is None


def test_database_and_keys_can_come_from_the_environment(settings_of, done, tmp_path, monkeypatch):
    monkeypatch.setenv("LORERM_DATABASE", f"sqlite:///{tmp_path / 'other.sqlite'}")
    monkeypatch.setenv("LORERM_API_KEYS", "0" * 64)
    settings = settings_of(done)
    assert settings.database.endswith("other.sqlite")
    assert settings.keys == ("0" * 64,)


def test_a_header_for_the_user_needs_a_key(settings_of, done, monkeypatch):
    with refused(ConfigError, argument="user-header"):
        settings_of(done, "--user-header", "X-User-Id")
    monkeypatch.setenv("LORERM_API_KEYS", "0" * 64)
    assert settings_of(done, "--user-header", "X-User-Id").user_header == "X-User-Id"
    for name in ("", "X User", "X-User:"):
        with refused(ConfigError, argument="user-header"):
            settings_of(done, "--user-header", name)


def test_settings_for_clients_of_other_servers(settings_of, done):
    settings = settings_of(done, "--any-model", "--population", "--bounded")
    assert (settings.any_model, settings.population, settings.bounded) == (True, True, True)
    settings = settings_of(done)
    assert (settings.any_model, settings.population, settings.bounded) == (False, False, False)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--workers", "0"], ["--workers is 0"]),
        (["--timeout", "nan"], ["--timeout is nan"]),
        (["--max-body", "-1"], ["--max-body is -1"]),
        (["--cache", "-1"], ["--cache is -1"]),
        (["--database", "oracle://x/y"], ["oracle"]),
        (["--rank", "9"], ["rank 9"]),
        (["--api-keys", "none"], ["none"]),
        (["--user-header", "X-User-Id"], ["--user-header"]),
        (["--host", "0.0.0.0"], ["0.0.0.0"]),  # noqa: S104
    ],
)
def test_bad_settings_are_refused(refuses, done, tmp_path, monkeypatch, arguments, names):
    monkeypatch.chdir(tmp_path)
    refuses("serve", done, "--port", "0", *arguments, names=names)


def test_a_folder_without_a_model(refuses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuses("serve", tmp_path, "--port", "0", error=ModelError, names=[tmp_path])


def test_a_new_key_is_printed_with_its_line(lorerm):
    outcome = lorerm("serve", "--new-key")
    assert outcome.code == 0
    key, line = (text.rpartition(" ")[2] for text in outcome.out.splitlines())
    assert known_key(f"Bearer {key}".encode(), (line,))


def test_without_its_dependencies_the_error_names_the_extra(refuses, done, monkeypatch):
    monkeypatch.setitem(sys.modules, "lorerm.serving.processes", None)
    refuses("serve", done, error=ConfigError, names=["pip install 'lorerm[serve]'"])
