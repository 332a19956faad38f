"""Texts, conversations and embeddings as requests hold them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from lorerm.serving.vectors import BASE64, Vector


class StrictRequest(BaseModel):
    """What a client sends: names that are not known are refused, so that a typing error is found."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Message(StrictRequest):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


# All lists end at their first mistake: a body could hold millions, and to list them takes gigabytes.
Messages = Annotated[list[Message], Field(min_length=1, max_length=1000, fail_fast=True)]
Text = str | Messages


class TextDocument(StrictRequest):
    """A document as Jina's clients send it."""

    text: str


class EmbeddingDocument(StrictRequest):
    """A document that the client has embedded, by the model's own encoder."""

    model_config = BASE64

    embedding: Vector


def _kind(value: Any) -> str | None:  # noqa: ANN401 - whatever a client sends
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "messages"
    if isinstance(value, EmbeddingDocument) or (isinstance(value, dict) and "embedding" in value):
        return "embedding"
    return "object" if isinstance(value, dict | TextDocument) else None


Document = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[Messages, Tag("messages")]
    | Annotated[TextDocument, Tag("object")]
    | Annotated[EmbeddingDocument, Tag("embedding")],
    Discriminator(
        _kind,
        custom_error_type="document",
        custom_error_message='give a text, messages, {"text": ...} or {"embedding": ...}',
    ),
]
