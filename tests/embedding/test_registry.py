"""An encoder from its settings."""

from __future__ import annotations

import pytest

from lorerm import HashingEncoder
from lorerm.embedding.registry import build_encoder
from lorerm.errors import ConfigError


def test_no_model_is_the_embedded_encoder():
    assert build_encoder({"model": None}, device="cpu", batch_tokens=1).identity == HashingEncoder().identity


def test_settings_reach_the_encoder_of_models():
    """A wrong one is found there, before anything is loaded."""
    with pytest.raises(ConfigError, match="batch_tokens is 0"):
        build_encoder({"model": "none", "attn": "sdpa", "dtype": "float32"}, batch_tokens=0)
    with pytest.raises(ConfigError, match="dtype 'float8'"):
        build_encoder({"model": "none", "dtype": "float8"})
