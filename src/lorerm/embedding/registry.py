"""The encoders known by name: an encoder is one module with a subclass of `EncoderSettings`, and one line here.

The settings of an encoder give the command its options (`lorerm embed --help`). Those that decide the embeddings are
recorded in the run's manifest, from which later verbs build the same encoder again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from importlib import import_module
from typing import Any

from lorerm.embedding.encoder import Encoder, EncoderIdentity, EncoderSettings
from lorerm.errors import ConfigError, ModelError

BUILT_IN = "hashing"
"""The encoder that is used where neither an encoder nor a model is named: it needs no download."""
WITH_MODEL = "transformers"
"""The encoder that is used where a model is named, but no encoder."""

# The settings of each encoder, as "module:class"; the module is imported when they are needed.
ENCODERS = {
    BUILT_IN: "lorerm.embedding.hashing:HashingSettings",
    WITH_MODEL: "lorerm.embedding.transformers.last_token:TransformersSettings",
}


def implied_encoder(settings: Mapping[str, Any]) -> str:
    """Return the encoder meant by settings that name none: `WITH_MODEL` if they name a model, otherwise `BUILT_IN`."""
    return BUILT_IN if settings.get("model") is None else WITH_MODEL


def settings_class(name: str) -> type[EncoderSettings]:
    """Return the class of an encoder's settings; an unknown name is a `ConfigError`."""
    if name not in ENCODERS:
        raise ConfigError(f"encoder {name!r} is unknown", f"choose one of {', '.join(ENCODERS)}", argument="encoder")
    module, _, found = ENCODERS[name].partition(":")
    return getattr(import_module(module), found)  # type: ignore[no-any-return]


def setting_names() -> tuple[str, ...]:
    """Return the names of the settings of all encoders."""
    return tuple(dict.fromkeys(field.name for name in ENCODERS for field in fields(settings_class(name))))


def record_settings(settings: EncoderSettings) -> dict[str, Any]:
    """Return settings as values that JSON can hold, for a manifest.

    They name the encoder only where `implied_encoder` would not find it, as the runs of earlier versions do.
    """
    name = next(name for name in ENCODERS if settings_class(name) is type(settings))
    values = {"model": None, **asdict(settings)}
    return values if name == implied_encoder(values) else {"encoder": name, **values}


def read_settings(recorded: Mapping[str, Any]) -> EncoderSettings:
    """Read what `record_settings` returned.

    An unknown encoder is a `ConfigError`, an unknown setting a `ModelError`.
    """
    name = recorded.get("encoder") or implied_encoder(recorded)
    found = settings_class(name)
    names = {field.name for field in fields(found)}
    values = {key: value for key, value in recorded.items() if key != "encoder" and (key in names or value is not None)}
    if unknown := sorted(values.keys() - names):
        raise ModelError(
            f"the encoder {name!r} has no setting {unknown[0]!r}",
            "use the version of lorerm that recorded it",
            argument=unknown[0],
        )
    return found(**values)


def pin_settings(settings: EncoderSettings, identity: EncoderIdentity) -> EncoderSettings:
    """Replace what can change its meaning, such as a branch or an automatic dtype, by its value in `identity`.

    `identity` is that of an encoder built from the settings. An encoder built from the result has the same identity.
    """
    resolved = type(settings).of_identity(identity)
    values = {} if resolved is None else asdict(resolved)
    return replace(settings, **{name: value for name, value in values.items() if value is not None})


def identify_settings(identity: EncoderIdentity) -> EncoderSettings:
    """Return settings of the encoder with an identity, such as a saved model's.

    If no registered encoder has such an identity, that is a `ModelError`.
    """
    for name in ENCODERS:
        settings = settings_class(name).of_identity(identity)
        if settings is not None:
            return settings
    raise ModelError(
        f"no encoder of this version gives embeddings like those of {identity.model!r} (pooling {identity.pooling!r})",
        "use the version of lorerm that made them",
    )


def build_encoder(recorded: Mapping[str, Any], execution: Mapping[str, Any] | None = None) -> Encoder:
    """Build the encoder of settings that `record_settings` returned.

    `execution` says how it runs; values that are settings of other encoders only are ignored.
    """
    settings = read_settings(recorded)
    return settings.build(settings.read_execution(execution or {}))
