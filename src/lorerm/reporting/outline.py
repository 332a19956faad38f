"""Content and order of the report: an opening, then sections with texts, tables and figures.

The Markdown report and the HTML report are rendered from all of it, the terminal output from its opening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lorerm.evaluation.report import Report
from lorerm.reporting import sentences, tables
from lorerm.reporting.glossary import GLOSSARY
from lorerm.reporting.phrases import USERS
from lorerm.reporting.tables import AxisWords, Facts, NamedValues, Table


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    style: str = ""
    """CSS class: `verdict`, `note` or none"""


@dataclass(frozen=True)
class Picture:
    """A figure, referred to by its name, and its caption; only the HTML report shows it."""

    name: str
    caption: str
    is_first: bool = True
    """whether the figure is the first of its section; all others get a margin above"""


@dataclass(frozen=True)
class Warnings:
    """Warnings about the data."""

    texts: tuple[str, ...]


Block: TypeAlias = Text | Picture | Warnings | Table | Facts | AxisWords


@dataclass(frozen=True)
class Section:
    """A section of the report: title, one sentence about the content, and blocks."""

    id: str
    title: str
    explanation: str
    blocks: tuple[Block, ...]
    short_title: str = ""
    """title in the list of sections; empty if it is the same as `title`"""


@dataclass(frozen=True)
class Outline:
    """Content of a report: the texts of its opening, and its sections."""

    headline: str
    summary: str
    next_step: str
    further: str
    """sentences that compare with the other baselines, and for the other group of users (seen or unseen)"""
    leak_warnings: tuple[str, ...]
    checks: tuple[str, ...]
    """warnings about accuracies that more likely show a fault in the data than a result"""
    key_facts: NamedValues
    sections: tuple[Section, ...]
    made_by: str
    """name and version of the program that wrote the report"""


def outline(report: Report) -> Outline:
    """Return the content of a report; sections without blocks are left out."""
    leaks = report.data.leaks
    return Outline(
        headline=sentences.headline(report),
        summary=sentences.summary(report),
        next_step=sentences.next_step(report),
        further=sentences.further(report),
        leak_warnings=() if leaks is None else leaks.warnings,
        checks=sentences.checks(report),
        key_facts=tables.key_facts(report),
        sections=tuple(section for section in _sections(report) if section.blocks),
        made_by=f"Made by lorerm {report.lorerm_version or ''}".strip(),
    )


def _sections(report: Report) -> list[Section]:
    return [
        Section(
            "accuracy",
            "Accuracy by rank",
            "How often the model gives the preferred response the higher reward, on prompts that were not used in "
            "training.",
            _accuracy(report),
            "Accuracy",
        ),
        Section(
            "few-shot",
            "From few comparisons",
            "How accuracy for a new user grows with the number of comparisons that their weights are fitted to.",
            _few_shot(report),
            "Few comparisons",
        ),
        Section(
            "splits",
            "All splits",
            "If accuracy is higher on train prompts than on test prompts, the model overfits. If it is higher for seen "
            "than for unseen users, a few comparisons of a new user do not replace training on that user.",
            _present(tables.rank_table(report), tables.interval_table(report)),
        ),
        Section(
            "personal",
            "Is it really personal?",
            "If another user's weights were as accurate as a user's own, a gain would not come from knowing the user.",
            _personal(report),
            "Is it personal?",
        ),
        Section(
            "differences",
            "Differences",
            f"How much better rank {report.focus_rank} is than each baseline. If the 95% interval contains 0, there "
            "are too few users to tell.",
            _differences(report),
        ),
        Section(
            "gains",
            "Who gains",
            "A mean hides single users. In the first figure, every user is a slice of equal width, from the largest "
            "loss to the largest gain.",
            _gains(report),
        ),
        Section(
            "axes",
            "What the axes mean",
            "What all users' rewards share, the axes along which they differ, and the properties of texts that "
            "correlate with each axis.",
            _axes(report),
            "Axes",
        ),
        Section(
            "seeds",
            "Several seeds",
            "How much the results change with other splits and other training runs, and how much of this change is due "
            "to the choice of users and prompts.",
            _seeds(report),
            "Seeds",
        ),
        Section(
            "data",
            "Data",
            "The comparisons that the results are based on, and what the checks of the data found.",
            _data(report),
        ),
        Section(
            "settings",
            "How it was made",
            "The same data, settings and seeds give the same report, byte for byte.",
            _present(tables.selection_table(report), tables.published_table(report), *tables.config_facts(report)),
        ),
        Section(
            "terms",
            "Terms",
            "The terms of this report, with their explanations.",
            (Facts(GLOSSARY, style="glossary", summary="Glossary"),),
        ),
    ]


def _present(*blocks: Block | None) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block is not None)


def _accuracy(report: Report) -> tuple[Block, ...]:
    if not any(split in report.filled_splits for split in USERS):
        return ()
    caption = (
        "Marks are means over users, and bars are 95% intervals. Rank 0 is the reference head, rank 1 (open circle) a "
        "single Bradley-Terry model; from rank 2 on, each user has their own weights. The population model (dashed) "
        "has the same directions and one ranking for everybody. All lines of a panel are measured on the same "
        "comparisons, so that the gap between two lines is more certain than the bars suggest: see the section on "
        "differences. The numbers are in the section on all splits."
    )
    return (Picture("accuracy_by_rank", caption),)


def _few_shot(report: Report) -> tuple[Block, ...]:
    curve = report.few_shot
    if curve is None:
        return ()
    return (
        Text(sentences.few_shot_result(curve), "verdict"),
        Picture(
            "shots_curve",
            f"Rank {curve.rank}. A user without comparisons has the population model. The band is the 95% interval "
            "of the accuracy. From the number of comparisons at the large circle on, the whole 95% interval of the "
            "gain over no comparisons is above 0.",
        ),
        tables.few_shot_table(curve),
        Picture(
            "shots_people",
            "Single users with many comparisons, from the largest loss to the largest gain. Each curve ends at the "
            "number of the user's comparisons. With few test comparisons, a user's accuracy moves in coarse steps.",
            is_first=False,
        ),
    )


def _personal(report: Report) -> tuple[Block, ...]:
    verdict = sentences.is_personal(report)
    return _present(None if verdict is None else Text(verdict, "verdict"), tables.control_table(report))


def _differences(report: Report) -> tuple[Block, ...]:
    rank = report.focus_rank
    found = tables.difference_tables(report, rank)
    others = sorted({row.rank for row in report.differences} - {rank})
    note = f"report.json also has the differences of other ranks: {', '.join(map(str, others))}."
    return (*found, Text(note, "note")) if found and others else found


def _gains(report: Report) -> tuple[Block, ...]:
    gains = report.gains
    if gains is None or not gains.by_split:
        return ()
    return _present(
        Picture(
            "gain_distribution",
            f"Gain of each user's own weights at rank {gains.rank} over one ranking for everybody (the population "
            "model), on test prompts. If a user has few comparisons, chance alone makes the gain large or small: not "
            "all differences between users come from their taste.",
        ),
        tables.gain_numbers(gains),
        Picture(
            "gain_by_answers",
            "The same gains against the number of comparisons that each user's weights were fitted to. Thin lines are "
            "the 95% intervals of single users. The thick line is the mean over users with similar numbers.",
            is_first=False,
        ),
        tables.losing_users(gains) if gains.users else None,
        Picture(
            "weights_map",
            "Each user's weights, on the two axes along which users' rewards differ most. Users near each other "
            "have similar taste; users at the centre are close to the population model.",
            is_first=False,
        ),
        tables.agreement_facts(report),
    )


def _axes(report: Report) -> tuple[Block, ...]:
    if report.axes is None:
        return ()
    note = (
        "Correlations are over comparisons of two responses to one prompt. They describe an axis; they do not prove "
        "what users react to. Neither end of a personal axis is better: some users prefer one end, some the other."
    )
    return (*(tables.axis_words(axis) for axis in report.axes.directions), Text(note, "note"))


def _seeds(report: Report) -> tuple[Block, ...]:
    seeds = report.seeds
    return () if seeds is None else (Text(sentences.seeds_note(seeds)), *tables.seeds_tables(seeds, report.ranks))


def _data(report: Report) -> tuple[Block, ...]:
    return _present(
        Warnings(report.data.warnings) if report.data.warnings else None,
        tables.data_facts(report),
        tables.splits_table(report),
        tables.leak_facts(report),
        tables.encoder_facts(report),
    )
