"""Documents to vectors: embeddings as they came, texts through the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.errors import DataError
from lorerm.preferences.conversation import as_conversation
from lorerm.serving.schemas import EmbeddingDocument, TextDocument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.preferences.conversation import Conversation
    from lorerm.serving.embeddings import Embeddings, Vector32
    from lorerm.serving.schemas import Message


async def vectors(
    documents: Sequence[Any], prompts: Sequence[Any], dimension: int, embeddings: Embeddings | None
) -> Vector32:
    """Return float32 [n, D].

    Parameters
    ----------
    documents
        n documents of a request.
    prompts
        The prompt of each; None will do for an embedding.
    dimension
        D.
    embeddings
        What embeds texts; None where only embeddings are taken.

    Raises
    ------
    DataError
        If an embedding has another length, or a text cannot be embedded.
    """
    rows: list[Any] = [document.embedding if type(document) is EmbeddingDocument else None for document in documents]
    for row in rows:
        if row is not None and len(row) != dimension:
            raise DataError(
                f"an embedding has {len(row)} numbers, the model's have {dimension}",
                "embed with the encoder that the model was trained on",
            )
    texts = [place for place, row in enumerate(rows) if row is None]
    if texts:
        if embeddings is None:
            raise DataError("this server takes embeddings alone", 'send {"embedding": ...} in place of texts')
        conversations = [_conversation(prompts[place], documents[place]) for place in texts]
        for place, row in zip(texts, await embeddings.embed(conversations), strict=True):
            rows[place] = row
    return np.stack(rows)


def plain(text: str | list[Message] | None) -> str | list[dict[str, str]] | None:
    """Return a text, or messages as dictionaries."""
    if text is None or isinstance(text, str):
        return text
    return [{"role": message.role, "content": message.content} for message in text]


def text_of(document: Any) -> Any:  # noqa: ANN401 - one of the kinds of documents
    """Return the text or the messages of a document; None for an embedding."""
    if isinstance(document, EmbeddingDocument):
        return None
    return document.text if isinstance(document, TextDocument) else document


def _conversation(prompt: Any, document: Any) -> Conversation:  # noqa: ANN401
    if prompt is None:
        raise DataError("a text needs the prompt that it answers", "send the query (or prompt), or embeddings alone")
    return as_conversation(plain(prompt), plain(text_of(document)))
