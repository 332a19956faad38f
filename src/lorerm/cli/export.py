"""Write one user's reward model as a sequence classifier of transformers, which runs without lorerm."""

from __future__ import annotations

import argparse
from pathlib import Path

from lorerm.cli.console import say
from lorerm.cli.options import add_rank_option, add_run_argument
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder, is_imported
from lorerm.pipeline.models import check_user, load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help="id of the user whose reward is the only logit")
    who.add_argument(
        "--population",
        action="store_true",
        help="the only logit is the reward for a user without feedback (the population model)",
    )
    who.add_argument("--basis", action="store_true", help="one logit for each reward direction of the model")
    parser.add_argument(
        "--model", metavar="ID_OR_PATH", help="the base model (default: the model that computed the run's embeddings)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write")
    add_rank_option(parser, "to export")
    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="number type of the network's parameters (default: the type used to compute the run's embeddings)",
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")


def call(parsed: argparse.Namespace) -> None:
    """Build the classifier and write it to a folder."""
    from lorerm.model.export import build_classifier, save_classifier

    run = RunFolder.open(parsed.run)
    model = load_model(run, parsed.rank)
    check_user(run, model, parsed.user, "export with --population")
    settings = run.arguments("embed")
    base = parsed.model or settings.get("model")
    if base is None and is_imported(run):
        raise ConfigError(
            f"{parsed.run} does not record which model computed its embeddings",
            "name the base model with --model",
            argument="model",
        )
    if base is None:
        encoder = run.result("embed")["encoder"]["model"]
        raise ConfigError(
            f"{parsed.run} was embedded with the encoder {encoder!r}, which is not a network and cannot be exported",
            "embed another run with --model, and export from that run",
        )
    classifier = build_classifier(
        model,
        base,
        parsed.user,
        population=parsed.population,
        dtype=parsed.dtype or ("float32" if model.encoder is None else model.encoder.dtype),
        chat_template=settings.get("chat_template"),
        trust_remote_code=parsed.trust_remote_code,
    )
    save_classifier(classifier, parsed.out)
    name, n = type(classifier.network).__name__, classifier.network.config.num_labels
    say(f"Wrote {name} with {n} {'logit' if n == 1 else 'logits'} to {parsed.out}.")
