"""The encoders known by name: an encoder is one module with a subclass of `EncoderSettings`, and one line here.

The settings of an encoder give the command its options (`lorerm embed --help`). Those that decide the embeddings are
recorded in the run's manifest, from which later verbs build the same encoder again.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorerm.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.embedding.encoder import Encoder, EncoderIdentity, EncoderSettings

    Settings = EncoderSettings[Any]

BUILT_IN = "hashing"
"""The encoder that is used where none is named: it needs no download."""
WITH_MODEL = "transformers"
"""The encoder that is used where a model is given, and no encoder is named."""

# The settings of each encoder, as "module:class"; the module is imported when they are needed.
ENCODERS = {
    BUILT_IN: "lorerm.embedding.hashing:HashingSettings",
    WITH_MODEL: "lorerm.embedding.transformers.last_token:TransformersSettings",
}


def implied_encoder(settings: Mapping[str, Any]) -> str:
    """Return the encoder that settings without a name mean: `WITH_MODEL` if they have a model, otherwise `BUILT_IN`."""
    return BUILT_IN if settings.get("model") is None else WITH_MODEL


def settings_class(name: str) -> type[Settings]:
    """Return the class of the settings of an encoder.

    Raises
    ------
    ConfigError
        If there is no encoder of that name.
    """
    if name not in ENCODERS:
        raise ConfigError(f"encoder {name!r} is unknown", f"choose one of {', '.join(ENCODERS)}", argument="encoder")
    module, _, found = ENCODERS[name].partition(":")
    return getattr(import_module(module), found)  # type: ignore[no-any-return]


def setting_names() -> tuple[str, ...]:
    """Return the names of the settings of all encoders."""
    return tuple(dict.fromkeys(field.name for name in ENCODERS for field in fields(settings_class(name))))


def record_settings(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON-able values for a manifest.

    The name of the encoder is left out where `implied_encoder` finds it, as in the runs of earlier versions.
    """
    name = next(name for name in ENCODERS if settings_class(name) is type(settings))
    values = {"model": None, **asdict(settings)}
    return values if name == implied_encoder(values) else {"encoder": name, **values}


def read_settings(recorded: Mapping[str, Any]) -> Settings:
    """Read what `record_settings` returned.

    Raises
    ------
    ConfigError
        If the encoder is unknown.
    ModelError
        If it has no such setting.
    """
    name = recorded.get("encoder") or implied_encoder(recorded)
    found = settings_class(name)
    names = [field.name for field in fields(found)]
    values = {key: value for key, value in recorded.items() if key != "encoder" and (key in names or value is not None)}
    if unknown := sorted(values.keys() - set(names)):
        raise ModelError(
            f"the encoder {name!r} has no setting {unknown[0]!r}",
            "use the version of lorerm that recorded it",
            argument=unknown[0],
        )
    return found(**values)


def pin_settings(settings: Settings, identity: EncoderIdentity) -> Settings:
    """Return settings that give the same embeddings again as those of an encoder that was built from them.

    `identity` is that of the encoder: a branch and an automatic dtype can mean something else today.
    """
    resolved = type(settings).of_identity(identity)
    return settings if resolved is None else replace(settings, **_given(resolved))


def identify_settings(identity: EncoderIdentity) -> Settings:
    """Return settings of the encoder with this identity, for instance that of a saved model.

    Raises
    ------
    ModelError
        If no registered encoder has such an identity.
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
    """Build the encoder of recorded settings.

    Parameters
    ----------
    recorded
        As `record_settings` returned them.
    execution
        How it runs: values of its `Execution`; those that it does not have are ignored.
    """
    settings = read_settings(recorded)
    return settings.build(settings.read_execution(execution or {}))


def _given(settings: Settings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if value is not None}
