"""Feedback for one basis is projected on another: exactly if differences were kept, else by a fitted map."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm.serving.carry_over import fit_map, keep, project

RNG = np.random.default_rng(0)
DIFFERENCES = RNG.standard_normal((500, 64)).astype(np.float32)
BASIS = RNG.standard_normal((64, 3)).astype(np.float32)


def test_kept_differences_are_projected_up_to_the_rounding_of_float16():
    stored = keep(DIFFERENCES, 10**9)
    assert len(stored) == 2 * DIFFERENCES.size
    np.testing.assert_allclose(project(stored, 500, BASIS), DIFFERENCES @ BASIS, atol=0.02)


def test_images_in_a_random_projection_are_closer_the_larger_they_are():
    errors = []
    for dimensions in (8, 32, 63):
        stored = keep(DIFFERENCES, dimensions)
        assert len(stored) == 2 * 500 * dimensions
        errors.append(float(np.abs(project(stored, 500, BASIS) - DIFFERENCES @ BASIS).mean()))
    assert errors[0] > errors[1] > errors[2]


def test_differences_too_large_for_float16_are_not_kept():
    assert keep(np.full((1, 4), 1e6, np.float32), 10**9) is None


def test_a_basis_in_the_span_of_another_is_mapped_exactly():
    mixed = BASIS @ np.array([[1, 2], [0, 1], [3, 0]], np.float32)
    found = fit_map(BASIS, mixed, DIFFERENCES)
    assert found.explained == pytest.approx(1)
    np.testing.assert_allclose((DIFFERENCES @ BASIS) @ found.matrix, DIFFERENCES @ mixed, atol=1e-3)


def test_what_a_map_explains_is_measured_on_the_differences():
    """The two bases agree where embeddings vary, and differ elsewhere."""
    spread = np.where(np.arange(64) < 8, 10, 0.1).astype(np.float32)
    other = np.concatenate([BASIS[:8], RNG.standard_normal((56, 3)).astype(np.float32)])
    on_data, blind = fit_map(BASIS, other, DIFFERENCES * spread), fit_map(BASIS, other, None)
    assert (on_data.n_differences, blind.n_differences) == (500, 0)
    assert on_data.explained > 0.99 > 0.5 > blind.explained
