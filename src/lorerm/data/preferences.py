"""`Preferences`: comparisons with the texts of their prompts and responses."""

from __future__ import annotations

import unicodedata
from array import array
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.account import Account, Fact, ReadingSummary
from lorerm.data.comparisons import Comparisons, as_strings
from lorerm.data.conversation import Conversation, conversation_key, parse_prompt, parse_response
from lorerm.data.feedback.rows import parse_row
from lorerm.data.readers.datasets_folder import dataset_rows
from lorerm.data.readers.files import DataFile, find_files, read_rows
from lorerm.data.readers.format import Row
from lorerm.data.readers.tables import table_records
from lorerm.data.responses import build_responses, canonical_order, read_messages
from lorerm.data.schema import Comparison
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import datasets
    import pyarrow as pa

    from lorerm.arrays import Ints, Strings
    from lorerm.data.readers.tables import Table

# Number of comparisons in one chunk of `Preferences.table`, and in one row group of its Parquet file. It is fixed, so
# that equal tables give identical bytes. It is small, so that the text in a chunk stays below 2 GiB, the limit of the
# chunk's 32-bit offsets.
_ROWS_PER_CHUNK = 10_000
_ROWS_READ = 1_000  # number of rows of a Parquet file converted to Python objects at a time


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Preferences(Comparisons):
    """Comparisons with the texts of their prompts and responses.

    Create them with `from_files`, `from_records` or `from_dataset`, which check each row. The comparisons are in the
    order of the input. Two `Preferences` are equal if the property `table` of both is equal.

    Parameters
    ----------
    user_ids, prompt_ids
        Str [n]: the user and the prompt of each comparison.
    chosen, rejected
        Int64 [n]: the rows of the chosen and of the rejected responses in `responses`.
    weights
        Float64 [n]: as how many comparisons each one counts.
    splits
        Str or None [n]: the split of each comparison, as the input named it or as it was assigned.
    responses
        An Arrow table with one row for each response. Its columns `prompt` and `response` are lists of {role, content}.
    summary
        Counts of the input as it was read. `select` keeps these counts unchanged.

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
        cls, records: Iterable[Mapping[str, object]] | Table, source: str = "records", user_column: str = "user_id"
    ) -> Preferences:
        """Check rows and convert them to comparisons (one chosen and one rejected response each).

        Parameters
        ----------
        records
            One mapping for each row, or a table of pandas, polars or Arrow, with these columns; other columns are
            ignored, and a warning of the summary names those that look like feedback:

            - the user (a string or whole number), under the name `user_column`
            - `prompt`
            - either `chosen` and `rejected`; or `responses` with `choice` (the index of the chosen response, from 0) or
              `ratings` (one number for each response; higher is better), which become several weighted comparisons
            - optional: `prompt_id` (default: a hash of the prompt), `split`, `weight`

            A prompt or response is a string or a list of `{"role", "content"}` messages.
        source
            The name of the input in errors.
        user_column
            The name of the column with the users.

        Raises
        ------
        DataError
            A row is not valid (the error names row and column), or there is no comparison.
        """
        rows = (Row(source, number, record) for number, record in enumerate(table_records(records, user_column), 1))
        return cls._from_rows(rows, user_column)

    @classmethod
    def from_files(
        cls, *paths: str | Path | DataFile, user_column: str = "user_id", may_be_empty: bool = False
    ) -> Preferences:
        """Read comparisons from files (JSON lines, JSON, CSV or Parquet, also compressed) or folders.

        Parameters
        ----------
        *paths
            Each path is one of:

            - a file
            - a folder: its files are read in the order of their names, then the files in its subfolders; the name of a
              subfolder can give its files the value of a column (`column=value`)
            - a folder written by `save_to_disk` of the `datasets` library
        user_column
            The name of the column with the users.
        may_be_empty
            Accept input without any comparison. Needed when an input is read in parts and one part can be empty.

        Returns
        -------
        Preferences
            The comparisons of all paths, in the order given.

        Raises
        ------
        DataError
            For the reasons of `from_records`, or because a file is missing, empty or unreadable.
        """
        if not paths:
            raise DataError("no file was given", "name at least one file or folder", argument="paths")
        files: list[DataFile] = []
        unread: list[Path] = []
        for path in paths:
            if isinstance(path, DataFile):
                files.append(path)
            else:
                found = find_files(Path(path))
                files += found.files
                unread += found.unread
        rows = (row for file in files for row in read_rows(file, user_column))
        return cls._from_rows(rows, user_column, unread, may_be_empty=may_be_empty)

    @classmethod
    def from_dataset(
        cls, dataset: datasets.Dataset | datasets.DatasetDict, user_column: str = "user_id"
    ) -> Preferences:
        """Convert a data set of the `datasets` library.

        Parameters
        ----------
        dataset
            The data set. If it is a `DatasetDict` with several splits, rows without a value in the column `split` get
            the name of their split; validation counts as test.
        user_column
            The name of the column with the users.

        Raises
        ------
        DataError
            For the reasons of `from_records`.
        """
        return cls._from_rows(dataset_rows(dataset, user_column), user_column)

    @classmethod
    def from_comparisons(cls, comparisons: Iterable[Comparison], summary: ReadingSummary | None = None) -> Preferences:
        """Build `Preferences` from comparisons that are already checked.

        The rows of the responses are in order of first appearance. If `summary` is None, each comparison counts as one
        row read.
        """
        row_of: dict[bytes, int] = {}  # digest of a response -> its row; texts as keys would double the memory
        ends = array("q")  # for each comparison the row of its chosen, then of its rejected response
        user_ids: list[str] = []
        prompt_ids: list[str] = []
        weights: list[float] = []
        splits: list[str | None] = []

        # While `build_responses` consumes this generator, it also fills the lists above; they are complete afterwards.
        def distinct_responses() -> Iterator[tuple[Conversation, Conversation]]:
            for one in comparisons:
                for response in (one.chosen, one.rejected):
                    # The length separates the prompt from the response.
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
        """Build `Preferences` from a list of responses and a table of the comparisons between them.

        Parameters
        ----------
        responses
            The prompt and the response of each row, as strings or lists of messages. All rows are kept in their order,
            including equal responses and responses that no comparison uses.
        comparisons
            The comparisons, which refer to the rows of `responses`.
        n_ties
            Number of pairs of responses that gave no comparison because they are tied, for the summary.

        Raises
        ------
        DataError
            A prompt or response is not valid, or a comparison refers to a row that does not exist.
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
        """Read a Parquet file that `write_parquet` wrote.

        Parameters
        ----------
        path
            A Parquet file with exactly the columns of `table`. Use `from_files` for other Parquet files.

        Raises
        ------
        DataError
            The file is missing or damaged, or has other columns.
        """
        return cls.from_comparisons(_read_table(path))

    def write_parquet(self, path: str | Path) -> None:
        """Write the property `table` to a Parquet file, atomically; equal preferences give identical bytes.

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
        """Arrow table with one row for each comparison, including its texts; built anew at each access.

        Its columns are `user_id`, `prompt_id` (string), `prompt`, `chosen`, `rejected` (lists of {role, content}),
        `split` (string or null) and `weight` (float64).
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
        """Return a data set in TRL's conversational preference format; `from_dataset` reads it back unchanged.

        Its columns are those of `table`. The columns `prompt`, `chosen` and `rejected` are lists of messages, as TRL's
        `DPOTrainer` and `RewardTrainer` expect.
        """
        import datasets

        return datasets.Dataset(self.table)

    def __eq__(self, other: object) -> bool:
        return self.table.equals(other.table) if isinstance(other, Preferences) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _sizes(self) -> dict[str, int]:
        return {**super()._sizes(), "responses": len(self.responses)}

    def messages(self, column: Literal["prompt", "chosen", "rejected"]) -> list[Conversation]:
        """Return one column as a list of conversations, one for each comparison.

        Equal conversations can be the same object.
        """
        # Both responses of a comparison have its prompt. Each row is converted once, however often it is used.
        rows = self.rejected if column == "rejected" else self.chosen
        used, index = np.unique(rows, return_inverse=True)
        found = read_messages(self.responses["prompt" if column == "prompt" else "response"].take(used))
        return [found[row] for row in index.reshape(-1).tolist()]

    def n_repeated(self) -> int:
        """Return the number of comparisons that occur earlier with the same user, prompt and responses."""
        columns = np.stack([self.index_users()[1], *self.rows()])
        ordered = columns[:, np.lexsort(columns)]
        return int((ordered[:, 1:] == ordered[:, :-1]).all(axis=0).sum())

    def index_prompt_texts(self) -> Ints:
        """Return for each comparison the index of its prompt's text, int64 [n].

        White space and the form in which Unicode characters are composed make no difference.
        """
        used, index = np.unique(self.chosen, return_inverse=True)
        number: dict[str, int] = {}
        texts = [
            number.setdefault(_normal_text(prompt), len(number))
            for prompt in read_messages(self.responses["prompt"].take(used))
        ]
        return np.array(texts, dtype=np.int64)[index.reshape(-1)]

    def conversations(self, side: Literal["chosen", "rejected"]) -> list[Conversation]:
        """Return the whole conversation of each comparison: the prompt, then the chosen or the rejected response."""
        pairs = zip(self.messages("prompt"), self.messages(side), strict=True)
        return [prompt + response for prompt, response in pairs]

    def canonical(self) -> Preferences:
        """Return the same comparisons, with the responses in an order that depends only on their texts.

        Embeddings are stored in this order. Equal responses are merged, and responses that no comparison uses are
        dropped. The other responses are sorted by the canonical JSON of the whole conversation
        (`lorerm.data.conversation.conversation_key`).
        """
        chosen, rejected = self.rows()
        used = np.unique(np.concatenate([chosen, rejected]))
        order, row = canonical_order(self.responses, used)
        # `searchsorted` gives the index of an old row in `used`; `row` gives the new row at that index.
        return replace(
            self,
            chosen=row[np.searchsorted(used, chosen)],
            rejected=row[np.searchsorted(used, rejected)],
            responses=self.responses.take(order),
        )

    @classmethod
    def _from_rows(
        cls, rows: Iterable[Row], user_column: str, unread: Sequence[Path] = (), *, may_be_empty: bool = False
    ) -> Preferences:
        account = Account()

        # The account is complete after `from_comparisons` has consumed this generator.
        def comparisons() -> Iterator[Comparison]:
            for row in rows:
                account.start_row(row.source, row.number)
                if row.remark is not None:
                    account.note(Fact.REMARK, row.remark)
                try:
                    yield from parse_row(row.record, user_column, account)
                except DataError as error:
                    raise error.in_row(row.source, row.number) from error

        found = cls.from_comparisons(comparisons())
        summary = account.summary(len(found), found.n_repeated(), unread)
        if not may_be_empty:
            summary.check(account.source)
        return replace(found, summary=replace(summary, look_alikes=tuple(found.id_warnings())))


def _normal_text(prompt: Conversation) -> str:
    return "\0".join(
        f"{turn['role']} {' '.join(unicodedata.normalize('NFC', turn['content']).split())}" for turn in prompt
    )


@cache
def _table_schema() -> pa.Schema:
    """Return the schema of `Preferences.table`: the fields of `Comparison`, in their order."""
    import pyarrow as pa

    text, messages = pa.string(), pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    types = [text, text, messages, messages, messages, text, pa.float64()]
    return pa.schema(list(zip(Comparison._fields, types, strict=True)))


def _read_table(path: str | Path) -> Iterator[Comparison]:
    """Yield the comparisons in a Parquet file, which must have exactly the columns of `_table_schema`."""
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
                        raise DataError(
                            f'column "{name}" has missing values', "write the file again", file=path, column=name
                        )
                columns = [
                    read_messages(column) if pa.types.is_list(column.type) else column.to_pylist() for column in table
                ]
                yield from map(Comparison._make, zip(*columns, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the file is missing or not readable as Parquet ({first_line(error)})",
            "check the path, or write the file again",
            file=path,
        ) from error
