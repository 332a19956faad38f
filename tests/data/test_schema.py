import math

import numpy as np
import pytest

from lorerm.data.schema import SPLITS, parse_split, parse_weight
from lorerm.errors import DataError
from refusals import refused


@pytest.mark.parametrize("weight", [0, -1, math.inf, "many", True])
def test_weight_must_be_positive_and_finite(weight):
    with refused(DataError, column="weight"):
        parse_weight(weight)


@pytest.mark.parametrize(
    ("given", "weight"), [(None, 1.0), (math.nan, 1.0), (2, 2.0), (np.float32(0.5), 0.5), ("0.5", 0.5)]
)
def test_weight_is_a_number_and_1_where_there_is_none(given, weight):
    assert parse_weight(given) == weight


@pytest.mark.parametrize(
    ("given", "expected"),
    [("train", "train"), ("TEST ", "test"), ("validation", "test"), ("valid", "test"), ("val", "test"), ("dev", "test")]
    + [(None, None), ("", None), (math.nan, None), ("unused", "unused")]
    + [(name, name) for name in SPLITS],
)
def test_names_of_splits(given, expected):
    assert parse_split(given) == expected


@pytest.mark.parametrize("name", ["holdout", 1, True, []])
def test_unknown_split(name):
    with refused(DataError, column="split"):
        parse_split(name)
