"""Add users' comparisons to their earlier ones in the run folder, and fit and store the users' weights.

Users can be new or known, seen users included. A comparison that was counted before, in training or by an earlier
call, is recognised by its content and does not count again. `--replace` makes the new comparisons replace all earlier
ones of their users instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import progress, say, warn
from lorerm.cli.encoders import add_running_options, make_encoder, run_encoder, run_encoder_settings, uses_gpu
from lorerm.cli.engines import add_engine_options, in_this_folder, read_cluster
from lorerm.cli.options import add_rank_option, add_run_argument, add_user_column_option
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.models import adaptation_of, chosen_rank, load_model

if TYPE_CHECKING:
    from lorerm.pipeline.adaptation import Added


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        type=Path,
        metavar="FILE",
        help="files with comparisons of new or known users, in the format that `lorerm run` reads",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="fit the users in the files to these comparisons only, and drop their earlier ones",
    )
    add_user_column_option(parser)
    add_rank_option(parser, "to adapt")
    add_running_options(parser)
    add_engine_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Add the comparisons, and print how many users and comparisons are new, updated or replaced."""
    from lorerm.data.ids import look_alike_warnings
    from lorerm.data.preferences import Preferences
    from lorerm.embedding.checks import check_usable
    from lorerm.embedding.embed import embed_with_summary
    from lorerm.pipeline.adaptation import FittedUsers, add_users, fit_users
    from lorerm.ray.adaptation import adapt_on_cluster

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
        fitted = fit_users(model, preferences, data, config)
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
        fitted, warnings = FittedUsers(found.users, found.digests), list(found.warnings)
    added = add_users(run, fitted, chosen_rank(run) if parsed.rank is None else parsed.rank, start_over=parsed.replace)
    names = fitted.users.user_ids
    warn([*warnings, *look_alike_warnings((*model.user_ids, *names), "user", among=set(names) - set(model.user_ids))])
    say(_describe(added))


def _describe(added: Added) -> str:
    """Return a sentence with the numbers of users and comparisons that have changed."""
    from lorerm.reporting.phrases import count

    n_users = added.n_new + added.n_updated + added.n_replaced
    kinds = f"{added.n_new:,} new, {added.n_updated:,} updated, {added.n_replaced:,} replaced"
    sentence = f"Adapted {count(n_users, 'user')} ({kinds}) from {count(added.n_comparisons, 'new comparison')}."
    if added.n_dropped:
        sentence += f" They replace {count(added.n_dropped, 'earlier comparison')}."
    if added.n_repeated:
        sentence += f" Counted before, and not counted again: {count(added.n_repeated, 'comparison')}."
    return sentence
