"""Fixtures of the encoders' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test modules are imported by path, so helpers beside them are found only when their folder is named.
sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import TinyModels


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Model folders with two layers and random weights, built on first use."""
    return TinyModels(tmp_path_factory.mktemp("models"))
