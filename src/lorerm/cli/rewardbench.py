"""Score a model on RewardBench 2: the reference head, every direction of the basis, and chosen users' weights.

A model that was fitted to one data set can be worse than the reference head on other prompts; the scores show it,
subset by subset. Results are printed, and written as CSV and Markdown; embeddings are kept, so that a repetition is
quick.
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
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="a run folder, or a saved model")
    parser.add_argument(
        "--data", default=_HUB, metavar="PATH", help=f"a local copy of RewardBench 2, or {_HUB} (default: {_HUB})"
    )
    parser.add_argument("--data-revision", metavar="REVISION", help="branch, tag or commit of the data set on the hub")
    parser.add_argument("--users", nargs="+", default=[], metavar="ID", help="users whose own weights to score")
    add_rank_option(parser, "to score")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of the results (default: the folder rewardbench in the run)"
    )
    add_running_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Score the model, print the tables, and write them."""
    from lorerm.evaluation.rewardbench import load, measure_reward_bench, reward_directions

    folder = parsed.out
    if (Path(parsed.model) / MANIFEST).exists():
        from lorerm.pipeline.models import check_user, load_model

        run = RunFolder.open(parsed.model)
        model, folder = load_model(run, parsed.rank), folder or run.path / REWARDBENCH
        for user in parsed.users:  # before anything is embedded
            check_user(run, model, user, "leave them out")
        encoder = run_encoder(run, parsed)
    else:
        model = _saved_model(parsed)
        reward_directions(model, parsed.users)  # refuses unknown users before anything is embedded
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
            "a saved model was given without a folder for the results", "name it with --out", argument="out"
        )
    return LowRankRewardModel.from_pretrained(parsed.model)


def _encoder_of(model: LowRankRewardModel, parsed: argparse.Namespace) -> Encoder:
    """Build the encoder that a saved model names."""
    from lorerm.embedding.registry import identify_settings, record_settings

    identity = model.encoder
    if identity is None:
        raise ModelError(f"{parsed.model} does not name its encoder", "give a run, or a model trained on text")
    return make_encoder(record_settings(identify_settings(identity)), parsed)
