"""Content of the report's tables and lists of facts, as texts that HTML, Markdown and terminal output share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lorerm.data.schema import SPLIT_NAMES
from lorerm.evaluation.report import (
    Axis,
    Control,
    Difference,
    Estimate,
    FewShotCurve,
    Gains,
    RankRow,
    Report,
    RunComparison,
    SeedSpread,
    SeedStudy,
)
from lorerm.model.baselines import BASELINES
from lorerm.reporting.phrases import (
    NOTHING,
    USERS,
    accuracy,
    correlation,
    count,
    interval,
    percent,
    percent_interval,
    points,
    rank_label,
    result,
    setting,
)

LISTED_USERS = 12
"""Maximum number of users in the table of users who lose accuracy; `report.json` has all users."""

_SHOWN_PROPERTIES = 5
_WEAK_CORRELATION = 0.05  # correlations below this are not shown: their bars would be too short to see
_THIS_FIGURE = "The numbers of this figure"


@dataclass(frozen=True)
class Row:
    """One row of a table: its heading and its values."""

    heading: str
    values: tuple[str, ...]
    chosen: bool = False
    """whether the row shows the rank that validation chose"""
    bounds: tuple[float, float, float] | None = None
    """lower end, mean and upper end of an interval, which the HTML report draws beside the numbers"""


@dataclass(frozen=True)
class Table:
    """A table: caption, column headings (the first one is for the row headings), rows, and notes below."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    style: str = ""
    """CSS class: `splits`, `differences`, `users` or none"""
    summary: str = ""
    """if given, the HTML report shows only this summary until the reader opens the table"""


NamedValues: TypeAlias = "tuple[tuple[str, str], ...]"
"""Pairs of a name and a value."""


@dataclass(frozen=True)
class Facts:
    """A list of names with their values, and its title."""

    items: NamedValues
    title: str = ""
    style: str = "facts"
    """CSS classes: `facts`, `facts two` (in two columns) or `glossary`"""
    summary: str = ""
    """if given, the HTML report shows only this summary until the reader opens the list"""


def rank_table(report: Report) -> Table:
    """Tabulate the accuracy of every rank on every split that has comparisons."""
    splits = report.filled_splits
    rows = tuple(
        Row(rank_label(row), _accuracies(row, splits), chosen=row.rank == report.chosen_rank) for row in report.ranks
    )
    absent = [row for row in report.ranks if not row.available]
    notes = [note for row in report.ranks for note in _tie_note(rank_label(row), row)]
    notes += _data_notes(report)
    notes += [f"No values for the {rank_label(row)}: {row.reason or 'not available'}." for row in absent]
    empty = [words for name, words in SPLIT_NAMES.items() if name not in splits]
    if empty:
        notes.append(f"No comparisons in the split {' and '.join(empty)}.")
    caption = "Accuracy in per cent, mean over users ± standard error over users"
    return Table(caption, ("Rank", *(SPLIT_NAMES[name] for name in splits)), rows, tuple(notes), "splits")


def _data_notes(report: Report) -> list[str]:
    """Return sentences about faults that keep accuracies near 50% or near those of one ranking for everybody."""
    data, notes = report.data, []
    if report.looks_the_same:
        notes.append(
            f"In {count(data.n_same)} of {count(data.n_comparisons, 'comparison')}, both responses look the same to "
            "the encoder."
        )
    if report.counts_as_little:
        notes.append(
            f"The weights of all {count(data.n_comparisons, 'comparison')} sum to {data.total_weight:.3g}, so that "
            "personal weights stay near the population weights."
        )
    return notes


def _tie_note(label: str, row: RankRow | Control) -> list[str]:
    """Return a sentence with the number of ties in each split, or no sentence if there are no ties."""
    found = {words: row.accuracy(name) for name, words in SPLIT_NAMES.items()}
    ties = [
        f"{count(one.n_ties)} of {count(one.n_comparisons)} ({words})"
        for words, one in found.items()
        if one and one.n_ties
    ]
    return [f"Ties, which count one half, of the {label}: {', '.join(ties)}."] if ties else []


def _accuracies(row: RankRow | Control, splits: list[str]) -> tuple[str, ...]:
    return tuple(accuracy(row.accuracy(name)) for name in splits)


def interval_table(report: Report) -> Table | None:
    """Tabulate intervals, standard errors and sample sizes by split, of every rank and its population model.

    The population model has the same reward directions and one ranking for everybody.
    """
    rows = []
    for row in report.ranks:
        rows += _interval_rows(rank_label(row), row, chosen=row.rank == report.chosen_rank)
        population = report.control(row.rank, "shared_direction")
        if population is not None:
            rows += _interval_rows(f"population model (K = {row.rank})", population)
    columns = (
        "Rank and split",
        "mean",
        "95% interval",
        "standard error over users",
        "standard error over users and prompts",
        "users",
        "comparisons",
        "ties",
        "prompts",
    )
    note = (
        "The 95% interval is Student's t interval, from the standard error over users and prompts. Ties "
        "(equal rewards) count one half."
    )
    summary = "95% intervals and numbers of users"
    return Table("Accuracy in per cent", columns, tuple(rows), (note,), summary=summary) if rows else None


def _interval_rows(label: str, row: RankRow | Control, *, chosen: bool = False) -> list[Row]:
    rows = []
    for name, words in SPLIT_NAMES.items():
        found = row.accuracy(name)
        if found is not None:
            sizes = map(count, (found.n_users, found.n_comparisons, found.n_ties, found.n_prompts))
            errors = (percent(found.stderr), percent(found.standard_error))
            values = (percent(found.mean), percent_interval(found.ci95), *errors, *sizes)
            rows.append(Row(f"{label}: {words}", values, chosen))
    return rows


def control_table(report: Report) -> Table | None:
    """Tabulate accuracies with each user's own weights and with other weights (controls), at one rank.

    This is the focus rank, which the report describes in detail. Return None if no control was measured.
    """
    rank, splits = report.focus_rank, report.filled_splits
    controls, own = report.controls_of(rank), report.row(rank)
    if own is None or not controls:
        return None
    first = Row(f"own weights (rank {rank})", _accuracies(own, splits))
    labels = {row.name: BASELINES.get(row.name, row.label) for row in controls}
    rows = (first, *(Row(labels[row.name], _accuracies(row, splits)) for row in controls))
    notes = tuple(note for row in controls for note in _tie_note(labels[row.name], row))
    caption = f"Rank {rank} with other weights: accuracy in per cent, mean over users ± standard error over users"
    return Table(caption, ("Ranked with", *(SPLIT_NAMES[name] for name in splits)), rows, notes, "splits")


def difference_tables(report: Report, rank: int) -> tuple[Table, ...]:
    """Tabulate the differences between a rank and its baselines: one table per test split, unseen users first."""
    columns = ("Compared with", "result", "difference", "95% interval", "users")
    tables = []
    for split in USERS:
        rows = tuple(_difference_row(row) for row in report.differences_of(rank) if row.split == split)
        caption = f"Accuracy of rank {rank} minus that of a baseline, in percentage points: {SPLIT_NAMES[split]}"
        if rows:
            tables.append(Table(caption, columns, rows, style="differences"))
    return tuple(tables)


def _difference_row(row: Difference) -> Row:
    found = row.estimate
    bounds = None if found.ci95 is None else (found.ci95[0], found.mean, found.ci95[1])
    return Row(
        BASELINES.get(row.against, row.against.replace("_", " ")), (*_gain(found), count(found.n_users)), bounds=bounds
    )


def _gain(found: Estimate) -> tuple[str, str, str]:
    """Write a difference: the result in words, the difference, and its 95% interval."""
    return result(found), points(found.mean), interval(found.ci95)


def gain_numbers(gains: Gains) -> Table:
    """Tabulate the numbers that the figure of the users' gains shows."""
    rows = []
    for name in gains.by_split:
        found = gains.distribution(name)
        shares = (percent(share) for share in (found.lose, found.same, found.gain))
        values = (count(found.n_users), points(found.mean), *map(points, found.quartiles), *shares)
        rows.append(Row(SPLIT_NAMES[name], values))
    quartiles = ("lower quartile", "median", "upper quartile")
    columns = ("Split", "users", "mean gain", *quartiles, "lose, per cent", "no change, per cent", "gain, per cent")
    caption = f"Gain of each user at rank {gains.rank} over one ranking for everybody, in percentage points"
    return Table(caption, columns, tuple(rows), summary=_THIS_FIGURE)


def losing_users(gains: Gains) -> Table:
    """Tabulate the users whose own weights are less accurate than the population weights, the largest loss first."""
    losing = gains.losing
    rows = []
    for user in losing[:LISTED_USERS]:
        sizes = (count(user.n_fitted), count(user.n_test))
        kind = USERS[user.split].removesuffix(" users")
        rows.append(Row(user.user_id, (points(user.gain), interval(user.ci95), *sizes, kind)))
    clearly = sum(user.is_loss for user in losing)
    notes = [
        f"{count(len(losing))} of {count(len(gains.users), 'user')} lose; for {count(clearly)} the whole 95% interval "
        f"is below 0. If no user lost or gained, about {gains.n_expected_losses:.0f} would be below 0 by chance."
    ]
    if len(losing) > LISTED_USERS:
        notes.append(f"These are the {LISTED_USERS} largest losses; report.json lists every user.")
    columns = ("User", "gain", "95% interval", "comparisons fitted", "comparisons tested", "seen or unseen")
    caption = "Users for whom one ranking for everybody is more accurate, in percentage points"
    return Table(caption, columns, tuple(rows), tuple(notes), "users", "Users who lose")


def agreement_facts(report: Report) -> Facts | None:
    """List how often two users agree, in their comparisons and in what their weights predict; None if unknown."""
    comparisons, models = report.agreement.comparisons, report.agreement.models
    facts = []
    if comparisons is not None:
        agreed = f"{percent(comparisons.share)}% of {count(comparisons.n_compared)} pairs of comparisons"
        facts.append(("two users who compared the same two responses preferred the same one", agreed))
    if models is not None:
        prefers = f"the weights of two users (rank {models.rank}) prefer the same response"
        facts.append((prefers, f"{percent(models.share)}% of comparisons"))
    return _facts(facts, "How far users agree")


def _facts(items: Iterable[tuple[str, str]], title: str, style: str = "facts") -> Facts | None:
    items = tuple(items)
    return Facts(items, title, style) if items else None


def few_shot_table(curve: FewShotCurve) -> Table:
    """Tabulate the numbers that the few-shot curve shows."""
    rows = []
    for point in curve.points:
        own, gain = point.accuracy, point.gain
        gained = (points(gain.mean), interval(gain.ci95)) if point.n_shots else (NOTHING, NOTHING)
        values = (percent(own.mean), percent_interval(own.ci95), *gained, count(point.n_users_with))
        rows.append(Row(count(point.n_shots), values))
    caption = (
        f"Rank {curve.rank}, {count(curve.n_users, 'unseen user')}, mean over {count(curve.trials, 'random order')} of "
        "each user's comparisons: accuracy in per cent, gain in percentage points"
    )
    note = "If a user has fewer comparisons, all of them are used, so that every row is about the same users."
    gain_columns = ("gain over none", "95% interval of the gain")
    columns = ("Few-shot comparisons", "accuracy", "95% interval", *gain_columns, "users with as many")
    return Table(caption, columns, tuple(rows), (note,), summary=_THIS_FIGURE)


def seeds_tables(seeds: SeedStudy, ranks: tuple[RankRow, ...]) -> tuple[Table, ...]:
    """Tabulate accuracies over several seeds, and the differences of the ranks that the seeds chose, by test split."""
    labels: dict[int | str, str] = {row.rank: rank_label(row) for row in ranks}
    labels["choice"] = "each seed's own choice"
    columns = ("mean", "between seeds", "within a seed", "from training alone")
    tables = []
    for name in USERS:
        rows = tuple(
            Row(labels[row.rank], _spread(found, percent), chosen=row.rank == "choice")
            for row in seeds.ranks
            if (found := row.accuracies.get(name)) is not None
        )
        if rows:
            caption = f"Accuracy in per cent over {len(seeds.seeds)} seeds: {SPLIT_NAMES[name]}"
            tables.append(Table(caption, ("Rank", *columns), rows, style="splits"))
    gains = tuple(
        Row(f"{BASELINES[row.against]}: {SPLIT_NAMES[row.split]}", _spread(row.spread, points))
        for row in seeds.differences
        if row.rank == "choice"
    )
    if gains:
        caption = "Accuracy of each seed's own choice minus that of a baseline, in percentage points"
        tables.append(Table(caption, ("Compared with", *columns), gains, style="splits"))
    return tuple(tables)


def _spread(found: SeedSpread, write: Callable[[float], str]) -> tuple[str, ...]:
    return (write(found.mean), *map(percent, (found.std_seeds, found.stderr_within, found.std_fit)))


def published_table(report: Report) -> Table | None:
    """Tabulate the eight result arrays of the paper's published code; return None if the report has none."""
    published = report.published
    if published is None or not published.ranks:
        return None
    rows = tuple(
        Row(name, tuple(NOTHING if value is None else f"{value:.4f}" for value in values))
        for name, values in published.arrays.items()
    )
    columns = ("Array", *(f"K = {rank}" for rank in published.ranks))
    note = (
        "Means, and the values that the published code calls std: a quarter of the standard deviation over "
        "users. Here, as in the published code, a tie counts as wrong; in all other accuracies it counts one half."
    )
    caption = "The eight result arrays of the paper's published code, in its order"
    return Table(caption, columns, rows, (note,), summary="For comparison with published tables")


def key_facts(report: Report) -> NamedValues:
    """List the values below the summary: the chosen rank, its accuracies, the size of the data."""
    facts = [("rank chosen", str(report.chosen_rank))]
    for split, users in USERS.items():
        found = report.accuracy(report.chosen_rank, split)
        if found is not None:
            facts.append((f"accuracy, {users}", f"{percent(found.mean)}%"))
    return (*facts, ("users", count(report.data.n_users)), ("comparisons", count(report.data.n_comparisons)))


def data_facts(report: Report) -> Facts:
    """List source and size of the data."""
    data = report.data
    users = f"{count(data.n_seen_users)} seen, {count(data.n_unseen_users)} unseen"
    return Facts(
        (
            ("source", data.source or "not named"),
            ("comparisons", count(data.n_comparisons)),
            *((("with two equal embeddings", count(data.n_same)),) if data.n_same else ()),
            ("prompts", count(data.n_prompts)),
            ("responses", count(data.n_responses)),
            ("users", f"{count(data.n_users)} ({users})"),
            ("embedding dimension", count(data.dimension)),
        )
    )


def encoder_facts(report: Report) -> Facts | None:
    """List the properties that identify the encoder; return None if it is unknown."""
    encoder = report.data.encoder
    return None if encoder is None else _settings(encoder.to_dict(), "Encoder")


def _settings(fields: Mapping[str, object], title: str, style: str = "facts") -> Facts | None:
    return _facts(((name.replace("_", " "), setting(value)) for name, value in fields.items()), title, style)


def splits_table(report: Report) -> Table | None:
    """Tabulate the sizes of the splits; return None if the report does not have them."""
    sizes = report.data.splits
    rows = tuple(
        Row(words, (count(sizes[name].n_users), count(sizes[name].n_pairs)))
        for name, words in SPLIT_NAMES.items()
        if name in sizes
    )
    return Table("Users and comparisons of each split", ("Split", "users", "comparisons"), rows) if rows else None


def leak_facts(report: Report) -> Facts | None:
    """List the results of the leak check; return None if it was not made."""
    leaks = report.data.leaks
    if leaks is None:
        return None
    items = (
        ("chosen response is the longer one", f"{percent(leaks.longer_chosen)}%"),
        ("accuracy from length alone", f"{percent(leaks.length_accuracy)}%"),
        ("accuracy from the rendered format alone", f"{percent(leaks.format_accuracy)}%"),
        ("comparisons checked", count(leaks.n_comparisons)),
    )
    return Facts(items, "Leak check: accuracy of scorers that read no words (50% is chance)", "facts two")


def selection_table(report: Report) -> Table | None:
    """Tabulate loss and accuracy of every rank on the validation comparisons; return None if there were none."""
    rows = []
    for row in report.ranks:
        found = row.selection
        if found is not None:
            values = (f"{found.validation_loss:.4f}", percent(found.validation_accuracy))
            rows.append(Row(rank_label(row), values, chosen=row.rank == report.chosen_rank))
    caption = "Selection on validation comparisons, which were held out from the training comparisons"
    return Table(caption, ("Rank", "validation loss", "validation accuracy, per cent"), tuple(rows)) if rows else None


def config_facts(report: Report) -> list[Facts]:
    """List the settings of the split, of training and of adaptation, as far as they are known."""
    settings = report.settings
    parts = {"Split": settings.split, "Training": settings.training, "Adaptation": settings.adaptation}
    found = (_settings(fields, title, "facts two") for title, fields in parts.items())
    return [facts for facts in found if facts is not None]


@dataclass(frozen=True)
class AxisWords:
    """Description of one axis in words and numbers."""

    name: str
    facts: NamedValues
    properties: tuple[tuple[str, float, str], ...]
    """(name, correlation, correlation as text) of each property that correlates with the axis, strongest first"""
    highest: tuple[str, ...]
    lowest: tuple[str, ...]


def axis_words(axis: Axis) -> AxisWords:
    """Describe an axis in words and numbers, with its strongest correlations only."""
    facts = []
    if axis.share is not None:
        what = "mean weight" if axis.name.startswith("direction") else "share of the differences between users"
        facts.append((what, f"{percent(axis.share)}%"))
    if axis.reference_cosine is not None:
        facts.append(("cosine with the reference head", correlation(axis.reference_cosine)))
    if axis.stability is not None:
        found = axis.stability
        lowest = f", lowest {correlation(found.lowest)}" if found.n_seeds > 1 else ""
        facts.append(("found again with other seeds", f"correlation {correlation(found.mean)}{lowest}"))
    strong = [row for row in axis.properties or () if abs(row.correlation) >= _WEAK_CORRELATION]
    properties = tuple((row.name, row.correlation, correlation(row.correlation)) for row in strong[:_SHOWN_PROPERTIES])
    name = "population model" if axis.name == "shared direction" else axis.name
    return AxisWords(name, tuple(facts), properties, axis.highest or (), axis.lowest or ())


def comparison_tables(comparison: RunComparison) -> list[Table]:
    """Tabulate the accuracies of several runs, and the differences between later runs and the first on common users."""
    splits = [name for name in SPLIT_NAMES if any(run.accuracy(name) is not None for run in comparison.runs)]
    runs = []
    for run in comparison.runs:
        details = (run.source, run.encoder, run.recipe and f"recipe {run.recipe}")
        heading = "\n".join([run.name, *(f"  {text}" for text in details if text)])
        runs.append(Row(heading, (str(run.chosen_rank), *(accuracy(run.accuracy(name)) for name in splits))))
    notes = ["Accuracy in per cent, mean over users ± standard error over users."]
    if not comparison.paired:
        notes.append("No differences: no later run shares the prompts of two users with the first run in a test split.")
    columns = ("Run", "rank", *(SPLIT_NAMES[name] for name in splits))
    tables = [Table("Each run with the rank that its validation chose", columns, tuple(runs), tuple(notes))]
    if comparison.paired:
        rows = []
        for row in comparison.paired:
            sizes = (count(row.estimate.n_users), count(row.estimate.n_comparisons))
            rows.append(Row(row.run, (SPLIT_NAMES[row.split], *_gain(row.estimate), *sizes)))
        columns = ("Run", "split", "result", "difference", "95% interval", "users", "comparisons")
        caption = f"Accuracy minus that of {comparison.paired[0].against}, in percentage points"
        tables.append(Table(caption, columns, tuple(rows), ("Measured on the users and prompts that both runs have.",)))
    return tables
