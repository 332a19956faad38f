"""The results of a report in sentences, for a reader who knows no statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.data.schema import SPLIT_NAMES
from lorerm.evaluation.report import Difference, Estimate, FewShotCurve, RankRow, Report, SeedStudy
from lorerm.reporting.phrases import USERS, count, interval, percent, points, rank_label

if TYPE_CHECKING:
    from collections.abc import Sequence

_ONE_RANKING = "one ranking for everybody"
# If at least this share of the predictions are ties, the report names them as a reason for finding no difference.
_MOSTLY_TIES = 0.5
_BASELINES = {
    "shared_direction": f"{_ONE_RANKING} (the population model)",
    "bradley_terry": "a single Bradley-Terry model (K = 1, trained without personal weights)",
    "reference_head": "the reference head (K = 0, not fitted to these data)",
}


def compared(estimate: Estimate, baseline: str, subject: str = "personal ranking is") -> str:
    """Say in one sentence whether a method is better than a baseline: the result, then the numbers.

    Parameters
    ----------
    estimate
        Accuracy of the method minus that of the baseline. If the 95% interval contains 0, or if there is none, the
        sentence begins with "Too few users to tell".
    baseline
        Name of the baseline.
    subject
        Name of the method, with the verb of the sentence.
    """
    bounds = f"95% interval {interval(estimate.ci95)}" if estimate.ci95 else "no 95% interval"
    numbers = f"{points(estimate.mean)} points, {bounds}"
    if estimate.is_same:
        return f"{subject.capitalize()} the same as {baseline}: 0.0 points for every user."
    if not estimate.is_clear:
        return f"Too few users to tell whether {subject} better than {baseline}: {numbers}."
    return f"{subject.capitalize()} {'better' if estimate.is_gain else 'worse'} than {baseline}: {numbers}."


def headline(report: Report) -> str:
    """Say in one sentence whether personal ranking is better than one ranking for everybody."""
    main, own = report.main_difference, _accuracy(report)
    if main is not None and _validation_chose_one(report) and main.estimate.is_gain:
        text = compared(main.estimate, "it", "yet on test prompts, personal ranking is")
        return f"Validation chose {_ONE_RANKING}, {text[0].lower()}{text[1:]}"
    if main is not None and main.estimate.is_same:
        return "No personal weights were found, so that personal ranking is the same as one ranking for everybody."
    if main is not None:
        return compared(main.estimate, _ONE_RANKING)
    if own is None:
        return "There are no comparisons on test prompts to measure the model on."
    predicts = f"predicts {percent(own.mean)}% of the comparisons on test prompts"
    if report.focus_rank < 2:
        return f"{_ONE_RANKING.capitalize()} {predicts}; personal ranking was not trained."
    return f"Personal ranking {predicts}; it was not compared with {_ONE_RANKING}."


def _accuracy(report: Report) -> Estimate | None:
    """Return the accuracy on test prompts, at the rank that the report describes in detail (focus rank).

    It is the accuracy for unseen users, or for seen users if there are no unseen users.
    """
    found = (report.accuracy(report.focus_rank, split) for split in USERS)
    return next((accuracy for accuracy in found if accuracy is not None), None)


def _validation_chose_one(report: Report) -> bool:
    return report.was_validated and report.chosen_rank < 2 <= report.focus_rank


def summary(report: Report) -> str:
    """Explain the headline: the data, the users, the accuracies, and how certain the difference is."""
    data, main = report.data, report.main_difference
    source = f" (source: {data.source})" if data.source else ""
    sentences = [
        f"The data are {count(data.n_comparisons, 'comparison')} by {count(data.n_users, 'user')}{source}; in each "
        "comparison, a user preferred one of two responses to a prompt."
    ]
    if _validation_chose_one(report):
        sentences.append(
            f"Validation chose {_ONE_RANKING} (rank {report.chosen_rank}); rank {report.focus_rank} shows what "
            "personal ranking would change."
        )
    if main is not None:
        sentences += [_which_users(report, main), _how_much(report, main), _how_sure(report, main)]
    return " ".join(sentence for sentence in sentences if sentence)


def _which_users(report: Report, main: Difference) -> str:
    data = report.data
    if main.split == "test_seen":
        return "The accuracies are for seen users: the model was trained on their comparisons on other prompts."
    size = data.splits.get("train_unseen")
    own = f"{size.mean_pairs:.0f} comparisons" if size is not None else "comparisons"
    return (
        f"The model was trained on {count(data.n_seen_users)} of the users. The other {count(data.n_unseen_users)} "
        "(the unseen users) show how well it works for a new user: for each of them, personal weights were fitted to "
        f"{own} of their own on average."
    )


def _how_much(report: Report, main: Difference) -> str:
    own, other = report.accuracy(main.rank, main.split), report.baseline_accuracy(main)
    if own is None or other is None:
        return ""
    names = {
        "shared_direction": "population model",
        "bradley_terry": "single Bradley-Terry model, K = 1",
        "reference_head": "reference head, K = 0",
    }
    return (
        f"On prompts that were not used in training, personal ranking predicts {percent(own.mean)}% of the "
        f"comparisons of the {USERS[main.split]}, and {_ONE_RANKING} (the {names[main.against]}) "
        f"{percent(other.mean)}%."
    )


def _how_sure(report: Report, main: Difference) -> str:
    estimate = main.estimate
    difference = f"The difference is {points(estimate.mean)} percentage points"
    if estimate.ci95 is None:
        return f"{difference}; one user alone says nothing about other users."
    if estimate.is_same:
        limits = _limits(report, main.split)
        why = f" These data could not show a difference: {'; '.join(limits)}." if limits else ""
        return f"There is no difference for any user, but that does not show that users agree.{why}"
    if estimate.is_clear:
        meaning = f"is {'above' if estimate.is_gain else 'below'} 0, so chance alone hardly explains the difference"
    else:
        meaning = "contains 0, so personal ranking may be better or worse"
    return (
        f"{difference}, 95% interval {interval(estimate.ci95)}: the range in which the difference is expected "
        f"for all users and prompts of the same kind. The interval {meaning}."
    )


def _limits(report: Report, split: str) -> list[str]:
    """Say why the data could not have shown a gain from personal weights, one clause for each reason."""
    data, found = report.data, []
    if report.looks_the_same:
        same = f"{count(data.n_same)} of {count(data.n_comparisons, 'comparison')}"
        found.append(f"in {same}, both responses look the same to the encoder")
    if report.counts_as_little:
        found.append(f"the weights of all comparisons together sum to only {data.total_weight:.3g}")
    own = report.accuracy(report.focus_rank, split)
    if own is not None and own.n_comparisons and (own.n_ties or 0) >= _MOSTLY_TIES * own.n_comparisons:
        ties = f"{count(own.n_ties)} of {count(own.n_comparisons, 'prediction')} are ties"
        found.append(f"{ties}, because the model prefers neither response")
    if not report.can_show(split, 0.01):
        tested = count(data.splits[split].n_pairs, "comparison")
        found.append(f"{tested} on test prompts are too few to tell a gain of 1 point from chance")
    return found


def checks(report: Report) -> tuple[str, ...]:
    """Return warnings about accuracies that more likely show a fault in the data than a result."""
    found = (
        (
            report.below_half,
            "Less than half of the comparisons that the model was fitted to are predicted",
            "Check that chosen and rejected are not exchanged, and that all rows of a user id come from one user",
        ),
        (
            report.always_wrong,
            "No comparison is predicted",
            "Check that chosen and rejected are not exchanged on train or on test prompts",
        ),
        (
            report.always_right,
            "Every comparison is predicted",
            "Unless the data are few or simulated, check if something other than taste reveals the chosen response",
        ),
    )
    return tuple(f"{what}: {_listed(rows)}. {remedy}." for rows, what, remedy in found if rows)


def _listed(rows: Sequence[tuple[RankRow, str]]) -> str:
    """Name models and splits: ``personal weights (K = 2) for seen users, test prompts; ...``."""
    by_label: dict[str, list[str]] = {}
    for row, split in rows:
        by_label.setdefault(rank_label(row), []).append(SPLIT_NAMES[split])
    return "; ".join(f"{label} for {' and '.join(names)}" for label, names in by_label.items())


def _fault_to_remove(report: Report) -> str | None:
    """Return a sentence that says what to correct in the data, or None if no fault was found."""
    leaks = report.data.leaks
    if leaks is not None and leaks.warnings:
        return "Remove the leak that the warning describes; until then the accuracies mean little."
    if report.looks_the_same:
        return (
            "Choose an encoder, a chat template or a maximum length that keeps what differs between responses, and run "
            "again; until then the accuracies mean little."
        )
    if report.counts_as_little:
        return "Divide the weights of the comparisons by their mean, and run again; they are too small to learn from."
    return None


def next_step(report: Report) -> str:
    """Recommend the next step, given the results of the report."""
    main, fault = report.main_difference, _fault_to_remove(report)
    if fault is not None:
        return fault
    if report.focus_rank < 2:
        return "Train personal ranks (2 or more) to see whether personal ranking is better."
    if main is None:
        return "Evaluate again with users who have comparisons on test prompts."
    if main.estimate.is_same:
        return "Collect more comparisons, of more users and more of each user, and run again."
    if main.estimate.is_loss:
        return f"Use {_ONE_RANKING}."
    if not main.estimate.is_clear:
        return f"Collect comparisons from more users and run again. Until then, {_ONE_RANKING} is the simpler choice."
    if main.against != "shared_direction":
        return "Repeat with other seeds: validation and test prompts disagree."
    for against, doubt in (
        ("bradley_terry", "personal ranking is not clearly better than a single Bradley-Terry model (K = 1)"),
        ("other_users_weights", "the gain does not clearly come from each user's own weights"),
    ):
        other = report.difference(main.rank, against, main.split)
        if other is not None and not other.estimate.is_gain:
            return f"Collect comparisons from more users before relying on the gain: {doubt}."
    clear = report.clear_from
    ask = "" if clear is None else f", and collect at least {count(clear, 'comparison')} from each new user"
    return f"Use personal ranking (rank {main.rank}){ask}."


def further(report: Report) -> str:
    """Compare the focus rank (the rank in the headline) with the other baselines, and for the other group of users."""
    main = report.main_difference
    if main is None:
        return ""
    wanted = [(main.split, against) for against in _BASELINES if against != main.against]
    wanted += [(split, main.against) for split in USERS if split != main.split]
    return " ".join(
        compared(found.estimate, f"{_BASELINES[against]} for {USERS[split]}")
        for split, against in wanted
        if (found := report.difference(main.rank, against, split)) is not None
    )


def is_personal(report: Report) -> str | None:
    """Say whether own weights are better than another user's; return None if this was not measured."""
    for split, users in USERS.items():
        found = report.difference(report.focus_rank, "other_users_weights", split)
        if found is None or found.estimate.ci95 is None:
            continue
        text = compared(found.estimate, f"those of another user for {users}", "own weights are")
        if found.estimate.is_clear:
            return f"{'Yes' if found.estimate.is_gain else 'No'}. {text}"
        return f"{text} A gain over {_ONE_RANKING} need not come from knowing the user."
    return None


def few_shot_result(curve: FewShotCurve) -> str:
    """Say from how many few-shot comparisons on personal weights are better than the population weights."""
    if curve.clear_from is None:
        return "Too few users to tell from how many few-shot comparisons on personal ranking is better."
    return f"Personal ranking is better from {count(curve.clear_from, 'few-shot comparison')} on."


def seeds_note(seeds: SeedStudy) -> str:
    """Say which rank validation chose with each seed, and what the columns of the tables over seeds mean."""
    chosen = ", ".join(f"rank {rank}" for rank in seeds.chosen_ranks)
    return (
        f"Split and training were repeated with the seeds {', '.join(map(str, seeds.seeds))}; validation chose "
        f"{chosen}. Between seeds: standard deviation of the seeds' means. Within a seed: standard error over users "
        "and prompts for one seed. From training alone: the part of the standard deviation between seeds that exceeds "
        "this standard error; 0 means that the seeds differ no more than other users and prompts would."
    )
