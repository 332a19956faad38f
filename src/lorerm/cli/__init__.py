"""The command `lorerm`: one file per verb; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module
from typing import NoReturn

from lorerm._version import __version__
from lorerm.cli.console import printable
from lorerm.errors import LorermError

# In the order of the way through them.
VERBS = (
    "demo",
    "run",
    "prepare",
    "embed",
    "import-embeddings",
    "train",
    "report",
    "shots",
    "compare",
    "adapt",
    "score",
    "serve",
    "forget",
    "export",
    "rewardbench",
)
BAD_INPUT, INTERRUPTED = 2, 130


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all of the command's errors are."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit with code 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {printable(message)}: see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with a sub-parser for each verb."""
    parser = _Parser(
        prog="lorerm", description="Personal reward models from many people's preferences.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"lorerm {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        module = import_module(f"lorerm.cli.{name.replace('-', '_')}")
        summary = (module.__doc__ or "").partition("\n")[0]
        verb = verbs.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(call=module.call)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 2 on bad input (one line on standard error), or 130 when interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # rather a question mark than nothing, where the output is no UTF-8
    try:
        parsed = build_parser().parse_args(arguments)
        parsed.call(parsed)
        sys.stdout.flush()
    except LorermError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("lorerm: interrupted; the same command goes on from what is finished\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: not an error.
        _drop_output()
    except OSError as error:
        _drop_output()
        return _fail(f"{error}: put it right and run the same command again, what is finished is kept")
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"lorerm: {printable(message)}\n")
    return BAD_INPUT


def _drop_output() -> None:
    """Let what is still to be written out go nowhere: Python would try once more at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
