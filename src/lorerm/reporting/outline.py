"""The report as a document: its opening, then sections of text, tables and figures, which every medium renders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from lorerm.evaluation.report import Report
from lorerm.reporting import sentences, tables
from lorerm.reporting.glossary import GLOSSARY
from lorerm.reporting.phrases import USERS
from lorerm.reporting.tables import AxisWords, Facts, NamedValues, Table


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"

    text: str
    style: str = ""
    """class of the style sheet: `verdict`, `note` or none"""


@dataclass(frozen=True)
class Picture:
    """A figure by its name, with its caption; only the page shows it."""

    kind: ClassVar[str] = "picture"

    name: str
    caption: str
    is_first: bool = True
    """whether it is the first of its section; the others have a margin above"""


@dataclass(frozen=True)
class Warnings:
    """Warnings about the data."""

    kind: ClassVar[str] = "warnings"

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Details:
    """A block that the page shows on demand."""

    kind: ClassVar[str] = "details"

    summary: str
    block: Table | Facts


Block: TypeAlias = Text | Picture | Warnings | Details | Table | Facts | AxisWords


@dataclass(frozen=True)
class Section:
    """A section: what it shows, in one sentence for the margin, and its blocks."""

    id: str
    title: str
    link: str
    """the title in the list of sections"""
    explanation: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Outline:
    """The opening of the report and its sections."""

    headline: str
    summary: str
    next_step: str
    further: str
    leak_warnings: tuple[str, ...]
    key_facts: NamedValues
    sections: tuple[Section, ...]
    made_by: str


def outline(report: Report) -> Outline:
    """Lay out a report; sections without content are left out."""
    leaks = report.data.leaks
    sections = (
        _accuracy(report),
        _few_shot(report),
        _splits(report),
        _personal(report),
        _differences(report),
        _gains(report),
        _axes(report),
        _seeds(report),
        _data(report),
        _settings(report),
        _terms(),
    )
    return Outline(
        headline=sentences.headline(report),
        summary=sentences.summary(report),
        next_step=sentences.next_step(report),
        further=sentences.further(report),
        leak_warnings=() if leaks is None else leaks.warnings,
        key_facts=tables.key_facts(report),
        sections=tuple(section for section in sections if section.blocks),
        made_by=f"Made by lorerm {report.lorerm_version or ''}".strip(),
    )


def _present(*blocks: Block | None) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block is not None)


def _facts(items: NamedValues, title: str, style: str = "facts") -> Facts | None:
    return Facts(items, title, style) if items else None


def _accuracy(report: Report) -> Section:
    picture = Picture(
        "accuracy_by_rank",
        "Marks are means over users, bars their 95% intervals. Rank 0 is the reference head, rank 1 (open circle) a "
        "single Bradley-Terry model; from rank 2 on, each user has their own weights. The population model (dashed) "
        "has the same directions and one ranking for everybody. Two lines of one panel are measured on the same "
        "comparisons, so that a gap between them is surer than the bars suggest: see the section on differences. The "
        "numbers are in the section on all splits.",
    )
    has_test = any(split in report.filled_splits for split in USERS)
    return Section(
        "accuracy",
        "Accuracy by rank",
        "Accuracy",
        "How often the model ranks the response that a user preferred above the other one, on prompts that were not "
        "used in training.",
        (picture,) if has_test else (),
    )


def _few_shot(report: Report) -> Section:
    curve = report.few_shot
    blocks: tuple[Block, ...] = ()
    if curve is not None:
        blocks = (
            Text(sentences.few_shot_result(curve), "verdict"),
            Picture(
                "shots_curve",
                f"Rank {curve.rank}. Without comparisons a user has the population model. The band is the 95% interval "
                "of the accuracy. The large circle marks the number of comparisons from which on the whole 95% "
                "interval of the gain over none is above 0.",
            ),
            Details("The numbers of this figure", tables.few_shot_table(curve)),
            Picture(
                "shots_people",
                "Single users with many comparisons, from the largest loss to the largest gain. A curve ends at the "
                "number of the user's comparisons. With few test comparisons, a user's accuracy moves in coarse steps.",
                is_first=False,
            ),
        )
    return Section(
        "few-shot",
        "From few comparisons",
        "Few comparisons",
        "What a new user's comparisons are worth: weights fitted to the first few of them, in random orders.",
        blocks,
    )


def _splits(report: Report) -> Section:
    intervals = tables.interval_table(report)
    more = Details("95% intervals and numbers of users", intervals) if intervals.rows else None
    return Section(
        "splits",
        "All splits",
        "All splits",
        "Train against test prompts shows overfitting; seen against unseen users shows what a few comparisons of a new "
        "user are worth.",
        _present(tables.rank_table(report), more),
    )


def _personal(report: Report) -> Section:
    verdict = sentences.is_personal(report)
    return Section(
        "personal",
        "Is it really personal?",
        "Controls",
        "If another user's weights did as well, a gain would not come from knowing the user.",
        _present(Text(verdict, "verdict") if verdict else None, tables.control_table(report)),
    )


def _differences(report: Report) -> Section:
    rank = report.focus_rank
    others = sorted({row.rank for row in report.differences} - {rank})
    note = f"report.json also has the differences of other ranks: {', '.join(map(str, others))}."
    found = tables.difference_tables(report, rank)
    return Section(
        "differences",
        "Differences",
        "Differences",
        f"How much better rank {rank} is than each baseline. Where the 95% interval holds 0, there are too few users "
        "to tell.",
        (*found, Text(note, "note")) if found and others else found,
    )


def _gains(report: Report) -> Section:
    gains = report.gains
    blocks: tuple[Block, ...] = ()
    if gains is not None and gains.by_split:
        blocks = _present(
            Picture(
                "gain_distribution",
                f"Gain of each user's own weights at rank {gains.rank} over one ranking for everybody (the population "
                "model), on test prompts. With few comparisons a user's gain moves by chance alone: not all of the "
                "spread is taste.",
            ),
            Details("The numbers of this figure", tables.gain_numbers(gains)),
            Picture(
                "gain_by_answers",
                "The same gains against the comparisons that each user's weights were fitted to. Thin lines are the "
                "95% intervals of single users; the thick line is the mean over users with about as many comparisons.",
                is_first=False,
            ),
            Details("Users who lose", tables.losing_users(gains)) if gains.users else None,
            Picture(
                "weights_map",
                "Users by their weights, on the two axes along which their rewards differ most. Users near each other "
                "have similar taste; those at the centre are close to the population model.",
                is_first=False,
            ),
            _facts(tables.agreement_facts(report), "How far users agree"),
        )
    return Section(
        "gains",
        "Who gains",
        "Who gains",
        "A mean hides single users. Here every user is a slice of equal width, from the largest loss to the largest "
        "gain.",
        blocks,
    )


def _axes(report: Report) -> Section:
    directions = () if report.axes is None else report.axes.directions
    note = (
        "Correlations are over comparisons of two responses to one prompt. They describe an axis; they do not prove "
        "what users react to. A personal axis has no better end: some users prefer either."
    )
    axes: tuple[Block, ...] = tuple(tables.axis_words(axis) for axis in directions)
    return Section(
        "axes",
        "What the axes mean",
        "Axes",
        "What all users share, and the axes along which their rewards differ, with the properties of texts that they "
        "correlate with.",
        (*axes, Text(note, "note")) if axes else (),
    )


def _seeds(report: Report) -> Section:
    seeds = report.seeds
    found = () if seeds is None else tables.seeds_tables(seeds, report.ranks)
    return Section(
        "seeds",
        "Several seeds",
        "Seeds",
        "Other splits and other training runs: how far the figures move, and how much of it other users explain.",
        () if seeds is None else (Text(sentences.seeds_note(seeds)), *found),
    )


def _data(report: Report) -> Section:
    leaks = tables.leak_facts(report)
    return Section(
        "data",
        "Data",
        "Data",
        "The comparisons behind the figures, and what the checks found.",
        _present(
            Warnings(report.data.warnings) if report.data.warnings else None,
            Facts(tables.data_facts(report)),
            tables.splits_table(report),
            _facts(leaks, "Leak check: accuracy of scorers that read no words (50% is chance)", "facts two"),
            _facts(tables.encoder_facts(report), "Encoder"),
        ),
    )


def _settings(report: Report) -> Section:
    published = tables.published_table(report)
    return Section(
        "settings",
        "How it was made",
        "How it was made",
        "The same data, settings and seeds give the same report, byte for byte.",
        _present(
            tables.selection_table(report),
            Details("For comparison with published tables", published) if published else None,
            *(_facts(items, title.capitalize(), "facts two") for title, items in tables.config_facts(report)),
        ),
    )


def _terms() -> Section:
    return Section(
        "terms",
        "Terms",
        "Terms",
        "The words of this page, explained for a first reading.",
        (Details("Glossary", Facts(GLOSSARY, style="glossary")),),
    )
