"""Which encoder: the embedded one, or a model through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.errors import ConfigError, RunError
from lorerm.pipeline.steps import is_imported

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from lorerm.embedding.encoder import Encoder
    from lorerm.pipeline.folder import RunFolder

# What decides an encoder's numbers, and is therefore recorded; the other options only decide how it runs.
_RECORDED = ("model", "revision", "dtype", "max_length", "attn", "chat_template")


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and what goes with it."""
    group = parser.add_argument_group("Encoder")
    group.add_argument(
        "--model",
        metavar="ID_OR_PATH",
        help="a reward model or language model for transformers (default: the embedded encoder)",
    )
    group.add_argument("--revision", metavar="REVISION", help="branch, tag or commit of the model on the hub")
    group.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="number type; auto: the checkpoint's own on a GPU, float32 elsewhere (default: the recipe's, else auto)",
    )
    group.add_argument(
        "--max-length", type=int, metavar="INT", help="most tokens of a conversation (default: the model's positions)"
    )
    group.add_argument("--attn", choices=["sdpa", "flash_attention_2", "eager"], help="attention implementation")
    group.add_argument(
        "--chat-template", type=Path, metavar="FILE", help="a Jinja chat template, in place of the tokenizer's own"
    )
    add_running_options(parser)


def add_running_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides how an encoder runs, but not its numbers.

    Trust in a model's code is among them, and no setting of the run: whoever passes a run folder on cannot give it.
    """
    group = parser.add_argument_group("Running the encoder")
    group.add_argument("--device", metavar="DEVICE", help="where the model runs (default: cuda if there is one)")
    group.add_argument(
        "--batch-tokens",
        type=int,
        metavar="INT",
        help="most tokens at once (default: 16384 on a GPU, 2048 elsewhere)",
    )
    group.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")


def encoder_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that decide the encoder's numbers, as JSON-able values.

    Raises
    ------
    ConfigError
        If a setting of a model is given without `--model`, or the template's file cannot be read.
    """
    settings = {name: getattr(parsed, name) for name in _RECORDED}
    if settings["model"] is None:
        given = [name for name, value in settings.items() if value is not None]
        if given:
            raise ConfigError(
                f"--{given[0].replace('_', '-')} is about a model, and none is given", "add --model, or leave it out"
            )
        return {"model": None}
    settings["dtype"] = settings["dtype"] or "auto"
    if settings["chat_template"] is not None:
        try:
            settings["chat_template"] = settings["chat_template"].read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"--chat-template {parsed.chat_template} cannot be read ({error})", "check the file"
            ) from error
    return settings


def make_encoder(settings: Mapping[str, Any], parsed: argparse.Namespace) -> Encoder:
    """Build the encoder that `encoder_settings` describes, to run as the options say."""
    from lorerm.embedding.registry import build_encoder

    return build_encoder(settings, **running_options(parsed))


def running_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return what decides how an encoder runs, for `build_encoder`."""
    return {
        "device": parsed.device,
        "batch_tokens": parsed.batch_tokens,
        "trust_remote_code": parsed.trust_remote_code,
    }


def run_encoder(run: RunFolder, parsed: argparse.Namespace) -> Encoder:
    """Build the encoder that the run's embeddings were made by; see `run_encoder_settings`."""
    return make_encoder(run_encoder_settings(run), parsed)


def run_encoder_settings(run: RunFolder) -> dict[str, Any]:
    """Return the settings of the encoder that the run's embeddings were made by, for `make_encoder`.

    Raises
    ------
    RunError
        If the embeddings were imported, so that no encoder is known.
    """
    if is_imported(run):
        raise RunError(
            f"{run.path} holds imported embeddings, so that text cannot be embedded as they were",
            "use the Python library with embeddings of your own",
        )
    made_by = run.result("embed")["encoder"]
    settings = run.arguments("embed")
    if settings["model"] is not None:
        # As they came out then: "auto" and a branch can mean something else today.
        settings["dtype"] = made_by["dtype"]
        if not Path(settings["model"]).exists():
            settings["revision"] = made_by["revision"]
    return settings
