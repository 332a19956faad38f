"""Write one user's reward model as an ordinary sequence classifier, which runs without lorerm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.models import check_user, load_model
from lorerm.pipeline.steps import is_imported

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help="whose reward is the one logit")
    who.add_argument("--population", action="store_true", help="the population's reward, for somebody unknown")
    who.add_argument("--basis", action="store_true", help="all rewards of the basis, one logit each")
    parser.add_argument(
        "--model", metavar="ID_OR_PATH", help="the base model (default: the one that the run was embedded with)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--rank", type=int, metavar="K", help="the model to use (default: the one that validation chose)"
    )
    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="number type of the weights (default: that of the run's embeddings)",
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    from lorerm.model.export import build_classifier, save_classifier

    run = RunFolder.open(parsed.run)
    model = load_model(run, parsed.rank)
    check_user(run, model, parsed.user, "export with --population")
    settings = run.arguments("embed")
    base = parsed.model or settings.get("model")
    if base is None and is_imported(run):
        raise ConfigError(
            f"{parsed.run} does not say which model its embeddings are of", "name the base model with --model"
        )
    if base is None:
        raise ConfigError(
            f"{parsed.run} was made with the embedded encoder, which is no network with a head",
            "embed another run with --model, and export from that",
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
    output().print(f"Wrote {name} with {n} {'logit' if n == 1 else 'logits'} to {parsed.out}.", soft_wrap=True)
