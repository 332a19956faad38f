"""Serve a model over HTTP: rewards for everybody's own taste, learned from their answers as they come.

The API is described at /openapi.json, and tried out on the page at /. What users answered is kept in the database, as
numbers, without texts. Without API keys only this machine is answered.
"""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.console import output
from lorerm.cli.encoders import add_running_options, run_encoder_settings, running_options
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import MANIFEST, RunFolder
from lorerm.pipeline.steps import is_imported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.serving.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "path", metavar="RUN|MODEL", help="a run folder, a folder of `save_pretrained`, or a model's id on the hub"
    )
    parser.add_argument(
        "--rank", type=int, metavar="K", help="which of a run's models (default: the one that validation chose)"
    )
    parser.add_argument("--name", metavar="NAME", help="what the model is called (default: the last part of its path)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="(default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="INT", help="0 takes a free one (default: 8000)")
    parser.add_argument(
        "--database",
        default=os.environ.get("LORERM_DATABASE", "sqlite:///lorerm.sqlite"),
        metavar="URL",
        help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME "
        "(default: what LORERM_DATABASE says, or sqlite:///lorerm.sqlite)",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="INT", help="processes (default: 1)")
    parser.add_argument(
        "--embeddings-only", action="store_true", help="load no encoder, and take ready embeddings in place of texts"
    )
    group = parser.add_argument_group("Safety")
    group.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="the SHA-256 of each API key, one a line; those in LORERM_API_KEYS are let in too",
    )
    group.add_argument("--new-key", action=_NewKey, nargs=0, help="show a new key and its line for that file, and end")
    group.add_argument(
        "--allow-origin", nargs="+", default=[], metavar="URL", help="web pages that a browser may call from"
    )
    group.add_argument(
        "--max-body", type=int, default=8 * 2**20, metavar="BYTES", help="of a request (default: 8388608)"
    )
    group.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="that a request may take (default: 30)"
    )
    group.add_argument(
        "--cache",
        type=int,
        default=256,
        metavar="MIB",
        help="of recent embeddings, that a process keeps in memory (default: 256)",
    )
    group.add_argument("--docs", action="store_true", help="serve /docs, whose scripts a browser loads from the web")
    add_running_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    try:
        from lorerm.serving.server import serve
    except ImportError as error:
        raise ConfigError(f"the server is not installed ({error})", "run pip install 'lorerm[serve]'") from error
    serve(read_settings(parsed), parsed.host, parsed.port)


def read_settings(parsed: argparse.Namespace) -> Settings:
    """Return the server's settings."""
    from lorerm.serving.database import Database
    from lorerm.serving.keys import read_keys
    from lorerm.serving.served import Served
    from lorerm.serving.settings import Settings

    for name, least in (("workers", 1), ("max_body", 1024), ("timeout", 0.1), ("cache", 0)):
        if not getattr(parsed, name) >= least:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(parsed, name)}", f"give {least} or more")
    settings = Settings(
        path=parsed.path,
        database=parsed.database,
        rank=parsed.rank,
        name=parsed.name,
        keys=read_keys(parsed.api_keys, os.environ.get("LORERM_API_KEYS")),
        origins=tuple(parsed.allow_origin),
        max_body=parsed.max_body,
        timeout=parsed.timeout,
        cache_bytes=parsed.cache * 2**20,
        workers=parsed.workers,
        docs=parsed.docs,
        encoder=None if parsed.embeddings_only else _encoder_settings(parsed),
        running=running_options(parsed),
    )
    # What is wrong is found now, and told in one line. A process that starts later, in place of one that ended, must
    # not find that the database is away for a moment; each loads the encoder for itself.
    with closing(Database(settings.database)) as database:
        database.prepare()
    Served(replace(settings, encoder=None))
    return settings


def _encoder_settings(parsed: argparse.Namespace) -> Mapping[str, Any] | None:
    """Return the settings of the encoder that the model was trained on; None where there is none to be had."""
    if (Path(parsed.path) / MANIFEST).exists():
        run = RunFolder.open(parsed.path, half_forgotten=True)
        return None if is_imported(run) else run_encoder_settings(run)
    from lorerm.embedding.registry import identify_settings, record_settings
    from lorerm.model.reward_model import LowRankRewardModel

    identity = LowRankRewardModel.from_pretrained(parsed.path).encoder
    return None if identity is None else record_settings(identify_settings(identity))


class _NewKey(argparse.Action):
    """Shows a new API key, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Do it."""
        from lorerm.serving.keys import new_key

        key, line = new_key()
        output().print(f"key, for the client:        {key}\nline, for --api-keys FILE:  {line}", soft_wrap=True)
        parser.exit()
