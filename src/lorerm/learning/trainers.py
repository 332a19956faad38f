"""The recipes behind one door: what all ranks of a training share is computed once, then one rank after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from lorerm.errors import ConfigError
from lorerm.learning import default, paper, selection
from lorerm.learning.pairs import PackedPairs
from lorerm.learning.validation import Score, Validation, best_temperature
from lorerm.model.posterior import WeightPrior, solve

if TYPE_CHECKING:
    from lorerm.encoding.embedded_preferences import EmbeddedPreferences
    from lorerm.learning.config import TrainingConfig

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
        On validation pairs, or None without any.
    covariance
        [N, K, K], or None where the recipe has none.
    chosen
        What selection chose, as JSON-able values.
    """

    basis: torch.Tensor
    weights: torch.Tensor
    prior: WeightPrior
    temperature: float
    score: Score | None
    covariance: torch.Tensor | None = None
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

    @abstractmethod
    def fit(self, rank: int, progress: Progress | None = None) -> Trained:
        """Train one rank from 1 on; `progress` is told (steps done, steps in all)."""

    def reference_alone(self) -> Trained:
        """Return rank 0: the reference head at its best temperature, the same for everybody."""
        if self.reference is None:
            raise ConfigError("rank 0 is the reference head alone, and there is none", "ask for rank 1 or more")
        head = self.reference[None]
        temperature = best_temperature(self.pairs.project(head)[:, 0], self.pairs.weight)
        score = None
        if self.validation is not None:
            score = self.validation.score(self.validation.held.project(head)[:, 0], temperature)
        ones = torch.ones(self.pairs.n_users, 1)
        return Trained(head.t(), ones, WeightPrior.fixed(ones[0]), temperature, score, torch.zeros(len(ones), 1, 1))


class DefaultTrainer(Trainer):
    """Regularised, strengths chosen on validation pairs, weights by the posterior's mode."""

    def fit(self, rank: int, progress: Progress | None = None) -> Trained:
        """Train one rank; see `Trainer.fit`."""
        choice, fit = self._shared
        if rank > 1:
            choice = selection.choose_personal(self._inner, choice, self._chosen_shared[1], rank)
        strengths = self._rescaled(choice.strengths)
        if strengths.personal is not None:
            begin = fit = default.spectral_start(self._scaled, fit, rank)
            # Along the path that selection walked: from a cold start the same strength can end in another minimum.
            for strength in [*(one for one in selection.PERSONAL_PATH if one > strengths.personal), strengths.personal]:
                fit = selection.next_on_path(self._scaled, strength, fit, begin, self._steps)
        if progress is not None:
            progress(1, 1)
        prior = selection.prior_of(fit, choice.spread)
        basis = fit.basis * self._scale
        pairs = self.pairs
        posterior = solve(pairs.project(basis), pairs.user, pairs.count, pairs.n_users, prior)
        return Trained(
            basis=basis.t().contiguous(),
            weights=posterior.weights.float(),
            prior=prior,
            temperature=1.0,  # the one that validation chose is in the basis: rewards are log-odds
            score=choice.score,
            covariance=posterior.covariance.float(),
            chosen={
                "lambda_shared": strengths.shared,
                "lambda_personal": strengths.personal,
                "prior_spread": choice.spread,
                "temperature": choice.temperature,
                "iterations": fit.steps,
            },
        )

    def reference_alone(self) -> Trained:
        """Return rank 0, scored as the other ranks are."""
        found = super().reference_alone()
        if self.validation is None:
            return found
        direction = found.basis.t() / found.temperature
        return replace(found, score=selection.score_one_direction(self.validation, direction))

    @property
    def _steps(self) -> int:
        return self.config.steps or default.MAX_STEPS

    @cached_property
    def _scale(self) -> torch.Tensor:
        return default.feature_scale(self.pairs)

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
    def _chosen_shared(self) -> tuple[selection.Choice, default.Fit | None]:
        return selection.choose_shared(self._inner, self._target)

    @cached_property
    def _shared(self) -> tuple[selection.Choice, default.Fit]:
        """Rank 1: what validation chose, and its fit on all training pairs, in log-odds."""
        choice = self._chosen_shared[0]
        strength = self._rescaled(choice.strengths).shared
        fit = default.fit_shared(self._scaled, strength, self._target, steps=self._steps)
        return choice, selection.at_temperature(fit, choice.temperature)

    def _rescaled(self, strengths: default.Strengths) -> default.Strengths:
        """Weaken strengths chosen on part of the pairs: the noise that they hold down shrinks as pairs are added."""
        share = 1.0 if self.validation is None else self.validation.share
        personal = None if strengths.personal is None else strengths.personal * share
        return default.Strengths(strengths.shared * share, personal)


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

    def fit(self, rank: int, progress: Progress | None = None) -> Trained:
        """Train one rank; see `Trainer.fit`."""
        fit = self._fit(self.pairs, rank, progress)
        mean = fit.weights.double().mean(dim=0)
        if len(mean) == 1:
            prior = WeightPrior.fixed(mean)
        else:
            # Dropped columns leave rows that sum to less than 1; a prior is on the simplex of those that are left.
            prior = WeightPrior(mean / mean.sum(), concentration=selection.simplex_concentration(fit.weights))
        return Trained(fit.basis.t().contiguous(), fit.weights, prior, paper.TEMPERATURE, self._validate(rank))

    def _fit(self, pairs: PackedPairs, rank: int, progress: Progress | None = None) -> paper.PaperFit:
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

    def _validate(self, rank: int) -> Score | None:
        cells = self.validation
        if cells is None:
            return None
        fit = self._fit(cells.fit, rank)
        weights = [fit.weights]
        if cells.shots is not None:
            torch.manual_seed(self.config.seed)
            weights.append(paper.fit_few_shot(cells.shots, fit.basis, **paper.few_shot_constants(self.config.recipe)))
        margins = cells.margins(fit.basis, torch.cat(weights))
        # At its best temperature, or an over-confident recipe would be judged by its confidence alone.
        return cells.score(margins, best_temperature(margins, cells.held.weight))
