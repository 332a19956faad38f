"""`Preferences`: who preferred which response to which prompt, as text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.conversation import Conversation
from lorerm.data.readers.datasets_folder import dataset_rows
from lorerm.data.readers.files import read_rows
from lorerm.data.readers.format import Row
from lorerm.data.schema import Comparison, parse_row, parse_split
from lorerm.data.table import build_table, read_conversations, read_tables, schema
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import datasets
    import pyarrow as pa
    from numpy.typing import NDArray

    from lorerm.data.readers.folders import DataFile

_ROWS_PER_GROUP = 10_000  # fixed, so that equal tables are equal bytes


@dataclass(frozen=True)
class ReadingSummary:
    """What became of the rows that were read; a pair that stands there twice is kept twice, for it was judged twice."""

    n_rows: int
    """rows read"""
    n_pairs: int
    """pairs that they stand for"""
    n_ties: int = 0
    """pairs left out of choices and ratings, for equal ratings or equal texts"""

    def warnings(self) -> list[str]:
        """Say in sentences what was left out.

        Returns
        -------
        list of str
        """
        if not self.n_ties:
            return []
        return [f"Tied pairs of ratings or choices, left out as they say nothing about the user: {self.n_ties:,}."]

    def check(self, source: str = "the input") -> None:
        """Raise `DataError` where no pair is left; `source` is what the error calls the input."""
        if not self.n_rows:
            raise DataError("the input holds no rows", "give at least one judgement")
        if not self.n_pairs:
            raise DataError(f"{source}: every judgement is a tie, so no pair is left", "give judgements that differ")


@dataclass(frozen=True)
class Preferences:
    """Pairs of responses, each with the user who preferred the one to the other.

    Make them with `from_files`, `from_records` or `from_dataset`, which check the data contract row by row. The order
    of the rows is that of the input. Two are equal when their tables are.

    Examples
    --------
    >>> preferences = Preferences.from_records(
    ...     [{"user_id": "ann", "prompt": "Tea or coffee?", "chosen": "Tea.", "rejected": "Coffee."}]
    ... )
    >>> preferences.conversations("chosen")
    [({'role': 'user', 'content': 'Tea or coffee?'}, {'role': 'assistant', 'content': 'Tea.'})]
    """

    table: pa.Table = field(repr=False)
    """in normal form: `user_id`, `prompt_id` (string), `prompt`, `chosen`, `rejected` (lists of {role, content}),
    `split` (string, or null), `weight` (float64: one judgement counts once)"""
    summary: ReadingSummary = field(compare=False)
    """of the reading that these, or the preferences they were selected from, came from"""

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, object]], source: str = "records", user_column: str = "user_id"
    ) -> Preferences:
        """Check rows and bring them into normal form.

        Parameters
        ----------
        records
            One mapping per row: the user (a string or whole number); `prompt`; either `chosen` and `rejected`, or
            `responses` with `choice` (a position from 0) or `ratings` (one number each, higher is better), which
            become weighted pairs. A prompt or response is a string or a list of `{"role", "content"}` messages.
            Optional: `prompt_id` (default: a hash of the prompt), `split`, `weight`. Other columns are ignored.
        source
            How errors call the input.
        user_column
            The column of the users.

        Returns
        -------
        Preferences

        Raises
        ------
        DataError
            A row does not keep the contract (the message names row and column), or no pair is left.
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
            Whether it is no error that no pair is left: where the files are a part of an input.

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
            raise DataError("no file was given", "name at least one file or folder")
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
            Of a `DatasetDict` with several splits their names become `split`, and validation counts as test.
        user_column
            The column of the users.

        Returns
        -------
        Preferences

        Raises
        ------
        DataError
            As `from_records`.
        """
        return cls._from_rows(dataset_rows(dataset, user_column), user_column)

    @classmethod
    def read_parquet(cls, path: str | Path) -> Preferences:
        """Read what `write_parquet` wrote.

        Parameters
        ----------
        path
            A Parquet file in the normal form; for any other, use `from_files`.

        Returns
        -------
        Preferences

        Raises
        ------
        DataError
            The file is missing, damaged, or not in the normal form.
        """
        import pyarrow as pa

        table = pa.Table.from_batches([batch for chunk in read_tables(path) for batch in chunk.to_batches()], schema())
        return cls(table, ReadingSummary(len(table), len(table)))

    def write_parquet(self, path: str | Path) -> None:
        """Write the table whole or not at all; equal preferences give equal bytes.

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
            pq.write_table(self.table.combine_chunks(), temporary, compression="zstd", row_group_size=_ROWS_PER_GROUP)

    def to_trl(self) -> datasets.Dataset:
        """Give a data set in TRL's conversational preference format; `from_dataset` reads it back as it was.

        Returns
        -------
        datasets.Dataset
            `prompt`, `chosen` and `rejected` as lists of messages, which `DPOTrainer` and `RewardTrainer` take, with
            the other columns of the table.
        """
        import datasets

        return datasets.Dataset(self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> Preferences:
        """Take some of the pairs.

        Parameters
        ----------
        indices
            Row numbers from 0, in the order wanted; may be none.

        Returns
        -------
        Preferences
            With the summary of the whole.
        """
        return replace(self, table=self.table.take(np.asarray(indices, dtype=np.int64)))

    def with_splits(self, labels: Sequence[str | None] | NDArray[np.str_]) -> Preferences:
        """Replace the column `split`.

        Parameters
        ----------
        labels
            One of `train`, `test`, the cells' names, `unused` or None for each pair.

        Returns
        -------
        Preferences

        Raises
        ------
        DataError
            A label is not known, or there are not as many as pairs.
        """
        import pyarrow as pa

        if len(labels) != len(self):
            raise DataError(f"{len(labels)} split labels for {len(self)} pairs", "give one label for each pair")
        known = {label: parse_split(label) for label in dict.fromkeys(labels)}
        column = pa.array([known[label] for label in labels], pa.string())
        return replace(self, table=self.table.set_column(self.table.schema.get_field_index("split"), "split", column))

    @property
    def user_ids(self) -> NDArray[np.object_]:
        """The user of each pair: str, [n]."""
        return self._strings("user_id")

    @property
    def prompt_ids(self) -> NDArray[np.object_]:
        """The prompt of each pair, which train and test never share: str, [n]."""
        return self._strings("prompt_id")

    @property
    def splits(self) -> NDArray[np.object_]:
        """What the input, or the preparation, said of each pair: str or None, [n]."""
        return self._strings("split")

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each pair, positive: float64, [n]."""
        return np.asarray(self.table["weight"].to_numpy(), dtype=np.float64)

    def messages(self, column: Literal["prompt", "chosen", "rejected"]) -> list[Conversation]:
        """Give the turns of one column alone.

        Parameters
        ----------
        column
            Which column.

        Returns
        -------
        list of Conversation
            One for each pair.
        """
        return read_conversations(self.table, column)

    def conversations(self, side: Literal["chosen", "rejected"]) -> list[Conversation]:
        """Give the whole conversations, prompt and response, of one side of the pairs.

        Parameters
        ----------
        side
            Which response.

        Returns
        -------
        list of Conversation
            One for each pair.
        """
        pairs = zip(self.messages("prompt"), self.messages(side), strict=True)
        return [prompt + response for prompt, response in pairs]

    def _strings(self, column: str) -> NDArray[np.object_]:
        """Give a column of strings as an array of Python strings."""
        return np.array(self.table[column].to_pylist(), dtype=object)

    @classmethod
    def _from_rows(cls, rows: Iterable[Row], user_column: str, *, may_be_empty: bool = False) -> Preferences:
        """Build the table out of rows, and name the row in every error."""
        n_rows = n_ties = 0
        source = "the input"

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

        table = build_table(comparisons())
        summary = ReadingSummary(n_rows, len(table), n_ties)
        if not may_be_empty:
            summary.check(source)
        return cls(table, summary)
