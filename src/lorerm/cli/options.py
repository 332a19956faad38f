"""Options that several verbs share, and options from the fields of frozen dataclasses.

Name, default and help text of a dataclass's option are written once, in the dataclass.
"""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_ALL = "all"


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Add the run folder that a verb reads."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")


def add_out_option(parser: argparse.ArgumentParser) -> None:
    """Add the run folder that a verb makes."""
    parser.add_argument(
        "--out", required=True, type=Path, metavar="RUN", help="the run folder, which is made or continued"
    )


def add_user_column_option(parser: argparse.ArgumentParser) -> None:
    """Add the name of the column with the users' ids."""
    parser.add_argument(
        "--user-column", default="user_id", metavar="NAME", help="column with the users' ids (default: user_id)"
    )


def add_rank_option(parser: argparse.ArgumentParser, use: str, default: str = "the one that validation chose") -> None:
    """Add the rank of the model that a verb uses."""
    parser.add_argument("--rank", type=int, metavar="K", help=f"rank of the model {use} (default: {default})")


def add_options(parser: argparse.ArgumentParser, config: type[Any], *, leave_out: Collection[str] = ()) -> None:
    """Add an option for each field of `config`; its help is the docstring under the attribute.

    A docstring that ends in "; None: MEANING" gives the meaning of the default None. Where None is allowed but is not
    the default, it is written as "all".
    """
    from docstring_parser import parse_from_object

    texts = {parameter.arg_name: parameter.description for parameter in parse_from_object(config).params}
    group = parser.add_argument_group((config.__doc__ or config.__name__).partition("\n")[0].rstrip("."))
    hints = get_type_hints(config)
    for field in fields(config):
        if field.name in leave_out:
            continue
        default = None if field.default is MISSING else field.default
        text, _, none = (texts.get(field.name) or "").replace("\n", " ").replace("%", "%%").partition("; None: ")
        meaning = none if default is None else str(default)
        hint = hints[field.name]
        if hint is bool:
            flag = f"--{field.name.replace('_', '-')}"
            group.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        literal = next((one for one in (hint, *get_args(hint)) if get_origin(one) is Literal), None)
        choices = get_args(literal) if literal is not None else None
        kind: type[Any] = next((kind for kind in (float, int, str) if kind in (hint, *get_args(hint))), str)
        unlimited = type(None) in get_args(hint) and default is not None
        if unlimited:
            meaning += f"; {_ALL}: no limit"
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_number_or_all(kind) if unlimited else kind,
            choices=choices,
            default=argparse.SUPPRESS,  # so that options that were given can be told from the others
            metavar=field.metadata.get("metavar")
            or (None if choices else f"{kind.__name__.upper()}{f'|{_ALL}' if unlimited else ''}"),
            help=f"{text} (default: {meaning})" if meaning else text,
        )


def _number_or_all(kind: type[Any]) -> Callable[[str], Any]:
    """Return a function that reads a number, or None from the word for no limit."""

    def read(text: str) -> Any:  # noqa: ANN401 - of type `kind`
        try:
            return None if text == _ALL else kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"give a number or {_ALL}, not {text!r}") from error

    return read


def given_options(parsed: argparse.Namespace, config: type[Any]) -> dict[str, Any]:
    """Return the fields of `config` that the command line gave."""
    names = [field.name for field in fields(config)]
    return {name: getattr(parsed, name) for name in names if hasattr(parsed, name)}
