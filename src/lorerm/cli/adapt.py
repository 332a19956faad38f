"""Fit the weights of new users to their comparisons, and store the weights in the run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from lorerm.cli.console import progress, say, warn
from lorerm.cli.encoders import add_running_options, make_encoder, run_encoder, run_encoder_settings, uses_gpu
from lorerm.cli.engines import add_engine_options, in_this_folder, read_cluster
from lorerm.cli.options import add_rank_option, add_run_argument, add_user_column_option
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.models import adaptation_of, add_users, chosen_rank, load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        type=Path,
        metavar="FILE",
        help="files with the comparisons of the users to add, in the format that `lorerm run` reads",
    )
    add_user_column_option(parser)
    add_rank_option(parser, "to adapt")
    add_running_options(parser)
    add_engine_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Adapt the model to the users, and print the numbers of users and comparisons."""
    from lorerm.data.preferences import Preferences
    from lorerm.embedding.checks import check_usable
    from lorerm.embedding.embed import embed_with_summary
    from lorerm.ray.adaptation import adapt_on_cluster
    from lorerm.reporting.phrases import count
    from lorerm.training.adaptation import adapt

    run, cluster = RunFolder.open(parsed.run), read_cluster(parsed)
    model, config = load_model(run, parsed.rank), adaptation_of(run)
    if cluster is None:
        preferences = Preferences.from_files(*parsed.data, user_column=parsed.user_column)
        with progress() as show:
            encoder = run_encoder(run, parsed)
            data, encoding = embed_with_summary(
                preferences, encoder, lambda done, total: show("embedding", done, total)
            )
        warnings = [*preferences.summary.warnings(), *preferences.weight_warnings()]
        warnings += encoding.warnings(len(data.responses), encoder.identity)
        warnings += check_usable(data.responses, data)
        users, n_pairs = adapt(model, data, config), len(preferences)
    else:
        settings = run_encoder_settings(run)
        with progress() as show:
            found = adapt_on_cluster(
                model,
                parsed.data,
                in_this_folder(lambda: make_encoder(settings, parsed)),
                config,
                cluster,
                user_column=parsed.user_column,
                gpus=uses_gpu(settings, parsed),
                progress=lambda done, total: show("adapting", done, total),
            )
        users, n_pairs, warnings = found.users, found.n_pairs, list(found.warnings)
    add_users(run, users, chosen_rank(run) if parsed.rank is None else parsed.rank)
    warn(warnings)
    say(f"Adapted {count(len(users), 'user')} from {count(n_pairs, 'comparison')}.")
