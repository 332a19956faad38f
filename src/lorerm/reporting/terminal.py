"""Terminal output of the report, the few-shot curve and the comparison of runs, for a width of 100 columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lorerm.evaluation.report import FewShotCurve, Report, RunComparison
from lorerm.reporting.outline import outline
from lorerm.reporting.sentences import few_shot_result
from lorerm.reporting.tables import Row, Table, comparison_tables, control_table, few_shot_table, rank_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable


def report_blocks(report: Report) -> list[RenderableType]:
    """Return the report for a `rich.console.Console`: the summary, and the table of all splits.

    The rank that validation chose is marked. The rows below the line repeat the rank that the report
    discusses (`Report.focus_rank`) with other weights than each user's own.
    """
    from rich.padding import Padding
    from rich.text import Text

    ranks, controls = rank_table(report), control_table(report)
    legend = [f"{ranks.caption}; ▸ marks the chosen rank."]
    if controls is not None:
        legend.append(f"Below the line: rank {report.focus_rank} with other weights.")
    table = _frame(ranks.columns, "", [*legend, *ranks.notes, *(() if controls is None else controls.notes)])
    for row in ranks.rows:
        _add_row(table, row, "▸ " if row.chosen else "  ", end_section=row is ranks.rows[-1])
    for row in controls.rows[1:] if controls is not None else ():
        _add_row(table, row, "  ")
    found = outline(report)
    opening = (found.summary, f"What to do next: {found.next_step}", found.further)
    leaks = (f"Leak warning: {text}" for text in found.leak_warnings)
    checks = (f"To check: {text}" for text in found.checks)
    texts = [Text(found.headline, style="bold"), *(Text(text) for text in (*opening, *leaks, *checks) if text)]
    return [*(Padding(text, (0, 1)) for text in texts), table]


def few_shot_block(curve: FewShotCurve) -> RichTable:
    """Return the table of a few-shot curve; its title says what the curve shows."""
    numbers = few_shot_table(curve)
    return _table(numbers, few_shot_result(curve), (f"{numbers.caption}.", *numbers.notes))


def comparison_blocks(comparison: RunComparison) -> list[RichTable]:
    """Return the accuracies of several runs, and their differences from the first run, as tables."""
    return [_table(table, table.caption, table.notes) for table in comparison_tables(comparison)]


def _table(table: Table, title: str, notes: Iterable[str]) -> RichTable:
    found = _frame(table.columns, title, notes)
    for row in table.rows:
        _add_row(found, row)
    return found


def _frame(columns: tuple[str, ...], title: str, notes: Iterable[str]) -> RichTable:
    """Return a table without rows; `Text` objects keep Rich from reading brackets in the texts as markup."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(
        title=Text(title, style="bold") if title else None,
        caption=Text(" ".join(notes)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name.replace(", ", ",\n"), justify="right", overflow="fold")
    return table


def _add_row(table: RichTable, row: Row, mark: str = "", *, end_section: bool = False) -> None:
    from rich.text import Text

    style = "bold" if row.chosen else ""
    table.add_row(*(Text(text, style=style) for text in (mark + row.heading, *row.values)), end_section=end_section)
