"""The tables of what goes beyond one evaluation: the few-shot curve, several seeds, the published arrays."""

from __future__ import annotations

from lorerm.reporting.content import Row, Table
from lorerm.reporting.phrases import NOTHING, count, interval, percent, percent_interval, points, rank_label
from lorerm.reporting.reading import SPLIT_LABELS, Record

_CHOICE = "choice"


def shots_table(shots: Record) -> Table:
    """Return the numbers behind the few-shot curve."""
    rows = tuple(
        Row(
            count(point["shots"]),
            (
                percent(point["mean"]),
                percent_interval(point["ci95"]),
                points(point["gain"]["mean"]) if point["shots"] else NOTHING,
                interval(point["gain"]["ci95"]) if point["shots"] else NOTHING,
                count(point["n_users_with"]),
            ),
        )
        for point in shots["points"]
    )
    caption = (
        f"Rank {shots['rank']}, {count(shots['n_users'], 'person', 'people')} never seen, mean over "
        f"{count(shots['trials'], 'order')} of their answers: accuracy in per cent, gain in percentage points"
    )
    note = "Who has fewer answers gives all of them: every row has the same people."
    columns = ("Answers", "accuracy", "95% interval", "gain over none", "95% interval", "people with as many")
    return Table(caption, columns, rows, (note,))


def seeds_tables(report: Record) -> tuple[Table, ...]:
    """Return the figures over several seeds; empty where there is one seed only."""
    seeds = report.get("seeds")
    if not seeds:
        return ()
    labels = {entry["rank"]: rank_label(entry) for entry in report["ranks"]} | {_CHOICE: "each seed's own choice"}
    columns = ("Rank", "mean", "between seeds", "within a seed", "fit alone")
    tables = []
    for name in ("test_unseen", "test_seen"):
        rows = tuple(
            Row(labels[entry["rank"]], _spread(entry["cells"][name]), chosen=entry["rank"] == _CHOICE)
            for entry in seeds["ranks"]
            if entry["cells"].get(name)
        )
        if rows:
            caption = f"Accuracy in per cent over {len(seeds['seeds'])} seeds: {SPLIT_LABELS[name]}"
            tables.append(Table(caption, columns, rows))
    gains = tuple(
        Row(
            f"{SPLIT_LABELS[row['cell']]}, "
            f"over {'the shared direction' if row['against'] == 'shared_direction' else 'K = 1'}",
            _spread(row, difference=True),
        )
        for row in seeds["differences"]
        if row["rank"] == _CHOICE
    )
    if gains:
        caption = "What each seed's own choice adds, in percentage points"
        tables.append(Table(caption, ("Cell", *columns[1:]), gains))
    return tuple(tables)


def seeds_note(report: Record) -> str | None:
    """Say which ranks the seeds chose, and what the columns mean; None where there is one seed only."""
    seeds = report.get("seeds")
    if not seeds:
        return None
    chosen = ", ".join(f"rank {rank}" for rank in seeds["chosen_ranks"])
    return (
        f"Split and fit were repeated with the seeds {', '.join(map(str, seeds['seeds']))}, whose validation chose "
        f"{chosen}. Between seeds: the standard deviation of the seeds' means. Within a seed: the standard error that "
        "one seed's people and prompts leave. Fit alone: what the former has beyond the latter; 0 means that the seeds "
        "differ by no more than other people and prompts would explain."
    )


def _spread(found: Record, *, difference: bool = False) -> tuple[str, ...]:
    write = points if difference else percent
    errors = (found["std_seeds"], found["stderr_within"], found["std_fit"])
    return (write(found["mean"]), *(percent(error) for error in errors))


def published_table(report: Record) -> Table | None:
    """Return the eight arrays of the published code, under its names, None where the report has none."""
    published = report.get("published")
    if not published or not published["K_list"]:
        return None
    names = [name for name in published if name not in ("alpha_list", "K_list")]
    rows = tuple(
        Row(name, tuple(NOTHING if value is None else f"{value:.4f}" for value in published[name])) for name in names
    )
    columns = ("Array", *(f"K = {rank}" for rank in published["K_list"]))
    caption = "The published code's eight arrays, in its order; its std is a quarter of the spread over users"
    return Table(caption, columns, rows)
