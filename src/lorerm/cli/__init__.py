"""The command `lorerm`: one module for each subcommand, which imports large packages only when it runs."""

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

# Names of the subcommands, in the order of `lorerm --help`.
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
    "users",
    "forget",
    "export",
    "rewardbench",
)
BAD_INPUT, INTERRUPTED = 2, 130


class _Parser(argparse.ArgumentParser):
    """Parser that prints an error as one line, like all errors of the command."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and exit with code 2."""
        remedy = f"see `{self.prog} --help`"
        if "--recipe" in message:  # earlier versions selected an experiment with `--recipe`, too
            remedy += "; `--experiment` takes an experiment's name or YAML file, `--recipe` sets how models are trained"
        self.exit(BAD_INPUT, f"{self.prog}: {printable(message)}: {remedy}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command, with a parser for each subcommand."""
    parser = _Parser(
        prog="lorerm",
        description="Personal reward models, learned from the comparisons of many users.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lorerm {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="SUBCOMMAND")
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
    """Run the command and return its exit code: 0, 2 after an error (printed as one line), or 130 if interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # prints ? for characters that the output's encoding lacks
    try:
        parsed = build_parser().parse_args(arguments)
        parsed.call(parsed)
        sys.stdout.flush()
    except LorermError as error:
        return _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("lorerm: interrupted; run the same command again to continue\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The program that reads the output, such as `head`, has ended. This is not an error.
        _drop_output()
    except OSError as error:
        _drop_output()
        return _fail(LorermError(str(error), "fix the problem and run the command again; finished work is kept"))
    return 0


def _fail(error: LorermError) -> int:
    sys.stderr.write(f"lorerm: {printable(str(error))}\n")
    return BAD_INPUT


def _drop_output() -> None:
    """Discard output that cannot be written: Python would try again when it exits, and print the error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
