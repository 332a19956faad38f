"""The headline and the readings say what the numbers say, no more."""

from __future__ import annotations

import pytest

from lorerm.reporting.sentences import headline, really_personal, supporting

SHARED = "the same model with average weights (its shared direction)"


def difference(report, against="shared_direction", cell="test_unseen", rank=None):
    """Return the row of a report's differences, to be changed."""
    rank = report["chosen_rank"] if rank is None else rank
    return next(
        row for row in report["differences"] if (row["rank"], row["against"], row["cell"]) == (rank, against, cell)
    )


@pytest.mark.parametrize(
    ("mean", "ci95", "sentence"),
    [
        (
            0.014,
            [0.004, 0.024],
            "Personalisation adds +1.4 points (95% interval +0.4 to +2.4) "
            f"for people never seen, over {SHARED}; the gain is clear from 20 answers on.",
        ),
        (
            -0.012,
            [-0.02, -0.004],
            f"Personalisation costs 1.2 points (95% interval −2.0 to −0.4) for people never seen, over {SHARED}.",
        ),
        (
            0.003,
            [-0.005, 0.011],
            "No clear difference: personal weights change accuracy by +0.3 points (95% interval −0.5 to +1.1) "
            f"for people never seen, over {SHARED}.",
        ),
    ],
)
def test_headline_follows_the_interval(rich_report, mean, ci95, sentence):
    difference(rich_report).update(mean=mean, ci95=ci95)
    assert headline(rich_report) == sentence


@pytest.mark.parametrize("change", [{"shots": None}, {"rank": 3}, {"clear_from": None}])
def test_without_a_clear_gain_on_the_way_the_headline_says_nothing_of_it(rich_report, change):
    difference(rich_report).update(mean=0.014, ci95=[0.004, 0.024])
    rich_report["shots"] = None if "shots" in change else rich_report["shots"] | change
    assert headline(rich_report).endswith(f"over {SHARED}.")


@pytest.mark.parametrize("ci95", [[0.0, 0.02], [-0.02, 0.0]])
def test_an_interval_that_touches_zero_is_not_clear(rich_report, ci95):
    difference(rich_report).update(mean=sum(ci95) / 2, ci95=ci95)
    assert headline(rich_report).startswith("No clear difference")


def test_one_user_gives_no_interval(rich_report):
    difference(rich_report).update(mean=0.1, ci95=None, stderr=None, n_users=1)
    assert "1 user gives no interval" in headline(rich_report)


def test_headline_of_seen_users_where_nobody_is_unseen(seen_only_report):
    assert "for people seen in training" in headline(seen_only_report)


def test_validation_may_choose_one_direction(impersonal_report):
    expected = "Validation chose one direction for everybody: personal weights do not help on these data."
    assert headline(impersonal_report) == expected


def test_validation_that_the_test_prompts_contradict_is_not_hidden(impersonal_report):
    difference(impersonal_report, rank=3).update(mean=0.02, ci95=[0.01, 0.03])
    assert headline(impersonal_report) == (
        "Validation chose one direction for everybody, yet on the test prompts rank 3 adds +2.0 points "
        f"(95% interval +1.0 to +3.0) for people never seen, over {SHARED}."
    )


def test_nothing_is_said_of_validation_where_there_was_none(impersonal_report):
    """The published recipes have no validation pairs: the headline is then about the largest rank."""
    for entry in impersonal_report["ranks"]:
        entry["selection"] = None
    difference(impersonal_report, rank=3).update(mean=0.02, ci95=[0.01, 0.03])
    assert headline(impersonal_report) == (
        f"Personalisation adds +2.0 points (95% interval +1.0 to +3.0) for people never seen at rank 3, over {SHARED}."
    )


def test_headline_without_personal_ranks(impersonal_report):
    impersonal_report["ranks"] = impersonal_report["ranks"][:2]
    assert "personal weights were not tried" in headline(impersonal_report)


def test_headline_without_differences(rich_report):
    rich_report["differences"] = []
    assert f"no comparison with {SHARED} was made" in headline(rich_report)


def test_supporting_has_both_accuracies_and_the_other_gain(rich_report):
    text = supporting(rich_report)
    assert text.count("% of the choices of") == 2
    assert text.count("For people seen in training, rank 4 changes accuracy by") == 1


def test_supporting_tells_the_shared_direction_from_one_trained_for_everybody(rich_report):
    difference(rich_report, "bradley_terry").update(mean=0.011, ci95=[0.002, 0.02])
    assert supporting(rich_report).endswith(
        "For people never seen, rank 4 changes accuracy by +1.1 points (95% interval +0.2 to +2.0) "
        "over one direction trained for everybody (K = 1)."
    )


@pytest.mark.parametrize(
    ("ci95", "start"), [([0.01, 0.03], "Yes:"), ([-0.03, -0.01], "No:"), ([-0.01, 0.03], "Not clearly:")]
)
def test_swapped_weights_tell_whether_it_is_personal(rich_report, ci95, start):
    difference(rich_report, "other_users_weights").update(mean=sum(ci95) / 2, ci95=ci95)
    assert really_personal(rich_report).startswith(start)


def test_nothing_is_said_of_swaps_that_were_not_made(rich_report):
    rich_report["differences"] = []
    assert really_personal(rich_report) is None
