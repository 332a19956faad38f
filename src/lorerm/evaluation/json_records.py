"""Conversion of frozen dataclasses to JSON objects and back, with checks of every value.

A field becomes one key of a JSON object. Two entries of a field's metadata change that: `named` gives the key another
name, and `inlined` puts the keys of the field's value into the object itself.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lorerm.errors import DataError

T = TypeVar("T")

_KEY, _INLINE = "json_key", "json_inline"
_REMEDY = "write the file again with this version of lorerm"
_EXPECTED = {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}


def named(key: str) -> dict[str, Any]:
    """Return the metadata of a field that has the key `key` in JSON."""
    return {_KEY: key}


def inlined() -> dict[str, Any]:
    """Return the metadata of a field without a key of its own: the keys of its value are put into the outer object.

    The value is a dataclass or a mapping. If it is a mapping, reading gives it all keys that belong to no other field.
    """
    return {_INLINE: True}


def to_json(record: Any, path: str) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return a dataclass as a JSON object; tuples become arrays.

    Raises `DataError` if a number is NaN or infinite. The error names its field as a path that begins with `path`.
    """
    content: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if _INLINE in field.metadata:
            content |= _to_value(value, path)
        else:
            content[_key(field)] = _to_value(value, f"{path}.{_key(field)}")
    return content


def _to_value(value: object, path: str) -> Any:  # noqa: ANN401 - JSON leaves here
    if is_dataclass(value):
        return to_json(value, path)
    if isinstance(value, Mapping):
        return {key: _to_value(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_value(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{path} is not a finite number", "use null for a missing value")
    return value


def from_json(kind: type[T], content: object, path: str) -> T:
    """Read a dataclass of type `kind` from a JSON object; keys without a field are ignored.

    Raises `DataError` if a field without a default is missing, or if a value has a wrong type or is NaN or infinite.
    The error names the field as a path that begins with `path`.
    """
    found: T = _from_value(kind, content, path)
    return found


def _from_value(kind: Any, value: object, path: str) -> Any:  # noqa: ANN401 - any type, and a value of it
    origin, kinds = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _from_object(kind, value, path)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in kinds:
            return None
        others = [other for other in kinds if other is not type(None)]
        # In a union of several types beside None, such as `int | str`, all are plain types: use the one that fits.
        fitting = [other for other in others if len(others) > 1 and isinstance(value, other)]
        return _from_value((fitting or others)[-1], value, path)
    if origin is tuple:
        return _from_array(kinds, value, path)
    if origin is Mapping:
        found = _checked(Mapping, "a JSON object", value, path)
        return {key: _from_value(kinds[1], item, f"{path}.{key}") for key, item in found.items()}
    if kind in _EXPECTED:
        _checked((int, float) if kind is float else kind, _EXPECTED[kind], value, path)
    return _to_value(value, path)  # raises DataError for NaN and infinity


def _from_object(kind: Any, value: object, path: str) -> Any:  # noqa: ANN401 - a dataclass, and an instance of it
    content = _checked(Mapping, "a JSON object", value, path)
    hints, arguments = _hints(kind), {}
    own = {_key(field) for field in fields(kind) if _INLINE not in field.metadata}
    for field in fields(kind):
        key = _key(field)
        if _INLINE in field.metadata:
            rest = {name: item for name, item in content.items() if name not in own}
            arguments[field.name] = _from_value(hints[field.name], rest, path)
        elif key in content:
            arguments[field.name] = _from_value(hints[field.name], content[key], f"{path}.{key}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DataError(f"{path}.{key} is missing", _REMEDY)
    return kind(**arguments)


def _from_array(kinds: tuple[Any, ...], value: object, path: str) -> tuple[Any, ...]:
    items = _checked((list, tuple), "a JSON array", value, path)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(items)
    if len(kinds) != len(items):
        raise DataError(f"{path} has {len(items)} elements, not {len(kinds)}", _REMEDY)
    pairs = enumerate(zip(kinds, items, strict=True))
    return tuple(_from_value(kind, item, f"{path}[{index}]") for index, (kind, item) in pairs)


def _checked(accepted: Any, name: str, value: Any, path: str) -> Any:  # noqa: ANN401 - types, and a value of them
    # In Python, True is an int; in JSON, true is not a number.
    if not isinstance(value, accepted) or (isinstance(value, bool) and accepted is not bool):
        raise DataError(f"{path} is not {name} but {value!r:.40}", _REMEDY)
    return value


def _key(field: Field[Any]) -> str:
    return str(field.metadata.get(_KEY, field.name))


_hints = cache(get_type_hints)
