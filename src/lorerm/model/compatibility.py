"""Checks that embeddings come from the encoder that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.errors import DataError, ModelError

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.model.parameters import ModelParameters


def check_encoder(model: ModelParameters, encoder: EncoderIdentity) -> None:
    """Raise a `ModelError` for another model, version or settings than those of the training, where these are known."""
    if model.encoder is not None and encoder != model.encoder:
        raise ModelError(
            f"the model was trained on embeddings of {model.encoder.model!r}, this encoder is "
            f"{encoder.model!r} or has other settings",
            "pass the encoder of the training run",
            argument="encoder",
        )


def check_embeddings(model: ModelParameters, data: EmbeddedPreferences) -> None:
    """Raise a `DataError` for embeddings of another dimension or encoder than those of the model's training data."""
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
            "the comparisons were embedded by another encoder, or with other settings, than the model's training data",
            remedy,
            argument="data",
        )
