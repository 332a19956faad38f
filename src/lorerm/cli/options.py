"""Options that several subcommands share, and options generated from the fields of a dataclass.

A generated option has the name and the default of the field; its help text is the docstring under the field.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lorerm.errors import ConfigError

_ALL = "all"


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the run folder that a subcommand reads."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")


def add_out_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the run folder that a subcommand creates."""
    parser.add_argument(
        "--out", required=True, type=Path, metavar="RUN", help="the run folder; created, or continued if it exists"
    )


def add_user_column_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the name of the column with the users' ids."""
    parser.add_argument(
        "--user-column", default="user_id", metavar="NAME", help="column with the users' ids (default: user_id)"
    )


def add_rank_option(parser: argparse.ArgumentParser, use: str, default: str = "the rank that validation chose") -> None:
    """Add the option for the rank of the model that a subcommand uses."""
    parser.add_argument(
        "--rank",
        type=int,
        metavar="K",
        help=f"rank (number of reward directions) of the model {use} (default: {default})",
    )


def add_options(
    parser: argparse.ArgumentParser,
    config: type[Any],
    *,
    leave_out: Collection[str] = (),
    owner: str | None = None,
) -> None:
    """Add an option for each field of the dataclass `config`; its help is the docstring under the field.

    If the docstring ends in "; None: MEANING", the help shows MEANING as the default. If None is allowed but is not the
    default, the user writes "all" for it.

    `leave_out` names the fields that get no option.

    If `config` has the options of a data set, `owner` is the data set's name. Two data sets may have a field of the
    same name: the two values are stored separately, and the option of the second data set is ``--OWNER-FIELD``.
    """
    from docstring_parser import parse_from_object

    texts = {parameter.arg_name: parameter.description for parameter in parse_from_object(config).params}
    title = (config.__doc__ or config.__name__).partition("\n")[0].rstrip(".")
    group = parser.add_argument_group(title if owner is None else f"{title} ({owner})")
    hints = get_type_hints(config)
    for field in fields(config):
        if field.name in leave_out:
            continue
        text = " ".join((texts.get(field.name) or "").split()).replace("%", "%%")
        settings = _argument(field, hints[field.name], text)
        flag = field.name.replace("_", "-")
        try:
            group.add_argument(f"--{flag}", dest=_destination(field.name, owner), **settings)
        except argparse.ArgumentError:
            if owner is None:
                raise
            group.add_argument(f"--{owner}-{flag}", dest=_destination(field.name, owner), **settings)


def _argument(field: Field[Any], hint: Any, text: str) -> dict[str, Any]:  # noqa: ANN401 - any type hint
    """Return the arguments of `add_argument` for a field with this type hint and help text."""
    default = None if field.default is MISSING else field.default
    text, _, none = text.partition("; None: ")
    if hint is bool:
        return {"action": "store_true", "default": argparse.SUPPRESS, "help": text}
    parts = (hint, *get_args(hint))
    literal = next((part for part in parts if get_origin(part) is Literal), None)
    several = next((part for part in parts if get_origin(part) is tuple), None)
    choices = get_args(literal) if literal is not None else tuple(field.metadata.get("choices", ()))
    allowed = parts if several is None else get_args(several)
    kind: type[Any] = next((kind for kind in (float, int, str) if kind in allowed), str)
    unlimited = type(None) in parts and default is not None
    meaning = (none if default is None else str(default)) + (f"; {_ALL}: no limit" if unlimited else "")
    name = None if choices else f"{kind.__name__.upper()}{f'|{_ALL}' if unlimited else ''}"
    return {
        "type": _number_or_all(kind) if unlimited else kind,
        "choices": choices or None,
        "nargs": None if several is None else "+",
        "default": argparse.SUPPRESS,  # an option that is not given sets no attribute; `given_options` needs this
        "metavar": field.metadata.get("metavar") or name,
        "help": f"{text} (default: {meaning})" if meaning else text,
    }


def _destination(name: str, owner: str | None) -> str:
    return name if owner is None else f"{owner}.{name}"


def _number_or_all(kind: type[Any]) -> Callable[[str], Any]:
    """Return a function that converts a text to a number, and "all" to None."""

    def read(text: str) -> Any:  # noqa: ANN401 - of type `kind`
        try:
            return None if text == _ALL else kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"give a number or {_ALL}, not {text!r}") from error

    return read


def given_options(parsed: argparse.Namespace, config: type[Any], owner: str | None = None) -> dict[str, Any]:
    """Return the fields of `config` given on the command line, with their values. For `owner` see `add_options`."""
    stored = {field.name: _destination(field.name, owner) for field in fields(config)}
    return {name: getattr(parsed, key) for name, key in stored.items() if hasattr(parsed, key)}


@contextmanager
def server_packages() -> Iterator[None]:
    """Raise `ConfigError` if an import in the block fails because the server's optional packages are not installed."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"a package that the server needs is missing ({error})", "run pip install 'lorerm[serve]'"
        ) from error
