"""What routes have in common."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm.errors import DataError
from lorerm.serving.errors import ApiError
from lorerm.serving.metrics import Metrics
from lorerm.serving.routes.shared import Service
from lorerm.serving.served import Served
from lorerm.serving.settings import Settings


@pytest.fixture
def service(folder):
    return Service(Served(Settings(str(folder), "sqlite:///x")), None, None, Metrics())


def test_equal_rows_have_equal_rewards_whatever_is_beside_them(service, model):
    """To the last digit, so that equal documents keep their order."""
    rng = np.random.default_rng(0)
    row, weights = rng.standard_normal(808).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    expected = row.astype(np.float64) @ (model.basis.double().numpy() @ weights)
    found = {reward for n in (1, 2, 3, 7, 64) for reward in service.rewards(np.tile(row, (n, 1)), weights)}
    assert len(found) == 1
    assert found.pop() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_cannot_be_computed_with_is_refused(service, value):
    with pytest.raises(DataError):
        service.rewards(np.full((2, 808), value, dtype=np.float32), np.ones(3, dtype=np.float32))


def test_one_model_is_served(service):
    service.check_model(None)
    service.check_model("model")
    with pytest.raises(ApiError):
        service.check_model("Model")
