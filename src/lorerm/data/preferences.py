"""`Preferences`: which user preferred which response to which prompt, as text."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.comparisons import Comparisons, as_strings
from lorerm.data.conversation import Conversation, conversation_key, parse_prompt, parse_response
from lorerm.data.readers.datasets_folder import dataset_rows
from lorerm.data.readers.files import read_rows
from lorerm.data.readers.format import Row
from lorerm.data.responses import build_responses, canonical_order, read_messages
from lorerm.data.schema import Comparison, parse_row
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import datasets
    import pyarrow as pa

    from lorerm.arrays import Ints, Strings
    from lorerm.data.readers.files import DataFile

# Rows of the self-contained table in one chunk, and in one row group of Parquet. Fixed, so that equal tables are equal
# bytes; few enough for less than 2 GiB of text, which is what the chunk's 32-bit offsets can count.
_ROWS_PER_CHUNK = 10_000
_ROWS_READ = 1_000


@dataclass(frozen=True)
class ReadingSummary:
    """How many comparisons the rows of an input became.

    Comparisons that occur twice are kept twice, since the user made them twice.
    """

    n_rows: int
    """rows read"""
    n_pairs: int
    """comparisons that they became"""
    n_ties: int = 0
    """pairs of responses left out of choices and ratings, because of equal ratings or equal texts"""

    def warnings(self) -> list[str]:
        """Return one sentence for each thing that was left out."""
        if not self.n_ties:
            return []
        return [f"Tied pairs of ratings or choices, left out as they say nothing about the user: {self.n_ties:,}."]

    def check(self, source: str | None = None) -> None:
        """Raise `DataError` if no comparison is left; `source` is the input's name for the error."""
        if not self.n_rows:
            raise DataError("the input holds no rows", "give at least one row", file=source)
        if not self.n_pairs:
            raise DataError("every row is a tie, so no comparison is left", "give rows without ties", file=source)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Preferences(Comparisons):
    """Comparisons of responses, with their texts.

    Make them with `from_files`, `from_records` or `from_dataset`, which check the data contract row by row. The order
    of the comparisons is that of the input. Two `Preferences` are equal if their tables are.

    Parameters
    ----------
    user_ids, prompt_ids
        Str [n]: the user and the prompt of each comparison.
    chosen, rejected
        Int64 [n]: rows of `responses`.
    weights
        Float64 [n]: how much each comparison counts among its user's.
    splits
        Str or None [n]: the split that the input names, or that was assigned.
    responses
        An Arrow table with one row for each response: the columns `prompt` and `response`, lists of {role, content}.
    summary
        Counts of the input that these comparisons, or those they were selected from, were read from.

    Examples
    --------
    >>> preferences = Preferences.from_records(
    ...     [{"user_id": "ann", "prompt": "Tea or coffee?", "chosen": "Tea.", "rejected": "Coffee."}]
    ... )
    >>> preferences.conversations("chosen")
    [({'role': 'user', 'content': 'Tea or coffee?'}, {'role': 'assistant', 'content': 'Tea.'})]
    """

    user_ids: Strings
    prompt_ids: Strings
    chosen: Ints
    rejected: Ints
    splits: Strings
    responses: pa.Table
    summary: ReadingSummary

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, object]], source: str = "records", user_column: str = "user_id"
    ) -> Preferences:
        """Check rows and bring them into normal form.

        Parameters
        ----------
        records
            One mapping per row: the user (a string or whole number); `prompt`; either `chosen` and `rejected`, or
            `responses` with `choice` (an index from 0) or `ratings` (one number each, higher is better), which become
            weighted comparisons. A prompt or response is a string or a list of `{"role", "content"}` messages.
            Optional: `prompt_id` (default: a hash of the prompt), `split`, `weight`. Other columns are ignored.
        source
            The input's name in errors.
        user_column
            The column of the users.

        Raises
        ------
        DataError
            A row violates the contract (the error names row and column), or no comparison is left.
        """
        return cls._from_rows((Row(source, number, record) for number, record in enumerate(records, 1)), user_column)

    @classmethod
    def from_files(
        cls, *paths: str | Path | DataFile, user_column: str = "user_id", may_be_empty: bool = False
    ) -> Preferences:
        """Read files: JSON lines (also gzipped), JSON, CSV, Parquet, or folders.

        Parameters
        ----------
        *paths
            Files; folders of such files, or of folders named `column=value` with such files in them, read in the
            order of their names; or folders written by the `save_to_disk` of `datasets`.
        user_column
            The column of the users.
        may_be_empty
            Whether to accept files without a comparison, as one part of an input may be.

        Returns
        -------
        Preferences
            The rows of all files, in the order given.

        Raises
        ------
        DataError
            As `from_records`; or a file is missing, empty or unreadable.
        """
        if not paths:
            raise DataError("no file was given", "name at least one file or folder", argument="paths")
        rows = (row for path in paths for row in read_rows(path, user_column))
        return cls._from_rows(rows, user_column, may_be_empty=may_be_empty)

    @classmethod
    def from_dataset(
        cls, dataset: datasets.Dataset | datasets.DatasetDict, user_column: str = "user_id"
    ) -> Preferences:
        """Read a data set of the `datasets` library.

        Parameters
        ----------
        dataset
            The names of a `DatasetDict`'s splits become `split`, where validation counts as test.
        user_column
            The column of the users.

        Raises
        ------
        DataError
            As `from_records`.
        """
        return cls._from_rows(dataset_rows(dataset, user_column), user_column)

    @classmethod
    def from_comparisons(cls, comparisons: Iterable[Comparison], summary: ReadingSummary | None = None) -> Preferences:
        """Collect comparisons in normal form; without `summary`, each counts as one row read.

        The rows of the responses are in order of first appearance.
        """
        row_of: dict[bytes, int] = {}  # by digest: the texts themselves would have to be kept twice
        ends = array("q")  # the chosen and the rejected row of each comparison
        user_ids: list[str] = []
        prompt_ids: list[str] = []
        weights: list[float] = []
        splits: list[str | None] = []

        def distinct_responses() -> Iterator[tuple[Conversation, Conversation]]:
            for one in comparisons:
                for response in (one.chosen, one.rejected):
                    key = f"{len(one.prompt)} {conversation_key(one.prompt + response)}"
                    digest = blake2b(key.encode(), digest_size=16).digest()
                    if digest not in row_of:
                        row_of[digest] = len(row_of)
                        yield one.prompt, response
                    ends.append(row_of[digest])
                user_ids.append(one.user_id)
                prompt_ids.append(one.prompt_id)
                weights.append(one.weight)
                splits.append(one.split)

        responses = build_responses(distinct_responses())
        rows = np.array(ends, dtype=np.int64).reshape(-1, 2)
        return cls(
            user_ids=as_strings(user_ids),
            prompt_ids=as_strings(prompt_ids),
            chosen=rows[:, 0].copy(),
            rejected=rows[:, 1].copy(),
            weights=np.array(weights, dtype=np.float64),
            splits=as_strings(splits),
            responses=responses,
            summary=summary or ReadingSummary(len(rows), len(rows)),
        )

    @classmethod
    def from_responses(
        cls, responses: Iterable[tuple[object, object]], comparisons: Comparisons, n_ties: int = 0
    ) -> Preferences:
        """Join a list of responses and the comparisons between them, for users who all compare the same responses.

        Parameters
        ----------
        responses
            The prompt and the response of each row, as strings or lists of messages. All rows stay, in their order,
            also equal ones and those of no comparison.
        comparisons
            Comparisons between these rows.
        n_ties
            Pairs left out as ties, for the summary.

        Raises
        ------
        DataError
            A prompt or response violates the data contract, or a comparison points outside of the responses.
        """
        table = build_responses(
            (parse_prompt(prompt, f"prompt of response {number}"), parse_response(response, f"response {number}"))
            for number, (prompt, response) in enumerate(responses)
        )
        comparisons.check_rows(len(table))
        n = len(comparisons)
        chosen, rejected = comparisons.rows()
        return cls(
            user_ids=as_strings(comparisons.user_ids),
            prompt_ids=as_strings(comparisons.prompt_ids),
            chosen=chosen,
            rejected=rejected,
            weights=comparisons.weights,
            splits=as_strings([None] * n if comparisons.splits is None else comparisons.splits),
            responses=table,
            summary=ReadingSummary(n + n_ties, n, n_ties),
        )

    @classmethod
    def read_parquet(cls, path: str | Path) -> Preferences:
        """Read a file of `write_parquet`.

        Parameters
        ----------
        path
            A Parquet file in the normal form; for any other, use `from_files`.

        Raises
        ------
        DataError
            The file is missing, damaged, or not in the normal form.
        """
        return cls.from_comparisons(_read_table(path))

    def write_parquet(self, path: str | Path) -> None:
        """Write the self-contained table, whole or not at all; equal preferences give equal bytes.

        Parameters
        ----------
        path
            The Parquet file, in a folder that exists.

        Raises
        ------
        RunError
            The file cannot be written.
        """
        import pyarrow.parquet as pq

        with atomic_path(path) as temporary:
            pq.write_table(self.table.combine_chunks(), temporary, compression="zstd", row_group_size=_ROWS_PER_CHUNK)

    @property
    def table(self) -> pa.Table:
        """The self-contained Arrow table, built anew: each comparison with its texts.

        Its columns: `user_id`, `prompt_id` (string), `prompt`, `chosen`, `rejected` (lists of {role, content}), `split`
        (string, or null) and `weight` (float64).
        """
        import pyarrow as pa

        prompts, texts = self.responses["prompt"], self.responses["response"]
        tables = [_table_schema().empty_table()]
        for start in range(0, len(self), _ROWS_PER_CHUNK):
            some = self.select(slice(start, start + _ROWS_PER_CHUNK))
            columns = [some.user_ids, some.prompt_ids, prompts.take(some.chosen)]
            columns += [texts.take(some.chosen), texts.take(some.rejected), some.splits, some.weights]
            arrays = [
                pa.array(column, field.type) if isinstance(column, np.ndarray) else column.cast(field.type)
                for column, field in zip(columns, _table_schema(), strict=True)
            ]
            tables.append(pa.Table.from_arrays(arrays, schema=_table_schema()))
        return pa.concat_tables(tables)

    def to_trl(self) -> datasets.Dataset:
        """Return a data set in TRL's conversational preference format, which `from_dataset` reads back unchanged.

        `prompt`, `chosen` and `rejected` are lists of messages, which `DPOTrainer` and `RewardTrainer` take; the other
        columns are those of `table`.
        """
        import datasets

        return datasets.Dataset(self.table)

    def __eq__(self, other: object) -> bool:
        return self.table.equals(other.table) if isinstance(other, Preferences) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _sizes(self) -> dict[str, int]:
        return {**super()._sizes(), "responses": len(self.responses)}

    def messages(self, column: Literal["prompt", "chosen", "rejected"]) -> list[Conversation]:
        """Return the messages of one column, a conversation for each comparison; equal ones may be one object."""
        rows = self.rejected if column == "rejected" else self.chosen
        used, index = np.unique(rows, return_inverse=True)
        found = read_messages(self.responses["prompt" if column == "prompt" else "response"].take(used))
        return [found[row] for row in index.reshape(-1).tolist()]

    def conversations(self, side: Literal["chosen", "rejected"]) -> list[Conversation]:
        """Return for each comparison the whole conversation, prompt and response, of one side."""
        pairs = zip(self.messages("prompt"), self.messages(side), strict=True)
        return [prompt + response for prompt, response in pairs]

    def canonical(self) -> Preferences:
        """Return the same comparisons over responses in an order that depends on the texts alone.

        This is the order of the rows of embeddings: equal responses are merged, those of no comparison dropped, and the
        others sorted by the canonical JSON of the whole conversation (`lorerm.data.conversation.conversation_key`).
        """
        chosen, rejected = self.rows()
        used = np.unique(np.concatenate([chosen, rejected]))
        order, row = canonical_order(self.responses, used)
        return replace(
            self,
            chosen=row[np.searchsorted(used, chosen)],
            rejected=row[np.searchsorted(used, rejected)],
            responses=self.responses.take(order),
        )

    @classmethod
    def _from_rows(cls, rows: Iterable[Row], user_column: str, *, may_be_empty: bool = False) -> Preferences:
        n_rows = n_ties = 0
        source: str | None = None

        def comparisons() -> Iterator[Comparison]:
            nonlocal n_rows, n_ties, source
            for row in rows:
                n_rows, source = n_rows + 1, row.source
                try:
                    parsed = parse_row(row.record, user_column)
                except DataError as error:
                    raise error.in_row(row.source, row.number) from error
                n_ties += parsed.ties
                yield from parsed.comparisons

        found = cls.from_comparisons(comparisons())
        summary = ReadingSummary(n_rows, len(found), n_ties)
        if not may_be_empty:
            summary.check(source)
        return replace(found, summary=summary)


@cache
def _table_schema() -> pa.Schema:
    """Return the columns of the self-contained table: those of a `Comparison`, in its order."""
    import pyarrow as pa

    text, messages = pa.string(), pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    types = [text, text, messages, messages, messages, text, pa.float64()]
    return pa.schema(list(zip(Comparison._fields, types, strict=True)))


def _read_table(path: str | Path) -> Iterator[Comparison]:
    """Read the comparisons of a Parquet file with exactly these columns, some rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow != _table_schema():
                raise DataError(
                    "the file does not have the columns that Preferences.write_parquet writes "
                    f"(columns found: {', '.join(file.schema_arrow.names)})",
                    "read it with Preferences.from_files",
                    file=path,
                )
            for batch in file.iter_batches(_ROWS_READ):
                table = pa.Table.from_batches([batch])
                for name in Comparison._fields:
                    if table[name].null_count and name != "split":
                        raise DataError(f'column "{name}" has missing values', "write it again", file=path, column=name)
                columns = [
                    read_messages(column) if pa.types.is_list(column.type) else column.to_pylist() for column in table
                ]
                yield from map(Comparison._make, zip(*columns, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the file is missing or not readable as Parquet ({first_line(error)})",
            "check the path, or write it again",
            file=path,
        ) from error
