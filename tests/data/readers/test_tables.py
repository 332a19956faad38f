"""Tables in memory give the same comparisons as the rows that they hold."""

import numpy as np
import pyarrow as pa
import pytest

from logs import ROWS
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError
from refusals import refused

WANTED = Preferences.from_records(ROWS)


class Polars:
    """A table with the names and methods of `polars.DataFrame` that are used."""

    columns = tuple(ROWS[1])

    def __iter__(self):
        return iter([[row.get(name) for row in ROWS] for name in self.columns])

    def iter_rows(self):
        return iter([tuple(row.get(name) for name in self.columns) for row in ROWS])


def pandas_table(**columns):
    import pandas as pd

    return pd.DataFrame(ROWS).assign(**columns)


def test_rows_of_every_table():
    table = pa.Table.from_pylist([{**row, "split": row.get("split")} for row in ROWS])
    for found in (pandas_table(), pandas_table().convert_dtypes(), pandas_table().iloc[:], Polars(), table):
        assert Preferences.from_records(found) == WANTED
    assert Preferences.from_records(table.to_batches()[0]) == WANTED


def test_missing_values_of_pandas_are_missing():
    import pandas as pd

    for missing in (pd.NA, pd.NaT, np.float32("nan"), None):
        found = Preferences.from_records(pandas_table(weight=missing, split=missing))
        assert found.splits.tolist() == [None, None]
        with refused(DataError, file="records", row=1, column="rejected"):
            Preferences.from_records(pandas_table(rejected=[missing, "a"]))


def test_column_that_occurs_twice_is_refused():
    import pandas as pd

    table = pd.concat([pandas_table(), pandas_table()[["chosen"]]], axis=1)
    with refused(DataError, column="chosen"):
        Preferences.from_records(table)


@pytest.mark.parametrize("value", ["log.jsonl", b"x", {"user_id": ["ann"]}, None, 3])
def test_value_that_is_neither_rows_nor_a_table(value):
    with refused(DataError, type(value).__name__, argument="records"):
        Preferences.from_records(value)
