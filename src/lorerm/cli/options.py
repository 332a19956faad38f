"""Options from frozen dataclasses: name, default and help text are written once, in the dataclass."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Collection


def add_options(parser: argparse.ArgumentParser, config: type[Any], *, leave_out: Collection[str] = ()) -> None:
    """Add an option for each field of `config`, its help the docstring under the attribute.

    A text that ends in "; None: WHAT" gives the meaning of the default None.
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
        choices = get_args(hint) if get_origin(hint) is Literal else None
        kind = next((kind for kind in (float, int, str) if kind in (hint, *get_args(hint))), str)
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            choices=choices,
            default=argparse.SUPPRESS,  # so that what was given can be told from what was not
            metavar=None if choices else kind.__name__.upper(),
            help=f"{text} (default: {meaning})" if meaning else text,
        )


def given_options(parsed: argparse.Namespace, config: type[Any]) -> dict[str, Any]:
    """Return those fields of `config` that the command line gave."""
    names = [field.name for field in fields(config)]
    return {name: getattr(parsed, name) for name in names if hasattr(parsed, name)}
