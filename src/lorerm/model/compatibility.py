"""Checks that embeddings come from the encoder that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.errors import DataError, ModelError

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.model.parameters import ModelParameters


def check_encoder(model: ModelParameters, encoder: EncoderIdentity) -> None:
    """Refuse another encoder than that of the training, where that one is known.

    Raises
    ------
    ModelError
        If it is another model, another version of it, or has other settings.
    """
    if model.encoder is not None and encoder != model.encoder:
        raise ModelError(
            f"the model was trained on embeddings of {model.encoder.model!r}, this encoder is "
            f"{encoder.model!r} or has other settings",
            "pass the encoder of the training run",
            argument="encoder",
        )


def check_embeddings(model: ModelParameters, data: EmbeddedPreferences) -> None:
    """Refuse comparisons whose embeddings have another dimension or encoder than the model's training data.

    Raises
    ------
    DataError
        If the dimension or the encoder differs.
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
            "the comparisons were embedded by another encoder, or with other settings, than the model's training data",
            remedy,
            argument="data",
        )
