"""Who gains and who does not, as tables and sentences; how far people agree."""

from __future__ import annotations

from lorerm.reporting import reading
from lorerm.reporting.content import Facts, Row, Table
from lorerm.reporting.phrases import count, interval, percent, points
from lorerm.reporting.reading import SPLIT_LABELS, Record

LISTED = 12
"""How many of the people served worse are named; `report.json` has all."""


def worse_served(report: Record) -> Table | None:
    """Return the people whom their own weights serve worse than the shared direction, the largest losses first.

    None where the report does not say who gains; a table without rows where nobody loses.
    """
    people = [row for rows in reading.people_of(report).values() for row in rows]
    if not people:
        return None
    losing = sorted((row for row in people if row["gain"] < -1e-5), key=lambda row: float(row["gain"]))
    clearly = sum(row["ci95"][1] < 0 for row in losing)
    rows = tuple(
        Row(
            str(row["user_id"]),
            (
                points(row["gain"]),
                interval(row["ci95"]),
                count(row["n_answers"]),
                count(row["n_pairs"]),
                SPLIT_LABELS[row["cell"]].split(",")[0],
            ),
        )
        for row in losing[:LISTED]
    )
    by_chance = 0.025 * len(people)
    notes = [
        f"{count(len(losing))} of {count(len(people), 'person', 'people')} are served worse; for {count(clearly)} the "
        f"interval lies below 0. If nobody lost or gained, about {by_chance:.0f} would be there by chance."
    ]
    if len(losing) > LISTED:
        notes.append(f"The {LISTED} largest losses; report.json names everybody.")
    columns = ("Person", "gain", "95% interval", "answers", "test pairs", "who")
    return Table("People served worse than by the shared direction, in percentage points", columns, rows, tuple(notes))


def agreement_facts(report: Record) -> Facts:
    """Return how often two people agree, in their choices and by their models; empty where that is not known."""
    found = report.get("agreement") or {}
    facts = []
    if found.get("choices"):
        choices = found["choices"]
        facts.append(
            (
                "two people who judged the same two responses chose alike",
                f"{percent(choices['share'])}% of {count(choices['n_compared'])} comparisons",
            )
        )
    if found.get("models"):
        models = found["models"]
        facts.append(
            (f"two people's own weights (rank {models['rank']}) prefer the same", f"{percent(models['share'])}%")
        )
    return tuple(facts)
