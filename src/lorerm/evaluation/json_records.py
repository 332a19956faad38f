"""JSON form of frozen dataclasses: one generic way to write them and to read them back, checked.

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


def named(key: str) -> dict[str, Any]:
    """Return the metadata of a field that has another name in JSON.

    Parameters
    ----------
    key
        The name in JSON.
    """
    return {_KEY: key}


def inlined() -> dict[str, Any]:
    """Return the metadata of a field whose value's keys stand in the object that holds the field.

    The value is a dataclass, or a mapping, which then takes all keys that no other field has.
    """
    return {_INLINE: True}


def to_json(value: object, path: str) -> Any:  # noqa: ANN401 - JSON leaves here
    """Return a value as JSON: dataclasses become objects, tuples become arrays.

    Parameters
    ----------
    value
        A dataclass, mapping, sequence, string, number, bool or None, nested in any way.
    path
        The name of the value in errors.

    Raises
    ------
    DataError
        If a number is NaN or infinite, with its path.
    """
    if is_dataclass(value):
        content: dict[str, Any] = {}
        for field in fields(value):
            found = getattr(value, field.name)
            if _INLINE in field.metadata:
                content |= to_json(found, path)
            else:
                content[_key(field)] = to_json(found, f"{path}.{_key(field)}")
        return content
    if isinstance(value, Mapping):
        return {key: to_json(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{path} is not a finite number", "store null where there is no value")
    return value


def from_json(kind: type[T], value: object, path: str) -> T:
    """Return the dataclass that a JSON object describes; keys that no field has are ignored.

    Parameters
    ----------
    kind
        The dataclass. A key may be missing where its field has a default.
    value
        The JSON object.
    path
        Its name in errors.

    Raises
    ------
    DataError
        If a key is missing or a value is of another type, NaN or infinite, with its path.
    """
    found: T = _read(kind, value, path)
    return found


def _read(kind: Any, value: object, path: str) -> Any:  # noqa: ANN401 - any type, and a value of it
    if is_dataclass(kind):
        return _read_object(kind, value, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, path)
    if origin is tuple:
        return _read_array(arguments, value, path)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(path, "a JSON object", value)
        return {key: _read(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind in (Any, object):
        to_json(value, path)  # refuses NaN
        return value
    return _read_scalar(kind, value, path)


def _read_object(kind: Any, value: object, path: str) -> Any:  # noqa: ANN401 - a dataclass, and an object of it
    if not isinstance(value, Mapping):
        raise _wrong(path, "a JSON object", value)
    hints, arguments = _hints(kind), {}
    own = {_key(field) for field in fields(kind) if _INLINE not in field.metadata}
    for field in fields(kind):
        key = _key(field)
        if _INLINE in field.metadata:
            rest = {name: item for name, item in value.items() if name not in own}
            arguments[field.name] = _read(hints[field.name], rest, path)
        elif key in value:
            arguments[field.name] = _read(hints[field.name], value[key], f"{path}.{key}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DataError(f"{path}.{key} is missing", _REMEDY)
    return kind(**arguments)


def _read_union(kinds: tuple[Any, ...], value: object, path: str) -> Any:  # noqa: ANN401 - see `_read`
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    # Several kinds beside None are plain types: `int | str`.
    fitting = [kind for kind in others if len(others) > 1 and isinstance(value, kind)]
    return _read((fitting or others)[-1], value, path)


def _read_array(kinds: tuple[Any, ...], value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(path, "a JSON array", value)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise DataError(f"{path} has {len(value)} elements, not {len(kinds)}", _REMEDY)
    return tuple(
        _read(kind, item, f"{path}[{index}]") for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _read_scalar(kind: type, value: object, path: str) -> object:
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(
            path, {float: "a number", int: "a whole number", str: "a string"}.get(kind, "true or false"), value
        )
    return to_json(value, path)


def _key(field: Field[Any]) -> str:
    return str(field.metadata.get(_KEY, field.name))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _wrong(path: str, expected: str, value: object) -> DataError:
    return DataError(f"{path} is not {expected} but {value!r:.40}", _REMEDY)
