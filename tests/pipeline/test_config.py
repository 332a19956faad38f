"""The split's settings are those that the split takes."""

from __future__ import annotations

import inspect
from dataclasses import fields

from lorerm.data.splits import assign_splits
from lorerm.pipeline.config import SplitConfig


def test_defaults_are_the_librarys():
    parameters = inspect.signature(assign_splits).parameters
    assert {field.name: field.default for field in fields(SplitConfig)} == {
        field.name: parameters[field.name].default for field in fields(SplitConfig)
    }
