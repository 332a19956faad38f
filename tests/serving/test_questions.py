"""The expected accuracy that the server reports; `tests/model/test_acquisition.py` tests the choice of questions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorerm.errors import DataError
from lorerm.model.posterior import Posterior
from lorerm.serving.questions import expected_accuracy
from refusals import refused

ZEROS = torch.zeros(1, 808)


def posterior(mean, variance):
    return Posterior(torch.tensor(mean).double(), variance * torch.eye(3).double())


def test_the_accuracy_lies_between_a_coin_toss_and_that_of_known_weights(model):
    candidates = torch.cat([ZEROS, torch.from_numpy(np.random.default_rng(0).standard_normal((1, 808))).float()])
    z = (candidates[1] @ model.basis).double() / model.temperature
    assert expected_accuracy(model, posterior([0.0, 0.0, 0.0], 1e-12), candidates) == pytest.approx(0.5)
    known = expected_accuracy(model, posterior([1.0, 0.0, 0.0], 1e-12), candidates)
    assert known == pytest.approx(float(torch.sigmoid(z[0].abs())), abs=1e-6)
    assert 0.5 < expected_accuracy(model, posterior([1.0, 0.0, 0.0], 4.0), candidates) < known


def test_equal_candidates_are_a_coin_toss(model):
    assert expected_accuracy(model, posterior([1.0, 1.0, 1.0], 1.0), ZEROS.repeat(3, 1)) == pytest.approx(0.5)


def test_infinite_candidates_are_rejected(model):
    with refused(DataError, "NaN"):
        expected_accuracy(model, posterior([1.0, 1.0, 1.0], 1.0), torch.tensor([[3e38], [-3e38]]).repeat(1, 808))
