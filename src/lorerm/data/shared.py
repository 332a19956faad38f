"""`SharedPreferences`: pairs of many people over the same responses, as numbers instead of copies of the texts.

Where everybody judges the same responses (PersonalLLM: 1,500 people, eight responses to each of 10,402 prompts), rows
with their texts would repeat each text a thousand times. Here each response stands once, and a pair is two row numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.conversation import Conversation, parse_prompt, parse_response
from lorerm.data.preferences import ReadingSummary
from lorerm.data.table import build_messages, messages_type, read_conversations
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

RESPONSES, CHOICES = "responses.parquet", "choices.parquet"
_PAIRS_AT_A_TIME = 200_000


@dataclass(frozen=True)
class SharedPreferences:
    """Pairs of responses by their rows; it is split, checked for leaks and embedded as `Preferences` are."""

    responses: pa.Table = field(repr=False)
    """R rows: `prompt_id` (string), `prompt` and `response` (lists of {role, content})"""
    names: tuple[str, ...]
    """the users"""
    user: NDArray[np.int32] = field(repr=False)
    """[n]: place in `names` of each pair's user"""
    chosen: NDArray[np.int32] = field(repr=False)
    """[n]: row of `responses`"""
    rejected: NDArray[np.int32] = field(repr=False)
    """[n]: row of `responses`"""
    splits: NDArray[np.object_] = field(repr=False)
    """[n]: the cell of each pair, or None"""
    summary: ReadingSummary = field(default_factory=lambda: ReadingSummary(0, 0), compare=False)

    @classmethod
    def build(
        cls,
        responses: Iterable[tuple[str, object, object]],
        names: Sequence[str],
        user: NDArray[np.integer],
        chosen: NDArray[np.integer],
        rejected: NDArray[np.integer],
        splits: NDArray[np.object_] | None = None,
        n_ties: int = 0,
    ) -> SharedPreferences:
        """Check responses, each (prompt_id, prompt, response), and put the pairs between their rows together.

        Raises
        ------
        DataError
            A prompt or response does not keep the data contract, or a pair points outside.
        """
        import pyarrow as pa

        ids, prompts, answers = [], [], []
        for number, (prompt_id, prompt, response) in enumerate(responses):
            ids.append(prompt_id)
            prompts.append(parse_prompt(prompt, f"prompt of response {number}"))
            answers.append(parse_response(response, f"response {number}"))
        table = pa.table(
            {
                "prompt_id": pa.array(ids, pa.string()),
                "prompt": build_messages(prompts),
                "response": build_messages(answers),
            }
        )
        rows = tuple(np.asarray(part, dtype=np.int32) for part in (user, chosen, rejected))
        for part, count in zip(rows, (len(names), len(ids), len(ids)), strict=True):
            if len(part) and not 0 <= part.min() <= part.max() < count:
                raise DataError("a pair points outside the users or responses", "build pairs of the rows given")
        if splits is None:
            splits = np.full(len(rows[0]), None, dtype=object)
        summary = ReadingSummary(len(rows[0]) + n_ties, len(rows[0]), n_ties)
        return cls(table, tuple(names), rows[0], rows[1], rows[2], splits, summary)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def user_ids(self) -> NDArray[np.object_]:
        """The user of each pair: str, [n]."""
        return np.array(self.names, dtype=object)[self.user]

    @property
    def prompt_ids(self) -> NDArray[np.object_]:
        """The prompt of each pair: str, [n]."""
        return np.array(self.responses["prompt_id"].to_pylist(), dtype=object)[self.chosen]

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each pair, 1: float64, [n]."""
        return np.ones(len(self))

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> SharedPreferences:
        """Take some of the pairs, in the order wanted; the responses stay."""
        at = np.asarray(indices, dtype=np.int64)
        names = ("user", "chosen", "rejected", "splits")
        return replace(self, **{name: getattr(self, name)[at] for name in names})

    def with_splits(self, labels: Sequence[str | None] | NDArray[np.str_]) -> SharedPreferences:
        """Replace the cells."""
        known = {label: label for label in dict.fromkeys(labels)}  # one string for each label, not one for each pair
        return replace(self, splits=np.array([known[label] for label in labels], dtype=object))

    def without_users(self, user_ids: Collection[str]) -> SharedPreferences:
        """Leave out users, and the texts of responses that only they compared; the rows keep their numbers."""
        import pyarrow as pa
        import pyarrow.compute as pc

        gone = set(user_ids)
        names = tuple(name for name in self.names if name not in gone)
        place = {name: i for i, name in enumerate(names)}
        number = np.array([place.get(name, -1) for name in self.names], dtype=np.int32)
        left = self.select(np.flatnonzero(number[self.user] >= 0))
        theirs = np.zeros(len(self.responses), dtype=bool)
        for pairs, are_theirs in ((self, True), (left, False)):
            theirs[pairs.chosen] = theirs[pairs.rejected] = are_theirs
        blank = {"prompt_id": "", "prompt": [], "response": []}
        responses = self.responses
        for at, field_of in enumerate(responses.schema):
            column = pc.if_else(pa.array(theirs), pa.scalar(blank[field_of.name], field_of.type), responses[at])
            responses = responses.set_column(at, field_of, column)
        return replace(left, names=names, user=number[left.user], responses=responses)

    def messages(self, column: Literal["prompt", "chosen", "rejected"]) -> list[Conversation]:
        """Give the turns of one column of the pairs."""
        rows = self.rejected if column == "rejected" else self.chosen
        return read_conversations(self.responses.take(rows), "prompt" if column == "prompt" else "response")

    def all_conversations(self) -> list[Conversation]:
        """Give each response after its prompt, [R]."""
        prompts, answers = (read_conversations(self.responses, name) for name in ("prompt", "response"))
        return [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]

    def conversations(self, side: Literal["chosen", "rejected"]) -> list[Conversation]:
        """Give the whole conversations of one side of the pairs; pairs share the objects."""
        every = self.all_conversations()
        return [every[row] for row in (self.chosen if side == "chosen" else self.rejected)]

    def __iter__(self) -> Iterator[SharedPreferences]:
        """Give the pairs some at a time, which bounds the Python objects that whoever goes through them makes."""
        for start in range(0, len(self), _PAIRS_AT_A_TIME):
            yield self.select(range(start, min(start + _PAIRS_AT_A_TIME, len(self))))

    def write(self, folder: str | Path) -> None:
        """Write `responses.parquet` and `choices.parquet`; equal preferences give equal bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts = pa.string()
        choices = pa.table(
            {
                "user_id": pa.DictionaryArray.from_arrays(pa.array(self.user), pa.array(self.names, texts)),
                "chosen": pa.array(self.chosen),
                "rejected": pa.array(self.rejected),
                "split": pa.array(self.splits, texts).dictionary_encode(),
            }
        )
        for name, table in ((RESPONSES, self.responses), (CHOICES, choices)):
            with atomic_path(Path(folder) / name) as temporary:
                pq.write_table(table.combine_chunks(), temporary, compression="zstd")

    @classmethod
    def read(cls, folder: str | Path) -> SharedPreferences:
        """Read what `write` wrote; `DataError` where a file is missing or damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            responses, choices = (
                pq.read_table(Path(folder) / name, partitioning=None) for name in (RESPONSES, CHOICES)
            )
            users, splits = (choices[name].combine_chunks() for name in ("user_id", "split"))
            names = users.dictionary.to_pylist()
            known = np.array([*splits.dictionary.to_pylist(), None], dtype=object)
            schema = pa.schema([("prompt_id", pa.string()), ("prompt", messages_type()), ("response", messages_type())])
            return cls(
                responses=responses.cast(schema),
                names=tuple(names),
                user=_rows(users.indices),
                chosen=_rows(choices["chosen"]),
                rejected=_rows(choices["rejected"]),
                splits=known[splits.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)],
                summary=ReadingSummary(len(choices), len(choices)),
            )
        except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
            raise DataError(f"{folder} holds no readable {RESPONSES} and {CHOICES}", "prepare them again") from error


def _rows(column: Any) -> NDArray[np.int32]:  # noqa: ANN401 - of Arrow, whole or in chunks
    return np.asarray(column.to_numpy(), dtype=np.int32)
