"""List, export, import or purge the users in a server's database, also while a server uses it.

`list` prints each series of models that has users: a model, and the models that replaced it later. `export` writes all
users as JSON lines, and `import` adds these to another database, SQLite or PostgreSQL. `purge` deletes users.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from lorerm.cli.console import say
from lorerm.cli.options import server_packages
from lorerm.errors import ConfigError

if TYPE_CHECKING:
    from lorerm.serving.database import Database

_ACTIONS = ("list", "export", "import", "purge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument("action", choices=_ACTIONS, help="what to do with the users")
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="file of JSON lines that `export` writes (default: standard output) or `import` reads",
    )
    parser.add_argument(
        "--database",
        default=os.environ.get("LORERM_DATABASE", "sqlite:///lorerm.sqlite"),
        metavar="URL",
        help="the server's database (default: $LORERM_DATABASE, or sqlite:///lorerm.sqlite)",
    )
    parser.add_argument(
        "--user",
        nargs="+",
        default=[],
        metavar="ID",
        help="with `export`: write only these users; with `purge`: delete them, for all models",
    )
    parser.add_argument(
        "--all-users",
        action="store_true",
        help="with `list`: also print a line for each user, with the number of comparisons",
    )
    parser.add_argument(
        "--series",
        nargs="+",
        default=[],
        metavar="FINGERPRINT",
        help="with `purge`: delete all users of these series of models (`list` prints the fingerprints)",
    )


def call(parsed: argparse.Namespace) -> None:
    """Perform the action that was given."""
    with server_packages():
        from lorerm.serving.database import Database
    with closing(Database(parsed.database)) as database:
        database.prepare()
        {"list": _list, "export": _export, "import": _import, "purge": _purge}[parsed.action](database, parsed)


def _list(database: Database, parsed: argparse.Namespace) -> None:
    from lorerm.serving.user_data import list_users, summarise

    for each in summarise(database):
        say(
            f"{each.series}: {each.users:,} users, {each.feedback:,} comparisons in {each.requests:,} requests "
            f"({each.kept:,} requests with stored embedding differences)"
        )
    if parsed.all_users:
        for series, user, n_feedback in list_users(database):
            say(f"{series} {user} {n_feedback}")


def _export(database: Database, parsed: argparse.Namespace) -> None:
    from lorerm.atomic import atomic_path
    from lorerm.serving.user_data import export_lines

    lines = (f"{line}\n" for line in export_lines(database, parsed.user))
    if parsed.file is None:
        sys.stdout.writelines(lines)
        return
    with atomic_path(parsed.file) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def _import(database: Database, parsed: argparse.Namespace) -> None:
    from lorerm.serving.user_data import import_lines

    if parsed.file is None:
        raise ConfigError("no file is given", "give a file that `lorerm users export FILE` wrote", argument="file")
    with open(parsed.file, encoding="utf-8") as lines:  # noqa: PTH123 - the path is shown as it was given
        added, skipped = import_lines(database, lines, parsed.file)
    say(f"Added {added:,} users. Skipped {skipped:,} users who are in the database already.")


def _purge(database: Database, parsed: argparse.Namespace) -> None:
    from lorerm.serving.user_data import purge

    if not (parsed.series or parsed.user):
        remedy = "give --series FINGERPRINT (`lorerm users list` shows them) or --user ID"
        raise ConfigError("no users are given to delete", remedy, argument="series")
    say(f"Deleted {purge(database, parsed.series, parsed.user):,} users from the database and its files.")
