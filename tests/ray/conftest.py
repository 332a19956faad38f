"""Fixtures of the engines' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test modules are imported by path, so helpers are found only when their folder is named.
sys.path.insert(0, str(Path(__file__).parents[1] / "embedding"))

from tiny_models import TinyModels


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The folder of a reward model with two layers and random weights."""
    return str(TinyModels(tmp_path_factory.mktemp("models")).folder())
