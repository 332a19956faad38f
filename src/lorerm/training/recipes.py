"""The recipes behind one door: what all ranks of a training share is computed once, then one rank after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from lorerm.errors import ConfigError
from lorerm.model.posterior import solve
from lorerm.model.prior import WeightPrior
from lorerm.model.projected import ProjectedComparisons
from lorerm.training import paper, regularized, selection
from lorerm.training.pairs import PackedPairs
from lorerm.training.validation import Score, Validation, best_temperature

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.training.config import TrainingConfig

    Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """One rank's result.

    Parameters
    ----------
    basis
        [D, K], on the embeddings as they came.
    weights
        [N, K].
    prior, temperature
        As the model keeps them.
    score
        On validation pairs, before any refinement, or None without them.
    covariance
        [N, K, K], or None where the recipe has none.
    comparisons
        The training pairs as the posterior needs them, or None where there is no posterior.
    chosen
        What selection chose, as JSON-able values.
    """

    basis: torch.Tensor
    weights: torch.Tensor
    prior: WeightPrior
    temperature: float
    score: Score | None
    covariance: torch.Tensor | None = None
    comparisons: ProjectedComparisons | None = None
    chosen: dict[str, Any] = field(default_factory=dict)


class Trainer(ABC):
    """Packed training pairs, validation cells, and the recipe's way from a rank to a result."""

    # The published recipes are followed to the last rounding, on stored differences; the default one takes the cheaper
    # form.
    _differences: bool | None = None

    def __init__(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> None:
        self.config = config
        self.reference = reference
        self.pairs = PackedPairs.pack(data, differences=self._differences)
        self.validation = Validation.cut(data, config.seed, differences=self._differences)
        self._scores: dict[int, Score | None] = {}

    def fit(self, rank: int, progress: Progress | None = None) -> Trained:
        """Train one rank; `progress` is told (steps done, steps in all)."""
        return self._reference_alone() if rank == 0 else self._fit(rank, progress)

    def validate(self, rank: int) -> Score | None:
        """Score one rank on the validation pairs without training it on all; None where there are none."""
        if self.validation is None:
            return None
        if rank not in self._scores:
            held = self.validation
            self._scores[rank] = self._score_reference(held) if rank == 0 else self._score(rank, held)
        return self._scores[rank]

    @abstractmethod
    def _fit(self, rank: int, progress: Progress | None) -> Trained:
        """Train one rank from 1 on."""

    @abstractmethod
    def _score(self, rank: int, validation: Validation) -> Score | None:
        """Score one rank from 1 on."""

    @abstractmethod
    def _score_reference(self, validation: Validation) -> Score:
        """Score rank 0, the reference head."""

    def _reference_alone(self) -> Trained:
        """Return rank 0: the reference head at its best temperature, the same for everybody."""
        head, temperature = self._head
        ones = torch.ones(self.pairs.n_users, 1)
        prior, score = WeightPrior.fixed(ones[0]), self.validate(0)
        return Trained(head.t(), ones, prior, temperature, score, torch.zeros(len(ones), 1, 1))

    @cached_property
    def _head(self) -> tuple[torch.Tensor, float]:
        """The reference head [1, D] and its best temperature."""
        if self.reference is None:
            raise ConfigError("rank 0 is the reference head alone, and there is none", "ask for rank 1 or more")
        head = self.reference[None]
        return head, best_temperature(self.pairs.project(head)[:, 0], self.pairs.weight)


class DefaultTrainer(Trainer):
    """Regularised, strengths chosen on validation pairs, weights by the posterior's mode."""

    def __init__(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> None:
        super().__init__(data, config, reference)
        self._choices: dict[int, selection.Choice] = {}
        # By the largest rank that they serve.
        self._paths: dict[int, selection.PersonalPath] = {}

    def _fit(self, rank: int, progress: Progress | None) -> Trained:
        # Ranks are compared by the choice without refinements, which would have to be made for each of them.
        choice, fit = selection.with_refinements(self._inner, self._choice(rank), self._target), self._shared
        strengths = self._rescaled(choice.strengths)
        if strengths.personal is not None:
            if choice.fit is None:
                start = regularized.spectral_start(self._scaled, fit, rank)
            else:
                start = selection.start_from(choice.fit, self._scaled, fit)
            fit = regularized.fit_personal(self._scaled, strengths.personal, start, self._steps)
            rescaled = replace(choice, strengths=strengths)
            for _ in range(choice.refinements):
                fit = selection.refined(self._scaled, fit, rescaled, self._target, self._steps)
        if progress is not None:
            progress(1, 1)
        basis = fit.basis * self._scale
        pairs = self.pairs
        answers = ProjectedComparisons(pairs.project(basis), pairs.count.float(), pairs.user)
        prior = selection.prior_of(fit, answers.projected, pairs, choice)
        posterior = solve(answers.projected, pairs.user, pairs.count, pairs.n_users, prior)
        return Trained(
            basis=basis.t().contiguous(),
            weights=posterior.weights.float(),
            prior=prior,
            temperature=1.0,  # the one that validation chose is in the basis: rewards are log-odds
            score=self.validate(rank),
            covariance=posterior.covariance.float(),
            comparisons=answers,
            chosen={
                "lambda_shared": strengths.shared,
                "lambda_personal": strengths.personal,
                "refinements": choice.refinements,
                "prior_spread": choice.spread,
                "consistency_learnt": choice.consistency_learnt,
                "temperature": choice.temperature,
                "iterations": fit.steps,
            },
        )

    def _score(self, rank: int, validation: Validation) -> Score | None:  # noqa: ARG002 - the scaled ones are used
        return self._choice(rank).score

    def _score_reference(self, validation: Validation) -> Score:
        """Score the head as the other ranks are."""
        head, temperature = self._head
        return selection.score_one_direction(validation, head / temperature)

    def _choice(self, rank: int) -> selection.Choice:
        """Return what validation chose for a rank from 1 on."""
        if rank not in self._choices:
            self._choices[rank] = self._chosen_shared[0] if rank == 1 else self._choose_personal(rank)
        return self._choices[rank]

    def _choose_personal(self, rank: int) -> selection.Choice:
        choice, fit = self._chosen_shared
        if self._inner is None or fit is None:
            return replace(choice, strengths=selection.FALLBACK)
        served = max(rank, selection.COMMON_RANK)
        if served not in self._paths:
            self._paths[served] = selection.PersonalPath(self._inner.fit, fit, served)
        return selection.choose_personal(self._inner, choice, self._paths[served], rank)

    @property
    def _steps(self) -> int:
        return self.config.steps or regularized.MAX_STEPS

    @cached_property
    def _scale(self) -> torch.Tensor:
        return regularized.feature_scale(self.pairs)

    @cached_property
    def _scaled(self) -> PackedPairs:
        return self.pairs.with_scale(self._scale)

    @cached_property
    def _inner(self) -> Validation | None:
        """The validation cells on the scaled features."""
        cells = self.validation
        if cells is None:
            return None
        return replace(
            cells,
            fit=cells.fit.with_scale(self._scale),
            shots=None if cells.shots is None else cells.shots.with_scale(self._scale),
            held=cells.held.with_scale(self._scale),
        )

    @cached_property
    def _target(self) -> torch.Tensor:
        """The reference head at its best scale, on the scaled features; 0 without one."""
        target = torch.zeros(len(self._scale))
        if self.reference is not None:
            alive = self._scale > 0
            target[alive] = self.reference[alive] / self._scale[alive]
            target /= best_temperature(self.pairs.project(self.reference[None])[:, 0], self.pairs.weight)
        return target

    @cached_property
    def _chosen_shared(self) -> tuple[selection.Choice, regularized.Fit | None]:
        return selection.choose_shared(self._inner, self._target)

    @cached_property
    def _shared(self) -> regularized.Fit:
        """Rank 1 on all training pairs, in log-odds."""
        choice = self._choice(1)
        strength = self._rescaled(choice.strengths).shared
        fit = regularized.fit_shared(self._scaled, strength, self._target, steps=self._steps)
        return selection.at_temperature(fit, choice.temperature)

    def _rescaled(self, strengths: regularized.Strengths) -> regularized.Strengths:
        """Weaken strengths chosen on part of the pairs: the noise that they hold down shrinks as pairs are added."""
        share = 1.0 if self.validation is None else self.validation.share
        personal = None if strengths.personal is None else strengths.personal * share
        return regularized.Strengths(strengths.shared * share, personal)


class PublishedTrainer(Trainer):
    """The recipes `paper` and `paper-cosine`; validation serves only to choose among ranks."""

    _differences = True

    def __init__(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> None:
        alpha = paper.ALPHA[config.recipe] if config.alpha is None else config.alpha
        if reference is None and (config.recipe == "paper-cosine" or alpha > 0):
            raise ConfigError(
                f"recipe {config.recipe} with alpha {alpha:g} needs a reference head, and there is none",
                "train on embeddings of a reward model with a linear head, or use another recipe or alpha 0",
            )
        super().__init__(data, config, reference)
        self.alpha = alpha

    def _fit(self, rank: int, progress: Progress | None) -> Trained:
        fit = self._optimise(self.pairs, rank, progress)
        mean = fit.weights.double().mean(dim=0)
        if len(mean) == 1:
            prior = WeightPrior.fixed(mean)
        else:
            # Dropped columns leave rows that sum to less than 1; a prior is on the simplex of those that are left.
            prior = WeightPrior(mean / mean.sum(), concentration=selection.simplex_concentration(fit.weights))
        return Trained(fit.basis.t().contiguous(), fit.weights, prior, paper.TEMPERATURE, self.validate(rank))

    def _optimise(self, pairs: PackedPairs, rank: int, progress: Progress | None = None) -> paper.PaperFit:
        config = self.config
        steps = config.steps or paper.JOINT_STEPS[config.recipe]
        learning_rate = config.learning_rate or paper.LEARNING_RATE
        torch.manual_seed(config.seed)
        fit: Callable[..., paper.PaperFit] = paper.fit_cosine if config.recipe == "paper-cosine" else paper.fit_joint
        return fit(
            pairs,
            rank,
            steps=steps,
            learning_rate=learning_rate,
            alpha=self.alpha,
            reference=self.reference,
            progress=progress,
        )

    def _score_reference(self, validation: Validation) -> Score:
        head, temperature = self._head
        return validation.score(validation.held.project(head)[:, 0], temperature)

    def _score(self, rank: int, validation: Validation) -> Score:
        fit = self._optimise(validation.fit, rank)
        weights = [fit.weights]
        if validation.shots is not None:
            torch.manual_seed(self.config.seed)
            weights.append(
                paper.fit_few_shot(validation.shots, fit.basis, **paper.few_shot_constants(self.config.recipe))
            )
        margins = validation.margins(fit.basis, torch.cat(weights))
        # At its best temperature, or an over-confident recipe would be judged by its confidence alone.
        return validation.score(margins, best_temperature(margins, validation.held.weight))
