"""Evaluate a model on RewardBench 2, a public benchmark of reward models.

It scores the encoder's own reward head (reference head), every reward direction of the model, the rewards for a user
without feedback, and the rewards for the users named with --users. A model that was fitted to one data set can be worse
than the reference head on other prompts: the scores show this for each subset of the benchmark. They are printed, and
written as CSV and Markdown. Embeddings are stored, so that a repetition is fast.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import progress, say
from lorerm.cli.encoders import add_running_options, make_encoder, run_encoder
from lorerm.cli.options import add_rank_option
from lorerm.embedding.encoder import Encoder
from lorerm.errors import ConfigError, ModelError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.layout import MANIFEST, REWARDBENCH

if TYPE_CHECKING:
    from lorerm.model.reward_model import LowRankRewardModel

_HUB = "hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="a run folder, or a saved model")
    parser.add_argument(
        "--data",
        default=_HUB,
        metavar="PATH",
        help=f"path of a local copy of RewardBench 2, or the word `{_HUB}` to download it (default: `{_HUB}`)",
    )
    parser.add_argument("--data-revision", metavar="REVISION", help="branch, tag or commit of the data set on the hub")
    parser.add_argument(
        "--users", nargs="+", default=[], metavar="ID", help="ids of users whose personal rewards are evaluated as well"
    )
    add_rank_option(parser, "to score")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for the results (default: rewardbench in the run folder)"
    )
    add_running_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Evaluate the model, and print and write the tables."""
    from lorerm.evaluation.rewardbench import load, measure_reward_bench, reward_directions

    folder = parsed.out
    if (Path(parsed.model) / MANIFEST).exists():
        from lorerm.pipeline.models import check_user, load_model

        run = RunFolder.open(parsed.model)
        model, folder = load_model(run, parsed.rank), folder or run.path / REWARDBENCH
        for user in parsed.users:  # checked before the slow embedding
            check_user(run, model, user, "leave them out")
        encoder = run_encoder(run, parsed)
    else:
        model = _saved_model(parsed)
        reward_directions(model, parsed.users)  # raises an error for unknown users before the slow embedding
        encoder = _encoder_of(model, parsed)
    prompts, source = load(None if parsed.data == _HUB else parsed.data, parsed.data_revision)
    with progress() as show:
        result = measure_reward_bench(model, prompts, source, encoder, folder, parsed.users, show)
    result.write(folder)
    say(result.to_markdown())
    say(f"Results: {folder / 'rewardbench.md'}")


def _saved_model(parsed: argparse.Namespace) -> LowRankRewardModel:
    from lorerm.model.reward_model import LowRankRewardModel

    if parsed.rank is not None:
        raise ConfigError(
            "--rank chooses among the models of a run, but a saved model was given", "leave it out", argument="rank"
        )
    if parsed.out is None:
        raise ConfigError(
            "a saved model was given without a folder for the results", "name a folder with --out", argument="out"
        )
    return LowRankRewardModel.from_pretrained(parsed.model)


def _encoder_of(model: LowRankRewardModel, parsed: argparse.Namespace) -> Encoder:
    """Build the encoder that a saved model was trained on."""
    from lorerm.embedding.registry import identify_settings, record_settings

    identity = model.encoder
    if identity is None:
        raise ModelError(f"{parsed.model} does not record its encoder", "give a run, or a model trained on text")
    return make_encoder(record_settings(identify_settings(identity)), parsed)
