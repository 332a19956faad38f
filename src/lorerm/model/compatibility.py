"""Checks that embeddings come from the encoder that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.errors import DataError, ModelError

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.model.parameters import ModelParameters


def check_encoder(model: ModelParameters, encoder: EncoderIdentity) -> None:
    """Raise `ModelError` if the encoder, its version or its settings are not those of the model's training.

    Nothing is checked if the model does not record its encoder.
    """
    if model.encoder is not None and encoder != model.encoder:
        raise ModelError(
            f"the model was trained with the encoder {model.encoder.model!r}; the given encoder "
            f"{encoder.model!r} is another one, or has another version or other settings",
            "pass the encoder that the model was trained with",
            argument="encoder",
        )


def check_embeddings(model: ModelParameters, data: EmbeddedPreferences) -> None:
    """Raise `DataError` if the embeddings and the model's training data differ in dimension or encoder.

    The encoders are compared only if both are recorded.
    """
    remedy = "embed the comparisons with the encoder that the model was trained on"
    if data.dimension != model.basis.shape[0]:
        raise DataError(
            f"the embeddings of the comparisons have dimension {data.dimension}, the model's basis has "
            f"{model.basis.shape[0]}",
            remedy,
            argument="data",
        )
    if None not in (data.encoder, model.encoder) and data.encoder != model.encoder:
        raise DataError(
            "the comparisons and the model's training data were embedded with different encoders or settings",
            remedy,
            argument="data",
        )
