"""What is rounding and what is not."""

from __future__ import annotations

import pytest
import torch

from lorerm.embedding.transformers.tolerance import LARGEST, distance

EXPECTED = torch.tensor([3.0, 4.0])


def test_in_float32_the_greatest_component_counts():
    assert distance(EXPECTED + 5e-5, EXPECTED, "float32") == pytest.approx(1e-5, rel=0.01)


def test_in_narrow_types_the_length_of_the_difference_counts():
    assert distance(EXPECTED + torch.tensor([0.3, 0.4]), EXPECTED, "bfloat16") == pytest.approx(0.1)


def test_embedding_of_zeros_is_no_division_by_zero():
    assert distance(torch.zeros(2), torch.zeros(2), "float32") == 0
    assert distance(EXPECTED, torch.zeros(2), "float32") > LARGEST["float32"]
