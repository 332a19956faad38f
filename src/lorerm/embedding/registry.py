"""An encoder from its settings, as they are recorded and given: the embedded one, or a model through transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.embedding.encoder import Encoder


def build_encoder(
    settings: Mapping[str, Any],
    *,
    device: str | None = None,
    batch_tokens: int | None = None,
    trust_remote_code: bool = False,
) -> Encoder:
    """Build an encoder.

    Parameters
    ----------
    settings
        What decides its numbers: `model`, which None makes the embedded encoder; `revision`, `dtype`, `max_length`,
        `attn`, `chat_template`.
    device, batch_tokens, trust_remote_code
        How it runs, as in `TransformersEncoder`.
    """
    if settings["model"] is None:
        from lorerm.embedding.hashing import HashingEncoder

        return HashingEncoder()
    from lorerm.embedding.transformers.last_token import TransformersEncoder

    named = {"attn": "attn_implementation"}
    arguments = {named.get(name, name): value for name, value in settings.items()}
    return TransformersEncoder(
        **arguments, device=device, batch_tokens=batch_tokens, trust_remote_code=trust_remote_code
    )
