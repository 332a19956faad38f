"""An encoder's identity is written to a manifest and read back."""

from __future__ import annotations

import json

import pytest

from lorerm.embedding.encoder import EncoderIdentity
from lorerm.errors import DataError
from refusals import refused

IDENTITY = EncoderIdentity("org/model", "abc", "hash", "last-token", "float32", None, 32)


def test_survives_json():
    assert EncoderIdentity.from_dict(json.loads(json.dumps(IDENTITY.to_dict()))) == IDENTITY


@pytest.mark.parametrize(
    ("change", "named"),
    [({"dtype": None}, "dtype"), ({"colour": "red"}, "colour")],
)
def test_missing_and_unknown_fields_are_refused_by_name(change, named):
    values = {**IDENTITY.to_dict(), **change}
    if change.get("dtype", 0) is None:
        del values["dtype"]
    with refused(DataError, named):
        EncoderIdentity.from_dict(values)
