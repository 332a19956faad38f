"""Training by the default recipe: settings are chosen on held-out comparisons, then all comparisons are fitted."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from lorerm.model.projected import ProjectedComparisons
from lorerm.training import regularized, selection
from lorerm.training.trainer import Trained, Trainer
from lorerm.training.validation import best_temperature

if TYPE_CHECKING:
    from lorerm.training.pairs import PackedPairs
    from lorerm.training.trainer import Progress
    from lorerm.training.validation import Score, Validation


class RegularizedTrainer(Trainer):
    """Trainer of the default recipe; see `regularized`, `selection` and `refinement` for its parts."""

    def _fit(self, rank: int, progress: Progress | None) -> Trained:
        # To save time, ranks are compared without basis refinements (refits under the posterior of the weights). The
        # number of refinements is chosen only for a rank that is trained.
        choice = selection.choose_refinements(self._scaled_validation, self._choice(rank), self._target)
        fit, strengths = self._shared, self._rescaled(choice.strengths)
        if strengths.personal is not None:
            if choice.fit is None:
                start = regularized.spectral_start(self._scaled, fit, rank)
            else:
                start = selection.start_from(choice.fit, self._scaled, fit)
            fit = regularized.fit_personal(self._scaled, strengths.personal, start, self._steps)
            rescaled = replace(choice, strengths=strengths)
            for _ in range(choice.refinements):
                fit = selection.refine_once(self._scaled, fit, rescaled, self._target, self._steps)
        if progress is not None:
            progress(1, 1)
        basis = fit.basis * self._scale
        pairs = self.pairs
        comparisons = ProjectedComparisons(pairs.project(basis), pairs.count.float(), pairs.user)
        prior = selection.fit_prior(fit, comparisons.projected, pairs, choice)
        posterior = pairs.posterior(comparisons.projected, prior)
        return Trained(
            basis=basis.t().contiguous(),
            weights=posterior.weights.float(),
            prior=prior,
            temperature=1.0,  # the basis is already divided by the chosen temperature
            score=self.validate(rank),
            covariance=posterior.covariance.float(),
            comparisons=comparisons,
            chosen={
                "lambda_shared": strengths.shared,
                "lambda_personal": strengths.personal,
                "refinements": choice.refinements,
                "prior_spread": choice.prior_scale,
                "consistency_learnt": choice.reliability_learnt,
                "temperature": choice.temperature,
                "iterations": fit.iterations,
            },
        )

    def _score(self, rank: int, validation: Validation) -> Score | None:  # noqa: ARG002 - `_scaled_validation` is used
        return self._choice(rank).score

    def _score_reference(self, validation: Validation) -> Score:
        head, temperature = self._head
        return selection.score_direction(validation, head / temperature)

    def _choice(self, rank: int) -> selection.Choice:
        """Return the settings that validation chose for a rank of at least 1, without refinements."""
        if rank not in self._choices:
            self._choices[rank] = self._shared_choice[0] if rank == 1 else self._choose_personal(rank)
        return self._choices[rank]

    def _choose_personal(self, rank: int) -> selection.Choice:
        choice, fit = self._shared_choice
        if self._scaled_validation is None or fit is None:
            return replace(choice, strengths=selection.FALLBACK)
        largest = max(rank, selection.COMMON_RANK)
        if largest not in self._paths:
            self._paths[largest] = selection.PersonalPath(self._scaled_validation.train, fit, largest)
        return selection.choose_personal(self._scaled_validation, choice, self._paths[largest], rank)

    @property
    def _steps(self) -> int:
        return self.config.steps or regularized.MAX_STEPS

    @cached_property
    def _choices(self) -> dict[int, selection.Choice]:
        return {}

    @cached_property
    def _paths(self) -> dict[int, selection.PersonalPath]:
        return {}

    @cached_property
    def _scale(self) -> torch.Tensor:
        return regularized.feature_scale(self.pairs)

    @cached_property
    def _scaled(self) -> PackedPairs:
        return self.pairs.with_scale(self._scale)

    @cached_property
    def _scaled_validation(self) -> Validation | None:
        return None if self.validation is None else self.validation.with_scale(self._scale)

    @cached_property
    def _target(self) -> torch.Tensor:
        """The reference head (the encoder's own) at its best temperature, for scaled features; 0 without a head."""
        target = torch.zeros(len(self._scale))
        if self.reference is not None:
            alive = self._scale > 0
            target[alive] = self.reference[alive] / self._scale[alive]
            target /= best_temperature(self.pairs.project(self.reference[None])[:, 0], self.pairs.weight)
        return target

    @cached_property
    def _shared_choice(self) -> tuple[selection.Choice, regularized.Fit | None]:
        return selection.choose_shared(self._scaled_validation, self._target)

    @cached_property
    def _shared(self) -> regularized.Fit:
        """The shared direction fitted to all training comparisons, scaled so that rewards are log-odds."""
        choice = self._choice(1)
        strength = self._rescaled(choice.strengths).shared
        fit = regularized.fit_shared(self._scaled, strength, self._target, steps=self._steps)
        return replace(fit, shared=fit.shared / choice.temperature)

    def _rescaled(self, strengths: regularized.Strengths) -> regularized.Strengths:
        """Convert penalty strengths chosen on the train part of the validation split to strengths for all comparisons.

        The loss is a mean over comparisons: the right strength is inversely proportional to their number.
        """
        share = 1.0 if self.validation is None else self.validation.train_share
        personal = None if strengths.personal is None else strengths.personal * share
        return regularized.Strengths(strengths.shared * share, personal)
