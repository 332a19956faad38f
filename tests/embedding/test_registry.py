"""Encoders known by name: their settings, recorded and read back."""

from __future__ import annotations

import dataclasses
from dataclasses import fields

import pytest
from docstring_parser import parse_from_object

from lorerm import HashingEncoder
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.embedding.hashing import HashingSettings
from lorerm.embedding.registry import (
    ENCODERS,
    build_encoder,
    identify_settings,
    pin_settings,
    read_settings,
    record_settings,
    settings_class,
)
from lorerm.embedding.transformers.last_token import TransformersSettings
from lorerm.errors import ConfigError, ModelError
from refusals import refused

OF_A_MODEL = EncoderIdentity("org/m", "abc123", "hash", "last-token", "bfloat16", 4096, 8)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_setting_has_a_help_text_and_no_name_of_another_kind(name):
    """Settings decide the embeddings, those of the execution do not: no name is both."""
    settings = settings_class(name)
    for config in (settings, settings.execution):
        texts = {parameter.arg_name: parameter.description for parameter in parse_from_object(config).params}
        assert all(texts.get(field.name) for field in fields(config))
    names = [{field.name for field in fields(config)} for config in (settings, settings.execution)]
    assert not names[0] & names[1]


def test_record_of_the_two_encoders_of_earlier_versions_is_theirs():
    """A run made by them is continued, although it does not name its encoder."""
    assert record_settings(HashingSettings()) == {"model": None}
    settings = TransformersSettings("org/m", dtype="float32", attn="sdpa")
    assert record_settings(settings) == {
        "model": "org/m",
        "revision": None,
        "dtype": "float32",
        "max_length": None,
        "attn": "sdpa",
        "chat_template": None,
    }


@pytest.mark.parametrize("settings", [HashingSettings(), TransformersSettings("org/m", max_length=9)])
def test_recorded_settings_are_read_back(settings):
    assert read_settings(record_settings(settings)) == settings


def test_unknown_encoder_and_unknown_setting_are_refused():
    with refused(ConfigError, "'colours'", argument="encoder"):
        read_settings({"encoder": "colours"})
    with refused(ModelError, "'transformers'", "'hue'", argument="hue"):
        read_settings({"model": "org/m", "hue": 3})


def test_built_in_encoder_ignores_how_a_model_runs():
    assert build_encoder({"model": None}, {"device": "cpu", "batch_tokens": 1}).identity == HashingEncoder().identity


def test_settings_and_execution_reach_the_encoder():
    """Wrong values are found by the encoder, before it loads anything."""
    with refused(ConfigError, "0", argument="batch_tokens"):
        build_encoder({"model": "none", "attn": "sdpa", "dtype": "float32"}, {"batch_tokens": 0})
    with refused(ConfigError, "float8", argument="dtype"):
        build_encoder({"model": "none", "dtype": "float8"})


def test_pinned_settings_name_what_a_branch_and_auto_meant():
    settings = TransformersSettings("org/m", revision="main", attn="eager", chat_template="t")
    pinned = pin_settings(settings, OF_A_MODEL)
    assert pinned == dataclasses.replace(settings, revision="abc123", dtype="bfloat16", max_length=4096)
    assert pin_settings(HashingSettings(), HashingEncoder().identity) == HashingSettings()


def test_settings_are_found_for_a_saved_models_identity(tmp_path):
    assert identify_settings(HashingEncoder().identity) == HashingSettings()
    expected = TransformersSettings("org/m", revision="abc123", dtype="bfloat16", max_length=4096)
    assert identify_settings(OF_A_MODEL) == expected
    in_folder = dataclasses.replace(OF_A_MODEL, model=str(tmp_path))
    assert identify_settings(in_folder) == dataclasses.replace(expected, model=str(tmp_path), revision=None)
    with refused(ModelError, "'org/m'", "'mean'"):
        identify_settings(dataclasses.replace(OF_A_MODEL, pooling="mean"))
