"""Documents to vectors: embeddings as they came, texts through the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.conversation import as_conversation
from lorerm.errors import DataError
from lorerm.serving.documents import EmbeddingDocument, TextDocument
from lorerm.serving.vectors import as_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.conversation import Conversation
    from lorerm.serving.documents import Message
    from lorerm.serving.embeddings import Embeddings
    from lorerm.serving.vectors import Vector32


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
    texts = [place for place, document in enumerate(documents) if type(document) is not EmbeddingDocument]
    if not texts:
        return as_rows([document.embedding for document in documents], dimension)
    if embeddings is None:
        raise DataError("this server takes embeddings alone", 'send {"embedding": ...} in place of texts')
    ready = [place for place, document in enumerate(documents) if type(document) is EmbeddingDocument]
    rows = np.empty((len(documents), dimension), dtype=np.float32)
    if ready:
        rows[ready] = as_rows([documents[place].embedding for place in ready], dimension)
    rows[texts] = await embeddings.embed([_conversation(prompts[place], documents[place]) for place in texts])
    return rows


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
