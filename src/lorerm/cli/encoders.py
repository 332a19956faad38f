"""Options that select an encoder, and functions that build it from these options or from a run's `manifest.json`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from lorerm.cli.options import add_options
from lorerm.embedding.encoder import Encoder, EncoderIdentity
from lorerm.embedding.registry import (
    BUILT_IN,
    ENCODERS,
    WITH_MODEL,
    build_encoder,
    implied_encoder,
    pin_settings,
    read_settings,
    record_settings,
    setting_names,
    settings_class,
)
from lorerm.errors import ConfigError, RunError
from lorerm.pipeline.folder import RunFolder, is_imported


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Add three groups of options: the choice of the encoder, the settings of every encoder, and execution options."""
    parser.add_argument_group("Encoder").add_argument(
        "--encoder",
        choices=list(ENCODERS),
        help=f"encoder that computes the embeddings (default: {WITH_MODEL} if --model is given, otherwise {BUILT_IN})",
    )
    _add_once(parser, [settings_class(name) for name in ENCODERS])
    add_running_options(parser)


def add_running_options(parser: argparse.ArgumentParser) -> None:
    """Add the execution options of the encoders (such as the device). They are not recorded in the run folder."""
    _add_once(parser, [settings_class(name).execution for name in ENCODERS])


def _add_once(parser: argparse.ArgumentParser, configs: list[type[Any]]) -> None:
    """Add the options of several dataclasses, with the default None. An option that several have is added once."""
    added: list[str] = []
    for config in configs:
        add_options(parser, config, leave_out=added)
        added += [field.name for field in fields(config)]
    parser.set_defaults(**dict.fromkeys(added))


def encoder_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the encoder that the options select, as the manifest records them.

    Raises `ConfigError` if an option belongs to another encoder, a required option is missing, or a file cannot be
    read.
    """
    given = {name: value for name in setting_names() if (value := getattr(parsed, name, None)) is not None}
    name = parsed.encoder or implied_encoder(given)
    config = settings_class(name)
    own = {field.name: field for field in fields(config)}
    if other := sorted(given.keys() - own.keys()):
        raise ConfigError(
            f"{_flag(other[0])} is not a setting of the encoder {name!r}",
            f"leave it out, or {_how_to_choose(other[0])}",
            argument=other[0],
        )
    required = [field.name for field in own.values() if field.default is MISSING and field.name not in given]
    if required:
        raise ConfigError(
            f"the encoder {name!r} needs {_flag(required[0])}", f"add {_flag(required[0])}", argument=required[0]
        )
    values = {key: _read_text(key, value) if own[key].metadata.get("file") else value for key, value in given.items()}
    return record_settings(config(**values))


def _how_to_choose(setting: str) -> str:
    """Return the advice, for an error message, on how to select the encoder that a setting belongs to."""
    owner = next(name for name in ENCODERS if setting in {field.name for field in fields(settings_class(name))})
    return "add --model" if owner == WITH_MODEL else f"add --encoder {owner}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _read_text(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{_flag(name)} {path} cannot be read ({error})", "check the file", argument=name) from error


def make_encoder(settings: Mapping[str, Any], parsed: argparse.Namespace) -> Encoder:
    """Build an encoder from the settings in a manifest and the execution options on the command line."""
    return build_encoder(settings, running_options(parsed))


def running_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the execution options given on the command line, as JSON-serialisable values for `build_encoder`."""
    names = [field.name for name in ENCODERS for field in fields(settings_class(name).execution)]
    return {name: value for name in names if (value := getattr(parsed, name, None)) is not None}


def uses_gpu(settings: Mapping[str, Any], parsed: argparse.Namespace) -> bool:
    """Return whether an encoder with these settings uses a GPU if the machine has one."""
    return bool(read_settings(settings).read_execution(running_options(parsed)).uses_gpu)


def run_encoder(run: RunFolder, parsed: argparse.Namespace) -> Encoder:
    """Build the encoder that computed the embeddings of a run; see `run_encoder_settings`."""
    return make_encoder(run_encoder_settings(run), parsed)


def run_encoder_settings(run: RunFolder) -> dict[str, Any]:
    """Return the settings of the encoder that computed the embeddings of a run, for `make_encoder`.

    Raises `RunError` if the embeddings were imported, because their encoder is unknown.
    """
    if is_imported(run):
        raise RunError(
            f"{run.path} has imported embeddings: their encoder is unknown, so that texts cannot be embedded",
            "embed the texts with the encoder that made the imported embeddings, and use these embeddings in Python "
            "(to score: `LowRankRewardModel.rewards`; to add users: `lorerm.adapt`)",
        )
    identity = EncoderIdentity.from_dict(run.result("embed")["encoder"])
    return record_settings(pin_settings(read_settings(run.arguments("embed")), identity))
