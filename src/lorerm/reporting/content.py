"""The report's tables as plain values, before any medium: Markdown, the terminal and the page all draw these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lorerm.reporting import reading
from lorerm.reporting.phrases import (
    NOTHING,
    accuracy,
    against_label,
    count,
    field_name,
    interval,
    percent,
    percent_interval,
    points,
    rank_label,
    setting,
)
from lorerm.reporting.reading import SPLIT_LABELS, Record

Facts: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names and values, in reading order."""


@dataclass(frozen=True)
class Row:
    """One row of a table: its heading and its values; `chosen` marks the rank that validation chose."""

    heading: str
    values: tuple[str, ...]
    chosen: bool = False
    bounds: tuple[float, float, float] | None = None
    """Lower end, middle and upper end of the row's interval, for a drawing beside the numbers."""


@dataclass(frozen=True)
class Table:
    """A table with its caption, column names (the first is over the row headings) and notes."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def rank_table(report: Record) -> Table:
    """Return the main table: accuracy of every rank in the cells that have users."""
    cells = reading.filled_cells(report)
    rows = [
        Row(
            rank_label(entry),
            tuple(accuracy(reading.cell(entry, name)) for name in cells),
            chosen=entry["rank"] == report["chosen_rank"],
        )
        for entry in report["ranks"]
    ]
    notes = [
        f"No values for the {rank_label(entry)}: {entry['reason'] or 'not available'}."
        for entry in report["ranks"]
        if not entry["available"]
    ]
    missing = [words for name, words in SPLIT_LABELS.items() if name not in cells]
    if missing:
        notes.append(f"No pairs in {' and '.join(missing)}.")
    caption = "Accuracy in per cent, mean over users ± standard error over users"
    return Table(caption, ("Rank", *(SPLIT_LABELS[name] for name in cells)), tuple(rows), tuple(notes))


def interval_table(report: Record) -> Table:
    """Return every rank in every cell with its interval, both standard errors, and what they rest on."""
    rows = []
    for entry in report["ranks"]:
        for name, words in SPLIT_LABELS.items():
            found = reading.cell(entry, name)
            if found is None:
                continue
            two_way = found.get("stderr_two_way", found["stderr"])
            values = (
                percent(found["mean"]),
                percent_interval(found["ci95"]),
                percent(found["stderr"]),
                percent(two_way),
                *(count(found.get(key)) for key in ("n_users", "n_pairs", "n_prompts")),
            )
            rows.append(Row(f"{rank_label(entry)}: {words}", values, chosen=entry["rank"] == report["chosen_rank"]))
    columns = ("Rank and cell", "mean", "95% interval", "s.e. over users", "and prompts", "users", "pairs", "prompts")
    note = (
        "The interval says what other people and other prompts would give: it is Student's, from the standard error "
        "over users and prompts."
    )
    return Table("Accuracy in per cent", columns, tuple(rows), (note,))


def control_table(report: Record) -> Table | None:
    """Return the rank in focus beside its controls, None where no control was measured."""
    rank, cells = reading.focus_rank(report), reading.filled_cells(report)
    controls = reading.controls_of(report, rank)
    if not controls:
        return None
    own = reading.rank_entry(report, rank)
    entries: list[tuple[str, Record | None]] = [(f"own weights (rank {rank})", own)]
    entries += [(str(entry["label"]), entry) for entry in controls]
    rows = tuple(Row(label, tuple(accuracy(reading.cell(entry, name)) for name in cells)) for label, entry in entries)
    caption = f"Rank {rank} and its controls: accuracy in per cent, mean over users ± standard error"
    return Table(caption, ("Scored with", *(SPLIT_LABELS[name] for name in cells)), rows)


def difference_tables(report: Record, rank: int) -> tuple[Table, ...]:
    """Return what a rank gains over each comparison, with 95% intervals: one table per cell, unseen users first."""
    tables = []
    for cell in ("test_unseen", "test_seen"):
        rows = tuple(
            Row(
                against_label(entry["against"]),
                (points(entry["mean"]), interval(entry["ci95"]), count(entry["n_users"])),
                bounds=entry["ci95"] and (entry["ci95"][0], entry["mean"], entry["ci95"][1]),
            )
            for entry in reading.differences_of(report, rank)
            if entry["cell"] == cell
        )
        caption = f"Accuracy of rank {rank} minus another, in percentage points: {SPLIT_LABELS[cell]}"
        if rows:
            tables.append(Table(caption, ("Against", "difference", "95% interval", "users"), rows))
    return tuple(tables)


def accuracy_numbers(report: Record) -> Table:
    """Return the numbers behind the figure of accuracy against rank."""
    cells = [name for name in ("test_unseen", "test_seen") if name in reading.filled_cells(report)]
    rows = []
    for entry in report["ranks"]:
        rows.append(_number_row(str(entry["rank"]), entry, cells, chosen=entry["rank"] == report["chosen_rank"]))
        rows += [
            _number_row(f"{entry['rank']}, shared direction alone", control, cells)
            for control in reading.controls_of(report, entry["rank"])
            if control["name"] == "shared_direction"
        ]
    columns = [column for name in cells for column in (SPLIT_LABELS[name], "95% interval")]
    return Table("Accuracy on test prompts by rank, in per cent", ("Rank", *columns), tuple(rows))


def _number_row(heading: str, entry: Record, cells: Sequence[str], *, chosen: bool = False) -> Row:
    """Return the means and intervals of one entry."""
    values: list[str] = []
    for name in cells:
        found = reading.cell(entry, name)
        values += [NOTHING, NOTHING] if found is None else [percent(found["mean"]), percent_interval(found["ci95"])]
    return Row(heading, tuple(values), chosen=chosen)


def gain_numbers(report: Record) -> Table | None:
    """Return the numbers behind the figure of per-user gains, None where there are no gains."""
    rows = []
    for name, gains in reading.gains_of(report).items():
        ordered = sorted(gains)
        quartiles = [points(_quantile(ordered, share)) for share in (0.25, 0.5, 0.75)]
        shares = [percent(share) for share in gain_shares(gains)]
        rows.append(Row(SPLIT_LABELS[name], (count(len(gains)), points(sum(gains) / len(gains)), *quartiles, *shares)))
    if not rows:
        return None
    columns = (
        "Cell",
        "users",
        "mean gain",
        "lower quartile",
        "median",
        "upper quartile",
        "lose, %",
        "the same, %",
        "gain, %",
    )
    caption = f"Gain of rank {report['gains']['rank']} over the shared direction, user by user, in percentage points"
    return Table(caption, columns, tuple(rows))


def gain_shares(gains: Sequence[float]) -> tuple[float, float, float]:
    """Return the shares of users who lose, stay the same and gain.

    A gain smaller than a thousandth of a point is a rounding error of the two accuracies and counts as the same.
    """
    lose = sum(gain < -1e-5 for gain in gains) / len(gains)
    win = sum(gain > 1e-5 for gain in gains) / len(gains)
    return lose, 1 - lose - win, win


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values, linear between neighbours."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def key_facts(report: Record) -> Facts:
    """Return the few values that stand under the headline: the rank, what it reaches, on how many people and pairs."""
    rank, data = report["chosen_rank"], report["data"]
    entry = reading.rank_entry(report, rank)
    facts = [("rank chosen", str(rank))]
    for name, words in (("test_unseen", "right for unseen users"), ("test_seen", "right for seen users")):
        found = reading.cell(entry, name)
        if found is not None:
            facts.append((words, f"{percent(found['mean'])}%"))
    facts += [("people", count(data.get("n_users"))), ("choices", count(data.get("n_pairs")))]
    return tuple(facts)


def data_facts(report: Record) -> Facts:
    """Return what the data are: counts, dimension, source."""
    data = report["data"]
    facts = [("source", data.get("source") or "not named")]
    for key, noun in (("n_pairs", "pairs"), ("n_prompts", "prompts"), ("n_responses", "responses")):
        facts.append((noun, count(data.get(key))))
    people = f"{count(data.get('n_seen_users'))} seen, {count(data.get('n_unseen_users'))} unseen"
    facts.append(("users", f"{count(data.get('n_users'))} ({people})"))
    facts.append(("embedding dimension", count(data.get("dimension"))))
    return tuple(facts)


def encoder_facts(report: Record) -> Facts:
    """Return how conversations became vectors, empty where the report does not say."""
    encoder = report["data"].get("encoder") or {}
    return tuple((field_name(key), setting(value)) for key, value in encoder.items())


def data_cells_table(report: Record) -> Table | None:
    """Return the numbers of users and pairs in every cell, None where the report does not say."""
    cells = report["data"].get("cells") or {}
    rows = tuple(
        Row(words, (count(cells[name]["n_users"]), count(cells[name]["n_pairs"])))
        for name, words in SPLIT_LABELS.items()
        if cells.get(name)
    )
    return Table("Users and pairs in each cell", ("Cell", "users", "pairs"), rows) if rows else None


def leak_facts(report: Record) -> Facts:
    """Return the leak check: what scorers that see no content reach; empty where it was not made."""
    leaks = report["data"].get("leaks")
    if not leaks:
        return ()
    return (
        ("chosen answer is the longer one", f"{percent(leaks.get('longer_chosen'))}%"),
        ("accuracy from length alone", f"{percent(leaks.get('length_accuracy'))}%"),
        ("accuracy from the rendered format alone", f"{percent(leaks.get('format_accuracy'))}%"),
        ("pairs checked", count(leaks.get("n_pairs"))),
    )


def leak_warnings(report: Record) -> tuple[str, ...]:
    """Return the leak check's warnings."""
    return tuple((report["data"].get("leaks") or {}).get("warnings") or ())


def data_warnings(report: Record) -> tuple[str, ...]:
    """Return the warnings about the data."""
    return tuple(report["data"].get("warnings") or ())


def selection_table(report: Record) -> Table | None:
    """Return what validation saw of each rank, None where nothing was selected."""
    rows = []
    for entry in report["ranks"]:
        selection = entry.get("selection")
        if selection:
            loss = selection.get("validation_loss")
            values = (NOTHING if loss is None else f"{loss:.4f}", percent(selection.get("validation_accuracy")))
            rows.append(Row(rank_label(entry), values, chosen=entry["rank"] == report["chosen_rank"]))
    columns = ("Rank", "validation loss", "validation accuracy, %")
    return Table("What validation saw: pairs cut from the training pairs", columns, tuple(rows)) if rows else None


def config_facts(report: Record) -> tuple[tuple[str, Facts], ...]:
    """Return the settings of split, training and adaptation, each part with its fields."""
    config = report.get("config") or {}
    parts = [name for name in ("split", "training", "adaptation") if config.get(name)]
    return tuple((part, tuple((field_name(key), setting(config[part][key])) for key in config[part])) for part in parts)
