"""`EmbeddedPreferences`: comparisons between rows of a matrix of response embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lorerm.data.comparisons import Comparisons
from lorerm.embedding.checks import check_scale
from lorerm.embedding.matrices import as_matrix, as_reference
from lorerm.embedding.store import read_store
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.arrays import Column, Floats32, Vector
    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.embedding.matrices import Matrix


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EmbeddedPreferences(Comparisons):
    """Comparisons between rows of a matrix of response embeddings.

    Create one with `from_arrays`, `lorerm.embed` or `load`. They validate the columns and the matrix.

    Parameters
    ----------
    user_ids
        Length n: the user of each comparison.
    prompt_ids
        Length n: the id of the prompt that both responses reply to. Train and test never share a prompt.
    chosen, rejected
        Int [n]: rows of `responses`.
    weights
        Float64 [n]: the weight of each comparison relative to the user's other comparisons.
    splits
        Length n: the split of each comparison; None if no split was assigned to any comparison.
    responses
        Float [R, D], torch or NumPy, any float dtype: the embedding of each distinct conversation (prompt and
        response). A `StoredMatrix` is also possible; its rows stay on disk.
    encoder
        The identity of the encoder that made the embeddings, or None if they were given as arrays.
    reference
        Float32 [D]: the reference head, which is the encoder's own reward head (a linear layer), or None.
    """

    responses: Matrix
    encoder: EncoderIdentity | None = None
    reference: Floats32 | None = None

    @classmethod
    def from_arrays(
        cls,
        responses: Matrix,
        chosen: Vector,
        rejected: Vector,
        user_ids: Column,
        prompt_ids: Column | None = None,
        weights: Column | None = None,
        *,
        splits: Column | None = None,
        reference: Matrix | None = None,
    ) -> EmbeddedPreferences:
        """Validate arrays and combine them into one object. The class docstring gives the shapes.

        NumPy arrays and torch tensors are kept as they are. Pandas and Arrow columns become NumPy arrays, without a
        copy if their layout allows it.

        Without `prompt_ids`, each distinct pair of responses, in either order, is treated as one prompt.

        Raises
        ------
        DataError
            If lengths differ, rows are out of range, a response is compared with itself, or the matrix has NaN,
            infinite values or rows of an unusable scale (see `lorerm.embedding.checks.check_scale`). The error names
            the argument and the first bad indices.
        """
        comparisons = Comparisons.from_columns(chosen, rejected, user_ids, prompt_ids, weights, splits)
        return cls.join(comparisons, responses, reference=reference)

    @classmethod
    def join(
        cls,
        comparisons: Comparisons,
        responses: Matrix,
        encoder: EncoderIdentity | None = None,
        reference: Matrix | None = None,
    ) -> EmbeddedPreferences:
        """Combine comparisons with the matrix of their responses; makes the same checks as `from_arrays`."""
        responses = as_matrix(responses)
        if len(responses.shape) != 2 or 0 in responses.shape:
            raise DataError(
                f"responses has shape {tuple(responses.shape)}",
                "give a non-empty matrix [responses, dimension]",
                argument="responses",
            )
        comparisons.check_rows(len(responses))
        check_scale(responses, comparisons)
        return cls(
            **comparisons.columns(),
            responses=responses,
            encoder=encoder,
            reference=None if reference is None else as_reference(reference, int(responses.shape[1])),
        )

    @classmethod
    def load(cls, run: str | Path) -> EmbeddedPreferences:
        """Read the comparisons and embeddings of a run folder.

        Raises
        ------
        RunError
            If the embeddings in the folder are missing, unfinished, damaged, or in the format of another lorerm
            version.
        """
        return cls.join(*read_store(run))

    def with_reference(self, reference: Matrix) -> EmbeddedPreferences:
        """Return a copy with another reward head: [D] or [1, D], any float dtype.

        Raises `DataError` if the head does not have D entries, or if one of them is NaN or infinite.
        """
        return replace(self, reference=as_reference(reference, self.dimension))

    @property
    def dimension(self) -> int:
        """The length D of an embedding."""
        return int(self.responses.shape[1])

    def _sizes(self) -> dict[str, int]:
        return {**super()._sizes(), "responses": len(self.responses), "dimension": self.dimension}
