"""What the report found, in sentences: the headline and the readings beside the tables."""

from __future__ import annotations

from lorerm.reporting import reading
from lorerm.reporting.phrases import accuracy, count, interval, percent, points
from lorerm.reporting.reading import Record

_PEOPLE = {"test_unseen": "people never seen", "test_seen": "people seen in training"}
# The personal model before it knows the person. It is another one than that of rank 1, which is trained for itself.
_SHARED = "the same model with average weights (its shared direction)"
_ONE = "one direction trained for everybody (K = 1)"


def headline(report: Record) -> str:
    """Answer in one sentence whether personal weights help, and by how much.

    The answer is about unseen users on test prompts, and about seen users where the data have no unseen ones. A
    difference whose 95% interval contains 0 is called no clear difference.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Returns
    -------
    str
        One sentence, with its full stop.
    """
    chosen, focus = report["chosen_rank"], reading.focus_rank(report)
    if focus < 2:
        return _impersonal_headline(report, chosen)
    if chosen >= 2 or not reading.was_validated(report):
        return _personal_headline(report, focus)
    best = _gain(report, focus)
    what = _impersonal(chosen)
    if best is not None and _verdict(best) == "gain":
        return (
            f"Validation chose {what}, yet on the test prompts rank {best['rank']} adds {points(best['mean'])} points "
            f"(95% interval {interval(best['ci95'])}) for {_PEOPLE[best['cell']]}, over {_SHARED}."
        )
    return f"Validation chose {what}: personal weights do not help on these data."


def _personal_headline(report: Record, rank: int) -> str:
    """Answer for a run whose chosen rank is personal."""
    gain = _gain(report, rank)
    if gain is None:
        name, found = _answer_cell(report, rank)
        if found is None:
            return f"Rank {rank} was fitted; no pairs on test prompts were left to measure it on."
        return (
            f"With rank {rank}, {percent(found['mean'])}% of the choices of {_PEOPLE[name]} are predicted; "
            f"no comparison with {_SHARED} was made."
        )
    change = points(gain["mean"])
    at_rank = "" if rank == report["chosen_rank"] else f" at rank {rank}"
    compared = f"for {_PEOPLE[gain['cell']]}{at_rank}, over {_SHARED}"
    if gain["ci95"] is None:
        return (
            f"Personal weights change accuracy by {change} points {compared}; "
            f"{count(gain['n_users'], 'user')} gives no interval, so this may be chance."
        )
    bounds = f"(95% interval {interval(gain['ci95'])})"
    verdict = _verdict(gain)
    if verdict == "gain":
        return f"Personalisation adds {change} points {bounds} {compared}{_from_when(report, gain)}."
    if verdict == "loss":
        return f"Personalisation costs {change[1:]} points {bounds} {compared}."
    return f"No clear difference: personal weights change accuracy by {change} points {bounds} {compared}."


def _from_when(report: Record, gain: Record) -> str:
    """Say from how many answers on a new person gains for sure; nothing where that is not known."""
    shots = report.get("shots")
    if gain["cell"] != "test_unseen" or not shots or shots["rank"] != gain["rank"] or shots["clear_from"] is None:
        return ""
    return f"; the gain is clear from {count(shots['clear_from'], 'answer')} on"


def _impersonal_headline(report: Record, chosen: int) -> str:
    """Answer for a run in which no personal rank was trained."""
    what = _impersonal(chosen)
    name, found = _answer_cell(report, chosen)
    if found is None:
        return f"This run fitted {what}, and no pairs on test prompts were left to measure it on."
    return (
        f"This run has {what}, which predicts {percent(found['mean'])}% of the choices of {_PEOPLE[name]}; "
        "personal weights were not tried."
    )


def _impersonal(rank: int) -> str:
    """Name what rank 0 or 1 is."""
    return "the reference head alone" if rank == 0 else "one direction for everybody"


def _answer_cell(report: Record, rank: int) -> tuple[str, Record | None]:
    """Return the cell that the headline is about, and its value at a rank: unseen users before seen ones."""
    entry = reading.rank_entry(report, rank)
    for name in ("test_unseen", "test_seen"):
        found = reading.cell(entry, name)
        if found is not None:
            return name, found
    return "test_seen", None


def _gain(report: Record, rank: int) -> Record | None:
    """Return the difference against the shared direction that the headline is about, unseen users before seen ones."""
    for name in ("test_unseen", "test_seen"):
        found = reading.difference(report, rank, "shared_direction", name)
        if found is not None:
            return found
    return None


def _verdict(difference: Record) -> str:
    """Say whether a difference is a gain, a loss, or unclear: its 95% interval contains 0, or it has none."""
    if difference["ci95"] is None:
        return "unclear"
    low, high = difference["ci95"]
    if low > 0:
        return "gain"
    return "loss" if high < 0 else "unclear"


def supporting(report: Record) -> str:
    """Say what stands behind the headline: the accuracy reached, the gain in the cell it left out, and over K = 1."""
    focus = reading.focus_rank(report)
    rank = focus if not reading.was_validated(report) else report["chosen_rank"]
    entry = reading.rank_entry(report, rank)
    reached = [
        f"{accuracy(found)}% of the choices of {people}"
        for name, people in _PEOPLE.items()
        if (found := reading.cell(entry, name)) is not None
    ]
    sentences = [f"On prompts not trained on, rank {rank} predicts {' and '.join(reached)}."] if reached else []
    headlined = _gain(report, focus) if rank >= 2 else None
    for name, people in _PEOPLE.items():
        found = reading.difference(report, focus, "shared_direction", name)
        if found is not None and found is not headlined:
            sentences.append(_change(focus, found, people, "its shared direction"))
    found = headlined and reading.difference(report, focus, "bradley_terry", headlined["cell"])
    if headlined and found is not None:
        sentences.append(_change(focus, found, _PEOPLE[headlined["cell"]], _ONE))
    return " ".join(sentences)


def _change(rank: int, difference: Record, people: str, other: str) -> str:
    """Say what a rank changes against something else."""
    bounds = f" (95% interval {interval(difference['ci95'])})" if difference["ci95"] is not None else ""
    clear = "" if _verdict(difference) != "unclear" else ": no clear difference"
    change = points(difference["mean"])
    return f"For {people}, rank {rank} changes accuracy by {change} points{bounds} over {other}{clear}."


def really_personal(report: Record) -> str | None:
    """Say whether the weights belong to their users: what swapping them does. None where that was not measured."""
    rank = reading.focus_rank(report)
    for name, people in _PEOPLE.items():
        swap = reading.difference(report, rank, "other_users_weights", name)
        if swap is None or swap["ci95"] is None:
            continue
        change, bounds = points(swap["mean"]), f"(95% interval {interval(swap['ci95'])})"
        verdict = _verdict(swap)
        if verdict == "gain":
            return (
                f"Yes: for {people}, their own weights do {change[1:]} points {bounds} better than another user's. "
                "The weights belong to their users."
            )
        if verdict == "loss":
            return f"No: for {people}, their own weights do {change[1:]} points {bounds} worse than another user's."
        return (
            f"Not clearly: for {people}, their own weights and another user's differ by {change} points {bounds}, "
            "an interval that contains 0. Whatever is gained need not come from knowing the person."
        )
    return None
