"""The spread over seeds equals a calculation by hand."""

from dataclasses import replace

import pytest

from lorerm.evaluation.report import SeedEvaluation
from lorerm.evaluation.seeds import CHOICE, spread_over_seeds


def moved(report, by, chosen=None):
    """The evaluation of another seed, whose accuracies are all higher by `by`."""
    ranks = []
    for row in report.ranks:
        accuracies = {name: replace(one, mean=one.mean + by) for name, one in (row.accuracies or {}).items()}
        ranks.append(replace(row, accuracies=accuracies or None))
    return SeedEvaluation(tuple(ranks), report.differences, chosen or report.chosen_rank)


def spread_of(found, rank, split="test_seen"):
    return next(row.accuracies[split] for row in found.ranks if row.rank == rank)


def test_spread_by_hand(report):
    found = spread_over_seeds({0: report, 9: moved(report, 0.12), 5: moved(report, 0.06)})
    assert found.seeds == (0, 5, 9)
    accuracy = report.accuracy(2, "test_seen")
    spread = spread_of(found, 2)
    assert spread.mean == pytest.approx(accuracy.mean + 0.06)
    assert spread.std_seeds == pytest.approx(0.06)
    assert spread.stderr_seeds == pytest.approx(0.06 / 3**0.5)
    assert spread.stderr_within == pytest.approx(accuracy.stderr_two_way)
    assert spread.std_fit == pytest.approx(max(0, 0.06**2 - accuracy.stderr_two_way**2) ** 0.5)
    assert spread.n_seeds == 3


def test_equal_seeds_leave_nothing_to_the_fit(report):
    spread = spread_of(spread_over_seeds({0: report, 1: report}), 3)
    assert (spread.std_seeds, spread.std_fit) == (0, 0)
    assert spread.stderr_within > 0


def test_the_choice_is_each_seeds_own(report):
    chosen = report.chosen_rank
    assert chosen > 1
    found = spread_over_seeds({0: report, 1: moved(report, 0, chosen=1)})
    assert found.chosen_ranks == (chosen, 1)
    own, one = (report.accuracy(rank, "test_seen").mean for rank in (chosen, 1))
    assert spread_of(found, CHOICE).mean == pytest.approx((own + one) / 2)
    gain = next(
        row.spread
        for row in found.differences
        if (row.rank, row.against, row.split) == (CHOICE, "shared_direction", "test_seen")
    )
    # The seed that chose rank 1 gains nothing over its own shared direction.
    own_gain = report.difference(chosen, "shared_direction", "test_seen").estimate
    assert gain.mean == pytest.approx(own_gain.mean / 2)


def test_a_rank_that_a_seed_lacks_has_no_spread(report):
    fewer = replace(moved(report, 0), ranks=tuple(row for row in report.ranks if row.rank != 2))
    found = spread_over_seeds({0: report, 1: fewer})
    assert spread_of(found, 2) is None
    assert spread_of(found, 3) is not None


def test_one_seed_has_no_spread(report):
    spread = spread_of(spread_over_seeds({0: report}), 2)
    assert (spread.std_seeds, spread.stderr_seeds, spread.std_fit) == (None, None, None)
