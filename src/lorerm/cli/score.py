"""Score or rank candidate responses for one user: JSON lines in, JSON lines out.

Each line of the input has `prompt` and either `response` or a list `responses`. For a single response the output has
its `reward`; for a list, `ranking`: the places of the responses in the list (from 0) with their rewards, best first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.encoders import add_running_options, run_encoder
from lorerm.data.coercion import as_list
from lorerm.data.conversation import as_conversation
from lorerm.data.readers.files import read_rows
from lorerm.errors import DataError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.models import check_user, load_model

if TYPE_CHECKING:
    import argparse

    from lorerm.data.readers.format import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help="a user of the training data, or one adapted since")
    who.add_argument(
        "--population", action="store_true", help="the population's model, for somebody of whom nothing is known"
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="candidates, JSON lines (also gzipped)"
    )
    parser.add_argument(
        "--rank", type=int, metavar="K", help="the model to use (default: the one that validation chose)"
    )
    add_running_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    run = RunFolder.open(parsed.run)
    model = load_model(run, parsed.rank)
    check_user(run, model, parsed.user, "score with --population")
    candidates = [_parse_row(row) for row in read_rows(parsed.data, "user_id")]
    encoder = run_encoder(run, parsed)
    for number, (prompt, responses, single) in enumerate(candidates, 1):
        with _naming(f"{parsed.data}, candidate {number}"):
            ranked = model.rank(prompt, responses, parsed.user, encoder=encoder)
        ranking = [{"index": place.index, "reward": place.reward} for place in ranked]
        found = {"reward": ranking[0]["reward"]} if single else {"ranking": ranking}
        sys.stdout.write(json.dumps({"user_id": parsed.user, **found}) + "\n")


def _parse_row(row: Row) -> tuple[Any, list[Any], bool]:
    """Return (prompt, responses, whether it was a single one)."""
    with _naming(f"{row.source}, row {row.number}"):
        return _parse_candidate(row.record)


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say where in the input an error is."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error.problem}", error.remedy) from error


def _parse_candidate(record: object) -> tuple[Any, list[Any], bool]:
    if not isinstance(record, Mapping) or "prompt" not in record or not {"response", "responses"} & record.keys():
        raise DataError("it is no candidate", 'give JSON with "prompt" and "response" or "responses"')
    single = "responses" not in record
    responses = [record["response"]] if single else as_list(record["responses"])
    if not responses:
        raise DataError('column "responses" is no list, or empty', "give the list of the responses to rank")
    for response in responses:
        as_conversation(record["prompt"], response)
    return record["prompt"], responses, single
