"""Account of an input: rows read, the comparisons that they became, and what was left out or looks wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_NAMED = 5  # largest number of names in a warning


class Fact(Enum):
    """Things that are counted while an input is read.

    Each value documents the count as `name -> number`: one number for each name of a column, of a key, or of a reason.
    """

    LEFT_OUT = "reason -> rows, or pairs of responses, that were left out"
    TEXT = "column -> values that are texts"
    READ_AS_MESSAGES = (
        "column -> texts that hold a list of messages (written as JSON or by Python), read as these messages"
    )
    LIST = "column -> texts that hold a list of strings (written as JSON or by Python), kept as texts"
    PYTHON_LIST = "column -> those texts of LIST that Python wrote, and that are not JSON"
    HOLDS_ROLES = "column -> texts that hold an object or list with messages inside, kept as texts"
    REPEATS_PROMPT = (
        "column -> texts that begin with the text of the prompt, or with a speaker mark such as "
        '"Human:" or "<|im_start|>"'
    )
    EMPTY = "column -> responses without text"
    UNUSED_COLUMN = "column that looks like feedback -> rows that have a value in it"
    UNUSED_KEY = "key of a message -> messages that have a value under it"
    WITHOUT_PROMPT_ID = "rows without a prompt id"
    REMARK = "remark about rows that were read -> rows"


Key = tuple[Fact, str]


@dataclass(frozen=True)
class ReadingSummary:
    """Account of an input: rows read, the comparisons that they became, and what was left out or looks wrong.

    A comparison that occurs twice in the input is kept twice, since the user can have made it twice.
    """

    n_rows: int
    """number of rows read"""
    n_pairs: int
    """number of comparisons that the rows became"""
    n_ties: int = 0
    """number of pairs of responses that gave no comparison because their ratings or their texts are equal"""
    n_repeated: int = field(default=0, compare=False)
    """number of comparisons that occur earlier with the same user, prompt, chosen and rejected response"""
    unread: tuple[str, ...] = field(default=(), compare=False)
    """files in the given folders that were not read"""
    look_alikes: tuple[str, ...] = field(default=(), compare=False)
    """sentences about different ids that look the same (`lorerm.data.ids.look_alike_warnings`)"""
    counts: Mapping[Key, int] = field(default_factory=dict, compare=False)
    """further counts; a key is the fact that is counted and the name for which it is counted"""
    first: Mapping[Key, tuple[str, int]] = field(default_factory=dict, compare=False, repr=False)
    """for each key of `counts`, the first row that was counted: its file, and its number in the file"""

    @classmethod
    def total(cls, parts: Sequence[ReadingSummary]) -> ReadingSummary:
        """Return the account of an input that was read in parts."""
        counts: Counter[Key] = Counter()
        first: dict[Key, tuple[str, int]] = {}
        for part in parts:
            counts.update(part.counts)
            first = {**part.first, **first}
        return cls(
            n_rows=sum(part.n_rows for part in parts),
            n_pairs=sum(part.n_pairs for part in parts),
            n_ties=sum(part.n_ties for part in parts),
            n_repeated=sum(part.n_repeated for part in parts),
            unread=tuple(dict.fromkeys(name for part in parts for name in part.unread)),
            counts=dict(counts),
            first=first,
        )

    def lines(self) -> tuple[str, ...]:
        """Return one line for each number of the account; signs of a fault are in `warnings`."""
        messages = sum(self._named(Fact.READ_AS_MESSAGES).values())
        lists = sum(self._named(Fact.LIST).values())
        keys = self._named(Fact.UNUSED_KEY)
        return (
            f"rows read: {self.n_rows:,}",
            *(
                [f"texts that contain a list of messages (as JSON or Python prints it), read as messages: {messages:,}"]
                if messages
                else []
            ),
            *(
                [f"texts that contain a list of strings (as JSON or Python prints it), kept as texts: {lists:,}"]
                if lists
                else []
            ),
            *([f"keys of messages that are not used: {_list(keys)}"] if keys else []),
        )

    def warnings(self) -> list[str]:
        """Return one sentence for each thing that was left out, or that looks wrong."""
        sentences = unread_warnings(self.unread)
        if columns := self._named(Fact.UNUSED_COLUMN):
            sentences.append(
                "Columns that look like feedback or a part of the prompt, but are not used, with their numbers of "
                f"rows: {_list(columns)}."
            )
        if self.n_ties:
            sentences.append(f"Pairs of responses left out because their ratings or texts are equal: {self.n_ties:,}.")
        sentences += [f"Left out, {reason}: {n:,}." for reason, n in self._named(Fact.LEFT_OUT).items()]
        if self.n_repeated:
            sentences.append(
                "Comparisons that repeat an earlier one (same user, prompt, chosen and rejected response) and count "
                f"again: {self.n_repeated:,}."
            )
        if empty := self._named(Fact.EMPTY):
            sentences.append(f"Responses without text: {sum(empty.values()):,}. Check that none of them is missing.")
        if repeating := self._named(Fact.REPEATS_PROMPT):
            sentences.append(
                'Responses that begin with the text of their prompt, or like a dialogue ("Human:", "<|im_start|>"): '
                f"{sum(repeating.values()):,}. Check that each response contains only the text after the prompt."
            )
        if roles := self._named(Fact.HOLDS_ROLES):
            sentences.append(
                "Texts that contain an object or list with messages inside, kept as texts: "
                f"{sum(roles.values()):,}. Check whether another program stored messages in this form."
            )
        lists, texts = self._named(Fact.LIST), self._named(Fact.TEXT)
        for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
            if lists.get(side, 0) == texts.get(side, 0) > 1 and not lists.get(other):
                sentences.append(
                    f"LEAK? All {lists[side]:,} {side} responses are lists written as text, and no {other} response "
                    "is: check whether another program wrote them."
                )
        sentences += [f"{remark}: {n:,}." for remark, n in self._named(Fact.REMARK).items()]
        return [*sentences, *self.look_alikes]

    def check(self, source: str | None = None) -> None:
        """Raise `DataError` if there is no comparison, or if whole columns are stored in a wrong form.

        `source` names the input in the error.
        """
        if not self.n_rows:
            raise DataError("the input has no rows", "give at least one row", file=source)
        self.check_columns()
        if not self.n_pairs:
            raise DataError(
                "every row is a tie, so no comparison is left",
                "give rows in which the user preferred one response to another",
                file=source,
            )

    def check_columns(self) -> None:
        """Raise `DataError` if only some rows have a prompt id, or if whole columns are stored in a wrong form."""
        lacking = self._named(Fact.WITHOUT_PROMPT_ID).get("prompt_id", 0)
        if 0 < lacking < self.n_rows:
            raise self._error(
                Fact.WITHOUT_PROMPT_ID,
                "prompt_id",
                f'column "prompt_id" is empty in {lacking:,} of {self.n_rows:,} rows, of which this is the first',
                "give a prompt_id in all rows or in no row",
            )
        for column, texts in self._named(Fact.TEXT).items():
            lists, printed = (self.counts.get((fact, column), 0) for fact in (Fact.LIST, Fact.PYTHON_LIST))
            if lists == texts and (printed or column == "prompt"):
                raise self._error(
                    Fact.LIST,
                    column,
                    f'every value of column "{column}" is a list of strings, written as text',
                    "store the text without the list around it; if a text is really meant to look like a list, store "
                    'it as the content of a {"role", "content"} message',
                )
            if self.counts.get((Fact.HOLDS_ROLES, column), 0) == texts:
                raise self._error(
                    Fact.HOLDS_ROLES,
                    column,
                    f'every value of column "{column}" is an object or list with messages inside, written as text',
                    'store the messages as a list of {"role", "content"}, or the text as the content of one message',
                )
            if self.counts.get((Fact.REPEATS_PROMPT, column), 0) == texts:
                raise self._error(
                    Fact.REPEATS_PROMPT,
                    column,
                    f'every value of column "{column}" begins with the text of its prompt, or with a speaker mark '
                    'such as "Human:" or "<|im_start|>"',
                    "give only the text that follows the prompt",
                )

    def _error(self, fact: Fact, name: str, problem: str, remedy: str) -> DataError:
        source, row = self.first.get((fact, name), (None, None))
        return DataError(problem, remedy, file=source, row=row, column=name)

    def _named(self, fact: Fact) -> dict[str, int]:
        return {name: count for (kind, name), count in self.counts.items() if kind is fact and count}


def unread_warnings(unread: Sequence[object]) -> list[str]:
    """Return a sentence with the number of files that were not read and the first of them, if there are any."""
    if not unread:
        return []
    names = ", ".join([*map(str, unread[:_NAMED]), *(["..."] if len(unread) > _NAMED else [])])
    return [
        f"Files in the given folders that were not read, because their format is not known: {len(unread):,} ({names})."
    ]


class Account:
    """Counts that are made while the rows of an input are read; `summary` returns the result."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.n_ties = 0
        self.source: str | None = None
        self._row = 0
        self._counts: Counter[Key] = Counter()
        self._first: dict[Key, tuple[str, int]] = {}

    def start_row(self, source: str, number: int) -> None:
        """Count a row; later notes are about this row."""
        self.n_rows += 1
        self.source, self._row = source, number

    def note(self, fact: Fact, name: str) -> None:
        """Count a fact about the current row."""
        self._counts[fact, name] += 1
        if self.source is not None:
            self._first.setdefault((fact, name), (self.source, self._row))

    def summary(self, n_pairs: int, n_repeated: int, unread: Sequence[Path] = ()) -> ReadingSummary:
        """Return the account, given the number of comparisons, of repeated ones, and the files that were not read."""
        return ReadingSummary(
            n_rows=self.n_rows,
            n_pairs=n_pairs,
            n_ties=self.n_ties,
            n_repeated=n_repeated,
            unread=tuple(map(str, unread)),
            counts=dict(self._counts),
            first=dict(self._first),
        )


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f'"{name}" ({count:,})' for name, count in sorted(counts.items()))
