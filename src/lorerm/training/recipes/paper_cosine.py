"""The recipe `paper-cosine`: LoRe_regularized (arXiv 2504.14439), with the constants of the authors' code for PRISM."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lorerm.training.recipes.paper import PaperRecipe

if TYPE_CHECKING:
    from lorerm.training.config import TrainingConfig
    from lorerm.training.paper import FitBasis


class PaperCosineRecipe(PaperRecipe):
    """Adam steps on the weights and on the basis alternate, with a penalty on the basis.

    The penalty is the mean cosine distance of the reward directions from the reference head (the encoder's own reward
    head).

    New users are adapted by the recipe `paper`, with the learning rate given here.
    """

    adaptation_settings: ClassVar[frozenset[str] | None] = None
    steps = 20_000
    alpha: ClassVar[float] = 1e4
    few_shot_learning_rate = 0.5

    def needs_reference(self, config: TrainingConfig) -> bool:  # noqa: ARG002 - whatever the settings
        """Return True: the objective is defined by the reference head."""
        return True

    def fit_basis(self) -> FitBasis:
        """Return the function that fits basis and weights."""
        from lorerm.training.paper import fit_cosine

        return fit_cosine


RECIPE = PaperCosineRecipe()
