"""Projected comparisons: projection, selection of users, and joining."""

import pytest
import torch

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.model.projected import ProjectedComparisons


def comparisons(*users, start=0):
    """One comparison per entry, whose projections are its number."""
    numbers = torch.arange(start, start + len(users)).float()
    return ProjectedComparisons(numbers[:, None].expand(-1, 2), numbers + 1, torch.tensor(users, dtype=torch.int64))


def as_lists(kept):
    return kept.user.tolist(), kept.projected[:, 0].tolist(), kept.count.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_projections_are_differences_times_the_basis_grouped_by_user(dtype):
    generator = torch.Generator().manual_seed(0)
    responses, basis = torch.randn(6, 3, generator=generator).to(dtype), torch.randn(3, 2, generator=generator)
    data = EmbeddedPreferences.from_arrays(responses, [0, 2, 4], [1, 3, 5], ["u", "v", "u"], weights=[1, 2, 3])
    ids, kept = ProjectedComparisons.of(data, basis)
    assert ids == ("u", "v")
    assert kept.user.tolist() == [0, 0, 1]
    assert kept.count.tolist() == [1, 3, 2]
    full = responses.float()
    expected = torch.stack([full[0] - full[1], full[4] - full[5], full[2] - full[3]]) @ basis
    torch.testing.assert_close(kept.projected, expected)


def test_taking_users_renumbers_them_in_the_order_given():
    kept = comparisons(0, 0, 2, 3)
    assert as_lists(kept.take(torch.tensor([2, 1, 0]))) == ([0, 2, 2], [2, 0, 1], [3, 1, 2])
    assert as_lists(kept.take(torch.tensor([-1, 3]))) == ([1], [3], [4])
    assert len(kept.take(torch.tensor([], dtype=torch.int64))) == 0


def test_joining_groups_by_user_with_earlier_comparisons_first():
    assert as_lists(comparisons(0, 2).join(comparisons(0, 1, start=10))) == (
        [0, 0, 1, 2],
        [0, 10, 11, 1],
        [1, 11, 12, 2],
    )


def test_concatenation_keeps_the_order_of_the_parts():
    assert as_lists(ProjectedComparisons.concatenate([comparisons(0, 1), comparisons(2, start=5)])) == (
        [0, 1, 2],
        [0, 1, 5],
        [1, 2, 6],
    )
    assert ProjectedComparisons.empty(3).projected.shape == (0, 3)
