"""Score or rank candidate responses for one user: JSON lines in, JSON lines out.

Each line of the input has `prompt` and either `response` or a list `responses`. For a single response, the output line
has `reward`. For a list, it has `ranking`: the index (from 0) and the reward of each response, best first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lorerm.cli.console import warn
from lorerm.cli.encoders import add_running_options, run_encoder
from lorerm.cli.options import add_rank_option, add_run_argument
from lorerm.data.account import unread_warnings
from lorerm.data.conversation import as_conversation
from lorerm.data.printed import list_in
from lorerm.data.readers.files import find_files, read_rows
from lorerm.errors import DataError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.models import check_user, load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help="id of a user in the training data, or adapted later")
    who.add_argument(
        "--population", action="store_true", help="score for a user without feedback (the population model)"
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="JSON-lines file of the candidates; it may be gzipped"
    )
    add_rank_option(parser, "to score with")
    add_running_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Score the candidates, and print a JSON line for each line of the input."""
    run = RunFolder.open(parsed.run)
    model = load_model(run, parsed.rank)
    check_user(run, model, parsed.user, "score with --population")
    candidates = []
    inputs = find_files(parsed.data)
    warn(unread_warnings(inputs.unread))
    for file in inputs.files:
        for row in read_rows(file, "user_id"):
            with _located(row.source, row.number):
                candidates.append(_parse_candidate(row.record))
    encoder = run_encoder(run, parsed)
    for number, (prompt, responses, single) in enumerate(candidates, 1):
        with _located(parsed.data, number):
            ranked = model.rank(prompt, responses, parsed.user, encoder=encoder)
        ranking = [{"index": response.index, "reward": response.reward} for response in ranked]
        found = {"reward": ranking[0]["reward"]} if single else {"ranking": ranking}
        sys.stdout.write(json.dumps({"user_id": parsed.user, **found}) + "\n")


@contextmanager
def _located(file: str | Path, row: int) -> Iterator[None]:
    """Add the file and the row to a `DataError` that is raised in the block."""
    try:
        yield
    except DataError as error:
        raise error.in_row(file, row) from error


def _parse_candidate(record: object) -> tuple[Any, list[Any], bool]:
    """Return the prompt, the responses, and True for a row with a single `response`, False for a list `responses`."""
    if not isinstance(record, Mapping) or "prompt" not in record or not {"response", "responses"} & record.keys():
        raise DataError("the row is not a candidate", 'give JSON with "prompt", and "response" or "responses"')
    single = "responses" not in record
    responses = [record["response"]] if single else list_in(record["responses"])
    if not responses:
        raise DataError(
            'column "responses" is not a list, or is empty', "give the list of responses to rank", column="responses"
        )
    for response in responses:
        as_conversation(record["prompt"], response)
    return record["prompt"], responses, single
