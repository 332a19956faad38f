"""One response preferred to another: the columns `chosen` and `rejected`, as in TRL's preference format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.data.coercion import is_missing
from lorerm.data.feedback.kind import Judged, Kind, Ordering, read_prompt, read_responses, required
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.data.account import Account

_COLUMNS = ("chosen", "rejected")


def _recognises(record: Mapping[str, object]) -> bool:
    return any(not is_missing(record.get(column)) for column in _COLUMNS)


def _parse(record: Mapping[str, object], account: Account) -> Judged:
    prompt = read_prompt(record, account)
    values = {f'column "{column}"': required(record, column) for column in _COLUMNS}
    chosen, rejected = read_responses(values, prompt, 'columns "chosen" and "rejected"', _COLUMNS, account)
    if chosen == rejected:
        raise DataError(
            'columns "chosen" and "rejected" have the same text',
            "leave the row out, since it shows no preference",
            column="rejected",
        )
    return Judged(prompt, [chosen, rejected], Ordering([(0, 1)], 1.0, 0))


KIND = Kind(_COLUMNS, _recognises, _parse)
