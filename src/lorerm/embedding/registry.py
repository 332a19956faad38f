"""The registry of encoders: the name of each encoder, and the class of its settings.

To add an encoder, write a module with a subclass of `EncoderSettings`, and add a line to `ENCODERS`. The fields of the
class become options of the command (`lorerm embed --help`). The settings are recorded in the run folder
(`manifest.json`), from which later subcommands build the same encoder again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from importlib import import_module
from typing import Any

from lorerm.embedding.encoder import Encoder, EncoderIdentity, EncoderSettings
from lorerm.errors import ConfigError, ModelError

BUILT_IN = "hashing"
"""The encoder that is used if neither an encoder nor a model is named. It needs no download."""
WITH_MODEL = "transformers"
"""The encoder that is used if a model is named, but no encoder."""

# The class of each encoder's settings, as "module:class". The module is imported only when it is needed.
ENCODERS = {
    BUILT_IN: "lorerm.embedding.hashing:HashingSettings",
    WITH_MODEL: "lorerm.embedding.transformers.last_token:TransformersSettings",
}


def implied_encoder(settings: Mapping[str, Any]) -> str:
    """Return the encoder for settings that name no encoder: `WITH_MODEL` if they name a model, otherwise `BUILT_IN`."""
    return BUILT_IN if settings.get("model") is None else WITH_MODEL


def settings_class(name: str) -> type[EncoderSettings]:
    """Return the class of an encoder's settings. Raises `ConfigError` if no encoder has this name."""
    if name not in ENCODERS:
        raise ConfigError(f"encoder {name!r} is unknown", f"choose one of {', '.join(ENCODERS)}", argument="encoder")
    module, _, found = ENCODERS[name].partition(":")
    return getattr(import_module(module), found)  # type: ignore[no-any-return]


def setting_names() -> tuple[str, ...]:
    """Return the names of the settings of all encoders, each name once."""
    return tuple(dict.fromkeys(field.name for name in ENCODERS for field in fields(settings_class(name))))


def record_settings(settings: EncoderSettings) -> dict[str, Any]:
    """Return settings as JSON-serialisable values, to be recorded in the run folder.

    The entry `encoder` is left out if `implied_encoder` finds the encoder without it. Earlier versions of lorerm never
    recorded this entry.
    """
    name = next(name for name in ENCODERS if settings_class(name) is type(settings))
    values = {"model": None, **asdict(settings)}
    return values if name == implied_encoder(values) else {"encoder": name, **values}


def read_settings(recorded: Mapping[str, Any]) -> EncoderSettings:
    """Create settings from the values that `record_settings` returned.

    Raises `ConfigError` if the encoder is unknown, and `ModelError` if the encoder has no setting of a recorded name.
    """
    name = recorded.get("encoder") or implied_encoder(recorded)
    found = settings_class(name)
    names = {field.name for field in fields(found)}
    values = {key: value for key, value in recorded.items() if key != "encoder" and (key in names or value is not None)}
    if unknown := sorted(values.keys() - names):
        raise ModelError(
            f"the encoder {name!r} has no setting {unknown[0]!r}",
            "use the version of lorerm that recorded this setting",
            argument=unknown[0],
        )
    return found(**values)


def pin_settings(settings: EncoderSettings, identity: EncoderIdentity) -> EncoderSettings:
    """Replace settings whose meaning can change, such as a branch or an automatic dtype, by the values in `identity`.

    `identity` must come from an encoder built from `settings`. An encoder built from the result has the same identity.
    """
    resolved = type(settings).of_identity(identity)
    values = {} if resolved is None else asdict(resolved)
    return replace(settings, **{name: value for name, value in values.items() if value is not None})


def identify_settings(identity: EncoderIdentity) -> EncoderSettings:
    """Return settings that build an encoder with this identity, for instance the identity in a saved model.

    Raises `ModelError` if no registered encoder can have such an identity.
    """
    for name in ENCODERS:
        settings = settings_class(name).of_identity(identity)
        if settings is not None:
            return settings
    raise ModelError(
        f"no encoder of this version can compute the embeddings of {identity.model!r} (pooling {identity.pooling!r})",
        "use the version of lorerm that computed the embeddings",
    )


def build_encoder(recorded: Mapping[str, Any], execution: Mapping[str, Any] | None = None) -> Encoder:
    """Build an encoder from the values that `record_settings` returned.

    `execution` contains execution settings; settings that only other encoders have are ignored.
    """
    settings = read_settings(recorded)
    return settings.build(settings.read_execution(execution or {}))
