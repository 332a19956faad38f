"""Runs side by side as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.reporting.phrases import accuracy, count, interval, points
from lorerm.reporting.reading import SPLIT_LABELS, Record
from lorerm.reporting.tables import console_frame

if TYPE_CHECKING:
    from rich.table import Table


def console_comparison(comparison: Record) -> list[Table]:
    """Return the runs' accuracies, and their differences where users coincide.

    Parameters
    ----------
    comparison
        As `lorerm.evaluation.comparison.compare_runs` returns it.
    """
    from rich.text import Text

    def table(title: str, caption: str, *columns: str) -> Table:
        found = console_frame(title, caption)
        for place, column in enumerate(columns):
            found.add_column(column, justify="left" if place < 1 else "right", overflow="fold")
        return found

    cells = [name for name in SPLIT_LABELS if any(run["cells"][name] for run in comparison["runs"])]
    alone = "" if comparison["paired"] else " No two users with prompts in common in one cell: nothing is paired."
    runs = table(
        "Each run by the rank that its validation chose",
        f"Accuracy in per cent, mean over users ± standard error over users.{alone}",
        "run",
        "rank",
        *(SPLIT_LABELS[name].replace(", ", ",\n") for name in cells),
    )
    for run in comparison["runs"]:
        values = [accuracy(run["cells"][name]) for name in cells]
        made = [run["source"], run["encoder"], run["recipe"] and f"recipe {run['recipe']}"]
        name = "\n".join([run["name"], *(f"  {text}" for text in made if text)])
        runs.add_row(*(Text(text) for text in (name, str(run["chosen_rank"]), *values)))
    if not comparison["paired"]:
        return [runs]
    paired = table(
        f"Accuracy minus that of {comparison['paired'][0]['against']}, in percentage points",
        "On the users and prompts that both runs have in that cell.",
        "run",
        "cell",
        "difference",
        "95% interval",
        "users",
        "pairs",
    )
    for row in comparison["paired"]:
        values = [SPLIT_LABELS[row["cell"]], points(row["mean"]), interval(row["ci95"])]
        values += [count(row["n_users"]), count(row["n_pairs"])]
        paired.add_row(*(Text(text) for text in (row["run"], *values)))
    return [runs, paired]
