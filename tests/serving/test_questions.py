"""How well the model expects to know a person; what to ask them is tested where it is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorerm.errors import DataError
from lorerm.model.posterior import Posterior
from lorerm.serving.questions import expected_accuracy

FIRST = torch.zeros(1, 808)


def posterior(mean, variance):
    return Posterior(torch.tensor(mean).double(), variance * torch.eye(3).double())


def test_nothing_known_is_a_toss_up_and_certainty_is_the_choices_own_noise(model):
    candidates = torch.cat([FIRST, torch.from_numpy(np.random.default_rng(0).standard_normal((1, 808))).float()])
    z = (candidates[1] @ model.basis).double() / model.temperature
    assert expected_accuracy(model, posterior([0.0, 0.0, 0.0], 1e-12), candidates) == pytest.approx(0.5)
    sure = expected_accuracy(model, posterior([1.0, 0.0, 0.0], 1e-12), candidates)
    assert sure == pytest.approx(float(torch.sigmoid(z[0].abs())), abs=1e-6)
    assert 0.5 < expected_accuracy(model, posterior([1.0, 0.0, 0.0], 4.0), candidates) < sure


def test_equal_candidates_cannot_be_told_apart(model):
    assert expected_accuracy(model, posterior([1.0, 1.0, 1.0], 1.0), FIRST.repeat(3, 1)) == pytest.approx(0.5)


def test_infinite_candidates_are_refused(model):
    with pytest.raises(DataError):
        expected_accuracy(model, posterior([1.0, 1.0, 1.0], 1.0), torch.tensor([[3e38], [-3e38]]).repeat(1, 808))
