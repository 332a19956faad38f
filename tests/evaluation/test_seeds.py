"""Spread over seeds: by hand."""

import copy

import pytest

from lorerm.evaluation.evaluate import measure
from lorerm.evaluation.seeds import spread_over_seeds


@pytest.fixture(scope="module")
def report(models, cells):
    return measure(models, cells)


def moved(report, by, chosen=None):
    """The report of another seed, whose accuracies are all higher by `by`."""
    other = copy.deepcopy(report)
    for entry in other["ranks"]:
        for cell in (entry["cells"] or {}).values():
            cell["mean"] += by
    other["chosen_rank"] = chosen or report["chosen_rank"]
    return other


def figure(found, rank, cell="test_seen"):
    return next(row["cells"][cell] for row in found["ranks"] if row["rank"] == rank)


def test_spread_by_hand(report):
    found = spread_over_seeds({0: report, 5: moved(report, 0.06), 9: moved(report, 0.12)})
    assert found["seeds"] == [0, 5, 9]
    cell = next(entry for entry in report["ranks"] if entry["rank"] == 2)["cells"]["test_seen"]
    spread = figure(found, 2)
    assert spread["mean"] == pytest.approx(cell["mean"] + 0.06)
    assert spread["std_seeds"] == pytest.approx(0.06)
    assert spread["stderr_seeds"] == pytest.approx(0.06 / 3**0.5)
    assert spread["stderr_within"] == pytest.approx(cell["stderr_two_way"])
    assert spread["std_fit"] == pytest.approx(max(0, 0.06**2 - cell["stderr_two_way"] ** 2) ** 0.5)
    assert spread["n_seeds"] == 3


def test_seeds_that_agree_leave_nothing_to_the_fit(report):
    spread = figure(spread_over_seeds({0: report, 1: report}), 3)
    assert (spread["std_seeds"], spread["std_fit"]) == (0, 0)
    assert spread["stderr_within"] > 0


def test_the_choice_is_each_seeds_own(report):
    assert report["chosen_rank"] > 1
    found = spread_over_seeds({0: report, 1: moved(report, 0, chosen=1)})
    assert found["chosen_ranks"] == [report["chosen_rank"], 1]
    own, one = (
        next(entry for entry in report["ranks"] if entry["rank"] == rank)["cells"]["test_seen"]["mean"]
        for rank in (report["chosen_rank"], 1)
    )
    assert figure(found, "choice")["mean"] == pytest.approx((own + one) / 2)
    gain = next(
        row for row in found["differences"]
        if (row["rank"], row["against"], row["cell"]) == ("choice", "shared_direction", "test_seen")
    )  # fmt: skip
    own_gain = next(
        row for row in report["differences"]
        if (row["rank"], row["against"], row["cell"]) == (report["chosen_rank"], "shared_direction", "test_seen")
    )  # fmt: skip
    assert gain["mean"] == pytest.approx(own_gain["mean"] / 2)


def test_one_seed_has_no_spread(report):
    spread = figure(spread_over_seeds({0: report}), 2)
    assert (spread["std_seeds"], spread["stderr_seeds"], spread["std_fit"]) == (None, None, None)
