"""Fixtures of the tests that run on Ray."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def tiny_model(tiny_models):
    """The folder of a reward model with two layers and random weights."""
    return str(tiny_models.folder())
