"""Embeddings of the documents (responses) in a request: texts are encoded, embeddings from the client are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation, as_conversation
from lorerm.errors import DataError
from lorerm.serving.batching_encoder import BatchingEncoder
from lorerm.serving.schemas import EmbeddingDocument, Message, TextDocument


async def embed_documents(
    documents: Sequence[Any], prompts: Sequence[Any], dimension: int, encoder: BatchingEncoder | None
) -> Floats32:
    """Return the embeddings of documents (values of type `schemas.Document`), float32 [n, D].

    `prompts` has the prompt of each document; it may be None if the document is an embedding. If `encoder` is None,
    only embeddings are accepted. Numbers too large for float32 become infinite.
    """
    texts = [index for index, document in enumerate(documents) if type(document) is not EmbeddingDocument]
    if not texts:
        return decode([document.embedding for document in documents], dimension)
    if encoder is None:
        raise DataError(
            "this server has no encoder and accepts embeddings only", 'send {"embedding": ...} instead of texts'
        )
    rows = np.empty((len(documents), dimension), dtype=np.float32)
    given = [index for index, document in enumerate(documents) if type(document) is EmbeddingDocument]
    if given:
        rows[given] = decode([documents[index].embedding for index in given], dimension)
    rows[texts] = await encoder.embed([_conversation(prompts[index], documents[index]) for index in texts])
    return rows


def decode(vectors: Sequence[bytes | list[float]], dimension: int) -> Floats32:
    """Decode embeddings, sent as bytes or numbers, to float32 [n, D]. Raises `DataError` if a length is not D."""
    if all(type(vector) is bytes and len(vector) == 4 * dimension for vector in vectors):
        return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(-1, dimension)  # type: ignore[arg-type]
    return np.stack([_decode_one(vector, dimension) for vector in vectors])


def plain_text(document: Any) -> str | list[dict[str, Any]] | None:  # noqa: ANN401 - one of the types of documents
    """Return a document's text, or its messages as dictionaries; None for an embedding."""
    if isinstance(document, str):
        return document
    if isinstance(document, list):
        return [message.model_dump(exclude_unset=True) for message in document]
    return document.text if isinstance(document, TextDocument) else None


def _decode_one(vector: bytes | list[float], dimension: int) -> Floats32:
    length, rest = divmod(len(vector), 4) if isinstance(vector, bytes) else (len(vector), 0)
    if rest or length != dimension:
        raise DataError(
            f"an embedding has {length} numbers{' and an incomplete one' if rest else ''} instead of {dimension}",
            "embed with the encoder that the model was trained on, and send float32",
        )
    if isinstance(vector, bytes):
        return np.frombuffer(vector, dtype="<f4")
    with np.errstate(over="ignore"):
        return np.array(vector, dtype=np.float64).astype(np.float32)


def _conversation(prompt: str | list[Message] | None, document: Any) -> Conversation:  # noqa: ANN401
    if prompt is None:
        raise DataError("a text has no prompt", "send the prompt (`query` in a rerank request), or only embeddings")
    return as_conversation(plain_text(prompt), plain_text(document))
