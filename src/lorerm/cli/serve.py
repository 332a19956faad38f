"""Serve a model over HTTP: personal rewards and rankings, adapted to the comparisons that users send.

/openapi.json describes the API, and / is a web page to try it out. The database stores users' comparisons as numbers,
without texts. Without API keys, the server accepts requests from this machine only.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.console import say
from lorerm.cli.encoders import add_running_options, run_encoder_settings, running_options
from lorerm.cli.options import add_rank_option, server_packages
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder, is_imported
from lorerm.pipeline.layout import MANIFEST

if TYPE_CHECKING:
    from lorerm.serving.settings import Settings

# Option -> type, default, minimum, unit, help text.
_NUMBERS: dict[str, tuple[type, int, float, str, str]] = {
    "workers": (int, 1, 1, "INT", "number of server processes"),
    "max-body": (int, 8 * 2**20, 1024, "BYTES", "maximum size of a request's body"),
    "max-text": (int, 100_000, 1, "CHARACTERS", "maximum length of a text and its prompt together"),
    "timeout": (float, 30, 0.1, "SECONDS", "maximum time for a request"),
    "cache": (int, 256, 0, "MIB", "memory for recent embeddings in each process"),
}
# A header's name: RFC 9110, section 5.6.2.
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_KEYS = "--user-header is accepted only together with API keys, and there are no API keys"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument("path", metavar="RUN|MODEL", help="a run folder, a saved model, or a model's id on the hub")
    add_rank_option(parser, "to serve")
    parser.add_argument(
        "--name", metavar="NAME", help="name of the model in the API (default: the last part of its path)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="INT", help="port to listen on; 0 selects a free port (default: 8000)"
    )
    parser.add_argument(
        "--database",
        default=os.environ.get("LORERM_DATABASE", "sqlite:///lorerm.sqlite"),
        metavar="URL",
        help="database of users' feedback: sqlite:///FILE, or postgresql://USER@HOST/NAME with the password in "
        "$PGPASSWORD (default: $LORERM_DATABASE, or sqlite:///lorerm.sqlite)",
    )
    parser.add_argument(
        "--embeddings-only", action="store_true", help="load no encoder; accept embeddings instead of texts"
    )
    parser.add_argument(
        "--log-format", choices=["text", "json"], default="text", help="format of the log's lines (default: text)"
    )
    parser.add_argument(
        "--check", action="store_true", help="load the model, the encoder and the database as the server does, and exit"
    )
    group = parser.add_argument_group("Models that are trained again")
    group.add_argument(
        "--carry-over",
        action="store_true",
        help="also use the feedback in the database for the model served before (the last one with the same encoder); "
        "a reload always does this",
    )
    group.add_argument(
        "--keep-differences",
        type=_kept,
        metavar="all|INT",
        help="also store the embedding difference of each comparison, so that models trained later can use it: all of "
        "its values, or INT values of a random projection (2 bytes for each value)",
    )
    group = parser.add_argument_group("Clients of other servers")
    group.add_argument(
        "--any-model",
        action="store_true",
        help="accept requests that name another model, as clients of other vendors do by default",
    )
    group.add_argument(
        "--user-header",
        metavar="NAME",
        help="name of the header that contains the user's id in requests for rewards; it needs --api-keys",
    )
    group.add_argument(
        "--population",
        action="store_true",
        help="answer requests for the rewards of an unknown user with the population model, instead of an error",
    )
    group.add_argument(
        "--bounded",
        action="store_true",
        help="return probabilities from 0 to 1 instead of rewards, unless a request says otherwise",
    )
    group = parser.add_argument_group("Security and limits")
    group.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="file with the SHA-256 of one API key on each line; $LORERM_API_KEYS can contain further SHA-256 values, "
        "separated by spaces",
    )
    group.add_argument(
        "--new-key",
        action=_NewKey,
        nargs=0,
        help="print a new API key and its line for the file of --api-keys, and exit",
    )
    group.add_argument(
        "--allow-origin",
        nargs="+",
        default=[],
        metavar="URL",
        help="origins of web pages that may call the server from a browser",
    )
    for name, (kind, default, _, metavar, text) in _NUMBERS.items():
        group.add_argument(
            f"--{name}", type=kind, default=default, metavar=metavar, help=f"{text} (default: {default})"
        )
    group.add_argument(
        "--docs", action="store_true", help="serve the page /docs, for which a browser loads scripts from the web"
    )
    add_running_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Check the settings, and serve until the process is stopped."""
    with server_packages():
        from lorerm.serving.processes import check, serve
    if parsed.check:
        say(check(read_settings(parsed)))
        return
    serve(read_settings(parsed), parsed.host, parsed.port, lambda: read_settings(parsed))


def read_settings(parsed: argparse.Namespace) -> Settings:
    """Return the server's settings."""
    from lorerm.serving.keys import read_keys
    from lorerm.serving.settings import Settings

    for name, (_, _, least, _, _) in _NUMBERS.items():
        value = getattr(parsed, name.replace("-", "_"))
        if not value >= least:
            raise ConfigError(f"--{name} is {value}", f"give {least} or more", argument=name)
    keys = read_keys(parsed.api_keys, os.environ.get("LORERM_API_KEYS"))
    if parsed.user_header is not None and not (keys and _HEADER.fullmatch(parsed.user_header)):
        problem = f"--user-header {parsed.user_header!r} is not a header's name" if keys else _NO_KEYS
        remedy = "give a name such as X-User-Id" if keys else "give --api-keys FILE, or leave --user-header out"
        raise ConfigError(problem, remedy, argument="user-header")
    return Settings(
        path=parsed.path,
        database=parsed.database,
        rank=parsed.rank,
        name=parsed.name,
        keys=keys,
        key_file=None if parsed.api_keys is None else str(parsed.api_keys.resolve()),
        origins=tuple(parsed.allow_origin),
        max_body=parsed.max_body,
        max_text=parsed.max_text,
        timeout=parsed.timeout,
        cache_bytes=parsed.cache * 2**20,
        workers=parsed.workers,
        log_format=parsed.log_format,
        docs=parsed.docs,
        carry_over=parsed.carry_over,
        keep_differences=parsed.keep_differences,
        encoder=None if parsed.embeddings_only else _encoder_settings(parsed),
        running=running_options(parsed),
        any_model=parsed.any_model,
        user_header=parsed.user_header,
        population=parsed.population,
        bounded=parsed.bounded,
    )


def _encoder_settings(parsed: argparse.Namespace) -> Mapping[str, Any] | None:
    """Return the settings of the encoder that the model was trained on, or None if it is unknown."""
    if (Path(parsed.path) / MANIFEST).exists():
        run = RunFolder.open(parsed.path, half_forgotten=True)
        return None if is_imported(run) else run_encoder_settings(run)
    from lorerm.embedding.registry import identify_settings, record_settings
    from lorerm.model.reward_model import LowRankRewardModel

    identity = LowRankRewardModel.from_pretrained(parsed.path).encoder
    return None if identity is None else record_settings(identify_settings(identity))


def _kept(text: str) -> int:
    """Return the number of values to store of each difference. "all" becomes more values than any embedding has."""
    number = sys.maxsize if text == "all" else int(text)
    if number < 1:
        raise ValueError
    return number


class _NewKey(argparse.Action):
    """Option that prints a new API key and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print a new key and its line for the key file, and exit."""
        from lorerm.serving.keys import new_key

        key, line = new_key()
        say(f"key, for the client:        {key}\nline, for --api-keys FILE:  {line}")
        parser.exit()
