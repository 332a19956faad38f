"""Ids of users and prompts: one rule for ids in files, arrays, arguments, the command line and the server.

- A string is an id and is kept unchanged: "007" and "7" are two ids. A blank string is no id.
- A whole number is the id of its digits, whatever its type: 7, 7.0, `numpy.int8(7)` and `Decimal(7)` are "7".
- A float that is too large for its type to hold every whole number is refused: 64-bit floats from 2**53 on, 32-bit ones
  from 2**24 on. Two ids can have been rounded to it.
- A missing value (None, NaN, `pandas.NA`, a masked entry) is no id. It never becomes the id "nan".
- Anything else (True, 1.5, bytes, dates, lists) is refused.

`parse_id` and `require_id` read a cell of an input row, `as_id` and `as_ids` an argument of a function or command, and
`as_id_column` a column with one id per comparison.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorerm.arrays import as_column
from lorerm.data.coercion import describe, is_missing
from lorerm.errors import DataError, UnknownUserError

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable

    import pyarrow as pa

    from lorerm.arrays import Strings

_PYTHON_FLOAT_BITS = 53
# Largest number of known ids that are searched for one with a similar spelling, which takes about 10 us for each.
_MAX_SEARCHED = 20_000
# What pandas and spreadsheets write into a CSV file for a whole number in a column of floats: 7.0 and 1.23E+18.
_FLOAT_TEXT = re.compile(r"-?[0-9]+\.0+|-?[0-9](\.[0-9]+)?[eE]\+[0-9]+")


class _Place(NamedTuple):
    """Where a value was read, for errors: the name that describes it, and its column or argument."""

    name: str
    column: str | None = None
    argument: str | None = None

    def error(self, problem: str, remedy: str = "give a string or a whole number") -> DataError:
        return DataError(f"{self.name} {problem}", remedy, column=self.column, argument=self.argument)


def parse_id(value: object, column: str) -> str | None:
    """Return the id in a cell of a row. Return None if the cell is a null or a blank string.

    `column` is the name of the column in errors.

    Examples
    --------
    >>> parse_id("007", "user_id"), parse_id(7.0, "user_id"), parse_id(None, "user_id")
    ('007', '7', None)
    """
    return _convert(value, _Place(f'column "{column}"', column=column))


def require_id(value: object, column: str) -> str:
    """Return an id as `parse_id` does. Raises `DataError` if the cell has no id."""
    found = parse_id(value, column)
    if found is None:
        raise DataError(f'column "{column}" is empty', "give an id, or leave the row out", column=column)
    return found


def parse_text_id(text: object) -> object:
    """Return the id in a cell of a text format, such as CSV, that writes numbers as text: "7.0" stands for 7.0.

    Only the forms in which programs write a column of floats are numbers; all other text is returned unchanged.

    Examples
    --------
    >>> parse_text_id("7.0"), parse_text_id("1.23E+18"), parse_text_id("1.5"), parse_text_id("007")
    (7.0, 1.23e+18, '1.5', '007')
    """
    return float(text) if isinstance(text, str) and _FLOAT_TEXT.fullmatch(text) else text


def as_id(value: object, argument: str = "user_id") -> str:
    """Return the id that the caller gave as an argument. Raises `DataError` if the value is not an id.

    Examples
    --------
    >>> as_id(7)
    '7'
    """
    found = _convert(value, _Place(argument, argument=argument))
    if found is None:
        raise DataError(f"{argument} is empty", "give an id: text or a whole number", argument=argument)
    return found


def as_ids(values: Iterable[object], argument: str = "user_ids") -> tuple[str, ...]:
    """Return the ids in a list, array or other collection that the caller gave as an argument.

    Raises `DataError` if an entry is no id, or if `values` is a single id.

    Examples
    --------
    >>> as_ids([7, "ann"])
    ('7', 'ann')
    """
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__") or getattr(values, "ndim", 1) != 1:
        raise DataError(
            f"{argument} is {describe(values)}, not a list of ids", "give a list, also for one id", argument=argument
        )
    found = []
    for index, value in enumerate(values):
        found.append(_require(value, index, argument))
    return tuple(found)


def as_id_column(values: Any, argument: str) -> Strings:  # noqa: ANN401 - a column of any library
    """Return a column of ids, one per comparison, as an array of Python strings.

    An array of strings is returned unchanged. Raises `DataError` with the index of an entry that is not an id.
    """
    if hasattr(values, "to_arrow"):  # polars
        values = values.to_arrow()
    if not hasattr(values, "dictionary_encode"):  # not an Arrow array
        values = as_column(values)
        if hasattr(values, "__array__"):
            values = np.asarray(values)
    single = isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__getitem__")
    if single or getattr(values, "ndim", 1) != 1:
        raise DataError(f"{argument} is not a list of ids", "give one id per comparison", argument=argument)
    encoded = _encode(values)
    return _from_python(values, argument) if encoded is None else _from_arrow(encoded, argument)


def check_known(users: Iterable[str], known: Container[str], where: str) -> None:
    """Raise `UnknownUserError` if one of the users is not in `known`. `where` describes `known` in the error."""
    missing = [user for user in users if user not in known]
    if missing:
        more = f", and {len(missing) - 1:,} other users of the list are not either" if len(missing) > 1 else ""
        raise UnknownUserError(
            f"user {missing[0]!r} is not in {where}{more}",
            "check the id, or pass missing_ok=True to skip users who are not there",
            argument="user_ids",
        )


def look_alikes(ids: Iterable[str], among: Collection[str] | None = None) -> list[tuple[str, ...]]:
    """Return the groups of different ids that look the same: equal without white space and invisible characters.

    Ids are compared in Unicode's composed form (NFC). If `among` is given, only groups with one of these ids are
    returned.

    Examples
    --------
    >>> look_alikes(["ann", "ben", "ann "])
    [('ann', 'ann ')]
    """
    groups: dict[str, list[str]] = {}
    for one in dict.fromkeys(ids):
        groups.setdefault(visible(one), []).append(one)
    wanted = None if among is None else set(among)
    return [
        tuple(group) for group in groups.values() if len(group) > 1 and (wanted is None or not wanted.isdisjoint(group))
    ]


def look_alike_warnings(ids: Iterable[str], what: str, among: Collection[str] | None = None) -> list[str]:
    """Return a sentence about ids that look the same (see `look_alikes`), if there are any.

    `what` says whose ids they are: "user" or "prompt".
    """
    groups = look_alikes(ids, among)
    if not groups:
        return []
    example = " and ".join(shown(one) for one in groups[0][:2])
    return [
        f"{sum(map(len, groups)):,} {what} ids look like another id and differ only in white space, invisible "
        f"characters or Unicode form, for instance {example}. They count as different {what}s. If they stand "
        f"for the same {what}, correct the ids."
    ]


def visible(one: str) -> str:
    """Return an id without white space at its ends and without invisible characters, in Unicode's composed form.

    Examples
    --------
    >>> visible(" ann ")
    'ann'
    """
    if one.isascii():
        return one.strip()
    text = "".join(character for character in one if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFC", text).strip()


def shown(one: str) -> str:
    """Return an id in quotes, in which every character that is not plain ASCII is escaped, so that it is visible."""
    return ascii(one)


def nearest(one: str, known: Iterable[str]) -> str | None:
    """Return the known id with the most similar spelling to an unknown id, or None if no known id is similar.

    Examples
    --------
    >>> nearest("Ann ", ["ben", "ann"])
    'ann'
    """
    known = list(known)
    spelling = _spelling(one)
    if found := next((other for other in known if _spelling(other) == spelling), None):
        return found
    if len(known) > _MAX_SEARCHED:
        return None
    return next(iter(get_close_matches(one, known, n=1, cutoff=0.8)), None)


def _spelling(one: str) -> str:
    """Return an id without case and accents. A number also loses leading zeros and ".0": 007 and 7.0 become 7."""
    text = unicodedata.normalize("NFKD", visible(one)).casefold()
    text = "".join(character for character in text if not unicodedata.combining(character))
    number = re.fullmatch(r"0*([0-9]+)(\.0+)?", text)
    return number[1] if number else text


def _require(value: object, index: int, argument: str) -> str:
    """Return an entry of a list as an id. Raises `DataError` with the entry's index if it is not an id."""
    place = _Place(f"{argument}[{index}]", argument=argument)
    found = _convert(value, place)
    if found is None:
        raise place.error("is empty", "give an id, or leave the entry out")
    return found


def _convert(value: object, place: _Place) -> str | None:
    """Return a value as an id, or None if it is missing or blank."""
    if not isinstance(value, str):
        value = _as_scalar(value)
    if isinstance(value, str):
        return _check_text(value, place)
    if is_missing(value):
        return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    if isinstance(value, (float, np.floating)) and np.isfinite(value):
        return _from_float(value, place)
    raise place.error(f"is {describe(value)}")


def _as_scalar(value: object) -> object:
    """Return an Arrow scalar, or an array or tensor without dimensions, as the number or string in it."""
    if hasattr(value, "as_py") and hasattr(value, "type"):
        number = value.as_py()
        width = value.type.bit_width if isinstance(number, float) else 64
        return np.dtype(f"float{width}").type(number) if width < 64 else number
    if getattr(value, "ndim", None) == 0 and hasattr(value, "__array__") and not isinstance(value, np.generic):
        return value if is_missing(value) else np.asarray(value)[()]
    return value


def _check_text(text: str, place: _Place) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise place.error(
            "contains a lone surrogate, which UTF-8 cannot store", "correct the encoding of the text"
        ) from None
    return str(text) if text.strip() else None


def _from_float(value: float | np.floating[Any], place: _Place) -> str:
    if value != np.floor(value):
        raise place.error(f"is {describe(value)}")
    bits = np.finfo(type(value)).nmant + 1 if isinstance(value, np.floating) else _PYTHON_FLOAT_BITS
    # 2**bits itself is refused, too: 2**bits + 1 is rounded to it.
    if abs(int(value)) >= 2**bits:
        raise place.error(
            f"is {describe(value)}, a float too large to be exact (from 2**{bits} on): different ids can have been "
            "rounded to it",
            "store ids as text or as integers, which keep every digit",
        )
    return str(int(value))


def _encode(values: Any) -> pa.DictionaryArray | None:  # noqa: ANN401 - a column of any library
    """Return an array of a plain type as an Arrow dictionary, which needs no Python object per entry."""
    import pyarrow as pa

    try:
        if isinstance(values, np.ndarray) and values.dtype.kind in "iufU":
            values = pa.array(values)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if not isinstance(values, pa.Array) or isinstance(values, pa.ExtensionArray):
            return None
        return values if isinstance(values, pa.DictionaryArray) else values.dictionary_encode()
    except (pa.ArrowException, NotImplementedError, UnicodeError):
        return None


def _from_arrow(encoded: pa.DictionaryArray, argument: str) -> Strings:
    entries = [*encoded.dictionary, None]  # the last entry is for nulls
    number = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found: Strings = np.array([_id_or_none(entry) for entry in entries], dtype=object)[number]
    for index in np.flatnonzero(found == None)[:1]:  # noqa: E711 - compared element by element
        _require(entries[number[index]], int(index), argument)
    return found


def _from_python(values: Any, argument: str) -> Strings:  # noqa: ANN401 - a list, or an array of objects
    if isinstance(values, np.ndarray) and all(type(value) is str for value in values):
        distinct = dict.fromkeys(values)
        if all(_id_or_none(value) is not None for value in distinct):
            return values
    known: dict[object, str] = {}  # the type is part of the key, since 1 == True
    found = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        key = (type(value), value) if isinstance(value, (str, int, float)) else None
        if key not in known:
            found[index] = _require(value, index, argument)
            if key is not None:
                known[key] = found[index]
        else:
            found[index] = known[key]
    return found


def _id_or_none(value: object) -> str | None:
    try:
        return _convert(value, _Place(""))
    except DataError:
        return None
